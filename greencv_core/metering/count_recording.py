"""Recording of counters that are up to date at each reading."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from greencv_core.metering.counter import CheckedCounter
from greencv_core.metering.energy_curves import UNIFORM, CounterCurve, EnergyCurve
from greencv_core.metering.gaps import Gap, with_gaps
from greencv_core.metering.thinning import kept_after_thinning

LONGEST_PERIOD_S = 10.0  # longest time between reads; counters wrap after a minute at the earliest


class CountRecording:
    """Sum of some counters over time; ``refresh_s`` is their refresh period in seconds."""

    def __init__(
        self, counters: Sequence[CheckedCounter], poll_period_s: float, refresh_s: float
    ) -> None:
        self._counters = tuple(counters)
        self._period_s = min(poll_period_s, LONGEST_PERIOD_S)
        self.leeway_s = self._period_s / 2
        self.resolution_s: float | None = refresh_s
        self._times: list[float] = []
        self._energy_j: list[float] = []

    @property
    def next_poll_s(self) -> float:
        """Latest time of the next poll."""
        return self._times[-1] + self._period_s if self._times else 0.0

    @property
    def polled_s(self) -> float:
        """Time of the last reading."""
        return self._times[-1]

    @property
    def gaps(self) -> Sequence[Gap]:
        """Times in which a counter restarted or jumped."""
        return [gap for counter in self._counters for gap in counter.gaps]

    def poll(self) -> None:
        """Read all counters."""
        before_s = time.monotonic()
        energy_j = sum(counter.read() for counter in self._counters)
        self._times.append((before_s + time.monotonic()) / 2)
        self._energy_j.append(energy_j)

    def is_settled(self, time_s: float) -> bool:
        """Return whether there was a reading after a time."""
        return len(self._times) > 1 and self._times[-1] >= time_s

    def curve(self) -> EnergyCurve:
        """Return the energy over time."""
        times = np.array(self._times)
        refresh_s = self.resolution_s or 0.0
        uncertainty_s = np.full(len(times), UNIFORM * refresh_s)
        curve = CounterCurve(times, np.array(self._energy_j), uncertainty_s, steps=False)
        return with_gaps(curve, self.gaps)

    def thin(self, edges_s: Sequence[float]) -> None:
        """Forget every other old reading that is not near an edge, if there are very many."""
        kept = kept_after_thinning(self._times, edges_s)
        if kept is not None:
            self._times = [self._times[i] for i in kept]
            self._energy_j = [self._energy_j[i] for i in kept]
