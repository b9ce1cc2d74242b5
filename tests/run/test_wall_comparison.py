"""The plug's energy beside the components': in a run's record, and what contradicts it."""

import json
import time

import pytest

from greencv_core.metering import EnergyMeter, WallMeter
from greencv_core.metering.wall_formats import WallSample
from greencv_core.records.store import Store
from greencv_core.run.wall_comparison import compare_with_wall
from tests.conftest import greencv
from tests.support.powercap import Powercap
from tests.support.studies import ONE_THREAD, smoke_study
from tests.support.wall_meter_server import WallMeterServer

pytestmark = pytest.mark.realtime


@pytest.fixture
def window(tmp_path, monkeypatch):
    """A window in which the package counters told 30 J and DRAM 0.1 J."""
    tree = Powercap(tmp_path / "powercap")
    tree.set("intel-rapl:1", 2_000_000)
    tree.set("intel-rapl:1:0", 2_000_000)
    monkeypatch.setenv("GREENCV_POWERCAP", str(tree.root))
    with EnergyMeter(()) as opened:
        time.sleep(0.05)
        for folder in ("intel-rapl:0", "intel-rapl:1"):
            tree.set(folder, 17_000_000)
        tree.set("intel-rapl:0:1", 1_050_000)
        tree.set("intel-rapl:1:0", 2_050_000)
    return opened


def wall_meter(window, energy_j):
    """Return a wall meter that saw this energy in the window."""
    start_s, end_s = window.edges_s
    meter, power_w = WallMeter("none"), energy_j / (end_s - start_s)
    for time_s in (start_s - 1, start_s, end_s, end_s + 1):
        meter._add(WallSample("made up", power_w), time_s)
    return meter


def test_the_share_that_the_components_explain(window):
    wall = compare_with_wall(wall_meter(window, 60.0), window)
    assert wall.energy.energy_j == pytest.approx(60)
    assert wall.explained_share == pytest.approx(window.reading.total.energy_j / 60)
    assert 0.4 < wall.explained_share < 0.6
    assert wall.problem == ""


def test_components_above_the_plug_are_a_problem(window):
    wall = compare_with_wall(wall_meter(window, 15.0), window)
    assert "of the energy at the wall, which is impossible" in wall.problem
    assert wall.explained_share > 1.5


def test_a_wall_meter_that_failed_is_a_reason(window):
    wall = compare_with_wall(WallMeter("none"), window)
    assert (wall.energy, wall.explained_share) == (None, None)
    assert wall.problem == "the wall meter has not answered yet"


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["", "500"])
def test_a_run_records_the_plug_and_outlives_its_fault(tmp_path, fault):
    server = WallMeterServer(lambda _: 400.0)
    server.fault = fault
    path = smoke_study(
        tmp_path,
        wall_meter=server.address + "/watts",
        architectures=["shufflenet_v2_x0_5"],
        environments=[ONE_THREAD],
        protocol__repetitions=1,
    )
    done = greencv("run", path, "--store", tmp_path / "runs")
    server.stop()
    assert done.returncode == 0, done.stderr
    [record] = Store(tmp_path / "runs").records()
    assert record.complete
    assert not any("wall" in problem for problem in record.problems)
    if fault:
        assert record.wall.energy is None
        assert "HTTP status 500" in record.wall.problem
        return
    assert record.wall.energy.energy_j == pytest.approx(400 * record.duration_s, rel=0.02)
    assert record.wall.explained_share == pytest.approx(
        record.total.energy_j / record.wall.energy.energy_j
    )
    # The plug is in no sum, and the record keeps no address.
    assert set(record.total.components) == {"cpu", "ram"}
    text = json.dumps(record.model_dump(mode="json"))
    assert "127.0.0.1" not in text
