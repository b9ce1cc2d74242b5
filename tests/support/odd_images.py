"""Images of every mode and depth that files can have, and what a person sees in them.

The formats' own descriptions: PNG https://www.w3.org/TR/png-3/, TIFF 6.0
https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf, PNM https://netpbm.sourceforge.net.
"""

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torchvision.transforms.v2 import functional

from greencv_core.datasets.decode import decode
from greencv_core.utils.errors import BadInputError

MEAN, SPREAD, PIXELS = 2.0, 3.0, 6.0
"""Largest difference of mean, standard deviation and (on average) single pixels, of 255 levels."""
DAMAGED = "damaged"
WRITTEN_BY_PILLOW = [
    *((mode, form) for form in ("PNG", "TIFF") for mode in ("1", "L", "P", "RGB", "LA", "RGBA")),
    *((mode, "TIFF") for mode in ("CMYK", "YCbCr", "LAB", "PA", "RGBX")),
    *((mode, "JPEG") for mode in ("L", "RGB", "CMYK", "YCbCr", "RGBX")),
    *((mode, "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")),
    *((mode, "PPM") for mode in ("1", "L", "RGB", "RGBA")),
    *((mode, "WEBP") for mode in ("L", "RGB", "RGBA", "HSV")),
    *((mode, "GIF") for mode in ("1", "L", "P", "RGB")),
]
SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif"}


@dataclass(frozen=True)
class OddImage:
    """A file's content, and what is in it."""

    kind: str
    content: bytes
    suffix: str
    seen: np.ndarray
    """(height, width, 3), from 0 to 1, upright."""
    expected: str
    """kept, refused or either; ``damaged``: whatever is no other error than a refusal."""


def draw_image(rng):
    """Return an image of a random kind."""
    image = rng.choice([_by_pillow, _turned, _png, _tiff, _pnm, _dark, _unknown_scale])(rng)
    if rng.random() < 0.1:
        content = bytearray(image.content[: rng.integers(1, len(image.content) + 1)])
        for place in rng.integers(0, len(content), rng.integers(0, 20)):
            content[place] = rng.integers(256)
        return OddImage(DAMAGED, bytes(content), image.suffix, image.seen, DAMAGED)
    return image


def try_image(image, path, side):
    """Decode an image, and return kept, refused, or what is wrong."""
    path.write_bytes(image.content)
    try:
        pixels = decode(path, side).transpose(1, 2, 0).astype(float)
    except BadInputError as error:
        named = str(error).startswith(f"{path}: ") and str(error).isprintable()
        allowed = named and image.expected != "kept"
        return "refused" if allowed else f"refused, wrongly: {error}"
    if image.expected == "refused":
        return "kept, wrongly"
    if image.expected == DAMAGED:
        return "kept"
    changes = [_changes(pixels, 255 * reference) for reference in _references(image.seen, side)]
    return "kept" if "" in changes else f"changed: {changes[0]}"


def _changes(pixels, reference):
    """Describe what differs by more than the limits; empty if nothing does."""
    differences = {
        "mean": (abs(pixels.mean() - reference.mean()), MEAN),
        "spread": (abs(pixels.std() - reference.std()), SPREAD),
        "pixels": (np.abs(pixels - reference).mean(), PIXELS),
    }
    return ", ".join(f"{what} by {off:.1f}" for what, (off, limit) in differences.items()
                     if off > limit)  # fmt: skip


def _references(seen, side):
    """Return the central square of an image, scaled in floating-point numbers.

    There are several where the centre lies between two rows or two columns.
    """
    height, width = seen.shape[:2]
    short = min(height, width)
    spare = 20 * short  # of a very long image, only the middle: its scaled size would be gigabytes
    rows, columns = ((max(0, n // 2 - spare), n - max(0, n // 2 - spare)) for n in (height, width))
    middle = torch.from_numpy(seen[slice(*rows), slice(*columns)]).permute(2, 0, 1)
    scaled = functional.resize(middle, [side], antialias=True)
    tops, lefts = ({(n - side) // 2, (n - side + 1) // 2} for n in scaled.shape[1:])
    return [
        scaled[:, top : top + side, left : left + side].permute(1, 2, 0).numpy()
        for top in sorted(tops)
        for left in sorted(lefts)
    ]


def _pattern(rng, channels=3):
    """Return a smooth image from 0 to 1, at times of a single colour."""
    height, width = rng.integers(1, 90, 2)
    if rng.random() < 0.1:
        height, width = rng.permutation([1, rng.integers(500, 3000)])
    y, x = np.mgrid[0 : 1 : complex(height), 0 : 1 : complex(width)]
    waves = [np.sin(rng.uniform(0, 7) * x + rng.uniform(0, 7) * y + n) for n in range(channels)]
    low, high = np.sort(rng.random(2))
    return low + (high - low) * (0.5 + 0.5 * np.dstack(waves))


def _grey(rng):
    return _pattern(rng, 1)[..., 0]


def _colours(values):
    """Return the same image in three channels."""
    return np.dstack([values] * 3) if values.ndim == 2 else values[..., :3]


def _saved(image, form, **options):
    file = io.BytesIO()
    # By default both keep less of the colours than of the brightness.
    options |= {
        "JPEG": {"quality": 97, "subsampling": 0},
        "WEBP": {"lossless": True, "exact": True},
    }.get(form, {})
    image.save(file, form, **options)
    return file.getvalue()


def _in_mode(rng, mode):
    image = Image.fromarray(np.round(255 * _pattern(rng)).astype(np.uint8))
    if mode == "PA":
        image = image.convert("P")
    image = image.convert(mode)
    if mode.endswith("A") and min(image.size) > 1:
        alpha = np.linspace(0, 255, image.width, dtype=np.uint8)
        image.putalpha(Image.fromarray(np.tile(alpha, (image.height, 1))))
    return image


def _by_pillow(rng):
    mode, form = WRITTEN_BY_PILLOW[rng.integers(len(WRITTEN_BY_PILLOW))]
    image = _in_mode(rng, mode)
    seen = np.asarray(image.convert("RGB")) / 255
    flat = np.ptp(seen, axis=(0, 1)).max() < 0.02 and mode.endswith("A")
    expected = "either" if flat else "kept"
    stored = image.convert("RGB") if mode == "HSV" else image
    suffix = SUFFIXES.get(form, f".{form.lower()}")
    return OddImage(f"{form} {mode}", _saved(stored, form), suffix, seen, expected)


def _turned(rng):
    """Return an image with an EXIF orientation, read as Pillow's own function would turn it."""
    form = rng.choice(["JPEG", "PNG", "WEBP", "TIFF"])
    orientation = int(rng.integers(0, 10))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    content = _saved(_in_mode(rng, "RGB"), form, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    seen = np.asarray(upright.convert("RGB")) / 255
    return OddImage(f"{form} EXIF {orientation}", content, SUFFIXES.get(form, ".png"), seen, "kept")


def _png(rng):
    """Return a PNG of any depth, grey or with colours, with and without transparency."""
    samples = rng.choice([1, 2, 3, 4])
    bits = int(rng.choice([1, 2, 4, 8, 16] if samples == 1 else [8, 16]))
    values = _pattern(rng, samples)
    stored = np.round(values * (2**bits - 1)).astype(">u2" if bits == 16 else np.uint8)
    height, width = stored.shape[:2]
    rows = stored.reshape(height, -1)
    if bits < 8:
        as_bits = np.unpackbits(rows[..., None], axis=2)[..., -bits:].reshape(height, -1)
        rows = np.packbits(as_bits, axis=1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[int(samples)]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))
        for tag, data in ((b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    )
    seen = _colours(stored[..., 0] if samples < 3 else stored) / (2**bits - 1)
    dark = bits == 16 and seen.max() < 1 / 15
    flat = samples in (2, 4) and np.ptp(seen, axis=(0, 1)).max() < 1 / 200
    expected = "either" if dark or flat else "kept"
    return OddImage(f"PNG {samples} x {bits} bits", content, ".png", seen, expected)


def _as_tiff(stored, photometric=1, form=1):
    """Return an uncompressed TIFF of one strip, in the array's byte order."""
    order = ">" if stored.dtype.byteorder == ">" else "<"
    height, width, samples = (*stored.shape, 1)[:3]
    bits, data = 8 * stored.itemsize, stored.tobytes()
    extra = [bits] * samples if samples > 2 else [bits]
    tags = [
        (256, 4, [width]), (257, 4, [height]), (258, 3, extra), (259, 3, [1]),
        (262, 3, [photometric]), (273, 4, [8]), (277, 3, [samples]), (278, 4, [height]),
        (279, 4, [len(data)]), (284, 3, [1]), (339, 3, [form] * samples),
    ]  # fmt: skip
    entries, more = b"", b""
    after = 8 + len(data) + 2 + 12 * len(tags) + 4
    for tag, kind, numbers in tags:
        packed = struct.pack(f"{order}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(packed) > 4:
            place, more = after + len(more), more + packed
            packed = struct.pack(f"{order}I", place)
        entries += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + packed.ljust(4, b"\0")
    head = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HI", 42, 8 + len(data))
    return head + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + more


def _tiff(rng):
    """Return a TIFF of 8 or 16 bits, in either byte order, also with inverted grey values."""
    samples, bits = rng.choice([1, 3]), int(rng.choice([8, 16]))
    photometric = 2 if samples == 3 else int(rng.integers(2))
    values = _pattern(rng, samples).squeeze(2) if samples == 1 else _pattern(rng, 3)
    order = rng.choice(["<", ">"])
    stored = np.round(values * (2**bits - 1)).astype(f"{order}u{bits // 8}")
    seen = _colours(stored / (2**bits - 1))
    content = _as_tiff((2**bits - 1 - stored if photometric == 0 else stored), photometric)
    dark = bits == 16 and min(seen.max(), 1 - seen.min()) < 1 / 15
    known = bits == 8 or photometric or order == "<"
    expected = "either" if dark or not known else "kept"
    return OddImage(f"TIFF {samples} x {bits} bits {order}", content, ".tif", seen, expected)


def _pnm(rng):
    """Return a PNM with any largest value, as bytes or as digits."""
    colours, digits = rng.integers(2), rng.integers(2)
    most = int(rng.choice([1, 15, 100, 255, 256, 1000, 4095, 65535]))
    values = _pattern(rng, 3) if colours else _grey(rng)
    stored = np.round(values * most).astype(">u2" if most > 255 else np.uint8)
    body = b" ".join(b"%d" % n for n in stored.ravel()) if digits else stored.tobytes()
    kind = "P" + "5623"[2 * digits + colours]
    head = f"{kind}\n{stored.shape[1]} {stored.shape[0]}\n{most}\n"
    seen = _colours(stored / most)
    expected = "either" if most > 255 and seen.max() < 1 / 15 else "kept"
    return OddImage(f"{kind} up to {most}", head.encode() + body, ".ppm", seen, expected)


def _dark(rng):
    """Return an image of 8 to 12 bits in a file of 16, which all programs show as black."""
    values = np.tile(np.linspace(0, 2.0 ** rng.integers(8, 13) - 1, 40), (40, 1))
    if rng.integers(2):
        stored, photometric = values.astype(np.uint16), 1
    else:
        stored, photometric = np.dstack([values] * 3).astype(np.uint16), 2
    grey = photometric == 1 and rng.integers(2)
    content = _saved(Image.fromarray(stored), "PNG") if grey else _as_tiff(stored, photometric)
    return OddImage("16 bits, dark", content, ".png" if grey else ".tif", values, "refused")


def _unknown_scale(rng):
    """Return numbers that do not state what white is: floating-point, signed or 32 bits."""
    form, dtype = [(3, "f4"), (2, "i4"), (1, "u4"), (2, "i2"), (3, "f8")][rng.integers(5)]
    order = rng.choice(["<", ">"])
    high = 1.0 if form == 3 else float(rng.choice([255, 30_000]))
    values = _grey(rng) * high
    stored = values.astype(f"{order}{dtype}")
    if dtype == "f4" and rng.integers(2):
        content, suffix = _saved(Image.fromarray(values.astype("f4")), "PPM"), ".ppm"
    else:
        content, suffix = _as_tiff(stored, form=form), ".tif"
    return OddImage(f"{order}{dtype}", content, suffix, values, "refused")
