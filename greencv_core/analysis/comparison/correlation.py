"""Spearman's rank correlation with its interval, by environment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from greencv_core.analysis.bootstrap import RESAMPLES, generator, parts
from greencv_core.analysis.result import (
    CONFIDENCE,
    NotEnoughDataError,
    Unavailable,
    Values,
    attempt,
)
from greencv_core.analysis.selection import groups_but
from greencv_core.utils.text import as_opening, left_out_clause, quantity

FEWEST = 3
"""Architectures, and runs of each; with two runs, the interval is too narrow."""


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation of two columns over runs, with its 95% interval.

    The interval holds for other runs of these architectures, not for other architectures.
    """

    x: str
    y: str
    rho: float
    low: float
    high: float
    n: int
    architectures: int
    left_out: tuple[str, ...] = ()
    """Architectures with too few runs that have both values."""

    @property
    def rises(self) -> bool:
        """Whether ``y`` is shown to rise with ``x``."""
        return self.low > 0

    @property
    def falls(self) -> bool:
        """Whether ``y`` is shown to fall as ``x`` rises."""
        return self.high < 0

    def sentence(self) -> str:
        """Describe the correlation and its interval."""
        y, x = as_opening(_name(self.y)), _name(self.x)
        if self.rises or self.falls:
            verdict = f"{y} {'rises' if self.rises else 'falls'} with {x}"
        else:
            verdict = f"{y} is not shown to rise or to fall with {x}"
        return (
            f"{verdict} (rank correlation {self.estimate()}, n = {self.n} runs of "
            f"{self.architectures} architectures)"
            f"{left_out_clause(self.left_out, f'fewer than {FEWEST} runs with both')}."
        )

    def estimate(self) -> str:
        """Return rho with its interval."""
        rho, low, high = (
            f"{value:z.3f}".replace("-", "\N{MINUS SIGN}")
            for value in (self.rho, self.low, self.high)
        )
        if low == high:
            return f"{rho}, the same in all resamples"
        return f"{rho}, 95% interval {low} to {high}"


def rank_correlation(runs: pd.DataFrame, x: str, y: str) -> RankCorrelation:
    """Correlate the ranks of two columns, over architectures of three runs or more.

    The interval is symmetrical about artanh(rho) (Fisher 1921), with the standard error of 10 000
    bootstrap samples and Student's t. Samples of an architecture have one run less than it has, as
    few runs would vary too little (McCarthy and Snowden 1985). ``runs`` are of one environment.
    """
    known = runs.dropna(subset=[x, y])
    sizes = known.groupby("architecture", observed=True)["architecture"].transform("size")
    known = known[sizes >= FEWEST]
    # Sorted so that the draws do not depend on the order of the runs.
    known = known.sort_values(["architecture", x, y], kind="stable")
    groups = [
        part[[x, y]].to_numpy(dtype=float)
        for _, part in known.groupby("architecture", observed=True)
    ]
    if len(groups) < FEWEST:
        raise NotEnoughDataError(
            f"a correlation of {_name(y)} with {_name(x)} needs at least {FEWEST} architectures "
            f"of at least {FEWEST} runs each, and there "
            f"{'is' if len(groups) == 1 else 'are'} {len(groups)}"
        )
    values = np.concatenate(groups)
    for column, name in zip(values.T, (x, y), strict=True):
        if np.ptp(column) == 0:
            raise NotEnoughDataError(f"{_name(name)} is the same in all runs")
    rho = float(stats.spearmanr(*values.T).statistic)
    draws = _draws(values, [len(group) for group in groups], f"{x} {y}")
    low, high = _interval(rho, draws, len(values) - len(groups))
    left_out = groups_but(runs, "architecture", set(known["architecture"].astype(str)))
    return RankCorrelation(x, y, rho, low, high, len(values), len(groups), left_out)


def rank_correlations(
    runs: pd.DataFrame, x: str, y: str
) -> dict[str, RankCorrelation | Unavailable]:
    """Correlate within each environment; see :func:`rank_correlation`."""
    return {
        str(name): attempt(rank_correlation, part, x, y)
        for name, part in runs.groupby("environment", sort=False, observed=True)
    }


def _name(column: str) -> str:
    return "GFLOPs" if column == "gflops_per_image" else quantity(column)


def _draws(values: Values, sizes: Sequence[int], name: str) -> Values:
    """Return Spearman's correlation of each bootstrap sample.

    A sample is stored as how often each run is drawn; its mid-ranks follow without sorting. The
    variances of the ranks ignore that a run drawn twice ties with itself.
    """
    rng = generator(name)
    n, drawn_n = len(values), len(values) - len(sizes)
    untied = [12 * float(stats.rankdata(column).var()) / (n**2 - 1) for column in values.T]
    squares = math.sqrt(math.prod(untied)) * drawn_n * (drawn_n**2 - 1) / 12
    draws = []
    for part in parts(RESAMPLES, n):
        rows = part.stop - part.start
        drawn = np.concatenate(
            [rng.multinomial(size - 1, np.full(size, 1 / size), rows) for size in sizes], axis=1
        ).astype(float)
        a, b = (_centred_ranks(column, drawn) for column in values.T)
        draws.append(np.einsum("rn,rn,rn->r", drawn, a, b) / squares)
    return np.concatenate(draws)


def _centred_ranks(column: Values, drawn: Values) -> Values:
    """Return the mid-ranks of the runs in each sample, less their mean."""
    distinct, place = np.unique(column, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(distinct)))
    of_each = np.add.reduceat(drawn[:, order], starts, axis=1)
    middle = np.cumsum(of_each, axis=1) - of_each / 2 - drawn.sum(axis=1, keepdims=True) / 2
    ranks: Values = middle[:, place]
    return ranks


def _interval(rho: float, draws: Values, df: int) -> tuple[float, float]:
    if abs(rho) > 1 - 1e-12:
        return rho, rho
    z, error = math.atanh(rho), float(draws.std(ddof=1)) / (1 - rho**2)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, df)) * error
    return math.tanh(z - half), math.tanh(z + half)
