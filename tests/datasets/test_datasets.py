"""Data sets: where they come from, how they are split, decoded, changed and handed out."""

import hashlib
import http.server
import io
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import psutil
import pytest
import torch
import torchvision
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn.functional import interpolate
from torchvision.transforms.v2 import functional

from greencv_core import datasets
from greencv_core.datasets import augment, decode, download, loader, registry
from greencv_core.datasets.raw import ArrayPool
from greencv_core.datasets.torchvision_sets import TORCHVISION_SETS
from greencv_core.study.schema import Augmentation, Dataset
from greencv_core.utils.errors import BadInputError

CPU = torch.device("cpu")
EVERYTHING = Augmentation(
    crop_padding=4,
    horizontal_flip=True,
    brightness=0.2,
    contrast=[0.6, 1.4],
    saturation=[0.5, 1.5],
    hue=0.1,
)
EACH = [
    Augmentation(**{name: getattr(EVERYTHING, name)})
    for name in ("crop_padding", "horizontal_flip", "brightness", "contrast", "saturation", "hue")
]


def spec(name="digits", train=256, validation=200, **changes):
    settings = {"image_size": 32, **changes}
    return Dataset(name=name, train_images=train, validation_images=validation, **settings)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def epoch(data, size=16, seed=0):
    """Return an epoch's training images and labels."""
    batches = list(data.train_batches(size, seeded(seed)))
    return torch.cat([one for one, _ in batches]), torch.cat([labels for _, labels in batches])


def validation(data, size=50):
    batches = list(data.validation_batches(size))
    return torch.cat([one for one, _ in batches]), torch.cat([labels for _, labels in batches])


def one_line(caught):
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture(autouse=True)
def downloads(tmp_path, monkeypatch):
    """Return an empty folder of downloads."""
    folder = tmp_path / "downloads"
    monkeypatch.setenv("GREENCV_DATASETS", str(folder))
    return folder


@pytest.fixture
def streamed(monkeypatch):
    """Let no image fit into memory."""
    monkeypatch.setattr(datasets, "available_memory_bytes", lambda: 0.0)


def picture(seed, width, height):
    """Return a smooth image, as photographs are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path):
    """Return a folder of three classes with images of every size and kind."""
    root = tmp_path / "pictures"
    for label, name in enumerate(("ant", "bee", "cat")):
        (root / name / "more").mkdir(parents=True)
        for number in range(12):
            image = picture(100 * label + number, 40 + 3 * number, 64 - 2 * number)
            if number == 3:
                image = image.convert("L")
            if number == 4:
                image.putalpha(128)
            kind = "jpg" if number > 5 else "PNG"
            place = root / name / ("more" if number % 2 else ".")
            image.save(place / f"{number:02d}.{kind}")
    (root / "ant" / "notes.txt").write_text("no image")
    (root / ".hidden").mkdir()
    return root


@pytest.fixture
def alike(tmp_path):
    """Return a folder of two classes with square images of one size, smaller than asked for."""
    root = tmp_path / "alike"
    for label, name in enumerate(("left", "right")):
        (root / name).mkdir(parents=True)
        for number in range(12):
            picture(100 * label + number, 20, 20).save(root / name / f"{number}.png")
    return root


def of_folder(root, train=20, validation=10, **changes):
    return spec(f"imagefolder:{root}", train, validation, **changes)


# The digits, as before


def old_digits(asked):
    """Return what the first implementation returned."""
    bunch = load_digits()
    source = (bunch.images / 16.0).astype(np.float32)
    labels = bunch.target.astype(np.int64)
    train, held = train_test_split(
        np.arange(len(labels)),
        train_size=asked.train_images,
        test_size=asked.validation_images,
        stratify=labels,
        random_state=asked.split_seed,
    )
    digest = hashlib.sha256()
    for array in (source, labels, train.astype(np.int64), held.astype(np.int64)):
        digest.update(np.ascontiguousarray(array).tobytes())
    scaled = interpolate(torch.from_numpy(source)[:, None], size=asked.image_size, mode="bilinear")
    mean, deviation = scaled[train].mean(), scaled[train].std()
    scaled = ((scaled - mean) / deviation).repeat(1, 3, 1, 1)
    target = torch.from_numpy(labels)
    return scaled[train], target[train], scaled[held], target[held], digest.hexdigest()


@pytest.mark.parametrize("size", [8, 32, 33])
def test_digits_are_bit_for_bit_as_before(size):
    asked = spec(image_size=size, split_seed=3)
    train, train_labels, held, held_labels, sha256 = old_digits(asked)
    data = datasets.load_dataset(asked).to(CPU, torch.contiguous_format)
    assert data.sha256 == sha256
    assert data.classes == 10
    assert (data.train_count, data.validation_count) == (256, 200)
    order = torch.randperm(256, generator=seeded(7))[:240]
    batches = list(data.train_batches(16, seeded(7)))
    assert len(batches) == 256 // 16
    given, labels = epoch(data, size=48, seed=7)
    assert torch.equal(given, train[order])
    assert torch.equal(labels, train_labels[order])
    assert torch.equal(validation(data)[0], held)
    assert torch.equal(validation(data)[1], held_labels)
    assert torch.equal(data.sample(5)[0], train[:5])
    assert torch.equal(data.sample(5)[1], train_labels[:5])


def test_batches_have_the_memory_format():
    for augmented in (Augmentation(), Augmentation(horizontal_flip=True), EVERYTHING):
        data = datasets.load_dataset(spec(augmentation=augmented)).to(CPU, torch.channels_last)
        given, labels = next(data.train_batches(16, seeded()))
        assert given.shape == (16, 3, 32, 32)
        assert given.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert given.is_contiguous(memory_format=torch.channels_last)
        given, _ = next(data.to(CPU, torch.contiguous_format).train_batches(16, seeded()))
        assert given.is_contiguous()


# The split


def test_the_split_is_fixed_stratified_and_disjoint(folder):
    for asked in (spec(), of_folder(folder)):
        first, again = datasets.load_dataset(asked), datasets.load_dataset(asked)
        assert first.sha256 == again.sha256
        everything = asked.train_images
        assert torch.equal(epoch(first, everything)[0], epoch(again, everything)[0])
        other = datasets.load_dataset(asked.model_copy(update={"split_seed": 1}))
        assert other.sha256 != first.sha256
        counts = torch.bincount(epoch(first, everything)[1])
        assert counts.max() - counts.min() <= 3
        train = {one.numpy().tobytes() for one in epoch(first, everything)[0]}
        assert len(train) == asked.train_images
        assert not any(one.numpy().tobytes() in train for one in validation(first)[0])


def test_the_hash_of_files_is_of_paths_sizes_and_labels(folder, tmp_path):
    asked = of_folder(folder)
    before = datasets.load_dataset(asked).sha256
    folder.rename(tmp_path / "elsewhere")
    moved = of_folder(tmp_path / "elsewhere")
    for file in sorted((tmp_path / "elsewhere").rglob("*.*")):
        os.utime(file, (1, 1))
    assert datasets.load_dataset(moved).sha256 == before
    with (tmp_path / "elsewhere" / "bee" / "06.jpg").open("ab") as file:
        file.write(b"more")
    longer = datasets.load_dataset(of_folder(tmp_path / "elsewhere", 30, 6)).sha256
    with (tmp_path / "elsewhere" / "bee" / "06.jpg").open("ab") as file:
        file.write(b"more")
    assert datasets.load_dataset(of_folder(tmp_path / "elsewhere", 30, 6)).sha256 != longer
    (tmp_path / "elsewhere" / "cat").rename(tmp_path / "elsewhere" / "cow")
    assert datasets.load_dataset(moved).sha256 != before


def test_normalisation_is_of_the_training_images_or_as_given(folder):
    for asked in (spec(), of_folder(folder, 30, 6), spec("synthetic", 30, 10)):
        given = datasets.load_dataset(asked).sample(asked.train_images)[0]
        assert given.mean().abs() < 1e-4
        assert (given.std() - 1).abs() < 0.02
        plain = datasets.load_dataset(asked, normalisation=([0.0] * 3, [1.0] * 3))
        other = datasets.load_dataset(asked, normalisation=([0.5, 0.4, 0.3], [0.2, 0.1, 0.3]))
        zero_to_one = plain.sample(8)[0]
        assert 0 <= zero_to_one.min() < zero_to_one.max() <= 1
        expected = functional.normalize(zero_to_one, [0.5, 0.4, 0.3], [0.2, 0.1, 0.3])
        torch.testing.assert_close(other.sample(8)[0], expected)
        assert plain.sha256 == other.sha256


def test_exact_statistics():
    pixels = torch.randint(0, 256, (2050, 3, 4, 5), dtype=torch.uint8, generator=seeded())
    mean, deviation = datasets.compute_moments(pixels).mean_and_std()
    exact = pixels.double() / 255
    assert mean == pytest.approx(exact.mean(dim=(0, 2, 3)).tolist())
    assert deviation == pytest.approx(exact.std(dim=(0, 2, 3), correction=0).tolist())


def test_images_of_one_colour_stay_finite(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "flat" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 8), (9, 9, 9)).save(tmp_path / "flat" / name / f"{number}.png")
    data = datasets.load_dataset(of_folder(tmp_path / "flat", 4, 4, image_size=8))
    assert torch.isfinite(data.sample(4)[0]).all()


# Names, classes and sizes


def test_every_name_has_a_stated_number_of_classes():
    names = datasets.dataset_names()
    assert names[0] == "digits"
    assert {"cifar10", "cifar100", "eurosat", "oxfordpets", "synthetic"} <= set(names)
    for name, entry in TORCHVISION_SETS.items():
        assert datasets.count_classes(spec(name, 300, 300)) == entry.classes > 1
    assert datasets.count_classes(spec()) == 10
    assert datasets.count_classes(spec("synthetic", 30, 30, classes=7)) == 7
    assert datasets.count_classes(spec("synthetic", 30, 30)) == 10


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (spec("imagenot"), "dataset.name = imagenot: unknown data set; known: digits, "),
        (spec("CIFAR-10"), "did you mean cifar10"),
        (spec(validation=5), "must be at least 10, one image for each class of digits"),
        (spec(train=5000), "digits has 1797 images"),
        (spec("cifar10", 60_000, 100), "cifar10 has 60000 images"),
        (spec("cifar100", 99, 100), "must be at least 100, one image for each class of cifar100"),
        (spec("synthetic", 4, 4), "must be at least 10"),
        (spec(augmentation=Augmentation(crop_padding=32)), "crop_padding = 32: must be at most 31"),
        (spec(classes={"a": ["0"], "b": ["ten", "1"]}), "dataset.classes.b: ten: no class of"),
        (spec(train=4, classes={"a": ["0"], "b": ["1"]}, validation=400), "digits has 360 images"),
        (spec("imagefolder:/no/such/place"), "/no/such/place: No such file or directory"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(asked, told):
    with pytest.raises(BadInputError) as caught:
        datasets.check_dataset(asked, download=False)
    assert told in one_line(caught)


def test_what_fits_passes(folder):
    datasets.check_dataset(spec())
    datasets.check_dataset(of_folder(folder))
    datasets.check_dataset(spec("synthetic", 30, 30))
    datasets.check_dataset(spec("cifar10", 50_000, 10_000), download=False)


def test_classes_of_a_study_are_made_of_the_sets_own(folder):
    asked = spec(classes={"round": ["0", "6", "9"], "straight": ["1", "7"]})
    data = datasets.load_dataset(asked, normalisation=([0.0] * 3, [1.0] * 3))
    assert data.classes == datasets.count_classes(asked) == 2
    bunch = load_digits()
    known = {}
    for image, digit in zip(bunch.images, bunch.target, strict=True):
        known.setdefault((image / 16).astype(np.float32).tobytes(), digit)
    small = datasets.load_dataset(
        asked.model_copy(update={"image_size": 8}), normalisation=([0.0] * 3, [1.0] * 3)
    )
    for given, labels in (validation(small), epoch(small)):
        for image, label in zip(given, labels.tolist(), strict=True):
            digit = known[image[0].numpy().tobytes()]
            assert digit in ((0, 6, 9), (1, 7))[label]
    asked = of_folder(folder, 12, 6, classes={"cat": ["cat"], "insect": ["ant", "bee"]})
    assert datasets.load_dataset(asked).classes == 2
    with pytest.raises(BadInputError, match="did you mean ant"):
        datasets.check_dataset(of_folder(folder, classes={"x": ["aunt"], "y": ["bee"]}))


def test_synthetic_images_are_made_by_the_seed():
    asked = spec("synthetic", 60, 30, classes=3, image_size=24)
    first, again = datasets.load_dataset(asked), datasets.load_dataset(asked)
    assert torch.equal(epoch(first)[0], epoch(again)[0])
    assert first.sample(4)[0].shape == (4, 3, 24, 24)
    changed = asked.model_copy(update={"split_seed": 9})

    def plain(given):
        return datasets.load_dataset(given, normalisation=([0.0] * 3, [1.0] * 3))

    made, others = (
        {one.numpy().tobytes() for one in given.sample(60)[0]}
        for given in (plain(asked), plain(changed))
    )
    assert not made & others
    assert torch.bincount(epoch(first, 60)[1]).tolist() == [20] * 3


def test_too_many_synthetic_images_are_refused(monkeypatch):
    monkeypatch.setattr(registry, "available_memory_bytes", lambda: 1000.0)
    with pytest.raises(BadInputError) as caught:
        datasets.check_dataset(spec("synthetic", 60, 30))
    assert "fewer or smaller images" in one_line(caught)


# Folders of files


def test_files_become_square_rgb_images(folder):
    data = datasets.load_dataset(of_folder(folder), normalisation=([0.0] * 3, [1.0] * 3))
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
        monkeypatch.setattr(datasets, "available_memory_bytes", lambda: 0.0)
    whole = (folder / "bee" / "06.jpg").read_bytes()
    (folder / "bee" / "06.jpg").write_bytes(whole[: len(whole) // 2])
    for step in (datasets.check_dataset, datasets.load_dataset):
        with pytest.raises(BadInputError) as caught:
            step(of_folder(folder, 30, 6))
        assert str(folder / "bee" / "06.jpg") + ": damaged" in one_line(caught)
    (folder / "bee" / "06.jpg").write_text("words")
    with pytest.raises(BadInputError) as caught:
        datasets.load_dataset(of_folder(folder, 30, 6))
    assert "none of JPEG, PNG" in one_line(caught)


def test_an_empty_class_is_told(folder):
    (folder / "dog").mkdir()
    with pytest.raises(BadInputError) as caught:
        datasets.check_dataset(of_folder(folder))
    assert "class dog has no images (.jpg, " in one_line(caught)
    datasets.check_dataset(of_folder(folder, 16, 6, classes={"a": ["ant"], "b": ["bee"]}))


def test_a_folder_without_classes_is_told(folder):
    with pytest.raises(BadInputError) as caught:
        datasets.check_dataset(of_folder(folder / "ant"))
    assert "at least two folders" in one_line(caught)


def test_decoded_images_are_remembered(folder, downloads, monkeypatch):
    asked = of_folder(folder)
    datasets.check_dataset(asked)
    kept = sorted(file.suffix for file in (downloads / "decoded").iterdir())
    assert kept == [".json", ".npy"]
    first = epoch(datasets.load_dataset(asked))[0]
    with monkeypatch.context() as patched:
        patched.setattr(decode, "decode", None)
        assert torch.equal(epoch(datasets.load_dataset(asked))[0], first)
    (npy,) = (downloads / "decoded").glob("*.npy")
    npy.write_bytes(npy.read_bytes()[:999])
    assert torch.equal(epoch(datasets.load_dataset(asked))[0], first)


def test_other_pictures_of_the_same_name_and_size_are_decoded_anew(tmp_path):
    files = [tmp_path / "p" / name / f"{n}.bmp" for name in ("a", "b") for n in range(4)]
    given = []
    for seed in (0, 1):
        for number, file in enumerate(files):
            file.parent.mkdir(parents=True, exist_ok=True)
            picture(100 * seed + number, 16, 16).save(file)
            os.utime(file, (seed, seed))
        given.append(epoch(datasets.load_dataset(of_folder(tmp_path / "p", 4, 4)), 4)[0])
    assert not torch.equal(*given)


def test_a_folder_of_downloads_that_cannot_be_written_costs_time_alone(
    folder, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GREENCV_DATASETS", str(tmp_path / "file" / "below"))
    assert datasets.load_dataset(of_folder(folder)).train_count == 20


# Resident or streamed: the same images


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("changes", [Augmentation(), EVERYTHING])
@pytest.mark.parametrize("kind", ["folder", "alike"])
def test_streamed_images_are_those_in_memory(request, monkeypatch, workers, changes, kind):
    root = request.getfixturevalue(kind)
    asked = of_folder(root, 14, 8, augmentation=changes)
    resident = datasets.load_dataset(asked)
    with monkeypatch.context() as patched:
        patched.setattr(datasets, "available_memory_bytes", lambda: 0.0)
        # Where nothing is remembered of the images in memory.
        patched.setenv("GREENCV_DATASETS", str(root.with_name("others")))
        stream = datasets.load_dataset(asked, workers=workers)
    assert resident.resident
    assert not stream.resident
    assert stream.sha256 == resident.sha256
    before = torch.get_rng_state()
    stream = stream.to(CPU, torch.channels_last)
    one, other = seeded(5), seeded(5)
    try:
        for _ in range(2):
            pairs = zip(resident.train_batches(4, one), stream.train_batches(4, other), strict=True)
            for (images_1, labels_1), (images_2, labels_2) in pairs:
                torch.testing.assert_close(images_1, images_2, atol=1e-5, rtol=0)
                assert torch.equal(labels_1, labels_2)
            torch.testing.assert_close(
                validation(resident, 5)[0], validation(stream, 5)[0], atol=1e-5, rtol=0
            )
            assert torch.equal(validation(resident, 5)[1], validation(stream, 5)[1])
        torch.testing.assert_close(resident.sample(6)[0], stream.sample(6)[0], atol=1e-5, rtol=0)
        assert torch.equal(one.get_state(), other.get_state())
        assert torch.equal(torch.get_rng_state(), before)
    finally:
        stream.close()


def test_native_size_in_bytes_equals_prepared(alike, monkeypatch):
    asked = of_folder(alike, 14, 8)
    prepared = datasets.load_dataset(asked)
    monkeypatch.setattr(loader, "LARGEST_PREPARED", 0)
    stored = datasets.load_dataset(asked)
    assert prepared._train.dtype == torch.float32
    assert stored._train.dtype == torch.uint8
    assert stored._train.shape == (14, 3, 20, 20)
    for one, other in (
        (epoch(prepared), epoch(stored)),
        (validation(prepared), validation(stored)),
    ):
        torch.testing.assert_close(one[0], other[0], atol=1e-6, rtol=0)
        assert torch.equal(one[1], other[1])


def test_large_arrays_are_scaled_down_and_small_ones_on_the_device(monkeypatch):
    pixels = np.stack([np.asarray(picture(seed, 40, 40)) for seed in range(30)])
    pool = ArrayPool(pixels.transpose(0, 3, 1, 2), np.arange(30) % 3, ("a", "b", "c"))
    monkeypatch.setattr(datasets, "open_pool", lambda *_, **__: pool)
    asked = spec("cifar10", 18, 9, augmentation=EVERYTHING)
    assert datasets.load_dataset(asked)._train.shape == (18, 3, 32, 32)
    larger = asked.model_copy(update={"image_size": 48})
    data = datasets.load_dataset(larger)
    assert data._train.shape == (18, 3, 40, 40)
    assert data.sample(4)[0].shape == (4, 3, 48, 48)


def test_a_sample_touches_no_generator(folder, streamed):
    before = torch.get_rng_state()
    data = datasets.load_dataset(of_folder(folder, augmentation=EVERYTHING))
    unchanged = datasets.load_dataset(of_folder(folder))
    assert torch.equal(data.sample(4)[0], unchanged.sample(4)[0])
    assert len(data.sample(1000)[0]) == 20
    assert torch.equal(torch.get_rng_state(), before)


def children():
    return {child.pid for child in psutil.Process().children(recursive=True)}


def test_closing_leaves_no_process(folder, streamed):
    before = children()
    data = datasets.load_dataset(of_folder(folder), workers=2).to(CPU, torch.contiguous_format)
    half = data.train_batches(4, seeded())
    next(half)
    assert len(children() - before) == 2
    again = validation(data)[0]  # the same processes, though an epoch is not over
    assert len(children() - before) == 2
    data.close()
    assert children() == before
    assert torch.equal(validation(data)[0], again)
    data.close()
    data.close()
    assert children() == before


def test_an_interruption_leaves_no_process(folder, tmp_path):
    script = tmp_path / "endless.py"
    script.write_text(
        textwrap.dedent(f"""
        import torch
        from greencv_core import datasets
        from greencv_core.study.schema import Dataset

        if __name__ == "__main__":
            datasets.available_memory_bytes = lambda: 0.0
            spec = Dataset(name="imagefolder:{folder}", train_images=20, validation_images=10)
            data = datasets.load_dataset(spec, workers=2)
            while True:
                for batch in data.train_batches(4, torch.Generator()):
                    print("a batch", flush=True)
        """)
    )
    run = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background job ignores Ctrl-C, and so would what is started from it.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    assert run.stdout.readline() == "a batch\n"
    workers = psutil.Process(run.pid).children(recursive=True)
    assert len(workers) == 2
    os.killpg(run.pid, signal.SIGINT)
    told = run.communicate(timeout=60)[1]
    assert told.rstrip().endswith("KeyboardInterrupt"), told
    assert told.count("Traceback") == 1, told
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive


# Augmentation


def one_by_one(batch, draws, asked):
    """Change images one by one, with torchvision's functions for one image."""
    changed = []
    for number, image in enumerate(batch):
        if draws.corners is not None:
            top, left = draws.corners[number].tolist()
            image = functional.pad(image, [asked.crop_padding], padding_mode="reflect")
            image = functional.crop(image, top, left, *batch.shape[-2:])
        if draws.flips is not None and draws.flips[number]:
            image = functional.horizontal_flip(image)
        if draws.shifts is not None:
            image = (image + draws.shifts[number]).clamp(0, 1)
        if draws.contrasts is not None:
            image = functional.adjust_contrast(image, draws.contrasts[number].item())
        if draws.saturations is not None:
            image = functional.adjust_saturation(image, draws.saturations[number].item())
        if draws.turns is not None:
            share = (draws.turns[number].item() - 4) / 4 * asked.hue
            image = functional.adjust_hue(image, share)
        changed.append(image)
    return torch.stack(changed)


@pytest.mark.parametrize("asked", [*EACH, EVERYTHING], ids=[*"pfbcsh", "all"])
def test_a_batch_is_changed_as_its_images_one_by_one(asked):
    batch = torch.rand(40, 3, 16, 16, generator=seeded())
    draws = augment.draw(asked, 40, seeded(1))
    changed = augment.augment(batch.clone(), draws, asked)
    torch.testing.assert_close(changed, one_by_one(batch, draws, asked), atol=2e-5, rtol=0)
    differs = (changed - batch).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert differs.float().mean() > (0.3 if asked.horizontal_flip else 0.7)
    assert 0 <= changed.min() <= changed.max() <= 1


@pytest.mark.parametrize("asked", EACH, ids=[*"pfbcsh"])
def test_every_image_has_its_own_draw(asked):
    same = torch.rand(1, 3, 16, 16, generator=seeded()).expand(64, -1, -1, -1)
    changed = augment.augment(same, augment.draw(asked, 64, seeded()), asked)
    kinds = len({image.numpy().tobytes() for image in changed})
    if asked.horizontal_flip:
        assert kinds == 2
    elif asked.hue:
        assert kinds == augment.HUE_STEPS
    else:
        assert kinds > 40


def test_draws_keep_to_their_ranges():
    draws = augment.draw(EVERYTHING, 5000, seeded())
    assert draws.corners.min() == 0
    assert draws.corners.max() == 8
    assert 0.45 < draws.flips.float().mean() < 0.55
    assert -0.2 <= draws.shifts.min() < -0.19 < 0.19 < draws.shifts.max() <= 0.2
    assert 0.6 <= draws.contrasts.min() < 0.61 < 1.39 < draws.contrasts.max() <= 1.4
    assert 0.5 <= draws.saturations.min() < 0.51 < 1.49 < draws.saturations.max() <= 1.5
    assert sorted(Counter(draws.turns.tolist())) == list(range(9))
    assert augment.hue_shift(0, 0.1) == -0.1
    assert augment.hue_shift(8, 0.1) == 0.1


def test_a_generator_decides_the_changes():
    asked = spec(train=64, augmentation=EVERYTHING)
    data = datasets.load_dataset(asked)
    assert torch.equal(epoch(data, seed=1)[0], epoch(data, seed=1)[0])
    assert not torch.equal(epoch(data, seed=1)[0], epoch(data, seed=2)[0])
    generator = seeded(1)
    first, second = (next(data.train_batches(64, generator))[0] for _ in range(2))
    assert not torch.equal(first.sort()[0], second.sort()[0])
    plain = datasets.load_dataset(spec(train=64))
    assert torch.equal(epoch(data, seed=1)[1], epoch(plain, seed=1)[1])
    assert torch.equal(validation(data)[0], validation(plain)[0])


def test_augmented_batches_are_changed_before_they_are_normalised():
    asked = spec("synthetic", 40, 20, image_size=16, augmentation=EVERYTHING)
    plain = datasets.load_dataset(
        asked.model_copy(update={"augmentation": Augmentation()}),
        normalisation=([0.0] * 3, [1.0] * 3),
    )
    data = datasets.load_dataset(asked, normalisation=([0.5] * 3, [0.25] * 3))
    generator = seeded(3)
    order = torch.randperm(40, generator=generator)[:32]
    draws = augment.draw(EVERYTHING, 32, generator)
    batch = plain.sample(40)[0][order]
    expected = (one_by_one(batch, draws, EVERYTHING) - 0.5) / 0.25
    torch.testing.assert_close(epoch(data, 16, 3)[0], expected, atol=2e-4, rtol=0)


# Downloads


class Site:
    """A site on this machine: files by path, and what was asked for."""

    def __init__(self):
        self.files, self.asked, self.pause_s = {}, [], 0.0
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                site.asked.append(self.path)
                time.sleep(site.pause_s)
                content = site.files.get(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def downloads_of(self, path):
        # torchvision asks once for where an address leads, and once for what is there.
        return self.asked.count(path) // 2

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site():
    here = Site()
    yield here
    here.close()


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def archive(files):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def cifar10(site, monkeypatch):
    """Offer CIFAR-10 as its publisher does, with 20 images in each of its six files."""
    kind = torchvision.datasets.CIFAR10
    names = [one[0] for one in kind.train_list + kind.test_list]
    rng = np.random.default_rng(0)
    files = {
        name: pickle.dumps(
            {
                "data": rng.integers(0, 256, (20, 3072), dtype=np.uint8),
                "labels": [number % 10 for number in range(20)],
            }
        )
        for name in names
    }
    words = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]
    files["batches.meta"] = pickle.dumps({"label_names": words})
    packed = archive({f"cifar-10-batches-py/{name}": c for name, c in files.items()})
    site.files["/cifar-10-python.tar.gz"] = packed
    monkeypatch.setattr(kind, "url", f"{site.url}/cifar-10-python.tar.gz")
    monkeypatch.setattr(kind, "tgz_md5", md5(packed))
    monkeypatch.setattr(kind, "train_list", [[name, md5(files[name])] for name in names[:5]])
    monkeypatch.setattr(kind, "test_list", [[names[5], md5(files[names[5]])]])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(files["batches.meta"])})
    return files


def png(seed):
    packed = io.BytesIO()
    picture(seed, 40, 30).save(packed, "PNG")
    return packed.getvalue()


@pytest.fixture
def dtd(site, monkeypatch):
    """Offer the textures, which torchvision takes for whole as soon as their folder exists."""
    files, lists = {}, {"train": [], "val": [], "test": []}
    for label, name in enumerate(("banded", "dotted")):
        for number in range(12):
            files[f"dtd/images/{name}/{name}_{number:04d}.jpg"] = png(100 * label + number)
            lists[("train", "val", "test")[number % 3]].append(f"{name}/{name}_{number:04d}.jpg")
    for part, lines in lists.items():
        files[f"dtd/labels/{part}1.txt"] = "\n".join(lines).encode()
    packed = archive(files)
    site.files["/dtd-r1.0.1.tar.gz"] = packed
    monkeypatch.setattr(torchvision.datasets.DTD, "_URL", f"{site.url}/dtd-r1.0.1.tar.gz")
    monkeypatch.setattr(torchvision.datasets.DTD, "_MD5", md5(packed))
    monkeypatch.setitem(
        TORCHVISION_SETS, "dtd", replace(TORCHVISION_SETS["dtd"], classes=2, images=24)
    )
    return spec("dtd", 12, 10)


def test_cifar10_is_downloaded_once(cifar10, site, downloads, capfd):
    asked = spec("cifar10", 80, 40)
    datasets.check_dataset(asked)
    assert capfd.readouterr() == ("", "")
    data = datasets.load_dataset(asked, normalisation=([0.0] * 3, [1.0] * 3))
    assert site.downloads_of("/cifar-10-python.tar.gz") == 1
    assert (data.classes, data.train_count, data.validation_count) == (10, 80, 40)
    pooled = np.concatenate(
        [pickle.loads(c)["data"] for n, c in cifar10.items() if "meta" not in n]
    )
    known = {row.reshape(3, 32, 32).tobytes() for row in pooled}
    given = torch.cat([epoch(data, 1)[0], validation(data)[0]])
    assert {(image * 255).round().byte().numpy().tobytes() for image in given} == known
    site.close()
    assert datasets.load_dataset(asked).sha256 == data.sha256
    named = asked.model_copy(
        update={"classes": {"pet": ["cat", "dog"], "car": ["truck"]}, "train_images": 10,
                "validation_images": 8}
    )  # fmt: skip
    assert datasets.load_dataset(named).classes == 2
    assert not list(downloads.glob("*.partial"))


def test_what_is_not_at_hand_is_not_downloaded_unasked(site, dtd):
    datasets.check_dataset(dtd, download=False)
    assert datasets.count_classes(dtd) == 2
    with pytest.raises(BadInputError, match="not to be downloaded"):
        datasets.load_dataset(dtd, download=False)
    assert not site.asked
    datasets.check_dataset(dtd)
    datasets.load_dataset(dtd, download=False)


def test_textures_are_downloaded_once_and_decoded(site, dtd, downloads):
    data = datasets.load_dataset(dtd)
    assert data.classes == 2
    assert (downloads / "dtd" / "dtd" / "dtd" / "images").is_dir()
    site.close()
    assert datasets.load_dataset(dtd).sha256 == data.sha256


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("wrong", "what came is not the published file: its checksum differs"),
        ("half", "what came is not the published file: its checksum differs"),
        ("missing", "127.0.0.1 answers 404"),
        ("gone", "no answer: Connection refused"),
        ("full", "No space left on device"),
    ],
)
@pytest.mark.parametrize("name", ["dtd", "cifar10"])
def test_a_failed_download_is_told_and_repeated(
    request, site, downloads, monkeypatch, name, harm, told
):
    request.getfixturevalue(name)
    asked = spec(name, 12, 10)
    (path, content), *_ = site.files.items()
    with monkeypatch.context() as patched:
        if harm == "wrong":
            site.files[path] = b"x" + content
        elif harm == "half":
            site.files[path] = content[: len(content) // 2]
        elif harm == "missing":
            del site.files[path]
        elif harm == "gone":
            address = "url" if name == "cifar10" else "_URL"
            patched.setattr(TORCHVISION_SETS[name].kind, address, f"http://127.0.0.1:9{path}")
        else:
            patched.setattr(tarfile.TarFile, "extractall", no_space)
        for step in (datasets.check_dataset, datasets.load_dataset):
            with pytest.raises(BadInputError) as caught:
                step(asked)
            text = one_line(caught)
            assert f"dataset.name = {name}: could not be downloaded ({told}" in text
            assert path[1:] in text
            assert f"{downloads / name} by hand" in text
            assert "GREENCV_DATASETS" in text
    site.files[path] = content
    assert datasets.load_dataset(asked).train_count == 12


def no_space(*_, **__):
    raise OSError(28, os.strerror(28))


def test_an_interrupted_unpacking_is_repeated(site, dtd, monkeypatch):
    whole = tarfile.TarFile.extractall

    def interrupted(self, path, **options):
        whole(self, path, members=self.getmembers()[:10], **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(tarfile.TarFile, "extractall", interrupted)
        with pytest.raises(KeyboardInterrupt):
            datasets.load_dataset(dtd)
    data = datasets.load_dataset(dtd)
    assert data.train_count == 12
    assert site.downloads_of("/dtd-r1.0.1.tar.gz") == 1  # the archive was whole


def test_an_unchecked_archive_that_broke_off_is_not_kept(site, monkeypatch):
    lines = {
        part: "\n".join(f"{part}{number} type {number % 2}" for number in range(12))
        for part in ("trainval", "test")
    }
    root = "fgvc-aircraft-2013b/data"
    files = {f"{root}/images_variant_{part}.txt": text.encode() for part, text in lines.items()}
    files[f"{root}/variants.txt"] = b"type 0\ntype 1"
    for part in lines:
        files.update({f"{root}/images/{part}{n}.jpg": png(n) for n in range(12)})
    whole = archive(files)
    kind = torchvision.datasets.FGVCAircraft
    monkeypatch.setattr(kind, "_URL", f"{site.url}/fgvc-aircraft-2013b.tar.gz")
    monkeypatch.setitem(
        TORCHVISION_SETS,
        "fgvc_aircraft",
        replace(TORCHVISION_SETS["fgvc_aircraft"], classes=2, images=24),
    )
    asked = spec("fgvc_aircraft", 12, 10)
    site.files["/fgvc-aircraft-2013b.tar.gz"] = whole[: len(whole) // 2]
    with pytest.raises(BadInputError) as caught:
        datasets.load_dataset(asked)
    assert "what came is damaged" in one_line(caught)
    site.files["/fgvc-aircraft-2013b.tar.gz"] = whole
    assert datasets.load_dataset(asked).train_count == 12


def test_an_archive_put_by_hand_is_unpacked_without_a_network(site, dtd, downloads):
    packed = site.files["/dtd-r1.0.1.tar.gz"]
    site.close()
    place = downloads / "dtd" / "dtd"
    place.mkdir(parents=True)
    (place / "dtd-r1.0.1.tar.gz").write_bytes(packed)
    assert datasets.load_dataset(dtd).train_count == 12
    assert (downloads / "dtd" / "dtd" / "dtd" / "images").is_dir()


def test_files_put_by_hand_need_no_network_and_no_permission(site, dtd, downloads, monkeypatch):
    datasets.load_dataset(dtd)
    site.close()
    for lock in downloads.glob("*.lock"):
        lock.unlink()
    monkeypatch.setattr(download, "FileLock", None)
    assert datasets.load_dataset(dtd).train_count == 12


def test_two_do_not_download_at_once(site, dtd, downloads):
    site.pause_s = 0.3
    got = []
    threads = [
        threading.Thread(target=lambda: got.append(datasets.load_dataset(dtd).sha256))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 3
    assert len(set(got)) == 1
    assert site.downloads_of("/dtd-r1.0.1.tar.gz") == 1
    assert not list(downloads.glob("*.incomplete-*"))


def test_cars_are_to_be_put_by_hand(downloads):
    with pytest.raises(BadInputError) as caught:
        datasets.check_dataset(spec("stanford_cars", 300, 300))
    text = one_line(caught)
    assert "no longer offers it" in text
    assert f"stanford_cars/*, in {downloads / 'stanford_cars'} by hand" in text


def test_the_folder_of_downloads(monkeypatch, tmp_path):
    monkeypatch.setenv("GREENCV_DATASETS", "~/sets")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert download.downloads_folder() == tmp_path / "sets"
    monkeypatch.delenv("GREENCV_DATASETS")
    folder = download.downloads_folder()
    assert folder.parts[-2:] == ("greencv", "datasets")
