"""The front page: short answers, and a saving in everyday terms."""

from __future__ import annotations

import html
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from IPython.display import HTML

from greencv_core.analysis import Comparison, Interaction, Saving, SavingsWithoutLoss, Unavailable
from greencv_core.analysis.describe import environments_sentence
from greencv_core.analysis.selection import runs_of, weakest_provenance
from greencv_core.analysis.study_results import StudyResults
from greencv_core.analysis.units import log_units, mark_units
from greencv_core.report.exhibits.exhibit import Exhibit
from greencv_core.report.exhibits.markdown import NO_FORMULAS
from greencv_core.report.exhibits.tables import show_table, with_interval
from greencv_core.utils.energy import J_PER_KWH
from greencv_core.utils.text import as_opening, count, listed, number, percent, quantity

_UNKNOWN = "These runs cannot tell"


def answer_cards(results: StudyResults) -> HTML:
    """Return the two questions with their answers, side by side where there is room."""

    def architecture(of: StudyResults) -> str:
        rq1 = of.rq1
        return architecture_verdict(rq1.energy, rq1.largest_saving, rq1.savings_without_loss)

    def environment(of: StudyResults) -> str:
        return environment_verdict(of.rq2.interaction)

    cards = (
        (
            "Does the architecture matter?",
            architecture(results),
            comparison_sentence(results.rq1.within) + disturbed_sentence(results, architecture),
            "rq1_architecture",
        ),
        (
            "Does the training environment matter?",
            environment(results),
            environments_sentence(results.runs) + disturbed_sentence(results, environment),
            "rq2_environment",
        ),
    )
    shown = "".join(
        f'<div class="gcv-answer"><p class="gcv-question">{html.escape(question)}</p>'
        f'<p class="gcv-verdict">{html.escape(verdict)}</p>'
        f"<p>{html.escape(sentence)}</p>"
        f'<p><a href="{page}.ipynb">The evidence<span class="gcv-unseen">: '
        f"{html.escape(question)}</span></a></p></div>"
        for question, verdict, sentence, page in cards
    )
    return HTML(f'<div class="gcv-answers {NO_FORMULAS}">{shown}</div>')


def disturbed_sentence(results: StudyResults, verdict: Callable[[StudyResults], str]) -> str:
    """State what disturbed runs mean for an answer: the one with all runs, if some are left out."""
    selection, every = results.selection, results.with_disturbed
    text = selection.disturbed_clause()
    if every is not None:
        n = selection.left_out_as_disturbed
        verb = "is" if n == 1 else "are"
        text += f" {count(n, 'disturbed run')} {verb} left out. With all runs: "
        text += "the same answer." if verdict(every) == verdict(results) else verdict(every)
    return text


def architecture_verdict(
    differs: Comparison | Unavailable,
    largest: Saving | Unavailable,
    harmless: SavingsWithoutLoss | Unavailable,
) -> str:
    """State briefly whether the architecture matters."""
    if isinstance(differs, Unavailable) or isinstance(largest, Unavailable):
        return f"{_UNKNOWN}."
    if not differs.significant:
        return "No difference is shown."
    if isinstance(harmless, SavingsWithoutLoss) and harmless.best and harmless.shown:
        best = harmless.best
        return (
            f"Yes: {best.to_condition['architecture']} takes {percent(best.saving, 0)} less energy "
            f"than {best.from_condition['architecture']}, and both are shown to be within "
            f"{100 * harmless.margin:g} points of the best mean {quantity(harmless.correctness)}."
        )
    return (
        f"Yes: {largest.cheap} takes {percent(largest.saving, 0)} less energy than {largest.dear}. "
        "But no saving is shown to be free of a loss of correctness."
    )


def environment_verdict(crossed: Interaction | Unavailable) -> str:
    """State briefly whether the training environment matters."""
    if isinstance(crossed, Unavailable):
        return f"{_UNKNOWN}."
    sure = crossed.sure
    if sure.empty:
        return "No difference is shown."
    largest = sure.loc[np.log(sure["ratio"]).abs().idxmax()]
    pair = [largest["environment"], largest["reference"]]
    less, more = pair if largest["ratio"] < 1 else pair[::-1]
    text = f"Yes: with {largest['architecture']}, {less} takes {_saving(largest, more)}"
    same = (sure["environment"] == pair[0]) & (sure["reference"] == pair[1])
    against = sure[same & ((sure["ratio"] < 1) != (largest["ratio"] < 1))]
    if len(against):
        other = against.loc[np.log(against["ratio"]).abs().idxmax()]
        text += f"; with {other['architecture']}, {more} takes {_saving(other, less)}"
    return f"{text}. A difference is shown for {crossed.shown()} (95% intervals for all at once)."


def _saving(effect: pd.Series, dearer: str) -> str:
    """Return what the cheaper environment of a pair saves, with its interval."""
    ends = [effect["ratio"], effect["ci_low"], effect["ci_high"]]
    if effect["ratio"] > 1:
        ends = [1 / ends[0], 1 / ends[2], 1 / ends[1]]
    saving, high, low = (percent(1 - end, 0) for end in ends)
    return f"{saving} less energy than {dearer} ({low} to {high})"


def headlines_table(results: StudyResults) -> Exhibit | HTML:
    """Return the savings that the pages of this report name."""
    found = results.headlines
    if found["saving"].isna().all():
        return HTML("<p>These runs allow no saving to be named.</p>")
    every = results.with_disturbed
    frame = pd.DataFrame(
        {
            "Number": found["number"].map(as_opening) + ", " + found["among"],
            "Saves, against": found["saves"] + "\n" + found["against"],
            "Saving (95%)": _savings(found),
            "n": found["n_to"].map("{:.0f}".format)
            + " and "
            + found["n_from"].map("{:.0f}".format),
            **({} if every is None else {"With all runs": _with_all_runs(found, every)}),
        }
    )[found["saving"].notna().to_numpy()]
    caption = f"Savings of energy per image that the pages name; energy {results.provenance}"
    return show_table(frame.reset_index(drop=True), caption, data=found, runs=results.runs)


def _with_all_runs(found: pd.DataFrame, every: StudyResults) -> list[str]:
    """Return the same savings with the disturbed runs; the pair is named if it is another one."""
    number, pair = ["number", "among"], ["saves", "against"]
    others = found[number].merge(every.headlines, how="left", on=number)
    same = (others[pair] == found[pair].to_numpy()).all(axis=1)
    return [
        _UNKNOWN
        if math.isnan(other["saving"])
        else saving + ("" if is_same else f"\n{other['saves']}\nagainst {other['against']}")
        for (_, other), saving, is_same in zip(
            others.iterrows(), _savings(others), same, strict=True
        )
    ]


def _savings(found: pd.DataFrame) -> list[str]:
    columns = found[["saving", "ci_low", "ci_high"]]
    return [with_interval(percent, *row) for row in columns.itertuples(index=False)]


def everyday_table(runs: pd.DataFrame, saving: Saving, price_eur_per_kwh: float) -> Exhibit:
    """Return the energy, emissions and cost of a saving's conditions for a billion images.

    A billion is on the scale of research trainings; emissions use each run's own carbon intensity.
    """
    provenance = weakest_provenance(runs)
    marked = mark_units(runs)
    compared = [runs_of(marked, end) for end in (saving.from_condition, saving.to_condition)]
    intensities = [part["carbon_intensity_gco2e_per_kwh"] for part in compared]
    weighted = [
        part.assign(energy_j_per_image=part["energy_j_per_image"] * intensity)
        for part, intensity in zip(compared, intensities, strict=True)
    ]
    energies_kwh, emissions = (
        [math.exp(log_units(part, "energy_j_per_image").mean()) * 1e9 / J_PER_KWH for part in parts]
        for parts in (compared, weighted)
    )
    for column in (energies_kwh, emissions):
        column.append(column[0] - column[1])
    stated = listed([number(i) for i in sorted(pd.concat(intensities).dropna().unique())])
    frame = pd.DataFrame(
        {
            "Training": [saving.dear, saving.cheap, "Saved"],
            f"Energy (kWh, {provenance})": energies_kwh,
            "Emissions (gCO2e)": emissions,
            "Cost (EUR)": [energy_kwh * price_eur_per_kwh for energy_kwh in energies_kwh],
        }
    )
    caption = (
        "What a billion images like this study's would take, on this machine, by the mean energy "
        f"per image; at {stated or 'unknown'} gCO2e/kWh and {price_eur_per_kwh:g} EUR/kWh"
    )
    return show_table(frame, caption, runs=runs)


def comparison_sentence(within: pd.DataFrame) -> str:
    """State on which device and in which environment architectures were compared."""
    names = list(map(str, within["architecture"].unique()))
    return (
        f"Compared on {within['device_name'].iloc[0]}, in the environment "
        f"{within['environment'].iloc[0]}: {listed(names)}."
    )
