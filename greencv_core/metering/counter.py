"""A counter of joules, checked against what is physically possible."""

from __future__ import annotations

import time
from collections.abc import Callable

from greencv_core.metering.base import MeterError, RefusedReadError
from greencv_core.metering.gaps import Gap

POWER_MARGIN = 2.0
"""Share of the power limit that a sensor may show for a moment: spikes exceed the limit."""
SLACK_J = 1.0
CONFIRMED_S, CONFIRMED_READS = 0.2, 3
"""Time and readings for which impossible values must continue one another to be a restart."""


class CheckedCounter:
    """A count of joules that starts at 0 and only grows.

    A value below the last one, or above it by more than the component can use in the time, is
    refused. If the counter comes back, nothing was lost. If it goes on from there, it has restarted
    or jumped: the time since the last good value becomes a :class:`Gap`, bridged by power.

    Parameters
    ----------
    name
        Name of the counter, for messages.
    read_j
        Reads the counter in joules; raises :class:`RefusedReadError` if it may answer later.
    highest_w
        Power that the component cannot exceed for long, such as a card's power limit.
    range_j
        Value after which the counter begins at 0 again; None if it does not.
    power_w
        Reads the power in watts, to bridge a restart; None if there is no power reading.
    refresh_s
        Longest time between two refreshes, which may all show at once.
    stuck_after_s
        Seconds without any change after which the counter is considered stuck.
    """

    def __init__(
        self,
        name: str,
        read_j: Callable[[], float],
        *,
        highest_w: float,
        refresh_s: float,
        stuck_after_s: float,
        range_j: float | None = None,
        power_w: Callable[[], float | None] | None = None,
    ) -> None:
        self.name = name
        self.gaps: list[Gap] = []
        self.moved_s: float | None = None
        """Time of the last reading of a new value; None before the first."""
        self._read_j, self._power_w = read_j, power_w
        self._highest_w, self._range_j = POWER_MARGIN * highest_w, range_j
        self._refresh_s, self._stuck_after_s = refresh_s, stuck_after_s
        self._total_j = 0.0
        self._value_j: float | None = None
        self._first_s = self._last_s = self._older_s = 0.0
        self._impossible: list[tuple[float, float, float | None]] = []

    def read(self) -> float:
        """Return the joules since the first reading.

        Raises
        ------
        RefusedReadError
            The reading was refused, or its value is impossible.
        MeterError
            The counter is stuck, or restarted and there is no power reading.
        """
        value_j, now_s = self._read_j(), time.monotonic()
        if self._value_j is None:
            self._value_j, self._first_s, self._last_s = value_j, now_s, now_s
            self._older_s = now_s - self._refresh_s
            return 0.0
        step_j = self._possible_step_j(self._value_j, value_j, now_s - self._older_s)
        if step_j is None or self._continues_impossible(value_j, now_s):
            return self._continue_after_fault(value_j, now_s)
        self._impossible.clear()
        self._check_range(now_s - self._last_s)
        if step_j > 0:
            self._total_j += step_j
            self.moved_s, self._older_s = now_s, self._last_s
        elif now_s - (self.moved_s or self._first_s) > self._stuck_after_s:
            raise MeterError(f"{self.name} does not change")
        self._value_j, self._last_s = value_j, now_s
        return self._total_j

    def _possible_step_j(self, before_j: float, value_j: float, elapsed_s: float) -> float | None:
        """Return the energy between two values, at most some seconds apart; None if impossible."""
        steps = [value_j - before_j]
        if self._range_j is not None:
            steps.append(steps[0] + self._range_j)
        highest_j = self._highest_w * elapsed_s + SLACK_J
        return next((step for step in steps if 0 <= step <= highest_j), None)

    def _check_range(self, elapsed_s: float) -> None:
        if self._range_j is not None and self._highest_w * elapsed_s > self._range_j:
            raise MeterError(f"{self.name} was not read for {elapsed_s:.0f} s: it may have wrapped")

    def _continues_impossible(self, value_j: float, now_s: float) -> bool:
        """Return whether a value goes on from the impossible ones before it."""
        if not self._impossible:
            return False
        before_s, before_j, _ = self._impossible[-1]
        elapsed_s = max(now_s - before_s, self._refresh_s)
        return self._possible_step_j(before_j, value_j, elapsed_s) is not None

    def _continue_after_fault(self, value_j: float, now_s: float) -> float:
        assert self._value_j is not None
        seen = self._impossible
        if not self._continues_impossible(value_j, now_s):
            seen.clear()
        seen.append((now_s, value_j, self._power_w() if self._power_w else None))
        first_s, first_j, _ = seen[0]
        what = f"fell by {self._value_j - first_j:,.0f} J"
        if first_j >= self._value_j:
            what = f"rose by {first_j - self._value_j:,.0f} J in {first_s - self._older_s:.2g} s"
        if len(seen) < CONFIRMED_READS or now_s - first_s < CONFIRMED_S:
            raise RefusedReadError(f"{self.name} {what}, which is impossible")
        powers = [power_w for _, _, power_w in seen if power_w is not None]
        if not powers:
            raise MeterError(f"{self.name} was reset: it {what}")
        gap = Gap(self._older_s, now_s, self._highest_w / POWER_MARGIN, f"the counter {what}")
        self.gaps.append(gap)
        self._total_j += sum(powers) / len(powers) * (now_s - self._last_s)
        self._value_j, self._last_s, self._older_s = value_j, now_s, now_s - self._refresh_s
        self.moved_s = now_s
        seen.clear()
        return self._total_j


def check_power_w(name: str, power_w: float, highest_w: float, before_w: float | None) -> float:
    """Return a power if it is possible.

    Raises
    ------
    RefusedReadError
        It exceeds what the component can draw, is negative, or is 0 where it was not before.
    """
    if not 0 <= power_w <= POWER_MARGIN * highest_w or (power_w == 0 and before_w):
        raise RefusedReadError(f"{name} reports {power_w:,.4g} W, which is impossible")
    return power_w
