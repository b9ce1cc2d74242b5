"""Decode image files in parallel and cache their pixels.

The cache is ``decoded/`` in the folder of data sets; its keys are hashes of the files' names, sizes
and dates. It can be deleted at any time.
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
"""Accepted formats, by content. Pillow knows others, some of which (PostScript) start another
program."""
REVISION = 1
"""Version of the cache; to increase when the same files are decoded differently."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Decoded:
    """The decoded files of a study."""

    side: int
    """Width and height of the decoded images in pixels."""
    moments: Moments
    """Of the training images."""
    images: NDArray[np.uint8] | None
    """(n, 3, side, side); None if they do not fit into memory."""


def decode(path: Path, side: int) -> NDArray[np.uint8]:
    """Return an image as (3, side, side): RGB, the shorter side resized, cropped at the centre.

    Raises
    ------
    BadInputError
        The file is damaged or no image; the message names it.
    """
    with _naming_errors(path), Image.open(path, formats=FORMATS) as image:
        rgb = image.convert("RGB")
    if rgb.size != (side, side):
        rgb = functional.resize(rgb, [side], InterpolationMode.BILINEAR, antialias=True)
        rgb = functional.center_crop(rgb, [side])
    return np.ascontiguousarray(np.asarray(rgb).transpose(2, 0, 1))


def decode_all(
    root: Path, paths: Sequence[str], *, train: int, image_size: int, memory: float
) -> Decoded:
    """Decode files, and keep the pixels if they fit into memory.

    Square images that all have the same size, at most ``image_size``, keep that size.

    Parameters
    ----------
    train
        Number of training images, which come first.
    memory
        Bytes that the images may use.

    Raises
    ------
    BadInputError
        See :func:`decode`.
    """
    files = [root / path for path in paths]
    cached = _cache_path(root, paths, train, image_size)
    known = _read_cache(cached)
    side = known.side if known is not None else _common_side(files, image_size)
    shape = len(files), 3, side, side
    keep = float(np.prod(shape, dtype=np.float64)) <= memory
    if known is not None:
        if not keep:
            return known
        images = _read_cached_images(cached)
        if images is not None:
            return Decoded(side, known.moments, images)
    if keep:
        images = np.empty(shape, dtype=np.uint8)

        def fill(number: int) -> None:
            images[number] = decode(files[number], side)

        _map_in_threads(fill, range(len(files)))
        decoded = Decoded(side, compute_moments(torch.from_numpy(images[:train])), images)
    else:

        def check(number: int) -> Moments | None:
            image = decode(files[number], side)
            return compute_moments(torch.from_numpy(image)[None]) if number < train else None

        parts = _map_in_threads(check, range(len(files)))
        decoded = Decoded(side, Moments.total(part for part in parts if part is not None), None)
    _write_cache(cached, decoded)
    return decoded


@contextlib.contextmanager
def _naming_errors(path: Path) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    # Decoders raise errors of all kinds for damaged files.
    except Exception as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        if isinstance(error, PIL.UnidentifiedImageError):
            reason = f"none of {', '.join(FORMATS)}"
        raise BadInputError(f"{path}: damaged, or not an image ({reason})") from error


def _map_in_threads(work: Callable[[int], Result], numbers: Iterable[int]) -> list[Result]:
    """Call a function for each number; after an error or interruption, start no further call."""
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
        with _naming_errors(files[number]), Image.open(files[number], formats=FORMATS) as image:
            return image.size

    sizes = set(_map_in_threads(size, range(len(files))))
    width, height = min(sizes)
    same_square = len(sizes) == 1 and width == height
    return min(width, image_size) if same_square else image_size


def _cache_path(root: Path, paths: Sequence[str], train: int, image_size: int) -> Path:
    """Return the path of the cached files, without suffix."""
    digest = hashlib.sha256(f"{REVISION} {PIL.__version__} {train} {image_size} {root}".encode())
    for path in paths:
        with _naming_errors(root / path):
            status = (root / path).stat()
        digest.update(f"\n{path}\0{status.st_size} {status.st_mtime_ns}".encode())
    return downloads_folder() / "decoded" / digest.hexdigest()[:32]


def _read_cache(cached: Path) -> Decoded | None:
    try:
        content = json.loads(cached.with_suffix(".json").read_text(encoding="utf-8"))
        return Decoded(content["side"], Moments(**content["moments"]), None)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_cached_images(cached: Path) -> NDArray[np.uint8] | None:
    try:
        images: NDArray[np.uint8] = np.load(cached.with_suffix(".npy"), mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return np.array(images)


def _write_cache(cached: Path, decoded: Decoded) -> None:
    text = json.dumps({"side": decoded.side, "moments": vars(decoded.moments)}).encode()
    images = decoded.images
    with contextlib.suppress(OSError):  # without a cache, the next process decodes again
        cached.parent.mkdir(parents=True, exist_ok=True)
        if images is not None:
            _write_atomically(cached.with_suffix(".npy"), lambda file: np.save(file, images))
        _write_atomically(cached.with_suffix(".json"), lambda file: file.write(text))


def _write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
