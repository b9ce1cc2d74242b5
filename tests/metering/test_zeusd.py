"""CPU and DRAM energy through zeusd: a stand-in of known energy, and its faults."""

import time

import pytest

from greencv_core.metering import EnergyMeter, MeterError
from greencv_core.metering.discovery import discover
from greencv_core.metering.sources.zeusd import find_zeusd
from tests.support.powercap import Powercap
from tests.support.zeusd_stand_in import RANGE_J, ZeusdStandIn

pytestmark = pytest.mark.realtime


@pytest.fixture
def powercap(tmp_path, monkeypatch):
    """Zones whose energy cannot be read, as without root; everything else can."""
    tree = Powercap(tmp_path / "powercap")
    for path in tree.root.rglob("energy_uj"):
        path.unlink()
        path.mkdir()  # cannot be read by root either
    monkeypatch.setenv("GREENCV_POWERCAP", str(tree.root))
    return tree


@pytest.fixture
def zeusd(tmp_path, monkeypatch, powercap):
    daemon = ZeusdStandIn(tmp_path / "zeusd.sock")
    monkeypatch.setenv("ZEUSD_SOCK_PATH", daemon.path)
    yield daemon
    daemon.fault = ""
    daemon.stop()


def meter_window(duration_s, during=lambda: None):
    with EnergyMeter(()) as window:
        during()
        time.sleep(duration_s)
    return window.reading


def test_zeusd_meters_where_rapl_cannot_be_read(zeusd):
    reading = meter_window(1.0)
    assert reading.problems == ()
    assert reading.cpu.energy_j == pytest.approx(100 * reading.duration_s, rel=0.01)
    assert reading.ram.energy_j == pytest.approx(10 * reading.duration_s, rel=0.01)
    assert {reading.cpu.provenance, reading.ram.provenance} == {"measured"}
    assert reading.cpu.source == "RAPL package counter, 2 sockets, read by zeusd"
    asked = {url.split("cpu_ids=")[1][0] for url in zeusd.requests if "cpu_ids" in url}
    assert asked == {"0", "1"}  # psys contains the packages


@pytest.mark.parametrize("late_s", [0.0, 0.3], ids=["at once", "late"])
def test_a_wrap_loses_nothing(zeusd, late_s):
    zeusd._start_j, zeusd.late_s = RANGE_J - 30, late_s
    reading = meter_window(1.2)
    assert reading.problems == ()
    assert reading.cpu.energy_j == pytest.approx(100 * reading.duration_s, rel=0.01)


def test_a_restart_of_zeusd_loses_nothing(zeusd):
    zeusd.wraps_before = 3
    reading = meter_window(0.5, lambda: zeusd.restart(away_s=0.5))
    assert reading.problems == ()
    assert reading.cpu.energy_j == pytest.approx(100 * reading.duration_s, rel=0.01)


@pytest.mark.parametrize("fault", ["refuse", "500", "wrong json", "no cpu", "hang"])
def test_a_short_fault_loses_nothing(zeusd, fault):
    def fail_for_a_moment():
        zeusd.fault = fault
        time.sleep(0.3)
        zeusd.fault = ""

    reading = meter_window(0.5, fail_for_a_moment)
    assert reading.problems == ()
    assert reading.cpu.energy_j == pytest.approx(100 * reading.duration_s, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["500", "hang"])
def test_a_lasting_fault_is_named_and_never_zero(zeusd, fault):
    with EnergyMeter(()) as window:
        zeusd.fault = fault
        time.sleep(0.2)
    reading = window.reading
    assert reading.total is None
    assert "zeusd" in " ".join(reading.problems)


def test_the_reason_names_what_to_do(zeusd, monkeypatch):
    zeusd.groups = ["gpu-read"]
    assert "--enable cpu-read" in discover(()).unavailable["zeusd"]
    zeusd.groups = ["cpu-read"]
    zeusd.fault = "500"
    assert "HTTP status 500" in discover(()).unavailable["zeusd"]
    monkeypatch.setenv("ZEUSD_SOCK_PATH", "/nowhere/zeusd.sock")
    found = discover(())
    assert "cannot be reached" in found.unavailable["zeusd"]
    assert {s.provenance for s in found.sources} == {"estimated"}


def test_the_daemon_of_an_earlier_version_is_read(zeusd):
    zeusd.newest = False
    assert [s.component for s in find_zeusd(["cpu", "ram"])] == ["cpu", "ram"]


def test_zones_that_cannot_be_told_apart_are_not_added(zeusd, monkeypatch, tmp_path):
    monkeypatch.setenv("GREENCV_POWERCAP", str(tmp_path / "none"))
    with pytest.raises(MeterError, match="in a container, mount it"):
        find_zeusd(["cpu"])


def test_dram_of_one_of_two_sockets_is_not_the_dram(zeusd):
    zeusd.dram_w = (4.0,)
    assert [s.component for s in find_zeusd(["cpu", "ram"])] == ["cpu"]


def test_a_machine_without_zeusd_says_nothing_of_it(powercap, monkeypatch):
    monkeypatch.delenv("ZEUSD_SOCK_PATH", raising=False)
    assert "zeusd" not in discover(()).unavailable
