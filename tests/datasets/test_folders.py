"""Folders of image files: decoding, its cache and error messages."""

import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from greencv_core import datasets
from greencv_core.datasets import decode, registry
from greencv_core.records.source import load_study
from greencv_core.run.estimate import one_training
from greencv_core.utils.paths import PROJECT_ROOT
from tests.datasets.helpers import UNCHANGED, epoch, of_folder, picture
from tests.support.refusals import refusal


def test_files_become_square_rgb_images(folder):
    data = datasets.load_dataset(of_folder(folder), normalisation=UNCHANGED)
    assert data.resident
    assert data.classes == datasets.count_classes(of_folder(folder)) == 3
    paths = sorted(p for p in folder.rglob("*.*") if p.suffix in (".jpg", ".PNG"))
    expected = []
    for path in paths:
        rgb = Image.open(path).convert("RGB")
        rgb = functional.center_crop(functional.resize(rgb, [32], antialias=True), [32])
        expected.append(np.asarray(rgb).transpose(2, 0, 1))
    given, labels = epoch(data, size=1)
    for image, label in zip(given, labels.tolist(), strict=True):
        differences = [np.abs(255 * image.numpy() - pixels).max() for pixels in expected]
        nearest = int(np.argmin(differences))
        assert differences[nearest] < 1.01  # rounded in one step, not in two
        assert paths[nearest].relative_to(folder).parts[0] == ("ant", "bee", "cat")[label]


def test_a_relative_folder_follows_the_study_file(folder, tmp_path, monkeypatch):
    text = (PROJECT_ROOT / "studies" / "smoke.yaml").read_text()
    (folder.parent / "mine.yaml").write_text(text.replace("digits", "imagefolder:pictures"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    study = load_study(folder.parent / "mine.yaml")
    few = {"train_images": 20, "validation_images": 10}
    for spec in (study.dataset, one_training(study, study.architectures[0]).dataset):
        copied = pickle.loads(pickle.dumps(spec.model_copy(update=few)))
        assert datasets.count_images(copied) == 36
    monkeypatch.chdir(folder.parent)
    assert datasets.count_images(load_study("mine.yaml").dataset) == 36


def test_without_a_study_file_a_relative_folder_is_of_the_working_directory(folder, monkeypatch):
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


def _add(folder, kind):
    ant, bee = folder / "ant", folder / "bee"
    if kind == "link to a file":
        (ant / "new.jpg").symlink_to(ant / "06.jpg")
    elif kind == "copy":
        (ant / "new.jpg").write_bytes((ant / "06.jpg").read_bytes())
    elif kind == "hard link":
        os.link(ant / "06.jpg", ant / "more" / "new.jpg")
    elif kind == "copy in another class":
        (bee / "new.jpg").write_bytes((ant / "06.jpg").read_bytes())
    elif kind == "link to itself":
        (ant / "more" / "again").symlink_to(ant)
    elif kind == "link to the root":
        (bee / "up").symlink_to("..")
    elif kind == "link to everything":
        (bee / "all").symlink_to("/")
    elif kind == "link to another class":
        (ant / "also").symlink_to(bee)
    elif kind == "thumbnails":
        for place in (folder, ant):
            (place / "@eaDir").mkdir()
            picture(999, 20, 20).save(place / "@eaDir" / "06.jpg")
    elif kind == "other formats":
        for name in ("x.heic", "y.GIF", "z.gif"):
            (bee / name).write_text("x")
    elif kind == "beside the classes":
        picture(999, 20, 20).save(folder / "lost.png")
    elif kind == "no files":
        os.mkfifo(ant / "pipe.png")
        (ant / "gone.png").symlink_to("nowhere")


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        ("link to a file", "copies of images of the same class (1)"),
        ("copy", "copies of images of the same class (1)"),
        ("hard link", "copies of images of the same class (1)"),
        ("copy in another class", "copies of images of another class (1)"),
        ("link to itself", "links to folders that are read already (1)"),
        ("link to the root", "links to folders that are read already (1)"),
        ("link to everything", "links to folders that are read already (1)"),
        ("link to another class", "links to folders that are read already (1)"),
        ("thumbnails", "@eaDir (2)"),
        ("other formats", ".gif (2), .heic (1)"),
        ("beside the classes", "in no class's folder (1)"),
        ("no files", "broken links and devices (2)"),
    ],
)
def test_what_is_not_used_is_counted_and_brings_no_image_twice(folder, kind, note):
    (folder / "ant" / "notes.txt").unlink()
    before = datasets.load_dataset(of_folder(folder)).sha256
    _add(folder, kind)
    assert datasets.check_dataset(of_folder(folder)).endswith(f" not used: {note}")
    assert datasets.count_images(of_folder(folder)) == 36
    assert datasets.load_dataset(of_folder(folder)).sha256 == before
    too_many = refusal(datasets.check_dataset, of_folder(folder, 24, 24))
    assert "has 36 images (" in too_many
    assert f"not used: {note})" in too_many


def test_names_that_are_not_utf_8(folder):
    (folder / "bee" / "00.PNG").rename(folder / "bee" / os.fsdecode(b"caf\xe9.png"))
    (folder / "cat").rename(folder / os.fsdecode(b"c\xe4t"))
    joined = {"insect": ["ant", "bee"], "cat": [r"c\xe4t"]}
    for classes in (None, joined):
        datasets.check_dataset(of_folder(folder, 24, 12, classes=classes))
        data = datasets.load_dataset(of_folder(folder, 24, 12, classes=classes))
        assert data.train_count == 24
    (folder / "bee" / os.fsdecode(b"caf\xe9.png")).write_text("words")
    text = refusal(datasets.check_dataset, of_folder(folder, 24, 12))
    assert r"bee/caf\xe9.png: damaged" in text


@pytest.mark.parametrize("classes", [None, {"rare": ["cow"], "others": ["ant", "bee", "cat"]}])
def test_a_class_too_small_for_both_parts_is_refused_by_name(folder, classes):
    (folder / "cow").mkdir()
    for number in range(2):
        picture(900 + number, 20, 20).save(folder / "cow" / f"{number}.png")
    rare = "rare" if classes else "cow"
    requested = of_folder(folder, 10, 6, classes=classes)
    for step in (datasets.check_dataset, datasets.load_dataset):
        assert f"of class {rare}, which has 2 of 38 images" in refusal(step, requested)
    datasets.check_dataset(of_folder(folder, 19, 19, classes=classes))
    (folder / "cow" / "1.png").unlink()
    text = refusal(datasets.check_dataset, of_folder(folder, 19, 18, classes=classes))
    assert f"class {rare} has 1 image" in text
