"""Data sets by name: what is known of each without its files, and how to open it.

A data set of torchvision's is one entry of ``TORCHVISION_SETS``, any other one of :data:`SOURCES`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import psutil
from sklearn.datasets import load_digits
from torchvision.datasets.folder import IMG_EXTENSIONS

from greencv_core.datasets.download import open_or_download
from greencv_core.datasets.folders import open_folder
from greencv_core.datasets.raw import ArrayPool, FilePool, Pool, regroup
from greencv_core.datasets.torchvision_sets import TORCHVISION_SETS
from greencv_core.study.schema import FOLDER, Dataset
from greencv_core.utils.errors import BadInputError

SYNTHETIC_CLASSES = 10
MEMORY_SHARE = 0.25
"""Share of the free memory that images may use."""


@dataclass(frozen=True)
class KnownSize:
    """Numbers of classes and images that are known without the files; None if unknown."""

    classes: int | None = None
    images: int | None = None


@dataclass(frozen=True)
class Source:
    """How to open one data set."""

    open: Callable[[Dataset], Pool]
    """Returns all its images."""
    size: Callable[[Dataset], KnownSize] = lambda spec: KnownSize()
    """Returns what is known without the files."""


def dataset_names() -> list[str]:
    """Return the names of data sets for study files, first those that need no download."""
    return [*SOURCES, *TORCHVISION_SETS, f"{FOLDER}PATH"]


def _check_name(name: str) -> None:
    known = dataset_names()
    if name.startswith(FOLDER) or name in known:
        return
    plain = name.casefold().replace("-", "").replace("_", "")
    by_plain = {one.replace("_", ""): one for one in known}
    nearest = [by_plain[one] for one in difflib.get_close_matches(plain, by_plain, n=3)]
    hint = f"; did you mean {', '.join(nearest)}?" if nearest else ""
    raise BadInputError(f"dataset.name = {name}: unknown data set; known: {', '.join(known)}{hint}")


def known_size(spec: Dataset) -> KnownSize:
    """Return what is known of the size of a study's data set without its files."""
    _check_name(spec.name)
    if spec.name in SOURCES:
        size = SOURCES[spec.name].size(spec)
    else:
        entry = TORCHVISION_SETS.get(spec.name)
        size = KnownSize(entry.classes, entry.images) if entry else KnownSize()
    # The number of images of chosen classes is known only from the files.
    return KnownSize(len(spec.classes)) if isinstance(spec.classes, dict) else size


def open_pool(spec: Dataset, *, download: bool) -> Pool | None:
    """Return the images of a study's classes, or None if a download is needed but not allowed."""
    _check_name(spec.name)
    pool: Pool | None
    if spec.name in SOURCES:
        pool = SOURCES[spec.name].open(spec)
    elif spec.name in TORCHVISION_SETS:
        pool = open_or_download(spec.name, TORCHVISION_SETS[spec.name], download=download)
    else:
        pool = open_folder(spec)
    if pool is not None and isinstance(spec.classes, dict):
        pool = regroup(pool, spec.name, spec.classes)
    return pool


def check_class_sizes(spec: Dataset, pool: Pool) -> None:
    """Raise :class:`BadInputError` if a class has too few images for a stratified split."""
    counts = np.bincount(pool.labels, minlength=len(pool.class_names))
    for name, count in zip(pool.class_names, counts.tolist(), strict=True):
        if count < 2:
            kinds = f" ({', '.join(IMG_EXTENSIONS)})" if isinstance(pool, FilePool) else ""
            note = f"; {pool.note}" if isinstance(pool, FilePool) and pool.note else ""
            raise BadInputError(
                f"dataset.name = {spec.name}: class {name} has {count or 'no'} "
                f"{'image' if count == 1 else 'images'}{kinds}; "
                f"must have at least two, one to train and one to validate{note}"
            )


def available_memory_bytes() -> float:
    """Return the memory that images may use."""
    return MEMORY_SHARE * float(psutil.virtual_memory().available)


def _open_digits(_: Dataset) -> ArrayPool:
    bunch = load_digits()
    images = (bunch.images / 16.0).astype(np.float32)[:, None]
    names = tuple(str(name) for name in bunch.target_names)
    return ArrayPool(images, bunch.target.astype(np.int64), names)


def _open_synthetic(spec: Dataset) -> ArrayPool:
    images, side = spec.train_images + spec.validation_images, spec.image_size
    needed, limit = images * 3 * side**2, available_memory_bytes()
    if needed > limit:
        raise BadInputError(
            f"dataset.name = synthetic: {images} images of {side} pixels need "
            f"{needed / 2**30:.1f} GiB of memory; must be at most {limit / 2**30:.1f} GiB, "
            f"{MEMORY_SHARE:.0%} of what is free: ask for fewer or smaller images"
        )
    classes = _synthetic_size(spec).classes
    assert classes is not None
    drawn = np.random.default_rng(spec.split_seed).integers(
        0, 256, (images, 3, side, side), dtype=np.uint8
    )
    labels = np.arange(images, dtype=np.int64) % classes
    return ArrayPool(drawn, labels, tuple(str(number) for number in range(classes)))


def _synthetic_size(spec: Dataset) -> KnownSize:
    classes = spec.classes if isinstance(spec.classes, int) else SYNTHETIC_CLASSES
    return KnownSize(classes, spec.train_images + spec.validation_images)


SOURCES: dict[str, Source] = {
    "digits": Source(_open_digits),
    "synthetic": Source(_open_synthetic, _synthetic_size),
}
"""By name in study files."""
