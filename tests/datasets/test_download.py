"""Download of torchvision's data sets from a server on this machine."""

import hashlib
import io
import os
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision

from greencv_core import datasets
from greencv_core.datasets import download
from greencv_core.datasets.torchvision_sets import TORCHVISION_SETS
from tests.datasets.helpers import UNCHANGED, epoch, picture, spec, validation
from tests.support.refusals import refusal


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
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ]  # fmt: skip
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
    monkeypatch.setattr(torchvision.datasets.DTD, "_MD5", md5(packed))
    return offer_small("dtd", f"{site.url}/dtd-r1.0.1.tar.gz", monkeypatch)


def offer_small(name, url, monkeypatch):
    """Offer a set of 24 images in two classes at a URL; return a study's part of it."""
    entry = replace(TORCHVISION_SETS[name], classes=2, images=24)
    monkeypatch.setattr(entry.kind, "_URL", url)
    monkeypatch.setitem(TORCHVISION_SETS, name, entry)
    return spec(name, 12, 10)


def test_cifar10_is_downloaded_once(cifar10, site, downloads, capfd):
    requested = spec("cifar10", 80, 40)
    datasets.check_dataset(requested)
    assert capfd.readouterr() == ("", "")
    data = datasets.load_dataset(requested, normalisation=UNCHANGED)
    assert site.downloads_of("/cifar-10-python.tar.gz") == 1
    assert (data.classes, data.train_count, data.validation_count) == (10, 80, 40)
    pooled = np.concatenate(
        [pickle.loads(c)["data"] for n, c in cifar10.items() if "meta" not in n]
    )
    known = {row.reshape(3, 32, 32).tobytes() for row in pooled}
    given = torch.cat([epoch(data, 1)[0], validation(data)[0]])
    assert {(image * 255).round().byte().numpy().tobytes() for image in given} == known
    site.close()
    assert datasets.load_dataset(requested).sha256 == data.sha256
    named = requested.model_copy(
        update={"classes": {"pet": ["cat", "dog"], "car": ["truck"]}, "train_images": 10,
                "validation_images": 8}
    )  # fmt: skip
    assert datasets.load_dataset(named).classes == 2
    assert not list(downloads.glob("*.partial"))


def test_nothing_is_downloaded_without_permission(site, dtd):
    datasets.check_dataset(dtd, download=False)
    assert datasets.count_classes(dtd) == 2
    assert "downloads are switched off" in refusal(datasets.load_dataset, dtd, download=False)
    assert not site.requested
    datasets.check_dataset(dtd)
    datasets.load_dataset(dtd, download=False)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("wrong", "the download is not the published file: its checksum differs"),
        ("half", "the download is not the published file: its checksum differs"),
        ("missing", "127.0.0.1 responds with 404"),
        ("gone", "no response: Connection refused"),
        ("full", "No space left on device"),
    ],
)
@pytest.mark.parametrize("name", ["dtd", "cifar10"])
def test_a_failed_download_is_reported_and_repeated(
    request, site, downloads, monkeypatch, name, harm, message
):
    request.getfixturevalue(name)
    requested = spec(name, 12, 10)
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
            text = refusal(step, requested)
            assert f"dataset.name = {name}: could not be downloaded ({message}" in text
            assert path[1:] in text
            assert f"{downloads / name} by hand" in text
            assert "GREENCV_DATASETS" in text
    site.files[path] = content
    assert datasets.load_dataset(requested).train_count == 12


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


def test_an_incomplete_archive_without_checksum_is_deleted(site, monkeypatch):
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
    url = f"{site.url}/fgvc-aircraft-2013b.tar.gz"
    requested = offer_small("fgvc_aircraft", url, monkeypatch)
    site.files["/fgvc-aircraft-2013b.tar.gz"] = whole[: len(whole) // 2]
    assert "the download is damaged" in refusal(datasets.load_dataset, requested)
    site.files["/fgvc-aircraft-2013b.tar.gz"] = whole
    assert datasets.load_dataset(requested).train_count == 12


def test_an_archive_put_by_hand_is_unpacked_without_a_network(site, dtd, downloads):
    packed = site.files["/dtd-r1.0.1.tar.gz"]
    site.close()
    target = downloads / "dtd" / "dtd"
    target.mkdir(parents=True)
    (target / "dtd-r1.0.1.tar.gz").write_bytes(packed)
    assert datasets.load_dataset(dtd).train_count == 12
    assert (downloads / "dtd" / "dtd" / "dtd" / "images").is_dir()


def test_files_put_by_hand_need_no_network_and_no_lock(site, dtd, downloads, monkeypatch):
    datasets.load_dataset(dtd)
    site.close()
    for lock in downloads.glob("*.lock"):
        lock.unlink()
    monkeypatch.setattr(download, "FileLock", None)
    assert datasets.load_dataset(dtd).train_count == 12


def test_parallel_processes_download_once(site, dtd, downloads):
    site.pause_s = 0.3
    with ThreadPoolExecutor(3) as threads:
        loaded = list(threads.map(datasets.load_dataset, [dtd] * 3))
    assert len({data.sha256 for data in loaded}) == 1
    assert site.downloads_of("/dtd-r1.0.1.tar.gz") == 1
    assert not list(downloads.glob("*.incomplete-*"))


def test_cars_are_to_be_put_by_hand(downloads):
    text = refusal(datasets.check_dataset, spec("stanford_cars", 300, 300))
    assert "no longer offers it" in text
    assert f"stanford_cars/*, in {downloads / 'stanford_cars'} by hand" in text


def test_the_folder_of_downloads(monkeypatch, tmp_path):
    monkeypatch.setenv("GREENCV_DATASETS", "~/sets")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert download.downloads_folder() == tmp_path / "sets"
    monkeypatch.delenv("GREENCV_DATASETS")
    folder = download.downloads_folder()
    assert folder.parts[-2:] == ("greencv", "datasets")
