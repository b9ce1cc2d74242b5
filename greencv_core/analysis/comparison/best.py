"""Multiple comparisons with the best (Hsu 1984)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from greencv_core.analysis.result import ALPHA, Values


def loss_bounds(scores: Sequence[Values]) -> Values:
    r"""Return upper bounds of each group's loss of the mean against the best, at 95 % for all.

    Hsu's multiple comparisons with the best (Hsu 1984), constrained to losses of 0 and more, with
    Welch's standard errors and degrees of freedom and Bonferroni's adjustment:

    .. math::
        u_i = \max\bigl(0,\ \max_{j \ne i}\ \bar y_j - \bar y_i
            + t_{1 - \alpha/(k - 1),\,\nu_{ij}}\, s_{ij}\bigr)

    The bounds hold at once although the best group :math:`b` is unknown: each of the :math:`k - 1`
    differences :math:`\mu_b - \mu_i` exceeds its one-sided bound with probability
    :math:`\alpha/(k - 1)`, so none does with probability :math:`1 - \alpha` or more, and
    :math:`u_i` is a maximum over all :math:`j`, including :math:`b`. Comparisons between other
    groups only raise :math:`u_i`, so they need no adjustment.

    Where neither group of a pair varies, the bound is their difference. There are at least two
    groups with at least two scores each.
    """
    means = np.array([values.mean() for values in scores])
    n = np.array([len(values) for values in scores])
    # Equal values have no spread, whatever the rounding of their mean.
    spread = [0.0 if np.ptp(values) == 0 else values.var(ddof=1) for values in scores]
    variances = np.array(spread) / n
    both = variances[:, None] + variances
    parts = variances**2 / (n - 1)
    with np.errstate(all="ignore"):
        df = both**2 / (parts[:, None] + parts)
    t = stats.t.ppf(1 - ALPHA / (len(scores) - 1), np.where(both > 0, df, np.inf))
    bounds = means[None, :] - means[:, None] + t * np.sqrt(both)
    np.fill_diagonal(bounds, 0.0)
    highest: Values = bounds.max(axis=1)
    return highest
