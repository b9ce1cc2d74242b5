"""Answers to a claim: verdict, figure and interval, for one data set or several together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from greencv_core.analysis import Unavailable
from greencv_core.analysis.selection import CONDITION
from greencv_core.utils.text import count, left_out_clause, listed, quantity

Standing = Literal["holds", "holds in part", "does not hold", "not shown", "cannot be tested"]
"""Verdict on a claim. It does not hold if the runs show the opposite; it is not shown if they show
neither, since no evidence of an effect is not evidence of none."""

Choice = Callable[[Sequence[float]], float]
"""``min`` or ``max``: whichever picks the figure that supports a claim least."""

ENERGY, UTILISATION, GFLOPS = "energy_j_per_image", "device_utilization_pct", "gflops_per_image"
CONDITIONS = list(CONDITION)
_NAMES = {GFLOPS: "number of GFLOPs"}


@dataclass(frozen=True)
class Answer:
    """What the runs of one data set, or of several, say about a claim."""

    standing: Standing
    verdict: str
    here: str = ""
    """Estimates with their 95% intervals, or tests; empty if the claim cannot be tested."""
    n: int = 0
    """Number of runs behind the verdict."""
    figure: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None


@dataclass(frozen=True)
class Terms:
    """How correctness is measured, and which loss of it is negligible."""

    margin: float
    """Largest negligible loss, from 0 to 1."""
    column: str
    """Column of correctness."""
    name: str
    """Name of correctness in a claim."""
    whole_runs: bool = False
    """Whether numbers of images are unknown, so that energy is that of whole runs."""


def cannot(reason: str) -> Answer:
    """Return the answer of runs that cannot be tested."""
    return Answer("cannot be tested", f"Cannot be tested with these runs: {reason}.")


def missing(runs: pd.DataFrame, factor: str, *values: str) -> str:
    """Return why runs cannot be tested, or an empty text.

    A value that is the same in all runs makes a verdict true or false by construction.
    """
    if runs.empty:
        return "there are none"
    distinct = {value: runs[value].nunique() if value in runs else 0 for value in values}
    for value, n in distinct.items():
        if not n:
            return f"none of them has a {_NAMES.get(value) or quantity(value)}"
    if runs[factor].nunique() < 2:
        return f"they have only one {factor}"
    for value, n in distinct.items():
        if n == 1 and runs[value].count() > 1:
            return f"{_NAMES.get(value) or quantity(value)} is the same in all of them"
    return ""


def first_reason(every: Mapping[str, object]) -> str:
    """Return the reason of the first unavailable result."""
    return next(r.reason for r in every.values() if isinstance(r, Unavailable))


def without_result(every: Mapping[str, object], known: Mapping[str, object]) -> str:
    """Return a clause that names what has no result."""
    return left_out_clause([n for n in every if n not in known], "too few runs or architectures")


def k_of_n(k: int, n: int, unit: str) -> tuple[Standing, str]:
    """Return the verdict of a claim that k of n environments, say, show."""
    if k == n:
        every = f"both {unit}s" if n == 2 else f"all {n} {unit}s"
        return "holds", "Holds." if n == 1 else f"Holds for {every}."
    if k:
        return "holds in part", f"Holds in part ({k} of {count(n, unit)})."
    return "not shown", "Not shown." if n == 1 else f"Not shown for any of {n} {unit}s."


def has_repetitions(runs: pd.DataFrame, value: str = ENERGY) -> bool:
    """Return whether at least half of the conditions, and two of them, have two runs or more."""
    sizes = runs.dropna(subset=[value]).groupby(CONDITIONS, observed=True).size()
    repeated = int((sizes >= 2).sum())
    return repeated >= 2 and 2 * repeated >= len(sizes)


def combine(answers: Mapping[str, Answer], worst: Choice) -> Answer:
    """Return the answer of a source from those of its data sets, by name.

    The figure is that of the data set that supports the claim least.
    """
    if len(answers) == 1:
        return next(iter(answers.values()))
    known = {name: a for name, a in answers.items() if a.standing != "cannot be tested"}
    unknown: dict[str, list[str]] = {}
    for name, answer in answers.items():
        if name not in known:
            unknown.setdefault(answer.verdict.partition(": ")[2], []).append(name)
    if not known and len(unknown) == 1:
        return cannot(next(iter(unknown)).removesuffix("."))
    refused = "".join(f" Cannot be tested with {listed(n)}: {why}" for why, n in unknown.items())
    if not known:
        return Answer("cannot be tested", refused.strip())
    standing, verdict = _together(known)
    here = "\n".join(f"{name}: {a.here}" for name, a in known.items())
    figures = {a.figure: a for a in known.values() if a.figure is not None}
    weakest = figures[worst(list(figures))] if figures else Answer(standing, verdict)
    n = sum(a.n for a in known.values())
    return replace(weakest, standing=standing, verdict=verdict + refused, here=here, n=n)


def _together(known: Mapping[str, Answer]) -> tuple[Standing, str]:
    standings = [answer.standing for answer in known.values()]
    if len(standings) == 1:
        return standings[0], next(iter(known.values())).verdict
    holding, opposed = standings.count("holds"), standings.count("does not hold")
    standing, verdict = k_of_n(holding, len(known), "data set")
    if not holding and "holds in part" in standings:
        standing = "holds in part"
        verdict = f"Holds in part in {count(standings.count(standing), 'data set')}."
    if opposed:
        against = f"in {opposed} of {count(len(known), 'data set')}"
        if standing == "not shown":
            return "does not hold", f"Does not hold {against}."
        verdict += f" Does not hold {against}."
    return standing, verdict


def rounded(value: float | None) -> float | None:
    """Return a figure, or None where it is not defined."""
    return float(value) if value is not None and math.isfinite(value) else None
