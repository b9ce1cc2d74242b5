"""Download of Keras's weights from a mirror or a folder."""

import hashlib
import re
from dataclasses import replace

import pytest

from greencv_core.architectures.keras import PAPER_ARCHITECTURES, build_paper
from greencv_core.architectures.keras.keras_weights import load_imagenet, load_keras_file
from greencv_core.utils.errors import GreencvError
from tests.architectures.keras_files import same, weights_of
from tests.conftest import NOBODY
from tests.support.refusals import refusal

NAME = "mobilenet_v2"


@pytest.fixture
def content(keras_file):
    return keras_file.read_bytes()


@pytest.fixture
def publish(monkeypatch):
    """Let Keras publish a file with a given hash; return the file's name."""

    def change(md5, cached_name=""):
        entry = PAPER_ARCHITECTURES[NAME]
        weights = replace(entry.weights, md5=md5, cached_name=cached_name)
        monkeypatch.setitem(PAPER_ARCHITECTURES, NAME, replace(entry, weights=weights))
        return weights.name

    return change


def loads_same_weights(keras_file, model):
    wanted = build_paper(NAME, 2)
    load_keras_file(wanted, NAME, keras_file)
    return same(weights_of(model), weights_of(wanted))


@pytest.mark.parametrize("has_hash", [True, False])
def test_weights_are_downloaded_once_from_a_mirror(
    site, keras_file, content, publish, monkeypatch, tmp_path, has_hash
):
    name = publish(hashlib.md5(content).hexdigest() if has_hash else None)
    site.files[f"/{name}"] = content
    monkeypatch.setenv("GREENCV_WEIGHTS", f"{site.url}/")
    for _ in range(2):
        model = build_paper(NAME, 2)
        assert load_imagenet(model, NAME) == hashlib.sha256(content).hexdigest()
        assert loads_same_weights(keras_file, model)
    assert site.requested == [f"/{name}"]
    assert (tmp_path / "cache" / "greencv" / "weights" / name).is_file()


@pytest.mark.parametrize("in_keras_cache", [False, True])
def test_a_folder_of_weights_is_read_in_place(
    keras_file, content, publish, monkeypatch, tmp_path, in_keras_cache
):
    name = publish(hashlib.md5(content).hexdigest(), "cached.h5")
    (tmp_path / ("cached.h5" if in_keras_cache else name)).write_bytes(content)
    monkeypatch.setenv("GREENCV_WEIGHTS", str(tmp_path))
    model = build_paper(NAME, 2)
    assert load_imagenet(model, NAME) == hashlib.sha256(content).hexdigest()
    assert loads_same_weights(keras_file, model)
    assert not (tmp_path / "cache").exists()


def test_a_file_with_a_wrong_hash_is_refused(site, content, publish, monkeypatch, tmp_path):
    name = publish("0" * 32)
    site.files[f"/{name}"] = content
    (tmp_path / name).write_bytes(content)
    model = build_paper(NAME, 2)
    before = weights_of(model)
    for location in (site.url, str(tmp_path)):
        monkeypatch.setenv("GREENCV_WEIGHTS", location)
        assert "its MD5 differs" in refusal(load_imagenet, model, NAME, kind=GreencvError)
    assert not list((tmp_path / "cache").rglob("*.h5"))
    assert same(before, weights_of(model))


@pytest.mark.parametrize(
    ("location", "message"),
    [
        (NOBODY, "could not be downloaded .no response from.*GREENCV_WEIGHTS"),
        ("ftp://example.org", "neither a folder nor the URL"),
        ("/nowhere/at/all", "names /nowhere/at/all, which has no .*no_top.h5; unset it"),
        ("server", "responds with 404"),
    ],
)
def test_unavailable_weights_are_one_line(site, monkeypatch, location, message):
    monkeypatch.setenv("GREENCV_WEIGHTS", site.url if location == "server" else location)
    assert re.search(message, refusal(load_imagenet, build_paper(NAME, 2), NAME, kind=GreencvError))


def test_only_mobilenet_has_no_published_hash():
    without = [name for name, entry in PAPER_ARCHITECTURES.items() if entry.weights.md5 is None]
    assert without == [NAME]
