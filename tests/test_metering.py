"""Meters against known truths: a sysfs tree, a library that speaks NVML, CodeCarbon itself."""

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from greencv_core.errors import BadInputError
from greencv_core.metering import (
    ComponentReading,
    EnergyMeter,
    MeterError,
    Reading,
    carbon_intensity_gco2e_per_kwh,
)
from greencv_core.metering.meter import discover
from greencv_core.metering.rapl import PERMISSION_COMMAND, find_rapl
from tests.conftest import ROOT

GPU = "GPU-00000000-1111-2222-3333-444444444444"
RANGE_UJ = 262_143_328_850


class Powercap:
    """A copied powercap tree: two sockets with DRAM, core inside the package, psys around it."""

    def __init__(self, root):
        self.root = root
        zones = {
            "intel-rapl:0": "package-0",
            "intel-rapl:0:0": "core",
            "intel-rapl:0:1": "dram",
            "intel-rapl:1": "package-1",
            "intel-rapl:1:0": "dram",
            "intel-rapl:2": "psys",
            "intel-rapl-mmio:0": "package-0",
        }
        for folder, name in zones.items():
            path = root / folder
            path.mkdir(parents=True)
            (path / "name").write_text(name + "\n")
            (path / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
            self.set(folder, 1_000_000)

    def set(self, folder, energy_uj):
        (self.root / folder / "energy_uj").write_text(f"{energy_uj}\n")


@pytest.fixture
def powercap(tmp_path, monkeypatch):
    tree = Powercap(tmp_path / "powercap")
    monkeypatch.setenv("GREENCV_POWERCAP", str(tree.root))
    return tree


def test_rapl_counts_each_joule_once(powercap):
    cpu, ram = find_rapl()
    cpu.start(), ram.start()
    for folder in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:2", "intel-rapl-mmio:0"):
        powercap.set(folder, 6_000_000)
    powercap.set("intel-rapl:1", 3_000_000)
    powercap.set("intel-rapl:1:0", 1_500_000)
    assert cpu.energy_j() == pytest.approx(5 + 2)
    assert ram.energy_j() == pytest.approx(0.5)
    assert cpu.provenance == ram.provenance == "measured"


def test_rapl_wraps_around(powercap):
    powercap.set("intel-rapl:0", RANGE_UJ - 2_000_000)
    cpu, _ = find_rapl()
    cpu.start()
    powercap.set("intel-rapl:0", 3_000_000)
    assert cpu.energy_j() == pytest.approx(5)


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


def test_rapl_that_only_root_may_read_tells_the_command(powercap):
    for file in powercap.root.rglob("energy_uj"):
        file.chmod(0)
    if os.access(powercap.root / "intel-rapl:0" / "energy_uj", os.R_OK):
        # Root reads everything; drop to another user to meet the refusal.
        for path in [powercap.root, *powercap.root.parents]:
            if path.owner() == "root" and path.stat().st_mode & 0o005 != 0o005:
                path.chmod(path.stat().st_mode | 0o005)
        code = (
            "import os; from greencv_core.metering.rapl import find_rapl; "
            "os.setgroups([]); os.setgid(65534); os.setuid(65534); find_rapl()"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert PERMISSION_COMMAND in done.stderr
    else:
        with pytest.raises(MeterError, match="sudo chmod"):
            find_rapl()


def test_a_machine_without_rapl_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("GREENCV_POWERCAP", str(tmp_path))
    found = discover(())
    assert "no RAPL counter" in found.absent["rapl"]
    assert {s.component: s.provenance for s in found.sources} == {
        "cpu": "estimated",
        "ram": "estimated",
    }


def test_codecarbon_estimates_grow_with_time_and_are_called_estimates(tmp_path, monkeypatch):
    monkeypatch.setenv("GREENCV_POWERCAP", str(tmp_path))
    with EnergyMeter((), carbon_intensity_gco2e_per_kwh=250.0) as window:
        with window.phase("short"):
            time.sleep(0.5)
        with window.phase("long"):
            time.sleep(1.5)
    reading = window.reading
    assert reading.complete
    assert reading.total is not None
    assert reading.total.provenance == "estimated"
    short, long = (p.reading for p in window.phases)
    # A constant power by memory size: joules are proportional to seconds.
    assert long.ram.energy_j / short.ram.energy_j == pytest.approx(3, rel=0.2)
    assert short.total.energy_j + long.total.energy_j == pytest.approx(
        reading.total.energy_j, rel=0.05
    )
    assert reading.emissions_gco2e == pytest.approx(reading.total.energy_j / 3.6e6 * 250)


def test_codecarbon_counts_each_second_once_under_load(tmp_path, monkeypatch):
    monkeypatch.setenv("GREENCV_POWERCAP", str(tmp_path))
    with EnergyMeter(()) as window:
        for name in "abcdef":
            with window.phase(name):
                end = time.monotonic() + 1.0
                while time.monotonic() < end:
                    sum(i for i in range(1000))
    # The RAM's estimate is a constant power: each part of the window must show the same.
    powers_w = [p.reading.ram.energy_j / p.reading.duration_s for p in window.phases]
    whole_w = window.reading.ram.energy_j / window.reading.duration_s
    assert whole_w == pytest.approx(np.median(powers_w), rel=0.01)
    assert np.mean(powers_w) == pytest.approx(whole_w, rel=0.03)


def test_codecarbon_short_phases_are_never_zero(tmp_path, monkeypatch):
    monkeypatch.setenv("GREENCV_POWERCAP", str(tmp_path))
    with EnergyMeter(()) as window:
        for number in range(20):
            with window.phase(str(number)):
                time.sleep(0.03)
    assert all(p.reading.ram.energy_j > 0 for p in window.phases)
    assert all(p.reading.cpu.energy_j >= 0 for p in window.phases)


def test_a_sum_is_as_good_as_its_weakest_part_and_absent_parts_stay_absent():
    gpu = ComponentReading(10.0, "measured", "counter")
    cpu = ComponentReading(5.0, "sampled", "power")
    reading = Reading(gpu, cpu, None, 2.0, idle_power_w=3.0)
    assert reading.total.energy_j == 15
    assert reading.total.provenance == "sampled"
    assert set(reading.components) == {"gpu", "cpu"}
    assert reading.net_energy_j == 15 - 3 * 2
    assert Reading(None, None, None, 1.0).total is None
    assert reading.emissions_gco2e is None


def test_carbon_intensity_by_country():
    assert 50 < carbon_intensity_gco2e_per_kwh("ESP") < 500
    with pytest.raises(BadInputError, match="no carbon intensity known"):
        carbon_intensity_gco2e_per_kwh("XXX")


@pytest.fixture(scope="module")
def nvml(tmp_path_factory):
    """Build the stand-in; return a function that meters one second on it in a fresh process."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build the NVML stand-in with")
    folder = tmp_path_factory.mktemp("nvml")
    library = folder / "libnvidia-ml.so.1"
    source = ROOT / "tests" / "nvml_stand_in.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    code = """
import json, os, time
from greencv_core.metering import EnergyMeter
works_on_gpu = "WORKS_ON_GPU" in os.environ
with EnergyMeter(synchronize=(lambda: None) if works_on_gpu else None) as window:
    time.sleep(1.0)
r = window.reading
gpu = r.gpu and {"energy_j": r.gpu.energy_j, "provenance": r.gpu.provenance}
print(json.dumps({"gpu": gpu, "duration_s": r.duration_s, "problems": r.problems,
                  "temperature_c": window.gpu and window.gpu.temperature_c,
                  "disturbances": window.disturbances}))
"""

    def meter(**environment):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={**os.environ, "LD_LIBRARY_PATH": str(folder), **environment},
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return meter


def test_gpu_energy_by_the_counter_is_measured(nvml):
    reading = nvml(STAND_IN_POWER_MW="250000")
    assert reading["gpu"]["provenance"] == "measured"
    assert reading["gpu"]["energy_j"] == pytest.approx(250 * reading["duration_s"], rel=0.02)
    assert reading["problems"] == []


def test_gpu_energy_without_the_counter_is_sampled(nvml):
    reading = nvml(STAND_IN_POWER_MW="250000", STAND_IN_NO_COUNTER="1")
    assert reading["gpu"]["provenance"] == "sampled"
    assert reading["gpu"]["energy_j"] == pytest.approx(250 * reading["duration_s"], rel=0.02)
    assert reading["temperature_c"] == 55


@pytest.mark.parametrize("counter", [{}, {"STAND_IN_NO_COUNTER": "1"}])
def test_a_gpu_lost_in_a_window_is_incomplete_and_never_zero(nvml, counter):
    reading = nvml(STAND_IN_LOST_S="0.5", **counter)
    assert reading["gpu"] is None
    assert "lost" in reading["problems"][0]


def test_visible_devices_are_respected(nvml):
    assert nvml(CUDA_VISIBLE_DEVICES="")["gpu"] is None
    assert nvml(CUDA_VISIBLE_DEVICES=GPU[:12])["gpu"] is not None


@pytest.mark.parametrize(
    ("pids", "works_on_gpu", "disturbed"),
    [
        ("", True, False),
        ("0", True, False),
        ("0 4711", True, True),
        ("4711", False, True),
        # In a container the work's own process is listed under an id from outside.
        ("4711", True, False),
        ("4711 4712", True, True),
    ],
)
def test_other_processes_on_the_gpu_disturb(nvml, pids, works_on_gpu, disturbed):
    settings = {"STAND_IN_PIDS": pids, **({"WORKS_ON_GPU": "1"} if works_on_gpu else {})}
    told = nvml(**settings)["disturbances"]
    assert told == (["other processes on the GPU"] if disturbed else [])
