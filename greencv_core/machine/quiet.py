"""Wait for a quiet machine before a run, and name what keeps it busy."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psutil

from greencv_core.machine.load import DISTURBING_SHARE, CpuLoad, ProcessLoad
from greencv_core.metering import MeterError, open_gpu
from greencv_core.metering.gpu import GpuState
from greencv_core.utils.text import listed

LOOK_S = 0.5  # time over which the CPU load is observed
GPU_BUSY_PCT = 10.0
"""Utilisation in percent from which on a GPU without a run of ours is busy."""
WARMER_BY_C = 5.0
"""Degrees above the temperature before the first run that are not waited for."""
_CPU_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
"""Sensors of CPUs by psutil's names, which are those of Linux' drivers."""


@dataclass(frozen=True)
class Disturbance:
    """Why the machine is not quiet."""

    what: str
    by: str = ""
    """Names of the programs, for this machine's user alone: no record has them."""

    def __str__(self) -> str:
        """Return both in one clause."""
        return f"{self.what} ({self.by})" if self.by else self.what


@dataclass
class QuietMachine:
    """Waits until others leave the machine alone and its temperature is back.

    A machine that stays busy costs one wait. After a wait without success, the next runs do not
    wait until the machine was quiet once.
    """

    gave_up: bool = field(default=False, init=False)
    """Whether the last wait was in vain, so that the next run is not held up."""
    _first_c: dict[str, float] = field(default_factory=dict, init=False)
    """Temperature in degrees Celsius before the first run, by device."""

    def wait(
        self,
        gpus: Sequence[str],
        longest_s: float,
        on_wait: Callable[[str, float], None],
        check: Callable[[], None],
    ) -> list[Disturbance]:
        """Wait at most ``longest_s`` seconds; return why the machine is still not quiet.

        Parameters
        ----------
        gpus
            Identifiers of the GPUs that the run uses.
        on_wait
            Called every look with the reason, which names the culprit, and the seconds left.
        check
            Called every look; an exception from it ends the wait.
        """
        end_s = time.monotonic() + longest_s
        while reasons := self._look(gpus):
            left_s = end_s - time.monotonic()
            if self.gave_up or left_s <= 0:
                self.gave_up = True
                return reasons
            check()
            on_wait("; ".join(map(str, reasons)), left_s)
        self.gave_up = False
        return []

    def _look(self, gpus: Sequence[str]) -> list[Disturbance]:
        load, processes = CpuLoad(), ProcessLoad()
        time.sleep(LOOK_S)
        reasons = []
        if (share := load.share_of_others()) > DISTURBING_SHARE:
            what = f"other processes use {share:.0%} of the CPUs"
            reasons.append(Disturbance(what, processes.busiest()))
        states = {f"GPU {uuid}" if len(gpus) > 1 else "the GPU": _state(uuid) for uuid in gpus}
        for name, state in states.items():
            if state.processes or (state.utilization_pct or 0.0) > GPU_BUSY_PCT:
                what = f"other processes are on {name}"
                reasons.append(Disturbance(what, _names(state.processes)))
        temperatures = {name: state.temperature_c for name, state in states.items()}
        for name, now_c in ({"the CPU": _cpu_temperature_c()} | temperatures).items():
            if now_c is not None and now_c > self._first_c.setdefault(name, now_c) + WARMER_BY_C:
                first_c = self._first_c[name]
                what = f"{name} is at {now_c:.0f} °C, before the first run {first_c:.0f} °C"
                reasons.append(Disturbance(what))
        return reasons


def _state(uuid: str) -> GpuState:
    try:
        return open_gpu(uuid).state()
    except MeterError:  # reported where the GPU is metered
        return GpuState()


def _names(pids: Sequence[int]) -> str:
    named = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):  # in a container, an id of the host
            named.append(f"{psutil.Process(pid).name()} (process {pid})")
    return listed(named)


def _cpu_temperature_c() -> float | None:
    """Return the highest temperature of the CPUs; None if the system reports none."""
    if not hasattr(psutil, "sensors_temperatures"):
        return None
    found = psutil.sensors_temperatures()
    return max((one.current for name in _CPU_SENSORS for one in found.get(name, [])), default=None)
