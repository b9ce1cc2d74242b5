"""Name in, images out: training and validation tensors with a fixed, recorded split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn.functional import interpolate

from greencv_core.errors import BadInputError
from greencv_core.study import Dataset


@dataclass(frozen=True)
class ImageData:
    """Normalised images in memory and their labels, split once."""

    train_images: torch.Tensor
    """(n, 3, side, side) float32, mean 0 and standard deviation 1 over the training images."""
    train_labels: torch.Tensor
    """(n,) int64."""
    validation_images: torch.Tensor
    validation_labels: torch.Tensor
    classes: int
    sha256: str
    """Of the source's pixels and labels and of the split: what exactly was trained on."""


@dataclass(frozen=True)
class _Source:
    images: NDArray[np.float32]
    """(n, height, width), grey, 0 to 1."""
    labels: NDArray[np.int64]


def _digits() -> _Source:
    bunch = load_digits()
    return _Source((bunch.images / 16.0).astype(np.float32), bunch.target.astype(np.int64))


_SOURCES: dict[str, Callable[[], _Source]] = {"digits": _digits}


def dataset_names() -> list[str]:
    """Return the data sets that a study can name."""
    return sorted(_SOURCES)


def check_dataset(spec: Dataset) -> None:
    """Raise :class:`BadInputError` if the data set is unknown or smaller than asked for."""
    if spec.name not in _SOURCES:
        raise BadInputError(
            f"dataset.name = {spec.name}: unknown data set; known: {', '.join(dataset_names())}"
        )
    labels = _SOURCES[spec.name]().labels
    available, classes = len(labels), len(set(labels.tolist()))
    for field in ("train_images", "validation_images"):
        if getattr(spec, field) < classes:
            raise BadInputError(
                f"dataset.{field} = {getattr(spec, field)}: must be at least {classes}, "
                f"one image for each class of {spec.name}"
            )
    wanted = spec.train_images + spec.validation_images
    if wanted > available:
        raise BadInputError(
            f"dataset.train_images + dataset.validation_images = {wanted}: "
            f"{spec.name} has {available} images"
        )


def load_dataset(spec: Dataset) -> ImageData:
    """Load, resize, normalise and split a data set.

    The split is stratified by class and drawn from ``split_seed``, the same in every run.
    Images are resized bilinearly and repeated over three channels.
    """
    check_dataset(spec)
    source = _SOURCES[spec.name]()
    train, validation = train_test_split(
        np.arange(len(source.labels)),
        train_size=spec.train_images,
        test_size=spec.validation_images,
        stratify=source.labels,
        random_state=spec.split_seed,
    )
    digest = hashlib.sha256()
    for array in (
        source.images,
        source.labels,
        train.astype(np.int64),
        validation.astype(np.int64),
    ):
        digest.update(np.ascontiguousarray(array).tobytes())
    images = interpolate(
        torch.from_numpy(source.images)[:, None], size=spec.image_size, mode="bilinear"
    )
    labels = torch.from_numpy(source.labels)
    mean, deviation = images[train].mean(), images[train].std()
    images = ((images - mean) / deviation).repeat(1, 3, 1, 1)
    return ImageData(
        train_images=images[train],
        train_labels=labels[train],
        validation_images=images[validation],
        validation_labels=labels[validation],
        classes=int(labels.max()) + 1,
        sha256=digest.hexdigest(),
    )
