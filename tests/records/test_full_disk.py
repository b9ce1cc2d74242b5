"""A disk that fills during a study: finished runs are complete, and the rest follows later."""

import json
import subprocess
import time

import pytest
import yaml

from greencv_core.records.record import RunRecord
from greencv_core.records.store import Store
from tests.conftest import GREENCV, ROOT, greencv_here
from tests.records.conftest import fill_up

REPETITIONS = 5


@pytest.fixture
def study(tmp_path):
    """Return a study file of five short runs of one condition."""
    content = yaml.safe_load((ROOT / "studies" / "smoke.yaml").read_text())
    content["architectures"] = ["squeezenet1_1"]
    content["environments"] = [{"name": "one-thread", "device": "cpu", "threads": 1}]
    content["protocol"]["repetitions"] = REPETITIONS
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def files(disk):
    return {path.name: path.read_bytes() for path in disk.iterdir()}


@pytest.mark.slow
def test_a_disk_that_fills_during_a_study_costs_no_finished_run(study, small_disk):
    command = [str(GREENCV), "run", str(study), "--store", str(small_disk)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not list(small_disk.glob("[!.]*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    fill_up(small_disk)
    _, errors = process.communicate(timeout=300)

    assert process.returncode == 1
    assert "Traceback" not in errors
    assert [line for line in errors.splitlines() if line.startswith("error: ")] == [
        f"error: {small_disk}: no space left for the record of a run: free some disk space, then "
        "run the same command again"
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
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {small_disk}: no space left for the record of a run: free some disk space, then "
        "run the same command again\n"
    )
