"""Relative savings between conditions, with their intervals and the loss of correctness."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.libqsturng import qsturng

from greencv_core.analysis.result import CONFIDENCE, NotEnoughDataError
from greencv_core.analysis.selection import CONDITION, condition_name, groups_but, runs_of
from greencv_core.analysis.units import Contrast, contrast, log_units, mark_units, marked_columns
from greencv_core.utils.text import F1_DECIMALS, count, left_out_clause, percent, quantity

MOST_FOR_THE_RANGE = 200
"""Conditions for which quantiles of the studentised range are known."""


@dataclass(frozen=True)
class Saving:
    """Saving 1 - mean(to) / mean(from), of geometric means, with 95% interval and loss of F1.

    Means are over the conditions' units, as :mod:`greencv_core.analysis.units` says.
    """

    value: str
    saving: float
    ci_low: float
    ci_high: float
    contrast: Contrast
    """Difference of the mean logarithms of ``to`` and ``from``."""
    of_medians: float
    """1 - median(to) / median(from), over runs; to compare with figures of others."""
    from_condition: Mapping[str, object]
    """Condition to compare with, column to level; ``to_condition`` is the one that saves."""
    to_condition: Mapping[str, object]
    n_from: int
    """Number of runs, as ``n_to``."""
    n_to: int
    sessions_from: int
    """Number of sessions if these are the units, else 1."""
    sessions_to: int
    correctness_loss: float
    """Median correctness of ``from`` minus that of ``to``."""
    correctness: str = "f1_macro"
    picked_from: int = 1
    """Number of pairs of which this is the largest saving; the interval allows for the choice."""
    left_out: tuple[str, ...] = ()
    """Conditions with fewer than two runs, or with a value of zero or below."""

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
            cost = f"; the change of {name} is unknown"
        elif change == 0:
            cost = f"; its median {name} is the same"
        elif change > 0:
            cost = f"; its median {name} is {change:.{F1_DECIMALS}f} lower"
        else:
            cost = f"; its median {name} is {-change:.{F1_DECIMALS}f} higher"
        word = "more" if self.saving < 0 else "less"
        why = f"fewer than 2 runs, or {quantity(self.value)} of zero or below"
        return (
            f"{self.cheap} uses {percent(abs(self.saving))} {word} {quantity(self.value)} "
            f"than {self.dear} ({self.interval()}; {self.sizes()}){cost}"
            f"{left_out_clause(self.left_out, why)}."
        )

    def sizes(self) -> str:
        """Return the number of runs, and of sessions if these are the units."""
        text = f"n = {self.n_to} and {self.n_from}"
        if max(self.sessions_to, self.sessions_from) > 1:
            text += f" in {self.sessions_to} and {count(self.sessions_from, 'session')}"
        return text

    def interval(self) -> str:
        """Describe the 95% interval of the geometric means, and what it allows for."""
        if not self.contrast.se > 0:
            return "no interval: the runs of each condition are identical"
        low, high = self.ci_low, self.ci_high
        if self.saving < 0:
            low, high = -high, -low
        text = f"95% interval {percent(low)} to {percent(high)}"
        if low <= 0 <= high:
            text += ", which includes no difference"
        if self.picked_from > 1:
            text += f", corrected for selection from {self.picked_from} pairs"
        return text

    def picked(self, conditions: int, pairs: int) -> Saving:
        """Return this saving as the largest of so many pairs of so many conditions.

        To be picked, it must look large: its lower bound holds for all pairs at once, by the
        studentised range (Games and Howell 1976), or by Sidak's inequality where that asks for
        less. To pick makes no saving look too small, so the upper bound is that of one pair.
        """
        most = _critical(self.contrast.df, conditions, pairs)
        low = 1 - math.exp(self.contrast.around(most)[1])
        return replace(self, ci_low=low, picked_from=pairs)


def _critical(df: float, conditions: int, pairs: int) -> float:
    """Return the standard errors that the largest of some differences is within, at 95%."""
    tail = -math.expm1(math.log(CONFIDENCE) / pairs) / 2
    of_pairs = float(stats.t.isf(tail, df))
    if pairs == 1 or conditions > MOST_FOR_THE_RANGE:
        return of_pairs
    of_range = float(np.ravel(qsturng(CONFIDENCE, conditions, df))[0]) / math.sqrt(2)
    return min(of_pairs, of_range)


def saving(
    runs: pd.DataFrame,
    from_condition: Mapping[str, object],
    to_condition: Mapping[str, object],
    value: str = "energy_j_per_image",
    *,
    correctness: str = "f1_macro",
) -> Saving:
    """Compare two conditions, each given as column to level.

    Raises
    ------
    NotEnoughDataError
        A condition has fewer than two runs, or a value that is not above 0.
    """
    known = mark_units(runs).dropna(subset=[value])
    groups: list[_Group] = []
    for condition in (from_condition, to_condition):
        chosen = runs_of(known, condition)
        if len(chosen) < 2:
            raise NotEnoughDataError(
                f"{condition_name(condition.values())} has {len(chosen)} of the at least 2 runs "
                "that a saving needs"
            )
        groups.append(_Group.of(condition, chosen, value, correctness))
    return _between(groups[0], groups[1], value, correctness)


def best_against_worst(
    runs: pd.DataFrame,
    by: str | Sequence[str] = CONDITION,
    value: str = "energy_j_per_image",
    *,
    correctness: str = "f1_macro",
) -> Saving:
    """Compare the group of the lowest geometric mean with that of the highest.

    The interval allows for the choice. Groups with a single run, or a value of zero or below, are
    left out.
    """
    groups = _groups(runs, by, value, correctness)
    dear, cheap = (choose(groups, key=lambda group: group.mean) for choose in (max, min))
    if dear.mean == cheap.mean:
        raise NotEnoughDataError(f"the mean {quantity(value)} of all of them is the same")
    found = _between(dear, cheap, value, correctness)
    left_out = groups_but(runs, by, {group.name for group in groups})
    return replace(found.picked(len(groups), math.comb(len(groups), 2)), left_out=left_out)


def savings_table(
    runs: pd.DataFrame,
    by: str | Sequence[str] = CONDITION,
    value: str = "energy_j_per_image",
    *,
    correctness: str = "f1_macro",
) -> list[Saving]:
    """Return the saving of each pair of groups, the largest first; each interval as of one pair.

    Groups with a single run, or a value of zero or below, are left out.
    """
    groups = _groups(runs, by, value, correctness)
    ordered = sorted(groups, key=lambda group: -group.mean)
    pairs = itertools.combinations(ordered, 2)
    found = [_between(dear, cheap, value, correctness) for dear, cheap in pairs]
    return sorted(found, key=lambda result: -result.saving)


@dataclass(frozen=True)
class _Group:
    """A condition with its units."""

    condition: Mapping[str, object]
    units: pd.Series
    mean: float
    median: float
    n: int
    correctness: float

    @classmethod
    def of(
        cls, condition: Mapping[str, object], part: pd.DataFrame, value: str, correctness: str
    ) -> _Group:
        units = log_units(part, value)
        return cls(
            condition=dict(condition),
            units=units,
            mean=float(units.mean()),
            median=float(part[value].median()),
            n=len(part),
            correctness=float(part[correctness].median()),
        )

    @property
    def name(self) -> str:
        return condition_name(self.condition.values())

    @property
    def sessions(self) -> int:
        return len(self.units) if self.units.index.name == "session" else 1


def _groups(
    runs: pd.DataFrame, by: str | Sequence[str], value: str, correctness: str
) -> list[_Group]:
    columns = [by] if isinstance(by, str) else list(by)
    known = marked_columns(runs, [*columns, value, correctness]).dropna(subset=[value])
    groups = [
        _Group.of(dict(zip(columns, key, strict=True)), part, value, correctness)
        for key, part in known.groupby(columns, sort=False, observed=True)
        if len(part) >= 2 and part[value].gt(0).all()
    ]
    if len(groups) < 2:
        raise NotEnoughDataError(
            f"a saving needs at least 2 {' and '.join(columns)} groups of at least 2 runs each, "
            f"all with {quantity(value)} above zero"
        )
    return groups


def _between(dear: _Group, cheap: _Group, value: str, correctness: str) -> Saving:
    found = contrast(dear.units, cheap.units)
    low, high = found.interval()
    return Saving(
        value=value,
        saving=1 - math.exp(found.estimate),
        ci_low=1 - math.exp(high),
        ci_high=1 - math.exp(low),
        contrast=found,
        of_medians=1 - cheap.median / dear.median,
        from_condition=dear.condition,
        to_condition=cheap.condition,
        n_from=dear.n,
        n_to=cheap.n,
        sessions_from=dear.sessions,
        sessions_to=cheap.sessions,
        correctness_loss=dear.correctness - cheap.correctness,
        correctness=correctness,
    )
