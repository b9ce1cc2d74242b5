"""A GPU that is lost or fails during a run."""

import os
import subprocess
import time

import numpy as np
import pytest

from greencv_core import phases_table, runs_table
from greencv_core.analysis import select_runs
from greencv_core.records.record import RunRecord
from greencv_core.records.store import Store
from tests.conftest import GREENCV, ROOT, greencv, greencv_here
from tests.run.conftest import LONG, POWER_W, waits

pytestmark = [pytest.mark.realtime, pytest.mark.usefixtures("card")]


@pytest.fixture
def half_done(card, tmp_path):
    """Return a function that starts the one run of a study and returns when it is half done."""
    path, store = tmp_path / "study.yaml", tmp_path / "store"
    path.write_text(LONG)

    def start(**environment):
        before = set(waits(card))
        process = subprocess.Popen(
            [str(GREENCV), "run", str(path), "--store", str(store)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "160", **environment},
        )
        deadline = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < deadline:
            # What is timed beforehand waits a few times alone.
            if any(len(w) > 100 for name, w in waits(card).items() if name not in before):
                break
            time.sleep(0.02)
        return process

    return start, path, store


def test_a_gpu_lost_during_a_run_leaves_no_partial_energy(half_done, tmp_path):
    start, path, store = half_done
    lost = tmp_path / "lost"
    process = start(STAND_IN_LOST_FILE=str(lost))
    lost.touch()
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    [record] = Store(store).records()
    assert (record.status, record.complete) == ("finished", False)
    assert any("GPU is lost" in problem for problem in record.problems)
    assert "gpu" not in record.total.components
    assert (record.net_energy_j, record.emissions_gco2e) == (None, None)
    assert record.epochs[0].energy_j > 0
    assert record.epochs[-1].energy_j is None
    runs = runs_table([record])
    for column in (
        "energy_j",
        "gpu_energy_j",
        "net_energy_j",
        "train_energy_j",
        "validation_energy_j",
    ):
        assert runs[column].isna().all(), column
    energy_j = phases_table(record).set_index("name")["energy_j"]
    assert energy_j["epoch 1 training"] > 0
    assert np.isnan(energy_j["epoch 60 training"])
    assert select_runs(runs).runs.empty
    listed = greencv_here("runs", "list", "--store", store).stdout
    assert "incomplete" in listed
    assert " J " not in listed

    # The same command, once the card is back, makes the run again.
    again = greencv("run", path, "--store", store)
    assert again.returncode == 0, again.stderr
    [record] = Store(store).records()
    assert record.complete
    assert record.total.components["gpu"].energy_j == pytest.approx(
        POWER_W * record.duration_s, rel=0.03
    )


def test_a_gpu_that_fails_during_a_run_is_one_line_in_its_record(half_done, tmp_path):
    start, _, store = half_done
    lost = tmp_path / "lost"
    process = start(STAND_IN_LOST_FILE=str(lost), PRETENDED_CUDA_FAILS=str(lost))
    lost.touch()
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 3, errors
    assert "Traceback" not in errors
    [record] = Store(store).records()
    assert isinstance(record, RunRecord)
    assert record.status == "failed"
    assert record.reason == "AcceleratorError: CUDA error: unspecified launch failure"
    assert record.total is None
    listed = greencv_here("runs", "list", "--store", store).stdout
    assert "failed" in listed
