"""The pages on the re-analysis, with all, some and none of the published files."""

import json
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from greencv_core.published.seaa2023.runs import PROCESSED, RELEASE
from greencv_core.report.book.number_exhibits import write_pages
from greencv_core.report.exhibits.exhibit import MIME
from tests.conftest import NOBODY, ROOT, greencv
from tests.published.conftest import link

PAGES = ("", "_figures", "_problems", "_strict", "_diagnostics")
SHORT = ("", "_figures", "_problems", "_strict")
MOST_EXHIBITS, MOST_SHORT, MOST_WORDS = 8, 120, 1200


def page(name):
    """Execute the notebook in a kernel of its own and return it."""
    path = Path(ROOT) / "notebooks" / f"reanalysis{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": path.parent}}
    client = NotebookClient(notebook, timeout=300, resources=resources)
    executed = client.execute(env=dict(os.environ))
    outputs = [o for c in executed.cells for o in c.get("outputs", [])]
    assert not any(o.output_type == "error" for o in outputs)
    assert not any(o.get("name") == "stderr" for o in outputs)
    return executed


def text_of(notebook):
    """Return all that a page shows."""
    return json.dumps([o.get("data", {}) for c in notebook.cells for o in c.get("outputs", [])])


def said(cell):
    """Return the words of a cell's prose and of its sentences."""
    shown = [o.get("data", {}).get("text/markdown", "") for o in cell.get("outputs", [])]
    return [
        *(cell.source.split() if cell.cell_type == "markdown" else []),
        *" ".join(shown).split(),
    ]


def is_exhibit(cell):
    return any(MIME in o.get("data", {}) for o in cell.get("outputs", []))


@pytest.fixture
def nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("GREENCV_DATA", NOBODY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.parametrize("name", ["_figures", "_problems"])
def test_without_the_files_a_page_is_one_notice(name, nothing, tmp_path):
    executed = page(name)
    text = text_of(executed)
    assert "published measurements are not available here" in text
    assert "run again when online" in text
    assert "GREENCV_DATA" in text
    source = tmp_path / f"reanalysis{name}.ipynb"
    nbformat.write(executed, source)
    (tmp_path / "pages").mkdir()
    write_pages([source], tmp_path / "pages", tmp_path / "files", {})
    built = nbformat.read(tmp_path / "pages" / source.name, as_version=4)
    prose = [c.source for c in built.cells if c.cell_type == "markdown"][:-1]
    assert [text.partition(" ")[0] for text in prose] == ["#", "##"]
    assert prose[1] == "## In short"


def test_without_the_files_the_tables_of_the_project_give_the_corrected_headline(nothing):
    text = text_of(page(""))
    assert "published measurements are not available here" in text
    assert re.search(r"81%, not 98\.83%\. .* in these data is 81\.4% \(95% CI", text)
    assert "98.83%" not in text.partition("four times")[2]  # no table of versions


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
def test_a_page_is_made_of_what_there_is(reanalysis, kept, lines, tmp_path, monkeypatch):
    source = Path(reanalysis.files[PROCESSED]).parent.parent
    target = tmp_path / "seaa2023"
    paths = ("processed", *([f"raw/{kept}"] if kept else []))
    link({path: source / path for path in paths}, target)
    monkeypatch.setenv("GREENCV_DATA", str(tmp_path))
    for name in PAGES:
        text = text_of(page(name))
        assert "files could not be used; the rest is analysed" in text
        assert re.search("raw/cloud/vgg16: (60|59) files: missing", text)
    done = greencv("reanalyse", "--json")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == lines
    headline = json.loads(done.stdout)["headline"]
    assert headline["published"]["of_medians"] == pytest.approx(0.8138637, abs=1e-6)
    assert (headline["net_of_low"]["saving"] is None) is (not kept)


SHOWN = {
    "": ("98.83", "Does not hold", "Holds", "81.39%"),
    "_figures": ("127.048441",),
    "_problems": ("autocorrelation", "byte blocks"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_a_page_is_short_and_shows_no_exhibit_twice(reanalysis, name):
    executed = page(name)
    text = text_of(executed)
    assert "could not be used" not in text
    for words in SHOWN.get(name, ()):
        assert words in text, words
    cells = executed.cells
    [begin] = [i for i, c in enumerate(cells) if c.source == "## In short"]
    [end, *_] = [i for i, c in enumerate(cells) if i > begin and c.source.startswith("## ")]
    assert sum(len(said(c)) for c in cells[begin + 1 : end]) <= MOST_SHORT
    assert sum(map(is_exhibit, cells[:end])) == 1
    assert sum(len(said(c)) for c in cells[end:]) <= MOST_WORDS
    exhibits = [o["data"][MIME] for c in cells for o in c.get("outputs", []) if MIME in o["data"]]
    assert len(exhibits) <= MOST_EXHIBITS
    assert len({e["caption"] for e in exhibits}) == len(exhibits)
