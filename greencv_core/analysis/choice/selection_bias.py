"""Bias of the largest of several savings: it was picked for being large."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from greencv_core.analysis.result import Values

CONTENDER = 0.1
"""Smallest share of resamples in which a contender for the largest saving has it."""


def selection_bias(
    log_draws: Values, estimates: Sequence[float], pairs: Sequence[tuple[int, int]]
) -> float:
    """Return by how much the largest saving among pairs is too large on average.

    Each resample picks its own largest saving; conditions that are part of it in at least one in
    ten are contenders. If all contenders were alike, which is the worst case, the largest saving
    would exceed the truth by the median over the resamples of the largest of their deviations.
    Resampling the selection itself would double the bias (``benchmarks/statistics.py``).

    The bias is that of the logarithm of the ratio; 0 if a draw is not above 0. ``log_draws`` has
    shape (groups, resamples); ``pairs`` are the indices of the more expensive and the cheaper
    group.
    """
    if not np.isfinite(log_draws).all():
        return 0.0
    groups, resamples = log_draws.shape
    cheaper: dict[int, list[int]] = {}
    for dear, cheap in pairs:
        cheaper.setdefault(dear, []).append(cheap)
    most, dearest, cheapest = (np.full(resamples, fill) for fill in (-np.inf, 0.0, 0.0))
    for dear, others in cheaper.items():
        of_others = log_draws[others]
        at = of_others.argmin(axis=0)
        gain = log_draws[dear] - of_others.min(axis=0)
        better = gain > most
        most[better], dearest[better] = gain[better], dear
        cheapest[better] = np.array(others)[at[better]]
    dear_contenders, cheap_contenders = (_contenders(end, groups) for end in (dearest, cheapest))
    if sum(dear in dear_contenders and cheap in cheap_contenders for dear, cheap in pairs) == 1:
        return 0.0  # a single contender: nothing was picked
    deviations = log_draws - np.log(estimates)[:, None]
    largest = np.full(resamples, -np.inf)
    for dear, others in cheaper.items():
        contending = [other for other in others if other in cheap_contenders]
        if dear in dear_contenders and contending:
            largest = np.maximum(largest, deviations[dear] - deviations[contending].min(axis=0))
    return max(0.0, float(np.median(largest)))


def _contenders(picked: Values, groups: int) -> set[int]:
    shares = np.bincount(picked.astype(int), minlength=groups) / len(picked)
    # Of many groups that are alike, none is picked often.
    return set(np.flatnonzero(shares >= min(CONTENDER, shares.max() / 2)).tolist())
