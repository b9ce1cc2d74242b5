"""CPU and DRAM energy from the processor's own counters (RAPL) through Linux powercap.

The counters include all programs on the socket.
Files: https://docs.kernel.org/power/powercap/powercap.html
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from greencv_core.metering.base import MeterError
from greencv_core.metering.energy_curves import CounterCurve
from greencv_core.utils.energy import Component, Provenance

POWERCAP = "/sys/class/powercap"
"""Folder of the counters, unless ``$GREENCV_POWERCAP`` names another."""
PERMISSION_COMMAND = "sudo chmod -R a+r /sys/class/powercap/*/energy_uj"
REFRESH_S = 1e-3
"""Refresh period of the counters (Intel SDM, volume 3, "RAPL interfaces")."""
LONGEST_PERIOD_S = 10.0  # longest time between reads; counters wrap after a minute at the earliest
HIGHEST_POWER_W = 2_000.0
"""Upper bound of a socket's power; a count that needs more was reset, not wrapped."""
STUCK_AFTER_S = 0.5  # time without any change after which a counter is considered stuck


@dataclass(frozen=True)
class _Zone:
    path: Path
    name: str
    range_uj: int

    def read_uj(self) -> int:
        try:
            return int((self.path / "energy_uj").read_text())
        except PermissionError as error:
            raise MeterError(f"RAPL can only be read by root; run: {PERMISSION_COMMAND}") from error
        except (OSError, ValueError) as error:
            raise MeterError(f"RAPL zone {self.name} cannot be read: {error}") from error

    def difference_uj(self, before_uj: int, now_uj: int, elapsed_s: float) -> int:
        """Return the energy between two reads; the counter wraps at its stated range."""
        if HIGHEST_POWER_W * elapsed_s > self.range_uj / 1e6:
            raise MeterError(
                f"RAPL zone {self.name} was not read for {elapsed_s:.0f} s: it may have wrapped"
            )
        if now_uj >= before_uj:
            return now_uj - before_uj
        wrapped_uj = now_uj + self.range_uj - before_uj
        # A suspended machine restarts at zero, which must not count as a wrap.
        if wrapped_uj / 1e6 > HIGHEST_POWER_W * max(elapsed_s, REFRESH_S):
            raise MeterError(f"RAPL zone {self.name} was reset: it fell by {before_uj - now_uj} uJ")
        return wrapped_uj


class _Recording:
    """Sum of some zones over time."""

    resolution_s: float | None = REFRESH_S

    def __init__(self, zones: list[_Zone], poll_period_s: float) -> None:
        self._zones = zones
        self._period_s = min(poll_period_s, LONGEST_PERIOD_S)
        self.leeway_s = self._period_s / 2
        self._last_uj: list[int] = []
        self._times: list[float] = []
        self._total_uj: list[int] = []

    @property
    def next_poll_s(self) -> float:
        return self._times[-1] + self._period_s if self._times else 0.0

    @property
    def polled_s(self) -> float:
        return self._times[-1]

    def poll(self) -> None:
        before_s = time.monotonic()
        now_uj = [zone.read_uj() for zone in self._zones]
        time_s = (before_s + time.monotonic()) / 2
        total_uj = 0
        if self._times:
            elapsed_s = time_s - self._times[-1]
            total_uj = self._total_uj[-1] + sum(
                zone.difference_uj(before, now, elapsed_s)
                for zone, before, now in zip(self._zones, self._last_uj, now_uj, strict=True)
            )
            if total_uj == 0 and time_s - self._times[0] > STUCK_AFTER_S:
                raise MeterError(f"RAPL zone {self._zones[0].name} does not change")
        self._last_uj = now_uj
        self._times.append(time_s)
        self._total_uj.append(total_uj)

    def is_settled(self, time_s: float) -> bool:
        return len(self._times) > 1 and self._times[-1] >= time_s

    def curve(self) -> CounterCurve:
        times, total_uj = np.array(self._times), np.array(self._total_uj, dtype=float)
        uncertainty_s = np.full(len(times), REFRESH_S / math.sqrt(12))
        return CounterCurve(times, total_uj / 1e6, uncertainty_s, steps=False)


@dataclass
class RaplSource:
    """Sum of one kind of RAPL zone over all sockets; provenance *measured*."""

    component: Component
    zones: list[_Zone] = field(repr=False)
    provenance: Provenance = "measured"
    relative_uncertainty: float = 0.0  # neither Intel nor AMD states an accuracy

    @property
    def description(self) -> str:
        """Kind of zone and number of sockets."""
        kind = "DRAM" if self.component == "ram" else "package"
        sockets = f", {len(self.zones)} sockets" if len(self.zones) > 1 else ""
        return f"RAPL {kind} counter{sockets}"

    def record(self, poll_period_s: float) -> _Recording:
        """Return a new recording."""
        return _Recording(self.zones, poll_period_s)


def find_rapl() -> tuple[list[RaplSource], str | None]:
    """Return the RAPL sources of this machine, and why DRAM zones are not among them, if so.

    Package zones meter the CPU, DRAM zones the RAM. ``psys`` contains the packages, ``core`` and
    ``uncore`` are inside them, and ``intel-rapl-mmio`` repeats them: none of these is added. If
    there is no RAPL or it is not readable, :class:`MeterError` says what to do.
    """
    root = Path(os.environ.get("GREENCV_POWERCAP", POWERCAP))
    packages, dram = [], []
    for path in sorted(root.glob("*-rapl:*")):
        try:
            name = (path / "name").read_text().strip()
            zone = _Zone(path, name, int((path / "max_energy_range_uj").read_text()))
        except (OSError, ValueError) as error:
            # The energy of one of two sockets is not the energy of the CPU.
            raise MeterError(f"RAPL zone {path.name} cannot be read: {error}") from error
        if name.startswith("package"):
            packages.append(zone)
        elif name == "dram":
            dram.append(zone)
    if not packages:
        raise MeterError("no RAPL counter (virtual machines and most ARM CPUs have none)")
    for zone in packages:
        zone.read_uj()
    sources, problem = [RaplSource("cpu", packages)], None
    try:
        for zone in dram:
            zone.read_uj()
    except MeterError as error:  # the CPU is still measured
        problem = str(error)
    else:
        if dram:
            sources.append(RaplSource("ram", dram))
    return sources, problem
