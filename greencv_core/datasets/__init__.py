"""Training and validation images of a data set, with a fixed, recorded split."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch.nn.functional import interpolate
from torchvision.transforms.v2 import InterpolationMode, functional

from greencv_core.datasets import augment, loader, registry
from greencv_core.datasets.decode import decode_all
from greencv_core.datasets.loader import ImageData, Preparation, ResidentImages, StreamedImages
from greencv_core.datasets.normalisation import compute_moments
from greencv_core.datasets.raw import ArrayPool, FilePool, Pool
from greencv_core.datasets.registry import dataset_names
from greencv_core.study.schema import Dataset
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.text import count

__all__ = [
    "ImageData", "check_dataset", "count_classes", "count_images", "dataset_names",
    "is_downloaded", "load_dataset",
]  # fmt: skip

Normalisation = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of red, green and blue, of pixels from 0 to 1."""
Split = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Indices of the training and of the validation images."""


def check_dataset(spec: Dataset, *, download: bool = True) -> str:
    """Check a study's data set; unless ``download`` is false, prepare its images for the runs.

    Sizes that are known without the files are checked before any download. Returns a line about the
    files of a folder that are not used; an empty text if there are none.
    """
    known = registry.known_size(spec)
    augment.check_padding(spec)
    _check_size(spec, known.classes, known.images)
    pool = registry.open_pool(spec, download=download)
    if pool is None:
        return ""
    _check_pool(spec, pool)
    split = _split(spec, pool)
    if not isinstance(pool, FilePool):
        return ""
    if download:
        chosen = pool.select(np.concatenate(split))
        decode_all(chosen, spec, registry.available_memory_bytes())
    return f"dataset.name = {spec.name}: {pool.note}" if pool.note else ""


def is_downloaded(spec: Dataset) -> bool:
    """Return whether a data set is on this machine."""
    return registry.open_pool(spec, download=False) is not None


def count_classes(spec: Dataset) -> int:
    """Return the number of classes of a study, without opening its images where possible."""
    classes = registry.known_size(spec).classes
    if classes is not None:
        return classes
    pool = registry.open_pool(spec, download=False)
    assert pool is not None
    return len(pool.class_names)


def count_images(spec: Dataset) -> int:
    """Return the number of images in a study's classes; some sets must be downloaded first."""
    pool = registry.open_pool(spec, download=False)
    images = registry.known_size(spec).images if pool is None else len(pool.labels)
    if images is None:
        raise BadInputError(
            f"dataset.name = {spec.name}: its number of images is unknown until it is downloaded"
        )
    return images


def load_dataset(
    spec: Dataset,
    *,
    normalisation: Normalisation | None = None,
    workers: int = 0,
    download: bool = True,
) -> ImageData:
    """Load a study's images and split them.

    The split is stratified by class and drawn from ``split_seed``, the same in every run. The hash
    ``sha256`` covers all pixels and labels of the data set and the split; for images in files, the
    selected files' relative paths, sizes in bytes and labels, in the order of the split.

    ``normalisation`` is what an architecture requires; by default that of the training images, by
    channel (over all channels for ``digits``). ``workers`` load images that do not fit into memory.
    """
    augment.check_padding(spec)
    pool = registry.open_pool(spec, download=download)
    if pool is None:
        raise BadInputError(
            f"dataset.name = {spec.name}: not downloaded yet, and downloads are switched off"
        )
    _check_pool(spec, pool)
    split = _split(spec, pool)
    if isinstance(pool, FilePool):
        return _from_files(spec, pool, split, normalisation, workers)
    return _from_arrays(spec, pool, split, normalisation)


def _check_pool(spec: Dataset, pool: Pool) -> None:
    note = pool.note if isinstance(pool, FilePool) else ""
    _check_size(spec, len(pool.class_names), len(pool.labels), note)
    registry.check_class_sizes(spec, pool)


def _check_size(spec: Dataset, classes: int | None, images: int | None, note: str = "") -> None:
    for field in ("train_images", "validation_images"):
        if classes is not None and getattr(spec, field) < classes:
            raise BadInputError(
                f"dataset.{field} = {getattr(spec, field)}: must be at least {classes}, "
                f"one image for each class of {spec.name}"
            )
    wanted = spec.train_images + spec.validation_images
    if images is not None and wanted > images:
        of_classes = " in the chosen classes" if isinstance(spec.classes, dict) else ""
        raise BadInputError(
            f"dataset.train_images + dataset.validation_images = {wanted}: "
            f"{spec.name} has {count(images, 'image')}{of_classes}" + (f" ({note})" if note else "")
        )


def _split(spec: Dataset, pool: Pool) -> Split:
    train, validation = train_test_split(
        np.arange(len(pool.labels)),
        train_size=spec.train_images,
        test_size=spec.validation_images,
        stratify=pool.labels,
        random_state=spec.split_seed,
    )
    for field, part in (("train_images", train), ("validation_images", validation)):
        counts = np.bincount(pool.labels[part], minlength=len(pool.class_names))
        if not counts.all():
            rarest = int(counts.argmin())
            total = np.count_nonzero(pool.labels == rarest)
            raise BadInputError(
                f"dataset.{field} = {len(part)}: none of them would be of class "
                f"{pool.class_names[rarest]}, which has {total} of {len(pool.labels)} images; "
                "ask for more, or merge or leave out that class by dataset.classes"
            )
    return train.astype(np.int64), validation.astype(np.int64)


def _from_arrays(
    spec: Dataset, pool: ArrayPool, split: Split, normalisation: Normalisation | None
) -> ResidentImages:
    digest = hashlib.sha256()
    for array in (pool.images, pool.labels, *split):
        digest.update(np.ascontiguousarray(array).data)
    train_images, validation_images = (
        _resize(torch.from_numpy(pool.images[part]), spec.image_size) for part in split
    )
    if normalisation is not None:
        mean, deviation = _tensors(normalisation)
    elif train_images.is_floating_point():
        mean, deviation = train_images.mean(), train_images.std()
    else:
        mean, deviation = _tensors(compute_moments(train_images).mean_and_std())
    return ResidentImages(
        train_images,
        validation_images,
        [torch.from_numpy(pool.labels[part]) for part in split],
        Preparation(spec.image_size, mean, deviation, spec.augmentation),
        classes=len(pool.class_names),
        sha256=digest.hexdigest(),
    )


def _from_files(
    spec: Dataset, pool: FilePool, split: Split, normalisation: Normalisation | None, workers: int
) -> ImageData:
    chosen = pool.select(np.concatenate(split))
    count = len(split[0])
    decoded = decode_all(chosen, spec, registry.available_memory_bytes())
    mean, deviation = _tensors(normalisation or decoded.moments.mean_and_std())
    labels = torch.from_numpy(chosen.labels)
    parts = [labels[:count], labels[count:]]
    preparation = Preparation(spec.image_size, mean, deviation, spec.augmentation)
    classes, sha256 = len(pool.class_names), _hash_of_files(chosen)
    if decoded.images is not None:
        pixels = torch.from_numpy(decoded.images)
        return ResidentImages(
            pixels[:count], pixels[count:], parts, preparation, classes=classes, sha256=sha256
        )
    files = chosen.files()
    return StreamedImages(
        files[:count], files[count:], decoded.side, parts, preparation,
        workers=workers, classes=classes, sha256=sha256,
    )  # fmt: skip


def _hash_of_files(chosen: FilePool) -> str:
    digest = hashlib.sha256()
    parts = zip(chosen.files(), chosen.paths, chosen.labels.tolist(), strict=True)
    for file, path, label in parts:
        size = file.stat().st_size
        digest.update(os.fsencode(f"{path}\0{size}\0{label}\n"))
    return digest.hexdigest()


def _resize(images: torch.Tensor, image_size: int) -> torch.Tensor:
    """Return square images: floats of the given size, bytes of at most that size."""
    if images.is_floating_point():
        # Not as for bytes, because recorded runs used it.
        return interpolate(images, size=image_size, mode="bilinear")
    height, width = images.shape[-2:]
    if height == width <= image_size:
        return images

    def fit(chunk: torch.Tensor) -> torch.Tensor:
        scaled = functional.resize(chunk, [image_size], InterpolationMode.BILINEAR, antialias=True)
        cropped: torch.Tensor = functional.center_crop(scaled, [image_size])
        return cropped

    return torch.cat([fit(chunk) for chunk in images.split(loader.CHUNK)])


def _tensors(normalisation: Normalisation) -> tuple[torch.Tensor, torch.Tensor]:
    mean, deviation = (
        torch.tensor(list(values), dtype=torch.float32).view(1, -1, 1, 1)
        for values in normalisation
    )
    # Images of a single colour have a standard deviation of zero.
    return mean, torch.where(deviation == 0, 1.0, deviation)
