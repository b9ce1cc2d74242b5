"""Summary of what the GPUs of a window reported apart from energy."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

from greencv_core.metering.gpu import GpuState

MOST_PROCESS_LISTS = 1000
"""Number of different lists of processes on the GPUs that are remembered."""


@dataclass(frozen=True)
class GpuSummary:
    """Utilisation, memory, temperature and clocks of the GPUs of a window."""

    utilization_pct: float | None
    """Mean utilisation in percent."""
    memory_used_bytes: int | None
    """Largest memory in use."""
    temperature_c: float | None
    """Highest temperature in degrees Celsius."""
    sm_clock_mhz: float | None
    """Mean clock of the multiprocessors."""
    memory_clock_mhz: float | None
    """Mean clock of the memory."""
    power_limit_w: float | None
    """Highest enforced power limit in watts."""
    slowed_share: Mapping[str, float]
    """Share of the readings (0 to 1) with reduced clocks, by reason."""


class GpuStates:
    """What the states of all GPUs over a window come to; it does not grow with the window."""

    def __init__(self) -> None:
        self.count = 0
        """Number of states."""
        self._sums: dict[str, tuple[float, int]] = {}
        self._highest: dict[str, float] = {}
        self._slowed: Counter[str] = Counter()
        self._processes: set[tuple[int, ...]] = set()

    def add(self, state: GpuState) -> None:
        """Take one more state into account."""
        self.count += 1
        for name in ("utilization_pct", "sm_clock_mhz", "memory_clock_mhz"):
            if (value := getattr(state, name)) is not None:
                total, known = self._sums.get(name, (0.0, 0))
                self._sums[name] = total + value, known + 1
        for name in ("memory_used_bytes", "temperature_c", "power_limit_w"):
            if (value := getattr(state, name)) is not None:
                self._highest[name] = max(value, self._highest.get(name, value))
        self._slowed.update(state.slowdowns)
        if len(self._processes) < MOST_PROCESS_LISTS:
            self._processes.add(state.processes)

    def summary(self) -> GpuSummary | None:
        """Return the summary; None if there were no states."""
        if not self.count:
            return None
        means = {name: total / known for name, (total, known) in self._sums.items()}
        memory_bytes = self._highest.get("memory_used_bytes")
        return GpuSummary(
            utilization_pct=means.get("utilization_pct"),
            memory_used_bytes=None if memory_bytes is None else int(memory_bytes),
            temperature_c=self._highest.get("temperature_c"),
            sm_clock_mhz=means.get("sm_clock_mhz"),
            memory_clock_mhz=means.get("memory_clock_mhz"),
            power_limit_w=self._highest.get("power_limit_w"),
            slowed_share={reason: n / self.count for reason, n in self._slowed.items()},
        )

    def disturbances(self, *, own_process_on_gpu: bool) -> tuple[str, ...]:
        """Return what disturbed the GPUs: other processes, or clocks reduced by temperature.

        With ``own_process_on_gpu``, this process works on a GPU and is in its list of processes.
        """
        found = []
        if any(_has_other_process(pids, own_process_on_gpu) for pids in self._processes):
            found.append("other processes on the GPU")
        # Reaching the power limit is normal operation; overheating is not.
        if self._slowed["temperature"]:
            found.append("GPU clocks held back by temperature")
        return tuple(found)


def _has_other_process(pids: Sequence[int], own_process_on_gpu: bool) -> bool:
    this = psutil.Process()
    own = {os.getpid(), *(child.pid for child in this.children(recursive=True))}
    others = [pid for pid in pids if pid not in own]
    if own_process_on_gpu and len(others) == len(pids):
        # In a container, this process is listed under its id on the host, unknown in here.
        return len(others) > any(not psutil.pid_exists(pid) for pid in others)
    return bool(others)
