"""The front page: the answer, the published claim, this machine's savings, and their limits."""

from __future__ import annotations

import html

import pandas as pd
from IPython.display import HTML, Markdown

from greencv_core.analysis import Decision, Saving, Unavailable
from greencv_core.analysis.choice.savings import best_against_worst
from greencv_core.analysis.comparison.noninferiority import NonInferiority, non_inferiority
from greencv_core.analysis.describe import counted_components
from greencv_core.analysis.selection import runs_of
from greencv_core.analysis.study_results import StudyResults
from greencv_core.analysis.units import mark_units, run_units
from greencv_core.published.evidence_results import EvidenceResults, saves
from greencv_core.published.seaa2023.corrected import analysed_runs
from greencv_core.published.seaa2023.history import VERSIONS
from greencv_core.published.seaa2023.reanalysis import CORRECTNESS
from greencv_core.published.seaa2023.runs import NAME
from greencv_core.report.exhibits.exhibit import Exhibit
from greencv_core.report.exhibits.labels import people_name, with_names
from greencv_core.report.exhibits.markdown import NO_FORMULAS, energy_sentence, paragraph
from greencv_core.report.exhibits.tables import show_table
from greencv_core.study.schema import Study
from greencv_core.utils.energy import COMPONENTS
from greencv_core.utils.text import (
    F1_DECIMALS,
    count,
    duration,
    listed,
    number,
    percent,
    quantity,
    with_unit,
)

SAVINGS_AT_A_MARGIN = ("evidence", "which-architectures-save-the-energy")
HARDWARE = ("evidence", "does-larger-hardware-suit-complex-architectures")
DECISION, REANALYSIS = ("decision", "in-short"), ("reanalysis", "in-short")
"""Page and section on which a link of the front page lands."""
LOSSES = (0.01, 0.02, 0.03, 0.05)
"""Accepted losses of correctness on the front page."""


def answer(evidence: EvidenceResults, results: StudyResults) -> HTML:
    """Return the answer in three sentences: published measurements first, then this machine."""
    found = (
        (_measured_savings(evidence), SAVINGS_AT_A_MARGIN),
        (_measured_hardware(evidence), HARDWARE),
        (own_saving(results), DECISION),
    )
    return HTML(
        f'<div class="gcv-lead {NO_FORMULAS}">'
        + "".join(_linked(sentence, target) for sentence, target in found)
        + "</div>"
    )


def _linked(sentence: str, target: tuple[str, str]) -> str:
    text = html.escape(with_names(sentence))
    page, anchor = target
    about = html.escape(with_names(sentence).partition(":")[0])
    return (
        f'<p>{text} <a href="{page}.ipynb#{anchor}">Evidence'
        f'<span class="gcv-unseen">: {about}</span></a></p>'
    )


def _measured_savings(evidence: EvidenceResults) -> str:
    savings = [saving.saving for saving in evidence.savings if saves(saving)]
    if not savings:
        return "No published measurement shows a saving at a small loss of correctness."
    return (
        f"Architecture: in {len(savings)} of {len(evidence.savings)} published environments, "
        f"another architecture saves {percent(min(savings), 0)} to {percent(max(savings), 0)} of "
        f"the measured energy and loses at most {100 * evidence.margin:g} points of correctness."
    )


def _measured_hardware(evidence: EvidenceResults) -> str:
    if not evidence.scaling:
        return "No published measurement compares hardware."
    suits = sum(effect.ci_high < 0 for effect in evidence.scaling)
    opposite = sum(effect.ci_low > 0 for effect in evidence.batches)
    pairs = count(len(evidence.batches), "pair")
    against = f"; {opposite} of {pairs} of GPU generations show the opposite" if opposite else ""
    return (
        f"Environment: in {suits} of {count(len(evidence.scaling), 'published comparison')}, the "
        f"larger machine needs relatively less energy as architectures grow (measured){against}."
    )


def own_saving(results: StudyResults) -> str:
    """Return what this study recommends at its margin, as the decision page does."""
    decision = results.decision
    if isinstance(decision, Unavailable):
        return f"This machine: {decision.sentence()}"
    step, reference = decision.step(results.margin), decision.candidates[decision.reference]
    points = f"{100 * results.margin:g} points"
    word = f"{decision.provenance} energy"
    if step.choice is None:
        return (
            f"This machine ({word}): with these runs, no configuration can be shown to lose "
            f"at most {points} of F1."
        )
    chosen = decision.candidates[step.choice]
    if step.saving is None:
        return (
            f"This machine ({word}): no configuration with less energy than {reference.name} is "
            f"shown to stay within {points} of the best F1."
        )
    verb = "uses" if step.saving.ci_low > 0 else "used"
    saved = f"{percent(abs(step.saving.saving), 0)} {'less' if step.saving.saving > 0 else 'more'}"
    return (
        f"This machine ({word}): {chosen.name} {verb} {saved} energy than {reference.name}, the "
        f"best by F1, and its F1 is at most {100 * chosen.loss_high:.1f} points lower."
    )


def published_claim(evidence: EvidenceResults, margin: float) -> HTML:
    """Return the original's first claim and what is left of it in its corrected runs."""
    first = VERSIONS[0]
    claim = f"Published in {first.date}: {first.said} of the energy can be saved."
    left = "What remains is not known without the original study's data."
    if (table := evidence.counted.get(NAME)) is not None:
        runs = mark_units(analysed_runs(table))
        corrected = best_against_worst(runs, correctness=CORRECTNESS)
        left = _remains(corrected, _loss(runs, corrected, margin), margin)
    return HTML(
        f'<p class="gcv-claim {NO_FORMULAS}"><s>{html.escape(claim)}</s><br>'
        f"<strong>{html.escape(with_names(left))}</strong> "
        f'<a href="{REANALYSIS[0]}.ipynb#{REANALYSIS[1]}">'
        "Re-analysis</a></p>"
    )


def _remains(corrected: Saving, loss: NonInferiority, margin: float) -> str:
    shown = "is" if loss.passes else "is not"
    return (
        f"What remains: {percent(corrected.saving, 0)} of the GPU's energy, and a loss of F1 that "
        f"{shown} shown to be below {100 * margin:g} points."
    )


def _loss(runs: pd.DataFrame, corrected: Saving, margin: float) -> NonInferiority:
    ends = (corrected.from_condition, corrected.to_condition)
    dear, cheap = (run_units(runs_of(runs, end), CORRECTNESS) for end in ends)
    return non_inferiority(dear, cheap, margin)


def savings_by_loss(results: StudyResults) -> Exhibit | Markdown:
    """Return what accepting a loss of F1 saves, by the same decision as the decision page."""
    decision = results.decision
    if isinstance(decision, Unavailable):
        return paragraph(decision.sentence())
    reference, name = decision.candidates[decision.reference], quantity(decision.correctness)
    rows = [_row("none: the best F1", decision, decision.reference, None)]
    for loss in LOSSES:
        step = decision.step(loss)
        points = f"{100 * loss:g} point{'s' if loss > 0.01 else ''}"
        rows.append(_row(points, decision, step.choice, step.saving))
    caption = (
        f"Energy per image ({decision.provenance}) saved against {reference.name}, which has the "
        f"highest mean {name}, by the loss of F1 that you accept; 95% intervals"
    )
    return show_table(pd.DataFrame(rows).fillna(""), caption, runs=results.runs)


def _row(
    loss: str, decision: Decision, choice: int | None, saving: Saving | None
) -> dict[str, str]:
    row = {"Accepted loss": loss}
    if choice is None:
        return row | {"Train": "none can be shown to qualify"}
    chosen = decision.candidates[choice]
    saves = "\N{EN DASH}" if choice == decision.reference else "0%"
    if saving is not None:
        low, high = percent(saving.ci_low), percent(saving.ci_high)
        saves = f"{percent(saving.saving)} ({low} to {high})"
    return row | {
        "Train": people_name(chosen.name),
        f"Energy saved ({decision.provenance})": saves,
        "Energy per image": with_unit(chosen.energy_j_per_image, "J"),
        "Mean F1": f"{chosen.correctness:.{F1_DECIMALS}f}",
    }


def trust(results: StudyResults, study: Study, planned: int) -> Markdown:
    """Return how the energy is known, which runs were disturbed, and what was trained."""
    runs = results.runs
    points = {
        "Energy": f"{_watts(runs) or energy_sentence(runs)}",
        "Runs": f"{results.selection.sentence(planned)} {_disturbed(results)} {_unstable(results)}",
        "Data": _data(runs, study),
    }
    lines = [f"- **{word}.** {paragraph(text).data}" for word, text in points.items()]
    return Markdown("\n".join(lines))


def _watts(runs: pd.DataFrame) -> str:
    """Return what an estimate without any meter assumes; empty if something was metered."""
    counted = [c for c in COMPONENTS if c in counted_components(runs)]
    if not counted or any(not runs[f"{c}_provenance"].eq("estimated").all() for c in counted):
        return ""
    powers, shares = [], []
    for component in counted:
        energy_j = runs[f"{component}_energy_j"]
        watts = energy_j / runs["duration_s"]
        low, high = number(float(watts.quantile(0.01))), number(float(watts.quantile(0.99)))
        power = f"{low} W" if low == high else f"{low} to {high} W"
        name = {"ram": "memory"}.get(component, f"the {component.upper()}")
        powers.append(f"{power} for {name}")
        shares.append(f"{percent(energy_j.sum() / runs['energy_j'].sum(), 0)} is {name}")
    return (
        "Estimated: there was no power meter. Energy is time multiplied by assumed watts "
        f"({listed(powers)}), so an energy difference is mostly a time difference. "
        f"Of this energy, {listed(shares)}."
    )


def _data(runs: pd.DataFrame, study: Study) -> str:
    data = study.dataset
    name = "images of a folder" if data.name.startswith("imagefolder:") else data.name
    classes = sorted(set(runs["classes"].dropna().astype(int))) if "classes" in runs else []
    of_classes = f" in {listed(list(map(str, classes)))} classes" if classes else ""
    return (
        f"{name}: {data.train_images:,} training and {data.validation_images:,} validation images "
        f"of {data.image_size}\N{MULTIPLICATION SIGN}{data.image_size} pixels{of_classes}. A run "
        f"takes {duration(float(runs['duration_s'].median()))} (median) and "
        f"{count(int(runs['epochs'].median()), 'epoch')}. Expect other numbers on larger images."
    )


def _unstable(results: StudyResults) -> str:
    """Say how many conditions drift or fall into groups; nothing if none is shown to."""
    found = results.stability
    return "" if isinstance(found, Unavailable) or found.unstable.empty else found.summary()


def _disturbed(results: StudyResults) -> str:
    """Say how many runs were disturbed, and if the answer is the same with those left out."""
    every = results.with_disturbed
    if every is None:
        return "" if len(results.selection.disturbed) else "No run was disturbed by other programs."
    same = own_saving(every) == own_saving(results)
    return f"With the disturbed runs: {'the same answer.' if same else own_saving(every)}"
