"""torchvision's data sets for image classification: sizes, files and readers.

:data:`TORCHVISION_SETS` lists the sets that torchvision downloads without a further package. The
publishers' parts (training, validation, test) are joined: a study draws its own split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torchvision import datasets

from greencv_core.datasets.raw import ArrayPool, FilePool, Pool, make_file_pool

DIGITS = tuple("0123456789")


def _parts(argument: str, *values: object) -> tuple[dict[str, object], ...]:
    return tuple({argument: value} for value in values)


_TRAIN_TEST = _parts("train", True, False)


def read_files(parts: Sequence[Any], root: Path, class_names: Sequence[str]) -> FilePool:
    """Join parts that list files."""
    return make_file_pool(
        root, [sample for part in parts for sample in _samples(part)], class_names
    )


def read_arrays(parts: Sequence[Any], root: Path, class_names: Sequence[str]) -> ArrayPool:
    """Join parts that hold arrays: grey, or with colours first or last."""
    images = np.concatenate([np.asarray(part.data) for part in parts])
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[-1] == 3:
        images = images.transpose(0, 3, 1, 2)
    labels = np.concatenate(
        [part.targets if hasattr(part, "targets") else part.labels for part in parts]
    )
    return ArrayPool(np.ascontiguousarray(images), labels.astype(np.int64), tuple(class_names))


@dataclass(frozen=True)
class TorchvisionSet:
    """One of torchvision's data sets."""

    kind: Callable[..., Any]
    """torchvision's class."""
    parts: tuple[Mapping[str, object], ...]
    """Arguments for each part."""
    classes: int
    images: int | None
    """Of all parts; None where torchvision may find another number than its publisher states."""
    files: str
    """The files to download by hand, with their folders in the set's own folder."""
    class_names: tuple[str, ...] | None = None
    """None where torchvision knows them."""
    read: Callable[[Sequence[Any], Path, Sequence[str]], Pool] = read_files
    """Joins the parts."""
    verified: bool = True
    """Whether torchvision checks the checksum of every file, even if it was downloaded before."""
    offered: bool = True
    """Whether its publisher still offers it for download."""

    def read_folder(self, folder: Path, *, download: bool = False) -> Pool:
        """Return all images of the set in a folder, after torchvision's download if asked for."""
        parts = [self.kind(str(folder), **part, download=download) for part in self.parts]
        return self.read(parts, folder, self.class_names or _class_names(parts[0]))


def _samples(part: Any) -> list[tuple[str | Path, int]]:
    for name in ("samples", "_samples"):
        if hasattr(part, name):
            return list(getattr(part, name))
    files = part._images if hasattr(part, "_images") else part._image_files
    return list(zip(files, part._labels, strict=True))


def _class_names(part: Any) -> tuple[str, ...]:
    names = part.classes if hasattr(part, "classes") else part.categories
    # Imagenette's are tuples of synonyms.
    return tuple(name if isinstance(name, str) else name[0] for name in names)


def _read_caltech(pattern: str, folder: str) -> Callable[..., FilePool]:
    def read(parts: Sequence[Any], root: Path, class_names: Sequence[str]) -> FilePool:
        (part,) = parts
        samples: list[tuple[str | Path, int]] = [
            (
                Path(part.root, folder, part.categories[label], pattern.format(label + 1, number)),
                label,
            )
            for label, number in zip(part.y, part.index, strict=True)
        ]
        return make_file_pool(root, samples, class_names)

    return read


def _mnist(kind: Callable[..., Any], names: tuple[str, ...] | None = None) -> TorchvisionSet:
    return TorchvisionSet(
        kind, _TRAIN_TEST, 10, 70_000, f"its four files *-ubyte.gz, as {kind.__name__}/raw/*,",
        names, read_arrays,
    )  # fmt: skip


TORCHVISION_SETS: dict[str, TorchvisionSet] = {
    "caltech101": TorchvisionSet(
        datasets.Caltech101, ({},), 101, None, "caltech-101.zip, as caltech101/caltech-101.zip,",
        read=_read_caltech("image_{1:04d}.jpg", "101_ObjectCategories"),
    ),
    "caltech256": TorchvisionSet(
        datasets.Caltech256, ({},), 257, 30_607,
        "256_ObjectCategories.tar, as caltech256/256_ObjectCategories.tar,",
        read=_read_caltech("{0:03d}_{1:04d}.jpg", "256_ObjectCategories"),
    ),
    "cifar10": TorchvisionSet(
        datasets.CIFAR10, _TRAIN_TEST, 10, 60_000, "cifar-10-python.tar.gz", read=read_arrays
    ),
    "cifar100": TorchvisionSet(
        datasets.CIFAR100, _TRAIN_TEST, 100, 60_000, "cifar-100-python.tar.gz", read=read_arrays
    ),
    "country211": TorchvisionSet(
        datasets.Country211, _parts("split", "train", "valid", "test"), 211, 63_300,
        "country211.tgz",
    ),
    "dtd": TorchvisionSet(
        datasets.DTD, _parts("split", "train", "val", "test"), 47, 5_640,
        "dtd-r1.0.1.tar.gz, as dtd/dtd-r1.0.1.tar.gz,",
    ),
    "emnist": TorchvisionSet(
        datasets.EMNIST,
        ({"split": "balanced", "train": True}, {"split": "balanced", "train": False}),
        47, 131_600, "gzip.zip, as EMNIST/raw/gzip.zip,", read=read_arrays,
    ),
    "eurosat": TorchvisionSet(
        datasets.EuroSAT, ({},), 10, 27_000, "EuroSAT.zip, as eurosat/EuroSAT.zip,"
    ),
    "fashionmnist": _mnist(datasets.FashionMNIST),
    "fgvc_aircraft": TorchvisionSet(
        datasets.FGVCAircraft, _parts("split", "trainval", "test"), 100, 10_000,
        "fgvc-aircraft-2013b.tar.gz", verified=False,
    ),
    "flowers102": TorchvisionSet(
        datasets.Flowers102, _parts("split", "train", "val", "test"), 102, 8_189,
        "102flowers.tgz, imagelabels.mat and setid.mat, all three as flowers-102/*,",
    ),
    "food101": TorchvisionSet(
        datasets.Food101, _parts("split", "train", "test"), 101, 101_000, "food-101.tar.gz"
    ),
    "gtsrb": TorchvisionSet(
        datasets.GTSRB, _parts("split", "train", "test"), 43, 39_270,
        "GTSRB-Training_fixed.zip, GTSRB_Final_Test_Images.zip and GTSRB_Final_Test_GT.zip, "
        "all three as gtsrb/*,",
        tuple(f"{number:05d}" for number in range(43)),
    ),
    "imagenette": TorchvisionSet(
        datasets.Imagenette, _parts("split", "train", "val"), 10, 13_394, "imagenette2.tgz"
    ),
    "kmnist": _mnist(datasets.KMNIST),
    "mnist": _mnist(datasets.MNIST, DIGITS),
    "oxfordpets": TorchvisionSet(
        datasets.OxfordIIITPet, _parts("split", "trainval", "test"), 37, 7_349,
        "images.tar.gz and annotations.tar.gz, both as oxford-iiit-pet/*,",
    ),
    "rendered_sst2": TorchvisionSet(
        datasets.RenderedSST2, _parts("split", "train", "val", "test"), 2, 9_613,
        "rendered-sst2.tgz",
    ),
    "semeion": TorchvisionSet(
        datasets.SEMEION, ({},), 10, 1_593, "semeion.data", DIGITS, read_arrays
    ),
    "stanford_cars": TorchvisionSet(
        datasets.StanfordCars, _parts("split", "train", "test"), 196, 16_185,
        "cars_train, cars_test, devkit and cars_test_annos_withlabels.mat, all as "
        "stanford_cars/*,",
        offered=False,
    ),
    "stl10": TorchvisionSet(
        datasets.STL10, _parts("split", "train", "test"), 10, 13_000, "stl10_binary.tar.gz",
        read=read_arrays,
    ),
    "sun397": TorchvisionSet(datasets.SUN397, ({},), 397, 108_754, "SUN397.tar.gz"),
    "svhn": TorchvisionSet(
        datasets.SVHN, _parts("split", "train", "test"), 10, 99_289,
        "train_32x32.mat and test_32x32.mat", DIGITS, read_arrays,
    ),
    "usps": TorchvisionSet(
        datasets.USPS, _TRAIN_TEST, 10, 9_298, "usps.bz2 and usps.t.bz2", DIGITS, read_arrays,
        verified=False,
    ),
}  # fmt: skip
"""By name in study files. Numbers of classes and images are their publishers', for a check before
any download; those of gtsrb are of the corrected archive that torchvision uses."""
