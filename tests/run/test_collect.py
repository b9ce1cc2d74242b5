"""Collecting a study's records: each is read once."""

import shutil
from collections import Counter

import pytest

from greencv_core.records.record import RunRecord
from greencv_core.records.snapshot import StoreSnapshot
from greencv_core.records.source import load_study
from greencv_core.records.store import Store
from greencv_core.run.collect import run_study
from tests.support.progress import Progress

STUDY = load_study("smoke")


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
