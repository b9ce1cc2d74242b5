"""Data set by name: which there are, what is known of each without its files, and its images."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from sklearn.datasets import load_digits
from torchvision.datasets.folder import IMG_EXTENSIONS

from greencv_core.datasets import torchvision_sets
from greencv_core.datasets.raw import ArrayPool, FilePool, Pool, make_file_pool, regroup
from greencv_core.datasets.torchvision_sets import TORCHVISION_SETS
from greencv_core.study.schema import Dataset
from greencv_core.utils.errors import BadInputError

FOLDER = "imagefolder:"
SYNTHETIC_CLASSES = 10
SHARE_OF_MEMORY = 0.25
"""Of the memory at hand that images may fill."""


@dataclass(frozen=True)
class KnownSize:
    """What is known of a data set before its files are seen; None where it is not."""

    classes: int | None
    images: int | None


def dataset_names() -> list[str]:
    """Return the data sets that a study can name, the one that needs no download first."""
    return ["digits", *TORCHVISION_SETS, f"{FOLDER}PATH", "synthetic"]


def check_dataset_name(name: str) -> None:
    """Raise :class:`BadInputError`, naming the nearest known ones, if a name is unknown."""
    if name.startswith(FOLDER) or name in dataset_names():
        return
    known = dataset_names()
    plain = name.casefold().replace("-", "").replace("_", "")
    near = difflib.get_close_matches(plain, [one.replace("_", "") for one in known], n=3)
    nearest = [one for one in known if one.replace("_", "") in near]
    hint = f"; did you mean {', '.join(nearest)}?" if nearest else ""
    raise BadInputError(f"dataset.name = {name}: unknown data set; known: {', '.join(known)}{hint}")


def known_size(spec: Dataset) -> KnownSize:
    """Return what is known of a study's data set without a look at its files."""
    if spec.name in TORCHVISION_SETS:
        entry = TORCHVISION_SETS[spec.name]
        # Which images are left of a choice of classes, the files alone can tell.
        if isinstance(spec.classes, dict):
            return KnownSize(len(spec.classes), None)
        return KnownSize(entry.classes, entry.images)
    if spec.name == "synthetic":
        classes = spec.classes if isinstance(spec.classes, int) else SYNTHETIC_CLASSES
        return KnownSize(classes, spec.train_images + spec.validation_images)
    return KnownSize(len(spec.classes) if isinstance(spec.classes, dict) else None, None)


def open_pool(spec: Dataset, *, download: bool) -> Pool | None:
    """Return the images of a study's classes; None if they are neither here nor to be downloaded.

    Raises
    ------
    BadInputError
        The data set, or a class of it, is unknown, or its files cannot be had.
    """
    check_dataset_name(spec.name)
    if spec.name == "synthetic":
        return _synthetic(spec)
    pool: Pool | None
    if spec.name == "digits":
        pool = _digits()
    elif spec.name.startswith(FOLDER):
        pool = _folder(spec.name)
    else:
        pool = torchvision_sets.load(spec.name, download=download)
    if pool is not None and isinstance(spec.classes, dict):
        pool = regroup(pool, spec.name, spec.classes)
    return pool


def check_class_sizes(spec: Dataset, pool: Pool) -> None:
    """Raise :class:`BadInputError` if a class has fewer images than a split by class needs."""
    counts = np.bincount(pool.labels, minlength=len(pool.class_names))
    for name, count in zip(pool.class_names, counts.tolist(), strict=True):
        if count < 2:
            kinds = f" ({', '.join(IMG_EXTENSIONS)})" if isinstance(pool, FilePool) else ""
            raise BadInputError(
                f"dataset.name = {spec.name}: class {name} has {count or 'no'} "
                f"{'image' if count == 1 else 'images'}{kinds}; "
                "must have at least two, one to train and one to validate"
            )


def available_memory_bytes() -> float:
    """Return the bytes that images may fill."""
    return SHARE_OF_MEMORY * float(psutil.virtual_memory().available)


def _digits() -> ArrayPool:
    bunch = load_digits()
    images = (bunch.images / 16.0).astype(np.float32)[:, None]
    names = tuple(str(name) for name in bunch.target_names)
    return ArrayPool(images, bunch.target.astype(np.int64), names)


def _folder(name: str) -> FilePool:
    root = Path(name.removeprefix(FOLDER))
    try:
        root = root.expanduser().absolute()
        classes = sorted(
            entry.name
            for entry in root.iterdir()
            if entry.is_dir() and not entry.name.startswith(".")
        )
        if len(classes) < 2:
            raise BadInputError(
                f"dataset.name = {name}: {root} must hold at least two folders, one for each "
                f"class; it holds {len(classes)}"
            )
        samples: list[tuple[str | Path, int]] = [
            (file, label) for label, one in enumerate(classes) for file in _files(root / one)
        ]
    except OSError as error:
        raise BadInputError(
            f"dataset.name = {name}: {error.filename or root}: {error.strerror}; "
            "must be a folder that holds a folder of images for each class"
        ) from error
    except (RuntimeError, ValueError) as error:  # a home that nobody has, or NUL in a name
        raise BadInputError(f"dataset.name = {name}: no folder can have that name") from error
    return make_file_pool(root, samples, classes)


def _files(folder: Path) -> list[Path]:
    """Return the images in a folder, in whatever folders below."""
    found = []
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            found += _files(entry)
        elif entry.suffix.lower() in IMG_EXTENSIONS:
            found.append(entry)
    return found


def _synthetic(spec: Dataset) -> ArrayPool:
    images, side = spec.train_images + spec.validation_images, spec.image_size
    needed, limit = images * 3 * side**2, available_memory_bytes()
    if needed > limit:
        raise BadInputError(
            f"dataset.name = synthetic: {images} images of {side} pixels need "
            f"{needed / 2**30:.1f} GiB of memory; must be at most {limit / 2**30:.1f} GiB, "
            f"{SHARE_OF_MEMORY:.0%} of what is free: ask for fewer or smaller images"
        )
    classes = known_size(spec).classes
    assert classes is not None
    drawn = np.random.default_rng(spec.split_seed).integers(
        0, 256, (images, 3, side, side), dtype=np.uint8
    )
    labels = np.arange(images, dtype=np.int64) % classes
    return ArrayPool(drawn, labels, tuple(str(number) for number in range(classes)))
