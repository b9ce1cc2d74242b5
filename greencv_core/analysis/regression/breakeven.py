"""Break-even: the complexity at which two environments take the same energy per image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from greencv_core.analysis.regression.data import Fit, quantile, shared_variance
from greencv_core.analysis.result import (
    ALPHA,
    NotEnoughDataError,
    Unavailable,
    Values,
    attempt,
)
from greencv_core.analysis.sessions import find_sessions
from greencv_core.utils.text import decimals, flops, left_out_clause, p_value

FEWEST = 4
"""Architectures; with three, one degree of freedom is left and the interval is useless."""


@dataclass(frozen=True)
class Crossing:
    """Two neighbours in complexity between which the cheaper environment changes."""

    below: str
    above: str
    gflops: float
    """Zero of the line between the two on logarithmic axes."""

    def sentence(self) -> str:
        """Describe the crossing."""
        return (
            "Among the architectures, the lower-energy environment changes between "
            f"{self.below} and {self.above}, at about {flops(self.gflops)}."
        )


@dataclass(frozen=True)
class BreakEven:
    """The GFLOPs per image at which environment ``b`` takes as much energy as ``a``.

    The log ratio of their energies is a straight line over log GFLOPs with one point for each
    architecture. More runs of the same architectures do not narrow the interval.
    """

    a: str
    b: str
    points: pd.DataFrame
    """architecture, gflops_per_image, ratio (of geometric means, ``b`` to ``a``), fitted, low, high
    (95% of the line)."""
    exponent: float
    """Exponent of the ratio over GFLOPs; below 0, ``b`` gains with complexity."""
    exponent_p: float
    gflops: float
    """Break-even; NaN if the line is level."""
    low: float
    high: float
    """Fieller's 95% interval; NaN if unbounded."""
    excluded: bool
    """Whether a break-even within the range of the architectures is ruled out at 95%."""
    crossing: Crossing | None
    """Where the ratios of the architectures themselves cross 1, if they do so once."""
    sessions: int = 0
    """Sessions of the environment that has the fewest; 0 if they are unknown."""
    left_out: tuple[str, ...] = ()
    """Architectures of both environments without a usable energy in each, or without GFLOPs."""

    @property
    def lowest(self) -> float:
        """Lowest GFLOPs of the architectures."""
        return float(self.points["gflops_per_image"].min())

    @property
    def highest(self) -> float:
        """Highest GFLOPs of the architectures."""
        return float(self.points["gflops_per_image"].max())

    @property
    def inside(self) -> bool:
        """Whether the estimate lies within the range of the architectures."""
        return self.lowest <= self.gflops <= self.highest

    @property
    def bounded(self) -> bool:
        """Whether the estimate lies within that range and has a bounded interval."""
        return self.inside and not math.isnan(self.low)

    @property
    def within_range(self) -> bool:
        """Whether the whole interval lies within that range."""
        return self.bounded and self.lowest <= self.low and self.high <= self.highest

    @property
    def below(self) -> str:
        """Environment that takes less below the break-even."""
        return self.a if self.exponent < 0 else self.b

    @property
    def above(self) -> str:
        """Environment that takes less above the break-even."""
        return self.b if self.exponent < 0 else self.a

    @property
    def cheaper_throughout(self) -> str | None:
        """Environment that takes less throughout the range, if a break-even is ruled out."""
        if not self.excluded:
            return None
        return self.b if float(self.points["fitted"].median()) < 1 else self.a

    def sentence(self) -> str:
        """Describe the break-even and its interval, or that there is none."""
        of_architectures = f" {self.crossing.sentence()}" if self.crossing else ""
        return self._line_sentence() + of_architectures

    def _line_sentence(self) -> str:
        observed = f"{flops(self.lowest)} to {flops(self.highest)}"
        trend = (
            f"The ratio of {self.above} to {self.below} falls with GFLOPs (exponent "
            f"{decimals(-abs(self.exponent), 2)}, {p_value(self.exponent_p)})"
            if self.exponent_p < ALPHA
            else f"The data show no change of the ratio with GFLOPs ({p_value(self.exponent_p)})"
        )
        trend = f"{trend}, over {len(self.points)} architectures"
        if self.sessions == 1:
            trend += " in one session, to which it applies"
        trend += left_out_clause(self.left_out, "energy or GFLOPs of zero or unknown")
        if self.excluded:
            return (
                f"{self.a} and {self.b}: no break-even in the range observed ({observed}); "
                f"{self.cheaper_throughout} uses less throughout. {trend}."
            )
        if not self.inside:
            return (
                f"{self.a} and {self.b}: no break-even was found in the range observed "
                f"({observed}), but one cannot be ruled out. {trend}."
            )
        text = f"{self.a} and {self.b} need the same energy per image at {flops(self.gflops)}"
        sides = f"{self.below} uses less below, {self.above} above"
        if math.isnan(self.low):
            return f"{text}, but the interval is unbounded: {sides}. {trend}."
        beyond = self.low < self.lowest or self.high > self.highest
        reach = f", wider than the range observed, {observed}" if beyond else ""
        interval = f"95% interval {flops(self.low)} to {flops(self.high)}{reach}"
        return f"{text} ({interval}). {sides}. {trend}."


def break_even(runs: pd.DataFrame, a: str, b: str) -> BreakEven:
    """Find the GFLOPs at which two environments take the same energy per image.

    The interval is Fieller's (1954) of the zero of a line, with architectures as units and what
    sessions add to the level.
    """
    every = runs[runs["environment"].isin((a, b))]
    runs = every[(every["energy_j_per_image"] > 0) & (every["gflops_per_image"] > 0)]
    data = pd.DataFrame(
        {
            "architecture": runs["architecture"].astype(str),
            "environment": runs["environment"].astype(str),
            "session": find_sessions(runs),
            "log_energy": np.log10(runs["energy_j_per_image"].astype(float)),
        }
    )
    groups = data.groupby(["architecture", "environment"])["log_energy"]
    means = groups.mean().unstack()
    gflops = runs.groupby(data["architecture"])["gflops_per_image"].median()
    if {a, b} <= set(means.columns):
        means = means.dropna(subset=[a, b])
    if not {a, b} <= set(means.columns) or gflops[means.index].nunique() < FEWEST:
        raise NotEnoughDataError(
            f"a break-even of {a} and {b} needs at least {FEWEST} architectures of different "
            "GFLOPs that were trained in both"
        )
    means = means.loc[gflops[means.index].sort_values(kind="stable").index]
    x = np.log10(gflops[means.index].to_numpy(dtype=float))
    y = (means[b] - means[a]).to_numpy(dtype=float)
    if np.ptp(y) < 1e-12:
        raise NotEnoughDataError(
            f"the ratio of {b} to {a} is the same for all architectures: a line through it is "
            "level, and crosses nowhere"
        )
    both = data[data["architecture"].isin(means.index)]
    trained_in = every.groupby("architecture", sort=False, observed=True)["environment"].nunique()
    line = _Line.through(x, y, shared_variance(both, {a: -1.0, b: 1.0}, len(x) - 2))
    low, high, excluded = line.where_zero(float(x.min()), float(x.max()))
    crossing = line.centre - line.level / line.slope if line.slope else math.nan
    return BreakEven(
        a=a,
        b=b,
        points=_points(means.index, line, x, y),
        exponent=line.slope,
        exponent_p=line.slope_p,
        gflops=10**crossing if abs(crossing) < 300 else math.nan,
        low=10**low if abs(low) < 300 else math.nan,
        high=10**high if abs(high) < 300 else math.nan,
        excluded=excluded,
        sessions=int(data.groupby("environment")["session"].nunique().min()),
        crossing=_crossing(list(means.index), x, y),
        left_out=tuple(
            str(name) for name in trained_in.index[trained_in > 1] if name not in means.index
        ),
    )


def _points(architectures: pd.Index[str], line: _Line, x: Values, y: Values) -> pd.DataFrame:
    half, fitted = line.half_width(x), line.at(x)
    return pd.DataFrame(
        {
            "architecture": architectures,
            "gflops_per_image": 10**x,
            "ratio": 10**y,
            "fitted": 10**fitted,
            "low": 10 ** (fitted - half),
            "high": 10 ** (fitted + half),
        }
    )


def break_evens(runs: pd.DataFrame) -> dict[str, BreakEven | Unavailable]:
    """Find the break-even of each pair of environments; the key names both."""
    names = [str(name) for name in runs["environment"].unique()]
    return {
        f"{a} and {b}": attempt(break_even, runs, a, b) for a, b in itertools.combinations(names, 2)
    }


def most_precise(results: Mapping[str, BreakEven | Unavailable]) -> BreakEven | None:
    """Return the most precise break-even, preferring those within the range observed.

    That is the one of the narrowest interval on the logarithmic axis; if none is bounded, the one
    of the surest slope, estimates within the range first. None if no pair has a result.
    """
    known = [result for result in results.values() if isinstance(result, BreakEven)]
    bounded = [result for result in known if result.bounded]
    if bounded:
        return min(bounded, key=lambda one: (not one.within_range, one.high / one.low))
    return min(known, key=lambda one: (not one.inside, one.exponent_p), default=None)


@dataclass(frozen=True)
class _Line:
    """Least-squares line y = level + slope (x - centre), with the covariance of both."""

    centre: float
    level: float
    slope: float
    slope_p: float
    covariance: Values
    df: int

    @classmethod
    def through(cls, x: Values, y: Values, shared: float = 0.0) -> _Line:
        centre = float(x.mean())
        fit = Fit(np.column_stack([np.ones(len(x)), x - centre]), y)
        slope = fit.estimate(1)
        covariance = fit.covariance + np.diag([shared, 0.0])
        return cls(centre, float(fit.estimates[0]), slope.value, slope.p, covariance, fit.df)

    def at(self, x: Values) -> Values:
        return self.level + self.slope * (x - self.centre)

    def half_width(self, x: Values) -> Values:
        design = np.column_stack([np.ones(len(x)), x - self.centre])
        half: Values = quantile(self.df) * np.sqrt(
            np.einsum("ij,jk,ik->i", design, self.covariance, design)
        )
        return half

    def where_zero(self, first: float, last: float) -> tuple[float, float, bool]:
        """Return Fieller's interval of the zero, and whether it excludes all from first to last.

        It holds each x at which the line does not differ from zero at 5%. If the slope does not
        differ from zero, that is all but an interval, or everything.
        """
        (level_variance, covariance), (_, slope_variance) = self.covariance
        low, high, bounded = _fieller(
            self.level, self.slope, level_variance, covariance, slope_variance, quantile(self.df)
        )
        low, high = self.centre + low, self.centre + high
        if bounded:
            return low, high, high < first or low > last
        return math.nan, math.nan, low < first and last < high


def _fieller(
    level: float, slope: float, level_variance: float, covariance: float, slope_variance: float,
    t: float,
) -> tuple[float, float, bool]:  # fmt: skip
    """Return the bounds of all u at which level + slope u does not differ from zero at 5%.

    If the third value is false, the slope itself does not differ from zero, and the bounds enclose
    what is ruled out; NaN if nothing is.
    """
    a = slope**2 - t**2 * slope_variance
    b = slope * level - t**2 * covariance
    c = level**2 - t**2 * level_variance
    root = b * b - a * c
    if root < 0 or a == 0:
        return math.nan, math.nan, False
    half = math.sqrt(root)
    first, last = sorted(((-b - half) / a, (-b + half) / a))
    return first, last, a > 0


def _crossing(names: list[str], x: Values, y: Values) -> Crossing | None:
    changes = np.flatnonzero(np.sign(y[:-1]) * np.sign(y[1:]) < 0)
    if len(changes) != 1 or x[changes[0]] == x[changes[0] + 1]:
        return None
    i = int(changes[0])
    share = float(y[i] / (y[i] - y[i + 1]))
    at = 10 ** float(x[i] + share * (x[i + 1] - x[i]))
    return Crossing(names[i], names[i + 1], at)
