"""Images as files have them: depth, orientation, transparency, shape; many drawn at random."""

import resource

import numpy as np
import pytest
from PIL import ExifTags, Image

from greencv_core.datasets.decode import decode
from tests.support.odd_folders import make_odd_folder, try_odd_folder
from tests.support.odd_images import draw_image, try_image
from tests.support.refusals import refusal

RAMP = np.tile(np.linspace(0, 1, 64), (64, 1))
DIGITS = (RAMP * 255).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bits_keep_their_contrast(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray((RAMP * 65535).astype(np.uint16)).save(path)
    np.testing.assert_allclose(decode(path, 64)[0], RAMP * 255, atol=1)
    Image.fromarray((RAMP * 4095).astype(np.uint16)).save(path)
    if suffix != "pgm":
        assert "a." in (text := refusal(decode, path, 64))
        assert "all values are below 4096" in text


@pytest.mark.parametrize(
    ("values", "suffix", "message"),
    [
        ((RAMP * 2e9).astype(np.int32), "tif", "32-bit or signed"),
        (RAMP.astype(np.float32), "tif", "floating-point"),
        (RAMP.astype(np.float32), "pfm", "floating-point"),
        (np.dstack([DIGITS * 0] * 3 + [DIGITS]), "png", "only in its transparency"),
    ],
)
def test_images_whose_contrast_is_unknown_are_refused_by_name(tmp_path, values, suffix, message):
    path = tmp_path / f"b.{suffix}"
    Image.fromarray(values).save(path)
    text = refusal(decode, path, 64)
    assert text.startswith(f"{path}: ")
    assert message in text


@pytest.mark.parametrize(
    ("orientation", "bright"), [(1, "right"), (3, "left"), (6, "bottom"), (8, "top"), (99, "right")]
)
def test_images_are_upright(tmp_path, orientation, bright):
    for suffix in ("jpg", "png", "webp", "tif"):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        Image.fromarray(DIGITS).convert("RGB").save(tmp_path / f"c.{suffix}", exif=exif)
        grey = decode(tmp_path / f"c.{suffix}", 64)[0]
        edges = {"right": grey[:, -9:], "left": grey[:, :9], "bottom": grey[-9:], "top": grey[:9]}
        assert max(edges, key=lambda name: edges[name].mean()) == bright, suffix


def test_damaged_exif_data_are_no_error(tmp_path):
    Image.fromarray(DIGITS).save(tmp_path / "d.jpg", exif=b"Exif\0\0II*\0garbage")
    assert abs(decode(tmp_path / "d.jpg", 64)[0].mean() - 127) < 3


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1)])
def test_a_thin_image_takes_little_memory(tmp_path, size):
    Image.new("RGB", size, (9, 99, 200)).save(tmp_path / "e.png")
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert decode(tmp_path / "e.png", 512)[:, 0, 0].tolist() == [9, 99, 200]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 100 << 10


def try_images(tmp_path, seeds):
    for seed in seeds:
        rng = np.random.default_rng([31, seed])
        image = draw_image(rng)
        path = tmp_path / f"image{image.suffix}"
        outcome = try_image(image, path, int(rng.integers(8, 70)))
        assert outcome in ("kept", "refused"), (seed, image.kind)


def try_folders(tmp_path, seeds):
    for seed in seeds:
        rng = np.random.default_rng([31, seed])
        root = tmp_path / str(seed)
        root.mkdir()
        make_odd_folder(rng, root)
        assert try_odd_folder(rng, root) in ("kept", "refused"), seed


def test_odd_images_and_folders(tmp_path):
    try_images(tmp_path, range(100))
    try_folders(tmp_path, range(8000, 8020))
