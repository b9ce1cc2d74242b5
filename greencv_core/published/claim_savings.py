"""Claims about the largest saving, and the correctness that it costs."""

from __future__ import annotations

import math

import pandas as pd

from greencv_core.analysis import (
    NonInferiority,
    NotEnoughDataError,
    Saving,
    Unavailable,
    attempt,
    best_against_worst,
    non_inferiority,
    saving,
)
from greencv_core.analysis.chance import learned_nothing
from greencv_core.analysis.images import image_error_sentence, image_variances
from greencv_core.analysis.selection import condition_name, runs_of
from greencv_core.analysis.units import log_units, mark_units, run_units
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
from greencv_core.utils.text import number, p_value, percent, quantity

AGREEMENT = 1.25
"""Largest ratio of the energies that two savings leave at which the savings agree."""
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
    standing, verdict = compare_saving(theirs, largest.ci_low, largest.ci_high)
    figures = (largest.saving, largest.ci_low, largest.ci_high)
    return Answer(standing, verdict, here, largest.n_from + largest.n_to, *map(rounded, figures))


def compare_saving(theirs: float, low: float, high: float) -> tuple[Standing, str]:
    """Return the verdict of a saving's 95% interval on the figure of another study.

    A saving is as large as theirs if it is shown to leave at most :data:`AGREEMENT` times the
    energy that theirs leaves, and agrees with it if it also leaves no less than that share.
    """
    least, most = 1 - (1 - theirs) * AGREEMENT, 1 - (1 - theirs) / AGREEMENT
    within = f"the margin of agreement ({100 * least:.1f} to {percent(most)})"
    if low <= 0:
        return "not shown", "Not shown: the interval includes 0."
    if low > theirs:
        return "holds", "Holds: the saving is larger."
    if low > least and high < most:
        return "holds", f"Holds: the interval lies within {within}."
    if low > least:
        return "holds", f"Holds: the saving lies within {within} or above."
    if high < theirs:
        return "holds in part", "Holds in part: there is a saving, but a smaller one."
    return "not shown", (
        "Not shown: there is a saving, but it may lie below the margin of agreement "
        f"({percent(least)}) or within it."
    )


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
    if correctness not in known:
        known = known.assign(**{correctness: math.nan})
    return attempt(best_against_worst, known, correctness=correctness)


def ask_saving_without_loss(terms: Terms, runs: pd.DataFrame) -> Answer:
    """Ask whether the largest saving costs a negligible loss of correctness.

    The dearer condition is the dearest of those that are shown to lose less than the margin against
    the best: nothing can be lost against one that failed. Conditions without correctness do not
    count. The figure is the loss of mean correctness with its 90% interval.
    """
    name = quantity(terms.column)
    taught = runs.dropna(subset=[terms.column]) if terms.column in runs else runs.iloc[:0]
    if not runs.empty and not has_repetitions(runs):
        return _single_loss(terms, taught, name)
    if taught.empty:
        return cannot("there are none" if runs.empty else f"none of them has {name}")
    taught = mark_units(taught)
    largest = attempt(_largest_against_sound, taught, terms)
    if isinstance(largest, Unavailable):
        return cannot(largest.reason)
    if largest.ci_low <= 0:
        return cannot("no saving is shown")
    parts = [runs_of(taught, end) for end in (largest.from_condition, largest.to_condition)]
    dear, cheap = (run_units(part, terms.column) for part in parts)
    images = float(image_variances(parts, terms.column)[0, 1])
    test = non_inferiority(dear, cheap, terms.margin, images)
    points = f"{100 * terms.margin:g} points"
    here = (
        f"{largest.cheap} against {largest.dear}: mean {name} {_change(test)} (95%; "
        f"non-inferiority, {p_value(test.p)})"
    )
    standing: Standing
    if test.passes:
        standing, verdict = "holds", f"Holds: the loss is below {points}."
    elif test.loss_low > terms.margin:
        standing, verdict = "does not hold", f"Does not hold: the loss exceeds {points}."
    else:
        standing, verdict = "not shown", f"Not shown: the loss may be below {points} or above."
    verdict = f"{verdict} {image_error_sentence(pd.concat(parts), terms.column)}".strip()
    figures = (test.loss, test.loss_low, test.loss_high)
    return Answer(standing, verdict, here, largest.n_from + largest.n_to, *map(rounded, figures))


def _single_loss(terms: Terms, taught: pd.DataFrame, name: str) -> Answer:
    if taught.empty:
        return cannot(f"none of them has {name}")
    ends = attempt(_extremes, taught)
    if isinstance(ends, Unavailable):
        return cannot(ends.reason)
    _, dear, cheap, n = ends
    medians = taught.groupby(CONDITIONS, observed=True)[terms.column].median()
    if learned_nothing(runs_of(taught, dict(zip(CONDITIONS, dear, strict=True))), terms.column):
        return cannot(f"{condition_name(dear)} learned nothing, so nothing can be lost")
    loss = float(medians[dear] - medians[cheap])
    word = "lower" if loss >= 0 else "higher"
    here = (
        f"{condition_name(cheap)} against {condition_name(dear)}: {name} {word} by "
        f"{abs(loss):.3f} ({_NO_INTERVAL})"
    )
    verdict = "Not shown: with one run per condition, there is no spread to judge a loss by."
    return Answer("not shown", verdict, here, n, loss)


def _largest_against_sound(taught: pd.DataFrame, terms: Terms) -> Saving:
    """Return the largest saving against a condition that is shown to be as good as the best."""
    groups = taught.dropna(subset=[ENERGY]).groupby(CONDITIONS, observed=True, sort=False)
    parts = {key: part for key, part in groups if len(part) >= 2 and (part[ENERGY] > 0).all()}
    if len(parts) < 2:
        raise NotEnoughDataError(
            f"a saving without loss needs at least 2 conditions of at least 2 runs with energy and "
            f"{quantity(terms.column)}"
        )
    scores = {key: run_units(part, terms.column) for key, part in parts.items()}
    best = max(scores, key=lambda key: float(scores[key].mean()))
    if learned_nothing(parts[best], terms.column):
        raise NotEnoughDataError("no condition learned anything, so nothing can be lost")
    energies = {key: float(log_units(part, ENERGY).mean()) for key, part in parts.items()}
    sound = [
        key
        for key in parts
        if key == best or non_inferiority(scores[best], scores[key], terms.margin).passes
    ]
    dear, cheap = max(sound, key=energies.__getitem__), min(parts, key=energies.__getitem__)
    if dear == cheap:
        raise NotEnoughDataError(
            f"{condition_name(cheap)} uses the least energy, and no condition that uses more is "
            f"shown to be within {100 * terms.margin:g} points of the best {quantity(terms.column)}"
        )
    ends = [dict(zip(CONDITIONS, key, strict=True)) for key in (dear, cheap)]
    found = saving(taught, ends[0], ends[1], correctness=terms.column)
    return found.picked(len(parts), math.comb(len(parts), 2))


def _change(test: NonInferiority) -> str:
    """Say by how much the mean changes, with its worst case."""
    mean, worst = f"{abs(test.loss):.3f}", f"{abs(test.loss_high):.3f}"
    if test.loss >= 0:
        return f"lower by {mean}, and by at most {worst}"
    return f"higher by {mean}, and " + (
        f"lower by at most {worst}" if test.loss_high >= 0 else f"by at least {worst}"
    )
