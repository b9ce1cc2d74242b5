"""The independent units of a condition, and two conditions compared by their units.

Trained in two or more sessions, a condition's units are its sessions: runs of one session share the
machine's state. Trained in one, its units are its runs, and what is found holds for that session.
For correctness, the units are always runs.
Runs of one block of the plan (every condition once) are compared with each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from greencv_core.analysis.result import CONFIDENCE, NotEnoughDataError, Values
from greencv_core.analysis.selection import CONDITION, condition_name
from greencv_core.analysis.sessions import find_sessions
from greencv_core.utils.text import quantity

FEWEST_BLOCKS = 5
"""Blocks that two conditions share. With fewer, the degrees of freedom that pairs cost make the
interval wider than a drift of the machine would."""
_PLAN = ("study", "machine")
SESSION, BLOCK = "unit_session", "unit_block"
"""Columns that :func:`mark_units` adds."""


@dataclass(frozen=True)
class Contrast:
    """Difference of the means of two conditions' units."""

    estimate: float
    """Mean of the second less that of the first."""
    se: float
    df: float
    """Satterthwaite's, of sessions Welch's; at most (n - 1)(1 + n/m) of n units against m, or more;
    infinite without spread. Without this limit, three units against fifty differ in 7.5% of
    studies of no difference."""
    paired: bool
    """Whether units of the same name were compared with each other."""

    def interval(self, confidence: float = CONFIDENCE, comparisons: int = 1) -> tuple[float, float]:
        """Return the t interval; with more comparisons, one that holds for all (Sidak 1967)."""
        tail = -math.expm1(math.log(confidence) / comparisons) / 2
        return self.around(float(stats.t.isf(tail, self.df)))

    def around(self, critical: float) -> tuple[float, float]:
        """Return the interval of so many standard errors to either side."""
        half = critical * self.se if self.se > 0 else 0.0
        return self.estimate - half, self.estimate + half

    @property
    def p(self) -> float:
        """P value of the two-sided t test of no difference; NaN without spread."""
        if not self.se > 0:
            return math.nan
        return float(2 * stats.t.sf(abs(self.estimate) / self.se, self.df))

    def p_above(self, limit: float) -> float:
        """Return the p value of the one-sided t test that the difference is above the limit.

        NaN without spread.
        """
        if not self.se > 0:
            return math.nan
        return float(stats.t.sf((self.estimate - limit) / self.se, self.df))


def mark_units(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with the session and the block of each, which other functions here use.

    To be called with all runs of a study: a pause in which another condition was trained does not
    end a session. Blocks are those of the plan (``order`` and ``repetition``): within a study and a
    machine, a repetition number lower than the one before begins another series of blocks.
    """
    if SESSION in runs:
        return runs
    numbered = runs.reset_index(drop=True)
    sessions, blocks = find_sessions(numbered), _blocks(numbered)
    return runs.assign(**{SESSION: sessions.to_numpy(), BLOCK: blocks.to_numpy()})


def marked_columns(runs: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """Return some columns of the runs, with the condition, session and block of each.

    To divide all columns of a runs table into groups takes longer than to compare these.
    """
    marked = mark_units(runs)
    names = dict.fromkeys([*columns, *CONDITION, SESSION, BLOCK])
    return marked[[name for name in names if name in marked]]


def _blocks(runs: pd.DataFrame) -> pd.Series:
    """Return a number for each run's block, the same wherever it is met; alone without a block.

    The number is a hash of 64 bits: to write and compare 100,000 names takes seconds.
    """
    names = runs.reindex(columns=[*CONDITION]).astype("string")
    alone = names.assign(place=np.arange(len(runs)))
    blocks = pd.util.hash_pandas_object(alone, index=False)
    if not {"order", "repetition"} <= set(runs.columns):
        return blocks
    known = runs.dropna(subset=["order", "repetition"]).sort_values("order", kind="stable")
    plan = known.reindex(columns=[*_PLAN]).astype("string").fillna("")
    numbers = known["repetition"].astype(int)
    of_plan = [plan[name] for name in _PLAN]
    series = (numbers.groupby(of_plan).diff() < 0).groupby(of_plan).cumsum()
    of_known = plan.assign(series=series.astype(int), number=numbers)
    blocks.loc[known.index] = pd.util.hash_pandas_object(of_known, index=False)
    return blocks


def units(part: pd.DataFrame, value: str) -> pd.Series:
    """Return the mean value of each unit of one condition, by the unit's name.

    Runs without the value are left out; runs of unknown sessions count as one session.
    """
    return _units(mark_units(part), value, part[value].to_numpy(dtype=float))


def run_units(part: pd.DataFrame, value: str) -> pd.Series:
    """Return the value of each run of one condition that has it, by its block in the plan.

    These are the units of correctness: the state of a machine moves energy and time, and not what a
    training learns.
    """
    values = part[value].to_numpy(dtype=float)
    known = ~np.isnan(values)
    return _means(values[known], mark_units(part)[BLOCK].to_numpy()[known], value, "block")


def log_units(part: pd.DataFrame, value: str) -> pd.Series:
    """Return the mean logarithm of each unit of one condition, by the unit's name.

    Raises
    ------
    NotEnoughDataError
        A value is not above 0.
    """
    values = part[value].to_numpy(dtype=float)
    if (values <= 0).any():
        levels = [part[column].iloc[0] for column in CONDITION if column in part]
        raise NotEnoughDataError(
            f"{condition_name(levels)} has {quantity(value)} of zero or below, which has no "
            "logarithm"
        )
    return _units(mark_units(part), value, np.log(values))


def _units(marked: pd.DataFrame, value: str, values: Values) -> pd.Series:
    known = ~np.isnan(values)
    sessions = marked[SESSION][known]
    if sessions.nunique(dropna=False) > 1:  # which is quicker to know than their names
        names = sessions.fillna("").astype(str)
        if names.nunique() > 1:
            return _means(values[known], names.to_numpy(), value, "session")
    return _means(values[known], marked[BLOCK].to_numpy()[known], value, "block")


def _means(values: Values, names: NDArray[Any], value: str, unit: str) -> pd.Series:
    """Return the mean of the values of each name, in the order of their first."""
    named = pd.Series(names, name=unit)
    return pd.Series(values, name=value).groupby(named, sort=False).mean()


def contrast(a: pd.Series, b: pd.Series, extra_variance: float = 0.0) -> Contrast:
    """Compare the means of two conditions' units: ``b`` less ``a``.

    By differences of units of the same name, if they are the same sessions, or share
    :data:`FEWEST_BLOCKS` blocks and half of the longer one's; else by Welch's t. Series that no
    function of this module made have independent values. ``extra_variance`` is that of an error
    that no spread of the units contains.

    Raises
    ------
    NotEnoughDataError
        A condition has one unit.
    """
    if min(len(a), len(b)) < 2:
        raise NotEnoughDataError("a comparison needs at least 2 runs, or sessions, on each side")
    # Plain dictionaries: a table of many conditions has thousands of pairs.
    of_a, of_b = (dict(zip(side.index, side.to_numpy(), strict=True)) for side in (a, b))
    paired = False
    if a.index.name == b.index.name and a.index.name in ("session", "block"):
        shared = [name for name in of_a if name in of_b]
        most = max(len(a), len(b))
        fewest = most if a.index.name == "session" else max(FEWEST_BLOCKS, most / 2)
        paired = len(shared) >= fewest
    if paired:
        samples = [np.array([of_b[name] - of_a[name] for name in shared])]
        estimate = samples[0].mean()
    else:
        samples = [a.to_numpy(), b.to_numpy()]
        estimate = samples[1].mean() - samples[0].mean()
    variances, sizes = [_variance(sample) for sample in samples], [len(s) for s in samples]
    between, total = sum(variances), sum(variances) + extra_variance
    df = math.inf
    if between > 0:
        by_sessions = not paired and a.index.name == b.index.name == "session"
        degrees = _degrees_of_sessions if by_sessions else _degrees_of_runs
        # Of few units against many, the few may vary little by chance: Welch's degrees of freedom
        # are then those of the many, and the test rejects too often.
        most_df = (min(sizes) - 1) * (1 + min(sizes) / max(sizes))
        df = min(degrees(variances, sizes), most_df) * (total / between) ** 2
    return Contrast(float(estimate), math.sqrt(total), df, paired)


def _degrees_of_runs(variances: list[float], sizes: list[int]) -> float:
    """Return Satterthwaite's degrees of freedom of the sum of variances of means."""
    parts = sum(v**2 / (n - 1) for v, n in zip(variances, sizes, strict=True))
    return sum(variances) ** 2 / parts


def _degrees_of_sessions(variances: list[float], sizes: list[int]) -> float:
    """Return Welch's degrees of freedom (Biometrika 34, 1947), for units as few as sessions.

    Satterthwaite's are too few then: an interval of three sessions against three that do not differ
    holds the truth in 97.2% (``benchmarks/evidence.py``).
    """
    parts = sum(v**2 / (n + 1) for v, n in zip(variances, sizes, strict=True))
    return max(sum(variances) ** 2 / parts - 2, min(sizes) - 1)


def _variance(values: Values) -> float:
    """Return the variance of the mean; equal values have none, whatever the rounding."""
    return 0.0 if np.ptp(values) == 0 else float(values.var(ddof=1)) / len(values)
