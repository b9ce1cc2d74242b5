"""Which refresh brought each value, once all polls are known.

A value seen just after a late poll may come from the refresh that is due or from the one before.
Afterwards the polls show more:

- polls shortly before and after a refresh give the cycle;
- a value was refreshed no later than the poll that first showed it;
- no value stays beyond the next refresh;
- each new value needs another refresh.

Together they leave one refresh for nearly every value.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greencv_core.metering.energy_curves import UNIFORM, Floats
from greencv_core.metering.refresh_cycle import (
    JITTER_S,
    REACH,
    SEARCH_S,
    USUAL_PERIOD_S,
    Refresh,
    RefreshCycle,
)

TIGHT_S, TIGHT_SHARE = 0.01, 0.5
"""Largest interval between two polls that gives the time of a refresh: in seconds, and as a share
of the period."""
NO_CYCLE_SHARE = 1 / 6
"""Share of the period that refreshes with a cycle do not stray."""
MOST_COMPARED = 30  # refreshes at each end of a recording from which its period is found
SLOW_GAPS = 4  # number of slow refreshes from which their spread is known
FEW_GAPS_SHARE = 0.3
"""Relative standard uncertainty of a refresh period that is known from one or two refreshes."""
MAD_TO_SD = 1.4826  # standard deviation over median absolute deviation, of a normal distribution


@dataclass(slots=True)
class SeenRefresh(Refresh):
    """A refresh and the polls around it."""

    earliest_s: float
    """Time of the last poll that showed the value before."""
    latest_s: float
    """Time of the first poll that showed this value."""
    last_read_s: float
    """Time of the last poll that showed it."""


class _Cycle:
    """The number of periods at any time, between the refreshes whose times are known well."""

    def __init__(self, tight: Floats, cycle: RefreshCycle) -> None:
        """``tight`` has rows of time, uncertainty, and the times of the polls around it."""
        at_s, half_s = cycle.anchor_s, max(JITTER_S, cycle.anchor_width_s / 2)
        if len(tight) == 0 or at_s < tight[0, 0]:
            anchor = np.array([[at_s, 2 * half_s * UNIFORM, at_s - half_s, at_s + half_s]])
            tight = np.concatenate([anchor, tight])
        gaps_s = np.diff(tight[:, 0])
        numbers = np.concatenate([[0.0], np.cumsum(np.rint(gaps_s / cycle.period_s))])
        keep = np.concatenate([[True], np.diff(numbers) > 0])
        self._time_s, self._u, earliest_s, latest_s = tight[keep].T
        self._number = numbers[keep]
        self.period_s, self._drift_s = cycle.period_s, cycle.period_uncertainty_s
        # Across a pause, the number of periods may be one more or one less.
        self._unsure = np.diff(self._number) * REACH * self._drift_s > self.period_s / 2
        self._narrow_period(earliest_s, latest_s)
        self.jitter_s = max(JITTER_S, self._strays_s())

    def _narrow_period(self, earliest_s: Floats, latest_s: Floats) -> None:
        """Take the period from all polls, unless it is known better.

        A line through the middles between polls would not do: the polls follow the assumed cycle,
        so their errors are not independent. A period is possible if, for each two refreshes, it is
        neither too short nor too long for the polls around them.
        """
        count = len(self._number)
        ends = np.r_[: min(count, MOST_COMPARED), max(count - MOST_COMPARED, MOST_COMPARED) : count]
        number, earliest_s, latest_s = self._number[ends], earliest_s[ends], latest_s[ends]
        stretch = np.concatenate([[0], np.cumsum(self._unsure)])[ends]
        first, second = np.nonzero(np.triu(stretch[:, None] == stretch, 1))
        if not len(first):
            return
        periods = number[second] - number[first]
        longest_s = np.min((latest_s[second] - earliest_s[first] + 2 * JITTER_S) / periods)
        shortest_s = np.max((earliest_s[second] - latest_s[first] - 2 * JITTER_S) / periods)
        drift_s = max(float(longest_s - shortest_s), 0.0) * UNIFORM
        if 0 < drift_s < self._drift_s:
            self.period_s = float(longest_s + shortest_s) / 2
            self._drift_s = drift_s

    def _strays_s(self) -> float:
        """Return by how much a refresh strays from the middle between its neighbours."""
        t, n = self._time_s, self._number
        if len(t) < 3:
            return 0.0
        share = (n[1:-1] - n[:-2]) / (n[2:] - n[:-2])
        strays_s = t[1:-1] - t[:-2] - share * (t[2:] - t[:-2])
        return MAD_TO_SD * float(np.median(np.abs(strays_s))) / math.sqrt(1.5)

    def number(self, time_s: Floats) -> Floats:
        """Return the number of periods at each time, the whole ones at the refreshes."""
        inside = np.interp(time_s, self._time_s, self._number)
        before_s = np.fmin(time_s - self._time_s[0], 0.0)
        after_s = np.fmax(time_s - self._time_s[-1], 0.0)
        numbers: Floats = inside + (before_s + after_s) / self.period_s
        return numbers

    def time_s(self, number: Floats) -> Floats:
        """Return the time of each refresh."""
        inside = np.interp(number, self._number, self._time_s)
        before = np.fmin(number - self._number[0], 0.0)
        after = np.fmax(number - self._number[-1], 0.0)
        times: Floats = inside + (before + after) * self.period_s
        return times

    def uncertainty_s(self, time_s: Floats) -> Floats:
        """Return the standard uncertainty of a refresh near each time."""
        after = np.searchsorted(self._time_s, time_s)
        unsure = np.concatenate([[True], self._unsure, [True]])[after]
        times_s = np.concatenate([[-np.inf], self._time_s, [np.inf]])
        alone_s = np.fmax(np.fmin(time_s - times_s[after], times_s[after + 1] - time_s), 0.0)
        drift_s = np.where(unsure, alone_s, 0.0) / self.period_s * self._drift_s
        known_s = np.interp(time_s, self._time_s, self._u)
        uncertainties: Floats = np.sqrt(drift_s**2 + known_s**2 + self.jitter_s**2)
        return uncertainties


def timed_by_cycle(
    seen: Sequence[SeenRefresh], cycle: RefreshCycle, *, is_counter: bool
) -> list[Refresh] | None:
    """Return the refreshes at their times by the cycle; None if there is no cycle.

    Some values may come from either of two refreshes. A counter leaves them out, and loses nothing.
    Those of a power, the first value and the last get the uncertainty of both.
    """
    rows = np.array(
        [(r.time_s, r.uncertainty_s, r.earliest_s, r.latest_s, r.last_read_s) for r in seen]
    )
    time_s, uncertainty_s, earliest_s, latest_s, last_s = rows.T
    width_s = latest_s - earliest_s
    tight = width_s < min(TIGHT_S, TIGHT_SHARE * cycle.period_s)
    refreshes = _Cycle(rows[tight, :4], cycle)
    if refreshes.jitter_s > NO_CYCLE_SHARE * refreshes.period_s:
        return None
    reach = np.fmin(REACH * refreshes.uncertainty_s(latest_s) / refreshes.period_s, 0.5)
    first = np.floor(refreshes.number(last_s) - reach)
    last = np.floor(refreshes.number(latest_s) + reach)
    steps = np.arange(len(seen))
    first = np.maximum.accumulate(first - steps) + steps
    last = np.minimum.accumulate((last - steps)[::-1])[::-1] + steps
    either = first < last
    # Another refresh would have followed the first by its last poll, if that were earlier.
    earliest_s[0] = last_s[0] - refreshes.period_s - 2 * refreshes.jitter_s
    due_s = (refreshes.time_s(first) + refreshes.time_s(last)) / 2
    located_s = np.clip(due_s, earliest_s, latest_s)
    apart_s = np.abs(located_s - due_s) + np.abs(last - first) / 2 * refreshes.period_s
    located_u = np.hypot(refreshes.uncertainty_s(located_s), apart_s)
    located_u = np.fmin(located_u, (latest_s - earliest_s) * UNIFORM)
    # Where no refresh of the cycle fits, the polls decide.
    by_polls = tight | (first > last) & (steps > 0)
    located_s = np.where(by_polls, time_s, located_s)
    located_u = np.where(by_polls, uncertainty_s, located_u)
    ends = (steps == 0) | (steps == steps[-1])
    kept = np.flatnonzero(~either | tight | ends | (not is_counter))
    return [
        Refresh(float(located_s[i]), float(located_u[i]), seen[i].value, seen[i].read_s)
        for i in kept.tolist()
    ]


def timed_without_cycle(seen: Sequence[SeenRefresh]) -> list[Refresh]:
    """Return the refreshes as their polls gave them; the first comes from the time between all."""
    first, second, *later = seen
    time_s, uncertainty_s = _first_without_cycle(first, second, later)
    return [Refresh(time_s, uncertainty_s, first.value, first.read_s), second, *later]


def _first_without_cycle(
    first: SeenRefresh, second: SeenRefresh, later: Sequence[SeenRefresh]
) -> tuple[float, float]:
    """Return the time of the refresh before the first poll, and its standard uncertainty."""
    times_s = [second.time_s, *(refresh.time_s for refresh in later)]
    gaps_s = [b - a for a, b in itertools.pairwise(times_s)]
    usual_s = statistics.median(gaps_s) if gaps_s else 0.0
    if usual_s <= SEARCH_S:
        # It was followed by another after its last poll, and at most a period after it came.
        newest_s = min(second.latest_s, first.read_s + USUAL_PERIOD_S) - USUAL_PERIOD_S
        oldest_s = min(first.last_read_s - USUAL_PERIOD_S, newest_s)
        return (oldest_s + newest_s) / 2, (newest_s - oldest_s) * UNIFORM
    # A counter refreshed so slowly that its cycle was not searched for.
    few = len(gaps_s) < SLOW_GAPS
    spread_s = FEW_GAPS_SHARE * usual_s if few else statistics.stdev(gaps_s)
    time_s = min(first.time_s, second.time_s - usual_s)
    return time_s, math.hypot(spread_s, second.uncertainty_s)
