"""The smoke study, end to end: planned, trained, metered, executed by Papermill, rendered."""

import itertools
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import nbformat
import psutil
import pytest
from nbclient import NotebookClient

from greencv_core.analysis import select_runs
from greencv_core.machine.environment import resolve
from greencv_core.machine.hardware import Accelerator, describe_machine
from greencv_core.records.record import RunRecord
from greencv_core.records.source import load_study
from greencv_core.records.store import Store
from greencv_core.records.tables import runs_table
from greencv_core.run.collect import collect
from greencv_core.run.experiment import execute
from greencv_core.run.planning import plan_here, select_unfinished
from greencv_core.run.worker import describe_worker
from tests.conftest import GREENCV, NOBODY, ROOT, greencv, greencv_here, started, until
from tests.support.powercap import Powercap
from tests.support.studies import ONE_THREAD, smoke_study

STUDY = load_study("smoke")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_every_planned_run_is_there_once(smoke_records):
    expected = len(STUDY.architectures) * 2 * STUDY.protocol.repetitions
    assert len(smoke_records) == expected
    assert {r.status for r in smoke_records} == {"finished"}
    cells = {(r.architecture, r.environment["name"], r.repetition) for r in smoke_records}
    assert len(cells) == expected


def test_energy_is_the_sum_of_its_parts(smoke_records, smoke_runs):
    for record in smoke_records:
        row = smoke_runs.set_index("run_id").loc[record.run_id]
        parts = [part.energy_j for part in record.total.components.values()]
        assert row["energy_j"] == pytest.approx(sum(parts))
        assert all(joules > 0 for joules in parts)
        per_epoch = STUDY.dataset.train_images // 32 * 32 + STUDY.dataset.validation_images
        assert row["images_processed"] == per_epoch * STUDY.protocol.epochs
        assert row["energy_j_per_image"] == pytest.approx(sum(parts) / row["images_processed"])
        idle_w = sum(record.idle_power_w[name] for name in record.total.components)
        assert row["net_energy_j"] == pytest.approx(sum(parts) - idle_w * record.duration_s)
        kwh = sum(parts) / 3.6e6
        assert row["emissions_gco2e"] == pytest.approx(kwh * record.carbon_intensity_gco2e_per_kwh)


def test_phases_lie_in_the_run_and_hold_nearly_all_of_it(smoke_records):
    for record in smoke_records:
        assert [p.name for p in record.phases] == [
            f"epoch {e} {part}" for e in (1, 2) for part in ("training", "validation")
        ]
        spans = [(p.start_s, p.end_s) for p in record.phases]
        assert all(a < b for a, b in spans)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
        covered = sum(b - a for a, b in spans)
        assert 0.8 * record.duration_s < covered <= record.duration_s
        phases_j = sum(p.energy_j for p in record.phases)
        assert phases_j <= record.total.energy_j * 1.01
        assert sum(e.energy_j for e in record.epochs) == pytest.approx(phases_j)


def test_a_machine_without_counters_calls_its_energy_estimated(smoke_records):
    counters = any(Path("/sys/class/powercap").glob("*-rapl:*/energy_uj"))
    for record in smoke_records:
        assert "gpu" not in record.total.components  # trained on the CPU
        if not counters:
            assert {p.provenance for p in record.total.components.values()} == {"estimated"}


def test_a_record_is_self_contained(smoke_records):
    record = smoke_records[0]
    assert record.versions["torch"]
    assert record.machine["cpu_model"]
    assert re.fullmatch(r"[0-9a-f]{12}(\+changes)?|unknown", record.git_commit)
    assert record.data_sha256
    text = record.model_dump_json()
    assert not any(v in text for k, v in os.environ.items() if "TOKEN" in k and len(v) > 6)


def test_a_finished_study_trains_nothing_again(smoke_store):
    before = {p: p.stat().st_mtime_ns for p in smoke_store.iterdir()}
    done = greencv("run", "smoke", "--store", smoke_store)
    assert done.returncode == 0
    assert {p: p.stat().st_mtime_ns for p in smoke_store.iterdir()} == before


def test_another_country_prices_the_runs_there_are(smoke_store, smoke_records, tmp_path):
    path = smoke_study(tmp_path, carbon__intensity_gco2e_per_kwh=36)
    records = collect(path, store=smoke_store, train=False)
    assert {r.run_id for r in records} == {r.run_id for r in smoke_records}
    for record in records:
        assert record.emissions_gco2e == pytest.approx(record.total.energy_j / 1e5)


@pytest.mark.slow
def test_a_killed_study_ends_its_training_and_resumes_where_it_stopped(tmp_path):
    store = tmp_path / "store"
    path = smoke_study(tmp_path, environments=[ONE_THREAD], protocol__repetitions=3)
    process = started(GREENCV, "run", path, "--store", store)
    until(lambda: len(list(store.glob("*.json"))) >= 2)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.kill()  # the driver alone, as when memory runs out
    process.wait()
    assert psutil.wait_procs(children, timeout=10)[1] == []
    kept = {p.name: p.read_bytes() for p in store.glob("[!.]*.json")}
    assert 2 <= len(kept) < 6
    assert all(isinstance(r, RunRecord) for r in Store(store).records())
    done = greencv_here("run", path, "--store", store)
    assert done.returncode == 0, done.stderr
    after = {p.name: p.read_bytes() for p in store.glob("[!.]*.json")}
    assert len(after) == 6
    assert {name: after[name] for name in kept} == kept


def test_an_estimate_is_made_again_where_it_could_be_measured(smoke_store, tmp_path, monkeypatch):
    for path in smoke_store.glob("*.json"):
        text = path.read_text().replace('"measured"', '"estimated"')
        (tmp_path / path.name).write_text(text)
    runs = plan_here(STUDY)[0]
    store = Store(tmp_path)
    monkeypatch.setenv("GREENCV_POWERCAP", str(tmp_path))
    assert select_unfinished(runs, describe_worker(), store) == []
    monkeypatch.setenv("GREENCV_POWERCAP", str(Powercap(tmp_path / "powercap").root))
    assert select_unfinished(runs, describe_worker(), store) == runs


def test_a_run_that_lost_its_meter_is_made_again(smoke_store, tmp_path):
    runs, site = plan_here(STUDY)[0], describe_worker()
    shutil.copytree(smoke_store, tmp_path / "store")
    assert select_unfinished(runs, site, Store(tmp_path / "store")) == []
    path = tmp_path / "store" / f"{runs[0].run_id}.json"
    content = json.loads(path.read_text())
    del content["total"]["components"]["cpu"]
    path.write_text(json.dumps({**content, "complete": False}))
    assert select_unfinished(runs, site, Store(tmp_path / "store")) == runs[:1]


def test_a_device_that_nothing_meters_makes_the_record_incomplete():
    run = plan_here(STUDY)[0][0]
    card = Accelerator("cpu", "a card", None, None, bf16=False, unmetered="no meter knows it")
    machine = replace(describe_machine(), accelerators=(card,))
    record = execute(run, machine)
    assert record.status == "finished"
    assert not record.complete
    assert "the energy of cpu is not metered: no meter knows it" in record.problems
    assert select_runs(runs_table([record])).runs.empty


def test_auto_leaves_out_what_cannot_be_metered():
    study = STUDY.model_copy(update={"environments": "auto"})
    known = Accelerator("cuda:0", "a card", "GPU-1", 2**34, bf16=True)
    here = replace(describe_machine(), accelerators=(known,))
    names = [spec.name for spec in resolve(study, here)]
    assert names[-2:] == ["cuda-fp32", "cuda-bf16"]
    unknown = replace(known, unmetered="no meter knows it")
    there = replace(here, accelerators=(unknown,))
    assert not any("cuda" in spec.name for spec in resolve(study, there))


@pytest.mark.parametrize("command", ["plan", "run"])
def test_an_image_size_that_an_architecture_cannot_train_on_is_refused(tmp_path, command):
    path = smoke_study(
        tmp_path,
        architectures=["shufflenet_v2_x0_5", "vit_b_16", "inception_v3"],
        dataset__image_size=40,  # no multiple of the patch's 16 pixels
    )
    done = greencv_here(command, path, "--store", tmp_path / "store")
    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert "dataset.image_size = 40: vit_b_16 cannot be trained" in first
    assert first.endswith("use for example 32, 64, 96")
    assert second.endswith("use for example 96, 112, 128")
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_a_run_that_fails_is_recorded_and_tried_again(tmp_path):
    diverging = {
        "optimizer": "sgd", "learning_rate": 10.0, "schedule": "constant", "epochs": 4,
        "repetitions": 1,
    }  # fmt: skip
    path = smoke_study(
        tmp_path, environments=[ONE_THREAD], **{f"protocol__{k}": v for k, v in diverging.items()}
    )
    store, sessions = tmp_path / "store", []
    for _ in range(2):
        done = greencv_here("run", path, "--store", store)
        assert done.returncode == 3
        failed = [r for r in Store(store).records() if r.status == "failed"]
        assert failed
        assert "learning_rate" in failed[0].reason
        sessions.append({r.session for r in failed})
    assert not sessions[0] & sessions[1]
    assert greencv_here("runs", "list", "--store", store).returncode == 0


# The re-analysis is executed by a test of its own.
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(p, marks=[pytest.mark.slow] * p.stem.startswith(("rq3", "evidence")))
        for p in NOTEBOOKS
        if not p.stem.startswith("reanalysis")
    ],
    ids=lambda p: p.stem,
)
def test_a_notebook_runs_alone(path, smoke_store, tmp_path):
    few = {"held_out": ["environment"]} if path.stem.startswith("rq3") else {}
    executed = run_notebook(path, smoke_store, **few)
    outputs = [o for c in executed.cells for o in c.get("outputs", [])]
    assert outputs
    assert not any(o.output_type == "error" for o in outputs)


@pytest.mark.slow
def test_a_parameter_changed_changes_the_result(smoke_store):
    path = ROOT / "notebooks" / "rq1_architecture.ipynb"
    first = text_of(run_notebook(path, smoke_store, environment="cpu-1-thread"))
    other = text_of(run_notebook(path, smoke_store, environment="cpu-all-threads"))
    assert "On one thread, " in first
    assert "On all threads, " in other
    assert first != other


# The others show published runs only.
@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [p for p in NOTEBOOKS if not p.stem.startswith(("evidence", "reanalysis"))],
    ids=lambda p: p.stem,
)
def test_a_notebook_accepts_an_incomplete_study(path, smoke_store, tmp_path, monkeypatch):
    if path.stem.startswith("rq3_"):  # whose other part rests on what is downloaded
        monkeypatch.setenv("GREENCV_DATA", NOBODY)
    # Whole: one condition; a single run of a second; nothing of the other two.
    records = [r for r in Store(smoke_store).records() if isinstance(r, RunRecord)]
    conditions = runs_table(records).groupby(["architecture", "environment"])["run_id"]
    (_, whole), (_, part), *_ = conditions
    for run_id in [*whole, part.iloc[0]]:
        shutil.copy(smoke_store / f"{run_id}.json", tmp_path)
    executed = run_notebook(path, tmp_path)
    if path.stem.startswith("rq"):
        assert "No answer from these runs" in text_of(executed)
    if path.stem.startswith("rq3_"):
        assert "published measurements are not available here" in text_of(executed)


def test_a_book_without_a_finished_run_is_one_line(tmp_path):
    done = greencv("book", "smoke", "--no-train", "--store", tmp_path)
    assert done.returncode == 1
    assert "no finished run has an energy" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_each_page_says_what_its_energy_is_carries_its_figures_and_asks_nobody_else(html):
    pages = {p.stem: p.read_text() for p in (html / "book" / "notebooks").glob("*.html")}
    assert set(pages) == {p.stem for p in NOTEBOOKS}
    for name in ("index", "rq1_architecture", "rq2_environment", "rq3_estimation", "metering"):
        assert "estimated" in pages[name] or "measured" in pages[name], name
    drawn = {
        name: re.findall(r'<figure class="gcv-exhibit gcv-figure-exhibit" id="([^"]+)"', page)
        for name, page in pages.items()
        if name.startswith("rq1_")
    }
    assert len(drawn["rq1_architecture"]) >= 3
    assert len(drawn["rq1_diagnostics"]) >= 5
    for name in itertools.chain.from_iterable(drawn.values()):
        for suffix in ("svg", "png"):
            assert (html / "exhibits" / f"{name}.{suffix}").stat().st_size > 5000, name
    loaded = re.compile(
        r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//'
        r'|<link[^>]+rel="(?:stylesheet|preload)"[^>]+href="(?:https?:)?//'
        r'|<link[^>]+href="(?:https?:)?//[^"]+"[^>]*rel="(?:stylesheet|preload)"'
    )
    for page in html.rglob("*.html"):
        text = page.read_text()
        assert str(html.parent.parent) not in text, page  # where it was built is nobody's business
        assert not loaded.search(text), page
        # Nor by a script that is on the page itself.
        assert not re.search(r'"(?:https?:)?//[^"]+\.m?js"', text), page


def run_notebook(path, store, **parameters):
    notebook = nbformat.read(path, as_version=4)
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    place = next((i for i, these in enumerate(tags) if "parameters" in these), 0)
    values = {"study": "smoke", "store": str(store), "train": False, **parameters}
    source = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(source))
    about = {"timeout": 300, "resources": {"metadata": {"path": path.parent}}}
    try:
        return NotebookClient(notebook, **about).execute()
    except RuntimeError:  # a kernel that draws the port of another one dies at its start
        return NotebookClient(notebook, **about).execute()


def text_of(notebook):
    outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
    return json.dumps([o.get("data", {}).get("text/markdown", "") for o in outputs])
