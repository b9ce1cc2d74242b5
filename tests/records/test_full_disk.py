"""A disk that fills during a study: finished runs are complete, and the rest follows later."""

import json

import pytest

from greencv_core.records.record import RunRecord
from greencv_core.records.store import Store
from tests.conftest import GREENCV, greencv_here, started, until
from tests.records.conftest import fill_up
from tests.support.refusals import one_line
from tests.support.studies import ONE_THREAD, smoke_study

REPETITIONS = 3
NO_SPACE = (
    ": no space left for the record of a run: free some disk space, then run the same command again"
)


@pytest.fixture
def study(tmp_path):
    """Return a study file of three short runs of one condition."""
    return smoke_study(
        tmp_path,
        architectures=["squeezenet1_1"],
        environments=[ONE_THREAD],
        protocol__repetitions=REPETITIONS,
    )


def files(disk):
    return {path.name: path.read_bytes() for path in disk.iterdir()}


@pytest.mark.slow
def test_a_disk_that_fills_during_a_study_costs_no_finished_run(study, small_disk):
    process = started(GREENCV, "run", study, "--store", small_disk)
    until(lambda: list(small_disk.glob("[!.]*.json")))
    fill_up(small_disk)
    _, errors = process.communicate(timeout=300)

    assert process.returncode == 1
    assert "Traceback" not in errors
    assert [line for line in errors.splitlines() if line.startswith("error: ")] == [
        f"error: {small_disk}{NO_SPACE}"
    ]
    finished = list(Store(small_disk).records())
    assert 1 <= len(finished) < REPETITIONS
    assert all(isinstance(record, RunRecord) for record in finished)
    assert {record.status for record in finished} == {"finished"}
    before = files(small_disk)
    assert set(before) == {"other", *(f"{record.run_id}.json" for record in finished)}

    (small_disk / "other").unlink()
    done = greencv_here("run", study, "--store", small_disk)
    assert done.returncode == 0, done.stderr
    after = files(small_disk)
    assert len(after) == REPETITIONS
    assert all(after[name] == content for name, content in before.items() if name != "other")
    assert {json.loads(content)["status"] for content in after.values()} == {"finished"}


def test_a_full_disk_is_reported_before_training(study, small_disk):
    fill_up(small_disk)
    done = greencv_here("run", study, "--store", small_disk)
    assert one_line(done, 1) == f"{small_disk}{NO_SPACE}"
