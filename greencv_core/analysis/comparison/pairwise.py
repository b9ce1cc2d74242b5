"""Pairwise tests, Cliff's delta and the Hodges-Lehmann shift."""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
import scikit_posthocs
from scipy import stats
from statsmodels.stats.nonparametric import rank_compare_2indep

from greencv_core.analysis.result import CONFIDENCE, Values
from greencv_core.analysis.units import contrast

Groups = Mapping[str, Values]

MOST_FOR_EXACT = 50
"""Largest group for the exact distribution of Mann-Whitney's U, as in R."""


def t_tests(of_units: Mapping[str, pd.Series]) -> pd.DataFrame:
    """Test each pair of groups by their units (:func:`greencv_core.analysis.units.contrast`).

    Columns: a, b, t_p, t_p_holm (over all pairs) and paired; p is NaN of a pair without spread.
    """
    pairs = list(itertools.combinations(of_units, 2))
    found = [contrast(of_units[a], of_units[b]) for a, b in pairs]
    frame = pd.DataFrame(pairs, columns=["a", "b"])
    p = [result.p for result in found]
    return frame.assign(t_p=p, t_p_holm=holm(p), paired=[result.paired for result in found])


def compared_pairs(groups: Groups) -> pd.DataFrame:
    """Describe each pair of groups, and compare it by further tests, which decide nothing.

    Columns: n_a, n_b, median_a, median_b, dunn_p, dunn_p_holm, games_howell_p; cliffs_delta
    and hodges_lehmann_shift (of b against a), each with ``_low`` and ``_high`` of its 95%
    interval; cliffs_magnitude. Undefined figures are NaN. Pairs are in the order of
    :func:`t_tests`.
    """
    dunn = _dunn(list(groups.values()))
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        # Groups without spread make it divide by zero; the result is NaN.
        games_howell = stats.tukey_hsd(*groups.values(), equal_var=False).pvalue
    rows = []
    for (i, a), (j, b) in itertools.combinations(enumerate(groups), 2):
        x, y = groups[a], groups[b]
        delta = cliffs_delta(x, y)
        delta_low, delta_high = cliffs_delta_interval(x, y)
        shift, shift_low, shift_high = hodges_lehmann(x, y)
        rows.append(
            {
                "n_a": len(x),
                "n_b": len(y),
                "median_a": np.median(x),
                "median_b": np.median(y),
                "dunn_p": float(dunn[i, j]),
                "games_howell_p": float(games_howell[i, j]),
                "cliffs_delta": delta,
                "cliffs_delta_low": delta_low,
                "cliffs_delta_high": delta_high,
                "cliffs_magnitude": _magnitude(delta),
                "hodges_lehmann_shift": shift,
                "hodges_lehmann_shift_low": shift_low,
                "hodges_lehmann_shift_high": shift_high,
            }
        )
    frame = pd.DataFrame(rows)
    frame.insert(frame.columns.get_loc("games_howell_p"), "dunn_p_holm", holm(frame["dunn_p"]))
    return frame


def holm(p: Sequence[float] | Values) -> list[float]:
    """Return p values adjusted by Holm's method; NaN stays NaN."""
    values = np.array(p, dtype=float)
    # As in statsmodels, whose function collects garbage each time and so takes a second.
    order = np.argsort(values)[: np.isfinite(values).sum()]
    steps = values[order] * np.arange(len(order), 0, -1)
    values[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in values]


def cliffs_delta(a: Values, b: Values) -> float:
    """Return Cliff's delta of ``a`` over ``b``: 2 U / (n_a n_b) - 1 (Cliff 1993)."""
    u = stats.mannwhitneyu(a, b, method="asymptotic").statistic
    return float(2 * u / (len(a) * len(b)) - 1)


def cliffs_delta_interval(a: Values, b: Values) -> tuple[float, float]:
    """Return the 95% interval of Cliff's delta, for unequal variances.

    From Brunner and Munzel's (2000) interval of the probability of superiority. Groups that do not
    overlap would have no width; the bound is then (n - z^2) / (n + z^2), by Wilson's score of n in
    n, with the n of the smaller group (Cliff 1996).
    """
    delta = cliffs_delta(a, b)
    if abs(delta) == 1:
        n, z2 = min(len(a), len(b)), float(stats.norm.ppf((1 + CONFIDENCE) / 2)) ** 2
        bound = (n - z2) / (n + z2)
        return (bound, 1.0) if delta > 0 else (-1.0, -bound)
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        low, high = rank_compare_2indep(a, b).confint_lintransf(-1, 2, alpha=1 - CONFIDENCE)
    if not low < high:
        return math.nan, math.nan
    return max(-1.0, float(low)), min(1.0, float(high))


def hodges_lehmann(a: Values, b: Values) -> tuple[float, float, float]:
    """Return the Hodges-Lehmann shift of ``b`` against ``a``, and its 95% interval.

    The shift is the median of all differences b - a; the interval holds the shifts that
    Mann-Whitney's test at 5% does not reject (Hodges and Lehmann 1963; Lehmann 1975). With very
    few values, as three against three, there is none: the bounds are NaN.
    """
    differences = np.sort(np.subtract.outer(b, a), axis=None)
    shift, rank = float(np.median(differences)), _lower_rank(len(a), len(b))
    if not rank:
        return shift, math.nan, math.nan
    return shift, float(differences[rank - 1]), float(differences[-rank])


def _lower_rank(m: int, n: int) -> int:
    """Return the rank, from 1, of the difference that is the lower bound; 0 if there is none."""
    tail = (1 - CONFIDENCE) / 2
    if max(m, n) < MOST_FOR_EXACT:
        # R's qwilcox
        return int(np.searchsorted(_u_distribution(*sorted((m, n))), tail, side="right"))
    spread = math.sqrt(m * n * (m + n + 1) / 12)
    return max(0, math.floor(m * n / 2 + float(stats.norm.ppf(tail)) * spread))


@lru_cache(maxsize=512)
def _u_distribution(m: int, n: int) -> Values:
    """Return the cumulative null distribution of Mann-Whitney's U, without ties."""
    # Coefficients of the Gaussian binomial: the product of (1 - x^(n+i)) / (1 - x^i).
    count = np.zeros(m * n + 1)
    count[0] = 1.0
    for i in range(1, m + 1):
        for u in range(m * n, n + i - 1, -1):
            count[u] -= count[u - n - i]
        for u in range(i, m * n + 1):
            count[u] += count[u - i]
    cumulative: Values = np.cumsum(count) / count.sum()
    return cumulative


def _dunn(values: Sequence[Values]) -> Values:
    if np.ptp(np.concatenate(values)) == 0:
        return np.ones((len(values), len(values)))
    return np.asarray(scikit_posthocs.posthoc_dunn(values), dtype=float)


def _magnitude(delta: float) -> str:
    # Thresholds of Romano et al. (2006), as the original study uses them.
    words = ("negligible", "small", "medium", "large")
    return words[bisect.bisect_right((0.147, 0.33, 0.474), abs(delta))]
