"""A GPU that is lost or fails during a run."""

import numpy as np
import pytest

from greencv_core import phases_table, runs_table
from greencv_core.analysis import select_runs
from greencv_core.records.store import Store
from tests.conftest import GREENCV, greencv, greencv_here, started, until
from tests.run.conftest import LONG, POWER_W, waits

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("card")]


@pytest.fixture
def lose_gpu(card, tmp_path):
    """Return a function that trains the one run of a study, and loses the GPU meanwhile.

    It takes the variables that name the file by which the GPU is lost, and returns the exit code,
    the errors and the record.
    """
    path, store, lost = tmp_path / "study.yaml", tmp_path / "store", tmp_path / "lost"
    path.write_text(LONG)

    def lose(*names):
        before = set(waits(card))
        process = started(GREENCV, "run", path, "--store", store, **dict.fromkeys(names, str(lost)))

        def trains():  # what is timed beforehand waits only a few times
            return any(len(w) > 40 for name, w in waits(card).items() if name not in before)

        until(lambda: trains() or process.poll() is not None)
        lost.touch()
        _, errors = process.communicate(timeout=300)
        [record] = Store(store).records()
        return process.returncode, errors, record

    return lose


@pytest.mark.long
def test_a_gpu_lost_during_a_run_leaves_no_partial_energy_until_it_is_back(lose_gpu, tmp_path):
    code, errors, record = lose_gpu("STAND_IN_LOST_FILE")
    assert code == 0, errors
    assert (record.status, record.complete) == ("finished", False)
    assert any("energy counter lost: GPU is lost" in problem for problem in record.problems)
    assert "gpu" not in record.total.components
    assert (record.net_energy_j, record.emissions_gco2e) == (None, None)
    assert record.epochs[0].energy_j > 0
    assert record.epochs[-1].energy_j is None
    runs = runs_table([record])
    for energy in ("energy", "gpu_energy", "net_energy", "train_energy", "validation_energy"):
        assert runs[f"{energy}_j"].isna().all(), energy
    energy_j = phases_table(record).set_index("name")["energy_j"]
    assert energy_j["epoch 1 training"] > 0
    assert np.isnan(energy_j["epoch 24 training"])
    assert select_runs(runs).sentence() == (
        "0 runs are analysed. Left out: 1 with an incomplete energy reading."
    )
    store = tmp_path / "store"
    listed = greencv_here("runs", "list", "--store", store).stdout
    assert "incomplete" in listed
    assert " J " not in listed

    # The same command, once the card is back, makes the run again: beside another user's process.
    again = greencv("run", tmp_path / "study.yaml", "--store", store, STAND_IN_PIDS="1")
    assert again.returncode == 0, again.stderr
    [record] = Store(store).records()
    assert record.complete
    assert record.disturbed
    assert "other processes on the GPU" in record.problems
    assert record.total.components["gpu"].energy_j == pytest.approx(
        POWER_W * record.duration_s, rel=0.03
    )


def test_a_gpu_that_fails_during_a_run_is_one_line_in_its_record(lose_gpu, tmp_path):
    code, errors, record = lose_gpu("STAND_IN_LOST_FILE", "PRETENDED_CUDA_FAILS")
    assert code == 3, errors
    assert "Traceback" not in errors
    assert record.status == "failed"
    assert record.reason == "AcceleratorError: CUDA error: unspecified launch failure"
    assert record.total is None
    assert "failed" in greencv_here("runs", "list", "--store", tmp_path / "store").stdout
