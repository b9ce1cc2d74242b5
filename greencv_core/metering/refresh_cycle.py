"""The regular cycle in which the value of a meter is refreshed."""

from __future__ import annotations

import math
from dataclasses import dataclass

JITTER_S = 0.0008
"""Smallest standard uncertainty (in seconds) of a refresh; polls come some 0.1 ms late."""
SEARCH_S = 0.3  # seconds without change after which a value counts as constant
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
