"""Waiting for a quiet machine, and naming what keeps it busy."""

import subprocess
import sys

import pytest

from greencv_core.machine import quiet
from greencv_core.machine.quiet import QuietMachine
from greencv_core.metering.gpu import GpuState
from tests.conftest import ROOT

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


# In a process of its own, as orphans of this one would be its children.
LOOK = """
import subprocess, sys, time
from greencv_core.machine import load
load.MOST_NAMED = 100  # programs of others may use more meanwhile
burn, other = sys.argv[1:]
child = subprocess.Popen([sys.executable, "-c", burn])
try:
    processes, own_s = load.ProcessLoad(), load._own_cpu_s()
    while load._own_cpu_s() < own_s + 0.2 or f"(process {other})" not in processes.busiest():
        time.sleep(0.1)
    assert f"(process {child.pid})" not in processes.busiest()
finally:
    child.kill()
"""


@pytest.mark.realtime
def test_the_busiest_program_is_named_and_own_children_are_not_others():
    other = subprocess.Popen([sys.executable, "-c", BURN])
    try:
        look = [sys.executable, "-c", LOOK, BURN, str(other.pid)]
        subprocess.run(look, cwd=ROOT, check=True, timeout=25)
    finally:
        other.kill()
        other.wait()
