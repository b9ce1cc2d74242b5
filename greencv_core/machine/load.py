"""CPU time that other processes use, and which processes these are."""

from __future__ import annotations

import contextlib
import os
import time

import psutil

from greencv_core.machine import hardware

DISTURBING_SHARE = 0.1
"""A run is disturbed if other processes use more than this share of the CPUs."""
MOST_NAMED = 2  # programs


class CpuLoad:
    """CPU time of this process and its children, and of all others, since construction."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()
        self._process_s = time.process_time()
        self._own_s = _own_cpu_s()
        self._busy_s = _busy_cpu_s()

    def own_pct(self) -> float:
        """Return this process's share of the CPUs that it may use, in percent."""
        own_s = time.process_time() - self._process_s
        elapsed_s = time.monotonic() - self._start_s
        return 100 * own_s / (elapsed_s * hardware.available_cpus())

    def share_of_others(self) -> float:
        """Return the share (0 to 1) of the machine's CPUs that other processes used."""
        elapsed_s = (time.monotonic() - self._start_s) * (os.cpu_count() or 1)
        others_s = (_busy_cpu_s() - self._busy_s) - (_own_cpu_s() - self._own_s)
        return max(0.0, others_s / elapsed_s)


def describe_others(share: float) -> str:
    """Return a clause on a share of the CPUs that disturbs a training; empty if it does not."""
    return f"other processes used {share:.0%} of the CPUs" if share > DISTURBING_SHARE else ""


class ProcessLoad:
    """CPU time of each process of others since construction, to name the busiest."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()
        self._cpu_s = _cpu_s_by_process()

    def busiest(self) -> str:
        """Name the programs that used most; empty if none is seen, as from inside a container."""
        elapsed_s = time.monotonic() - self._start_s
        own = {process.pid for process in _own_processes()}
        used_s = []
        for pid, (name, cpu_s) in _cpu_s_by_process().items():
            if pid not in own:
                _, before_s = self._cpu_s.get(pid, (name, 0.0))  # the name may have changed
                used_s.append((cpu_s - before_s, f"{name} (process {pid})"))
        return " and ".join(
            f"{name} {cpu_s / elapsed_s:.0%} of a core"
            for cpu_s, name in sorted(used_s, reverse=True)[:MOST_NAMED]
            if cpu_s > elapsed_s * DISTURBING_SHARE / 2
        )


def _own_processes() -> list[psutil.Process]:
    this = psutil.Process()
    return [this, *this.children(recursive=True)]


def _own_cpu_s() -> float:
    """Return the CPU time of this process and its children, also of those that have ended."""
    total_s = 0.0
    for process in _own_processes():
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            times = process.cpu_times()
            total_s += times.user + times.system + times.children_user + times.children_system
    return total_s


def _cpu_s_by_process() -> dict[int, tuple[str, float]]:
    return {
        process.pid: (process.info["name"], sum(process.info["cpu_times"][:2]))
        for process in psutil.process_iter(["name", "cpu_times"])
        if process.info["cpu_times"] is not None  # of another user, on some systems
    }


def _busy_cpu_s() -> float:
    times = psutil.cpu_times()
    idle_s = times.idle + getattr(times, "iowait", 0.0)
    # User time includes that of guests.
    guests_s = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return float(sum(times) - idle_s - guests_s)
