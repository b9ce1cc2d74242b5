"""What the guides and the README say to type works, and prints what they show."""

import json
import re

import nbformat
import pandas as pd
import pytest
import yaml

from greencv_core.published.table_format import EVIDENCE_COLUMNS
from tests.conftest import NOBODY, ROOT, copy_project, python
from tests.support.guides import blocks, in_kind, run_page

GUIDES = sorted((ROOT / "book" / "guides").glob("*.md"))


def sections(page):
    """Return a page's sections, each from its heading on, by heading; the first has none."""
    parts = re.split(r"^## ", page.read_text(), flags=re.M)
    return {part.partition("\n")[0]: part for part in parts}


METERING = sections(ROOT / "book" / "guides" / "meter_your_training.md")
CALLBACKS = {"With Lightning": "lightning", "With Hugging Face's Trainer": "transformers"}
"""Packages by the section that needs them."""


@pytest.mark.slow
def test_a_guide_meters_a_training(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("\n".join(METERING[name] for name in METERING if name not in CALLBACKS))
    assert run_page(page, tmp_path) == []
    kept = json.loads((tmp_path / "reading.json").read_text())
    assert kept["cpu"]["energy_j"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("section", CALLBACKS)
def test_a_guide_meters_with_a_callback(section, tmp_path):
    pytest.importorskip(CALLBACKS[section])
    page = tmp_path / "page.md"
    page.write_text(METERING[section])
    assert run_page(page, tmp_path) == []


@pytest.mark.slow
@pytest.mark.long
def test_a_guide_adds_an_architecture_a_data_set_an_environment(tmp_path):
    assert run_page(ROOT / "book" / "guides" / "extend.md", tmp_path) == []
    study = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    conditions = len(study["architectures"]) * len(study["environments"])
    made = list((tmp_path / "runs").glob("*.json"))
    assert len(made) == conditions * study["protocol"]["repetitions"]


@pytest.mark.slow
@pytest.mark.long
def test_a_guide_brings_runs_into_a_report(tmp_path):
    # A report of a page or two: all of them have a test of their own.
    project, folder = tmp_path / "project", tmp_path / "folder"
    folder.mkdir()
    copy_project(project)
    chapters = [{"file": f"book/{page}"} for page in ("notebooks/metering", "references")]
    pages = [{"caption": "About", "chapters": chapters}]
    linked = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Metering")])
    nbformat.write(linked, project / "notebooks" / "metering.ipynb")
    toc = {"format": "jb-book", "root": "book/notebooks/provenance", "parts": pages}
    (project / "_toc.yml").write_text(yaml.safe_dump(toc))
    page = ROOT / "book" / "guides" / "add_runs.md"
    smaller = {"  - {name: cpu-all-threads, device: cpu, threads: all}\n": ""}
    where = {"PYTHONPATH": str(project), "GREENCV_DATA": NOBODY}
    assert run_page(page, folder, smaller, **where) == []
    report = (project / "_build" / "html" / "book" / "notebooks" / "provenance.html").read_text()
    assert "shufflenet_v2_x0_5" in report


@pytest.mark.slow
@pytest.mark.long
def test_a_guide_makes_a_study_in_pieces(tmp_path):
    page = ROOT / "book" / "guides" / "gpu_server.md"
    smaller = {"[shufflenet_v2_x0_5, squeezenet1_1]": "[squeezenet1_1]"}
    assert run_page(page, tmp_path, smaller) == []
    packed = pd.read_parquet(tmp_path / "server.parquet")
    assert (packed["status"] == "finished").all()
    assert len(packed) == packed["run_id"].nunique() == 4
    first = packed.sort_values("order")["environment"].head(2)
    assert set(first) == {"fp32"}
    assert set(packed["started_at"]) >= set(
        pd.read_parquet(tmp_path / "piece-1.parquet")["started_at"]
    )


def test_a_guide_makes_a_table_of_own_measurements(tmp_path):
    page = ROOT / "book" / "guides" / "own_measurements.md"
    assert run_page(page, tmp_path) == []
    joules = pd.read_csv(tmp_path / "logged.csv")["energy_j"].tolist()
    assert joules == [59 * 200, 59 * 230]
    shown = [line for line in page.read_text().splitlines() if line.startswith("| `")]
    assert shown == [
        f"| `{field.name}` | {'yes' if field.required else ''} | {field.description} |"
        for field in EVIDENCE_COLUMNS.values()
    ]


@pytest.mark.slow
@pytest.mark.long
def test_every_example_of_how_greencv_is_built_works(tmp_path):
    project = tmp_path / "project"
    copy_project(project)
    assert run_page(ROOT / "book" / "architecture.md", project, PYTHONPATH=str(project)) == []


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_every_file_of_a_guide_is_used_by_a_command(page):
    all_blocks = blocks(page)
    assert len(all_blocks) == page.read_text().count("\n```") // 2
    for place, block in enumerate(all_blocks):
        later = "".join(b.text for b in all_blocks[place + 1 :] if b.language == "bash")
        assert block.file is None or block.file in later


def test_the_readmes_python_runs(tmp_path):
    shown = [block.text for block in blocks(ROOT / "README.md") if block.language == "python"]
    assert shown
    prelude = "import time\ntrain = validate = lambda: time.sleep(0.2)\n"
    for text in shown:
        printed = python("-c", prelude + text, cwd=tmp_path)
        assert re.match(r"[\d.]+ (measured|sampled|estimated) [\d.]+ True", printed)


def test_other_words_are_not_the_same_in_kind():
    shown = "cpu: 13.5 J, estimated\n"
    assert in_kind("gpu: 9 J, measured\ncpu:  1,300 J, measured\n") == in_kind(shown)
    assert in_kind("cpu: lost\n") != in_kind(shown)
    assert in_kind("") != in_kind(shown)


def test_a_page_that_is_wrong_is_told(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```bash\nfalse\n```\n\n```bash\necho 1 J\n```\n\n```text\n1 W\n```\n")
    failed, differs = run_page(page, tmp_path)
    assert "ended with 1" in failed
    assert differs.startswith("shown:\n1 W")
