"""How much one condition saves against another, and what that costs in correctness."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from greencv_core.analysis.attempt import NotEnoughDataError
from greencv_core.analysis.runs import CONDITION
from greencv_core.analysis.wording import F1_DECIMALS, percent, quantity

FEWEST_FOR_COVERAGE = 10
"""With fewer runs a bootstrap interval of a median covers less often than it says: the extremes of
five runs hold the median 94 times in 100, those of two 50 times."""
RESAMPLES = 10_000
SEED = 2022


@dataclass(frozen=True)
class Saving:
    """1 - median(to) / median(from), with a 95 % bootstrap interval and the loss of F1."""

    value: str
    saving: float
    ci_low: float
    ci_high: float
    method: str
    """``BCa``, or ``percentile`` where BCa is not defined."""
    from_condition: Mapping[str, object]
    """The condition saved against, column to level."""
    to_condition: Mapping[str, object]
    """The condition that saves."""
    n_from: int
    n_to: int
    correctness_loss: float
    """Median macro F1 of ``from`` minus that of ``to``; negative where saving also gains."""

    @property
    def dear(self) -> str:
        """The name of the condition saved against."""
        return _name(self.from_condition)

    @property
    def cheap(self) -> str:
        """The name of the condition that saves."""
        return _name(self.to_condition)

    def sentence(self) -> str:
        """Say what is saved, with its interval, and what it costs."""
        change = round(self.correctness_loss, F1_DECIMALS)
        if change != change:
            cost = ""  # no F1 to compare
        elif change == 0:
            cost = ", with the same median macro F1"
        elif change > 0:
            cost = f", at a median macro F1 lower by {change:.{F1_DECIMALS}f}"
        else:
            cost = f", with a median macro F1 higher by {-change:.{F1_DECIMALS}f}"
        share, low, high, word = self.saving, self.ci_low, self.ci_high, "less"
        if share < 0:
            share, low, high, word = -share, -high, -low, "more"
        interval = f"95 % {self.method} bootstrap interval {percent(low)} to {percent(high)}"
        if min(self.n_to, self.n_from) < FEWEST_FOR_COVERAGE:
            interval += ", too narrow with so few runs"
        if low <= 0 <= high:
            interval += ", which includes no difference"
        return (
            f"{self.cheap} takes {percent(share)} {word} {quantity(self.value)} than {self.dear} "
            f"({interval}; n = {self.n_to} and {self.n_from}){cost}."
        )


def saving(
    runs: pd.DataFrame,
    from_condition: Mapping[str, object],
    to_condition: Mapping[str, object],
    value: str = "energy_j_per_image",
) -> Saving:
    """Compare two conditions, each given as column to level.

    Raises
    ------
    NotEnoughDataError
        A condition has fewer than two runs.
    """
    dear, cheap = _rows(runs, from_condition, value), _rows(runs, to_condition, value)
    a = dear[value].to_numpy(dtype=float)
    b = cheap[value].to_numpy(dtype=float)
    low, high, method = _interval(a, b)
    return Saving(
        value=value,
        saving=float(1 - np.median(b) / np.median(a)),
        ci_low=low,
        ci_high=high,
        method=method,
        from_condition=dict(from_condition),
        to_condition=dict(to_condition),
        n_from=len(a),
        n_to=len(b),
        correctness_loss=float(dear["f1_macro"].median() - cheap["f1_macro"].median()),
    )


def best_against_worst(
    runs: pd.DataFrame, by: str | Sequence[str] = CONDITION, value: str = "energy_j_per_image"
) -> Saving:
    """Compare the group of the lowest median with that of the highest.

    Groups with a single run take no part.

    Raises
    ------
    NotEnoughDataError
        There are fewer than two groups of at least two runs.
    """
    columns = [by] if isinstance(by, str) else list(by)
    groups = runs.dropna(subset=[value]).groupby(columns, sort=False, observed=True)[value]
    medians = groups.median()[groups.size() >= 2]
    if len(medians) < 2:
        raise NotEnoughDataError(
            f"a saving needs at least 2 {' and '.join(columns)} groups of at least 2 runs each"
        )
    if medians.nunique() == 1:
        raise NotEnoughDataError(f"all medians of {quantity(value)} are the same")
    keys = (medians.idxmax(), medians.idxmin())
    dear, cheap = ([k] if len(columns) == 1 else list(k) for k in keys)
    return saving(
        runs,
        dict(zip(columns, dear, strict=True)),
        dict(zip(columns, cheap, strict=True)),
        value,
    )


def _rows(runs: pd.DataFrame, condition: Mapping[str, object], value: str) -> pd.DataFrame:
    chosen = runs[runs[value].notna()]
    for column, level in condition.items():
        chosen = chosen[chosen[column] == level]
    if len(chosen) < 2:
        raise NotEnoughDataError(
            f"{_name(condition)} has {len(chosen)} of the at least 2 runs that a saving needs"
        )
    return chosen


def _name(condition: Mapping[str, object]) -> str:
    return " @ ".join(map(str, condition.values()))


def _interval(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, float, str]:
    def statistic(x: NDArray[np.float64], y: NDArray[np.float64], axis: int = -1) -> object:
        return 1 - np.median(y, axis=axis) / np.median(x, axis=axis)

    for method in ("BCa", "percentile"):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            interval = stats.bootstrap(
                (a, b),
                statistic,
                n_resamples=RESAMPLES,
                method=method,
                vectorized=True,
                rng=np.random.default_rng(SEED),
            ).confidence_interval
        if np.isfinite(interval.low) and np.isfinite(interval.high):
            break
    return float(interval.low), float(interval.high), method
