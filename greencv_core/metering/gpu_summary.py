"""Summary of what the GPUs of a window reported apart from energy."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import psutil

from greencv_core.metering.nvml import GpuState

_Number = TypeVar("_Number", int, float)


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


def summarise_states(states: Sequence[GpuState]) -> GpuSummary | None:
    """Summarise the states of all GPUs over a window; None if there are none."""
    if not states:
        return None
    reasons = [reason for state in states for reason in state.slowdowns]
    return GpuSummary(
        utilization_pct=_mean([s.utilization_pct for s in states]),
        memory_used_bytes=_highest([s.memory_used_bytes for s in states]),
        temperature_c=_highest([s.temperature_c for s in states]),
        sm_clock_mhz=_mean([s.sm_clock_mhz for s in states]),
        memory_clock_mhz=_mean([s.memory_clock_mhz for s in states]),
        power_limit_w=_highest([s.power_limit_w for s in states]),
        slowed_share={r: reasons.count(r) / len(states) for r in dict.fromkeys(reasons)},
    )


def find_disturbances(states: Sequence[GpuState], *, own_process_on_gpu: bool) -> tuple[str, ...]:
    """Return what disturbed the GPUs: other processes, or clocks reduced by temperature.

    With ``own_process_on_gpu``, this process works on a GPU and is in its list of processes.
    """
    found = []
    if any(_has_other_process(pids, own_process_on_gpu) for pids in {s.processes for s in states}):
        found.append("other processes on the GPU")
    # Reaching the power limit is normal operation; overheating is not.
    if any("temperature" in state.slowdowns for state in states):
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


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def _highest(values: Sequence[_Number | None]) -> _Number | None:
    known = [v for v in values if v is not None]
    return max(known) if known else None
