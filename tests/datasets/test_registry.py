"""Names, classes and sizes of data sets; synthetic images."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from greencv_core import datasets
from greencv_core.datasets import registry
from greencv_core.datasets.raw import ArrayPool
from greencv_core.datasets.torchvision_sets import TORCHVISION_SETS, read_arrays
from greencv_core.study.plan import ARRAYS
from greencv_core.study.schema import Augmentation
from tests.datasets.helpers import UNCHANGED, epoch, of_folder, spec, validation
from tests.support.refusals import refusal


def test_class_counts_need_no_download():
    names = datasets.dataset_names()
    assert names[0] == "digits"
    assert {"cifar10", "cifar100", "eurosat", "oxfordpets", "synthetic"} <= set(names)
    for name, entry in TORCHVISION_SETS.items():
        assert datasets.count_classes(spec(name, 300, 300)) == entry.classes > 1
    assert datasets.count_classes(spec()) == 10
    assert datasets.count_classes(spec("synthetic", 30, 30, classes=7)) == 7
    assert datasets.count_classes(spec("synthetic", 30, 30)) == 10


@pytest.mark.parametrize(
    ("requested", "message"),
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
def test_impossible_data_sets_are_one_line(requested, message):
    assert message in refusal(datasets.check_dataset, requested, download=False)


def test_possible_data_sets_pass(folder):
    for possible in (spec(), of_folder(folder), spec("synthetic", 30, 30)):
        datasets.check_dataset(possible)
    datasets.check_dataset(spec("cifar10", 50_000, 10_000), download=False)


def test_classes_of_a_study_join_those_of_the_data_set(folder):
    requested = spec(classes={"round": ["0", "6", "9"], "straight": ["1", "7"]})
    assert datasets.load_dataset(requested).classes == datasets.count_classes(requested) == 2
    bunch = load_digits()
    known = {}
    for image, digit in zip(bunch.images, bunch.target, strict=True):
        known.setdefault((image / 16).astype(np.float32).tobytes(), digit)
    small = datasets.load_dataset(
        requested.model_copy(update={"image_size": 8}), normalisation=UNCHANGED
    )
    for given, labels in (validation(small), epoch(small)):
        for image, label in zip(given, labels.tolist(), strict=True):
            digit = known[image[0].numpy().tobytes()]
            assert digit in ((0, 6, 9), (1, 7))[label]
    requested = of_folder(folder, 12, 6, classes={"cat": ["cat"], "insect": ["ant", "bee"]})
    assert datasets.load_dataset(requested).classes == 2
    unknown = of_folder(folder, classes={"x": ["aunt"], "y": ["bee"]})
    assert "did you mean ant" in refusal(datasets.check_dataset, unknown)


def test_the_seed_determines_synthetic_images():
    requested = spec("synthetic", 60, 30, classes=3, image_size=24)
    first, again = datasets.load_dataset(requested), datasets.load_dataset(requested)
    assert torch.equal(epoch(first)[0], epoch(again)[0])
    assert first.sample(4)[0].shape == (4, 3, 24, 24)
    changed = requested.model_copy(update={"split_seed": 9})
    plain = [datasets.load_dataset(one, normalisation=UNCHANGED) for one in (requested, changed)]
    drawn, others = ({one.numpy().tobytes() for one in data.sample(60)[0]} for data in plain)
    assert not drawn & others
    assert torch.bincount(epoch(first, 60)[1]).tolist() == [20] * 3


def test_data_sets_of_arrays_are_known_without_opening_them():
    arrays = {name for name, entry in TORCHVISION_SETS.items() if entry.read is read_arrays}
    assert {*registry.SOURCES, *arrays} >= ARRAYS >= arrays


def test_too_many_synthetic_images_are_refused(monkeypatch):
    monkeypatch.setattr(registry, "available_memory_bytes", lambda: 1000.0)
    text = refusal(datasets.check_dataset, spec("synthetic", 60, 30))
    assert "fewer or smaller images" in text


def test_one_entry_adds_a_data_set(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 16, 16), dtype=np.uint8)
    pool = ArrayPool(images, np.arange(40) % 2, ("odd", "even"))
    monkeypatch.setitem(registry.SOURCES, "own", registry.Source(lambda dataset: pool))
    own = spec("own", 20, 10, image_size=16)
    assert "own" in datasets.dataset_names()
    datasets.check_dataset(own)
    assert datasets.count_classes(own) == 2
    assert datasets.load_dataset(own).sample(4)[0].shape == (4, 3, 16, 16)
