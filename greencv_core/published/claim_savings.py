"""Claims about the largest saving, and the correctness that it costs."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from greencv_core.analysis import (
    NonInferiority,
    NotEnoughDataError,
    Saving,
    Unavailable,
    attempt,
    best_against_worst,
    non_inferiority,
)
from greencv_core.analysis.result import Values
from greencv_core.analysis.selection import condition_name, runs_of
from greencv_core.published.claim_answers import (
    CONDITIONS,
    ENERGY,
    GFLOPS,
    Answer,
    Standing,
    Terms,
    cannot,
    has_repetitions,
    rounded,
)
from greencv_core.published.seaa2023.runs import signed_percent
from greencv_core.utils.text import number, p_value, quantity

MOST_EXTREMES = 30
"""Cheapest conditions, and most expensive ones, that may be the ends of the largest saving."""
_NO_INTERVAL = "one run a condition, so no interval"


def ask_largest_saving(theirs: float, terms: Terms, runs: pd.DataFrame) -> Answer:
    """Ask for the largest saving between conditions, and compare it with the original's.

    With one run a condition it has a figure and no interval, and no saving is shown.
    """
    if not runs.empty and not has_repetitions(runs):
        ends = attempt(_extremes, runs)
        if isinstance(ends, Unavailable):
            return cannot(ends.reason)
        saved, dear, cheap, n = ends
        here = f"{signed_percent(saved)} ({_NO_INTERVAL}), {condition_name(cheap)} against "
        here += condition_name(dear) + _span(runs)
        verdict = "Not shown: there is one run a condition, and no spread to judge a saving by."
        return Answer("not shown", verdict, here, n, saved)
    largest = _largest(runs, terms.column)
    if isinstance(largest, Unavailable):
        return cannot(largest.reason)
    here = (
        f"{signed_percent(largest.saving)} ({signed_percent(largest.ci_low)} to "
        f"{signed_percent(largest.ci_high)}), {largest.cheap} against {largest.dear}"
    ) + _span(runs)
    standing: Standing
    if largest.ci_low <= 0:
        standing, verdict = "not shown", "Not shown: the interval includes no saving."
    elif largest.ci_low > theirs:
        standing, verdict = "holds", "Holds; the largest saving is larger here."
    elif largest.ci_high < theirs:
        standing, verdict = "holds in part", "Holds in part: a saving is shown, but a smaller one."
    else:
        standing, verdict = "holds", "Holds: not told apart from the original's figure."
    figures = (largest.saving, largest.ci_low, largest.ci_high)
    return Answer(standing, verdict, here, largest.n_from + largest.n_to, *map(rounded, figures))


def gflops_span(fewest: float, most: float) -> str:
    """Return the range of architectures: ``0.0640 to 10.0 GFLOPs, a factor of 157``."""
    if fewest == most:
        return f"one architecture of {number(most)} GFLOPs"
    return f"{number(fewest)} to {number(most)} GFLOPs, a factor of {number(most / fewest)}"


def _span(runs: pd.DataFrame) -> str:
    own = runs[GFLOPS].dropna() if GFLOPS in runs else pd.Series(dtype=float)
    if not len(own) or own.min() <= 0:
        return ""
    return f"; {gflops_span(float(own.min()), float(own.max()))}"


def _extremes(
    runs: pd.DataFrame,
) -> tuple[float, tuple[object, ...], tuple[object, ...], int]:
    """Return the largest saving of medians, its two conditions, and their number of runs."""
    groups = runs.dropna(subset=[ENERGY]).groupby(CONDITIONS, observed=True)[ENERGY]
    medians = groups.median()
    if len(medians) < 2:
        raise NotEnoughDataError("a saving needs at least 2 conditions")
    dear, cheap = medians.idxmax(), medians.idxmin()
    if dear == cheap:
        raise NotEnoughDataError(f"all conditions have the same {quantity(ENERGY)}")
    sizes = groups.size()
    n = int(sizes[dear] + sizes[cheap])
    return float(1 - medians[cheap] / medians[dear]), dear, cheap, n


def _largest(runs: pd.DataFrame, correctness: str) -> Saving | Unavailable:
    if runs.empty:
        return Unavailable("there are none")
    known = runs.dropna(subset=[ENERGY])
    groups = known.groupby(CONDITIONS, observed=True, sort=False)
    if groups.ngroups > 2 * MOST_EXTREMES:
        ids, table = groups.ngroup(), groups[ENERGY].agg(["median", "size"])
        order = table.reset_index().query("size >= 2")["median"].sort_values().index
        ends = {*order[:MOST_EXTREMES], *order[-MOST_EXTREMES:]}
        known = known[ids.isin(ends)]
    if correctness not in known:
        known = known.assign(**{correctness: math.nan})
    return attempt(best_against_worst, known, correctness=correctness)


def ask_saving_without_loss(terms: Terms, runs: pd.DataFrame) -> Answer:
    """Ask whether the largest saving costs a negligible loss of correctness.

    If one of its two conditions has no correctness, the largest saving among those that have is
    asked instead. The figure is the loss of mean correctness with its 90 % interval.
    """
    name = quantity(terms.column)
    taught = runs.dropna(subset=[terms.column]) if terms.column in runs else runs.iloc[:0]
    if not runs.empty and not has_repetitions(runs):
        return _single_loss(terms, taught, name)
    largest = _largest(runs, terms.column)
    if isinstance(largest, Saving) and not len(_correctness(taught, largest, terms)[0]):
        largest = _largest(taught, terms.column) if len(taught) else largest
    if isinstance(largest, Unavailable):
        return cannot(largest.reason)
    if largest.ci_low <= 0:
        return cannot("no saving is shown")
    dear, cheap = _correctness(taught, largest, terms)
    if not len(dear) or not len(cheap):
        return cannot(f"no run of one of the two has {name}")
    if np.median(dear) <= 0:
        return cannot(f"{largest.dear} learned nothing, so nothing can be lost")
    test = attempt(non_inferiority, dear, cheap, terms.margin)
    if isinstance(test, Unavailable):
        return cannot(test.reason)
    points = f"{100 * terms.margin:g} points"
    here = (
        f"{largest.cheap} against {largest.dear}: mean {name} {_change(test)} (95 %; "
        f"non-inferiority by Welch, {p_value(test.p)})"
    )
    standing: Standing
    if test.passes:
        standing, verdict = "holds", f"Holds: the loss is shown to be below {points}."
    elif test.loss_low > terms.margin:
        standing, verdict = "does not hold", f"Does not hold: the loss is shown to exceed {points}."
    else:
        standing, verdict = "not shown", f"Not shown: the loss may be below {points} or above."
    figures = (test.loss, test.loss_low, test.loss_high)
    return Answer(standing, verdict, here, len(dear) + len(cheap), *map(rounded, figures))


def _single_loss(terms: Terms, taught: pd.DataFrame, name: str) -> Answer:
    if taught.empty:
        return cannot(f"none of them has {name}")
    ends = attempt(_extremes, taught)
    if isinstance(ends, Unavailable):
        return cannot(ends.reason)
    _, dear, cheap, n = ends
    medians = taught.groupby(CONDITIONS, observed=True)[terms.column].median()
    if medians[dear] <= 0:
        return cannot(f"{condition_name(dear)} learned nothing, so nothing can be lost")
    loss = float(medians[dear] - medians[cheap])
    word = "lower" if loss >= 0 else "higher"
    here = (
        f"{condition_name(cheap)} against {condition_name(dear)}: {name} {word} by "
        f"{abs(loss):.3f} ({_NO_INTERVAL})"
    )
    verdict = "Not shown: there is one run a condition, and no spread to judge a loss by."
    return Answer("not shown", verdict, here, n, loss)


def _correctness(taught: pd.DataFrame, largest: Saving, terms: Terms) -> tuple[Values, Values]:
    """Return the correctness of both conditions; none if one of them has none."""
    dear, cheap = (
        runs_of(taught, condition)[terms.column].to_numpy(dtype=float)
        if terms.column in taught
        else np.empty(0)
        for condition in (largest.from_condition, largest.to_condition)
    )
    return (dear, cheap) if len(dear) and len(cheap) else (np.empty(0), np.empty(0))


def _change(test: NonInferiority) -> str:
    """Say by how much the mean changes, with its worst case."""
    mean, worst = f"{abs(test.loss):.3f}", f"{abs(test.loss_high):.3f}"
    if test.loss >= 0:
        return f"lower by {mean}, and by at most {worst}"
    return f"higher by {mean}, and " + (
        f"lower by at most {worst}" if test.loss_high >= 0 else f"by at least {worst}"
    )
