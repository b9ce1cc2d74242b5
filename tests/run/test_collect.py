"""Collecting a study's records: each is read once."""

import re
import shutil
from collections import Counter

import pytest

from greencv_core import analyse, collect
from greencv_core.estimation.evaluate import score
from greencv_core.published.evidence_results import EvidenceResults
from greencv_core.records.record import RunRecord
from greencv_core.records.snapshot import StoreSnapshot
from greencv_core.records.source import load_study
from greencv_core.records.store import Store
from greencv_core.run.collect import plan_size, run_study
from greencv_core.utils.interpreters import NO_NOTES
from tests.conftest import greencv_here
from tests.support.progress import Progress
from tests.support.refusals import refusal
from tests.support.tables import made_up_runs

STUDY = load_study("smoke")
RUNS = made_up_runs()


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: collect(2024), "study: 2024 is not a study file's path or name"),
        (lambda: collect("smoke", store=7), "store: 7 is not a folder, a URL or None"),
        (lambda: collect("smoke", train="no"), "train: 'no' is not True or False"),
        (lambda: collect("smoke", train=0), "train: 0 is not True or False"),
        (lambda: score([], held_out="run"), "held_out: 'run' is not a list of some of"),
        (lambda: score([], held_out=["runs"]), "held_out: ['runs'] is not a list of some of"),
        (lambda: EvidenceResults({}, "5%"), "margin: '5%' is not a number from 0 to 1"),
        (lambda: EvidenceResults({}, True), "margin: True is not a number from 0 to 1"),
        (lambda: analyse(RUNS, RUNS, margin="a"), "margin: 'a' is not a number from 0 to 1"),
        (lambda: analyse(RUNS, RUNS, value=3), "value: 3 is not the name of a column"),
        (lambda: analyse(RUNS, RUNS, value="joules"), "value: 'joules' is no column of numbers"),
        (lambda: analyse(RUNS, RUNS, value="status"), "value: 'status' is no column of numbers"),
    ],
)
def test_a_parameter_that_papermill_gives_another_type_is_named(call, line):
    assert refusal(call, longest=1500).startswith(line)


class CountingBackend:
    """Counts how often the content of each file of a backend is read."""

    def __init__(self, backend):
        self._backend, self.reads = backend, Counter()

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def read_all(self, names):
        for name, content in self._backend.read_all(names):
            self.reads[name] += content is not None
            yield name, content


@pytest.fixture
def store(smoke_store, tmp_path):
    """Return a store with the smoke study's records, whose backend counts reads."""
    shutil.copytree(smoke_store, tmp_path / "store")
    opened = Store(tmp_path / "store")
    opened._backend = CountingBackend(opened._backend)
    return opened


@pytest.mark.parametrize("missing", [0, 1])
def test_each_record_is_read_once(store, missing):
    records = sorted(store.location.glob("[!.]*.json"))
    for path in records[:missing]:
        path.unlink()
    other = RunRecord.model_validate_json(records[-1].read_bytes())
    other = other.model_copy(update={"run_id": "another-study", "study": "another"})
    Store(store.location).write(other)
    progress = Progress()
    outcome = run_study(STUDY, store=store, progress=progress)
    assert (outcome.trained, outcome.missing, len(outcome.records)) == (missing, 0, 8)
    assert store._backend.reads.keys() == {path.name for path in records} | {"another-study.json"}
    assert set(store._backend.reads.values()) == {1}


def test_a_snapshot_finds_files_that_changed_and_keeps_what_fits_into_memory(store, monkeypatch):
    reads = store._backend.reads
    snapshot = StoreSnapshot(store)
    first, *_ = records = list(snapshot.records())
    assert list(snapshot.records()) == records
    assert set(reads.values()) == {1}
    changed = first.model_copy(update={"reason": "changed elsewhere"})
    Store(store.location).write(changed)
    assert snapshot.read(first.run_id) == first
    snapshot.stamps()
    assert snapshot.read(first.run_id) == changed
    assert reads[f"{first.run_id}.json"] == 2
    snapshot.write(first)
    snapshot.stamps()
    assert snapshot.read(first.run_id) == first

    monkeypatch.setattr("greencv_core.records.snapshot.SNAPSHOT_BYTES", 0)
    reads.clear()
    small = StoreSnapshot(store)
    assert list(small.records()) == list(small.records())
    assert set(reads.values()) == {2}


def test_a_bundle_as_the_study_gives_its_runs(smoke_store, smoke_records, tmp_path, monkeypatch):
    bundle = tmp_path / "smoke.parquet"
    assert greencv_here("bundle", "smoke", "--store", smoke_store, "-o", bundle).returncode == 0
    monkeypatch.setenv("GREENCV_STORE", str(tmp_path / "empty"))
    found = collect(bundle)
    assert {record.run_id for record in found} == {record.run_id for record in smoke_records}
    assert plan_size(bundle, found) == len(found)
    assert collect(bundle, store=tmp_path / "empty", train=False) == []


def test_notes_say_what_is_missing_and_what_else_is_stored(store, monkeypatch, capsys):
    ids = store.run_ids()
    collect("smoke", store=store.location)
    assert capsys.readouterr().err == ""
    (store.location / f"{ids[0]}.json").unlink()
    collect("smoke", store=store.location, train=False)
    missing = f"1 of {len(ids)} runs of study smoke are missing."
    assert capsys.readouterr().err.startswith(missing)
    other = load_study("smoke").model_copy(update={"architectures": [STUDY.architectures[0]]})
    collect(other, store=store.location, train=False)
    assert re.search(
        rf"\d+ of {len(ids) - 1} stored runs belong to study smoke", capsys.readouterr().err
    )
    monkeypatch.setenv(NO_NOTES, "1")
    collect("smoke", store=store.location, train=False)
    assert capsys.readouterr().err == ""
