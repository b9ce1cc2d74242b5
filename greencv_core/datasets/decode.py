"""Image files to pixels: all of them once, side by side, remembered for the next process.

What is decoded lies in ``decoded/`` in the folder of downloads, by a hash of the files' names,
sizes and dates; the folder can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode, functional

from greencv_core.datasets.download import downloads_folder
from greencv_core.datasets.normalisation import Moments, compute_moments
from greencv_core.utils.errors import BadInputError

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
"""What files of images are, by their content. Pillow knows others besides, and would start another
program to read some of them (PostScript)."""
REVISION = 1
"""Raised when the same files would be decoded differently."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Decoded:
    """What one look at all files of a study told."""

    side: int
    """Pixels of the square images that they are decoded to."""
    moments: Moments
    """Of the training images."""
    images: NDArray[np.uint8] | None
    """(n, 3, side, side), if they were to be kept in memory."""


def decode(path: Path, side: int) -> NDArray[np.uint8]:
    """Return an image as (3, side, side): RGB, the shorter side scaled, the middle cut out.

    Raises
    ------
    BadInputError
        The file is damaged or no image; the message names it.
    """
    with _named(path), Image.open(path, formats=FORMATS) as image:
        rgb = image.convert("RGB")
    if rgb.size != (side, side):
        rgb = functional.resize(rgb, [side], InterpolationMode.BILINEAR, antialias=True)
        rgb = functional.center_crop(rgb, [side])
    return np.ascontiguousarray(np.asarray(rgb).transpose(2, 0, 1))


def decode_all(
    root: Path, paths: Sequence[str], *, train: int, image_size: int, memory: float
) -> Decoded:
    """Decode files, the first ``train`` of which are for training; keep them if they fit.

    A set of square images that all have one size, not larger than asked for, stays at that size.

    Parameters
    ----------
    memory
        Bytes that the images may fill.

    Raises
    ------
    BadInputError
        A file is damaged or no image; the message names it.
    """
    files = [root / path for path in paths]
    place = _place(root, paths, train, image_size)
    known = _recall(place)
    side = known.side if known is not None else _common_side(files, image_size)
    shape = len(files), 3, side, side
    keep = float(np.prod(shape, dtype=np.float64)) <= memory
    if known is not None:
        if not keep:
            return known
        images = _recall_images(place)
        if images is not None:
            return Decoded(side, known.moments, images)
    if keep:
        images = np.empty(shape, dtype=np.uint8)

        def fill(number: int) -> None:
            images[number] = decode(files[number], side)

        _side_by_side(fill, range(len(files)))
        told = Decoded(side, compute_moments(torch.from_numpy(images[:train])), images)
    else:

        def look(number: int) -> Moments | None:
            image = decode(files[number], side)
            return compute_moments(torch.from_numpy(image)[None]) if number < train else None

        every = _side_by_side(look, range(len(files)))
        told = Decoded(side, Moments.total(one for one in every if one is not None), None)
    _remember(place, told)
    return told


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    # What decoders raise at bytes that are no image is of every kind.
    except Exception as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        if isinstance(error, PIL.UnidentifiedImageError):
            reason = f"none of {', '.join(FORMATS)}"
        raise BadInputError(f"{path}: damaged, or not an image ({reason})") from error


def _side_by_side(work: Callable[[int], Result], numbers: Iterable[int]) -> list[Result]:
    """Do work in threads; an error or an interruption waits for what is begun alone."""
    with ThreadPoolExecutor(_cpus()) as threads:
        try:
            return list(threads.map(work, numbers))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _common_side(files: Sequence[Path], image_size: int) -> int:
    def size(number: int) -> tuple[int, int]:
        with _named(files[number]), Image.open(files[number], formats=FORMATS) as image:
            return image.size

    sizes = set(_side_by_side(size, range(len(files))))
    width, height = min(sizes)
    alike = len(sizes) == 1 and width == height
    return min(width, image_size) if alike else image_size


def _place(root: Path, paths: Sequence[str], train: int, image_size: int) -> Path:
    """Return where what is decoded is remembered, less the suffix."""
    digest = hashlib.sha256(f"{REVISION} {PIL.__version__} {train} {image_size} {root}".encode())
    for path in paths:
        with _named(root / path):
            status = (root / path).stat()
        digest.update(f"\n{path}\0{status.st_size} {status.st_mtime_ns}".encode())
    return downloads_folder() / "decoded" / digest.hexdigest()[:32]


def _recall(place: Path) -> Decoded | None:
    try:
        told = json.loads(place.with_suffix(".json").read_text(encoding="utf-8"))
        return Decoded(told["side"], Moments(**told["moments"]), None)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _recall_images(place: Path) -> NDArray[np.uint8] | None:
    try:
        images: NDArray[np.uint8] = np.load(place.with_suffix(".npy"), mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return np.array(images)


def _remember(place: Path, told: Decoded) -> None:
    """Write what was learned, whole or not at all; to be without costs time alone."""
    text = json.dumps({"side": told.side, "moments": vars(told.moments)}).encode()
    images = told.images
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        if images is not None:
            _write(place.with_suffix(".npy"), lambda file: np.save(file, images))
        _write(place.with_suffix(".json"), lambda file: file.write(text))


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
