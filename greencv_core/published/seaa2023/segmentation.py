"""Change point between the stages of a log, and the period of its epochs.

It uses no published number of epochs, so that such numbers can be checked against it.
"""

from __future__ import annotations

import numpy as np

from greencv_core.estimation.trajectory import Floats

SHORTEST_S, LONGEST_S = 10, 120
"""Range of the length of an epoch."""
CLIPPED_AT = 4.0
"""Robust standard deviations beyond which a sample is an interruption."""
NEARLY_AS_GOOD = 0.8
"""Share of the best autocorrelation from which a fraction of its lag is the period."""
FOLLOWED_FOR = 0.6
"""Share of a series over which multiples of the period are followed; beyond it, too few samples
overlap."""


def find_step(values: Floats, last: float = 0.75) -> int:
    """Return the index of the step between two levels that explains most of the variance.

    It lies between 2% of the series and the share ``last``.
    """
    n = len(values)
    lengths = np.arange(1, n)
    sums = np.cumsum(values)
    before, after = sums[:-1], sums[-1] - sums[:-1]
    explained = before**2 / lengths + after**2 / (n - lengths)
    start, stop = int(0.02 * n), max(int(0.02 * n) + 1, int(last * n))
    return 1 + start + int(np.argmax(explained[start:stop]))


def estimate_period(time_s: Floats, *series: Floats) -> tuple[float, float]:
    """Return the common period of the series in s, and their mean autocorrelation at this lag.

    The period is refined by following its multiples, so that its error shrinks with their number.
    """
    grid = np.arange(time_s[0], time_s[-1])
    correlation = np.mean([_autocorrelation(np.interp(grid, time_s, x)) for x in series], axis=0)
    longest = min(LONGEST_S, len(grid) // 3)
    if longest <= SHORTEST_S:
        return float("nan"), 0.0
    lag = SHORTEST_S + int(np.argmax(correlation[SHORTEST_S:longest]))
    best = float(correlation[lag])
    for part in range(lag // SHORTEST_S, 1, -1):
        near = _peak(correlation, lag / part, 1)
        if correlation[near] > NEARLY_AS_GOOD * best:
            lag = near
            break
    found_s, multiple = float(lag), 1
    last = int(FOLLOWED_FOR * len(grid) / lag)
    while multiple < last:
        multiple = min(last, max(multiple + 1, int(1.4 * multiple)))
        peak = _peak(correlation, multiple * found_s, max(2, int(0.15 * found_s)))
        found_s = peak / multiple
    return found_s, best


def _autocorrelation(values: Floats) -> Floats:
    """Return the autocorrelation at each lag, over the samples that overlap."""
    from scipy import fft  # slow to import

    centred = values - np.median(values)
    spread = 1.4826 * np.median(np.abs(centred)) or centred.std() or 1.0
    clipped = np.clip(centred, -CLIPPED_AT * spread, CLIPPED_AT * spread)
    clipped = clipped - clipped.mean()
    n = len(clipped)
    spectrum = fft.rfft(clipped, fft.next_fast_len(2 * n, real=True))
    products = fft.irfft(spectrum * np.conj(spectrum), fft.next_fast_len(2 * n, real=True))[:n]
    correlation = products / np.arange(n, 0, -1) / max(products[0] / n, np.finfo(float).tiny)
    return np.asarray(correlation, dtype=np.float64)


def _peak(values: Floats, around: float, within: int) -> int:
    start = max(0, round(around) - within)
    return start + int(np.argmax(values[start : round(around) + within + 1]))
