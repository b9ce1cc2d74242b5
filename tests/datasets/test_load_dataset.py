"""Loading: digits as in earlier versions, the split, hashes and normalisation."""

import hashlib
import os

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn.functional import interpolate
from torchvision.transforms.v2 import functional

from greencv_core import datasets
from greencv_core.study.schema import Augmentation
from tests.datasets.helpers import (
    CPU,
    EVERYTHING,
    UNCHANGED,
    epoch,
    of_folder,
    seeded,
    spec,
    validation,
)


def reference_digits(requested):
    """Return what the first implementation returned."""
    bunch = load_digits()
    source = (bunch.images / 16.0).astype(np.float32)
    labels = bunch.target.astype(np.int64)
    train, validated = train_test_split(
        np.arange(len(labels)),
        train_size=requested.train_images,
        test_size=requested.validation_images,
        stratify=labels,
        random_state=requested.split_seed,
    )
    digest = hashlib.sha256()
    for array in (source, labels, train.astype(np.int64), validated.astype(np.int64)):
        digest.update(np.ascontiguousarray(array).tobytes())
    scaled = interpolate(
        torch.from_numpy(source)[:, None], size=requested.image_size, mode="bilinear"
    )
    mean, deviation = scaled[train].mean(), scaled[train].std()
    scaled = ((scaled - mean) / deviation).repeat(1, 3, 1, 1)
    target = torch.from_numpy(labels)
    return scaled[train], target[train], scaled[validated], target[validated], digest.hexdigest()


@pytest.mark.parametrize("size", [8, 32, 33])
def test_digits_are_bit_for_bit_as_before(size):
    requested = spec(image_size=size, split_seed=3)
    train, train_labels, validated, validated_labels, sha256 = reference_digits(requested)
    data = datasets.load_dataset(requested).to(CPU, torch.contiguous_format)
    assert data.sha256 == sha256
    assert data.classes == 10
    assert (data.train_count, data.validation_count) == (256, 200)
    order = torch.randperm(256, generator=seeded(7))[:240]
    batches = list(data.train_batches(16, seeded(7)))
    assert len(batches) == 256 // 16
    given, labels = epoch(data, size=48, seed=7)
    assert torch.equal(given, train[order])
    assert torch.equal(labels, train_labels[order])
    assert torch.equal(validation(data)[0], validated)
    assert torch.equal(validation(data)[1], validated_labels)
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


def test_the_split_is_fixed_stratified_and_disjoint(folder):
    for requested in (spec(), of_folder(folder)):
        first, again = datasets.load_dataset(requested), datasets.load_dataset(requested)
        assert first.sha256 == again.sha256
        everything = requested.train_images
        assert torch.equal(epoch(first, everything)[0], epoch(again, everything)[0])
        other = datasets.load_dataset(requested.model_copy(update={"split_seed": 1}))
        assert other.sha256 != first.sha256
        counts = torch.bincount(epoch(first, everything)[1])
        assert counts.max() - counts.min() <= 3
        train = {one.numpy().tobytes() for one in epoch(first, everything)[0]}
        assert len(train) == requested.train_images
        assert not any(one.numpy().tobytes() in train for one in validation(first)[0])


def test_the_hash_of_files_is_of_paths_sizes_and_labels(folder, tmp_path):
    requested = of_folder(folder)
    before = datasets.load_dataset(requested).sha256
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
    for requested in (spec(), of_folder(folder, 30, 6), spec("synthetic", 30, 10)):
        given = datasets.load_dataset(requested).sample(requested.train_images)[0]
        assert given.mean().abs() < 1e-4
        assert (given.std() - 1).abs() < 0.02
        plain = datasets.load_dataset(requested, normalisation=UNCHANGED)
        other = datasets.load_dataset(requested, normalisation=([0.5, 0.4, 0.3], [0.2, 0.1, 0.3]))
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
    for start, name in enumerate(("a", "b")):
        (tmp_path / "flat" / name).mkdir(parents=True)
        for level in range(start, 8, 2):  # copies of one image would be one
            path = tmp_path / "flat" / name / f"{level}.png"
            Image.new("RGB", (8, 8), (level, level, level)).save(path)
    data = datasets.load_dataset(of_folder(tmp_path / "flat", 4, 4, image_size=8))
    assert torch.isfinite(data.sample(4)[0]).all()
