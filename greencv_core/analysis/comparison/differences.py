"""Differences of all pairs of two groups by rank, without forming all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from greencv_core.analysis.result import Values

_Places = NDArray[np.intp]
FORMED_AT_ONCE = 100_000
BISECTIONS = 100


def differences_of_rank(a: Values, b: Values, ranks: Sequence[int]) -> list[float]:
    """Return the differences b - a of all pairs that have some ranks, from 0.

    Of many pairs, bisection finds an interval with few differences around the rank, and only those
    are formed.
    """
    if len(a) * len(b) <= FORMED_AT_ONCE:
        return [float(d) for d in _formed(a, b, ranks)]
    (of_a, times_a), (of_b, times_b) = (np.unique(v, return_counts=True) for v in (a, b))
    if len(of_a) * len(of_b) <= FORMED_AT_ONCE:  # ties, which bisection cannot separate
        formed = np.subtract.outer(of_b, of_a).ravel()
        order = np.argsort(formed)
        above = np.multiply.outer(times_b, times_a).ravel()[order].cumsum()
        places = np.searchsorted(above, ranks, side="right")
        return [float(d) for d in formed[order][places]]
    a, b = np.sort(a), np.sort(b)
    return [_difference_of_rank(a, b, rank) for rank in ranks]


def _formed(a: Values, b: Values, ranks: Sequence[int]) -> Values:
    differences = np.subtract.outer(b, a).ravel()
    differences.partition(sorted(set(ranks)))
    return differences[list(ranks)]


def _difference_of_rank(a: Values, b: Values, rank: int) -> float:
    low, high = float(b[0] - a[-1]), float(b[-1] - a[0])
    # Rounding of a difference, and of a bound that is compared with one.
    slack = 8 * np.finfo(float).eps * float(max(np.abs(a).max(), np.abs(b).max()))
    for _ in range(BISECTIONS):
        first = np.searchsorted(a, b - (high + slack), side="left")
        last = np.searchsorted(a, b - (low - slack), side="right")
        if (last - first).sum() <= FORMED_AT_ONCE:
            return _among(a, b, first, last, rank)
        middle = (low + high) / 2
        below = int((len(a) - np.searchsorted(a, b - middle, side="right")).sum())
        low, high = (low, middle) if rank < below else (middle, high)
    return float(_formed(a, b, [rank])[0])  # ties


def _among(a: Values, b: Values, first: _Places, last: _Places, rank: int) -> float:
    """Return the difference of a rank, which is one of ``b[j] - a[first[j]:last[j]]``."""
    counts = last - first
    starts = np.repeat(first - np.cumsum(counts) + counts, counts)
    formed = np.repeat(b, counts) - a[starts + np.arange(len(starts))]
    place = rank - int((len(a) - last).sum())
    return float(np.partition(formed, place)[place])
