"""Relative savings between conditions, with their intervals and the loss of correctness."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from greencv_core.analysis import bootstrap
from greencv_core.analysis.choice.selection_bias import selection_bias
from greencv_core.analysis.result import CONFIDENCE, NotEnoughDataError, Values
from greencv_core.analysis.selection import CONDITION, condition_name, runs_of
from greencv_core.utils.text import F1_DECIMALS, percent, quantity

Statistic = Literal["median", "mean"]

FEWEST_FOR_BOOTSTRAP = 10
"""Runs in each condition. With three, the bootstrap covers too little; with five, it is wider than
Welch's t (``benchmarks/statistics.py``)."""
_METHODS = {
    "t": "t interval of logarithms",
    "BCa": "BCa bootstrap interval",
    "studentised": "studentised bootstrap interval",
    "percentile": "percentile bootstrap interval",
}


@dataclass(frozen=True)
class Saving:
    """Saving 1 - median(to) / median(from), or of means, with 95 % interval and loss of F1."""

    value: str
    saving: float
    ci_low: float
    ci_high: float
    method: str
    """``BCa`` (medians) or ``studentised`` (means) with ten or more runs in each condition; else
    ``t``: Welch's for the ratio of geometric means (of means, by the delta method); ``percentile``
    if a value is not above 0."""
    from_condition: Mapping[str, object]
    """Condition to compare with, column to level; ``to_condition`` is the one that saves."""
    to_condition: Mapping[str, object]
    n_from: int
    n_to: int
    correctness_loss: float
    """Median correctness of ``from`` minus that of ``to``."""
    correctness: str = "f1_macro"
    statistic: Statistic = "median"
    picked_from: int = 1
    """Number of pairs of which this is the largest saving; the interval allows for the choice."""

    @property
    def dear(self) -> str:
        """Name of the condition to compare with."""
        return condition_name(self.from_condition.values())

    @property
    def cheap(self) -> str:
        """Name of the condition that saves."""
        return condition_name(self.to_condition.values())

    def sentence(self) -> str:
        """Describe the saving, its interval and the change of correctness."""
        change, name = round(self.correctness_loss, F1_DECIMALS), quantity(self.correctness)
        if change != change:
            cost = ""
        elif change == 0:
            cost = f", with the same median {name}"
        elif change > 0:
            cost = f", at a median {name} lower by {change:.{F1_DECIMALS}f}"
        else:
            cost = f", with a median {name} higher by {-change:.{F1_DECIMALS}f}"
        word = "more" if self.saving < 0 else "less"
        of = "mean " if self.statistic == "mean" else ""
        return (
            f"{self.cheap} takes {percent(abs(self.saving))} {word} {of}{quantity(self.value)} "
            f"than {self.dear} ({self.interval()}; n = {self.n_to} and {self.n_from}){cost}."
        )

    def interval(self) -> str:
        """Describe the 95 % interval and what it allows for."""
        if self.ci_low == self.ci_high:
            return "no interval, since neither condition's runs differ"
        low, high = self.ci_low, self.ci_high
        if self.saving < 0:
            low, high = -high, -low
        text = f"95 % {_METHODS[self.method]} {percent(low)} to {percent(high)}"
        if low <= 0 <= high:
            text += ", which includes no difference"
        if self.picked_from > 1:
            text += f"; the largest of {self.picked_from} pairs, which the interval allows for"
        return text


def saving(
    runs: pd.DataFrame,
    from_condition: Mapping[str, object],
    to_condition: Mapping[str, object],
    value: str = "energy_j_per_image",
    *,
    statistic: Statistic = "median",
    correctness: str = "f1_macro",
) -> Saving:
    """Compare two conditions, each given as column to level."""
    dear, cheap = (
        _group(runs, condition, value, statistic, correctness)
        for condition in (from_condition, to_condition)
    )
    return _between(dear, cheap)


def best_against_worst(
    runs: pd.DataFrame,
    by: str | Sequence[str] = CONDITION,
    value: str = "energy_j_per_image",
    *,
    statistic: Statistic = "median",
    correctness: str = "f1_macro",
) -> Saving:
    """Compare the group of the lowest median (or mean) with that of the highest.

    The largest of several savings tends to be too large, so its interval is extended downwards.
    Groups with a single run are left out.
    """
    groups = _groups(runs, by, value, statistic, correctness)
    estimates = np.array([group.estimate for group in groups])
    if np.ptp(estimates) == 0:
        raise NotEnoughDataError(f"all {statistic}s of {quantity(value)} are the same")
    dear, cheap = groups[int(estimates.argmax())], groups[int(estimates.argmin())]
    pairs = list(itertools.combinations(range(len(groups)), 2))
    both_ways = [*pairs, *((b, a) for a, b in pairs)]
    return _largest(_between(dear, cheap), groups, both_ways, len(pairs))


def savings_table(
    runs: pd.DataFrame,
    by: str | Sequence[str] = CONDITION,
    value: str = "energy_j_per_image",
    *,
    statistic: Statistic = "median",
    correctness: str = "f1_macro",
) -> list[Saving]:
    """Return the saving of each pair of groups, the largest first."""
    groups = _groups(runs, by, value, statistic, correctness)
    ordered = sorted(groups, key=lambda group: -group.estimate)
    found = [_between(dear, cheap) for dear, cheap in itertools.combinations(ordered, 2)]
    return sorted(found, key=lambda result: -result.saving)


def pick_largest(runs: pd.DataFrame, candidates: Sequence[Saving]) -> Saving:
    """Return the largest of some savings of these runs, with an interval that allows for that."""
    if not candidates:
        raise NotEnoughDataError("no pair of conditions is left to pick from")
    best = max(candidates, key=lambda result: result.saving)
    conditions: dict[str, Mapping[str, object]] = {}
    for result in candidates:
        conditions.setdefault(result.dear, result.from_condition)
        conditions.setdefault(result.cheap, result.to_condition)
    groups = [
        _group(runs, condition, best.value, best.statistic, best.correctness)
        for condition in conditions.values()
    ]
    names = list(conditions)
    pairs = [(names.index(c.dear), names.index(c.cheap)) for c in candidates]
    return _largest(best, groups, pairs, len(candidates))


def _largest(result: Saving, groups: Sequence[_Group], pairs: Sequence[tuple[int, int]],
             compared: int) -> Saving:  # fmt: skip
    """Return the largest saving of the pairs with an interval that allows for its being picked."""
    draws = np.array([group.log_draws for group in groups])
    bias = selection_bias(draws, [group.estimate for group in groups], pairs)
    low = 1 - (1 - result.ci_low) * math.exp(bias)
    return replace(result, ci_low=min(low, result.ci_low), picked_from=compared)


def _group(
    runs: pd.DataFrame,
    condition: Mapping[str, object],
    value: str,
    statistic: Statistic,
    correctness: str,
) -> _Group:
    chosen = runs_of(runs[runs[value].notna()], condition)
    if len(chosen) < 2:
        raise NotEnoughDataError(
            f"{condition_name(condition.values())} has {len(chosen)} of the at least 2 runs that a "
            "saving needs"
        )
    return _Group(dict(condition), chosen, value, statistic, correctness)


def _groups(
    runs: pd.DataFrame, by: str | Sequence[str], value: str, statistic: Statistic, correctness: str
) -> list[_Group]:
    columns = [by] if isinstance(by, str) else list(by)
    groups = [
        _Group(dict(zip(columns, key, strict=True)), part, value, statistic, correctness)
        for key, part in runs.dropna(subset=[value]).groupby(columns, sort=False, observed=True)
        if len(part) >= 2
    ]
    if len(groups) < 2:
        raise NotEnoughDataError(
            f"a saving needs at least 2 {' and '.join(columns)} groups of at least 2 runs each"
        )
    return groups


@dataclass(frozen=True)
class _Group:
    """Values of a condition and its bootstrap draws, shared by all of its pairs."""

    condition: Mapping[str, object]
    runs: pd.DataFrame
    value: str
    statistic: Statistic
    correctness_column: str

    @property
    def name(self) -> str:
        return condition_name(self.condition.values())

    @cached_property
    def values(self) -> Values:
        values: Values = self.runs[self.value].to_numpy(dtype=float)
        return values

    @cached_property
    def correctness(self) -> float:
        return float(self.runs[self.correctness_column].median())

    @cached_property
    def estimate(self) -> float:
        return float((np.median if self.statistic == "median" else np.mean)(self.values))

    @cached_property
    def draws(self) -> Values:
        if self.statistic == "median":
            return bootstrap.median_draws(self.values, bootstrap.generator(self.name))
        return self._means[0]

    @cached_property
    def _means(self) -> tuple[Values, Values]:
        return bootstrap.mean_draws(self.values, bootstrap.generator(self.name))

    @cached_property
    def log_draws(self) -> Values:
        with np.errstate(all="ignore"):
            logs: Values = np.log(self.draws)
        return logs

    @cached_property
    def relative_errors(self) -> Values:
        """Standard error over the mean of each draw."""
        means, errors = self._means
        return errors / means

    @cached_property
    def without_each(self) -> Values:
        return bootstrap.medians_without_each(self.values)

    @cached_property
    def log_scale(self) -> tuple[float, float]:
        """Logarithmic location and its variance."""
        if self.statistic == "mean":
            mean = self.values.mean()
            return math.log(mean), float(self.values.var(ddof=1) / len(self.values) / mean**2)
        logs = np.log(self.values)
        return float(logs.mean()), float(logs.var(ddof=1) / len(logs))


def _between(dear: _Group, cheap: _Group) -> Saving:
    if not dear.estimate > 0:
        raise NotEnoughDataError(
            f"a saving is a share of what {dear.name} takes, whose "
            f"{dear.statistic} {quantity(dear.value)} is not above 0"
        )
    estimate = 1 - cheap.estimate / dear.estimate
    low, high, method = _interval(dear, cheap, estimate)
    return Saving(
        value=dear.value,
        saving=estimate,
        ci_low=low,
        ci_high=high,
        method=method,
        from_condition=dict(dear.condition),
        to_condition=dict(cheap.condition),
        n_from=len(dear.values),
        n_to=len(cheap.values),
        correctness_loss=dear.correctness - cheap.correctness,
        correctness=dear.correctness_column,
        statistic=dear.statistic,
    )


def _interval(dear: _Group, cheap: _Group, estimate: float) -> tuple[float, float, str]:
    a, b = dear.values, cheap.values
    few = min(len(a), len(b)) < FEWEST_FOR_BOOTSTRAP
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return estimate, estimate, "t" if few else "BCa"
    if min(a.min(), b.min()) <= 0:
        with np.errstate(all="ignore"):
            draws = 1 - cheap.draws / dear.draws
        draws = draws[np.isfinite(draws)]
        low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return float(low), float(high), "percentile"
    if few:
        low, high = _welch_of_logarithms(dear, cheap)
        return 1 - math.exp(high), 1 - math.exp(low), "t"
    if dear.statistic == "mean":
        errors = np.hypot(dear.relative_errors, cheap.relative_errors)
        error = math.sqrt(dear.log_scale[1] + cheap.log_scale[1])
        log_ratio = math.log(cheap.estimate / dear.estimate)
        draws = cheap.log_draws - dear.log_draws
        low, high = bootstrap.studentised(draws, errors, log_ratio, error)
        return 1 - math.exp(high), 1 - math.exp(low), "studentised"
    without = (1 - cheap.estimate / dear.without_each, 1 - cheap.without_each / dear.estimate)
    low, high = bootstrap.bca(1 - cheap.draws / dear.draws, estimate, without)
    return low, high, "BCa"


def _welch_of_logarithms(dear: _Group, cheap: _Group) -> tuple[float, float]:
    """Return the interval of log(cheap / dear), with Satterthwaite's degrees of freedom."""
    (at_a, v_a), (at_b, v_b) = dear.log_scale, cheap.log_scale
    df = (v_a + v_b) ** 2 / (v_a**2 / (len(dear.values) - 1) + v_b**2 / (len(cheap.values) - 1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, df)) * math.sqrt(v_a + v_b)
    return at_b - at_a - half, at_b - at_a + half
