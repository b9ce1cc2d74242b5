"""Decode image files in parallel and cache their pixels.

The cache is ``decoded/`` in the folder of data sets; its keys are hashes of the files' names, sizes
and dates. It can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode, functional

from greencv_core.datasets.download import downloads_folder
from greencv_core.datasets.normalisation import Moments, compute_moments
from greencv_core.datasets.raw import FilePool
from greencv_core.study.schema import Dataset
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.files import write_atomically

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
"""Accepted formats, by content. Pillow knows others, some of which (PostScript) start another
program."""
REVISION = 1
"""Version of the cache; to increase when the same files are decoded differently."""

Item = TypeVar("Item")
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

    A file that is damaged or no image raises :class:`BadInputError`.
    """
    with _naming_errors(path), Image.open(path, formats=FORMATS) as image:
        rgb = image.convert("RGB")
    if rgb.size != (side, side):
        rgb = functional.resize(rgb, [side], InterpolationMode.BILINEAR, antialias=True)
        rgb = functional.center_crop(rgb, [side])
    return np.ascontiguousarray(np.asarray(rgb).transpose(2, 0, 1))


def decode_all(chosen: FilePool, spec: Dataset, memory_bytes: float) -> Decoded:
    """Decode a study's files, training images first; keep the pixels if they fit into memory.

    Square images that all have the same size, at most the study's ``image_size``, keep that size.
    A file that is damaged or no image raises :class:`BadInputError`.
    """
    files = chosen.files()
    cached = _cache_path(chosen, spec)
    known = _read_cache(cached)
    side = known.side if known is not None else _common_side(files, spec.image_size)
    shape = len(files), 3, side, side
    keep = float(np.prod(shape, dtype=np.float64)) <= memory_bytes
    if known is not None:
        if not keep:
            return known
        with contextlib.suppress(OSError, ValueError, EOFError):
            return replace(known, images=np.load(cached.with_suffix(".npy")))
    images = np.empty(shape, dtype=np.uint8) if keep else None

    def read(number: int) -> Moments | None:
        image = decode(files[number], side)
        if images is not None:
            images[number] = image
        return (
            compute_moments(torch.from_numpy(image)[None]) if number < spec.train_images else None
        )

    parts = _map_in_threads(read, range(len(files)))
    moments = Moments.total(part for part in parts if part is not None)
    decoded = Decoded(side, moments, images)
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


def _map_in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Call a function for each item; after an error or interruption, start no further call."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(cpus) as threads:
        try:
            return list(threads.map(work, items))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _common_side(files: Sequence[Path], image_size: int) -> int:
    def size(file: Path) -> tuple[int, int]:
        with _naming_errors(file), Image.open(file, formats=FORMATS) as image:
            return image.size

    sizes = set(_map_in_threads(size, files))
    width, height = min(sizes)
    same_square = len(sizes) == 1 and width == height
    return min(width, image_size) if same_square else image_size


def _cache_path(chosen: FilePool, spec: Dataset) -> Path:
    """Return the path of the cached files, without suffix."""
    version = f"{REVISION} {PIL.__version__}"
    settings = f"{version} {spec.train_images} {spec.image_size} {chosen.root}"
    digest = hashlib.sha256(settings.encode())
    for path, file in zip(chosen.paths, chosen.files(), strict=True):
        with _naming_errors(file):
            status = file.stat()
        digest.update(f"\n{path}\0{status.st_size} {status.st_mtime_ns}".encode())
    return downloads_folder() / "decoded" / digest.hexdigest()[:32]


def _read_cache(cached: Path) -> Decoded | None:
    try:
        content = json.loads(cached.with_suffix(".json").read_text(encoding="utf-8"))
        return Decoded(content["side"], Moments(**content["moments"]), None)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_cache(cached: Path, decoded: Decoded) -> None:
    text = json.dumps({"side": decoded.side, "moments": vars(decoded.moments)}).encode()
    images = decoded.images
    with contextlib.suppress(OSError):  # without a cache, the next process decodes again
        cached.parent.mkdir(parents=True, exist_ok=True)
        if images is not None:
            write_atomically(cached.with_suffix(".npy"), lambda file: np.save(file, images))
        write_atomically(cached.with_suffix(".json"), lambda file: file.write(text))
