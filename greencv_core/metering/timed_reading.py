"""When a reading was made, if it takes time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from greencv_core.metering.base import MeterError

Value = TypeVar("Value")

QUICK_S = 2e-3  # seconds within which a reading is never repeated
HELD_UP = 2.0  # times as long as the shortest reading, from which one was held up
MOST_READINGS = 3  # readings at one poll


class TimedReading(NamedTuple, Generic[Value]):
    """A value that was read at some moment of an interval."""

    time_s: float
    """Middle of the interval, on the monotonic clock."""
    width_s: float
    value: Value

    @property
    def uncertainty_s(self) -> float:
        """Standard uncertainty of the time: a held-up reading comes before or after the pause."""
        return self.width_s / 2


class TimedReader(Generic[Value]):
    """Reads a value, and once more where the machine held the reading up.

    A held-up reading may come from any moment of its interval. It says little about the energy at
    an edge of a window.
    """

    def __init__(self, read: Callable[[], Value]) -> None:
        self._read = read
        self._shortest_s = math.inf

    def __call__(self) -> TimedReading[Value]:
        """Return the reading whose moment is known best; errors of the first pass through."""
        readings: list[TimedReading[Value]] = []
        usual_s = HELD_UP * self._shortest_s if self._shortest_s < math.inf else 0.0
        while len(readings) < MOST_READINGS:
            before_s = time.monotonic()
            try:
                value = self._read()
            except MeterError:
                if not readings:
                    raise
                break
            width_s = time.monotonic() - before_s
            readings.append(TimedReading(before_s + width_s / 2, width_s, value))
            self._shortest_s = min(self._shortest_s, width_s)
            if width_s <= max(QUICK_S, usual_s):
                break
        return min(readings, key=lambda reading: reading.width_s)
