"""The regular cycle in which the value of a meter is refreshed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

JITTER_S = 0.0008
"""Smallest standard uncertainty (in seconds) of a refresh; polls come some 0.1 ms late."""
REACH = 3.0
"""Standard uncertainties from a refresh within which a poll may have come before or after it."""
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


@dataclass(frozen=True)
class RefreshCycle:
    """Regular refreshes: one at ``anchor_s``, then every ``period_s``.

    It never changes: several recordings may share it.
    """

    anchor_s: float
    anchor_width_s: float
    """Width of the interval, with ``anchor_s`` in its middle, in which that refresh was."""
    period_s: float
    period_uncertainty_s: float

    @property
    def anchor_uncertainty_s(self) -> float:
        """Standard uncertainty of ``anchor_s``."""
        return self.anchor_width_s / math.sqrt(12)

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

    def between(
        self, due_s: float, earliest_s: float, latest_s: float, jitter_s: float
    ) -> tuple[float, float, float]:
        """Locate a refresh of the cycle that two polls show to be between them.

        Returns
        -------
            Its time, the standard uncertainty of that, and by how much it was due before or after.
        """
        width_s, off_s = latest_s - earliest_s, max(earliest_s - due_s, due_s - latest_s, 0.0)
        cycle_s = self.uncertainty_s(due_s, jitter_s)
        # A cycle that is off is rarely off by just as much as the polls show.
        inside_s = min(cycle_s, width_s / 2) if off_s else 0.0
        time_s = min(max(due_s, earliest_s + inside_s), latest_s - inside_s)
        return time_s, min(width_s / math.sqrt(12), cycle_s + off_s), off_s

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
    period_s = sum(gaps_s) / periods
    return RefreshCycle(times_s[-1], width_s, period_s, width_s / math.sqrt(6) / periods)
