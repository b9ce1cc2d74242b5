"""What is loaded runs nothing and is unpacked nowhere else: weights, archives, images."""

import contextlib
import io
import os
import pickle
import tarfile
import zipfile

import h5py
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from greencv_core import datasets
from greencv_core.architectures import build
from greencv_core.architectures.keras import build_paper, keras_weights
from greencv_core.architectures.keras.keras_weights import load_keras_file
from greencv_core.architectures.weights import load_state
from greencv_core.study.schema import Dataset
from greencv_core.utils.errors import BadInputError
from tests.support.file_server import FileServer

NET = "squeezenet1_1"


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def trace(tmp_path):
    """Return a folder that is there if a payload ran."""
    path = tmp_path / "ran"
    yield path
    assert not path.exists(), "code ran"


@pytest.fixture
def net():
    return torchvision.models.get_model(NET, weights=None, num_classes=10)


def refused(load, *arguments):
    with pytest.raises(BadInputError) as caught:
        load(*arguments)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600
    return message


def zipped_pickle(content):
    """Return a pickle as torch's own format has it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(content, protocol=2))
        file.writestr("archive/version", "3\n")
    return packed.getvalue()


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".bin"])
@pytest.mark.parametrize("packed", [lambda c: pickle.dumps(c, protocol=2), zipped_pickle])
@pytest.mark.parametrize("inside", [lambda p: p, lambda p: {"state_dict": p}, lambda p: {"a": [p]}])
def test_a_payload_in_a_file_of_weights_does_not_run(tmp_path, trace, net, suffix, packed, inside):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(packed(inside(Payload(trace))))
    told = refused(load_state, net, path, NET)
    assert told.startswith(f"protocol.weights = file:{path}: ")
    assert "more than weights" in told
    assert "weights_only" not in told, "it must not tell how to run the file"


def test_a_payload_runs_in_no_study(tmp_path, trace):
    path = tmp_path / "weights.pt"
    path.write_bytes(pickle.dumps(Payload(trace), protocol=2))
    assert "more than weights" in refused(build.build, NET, 10, 32, f"file:{path}")


def test_what_is_kept_of_downloads_does_not_run_either(tmp_path, trace, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    url = torchvision.models.get_model_weights(NET).DEFAULT.url
    path = tmp_path / "checkpoints" / url.rpartition("/")[2]
    path.parent.mkdir()
    path.write_bytes(zipped_pickle(Payload(trace)))
    told = refused(build.build, NET, 10, 32, "imagenet")
    assert told.startswith("protocol.weights = imagenet: ")
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


@pytest.mark.parametrize(
    "content",
    [
        [1, 2], {1: torch.zeros(1)}, {"a": 1}, {"a\nb\x1b": torch.zeros(1)},
        {f"k{n}": torch.zeros(1) for n in range(200)}, {}, torch.zeros(3), None,
    ],
)  # fmt: skip
def test_a_file_of_other_things_is_told(tmp_path, net, content):
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    refused(load_state, net, path, NET)


@pytest.mark.parametrize("change", [lambda t: t.to_sparse(), lambda t: t.to(torch.complex64)])
def test_tensors_of_another_kind_are_told_or_taken(tmp_path, net, change):
    state = net.state_dict()
    first = next(iter(state))
    state[first] = change(state[first])
    path = tmp_path / "weights.pt"
    torch.save(state, path)
    with contextlib.suppress(BadInputError):
        load_state(net, path, NET)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors", "weights.h5"])
@pytest.mark.parametrize(
    "content", [b"", b"\0" * 64, b"\x80\x02", b"PK\x03\x04", b"\xff" * 64, b"\x89HDF\r\n\x1a\n"]
)
def test_bytes_that_are_no_weights_are_told(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    told = refused(build.build, "paper:vgg16", 2, 32, f"file:{path}")
    assert str(path) in told


def keras_file(path, make):
    with h5py.File(path, "w") as file:
        group = file.create_group("one")
        make(file, group)
        group.attrs["weight_names"] = [b"w"]
        file.attrs["layer_names"] = [b"one"]


def other_file(_, group):
    group.create_dataset("w", (4,), "f4", external=[("/etc/hostname", 0, 16)])


def too_large(_, group):
    group.create_dataset("w", (1 << 40,), "f4", chunks=(1024,))


def a_pickle(_, group):
    group.create_dataset("w", data=np.void(pickle.dumps({"a": 1})))


def a_group(_, group):
    group.create_group("w")


def missing_link(_, group):
    group["w"] = h5py.ExternalLink("/etc/hostname", "/w")


def link_to_itself(_, group):
    group["w"] = h5py.SoftLink("/one/w")


@pytest.mark.parametrize(
    "make", [other_file, too_large, a_pickle, a_group, missing_link, link_to_itself]
)
def test_a_hostile_file_of_keras_is_told(tmp_path, make):
    path = tmp_path / "weights.h5"
    keras_file(path, make)
    told = refused(load_keras_file, build_paper("vgg16", 2), "vgg16", path)
    assert told.startswith(f"{path}: ")


def test_keras_names_are_told_without_control_characters(tmp_path):
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"a\nb\x1b[31m"]
    refused(load_keras_file, build_paper("vgg16", 2), "vgg16", path)
    assert keras_weights.MAX_NUMBERS > 2_400_000


def member(name, **fields):
    entry = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(entry, field, value)
    return entry


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """Offer archives in the place of a set whose archive nothing checks."""
    monkeypatch.setenv("GREENCV_DATASETS", str(tmp_path / "downloads"))
    site = FileServer()
    kind = torchvision.datasets.FGVCAircraft

    def offer(*members):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for entry in members:
                entry.size = 4 if entry.isfile() else 0
                tar.addfile(entry, io.BytesIO(b"evil") if entry.isfile() else None)
        site.files["/fgvc-aircraft-2013b.tar.gz"] = packed.getvalue()
        monkeypatch.setattr(kind, "_URL", f"{site.url}/fgvc-aircraft-2013b.tar.gz")

    yield offer
    site.close()


@pytest.mark.parametrize(
    "members",
    [
        [member("../../evil")],
        [member("a/../../../evil")],
        [member("link", type=tarfile.SYMTYPE, linkname="../../.."), member("link/evil")],
        [member("link", type=tarfile.SYMTYPE, linkname="/"), member("link/tmp/evil")],
        [member("hard", type=tarfile.LNKTYPE, linkname="../../../study.yaml")],
        [member("pipe", type=tarfile.FIFOTYPE)],
        [member("device", type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
    ],
    ids=["up", "down and up", "link up", "link to the root", "hard link", "pipe", "device"],
)
@pytest.mark.parametrize("old_torchvision", [False, True])
def test_no_archive_is_unpacked_outside_its_folder(
    tmp_path, monkeypatch, offered, members, old_torchvision
):
    if old_torchvision:  # it asked for no filter
        monkeypatch.setattr(
            torchvision.datasets.utils, "_ARCHIVE_EXTRACTORS",
            {**torchvision.datasets.utils._ARCHIVE_EXTRACTORS, ".tar": unpack_as_before},
        )  # fmt: skip
    offered(*members)
    asked = Dataset(name="fgvc_aircraft", train_images=200, validation_images=200)
    told = refused(datasets.check_dataset, asked)
    assert told.startswith("dataset.name = fgvc_aircraft: could not be downloaded")
    assert "outside its folder" in told
    inside = tmp_path / "downloads"
    assert [path for path in tmp_path.rglob("*evil*") if not path.is_relative_to(inside)] == []
    assert {path.name for path in tmp_path.iterdir()} == {"downloads"}
    assert getattr(tarfile.TarFile, "extraction_filter", None) is None


def unpack_as_before(from_path, to_path, compression):
    with tarfile.open(from_path, f"r:{compression[1:]}") as tar:
        tar.extractall(to_path)


def test_absolute_members_stay_within(tmp_path, offered):
    offered(member(f"{tmp_path}/evil"))
    asked = Dataset(name="fgvc_aircraft", train_images=200, validation_images=200)
    refused(datasets.check_dataset, asked)
    assert not (tmp_path / "evil").exists()


def test_zip_archives_stay_within(tmp_path):
    from torchvision.datasets.utils import extract_archive

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in ("../evil", "/evil", "a/../../evil"):
            file.writestr(name, "evil")
    extract_archive(str(tmp_path / "a.zip"), str(tmp_path / "to"))
    assert all(path.is_relative_to(tmp_path / "to") for path in tmp_path.rglob("evil"))


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\nshowpage\n"


def of_kind(kind):
    packed = io.BytesIO()
    Image.new("RGB", (40, 40)).save(packed, kind)
    return packed.getvalue()


@pytest.mark.parametrize("content", [POSTSCRIPT, of_kind("PCX"), of_kind("PDF"), b"", b"\0" * 99])
def test_only_plain_images_are_decoded_whatever_they_are_called(tmp_path, monkeypatch, content):
    monkeypatch.setenv("GREENCV_DATASETS", str(tmp_path / "downloads"))
    for name in ("a", "b"):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for number in range(4):
            (folder / f"{number}.jpg").write_bytes(of_kind("JPEG") if number else content)
    asked = Dataset(name=f"imagefolder:{tmp_path / 'images'}", train_images=4, validation_images=4)
    assert "damaged, or not an image" in refused(datasets.check_dataset, asked)


def test_the_password_of_a_mirror_is_told_to_nobody(tmp_path, monkeypatch):
    from greencv_core.utils import downloads
    from greencv_core.utils.errors import GreencvError

    mirror = "http://me:pass-word-1@127.0.0.1:9/?token=abcdef"
    monkeypatch.setenv(downloads.VARIABLE, mirror)
    monkeypatch.setenv("GREENCV_WEIGHTS", mirror)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    release = downloads.Release("made-up", "http://127.0.0.1:9", {"a": "0" * 64}, lambda path: path)
    for get in (
        lambda: downloads.fetch(release),
        lambda: keras_weights.load_imagenet(build_paper("vgg16", 2), "vgg16"),
    ):
        with pytest.raises(GreencvError) as caught:
            get()
        assert "pass-word-1" not in str(caught.value)
        assert "abcdef" not in str(caught.value)
        assert "http://[…]@127.0.0.1:9/" in str(caught.value)
