"""Bootstrap draws of medians and means, and intervals from them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats

from greencv_core.analysis.result import CONFIDENCE, Values

RESAMPLES = 10_000
SEED = 2022
_TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
_AT_ONCE = 4_000_000
"""Resampled values that are held in memory at once."""


def generator(name: str) -> np.random.Generator:
    """Return the random generator of a group, the same in every analysis."""
    return np.random.default_rng([SEED, zlib.crc32(name.encode())])


def parts(rows: int, values: int) -> Iterator[slice]:
    """Cut rows of so many values each into parts that can be held in memory at once."""
    step = max(1, _AT_ONCE // max(1, values))
    for begin in range(0, rows, step):
        yield slice(begin, min(begin + step, rows))


def median_draws(values: Values, rng: np.random.Generator, resamples: int = RESAMPLES) -> Values:
    """Return medians of bootstrap samples of ``values``.

    The draws are from the exact distribution, without drawing samples: order statistics of uniform
    variates follow beta distributions.
    """
    ordered = np.sort(values)
    n = len(ordered)
    half = (n + 1) // 2
    lower = rng.beta(half, n - half + 1, resamples)
    if n % 2:
        return _at(ordered, lower)
    upper = lower + (1 - lower) * rng.beta(1, n - half, resamples)
    return (_at(ordered, lower) + _at(ordered, upper)) / 2


def medians_without_each(values: Values) -> Values:
    """Return the median without the first value, without the second, and so on."""
    ordered, left = np.sort(values), len(values) - 1
    rank = np.empty(len(values), dtype=int)
    rank[np.argsort(values, kind="stable")] = np.arange(len(values))
    lower, upper = (ordered[k + (rank <= k)] for k in ((left - 1) // 2, left // 2))
    medians: Values = (lower + upper) / 2
    return medians


def mean_draws(
    values: Values, rng: np.random.Generator, resamples: int = RESAMPLES
) -> tuple[Values, Values]:
    """Return means of bootstrap samples of ``values``, and their standard errors."""
    values = np.sort(values)  # draws do not depend on the order of the runs
    n = len(values)
    means, errors = np.empty(resamples), np.empty(resamples)
    for part in parts(resamples, n):
        sample = values[rng.integers(0, n, (part.stop - part.start, n))]
        means[part] = sample.mean(axis=1)
        errors[part] = sample.std(axis=1, ddof=1) / math.sqrt(n)
    return means, errors


def bca(draws: Values, estimate: float, without_each: Sequence[Values]) -> tuple[float, float]:
    """Return the bias-corrected and accelerated interval (Efron 1987).

    ``without_each`` holds, for each group, the statistic without each of its values.
    """
    if np.ptp(draws) == 0:
        return float(draws[0]), float(draws[0])
    below = (np.mean(draws < estimate) + np.mean(draws <= estimate)) / 2
    # A share of 0 or 1 would make the bounds infinite.
    least = 0.5 / len(draws)
    bias = stats.norm.ppf(min(max(below, least), 1 - least))
    skew = spread = 0.0
    for values in without_each:
        influence = (len(values) - 1) * (values.mean() - values)
        skew += float((influence**3).sum()) / len(values) ** 3
        spread += float((influence**2).sum()) / len(values) ** 2
    acceleration = skew / (6 * spread**1.5) if spread > 0 else 0.0
    z = bias + stats.norm.ppf(_TAILS)
    low, high = np.quantile(draws, stats.norm.cdf(bias + z / (1 - acceleration * z)))
    return float(low), float(high)


def studentised(
    draws: Values, errors: Values, estimate: float, error: float
) -> tuple[float, float]:
    """Return the interval by the bootstrap of the studentised statistic (Efron 1981)."""
    with np.errstate(all="ignore"):
        t = (draws - estimate) / errors
    t = t[np.isfinite(t)]
    if not len(t):
        return estimate, estimate
    low, high = np.quantile(t, _TAILS)
    return float(estimate - high * error), float(estimate - low * error)


def _at(ordered: Values, share: Values) -> Values:
    taken: Values = ordered[np.minimum((share * len(ordered)).astype(int), len(ordered) - 1)]
    return taken
