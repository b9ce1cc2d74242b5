"""Decode image files in parallel and cache their pixels.

The cache is ``decoded/`` in the folder of data sets; its keys are hashes of the files' names, sizes
and dates. It can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile

from greencv_core.datasets.download import downloads_folder
from greencv_core.datasets.normalisation import Moments, compute_moments
from greencv_core.datasets.raw import FilePool
from greencv_core.study.plan import FILES_REVISION
from greencv_core.study.schema import Dataset
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.files import write_atomically
from greencv_core.utils.text import printable

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
"""Accepted formats, by content. Pillow knows others, some of which (PostScript) start another
program."""
SIXTEEN_BIT = re.compile(r";1[26]")
"""In Pillow's names of the layouts of files with more than 8 bits for each value."""
DARKEST = 1 << 12
"""16-bit values that are all lower would keep less than 16 of 256 levels."""
WHITE_IS_ZERO = 262, 0
"""Tag and value of TIFF files whose grey values are inverted."""

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

    The image is upright as its EXIF data state. 16-bit values are scaled to 8 bits, and alpha
    channels are dropped. A file that is damaged or no image, or whose contrast would be lost,
    raises :class:`BadInputError`.
    """
    with _naming_errors(path), Image.open(path, formats=FORMATS) as image:
        rgb = _convert(image)
    if rgb.size != (side, side):
        rgb = rgb.resize((side, side), Image.Resampling.BILINEAR, _central_square(rgb.size, side))
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


def _convert(image: ImageFile.ImageFile) -> Image.Image:
    """Return an opened image in RGB and upright; :class:`BadInputError` lacks the path."""
    # A bitmap's 16 bits are those of a pixel's three colours.
    deep = image.format != "BMP" and SIXTEEN_BIT.search(str(image.tile)) is not None
    image.load()  # Pillow finds some files' EXIF data only then, and turns TIFF files itself
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        rgb = _scale(image).convert("RGB")
    elif image.mode in ("I", "F"):
        kind = "floating-point" if image.mode == "F" else "32-bit or signed"
        raise BadInputError(
            f"its grey values are {kind} numbers, which do not state what black and white are; "
            "convert it to 8 or 16 bits"
        )
    else:
        rgb = image.convert("RGB")
        ranges = cast(tuple[tuple[int, int], ...], rgb.getextrema())
        if deep and max(high for _, high in ranges) < DARKEST >> 8:
            raise BadInputError(_TOO_DARK)
        if image.has_transparency_data and all(low == high for low, high in ranges):
            low, high = image.convert("RGBA").getchannel("A").getextrema()
            if low != high:
                raise BadInputError(
                    "a single colour whose shape is only in its transparency, which is not used; "
                    "convert it to an image without transparency"
                )
    turn = None
    with contextlib.suppress(Exception):  # of damaged EXIF data
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return rgb if turn is None else rgb.transpose(turn)


_TOO_DARK = (
    f"16 bits for each value, but all values are below {DARKEST}, which would be almost black; "
    "convert it to 8 bits, or scale its values to 0 to 65535"
)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By orientation in EXIF data (https://www.cipa.jp/std/documents/e/DC-008-2012_E.pdf, 4.6.4)."""


def _scale(image: Image.Image) -> Image.Image:
    """Return a grey 16-bit image in 8 bits, of which Pillow would cut off all above 255."""
    values = np.asarray(image).astype(np.uint32)
    tag, white_is_zero = WHITE_IS_ZERO
    if getattr(image, "tag_v2", {}).get(tag) == white_is_zero:
        values = 65535 - values
    if values.min() < values.max() < DARKEST:
        raise BadInputError(_TOO_DARK)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _central_square(size: tuple[int, int], side: int) -> tuple[float, float, float, float]:
    """Return the part of an image that is left if its shorter side is scaled and it is cropped.

    Scaled and cropped in one step, an image of 1 x 8000 pixels takes no more memory than others.
    The pixels are those of torchvision's ``resize`` and ``center_crop``, to within one level.
    """
    scaled = [int(side * length / min(size)) for length in size]
    starts = [round((length - side) / 2) for length in scaled]
    left, top, right, bottom = (
        (start + extent) * length / whole
        for extent in (0, side)
        for start, length, whole in zip(starts, size, scaled, strict=True)
    )
    return left, top, min(right, size[0]), min(bottom, size[1])


@contextlib.contextmanager
def _naming_errors(path: Path) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except BadInputError as error:
        raise BadInputError(f"{printable(path)}: {error}") from error
    # Decoders raise errors of all kinds for damaged files.
    except Exception as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        if isinstance(error, PIL.UnidentifiedImageError):
            reason = f"none of {', '.join(FORMATS)}"
        raise BadInputError(f"{printable(path)}: damaged, or not an image ({reason})") from error


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
    version = f"{FILES_REVISION} {PIL.__version__}"
    settings = f"{version} {spec.train_images} {spec.image_size} {chosen.root}"
    digest = hashlib.sha256(os.fsencode(settings))
    for path, file in zip(chosen.paths, chosen.files(), strict=True):
        with _naming_errors(file):
            status = file.stat()
        digest.update(os.fsencode(f"\n{path}\0{status.st_size} {status.st_mtime_ns}"))
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
