"""The regular cycle in which the value of a meter is refreshed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

JITTER_S = 0.0008
"""Smallest standard uncertainty (in seconds) of a refresh; polls come some 0.1 ms late."""
SEARCH_S = 0.3  # seconds without change after which a value counts as constant
TIGHT_S = 0.008  # largest interval (in seconds) around a refresh from which the cycle can be found
LONGEST_PERIOD_S = 0.5  # longest refresh period that is recognised
MOST_APART = 0.25
"""Share of a period to which the number of periods between two refreshes must be known."""
USUAL_PERIOD_S = 0.1  # assumed refresh period in seconds if no cycle was found


@dataclass(slots=True)
class Refresh:
    """A refresh of the value."""

    time_s: float
    """Best estimate of its time, on the monotonic clock."""
    uncertainty_s: float
    """Standard uncertainty of the time."""
    value: float
    read_s: float
    """Time of the first poll that read the value."""


@dataclass
class RefreshCycle:
    """Regular refreshes: one at ``anchor_s``, then every ``period_s``."""

    anchor_s: float
    period_s: float
    period_uncertainty_s: float

    def latest_until(self, time_s: float) -> float:
        """Return the time of the last refresh that is not after a time."""
        periods = math.floor((time_s - self.anchor_s) / self.period_s)
        return self.anchor_s + periods * self.period_s

    def nearest(self, time_s: float) -> float:
        """Return the time of the refresh nearest to a time."""
        return self.anchor_s + round((time_s - self.anchor_s) / self.period_s) * self.period_s

    def uncertainty_s(self, time_s: float, jitter_s: float) -> float:
        """Return the standard uncertainty of a refresh near a time, given the cycle's jitter."""
        return math.hypot(max(JITTER_S, jitter_s), self.drift_s(time_s))

    def drift_s(self, time_s: float) -> float:
        """Return the standard uncertainty of a refresh near a time from that of the period."""
        return abs(time_s - self.anchor_s) / self.period_s * self.period_uncertainty_s


def cycle_through(tight: Sequence[tuple[float, float]], width_s: float) -> RefreshCycle | None:
    """Return the cycle of the last three refreshes whose times are known well.

    Parameters
    ----------
    tight
        Time of each such refresh, and before it the time of the refresh before. Between two in a
        row there was no other one, between others there may have been.
    width_s
        Interval to which their times are known.
    """
    if len(tight) < 3:
        return None
    times_s = [time_s for _, time_s in tight[-3:]]
    gaps_s = [b - a for a, b in itertools.pairwise(times_s)]
    in_a_row = [before_s == time_s for (_, time_s), (before_s, _) in itertools.pairwise(tight[-3:])]
    period_s = min((g for g, r in zip(gaps_s, in_a_row, strict=True) if r), default=math.inf)
    if period_s > LONGEST_PERIOD_S:
        return None
    apart_s = max((g for g, r in zip(gaps_s, in_a_row, strict=True) if not r), default=0.0)
    off_s = max(abs(gap_s - round(gap_s / period_s) * period_s) for gap_s in gaps_s)
    if apart_s * width_s > MOST_APART * period_s**2 or off_s > min(TIGHT_S, period_s / 2):
        return None
    periods = sum(round(gap_s / period_s) for gap_s in gaps_s)
    return RefreshCycle(times_s[-1], sum(gaps_s) / periods, width_s / math.sqrt(6) / periods)
