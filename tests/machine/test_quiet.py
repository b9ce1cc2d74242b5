"""Waiting for a quiet machine, and naming what keeps it busy."""

import subprocess
import sys
import time

import pytest

from greencv_core.machine import load, quiet
from greencv_core.machine.load import ProcessLoad
from greencv_core.machine.quiet import QuietMachine
from greencv_core.metering.gpu import GpuState

BURN = "import time; end = time.monotonic() + 30\nwhile time.monotonic() < end: pass"


class Machine:
    """A machine whose state is a list: what each look finds, of which the last one stays."""

    def __init__(self, monkeypatch, **looks):
        self._looks = {"share": [0.0], "gpu": [GpuState()], "cpu_c": [None]} | looks
        monkeypatch.setattr(quiet, "LOOK_S", 0.0)
        monkeypatch.setattr(quiet, "CpuLoad", lambda: self)
        monkeypatch.setattr(quiet, "ProcessLoad", lambda: self)
        monkeypatch.setattr(quiet, "_state", lambda _: self._next("gpu"))
        monkeypatch.setattr(quiet, "_cpu_temperature_c", lambda: self._next("cpu_c"))

    def _next(self, what):
        found = self._looks[what]
        return found.pop(0) if len(found) > 1 else found[0]

    def share_of_others(self):
        return self._next("share")

    def busiest(self):
        return "cc1plus (process 7) 93% of a core"


def wait(machine, longest_s=30.0, check=lambda: None):
    told = []
    left = machine.wait(["GPU-1"], longest_s, lambda why, _: told.append(why), check)
    return told, [found.what for found in left]


@pytest.mark.parametrize(
    ("looks", "told"),
    [
        ({}, []),
        ({"share": [0.09]}, []),
        (
            {"share": [0.4, 0.4, 0.0]},
            2 * ["other processes use 40% of the CPUs (cc1plus (process 7) 93% of a core)"],
        ),
        ({"gpu": [GpuState(processes=(2**22 + 1,)), GpuState()]},
         ["other processes are on the GPU"]),
        ({"gpu": [GpuState(utilization_pct=80.0), GpuState()]}, ["other processes are on the GPU"]),
    ],
)  # fmt: skip
def test_a_run_waits_until_others_are_gone_and_names_them(looks, told, monkeypatch):
    Machine(monkeypatch, **looks)
    assert wait(QuietMachine()) == (told, [])


def test_a_later_run_waits_until_the_temperature_is_back(monkeypatch):
    warm, cool = GpuState(temperature_c=60.0), GpuState(temperature_c=54.0)
    Machine(monkeypatch, gpu=[GpuState(temperature_c=50.0), warm, cool], cpu_c=[40.0, 45.0, 45.0])
    machine = QuietMachine()
    assert wait(machine) == ([], [])
    assert wait(machine) == (["the GPU is at 60 °C, before the first run 50 °C"], [])


def test_a_machine_that_stays_busy_costs_one_wait(monkeypatch):
    Machine(monkeypatch, share=[0.5, 0.5, 0.5, 0.5, 0.0, 0.6, 0.6, 0.0])
    machine = QuietMachine()
    still = ["other processes use 50% of the CPUs"]
    assert wait(machine, longest_s=0.0) == ([], still)
    assert wait(machine) == ([], still)
    assert wait(machine) == ([], still)
    assert wait(machine) == ([], still)
    assert wait(machine) == ([], [])
    assert len(wait(machine)[0]) == 2


def test_a_wait_ends_with_the_check(monkeypatch):
    Machine(monkeypatch, share=[0.5])
    with pytest.raises(ZeroDivisionError):
        wait(QuietMachine(), check=lambda: 1 / 0)


@pytest.mark.realtime
def test_the_busiest_program_is_named_and_own_children_are_not_others(monkeypatch):
    monkeypatch.setattr(load, "MOST_NAMED", 100)  # programs of others may use more meanwhile
    started = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" >/dev/null 2>&1 & echo $!', sys.executable, BURN],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    pid = int(started.stdout)
    child = subprocess.Popen([sys.executable, "-c", BURN])
    try:
        processes, own_s = ProcessLoad(), load._own_cpu_s()
        deadline_s = time.monotonic() + 60
        while load._own_cpu_s() < own_s + 0.2 or f"(process {pid})" not in processes.busiest():
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        assert f"(process {child.pid})" not in processes.busiest()
    finally:
        child.kill()
        child.wait()
        subprocess.run(["kill", str(pid)], check=True)
