"""GPUs of any maker: what is read of a card, and its energy followed from refresh to refresh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from greencv_core.metering import energy_curves
from greencv_core.metering.base import EnergySource
from greencv_core.metering.counter import CheckedCounter, check_power_w
from greencv_core.metering.energy_curves import AVERAGING_S, CounterCurve, EnergyCurve
from greencv_core.metering.gaps import Gap, with_gaps
from greencv_core.metering.power_archive import PowerArchive
from greencv_core.metering.refresh_cycle import SEARCH_S, USUAL_PERIOD_S, RefreshCycle
from greencv_core.metering.refresh_tracker import RefreshTracker
from greencv_core.metering.thinning import thinned

STUCK_AFTER_S = 4.0  # time without any change after which a counter is considered stuck
SLOWEST_REFRESH_S = 3.5
"""Longest refresh period of a card's counter: one of 2.9 s was seen."""
HIGHEST_GPU_POWER_W = 3_000.0
"""Upper bound of a card's power, if it reports no limit."""


@dataclass(frozen=True)
class GpuState:
    """State of a GPU at one moment; None for what the GPU does not report."""

    utilization_pct: float | None = None
    memory_used_bytes: int | None = None
    temperature_c: float | None = None
    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    power_limit_w: float | None = None
    slowdowns: tuple[str, ...] = ()
    """Reasons for reduced clocks."""
    processes: tuple[int, ...] = ()
    """Ids of the compute processes on the card; in a container, maybe their ids on the host."""


class GpuSource(EnergySource, Protocol):
    """A card: an energy counter, or power that is integrated over time."""

    uuid: str
    """Identifier of the card that its driver and torch share."""
    name: str
    uses_counter: bool
    """Whether :meth:`read` gives the counter in joules; else the power in watts."""
    has_power: bool
    """Whether the card reports power in addition to its counter."""
    averaged: bool
    """Whether the power that is read is the mean of the last second."""
    every_refresh: bool
    """Whether recordings follow every refresh; for a counter, only to resolve its power."""
    power_limit_w: float | None
    """Power limit of the card; None if it reports none."""
    cycle: RefreshCycle | None
    """Refresh cycle found by the last recording, for the next one."""

    def read(self) -> float:
        """Return the counter in joules, or the power in watts."""

    def power_w(self) -> float | None:
        """Return the power at this moment, to bridge a fault of the counter; None if unknown."""

    def instant_power_w(self) -> float | None:
        """Return the instantaneous power; None if the card does not report it."""

    def state(self) -> GpuState:
        """Return utilisation, temperature and the like at this moment."""


class GpuRecording:
    """Energy or power of one card, followed from refresh to refresh."""

    leeway_s = 0.0

    def __init__(self, source: GpuSource) -> None:
        self._source = source
        self._highest_w = source.power_limit_w or HIGHEST_GPU_POWER_W
        self._power_before_w: float | None = None
        self._last_power_w: float | None = None
        self._counter = CheckedCounter(
            f"{source.component.upper()} {source.uuid}: energy counter",
            source.read,
            highest_w=self._highest_w,
            power_w=source.power_w if source.has_power else None,
            refresh_s=SLOWEST_REFRESH_S,
            stuck_after_s=STUCK_AFTER_S,
        )
        read = self._counter.read if source.uses_counter else self._read_power_w
        self._tracker = RefreshTracker(
            read,
            source.cycle,
            every_refresh=source.every_refresh,
            is_counter=source.uses_counter,
        )
        self._archive = PowerArchive()

    @property
    def next_poll_s(self) -> float:
        """Latest time of the next poll."""
        return self._tracker.next_poll_s

    @property
    def polled_s(self) -> float:
        """Time until which the energy is known; the first poll for a counter that never moved."""
        if not self._source.uses_counter:
            return self._tracker.polled_s
        moved_s = self._counter.moved_s
        if moved_s is None:
            return self._tracker.refreshes[0].read_s
        # What a stuck counter has missed is unknown.
        still = self._tracker.polled_s - moved_s > STUCK_AFTER_S / 2
        return moved_s if still else self._tracker.polled_s

    @property
    def resolution_s(self) -> float | None:
        """Refresh period in seconds; None if it was not found."""
        tracker = self._tracker
        return tracker.period_s if tracker.cycle or tracker.continuous else None

    @property
    def gaps(self) -> Sequence[Gap]:
        """Times in which the counter restarted, or in which no power was read."""
        if self._source.uses_counter:
            return tuple(self._counter.gaps)
        reason = "no power was read"
        return [Gap(a, b, self._highest_w, reason) for a, b in list(self._tracker.missed)]

    def poll(self) -> None:
        """Read the card."""
        if not self._tracker.refreshes and self._source.uses_counter:
            # The counter shows the power after its last refresh, this the power before it.
            self._power_before_w = self._source.instant_power_w()
        self._tracker.poll()
        if (cycle := self._tracker.cycle) is not None:
            self._source.cycle = cycle

    def is_settled(self, time_s: float) -> bool:
        """Return whether enough refreshes were observed after a time.

        A counter needs two: the end of the interval around the time, and the power after it.
        """
        tracker = self._tracker
        if not tracker.refreshes:
            return False
        if tracker.continuous:
            return tracker.polled_s >= time_s
        cycle = tracker.cycle  # another thread may discard it
        period_s = cycle.period_s if cycle else USUAL_PERIOD_S
        if not self._source.uses_counter:
            memory_s = AVERAGING_S if self._source.averaged else 0.0
            return tracker.polled_s >= time_s + memory_s + period_s
        found = cycle is not None or tracker.polled_s > time_s + SEARCH_S
        return found and len(tracker.refreshes) >= 3 and tracker.refreshes[-2].time_s >= time_s

    def curve(self) -> EnergyCurve:
        """Return the energy over time."""
        tracker, refreshes = self._tracker, self._tracker.timeline()
        if self._source.uses_counter:
            columns = energy_curves.columns(refreshes)
            steps = not tracker.continuous
            curve: EnergyCurve = CounterCurve(*columns, self._power_before_w, steps=steps)
        else:
            curve = energy_curves.power_curve(
                refreshes, tracker.polled_s, tracker.spacing_s, self._source.averaged
            )
            curve = self._archive.before(curve)
        return with_gaps(curve, self.gaps)

    def thin(self, edges_s: Sequence[float]) -> None:
        """Forget every other old reading that is not near an edge, if there are very many."""
        refreshes = self._tracker.refreshes
        kept = thinned(refreshes, edges_s)
        if kept is refreshes:
            return
        if self._source.uses_counter:
            self._tracker.refreshes = kept
        else:
            until_s = refreshes[-1].time_s
            first = self._archive.add(self.curve(), [r.time_s for r in refreshes], edges_s, until_s)
            self._tracker.refreshes = refreshes[first:]

    def _read_power_w(self) -> float:
        name = f"{self._source.component.upper()} {self._source.uuid}: power"
        power_w = check_power_w(name, self._source.read(), self._highest_w, self._last_power_w)
        self._last_power_w = power_w
        return power_w
