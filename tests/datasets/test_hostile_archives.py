"""Archives are unpacked only in their folder, and only images are decoded."""

import io
import tarfile
import zipfile

import pytest
import torchvision
from PIL import Image

from greencv_core import datasets
from tests.datasets.helpers import of_folder, spec
from tests.support.refusals import refusal


def member(name, **fields):
    entry = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(entry, field, value)
    return entry


@pytest.fixture
def offered(site, monkeypatch):
    """Offer archives as those of a data set without checksum."""
    kind = torchvision.datasets.FGVCAircraft

    def offer(*members):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for entry in members:
                entry.size = 4 if entry.isfile() else 0
                tar.addfile(entry, io.BytesIO(b"evil") if entry.isfile() else None)
        site.files["/fgvc-aircraft-2013b.tar.gz"] = packed.getvalue()
        monkeypatch.setattr(kind, "_URL", f"{site.url}/fgvc-aircraft-2013b.tar.gz")

    return offer


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
    if old_torchvision:  # it requested no filter
        monkeypatch.setattr(
            torchvision.datasets.utils, "_ARCHIVE_EXTRACTORS",
            {**torchvision.datasets.utils._ARCHIVE_EXTRACTORS, ".tar": unpack_as_before},
        )  # fmt: skip
    offered(*members)
    message = refusal(datasets.check_dataset, spec("fgvc_aircraft", 200, 200))
    assert message.startswith("dataset.name = fgvc_aircraft: could not be downloaded")
    assert "outside its folder" in message
    inside = tmp_path / "downloads"
    assert [path for path in tmp_path.rglob("*evil*") if not path.is_relative_to(inside)] == []
    assert {path.name for path in tmp_path.iterdir()} == {"downloads"}
    assert getattr(tarfile.TarFile, "extraction_filter", None) is None


def unpack_as_before(from_path, to_path, compression):
    with tarfile.open(from_path, f"r:{compression[1:]}") as tar:
        tar.extractall(to_path)


def test_absolute_members_stay_within(tmp_path, offered):
    offered(member(f"{tmp_path}/evil"))
    refusal(datasets.check_dataset, spec("fgvc_aircraft", 200, 200))
    assert not (tmp_path / "evil").exists()


def test_zip_archives_stay_within(tmp_path):
    from torchvision.datasets.utils import extract_archive

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in ("../evil", "/evil", "a/../../evil"):
            file.writestr(name, "evil")
    extract_archive(str(tmp_path / "a.zip"), str(tmp_path / "to"))
    assert all(path.is_relative_to(tmp_path / "to") for path in tmp_path.rglob("evil"))


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\nshowpage\n"


def of_kind(kind, colour="black"):
    packed = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(packed, kind)
    return packed.getvalue()


@pytest.mark.parametrize("content", [POSTSCRIPT, of_kind("PCX"), of_kind("PDF"), b"", b"\0" * 99])
def test_only_image_formats_are_decoded_whatever_the_file_name(tmp_path, monkeypatch, content):
    for red, name in enumerate(("a", "b")):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for number in range(4):
            (folder / f"{number}.jpg").write_bytes(of_kind("JPEG", (99 * red, 50 * number, 0)))
    (tmp_path / "images" / "a" / "2.jpg").write_bytes(content)
    assert "damaged, or not an image" in refusal(
        datasets.check_dataset, of_folder(tmp_path / "images", 4, 4)
    )
