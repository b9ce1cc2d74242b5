"""Which readings of a long window are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

MOST_READINGS = 20_000
"""Number of readings from which old ones are thinned out."""
NEAR_EDGE_S = 5.0  # seconds around an edge within which every reading is kept
FEW_READINGS = 100  # first and last readings, all of which are kept


class _Timed(Protocol):
    @property
    def time_s(self) -> float: ...


Reading = TypeVar("Reading", bound=_Timed)


def thinned(readings: list[Reading], edges_s: Sequence[float]) -> list[Reading]:
    """Return the readings to keep: the same list if there are few enough."""
    if len(readings) < MOST_READINGS:  # at each poll: before their times are listed
        return readings
    kept = kept_after_thinning([reading.time_s for reading in readings], edges_s)
    return readings if kept is None else [readings[i] for i in kept]


def kept_after_thinning(times_s: Sequence[float], edges_s: Sequence[float]) -> list[int] | None:
    """Return the indices of the readings to keep; None if there are few enough.

    Of old readings every other one goes, unless it is near an edge of a window or a phase: a
    counter loses nothing but the course of the power between those that are kept.
    """
    if len(times_s) < MOST_READINGS:
        return None
    times = np.asarray(times_s)
    indices = np.arange(len(times))
    keep = (indices % 2 == 0) | (indices < FEW_READINGS) | (indices >= len(times) - FEW_READINGS)
    if len(edges_s):
        edges = np.sort(np.asarray(edges_s))
        after = np.clip(np.searchsorted(edges, times), 1, len(edges) - 1) if len(edges) > 1 else 0
        near_s = np.abs(times - edges[after])
        if len(edges) > 1:
            near_s = np.fmin(near_s, np.abs(times - edges[after - 1]))
        keep |= near_s < NEAR_EDGE_S
    return [int(i) for i in indices[keep]]
