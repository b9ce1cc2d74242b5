"""Faults of RAPL: mirrored dies, sockets that stand still, zones that cannot be read."""

import time

import pytest

from greencv_core.metering import EnergyMeter
from greencv_core.metering.sources.rapl import find_rapl
from tests.support.powercap import Powercap

pytestmark = pytest.mark.realtime


def test_dies_that_mirror_each_other_count_once(live_powercap):
    live_powercap(mirrors={"intel-rapl:1": "intel-rapl:0"})
    with EnergyMeter(()) as window:
        time.sleep(0.8)
    assert window.reading.cpu.energy_j == pytest.approx(100 * window.reading.duration_s, rel=0.05)
    assert "sockets" not in window.reading.cpu.source


def test_two_sockets_count_twice(live_powercap):
    live_powercap()
    with EnergyMeter(()) as window:
        time.sleep(0.8)
    assert window.reading.cpu.energy_j == pytest.approx(200 * window.reading.duration_s, rel=0.05)


def test_one_socket_that_stands_still_is_no_sum(live_powercap):
    live_powercap(still=("intel-rapl:1",))
    with EnergyMeter(()) as window:
        time.sleep(0.8)
    assert window.reading.cpu is None
    assert any("package-1 does not change" in problem for problem in window.reading.problems)


@pytest.mark.parametrize("zone", ["intel-rapl:0:0", "intel-rapl:2", "intel-rapl-mmio:0"])
def test_zones_that_are_not_counted_do_no_harm(tmp_path, monkeypatch, zone):
    tree = Powercap(tmp_path / "powercap")
    monkeypatch.setenv("GREENCV_POWERCAP", str(tree.root))
    (tree.root / zone / "max_energy_range_uj").unlink()
    (tree.root / zone / "energy_uj").write_text("")
    sources, problems = find_rapl()
    assert [s.component for s in sources] == ["cpu", "ram"]
    assert problems == {}


def test_a_package_without_range_is_named_and_the_ram_is_measured(tmp_path, monkeypatch):
    tree = Powercap(tmp_path / "powercap")
    monkeypatch.setenv("GREENCV_POWERCAP", str(tree.root))
    (tree.root / "intel-rapl:1" / "max_energy_range_uj").write_text("0\n")
    sources, problems = find_rapl()
    assert [s.component for s in sources] == ["ram"]
    assert "intel-rapl:1 has a range of 0 J" in problems["cpu"]


def test_a_refused_read_of_rapl_in_between_loses_nothing(tmp_path, monkeypatch):
    tree = Powercap(tmp_path / "powercap")
    monkeypatch.setenv("GREENCV_POWERCAP", str(tree.root))
    with EnergyMeter((), poll_period_s=0.05) as window:
        for step in range(1, 7):
            tree.set("intel-rapl:0", 1_000_000 + step * 500_000)
            tree.set("intel-rapl:1", 1_000_000 + step * 500_000)
            if step == 3:
                (tree.root / "intel-rapl:0" / "energy_uj").write_text("")
            time.sleep(0.06)
    assert window.reading.complete
    assert window.reading.cpu.energy_j == pytest.approx(6, rel=0.02)
