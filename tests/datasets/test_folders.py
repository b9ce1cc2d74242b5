"""Folders of image files: decoding, its cache and error messages."""

import os

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from greencv_core import datasets
from greencv_core.datasets import decode, registry
from tests.datasets.helpers import UNCHANGED, epoch, of_folder, picture
from tests.support.refusals import refusal


def test_files_become_square_rgb_images(folder):
    data = datasets.load_dataset(of_folder(folder), normalisation=UNCHANGED)
    assert data.resident
    assert data.classes == datasets.count_classes(of_folder(folder)) == 3
    paths = sorted(p for p in folder.rglob("*.*") if p.suffix in (".jpg", ".PNG"))
    expected = {}
    for path in paths:
        rgb = Image.open(path).convert("RGB")
        rgb = functional.center_crop(functional.resize(rgb, [32], antialias=True), [32])
        expected[np.asarray(rgb).transpose(2, 0, 1).tobytes()] = path
    given, labels = epoch(data, size=1)
    for image, label in zip(given, labels.tolist(), strict=True):
        path = expected[(image * 255).round().byte().numpy().tobytes()]
        assert path.relative_to(folder).parts[0] == ("ant", "bee", "cat")[label]


def test_a_relative_folder_is_of_the_working_directory(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert (
        datasets.load_dataset(of_folder("pictures")).sha256
        == datasets.load_dataset(of_folder(folder)).sha256
    )
    monkeypatch.setenv("HOME", str(folder.parent))
    datasets.check_dataset(of_folder("~/pictures"))


@pytest.mark.parametrize("fits", [True, False])
def test_a_damaged_image_is_named_before_training(folder, monkeypatch, fits):
    if not fits:
        monkeypatch.setattr(registry, "available_memory_bytes", lambda: 0.0)
    whole = (folder / "bee" / "06.jpg").read_bytes()
    (folder / "bee" / "06.jpg").write_bytes(whole[: len(whole) // 2])
    for step in (datasets.check_dataset, datasets.load_dataset):
        assert f"{folder}/bee/06.jpg: damaged" in refusal(step, of_folder(folder, 30, 6))
    (folder / "bee" / "06.jpg").write_text("words")
    assert "none of JPEG, PNG" in refusal(datasets.load_dataset, of_folder(folder, 30, 6))


def test_an_empty_class_and_a_folder_without_classes_are_refused(folder):
    (folder / "dog").mkdir()
    text = refusal(datasets.check_dataset, of_folder(folder))
    assert "class dog has no images (.jpg, " in text
    datasets.check_dataset(of_folder(folder, 16, 6, classes={"a": ["ant"], "b": ["bee"]}))
    text = refusal(datasets.check_dataset, of_folder(folder / "ant"))
    assert "at least two folders" in text


def test_decoded_images_are_cached(folder, downloads, monkeypatch):
    requested = of_folder(folder)
    datasets.check_dataset(requested)
    cached = sorted(file.suffix for file in (downloads / "decoded").iterdir())
    assert cached == [".json", ".npy"]
    first = epoch(datasets.load_dataset(requested))[0]
    with monkeypatch.context() as patched:
        patched.setattr(decode, "decode", None)
        assert torch.equal(epoch(datasets.load_dataset(requested))[0], first)
    (npy,) = (downloads / "decoded").glob("*.npy")
    npy.write_bytes(npy.read_bytes()[:999])
    assert torch.equal(epoch(datasets.load_dataset(requested))[0], first)


def test_changed_files_of_the_same_name_and_size_are_decoded_again(tmp_path):
    files = [tmp_path / "p" / name / f"{n}.bmp" for name in ("a", "b") for n in range(4)]
    given = []
    for seed in (0, 1):
        for number, file in enumerate(files):
            file.parent.mkdir(parents=True, exist_ok=True)
            picture(100 * seed + number, 16, 16).save(file)
            os.utime(file, (seed, seed))
        given.append(epoch(datasets.load_dataset(of_folder(tmp_path / "p", 4, 4)), 4)[0])
    assert not torch.equal(*given)


def test_an_unwritable_cache_is_no_error(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GREENCV_DATASETS", str(tmp_path / "file" / "below"))
    assert datasets.load_dataset(of_folder(folder)).train_count == 20
