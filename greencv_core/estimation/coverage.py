"""Errors and coverage with conditions as units: trainings of a condition err together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from greencv_core.analysis.result import CONFIDENCE
from greencv_core.analysis.selection import CONDITION, condition_name
from greencv_core.utils.text import number, percent


@dataclass(frozen=True)
class Coverage:
    """How often intervals held the truth, with conditions as units."""

    share: float
    low: float
    """95% interval of Korn and Graubard (1998), for trainings that err together in conditions."""
    high: float
    lowest: float
    """Share in the condition where they held it least often."""
    lowest_in: str
    conditions: int

    @classmethod
    def of(cls, answers: pd.DataFrame) -> Coverage:
        """Return the coverage of answers with an interval."""
        held = answers["energy_j"].between(answers["low_j"], answers["high_j"]).astype(float)
        groups = held.groupby([answers[name] for name in CONDITION])
        n, k, share = len(held), groups.ngroups, float(held.mean())
        if k < 2:
            return cls(share, np.nan, np.nan, share, "", k)
        level = (1 + CONFIDENCE) / 2
        variance = k / (k - 1) * float(((groups.sum() - share * groups.size()) ** 2).sum()) / n**2
        size = min(n, share * (1 - share) / variance) if variance > 0 else float(k)
        size *= (stats.t.ppf(level, n - 1) / stats.t.ppf(level, k - 1)) ** 2
        hits = share * size
        low = stats.beta.ppf(1 - level, hits, size - hits + 1) if hits > 0 else 0.0
        high = stats.beta.ppf(level, hits + 1, size - hits) if hits < size else 1.0
        means = groups.mean()
        name = condition_name(means.idxmin())
        return cls(share, float(low), float(high), float(means.min()), name, k)

    def sentence(self) -> str:
        """Return the share, its interval and the lowest of a condition."""
        text = f"{percent(self.share, 1)} of the cases"
        if not self.lowest_in:
            return text
        return (
            f"{text} ({percent(self.low, 0)} to {percent(self.high, 0)}, 95% interval over "
            f"{self.conditions} conditions as units; in the worst, {self.lowest_in}, "
            f"{percent(self.lowest, 0)})"
        )


def ratio_of_errors(answers: pd.DataFrame, a: str, b: str) -> tuple[float, float, float, int]:
    """Return the ratio of the errors of method ``a`` to those of ``b``, with conditions as units.

    It is the geometric mean of the ratios of the conditions' mean errors, with Student's 95%
    interval of their logarithms, and the number of conditions. NaN where fewer than two have both.
    """
    error = (answers["estimate_j"] / answers["energy_j"] - 1).abs()
    means = error.groupby([answers[name] for name in [*CONDITION, "method"]]).mean().unstack()
    both = means.reindex(columns=[a, b]).dropna()
    both = both[(both > 0).all(axis=1)]
    n = len(both)
    if n < 2:
        return np.nan, np.nan, np.nan, n
    logs = np.log(both[a] / both[b])
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * logs.sem())
    at, low, high = (float(np.exp(logs.mean() + step)) for step in (0.0, -half, half))
    return at, low, high, n


def ratio_sentence(answers: pd.DataFrame, a: str, b: str) -> str:
    """Return a sentence on the ratio over conditions, without its stop; empty without interval."""
    at, low, high, n = ratio_of_errors(answers, a, b)
    if np.isnan(low):
        return ""
    return (
        f". Over {n} conditions as units the ratio is {number(at)} (95% interval {number(low)} to "
        f"{number(high)})"
    )
