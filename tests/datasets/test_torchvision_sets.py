"""Each of torchvision's data sets as its publisher arranges it, in small: read whole and right."""

import bz2
import json
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from greencv_core import datasets
from greencv_core.datasets.download import open_or_download
from greencv_core.datasets.raw import FilePool
from greencv_core.datasets.torchvision_sets import TORCHVISION_SETS
from greencv_core.study.schema import Dataset
from tests.datasets.helpers import UNCHANGED


def image(path, label):
    """Write an image whose colour is its label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 10), (label, label, label)).save(path, "PNG")


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows))


def class_folders(root, names, pattern="{number}.jpg"):
    for label, name in enumerate(names):
        for number in range(1, 4):
            image(root / name / pattern.format(label=label + 1, number=number), label)


def parts(folders, names, root, pattern="{number}.jpg"):
    """Arrange folders of classes, three images each."""
    for folder in folders:
        class_folders(root / folder, names, pattern)
    return names, 6 * len(folders)


def caltech101(root):
    base = root / "caltech101" / "101_ObjectCategories"
    class_folders(base, ["ant", "bass"], pattern="image_{number:04d}.jpg")
    image(base / "BACKGROUND_Google" / "image_0001.jpg", 9)
    return ["ant", "bass"], 6


def caltech256(root):
    base = root / "caltech256" / "256_ObjectCategories"
    names = ["001.ak47", "002.flag"]
    class_folders(base, names, pattern="{label:03d}_{number:04d}.jpg")
    (base / "002.flag" / "RENAME2").write_text("")
    return names, 6


def idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(head + array.tobytes())


def mnist_files(folder, names, prefixes, root):
    labels = np.arange(20, dtype=np.uint8) % 10
    pixels = np.repeat(labels, 28 * 28).reshape(20, 28, 28)
    for prefix in prefixes:
        idx(root / folder / "raw" / f"{prefix}-images-idx3-ubyte", pixels)
        idx(root / folder / "raw" / f"{prefix}-labels-idx1-ubyte", labels)
    return names, 40


def flowers102(root):
    base = root / "flowers-102"
    labels = np.arange(12) % 4 + 1
    for number, label in enumerate(labels, 1):
        image(base / "jpg" / f"image_{number:05d}.jpg", int(label) - 1)
    savemat(base / "imagelabels.mat", {"labels": labels})
    parts = {"trnid": [1, 2, 3, 4], "valid": [5, 6, 7, 8], "tstid": [9, 10, 11, 12]}
    savemat(base / "setid.mat", parts)
    return 102, 12


def food101(root):
    base = root / "food-101"
    for part, numbers in (("train", (1, 2)), ("test", (3,))):
        listed = {name: [f"{name}/{n}" for n in numbers] for name in ("apple_pie", "waffles")}
        lines(base / "meta" / f"{part}.json", [json.dumps(listed)])
    class_folders(base / "images", ["apple_pie", "waffles"])
    return ["apple_pie", "waffles"], 6


def gtsrb(root):
    base = root / "gtsrb"
    for label in (0, 1):
        for number in range(3):
            image(base / "GTSRB" / "Training" / f"{label:05d}" / f"{number}.ppm", label)
    for number, label in enumerate((1, 0)):
        image(base / "GTSRB" / "Final_Test" / "Images" / f"{number:05d}.ppm", label)
    lines(base / "GT-final_test.csv", ["Filename;Width;ClassId", "00000.ppm;9;1", "00001.ppm;9;0"])
    return 43, 8


def imagenette(root):
    ids = ["n01440764", "n02102040"]
    for part in ("train", "val"):
        class_folders(root / "imagenette2" / part, ids, pattern=part + "{number}.JPEG")
    return ["tench", "English springer"], 12


def oxfordpets(root):
    base = root / "oxford-iiit-pet"
    names = ["Abyssinian", "american_bulldog"]
    for part, numbers in (("trainval", (1, 2)), ("test", (3,))):
        rows = []
        for label, name in enumerate(names):
            for number in numbers:
                image(base / "images" / f"{name}_{number}.jpg", label)
                rows.append(f"{name}_{number} {label + 1} 1 1")
        lines(base / "annotations" / f"{part}.txt", rows)
    return ["Abyssinian", "American Bulldog"], 6


def semeion(root):
    root.mkdir(parents=True)
    labels = np.arange(20) % 10
    rows = np.hstack([np.zeros((20, 256)), np.eye(10)[labels]])
    np.savetxt(root / "semeion.data", rows)
    return list("0123456789"), 20


def stanford_cars(root):
    base = root / "stanford_cars"
    kind = [("class", int), ("fname", object)]
    for part, target in (
        ("train", base / "devkit" / "cars_train_annos.mat"),
        ("test", base / "cars_test_annos_withlabels.mat"),
    ):
        rows = [(number % 2 + 1, f"{number:05d}.jpg") for number in range(4)]
        for label, name in rows:
            image(base / f"cars_{part}" / name, label - 1)
        target.parent.mkdir(parents=True, exist_ok=True)
        savemat(target, {"annotations": np.array(rows, dtype=kind)})
    names = np.array(["AM General Hummer", "Acura RL"], dtype=object)
    savemat(base / "devkit" / "cars_meta.mat", {"class_names": names})
    return ["AM General Hummer", "Acura RL"], 8


def stl10(root):
    base = root / "stl10_binary"
    lines(base / "class_names.txt", [f"kind {number}" for number in range(10)])
    labels = np.arange(10, dtype=np.uint8)
    pixels = np.repeat(labels, 3 * 96 * 96)
    for part in ("train", "test"):
        (base / f"{part}_X.bin").write_bytes(pixels.tobytes())
        (base / f"{part}_y.bin").write_bytes((labels + 1).tobytes())
    (base / "unlabeled_X.bin").write_bytes(b"")
    return [f"kind {number}" for number in range(10)], 20


def sun397(root):
    base = root / "SUN397"
    lines(base / "ClassName.txt", ["/a/abbey", "/a/access_road/indoor"])
    class_folders(base, ["a/abbey", "a/access_road/indoor"], pattern="sun_{number}.jpg")
    return ["abbey", "access_road/indoor"], 6


def svhn(root):
    root.mkdir(parents=True)
    labels = np.arange(1, 11)
    pixels = np.empty((32, 32, 3, 10), dtype=np.uint8)
    pixels[:] = labels % 10
    for part in ("train", "test"):
        savemat(root / f"{part}_32x32.mat", {"X": pixels, "y": labels[:, None]})
    return list("0123456789"), 20


def usps(root):
    root.mkdir(parents=True)
    rows = [
        f"{label + 1} " + " ".join(f"{n}:{label / 127.5 - 1 + 0.001}" for n in range(1, 257))
        for label in range(10)
    ]
    for name in ("usps.bz2", "usps.t.bz2"):
        (root / name).write_bytes(bz2.compress(("\n".join(rows) + "\n").encode()))
    return list("0123456789"), 20


ARRANGED = [
    caltech101, caltech256, flowers102, food101, gtsrb, imagenette, oxfordpets, semeion,
    stanford_cars, stl10, sun397, svhn, usps,
]  # fmt: skip
MNIST, EMNIST = ("train", "t10k"), ("emnist-balanced-train", "emnist-balanced-test")
SPLIT = ("train", "valid", "test")
LAYOUTS = {
    **{layout.__name__: layout for layout in ARRANGED},
    "mnist": partial(mnist_files, "MNIST", list("0123456789"), MNIST),
    "fashionmnist": partial(mnist_files, "FashionMNIST", 10, MNIST),
    "kmnist": partial(mnist_files, "KMNIST", 10, MNIST),
    "emnist": partial(mnist_files, "EMNIST", 47, EMNIST),
    "eurosat": partial(parts, ["eurosat/2750"], ["AnnualCrop", "Forest"]),
    "country211": partial(parts, [f"country211/{part}" for part in SPLIT], ["AD", "AE"]),
    "rendered_sst2": partial(
        parts, [f"rendered-sst2/{part}" for part in SPLIT], ["negative", "positive"],
        pattern="{number}.png",
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _unchecked(tmp_path, monkeypatch):
    """Take files for whole though they are not the published ones."""
    import torchvision.datasets as published

    monkeypatch.setenv("GREENCV_DATASETS", str(tmp_path))
    for module in ("flowers102", "stl10", "svhn", "semeion"):
        monkeypatch.setattr(f"{published.__name__}.{module}.check_integrity", lambda *_: True)


def test_every_set_has_a_layout_here():
    elsewhere = {"cifar10", "cifar100", "dtd", "fgvc_aircraft"}
    assert set(LAYOUTS) | elsewhere == set(TORCHVISION_SETS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_set_is_read_as_it_is_arranged(name, tmp_path, monkeypatch):
    names, count = LAYOUTS[name](root=tmp_path / name)
    pool = open_or_download(name, TORCHVISION_SETS[name], download=False)
    if isinstance(names, int):
        assert len(pool.class_names) == names
    else:
        assert list(pool.class_names) == names
    assert len(pool.labels) == count
    if isinstance(pool, FilePool):
        assert list(pool.paths) == sorted(set(pool.paths))
        colours = [Image.open(pool.root / path).getpixel((0, 0))[0] for path in pool.paths]
    else:
        assert pool.images.dtype == np.uint8
        assert pool.images.shape[1] in (1, 3)
        colours = pool.images[:, 0, 0, 0].tolist()
    if name != "semeion":  # its pixels are black or white
        assert colours == pool.labels.tolist()
    kinds = len(Counter(pool.labels.tolist()))
    entry = TORCHVISION_SETS[name]
    monkeypatch.setitem(TORCHVISION_SETS, name, replace(entry, classes=2, images=None))
    if kinds == len(pool.class_names):
        half = count // 2
        spec = Dataset(name=name, image_size=16, train_images=half, validation_images=half)
        data = datasets.load_dataset(spec, normalisation=UNCHANGED)
        given, labels = data.sample(half)
        if name != "semeion":
            assert (given[:, 0, 8, 8] * 255).round().long().tolist() == labels.tolist()
