"""Recording of counters that are up to date at each reading."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from greencv_core.metering.counter import CheckedCounter
from greencv_core.metering.energy_curves import UNIFORM, CounterCurve, EnergyCurve
from greencv_core.metering.gaps import Gap, with_gaps
from greencv_core.metering.thinning import thinned
from greencv_core.metering.timed_reading import TimedReader, TimedReading

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
        self._read = TimedReader(lambda: sum(counter.read() for counter in self._counters))
        self._readings: list[TimedReading[float]] = []

    @property
    def next_poll_s(self) -> float:
        """Latest time of the next poll."""
        return self._readings[-1].time_s + self._period_s if self._readings else 0.0

    @property
    def polled_s(self) -> float:
        """Time of the last reading."""
        return self._readings[-1].time_s

    @property
    def gaps(self) -> Sequence[Gap]:
        """Times in which a counter restarted or jumped."""
        return [gap for counter in self._counters for gap in counter.gaps]

    def poll(self) -> None:
        """Read all counters."""
        self._readings.append(self._read())

    def is_settled(self, time_s: float) -> bool:
        """Return whether there was a reading after a time."""
        return len(self._readings) > 1 and self._readings[-1].time_s >= time_s

    def curve(self) -> EnergyCurve:
        """Return the energy over time."""
        times_s, energies_j, reading_s = np.array(
            [(reading.time_s, reading.value, reading.uncertainty_s) for reading in self._readings]
        ).T
        uncertainties_s = np.hypot(UNIFORM * (self.resolution_s or 0.0), reading_s)
        curve = CounterCurve(times_s, energies_j, uncertainties_s, steps=False)
        return with_gaps(curve, self.gaps)

    def thin(self, edges_s: Sequence[float]) -> None:
        """Forget every other old reading that is not near an edge, if there are very many."""
        self._readings = thinned(self._readings, edges_s)
