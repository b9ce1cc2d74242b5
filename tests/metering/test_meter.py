"""Meters of CPU and RAM: a powercap tree of known energy, and CodeCarbon itself."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from greencv_core.metering import (
    ComponentReading,
    EnergyMeter,
    Reading,
    carbon_intensity_gco2e_per_kwh,
)
from greencv_core.metering.discovery import discover
from greencv_core.metering.sources.rapl import PERMISSION_COMMAND, find_rapl
from greencv_core.utils.errors import BadInputError
from tests.support.powercap import RANGE_UJ, Powercap

pytestmark = pytest.mark.realtime


@pytest.fixture
def powercap(tmp_path, monkeypatch):
    tree = Powercap(tmp_path / "powercap")
    monkeypatch.setenv("GREENCV_POWERCAP", str(tree.root))
    return tree


OFTEN_S = 0.05
"""Time between polls that separates a step of a counter from the edges of its window."""


def poll_energy_j(recording):
    """Return the energy of a recording between its first poll and one now."""
    first_s = recording.polled_s
    recording.poll()
    return recording.curve().between(first_s, recording.polled_s)[0]


def start_recording(source):
    recording = source.record(0.5)
    recording.poll()
    return recording


def test_rapl_counts_each_joule_once(powercap):
    sources, problems = find_rapl()
    assert problems == {}
    cpu, ram = (start_recording(source) for source in sources)
    for folder in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:2", "intel-rapl-mmio:0"):
        powercap.set(folder, 6_000_000)
    powercap.set("intel-rapl:1", 3_000_000)
    powercap.set("intel-rapl:1:0", 1_500_000)
    time.sleep(0.01)
    assert poll_energy_j(cpu) == pytest.approx(5 + 2)
    assert poll_energy_j(ram) == pytest.approx(0.5)
    assert [source.provenance for source in sources] == ["measured", "measured"]
    assert sources[0].description == "RAPL package counter, 2 sockets"


def test_rapl_wraps_around_inside_a_window(powercap):
    powercap.set("intel-rapl:0", RANGE_UJ - 2_000_000)
    with EnergyMeter((), poll_period_s=OFTEN_S) as window:
        time.sleep(0.2)
        powercap.set("intel-rapl:0", 3_000_000)
        time.sleep(0.2)
    reading = window.reading
    assert reading.cpu.energy_j == pytest.approx(5, rel=0.02)
    assert reading.cpu.provenance == "measured"
    assert reading.complete


def test_a_stuck_rapl_counter_is_not_zero(powercap):
    with EnergyMeter(()) as window:
        time.sleep(0.7)
    reading = window.reading
    assert reading.cpu is None
    assert "package-0 does not change" in reading.problems[0]
    assert reading.total is None


def test_a_reset_rapl_counter_is_not_a_wrap(powercap):
    powercap.set("intel-rapl:0", 90_000_000_000)
    with EnergyMeter(()) as window:
        powercap.set("intel-rapl:0", 5_000_000)
    reading = window.reading
    assert reading.cpu is None
    assert "package-0 was reset" in reading.problems[0]


def test_rapl_lost_in_a_window_is_incomplete_and_never_zero(powercap):
    with EnergyMeter(()) as window:
        powercap.set("intel-rapl:0", 9_000_000)
        with window.phase("before"):
            pass
        (powercap.root / "intel-rapl:0" / "energy_uj").unlink()
    reading = window.reading
    assert not reading.complete
    assert "package-0 cannot be read" in reading.problems[0]
    assert reading.cpu is None
    assert reading.ram is not None
    assert window.phases[0].reading.cpu is not None


def test_rapl_readable_by_root_only_names_the_command(powercap):
    for file in powercap.root.rglob("energy_uj"):
        file.chmod(0)
    if os.access(powercap.root / "intel-rapl:0" / "energy_uj", os.R_OK):
        # Root may read everything: become another user.
        for path in [powercap.root, *powercap.root.parents]:
            if path.owner() == "root" and path.stat().st_mode & 0o005 != 0o005:
                path.chmod(path.stat().st_mode | 0o005)
        code = (
            "import os; from greencv_core.metering.sources.rapl import find_rapl; "
            "os.setgroups([]); os.setgid(65534); os.setuid(65534); print(find_rapl()[1])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert PERMISSION_COMMAND in done.stdout, done.stderr
    else:
        assert PERMISSION_COMMAND in find_rapl()[1]["cpu"]


def test_rapl_is_found_in_a_tree_mounted_into_a_container(powercap, tmp_path, monkeypatch):
    """Only the zones' own folders are there, without the links of the class to each."""
    for folder in ("intel-rapl:0:0", "intel-rapl:0:1", "intel-rapl:1:0"):
        (powercap.root / folder).rename(powercap.root / folder[:-2] / folder)
    sources, problems = find_rapl()
    assert problems == {}
    assert [(s.component, len(s.zones)) for s in sources] == [("cpu", 2), ("ram", 2)]


def test_a_dram_zone_that_cannot_be_read_is_named_and_the_cpu_still_measured(powercap):
    (powercap.root / "intel-rapl:0:1" / "energy_uj").write_text("no number")
    found = discover(())
    assert "dram" in found.unavailable["rapl dram"]
    provenances = {s.component: s.provenance for s in found.sources}
    assert provenances == {"cpu": "measured", "ram": "estimated"}


def test_a_machine_without_rapl_says_so(no_rapl):
    found = discover(())
    assert "no RAPL counter" in found.unavailable["rapl"]
    provenances = {s.component: s.provenance for s in found.sources}
    assert provenances == {"cpu": "estimated", "ram": "estimated"}


def test_codecarbon_estimates_grow_with_time_and_are_called_estimates(no_rapl):
    with EnergyMeter((), carbon_intensity_gco2e_per_kwh=250.0) as window:
        with window.phase("short"):
            time.sleep(0.5)
        with window.phase("long"):
            time.sleep(1.5)
        for number in range(10):
            with window.phase(str(number)):
                time.sleep(0.03)
    reading = window.reading
    assert reading.complete
    assert reading.total.provenance == "estimated"
    short, long, *shortest = (p.reading for p in window.phases)
    # The RAM's power is constant, so its energy is proportional to time.
    assert long.ram.energy_j / short.ram.energy_j == pytest.approx(3, rel=0.2)
    assert all(part.ram.energy_j > 0 and part.cpu.energy_j >= 0 for part in shortest)
    parts_j = sum(part.total.energy_j for part in (short, long, *shortest))
    assert parts_j == pytest.approx(reading.total.energy_j, rel=0.05)
    assert reading.emissions_gco2e == pytest.approx(reading.total.energy_j / 3.6e6 * 250)
    energy_j = reading.ram.energy_j
    assert reading.ram.interval_j == pytest.approx((0.6 * energy_j, 1.4 * energy_j), rel=0.01)
    # The errors of one tool's assumptions do not cancel between components.
    assert reading.total.uncertainty_j == pytest.approx(
        reading.cpu.uncertainty_j + reading.ram.uncertainty_j
    )
    assert reading.cpu.resolution_s == pytest.approx(0.1)


def test_codecarbon_counts_each_second_once_under_load(no_rapl):
    with EnergyMeter(()) as window:
        for name in "abcdef":
            with window.phase(name):
                end = time.monotonic() + 1.0
                while time.monotonic() < end:
                    sum(i for i in range(1000))
    # The RAM's power is constant, so each part of the window must show the same.
    powers_w = [p.reading.ram.energy_j / p.reading.duration_s for p in window.phases]
    whole_w = window.reading.ram.energy_j / window.reading.duration_s
    assert whole_w == pytest.approx(np.median(powers_w), rel=0.01)
    assert np.mean(powers_w) == pytest.approx(whole_w, rel=0.03)


def test_a_sum_is_as_good_as_its_weakest_part_and_absent_parts_stay_absent():
    gpu = ComponentReading(10.0, "measured", "counter", 0.3)
    cpu = ComponentReading(5.0, "sampled", "power", 0.4)
    reading = Reading(gpu, cpu, None, 2.0, idle_power_w=3.0)
    assert reading.total.energy_j == 15
    assert reading.total.provenance == "sampled"
    assert reading.total.uncertainty_j == pytest.approx(0.5)
    assert set(reading.components) == {"gpu", "cpu"}
    assert reading.net_energy_j == 15 - 3 * 2
    assert Reading(None, None, None, 1.0).total is None
    assert reading.emissions_gco2e is None
    unknown = Reading(gpu, ComponentReading(5.0, "published", "paper"), None, 2.0)
    assert unknown.total.uncertainty_j is None


def test_marks_part_a_window_and_windows_nest(powercap):
    meter = EnergyMeter((), poll_period_s=OFTEN_S)
    with meter as outer:
        time.sleep(0.1)
        powercap.set("intel-rapl:0", 3_000_000)
        time.sleep(0.1)
        outer.mark("first")
        with meter as inner:
            time.sleep(0.1)
            powercap.set("intel-rapl:0", 7_000_000)
            time.sleep(0.1)
        outer.mark("second")
        with pytest.raises(RuntimeError, match="still open"):
            _ = outer.reading
    first, second = outer.phases
    assert (first.name, second.name) == ("first", "second")
    assert first.end_s == second.start_s
    assert first.reading.cpu.energy_j == pytest.approx(2, rel=0.06)
    assert second.reading.cpu.energy_j == pytest.approx(4, rel=0.06)
    assert inner.reading.cpu.energy_j == pytest.approx(4, rel=0.06)
    assert outer.reading.cpu.energy_j == pytest.approx(6, rel=0.06)


def test_a_window_closes_when_the_work_fails(powercap):
    def fail():
        time.sleep(0.15)
        powercap.set("intel-rapl:0", 3_000_000)
        time.sleep(0.15)
        raise ZeroDivisionError

    meter = EnergyMeter((), poll_period_s=OFTEN_S)
    windows = []
    with pytest.raises(ZeroDivisionError), meter as window:  # noqa: PT012
        windows.append(window)
        fail()
    assert windows[0].reading.cpu.energy_j == pytest.approx(2, rel=0.02)


def test_looks_at_an_open_window_are_no_edges_near_which_all_readings_are_kept(no_rapl):
    with EnergyMeter(()) as window:
        before = list(window._poller._edges_s)
        looks = [window.read_so_far() for _ in range(3)]
        assert window._poller._edges_s == before
    assert all(look.total.energy_j > 0 for look in looks)


def test_two_meters_of_a_component_are_compared(powercap):
    with EnergyMeter((), compare=True, poll_period_s=OFTEN_S) as window:
        time.sleep(0.15)
        powercap.set("intel-rapl:0", 3_000_000)
        time.sleep(0.15)
    by_component = {name: (first, second) for name, first, second in window.comparisons}
    first, second = by_component["cpu"]
    assert (first.provenance, second.provenance) == ("measured", "estimated")
    assert first.energy_j == pytest.approx(2, rel=0.02)
    assert second.energy_j > 0
    assert window.reading.cpu == first


def test_carbon_intensity_by_country():
    assert 50 < carbon_intensity_gco2e_per_kwh("ESP") < 500
    with pytest.raises(BadInputError, match="no carbon intensity known"):
        carbon_intensity_gco2e_per_kwh("XXX")
