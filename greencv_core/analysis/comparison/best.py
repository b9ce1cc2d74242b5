"""Multiple comparisons with the best (Hsu 1984)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from greencv_core.analysis.result import ALPHA, Values
from greencv_core.analysis.units import contrast

GRID = 10_000
"""Losses are compared as whole hundredths of a point."""
NOISE = 6
"""Decimals of a hundredth that are not rounding errors."""


def loss_bounds(scores: Sequence[pd.Series], extra_variance: Values | None = None) -> Values:
    r"""Return upper bounds of each group's loss of the mean against the best, at 95% for all.

    Hsu's multiple comparisons with the best (Hsu 1984), constrained to losses of 0 and more, with
    the standard errors and degrees of freedom of :func:`greencv_core.analysis.units.contrast` and
    Bonferroni's adjustment:

    .. math::
        u_i = \max\bigl(0,\ \max_{j \ne i}\ \bar y_j - \bar y_i
            + t_{1 - \alpha/(k - 1),\,\nu_{ij}}\, s_{ij}\bigr)

    The bounds hold at once although the best group :math:`b` is unknown: each of the :math:`k - 1`
    differences :math:`\mu_b - \mu_i` exceeds its one-sided bound with probability
    :math:`\alpha/(k - 1)`, so none does with probability :math:`1 - \alpha` or more, and
    :math:`u_i` is a maximum over all :math:`j`, including :math:`b`. Comparisons between other
    groups only raise :math:`u_i`, so they need no adjustment.

    Where neither group of a pair varies, the bound is their difference. ``scores`` are the units of
    at least two groups, two or more each; ``extra_variance[i, j]`` is that of an error of the
    difference that no spread of the units contains.
    """
    k = len(scores)
    bounds = np.zeros((k, k))
    for i, j in itertools.combinations(range(k), 2):
        extra = 0.0 if extra_variance is None else float(extra_variance[i, j])
        found = contrast(scores[i], scores[j], extra)
        half = found.se * stats.t.isf(ALPHA / (k - 1), found.df) if found.se > 0 else 0.0
        bounds[i, j], bounds[j, i] = found.estimate + half, half - found.estimate
    highest: Values = bounds.max(axis=1)
    return highest


def rounded_up(bound: float) -> float:
    """Return an upper bound of a loss, rounded up to whole hundredths of a point."""
    return math.ceil(round(GRID * bound, NOISE)) / GRID
