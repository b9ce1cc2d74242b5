"""The claim that hardware should match the complexity of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd
from scipy import stats

from greencv_core.analysis import BreakEven, NotEnoughDataError, Unavailable, attempt
from greencv_core.analysis.regression.breakeven import break_even
from greencv_core.analysis.result import CONFIDENCE
from greencv_core.published.claim_answers import (
    CONDITIONS,
    ENERGY,
    GFLOPS,
    Answer,
    cannot,
    k_of_n,
    missing,
    rounded,
)
from greencv_core.utils.text import left_out_clause


@dataclass(frozen=True)
class _Pair:
    """The most powerful environment against another, by a line through the architectures."""

    powerful: str
    other: str
    line: BreakEven

    @property
    def architectures(self) -> tuple[str, ...]:
        return tuple(self.line.points["architecture"])

    @property
    def turns(self) -> bool:
        return self.line.within_range and self.line.above == self.powerful

    @property
    def opposed(self) -> bool:
        return self.line.excluded or (self.line.within_range and not self.turns)


def ask_matching(runs: pd.DataFrame) -> Answer:
    """Ask whether the more powerful environment takes less for complex architectures alone.

    Only environments of one framework and batch on each device are compared: the most powerful with
    each other one. The break-even decides, with architectures as units: one architecture that turns
    the order is no trend with complexity. The figure is the exponent of the ratio of energies (the
    more powerful to the other) over GFLOPs, of the pair in which it is highest: below 0, the more
    powerful environment gains with complexity.
    """
    reason = missing(runs, "environment", ENERGY) or missing(runs, "architecture", ENERGY, GFLOPS)
    if not reason and ("duration_s_per_image" not in runs or _untimed(runs)):
        reason = "none of them has a duration, which shows the more powerful environment"
    if reason:
        return cannot(reason)
    answers = [attempt(_lines, part) for part in _comparable(runs)]
    pairs = list(chain.from_iterable(a for a in answers if not isinstance(a, Unavailable)))
    if not pairs:
        why = [a.reason for a in answers if isinstance(a, Unavailable)]
        return cannot(
            why[0] if why else "no two environments share framework and batch on each device"
        )
    standing, verdict = k_of_n(sum(pair.turns for pair in pairs), len(pairs), "pair")
    if all(pair.opposed for pair in pairs):
        cheaper = {pair.line.cheaper_throughout for pair in pairs}
        best = cheaper.pop() if len(cheaper) == 1 else None
        standing = "does not hold"
        verdict = (
            "Does not hold: complexity does not change the order of the environments this way."
            if best is None
            else f"Does not hold: {best} uses less energy for all architectures."
        )
    here = "\n".join(pair.line.sentence().removesuffix(".") for pair in pairs)
    asked = {name for pair in pairs for name in (pair.powerful, pair.other)}
    others = [str(name) for name in runs["environment"].unique() if name not in asked]
    here += left_out_clause(others, "too few architectures in common, or no comparable environment")
    figures = max(_exponent(pair.line) for pair in pairs)
    return Answer(standing, verdict, here, _runs_behind(runs, pairs), *map(rounded, figures))


def _untimed(runs: pd.DataFrame) -> bool:
    return bool(runs["duration_s_per_image"].isna().all())


def _comparable(runs: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the runs by framework and batch on each device, where these have two environments."""
    names = [n for n in ("framework", "device_batch") if n in runs and runs[n].nunique() > 1]
    if not names:
        return [runs]
    parts = [part for _, part in runs.groupby(names, sort=False, dropna=False, observed=True)]
    return [part for part in parts if part["environment"].nunique() > 1]


def most_powerful(runs: pd.DataFrame) -> str:
    """Return the environment that trains the most complex architecture fastest, by medians.

    Only architectures trained in at least two environments count. Simple ones are no criterion:
    they may leave a large GPU idle.
    """
    timed = runs.dropna(subset=["gflops_per_image", "duration_s_per_image"])
    environments = timed.groupby("architecture", observed=True)["environment"].nunique()
    shared = timed[timed["architecture"].isin(environments.index[environments > 1])]
    if shared.empty:
        raise NotEnoughDataError("no architecture was trained in two environments")
    complexity = shared.groupby("architecture", observed=True)["gflops_per_image"].median()
    hardest = shared[shared["architecture"] == complexity.idxmax()]
    return str(hardest.groupby("environment")["duration_s_per_image"].median().idxmin())


def _lines(runs: pd.DataFrame) -> list[_Pair]:
    powerful, reason = most_powerful(runs), ""
    found = []
    for other in map(str, runs["environment"].unique()):
        if other == powerful:
            continue
        line = attempt(break_even, runs, other, powerful)
        if isinstance(line, BreakEven):
            found.append(_Pair(powerful, other, line))
        else:
            reason = line.reason
    if not found:
        raise NotEnoughDataError(reason)
    return found


def _exponent(line: BreakEven) -> tuple[float, float, float]:
    """Return the exponent of the ratio over GFLOPs, with its 95% interval."""
    x, y = (np.log10(line.points[name].to_numpy()) for name in ("gflops_per_image", "ratio"))
    fit = stats.linregress(x, y)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(x) - 2)) * float(fit.stderr)
    slope = float(fit.slope)
    return slope, slope - half, slope + half


def _runs_behind(runs: pd.DataFrame, pairs: Sequence[_Pair]) -> int:
    """Return the number of runs of the pairs' conditions."""
    used = {
        (architecture, environment)
        for pair in pairs
        for environment in (pair.powerful, pair.other)
        for architecture in pair.architectures
    }
    conditions = pd.MultiIndex.from_frame(runs[CONDITIONS])
    return int(conditions.isin(list(used)).sum())
