"""Recording of counters that are published together: at each read, or in batches seconds apart."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence

import numpy as np

from greencv_core.metering.counter import CheckedCounter
from greencv_core.metering.energy_curves import CounterCurve, EnergyCurve
from greencv_core.metering.gaps import Gap
from greencv_core.metering.refresh_cycle import Refresh
from greencv_core.metering.refresh_tracker import SEARCH_S, RefreshTracker
from greencv_core.metering.thinning import kept_after_thinning

TAIL_S = 0.15
"""Longest time between the two parts of a batch, with the time until they are seen."""
SLOW_GAP_S = 0.1
"""Seconds between polls of batches that are seconds apart: a poll takes some milliseconds."""


class PublishedRecording:
    """Sum of some counters over time.

    Parameters
    ----------
    clock
        Counter that never stands still, whose changes show when the others are published.
    counters
        Counters to add up; they may stand still.
    """

    leeway_s = 0.0
    gaps: Sequence[Gap] = ()
    """Nothing tells the power of a counter that restarts: its energy is lost, not bridged."""

    def __init__(self, clock: CheckedCounter, counters: Sequence[CheckedCounter]) -> None:
        self._clock, self._counters = clock, tuple(counters)
        self._tracker = RefreshTracker(self._read)
        self._energy_j: dict[float, float] = {}
        """Sum of the counters by the value of the clock."""

    @property
    def next_poll_s(self) -> float:
        """Latest time of the next poll."""
        tracker = self._tracker
        if not tracker.refreshes or tracker.continuous or tracker.cycle is not None:
            return tracker.next_poll_s
        is_slow = tracker.polled_s - tracker.refreshes[0].read_s > SEARCH_S
        return max(tracker.next_poll_s, tracker.polled_s + is_slow * SLOW_GAP_S)

    @property
    def polled_s(self) -> float:
        """Time until which the energy is known: the last time that anything was published."""
        return self._tracker.refreshes[-1].read_s

    @property
    def resolution_s(self) -> float | None:
        """Time between two publications in seconds; None if it was not found."""
        tracker = self._tracker
        if tracker.continuous or tracker.cycle is not None:
            return tracker.period_s
        times_s = [refresh.time_s for refresh in self._whole_batches()[1:]]
        gaps_s = [after - before for before, after in itertools.pairwise(times_s)]
        return statistics.median(gaps_s) if gaps_s else None

    def poll(self) -> None:
        """Read all counters."""
        self._tracker.poll()

    def is_settled(self, time_s: float) -> bool:
        """Return whether there was a publication after a time."""
        if self._tracker.continuous:
            return self._tracker.polled_s >= time_s
        batches = self._whole_batches()
        return len(batches) >= 3 and batches[-1].time_s >= time_s

    def curve(self) -> EnergyCurve:
        """Return the energy over time."""
        batches = self._whole_batches()
        return CounterCurve(
            np.array([refresh.time_s for refresh in batches]),
            np.array([self._energy_j[refresh.value] for refresh in batches]),
            np.array([refresh.uncertainty_s for refresh in batches]),
            steps=not self._tracker.continuous,
        )

    def thin(self, edges_s: Sequence[float]) -> None:
        """Forget every other old reading that is not near an edge, if there are very many."""
        refreshes = self._tracker.refreshes
        kept = kept_after_thinning([refresh.time_s for refresh in refreshes], edges_s)
        if kept is not None:
            self._tracker.refreshes = [refreshes[i] for i in kept]
            values = {refresh.value for refresh in self._tracker.refreshes}
            self._energy_j = {v: j for v, j in self._energy_j.items() if v in values}

    def _read(self) -> float:
        clock_j = self._clock.read()
        self._energy_j[clock_j] = sum(counter.read() for counter in self._counters)
        return clock_j

    def _whole_batches(self) -> list[Refresh]:
        """Return the refreshes; of a batch that came in two parts, only the second."""
        refreshes = self._tracker.timeline()
        times_s = [refresh.time_s for refresh in refreshes]
        gaps_s = [after - before for before, after in itertools.pairwise(times_s)]
        if len(gaps_s) < 2 or statistics.median(gaps_s) < SEARCH_S:
            return refreshes
        return [
            *(refreshes[i] for i, gap_s in enumerate(gaps_s) if gap_s > TAIL_S or i == 0),
            refreshes[-1],
        ]
