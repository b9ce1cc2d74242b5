"""The page on the re-analysis, with all, some and none of the published files."""

import json
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from greencv_core.published.seaa2023.runs import PROCESSED, RELEASE
from tests.conftest import NOBODY, ROOT, greencv
from tests.published.conftest import link


def page_text():
    """Execute the notebook in a kernel of its own and return all that it shows."""
    path = Path(ROOT) / "notebooks" / "reanalysis.ipynb"
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": path.parent}}
    client = NotebookClient(notebook, timeout=300, resources=resources)
    executed = client.execute(env=dict(os.environ))
    outputs = [o for c in executed.cells for o in c.get("outputs", [])]
    assert not any(o.output_type == "error" for o in outputs)
    assert not any(o.get("name") == "stderr" for o in outputs)
    return json.dumps([o.get("data", {}) for o in outputs])


def test_the_page_says_what_is_missing_and_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("GREENCV_DATA", NOBODY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    text = page_text()
    assert "published measurements are not here" in text
    assert "run again when online" in text
    assert "GREENCV_DATA" in text


def test_damaged_files_are_named_and_the_rest_is_analysed(reanalysis, tmp_path):
    flipped, cut, gone = sorted(p for p in RELEASE.hashes if "cloud/vgg16/gpu-power" in p)[:3]
    folder, damaged = tmp_path / "seaa2023", (flipped, cut, gone)
    link({p: f for p, f in reanalysis.files.items() if p not in damaged}, folder)
    content = bytearray(reanalysis.files[flipped].read_bytes())
    content[5000] ^= 1
    (folder / flipped).write_bytes(content)
    (folder / cut).write_bytes(reanalysis.files[cut].read_bytes()[:9000])
    done = greencv("reanalyse", "--json", GREENCV_DATA=str(tmp_path))
    assert done.returncode == 3
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    for path, text in zip((flipped, cut, gone), lines, strict=True):
        assert path in text
    assert "SHA-256" in lines[0]
    assert "SHA-256" in lines[1]
    assert "missing" in lines[2]
    content = json.loads(done.stdout)
    assert content["data"]["runs_from_raw_logs"] == 306
    assert len(content["data"]["problems"]) == 3
    assert len(content["claims"]["disagreeing"]) == content["claims"]["not_known"] == 14
    assert content["headline"]["published"]["of_medians"] == pytest.approx(0.8138637, abs=1e-6)


def test_without_the_processed_file_one_line_says_so(reanalysis, tmp_path):
    for path, source in reanalysis.files.items():
        if path.startswith("processed"):
            target = tmp_path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes() + b"more")
    done = greencv("reanalyse", GREENCV_DATA=str(tmp_path))
    assert done.returncode == 1
    assert "processed/dl-training-energy-consumption-dataset.gzip: this copy is not" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kept", "lines"),
    [("", 10), ("cloud/vgg16/gpu-power-20230309T132750.csv", 10)],
    ids=["no log", "one log"],
)
def test_the_page_is_made_of_what_there_is(reanalysis, kept, lines, tmp_path, monkeypatch):
    source = Path(reanalysis.files[PROCESSED]).parent.parent
    target = tmp_path / "seaa2023"
    paths = ("processed", *([f"raw/{kept}"] if kept else []))
    link({path: source / path for path in paths}, target)
    monkeypatch.setenv("GREENCV_DATA", str(tmp_path))
    text = page_text()
    assert "files could not be used; the rest is analysed" in text
    assert re.search("raw/cloud/vgg16: (60|59) files: missing", text)
    assert "81.39" in text
    done = greencv("reanalyse", "--json")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == lines
    headline = json.loads(done.stdout)["headline"]
    assert headline["published"]["of_medians"] == pytest.approx(0.8138637, abs=1e-6)
    assert (headline["net_of_low"]["saving"] is None) is (not kept)


def test_the_page_shows_each_figure_beside_ours(reanalysis):
    text = page_text()
    assert "could not be used" not in text
    assert "98.83" in text
    assert "127.048441" in text
    for tag in ("Does not hold", "Holds", "blocks of", "autocorrelation"):
        assert tag in text, tag
    assert len(re.findall('"kind": "figure"', text)) >= 4
