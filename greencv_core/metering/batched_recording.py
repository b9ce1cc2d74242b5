"""Recording of counters that are published together: at each read, or in batches seconds apart."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greencv_core.metering.counter import CheckedCounter
from greencv_core.metering.energy_curves import (
    UNIFORM,
    CounterCurve,
    EnergyCurve,
    Floats,
    columns,
)
from greencv_core.metering.gaps import Gap
from greencv_core.metering.refresh_cycle import Refresh
from greencv_core.metering.thinning import thinned
from greencv_core.metering.timed_reading import TimedReader

POLL_GAP_S = 0.1
"""Longest time between polls, each of which takes some milliseconds."""
BATCH_S = 0.35
"""Time without a change of the clock after which counters are assumed to come in batches."""
TAIL_S = 0.15
"""Longest time between the two parts of a batch, with the time until they are seen."""
FEW_BATCHES, FEW_SHARE = 4, 0.3
"""Number of batches up to which their spread is unknown, and assumed to be this share."""
AGE_S = 1e-3  # age of a counter that is published at each read


@dataclass(frozen=True, slots=True)
class _Reading:
    time_s: float
    uncertainty_s: float
    clock_j: float
    energy_j: float


class BatchCurve:
    """Energy of batches that may be longer than the window.

    The batches at the edges are shared with the work before and after it. If no whole batch is in
    the window, its energy may be anything from 0 to that of all batches that it touches; otherwise
    the power at the edges is assumed to vary as much as that of the whole batches, or, if there is
    only one, by half of what it may.
    """

    def __init__(self, batches: Sequence[Refresh]) -> None:
        self._time_s, self._energy_j, uncertainties_s = columns(list(batches))
        self._curve = CounterCurve(self._time_s, self._energy_j, uncertainties_s)

    def energy_at_j(self, time_s: Floats) -> Floats:
        """Return the energy until each time, from an arbitrary zero."""
        return self._curve.energy_at_j(time_s)

    def between(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Return the energy between two times and its standard uncertainty, both in J."""
        energy_j, uncertainty_j = self._curve.between(start_s, end_s)
        t, e = self._time_s, self._energy_j
        first = max(int(np.searchsorted(t, start_s, side="right")) - 1, 0)
        last = min(int(np.searchsorted(t, end_s, side="left")), len(t) - 1)
        inside = slice(first + 1, last)
        powers_w = np.diff(e[inside]) / np.diff(t[inside])
        shared_j = max(energy_j, float(e[last] - e[first]) - energy_j)
        if len(powers_w) == 1:
            inside_j = float(e[last - 1] - e[first + 1])
            shared_j = max(energy_j - inside_j, float(e[last] - e[first]) - energy_j) / 2
        elif len(powers_w) > 1:
            lengths_s = t[first + 1] - t[first], t[last] - t[last - 1]
            shared_j = float(np.ptp(powers_w)) * math.hypot(*lengths_s)
        return energy_j, math.hypot(uncertainty_j, shared_j / math.sqrt(3))


class BatchedRecording:
    """Sum of some counters over time.

    Parameters
    ----------
    clock
        Counter that never rests, whose changes show when the others are published.
    counters
        Counters to add up; they may rest.
    poll_period_s
        Longest time between two polls in seconds.
    """

    gaps: Sequence[Gap] = ()
    """There is no power to bridge a counter that restarts: its energy is lost."""

    def __init__(
        self, clock: CheckedCounter, counters: Sequence[CheckedCounter], poll_period_s: float
    ) -> None:
        self._clock, self._counters = clock, tuple(counters)
        self._period_s = min(poll_period_s, POLL_GAP_S)
        self.leeway_s = self._period_s / 4
        self._read = TimedReader(self._read_counters)
        self._readings: list[_Reading] = []
        self._changed_s = 0.0
        self._longest_still_s = 0.0

    @property
    def next_poll_s(self) -> float:
        """Latest time of the next poll."""
        return self._readings[-1].time_s + self._period_s if self._readings else 0.0

    @property
    def polled_s(self) -> float:
        """Time until which the energy is known: that of the last change, if there are batches."""
        return self._changed_s if self._has_batches else self._readings[-1].time_s

    @property
    def resolution_s(self) -> float | None:
        """Time between two publications in seconds; None if it was not found."""
        if not self._has_batches:
            return max(AGE_S, self._longest_still_s)
        gaps_s = _gaps_s(self._batches())
        return statistics.median(gaps_s[1:]) if len(gaps_s) > 1 else None

    def poll(self) -> None:
        """Read all counters."""
        reading = self._read()
        now_s, (clock_j, energy_j) = reading.time_s, reading.value
        if not self._readings or clock_j != self._readings[-1].clock_j:
            self._changed_s = now_s
        self._longest_still_s = max(self._longest_still_s, now_s - self._changed_s)
        self._readings.append(_Reading(now_s, reading.uncertainty_s, clock_j, energy_j))

    def _read_counters(self) -> tuple[float, float]:
        return self._clock.read(), sum(counter.read() for counter in self._counters)

    def is_settled(self, time_s: float) -> bool:
        """Return whether something was published after a time."""
        if not self._readings or self._readings[-1].time_s < self._readings[0].time_s + BATCH_S:
            return False  # there may be batches
        if not self._has_batches:
            return self._readings[-1].time_s >= time_s
        batches = self._batches()
        return len(batches) >= 3 and batches[-1].time_s >= time_s

    def curve(self) -> EnergyCurve:
        """Return the energy over time."""
        if self._has_batches:
            return BatchCurve(self._batches())
        times_s = [reading.time_s for reading in self._readings]
        energies_j = [reading.energy_j for reading in self._readings]
        reading_s = np.array([reading.uncertainty_s for reading in self._readings])
        uncertainties_s = np.hypot(UNIFORM * max(AGE_S, self._longest_still_s), reading_s)
        return CounterCurve(np.array(times_s), np.array(energies_j), uncertainties_s, steps=False)

    def thin(self, edges_s: Sequence[float]) -> None:
        """Forget every other old reading that is not near an edge, if there are very many."""
        self._readings = thinned(self._readings, edges_s)

    @property
    def _has_batches(self) -> bool:
        return self._longest_still_s >= BATCH_S

    def _batches(self) -> list[Refresh]:
        """Return when each batch was published, and the sum of the counters in it.

        The first was published before the first poll, at a time inferred from the others.
        """
        groups = [list(same) for _, same in itertools.groupby(self._readings, _clock_j)]
        batches = []
        for before, group, after in zip(groups, groups[1:], [*groups[2:], None], strict=False):
            if after is not None and after[0].time_s - group[0].time_s < TAIL_S:
                continue  # the other part of this batch came a moment later
            width_s = group[0].time_s - before[-1].time_s
            time_s, uncertainty_s = group[0].time_s - width_s / 2, width_s * UNIFORM
            batches.append(Refresh(time_s, uncertainty_s, group[-1].energy_j, group[0].time_s))
        first, since_s, spread_s = groups[0][-1], self._readings[0].time_s, 0.0
        if gaps_s := _gaps_s(batches):
            usual_s = statistics.median(gaps_s)
            few = len(gaps_s) < FEW_BATCHES
            spread_s = FEW_SHARE * usual_s if few else statistics.stdev(gaps_s)
            since_s = min(since_s, batches[0].time_s - usual_s)
        return [Refresh(since_s, spread_s, first.energy_j, first.time_s), *batches]


def _clock_j(reading: _Reading) -> float:
    return reading.clock_j


def _gaps_s(batches: Sequence[Refresh]) -> list[float]:
    return [after.time_s - before.time_s for before, after in itertools.pairwise(batches)]
