"""Several processes on one computer: one of them meters it, and the others say so."""

import json

import pytest

from greencv_core import EnergyMeter
from greencv_core.metering import ranks
from greencv_core.metering.discovery import discover, provenance_by_component
from tests.conftest import greencv_here, python
from tests.support import simulated_gpu
from tests.support.simulated_gpu import UUID, constant

NO_RANK = dict.fromkeys(ranks.LOCAL_RANKS, "")


@pytest.fixture(autouse=True)
def no_rank(monkeypatch):
    for name in ranks.LOCAL_RANKS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ranks.LOCAL_RANKS)
def test_only_local_rank_0_meters(name, monkeypatch):
    assert ranks.other_rank() is None
    monkeypatch.setenv(name, "0")
    assert ranks.other_rank() is None
    monkeypatch.setenv(name, "3")
    assert ranks.other_rank() == f"{name}=3"


def test_a_process_that_two_programs_started_is_local_rank_0_of_both(monkeypatch):
    # Slurm starts two torchruns on a computer, and each of them one process.
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("SLURM_LOCALID", "1")
    assert ranks.other_rank() == "SLURM_LOCALID=1"


@pytest.mark.parametrize("value", ["", "none", "-1", " 0 "])
def test_what_is_no_rank_is_ignored(value, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", value)
    assert ranks.other_rank() is None


def test_another_rank_meters_nothing_and_says_who_does(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with EnergyMeter() as window, window.phase("training"):
        pass
    for reading in (window.reading, window.phases[0].reading):
        assert reading.components == {}
        assert reading.total is None
        assert not reading.complete
        (problem,) = reading.problems
        assert "LOCAL_RANK=1: local rank 0 of this computer meters it" in problem
        assert "EnergyMeter(gpu=UUID)" in problem
    assert window.by_source == window.trace == window.comparisons == ()
    assert provenance_by_component() == {}
    assert discover(compare=True).comparison_sources == ()


ENERGIES = """
import json, sys, time
from greencv_core import EnergyMeter
with EnergyMeter(*sys.argv[1:]) as window:
    time.sleep(0.5)
reading = window.reading
total = reading.total
print(json.dumps({"duration_s": reading.duration_s, "complete": reading.complete,
    "gpu_j": reading.gpu and reading.gpu.energy_j, "metered": list(reading.components),
    "total": total is not None, "problems": reading.problems}))
"""


@pytest.mark.realtime
def test_the_ranks_of_a_computer_count_each_joule_once(library):
    def metered(rank, *gpu):
        environment = simulated_gpu.environment(library, constant(250), refresh_s=0.1)
        return json.loads(
            python("-c", ENERGIES, *gpu, **{**environment, **NO_RANK, "LOCAL_RANK": rank})
        )

    first, second, own = metered("0"), metered("1"), metered("1", UUID)
    assert first["complete"]
    assert first["total"]
    assert set(first["metered"]) == {"gpu", "cpu", "ram"}
    assert first["gpu_j"] == pytest.approx(250 * first["duration_s"], rel=0.02)
    assert second["metered"] == []
    # A card by its name is metered, and yet never passes for the whole.
    assert own["metered"] == ["gpu"]
    assert own["gpu_j"] == pytest.approx(250 * own["duration_s"], rel=0.02)
    assert not own["total"]
    assert not own["complete"]
    assert len(own["problems"]) == 1


@pytest.mark.parametrize("command", ["run smoke", "plan smoke", "estimate resnet18 --probe"])
def test_a_study_on_another_rank_is_refused_in_one_line(command, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_LOCALID", "1")
    done = greencv_here(*command.split(), "--store", tmp_path / "runs")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "SLURM_LOCALID=1: local rank 0 of this computer meters it" in line
    assert not list(tmp_path.rglob("*.json"))


def test_a_cluster_leaves_other_ranks_of_a_computer_unused(monkeypatch):
    from greencv_core.run.dask_worker import join

    monkeypatch.setenv("SLURM_LOCALID", "1")
    assert join(None, {}, "") == "SLURM_LOCALID=1: the worker of local rank 0 meters its computer"
