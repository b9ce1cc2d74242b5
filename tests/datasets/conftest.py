"""Folders of images, and an empty folder of data sets."""

import pytest

from greencv_core.datasets import registry
from tests.datasets.helpers import picture


@pytest.fixture(autouse=True)
def downloads(tmp_path, monkeypatch):
    """Return an empty folder of data sets."""
    folder = tmp_path / "downloads"
    monkeypatch.setenv("GREENCV_DATASETS", str(folder))
    return folder


@pytest.fixture
def streamed(monkeypatch):
    """Let no image fit into memory."""
    monkeypatch.setattr(registry, "available_memory_bytes", lambda: 0.0)


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
            target = root / name / ("more" if number % 2 else ".")
            image.save(target / f"{number:02d}.{kind}")
    (root / "ant" / "notes.txt").write_text("no image")
    (root / ".hidden").mkdir()
    return root


@pytest.fixture
def alike(tmp_path):
    """Return a folder of two classes with square images of one size, smaller than requested for."""
    root = tmp_path / "alike"
    for label, name in enumerate(("left", "right")):
        (root / name).mkdir(parents=True)
        for number in range(12):
            picture(100 * label + number, 20, 20).save(root / name / f"{number}.png")
    return root
