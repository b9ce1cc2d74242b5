"""The section "In short" of the pages of results: the answer first, then its number."""

from __future__ import annotations

import numpy as np
import pandas as pd
from IPython.display import Markdown

from greencv_core.analysis import (
    BreakEven,
    EnergyRegression,
    Interaction,
    SavingsWithoutLoss,
    Unavailable,
)
from greencv_core.analysis.comparison.omnibus import Comparison
from greencv_core.analysis.comparison.paired import PairedComparison
from greencv_core.analysis.regression.breakeven import most_precise
from greencv_core.analysis.result import ALPHA
from greencv_core.analysis.study_results import (
    ArchitectureResults,
    EnvironmentResults,
    StudyResults,
)
from greencv_core.report.exhibits.markdown import paragraph
from greencv_core.report.pages.index import own_saving
from greencv_core.utils.text import count, flops, listed, number, p_value, percent

_UNKNOWN = "These runs cannot answer this."


def architecture_answer(results: ArchitectureResults) -> Markdown:
    """Say how much the architecture matters for energy and correctness."""
    largest = results.largest_saving
    if isinstance(largest, Unavailable):
        return paragraph(_UNKNOWN, largest.sentence())
    low, high = percent(largest.ci_low, 0), percent(largest.ci_high, 0)
    verdict = (
        f"On {results.environment}, {largest.cheap} uses {percent(largest.saving, 0)} less energy "
        f"per image than {largest.dear} (95% interval {low} to {high})."
    )
    return paragraph(
        _pairs(results.energy),
        verdict,
        _exponents(results.regression, results.environment),
        harmless_sentence(results.savings_without_loss),
    )


def _pairs(energy: Comparison | Unavailable) -> str:
    if isinstance(energy, Unavailable):
        return ""
    if not energy.significant:
        return "The data show no difference between architectures."
    return (
        f"Much: {energy.pairs_differing} of {count(len(energy.pairs), 'pair')} of architectures "
        "differ significantly in energy per image."
    )


def _exponents(regression: EnergyRegression | Unavailable, environment: str) -> str:
    if isinstance(regression, Unavailable):
        return ""
    lines = regression.lines[regression.lines["environment"] == environment]
    parts = [f"{number(10**row.exponent)} times the energy there" for row in lines.itertuples()]
    return f"Ten times the GFLOPs costs {listed(parts)}." if parts else ""


def harmless_sentence(harmless: SavingsWithoutLoss | Unavailable) -> str:
    """Return the largest saving at a negligible loss of correctness, or that there is none."""
    if isinstance(harmless, Unavailable):
        return ""
    points = f"{100 * harmless.margin:g} points"
    if harmless.best is None or not harmless.shown:
        return f"No saving can be shown within {points} of the best F1."
    best = harmless.best
    low, high = percent(best.ci_low, 0), percent(best.ci_high, 0)
    return (
        f"Within {points} of the best F1, {best.cheap} uses {percent(best.saving, 0)} less energy "
        f"than {best.dear} (95% interval {low} to {high})."
    )


def environment_answer(results: EnvironmentResults) -> Markdown:
    """Say how much the training environment matters for energy and correctness."""
    return paragraph(
        environment_verdict(results.interaction),
        _break_even(most_precise(results.break_evens)),
        _correctness(results.correctness),
    )


def environment_verdict(crossed: Interaction | Unavailable) -> str:
    """Say for which architecture the environment changes energy most, in each direction."""
    if isinstance(crossed, Unavailable):
        return f"{_UNKNOWN} {crossed.sentence()}"
    sure = crossed.sure
    if sure.empty:
        return "The data show no difference between the environments."
    largest = sure.loc[np.log(sure["ratio"]).abs().idxmax()]
    pair = [largest["environment"], largest["reference"]]
    less, more = pair if largest["ratio"] < 1 else pair[::-1]
    text = f"It depends on the architecture: {largest['architecture']} needs {_saving(largest)} on "
    text += f"{less} than on {more}"
    same = (sure["environment"] == pair[0]) & (sure["reference"] == pair[1])
    against = sure[same & ((sure["ratio"] < 1) != (largest["ratio"] < 1))]
    if len(against):
        other = against.loc[np.log(against["ratio"]).abs().idxmax()]
        text += f"; {other['architecture']} needs {_saving(other)} on {more}"
    return f"{text}. The difference is significant for {crossed.shown()} (simultaneous intervals)."


def _saving(effect: pd.Series) -> str:
    """Return what the cheaper environment of a pair saves, with its interval."""
    ends = [effect["ratio"], effect["ci_low"], effect["ci_high"]]
    if effect["ratio"] > 1:
        ends = [1 / ends[0], 1 / ends[2], 1 / ends[1]]
    saving, high, low = (percent(1 - end, 0) for end in ends)
    return f"{saving} less energy ({low} to {high})"


def _break_even(best: BreakEven | None) -> str:
    if best is None:
        return ""
    if best.excluded:
        return f"{best.cheaper_throughout} uses less energy for all architectures."
    if not best.inside:
        return "No break-even between environments was found."
    text = f"{best.below} uses less below {flops(best.gflops)} per image, {best.above} above"
    if best.bounded:
        text += f" (95% interval {flops(best.low)} to {flops(best.high)})"
    return f"{text}."


def _correctness(correctness: PairedComparison | Unavailable) -> str:
    if isinstance(correctness, Unavailable):
        return ""
    if np.isnan(correctness.p):
        return "F1 is the same in all environments."
    shown = "The data show" if correctness.p < ALPHA else "The data show no"
    return f"{shown} {'a ' if shown[-1] == 'w' else ''}change of F1 ({p_value(correctness.p)})."


def decision_answer(results: StudyResults) -> Markdown:
    """Say what to train with at the study's margin, and with which loss and interval."""
    decision = results.decision
    if isinstance(decision, Unavailable):
        return paragraph(decision.sentence())
    step = decision.step(results.margin)
    saving = step.saving
    interval = (
        f"The 95% interval of the saving is {percent(saving.ci_low, 0)} to "
        f"{percent(saving.ci_high, 0)}."
        if saving is not None
        else ""
    )
    return paragraph(decision.headline(step), own_saving(results), interval)
