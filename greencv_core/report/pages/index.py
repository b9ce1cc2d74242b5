"""The front page: short answers, and a saving in everyday terms."""

from __future__ import annotations

import html

import pandas as pd
from IPython.display import HTML

from greencv_core.analysis import Comparison, Interaction, Saving, SavingsWithoutLoss, Unavailable
from greencv_core.analysis.result import ALPHA
from greencv_core.analysis.selection import runs_of, weakest_provenance
from greencv_core.report.exhibits.exhibit import Exhibit
from greencv_core.report.exhibits.markdown import NO_FORMULAS
from greencv_core.report.exhibits.tables import show_table
from greencv_core.utils.energy import J_PER_KWH, emissions_gco2e
from greencv_core.utils.text import listed, number, percent, quantity

_UNKNOWN = "These runs cannot tell"


def answer_cards(*cards: tuple[str, str, str, str]) -> HTML:
    """Return questions with their answers, side by side where there is room.

    Each card: question, answer in short, the sentence behind it, the notebook with the evidence.
    """
    shown = "".join(
        f'<div class="gcv-answer"><p class="gcv-question">{html.escape(question)}</p>'
        f'<p class="gcv-verdict">{html.escape(verdict)}</p>'
        f"<p>{html.escape(sentence)}</p>"
        f'<p><a href="{page}.ipynb">The evidence<span class="gcv-unseen">: '
        f"{html.escape(question)}</span></a></p></div>"
        for question, verdict, sentence, page in cards
    )
    return HTML(f'<div class="gcv-answers {NO_FORMULAS}">{shown}</div>')


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
    if isinstance(harmless, SavingsWithoutLoss) and harmless.best is not None:
        best = harmless.best
        return (
            f"Yes: {best.to_condition['architecture']} takes {percent(best.saving, 0)} less energy "
            f"than {best.from_condition['architecture']}, and is shown to learn as well, to within "
            f"{100 * harmless.margin:g} points of {quantity(harmless.correctness)}."
        )
    return (
        f"Yes: {largest.cheap} takes {percent(largest.saving, 0)} less energy than {largest.dear}. "
        "But no saving is shown to be free of a loss of correctness."
    )


def environment_verdict(crossed: Interaction | Unavailable) -> str:
    """State briefly whether the training environment matters."""
    if isinstance(crossed, Unavailable):
        return f"{_UNKNOWN}."
    if crossed.environment_p >= ALPHA and crossed.p >= ALPHA:
        return "No difference is shown."
    ratios = crossed.ratios
    low, high = float(ratios["ratio"].min()), float(ratios["ratio"].max())
    reference = str(ratios["reference"].iloc[0])
    names = list(map(str, ratios["environment"].unique()))
    others = listed(names) if len(names) <= 3 else f"the {len(names)} other environments"
    text = (
        f"Yes: in {others} the same training takes {_change(low)} to {_change(high)} energy "
        f"{'than' if (low - 1) * (high - 1) > 0 else 'compared with'} {reference}"
    )
    if crossed.p < ALPHA:
        text += ", depending on the architecture"
    return f"{text}."


def _change(ratio: float) -> str:
    return f"{percent(abs(ratio - 1), 0)} {'less' if ratio < 1 else 'more'}"


def everyday_table(runs: pd.DataFrame, saving: Saving, price_eur_per_kwh: float) -> Exhibit:
    """Return the energy, emissions and cost of a saving's conditions for a billion images.

    A billion is on the scale of research trainings; emissions use the study's carbon intensity.
    """
    provenance = weakest_provenance(runs)
    intensity = float(runs["carbon_intensity_gco2e_per_kwh"].median())
    rows = []
    for condition in (saving.from_condition, saving.to_condition):
        rows.append(float(runs_of(runs, condition)["energy_j_per_image"].median()) * 1e9)
    rows.append(rows[0] - rows[1])
    energies_kwh = [energy_j / J_PER_KWH for energy_j in rows]
    frame = pd.DataFrame(
        {
            "Training": [saving.dear, saving.cheap, "Saved"],
            f"Energy (kWh, {provenance})": energies_kwh,
            "Emissions (gCO2e)": [emissions_gco2e(energy_j, intensity) for energy_j in rows],
            "Cost (EUR)": [energy_kwh * price_eur_per_kwh for energy_kwh in energies_kwh],
        }
    )
    caption = (
        "What a billion images like this study's would take, on this machine, by the median energy "
        f"per image; at {number(intensity)} gCO2e/kWh and {price_eur_per_kwh:g} EUR/kWh"
    )
    return show_table(frame, caption, runs=runs)


def comparison_sentence(within: pd.DataFrame) -> str:
    """State on which device and in which environment architectures were compared."""
    names = list(map(str, within["architecture"].unique()))
    return (
        f"Compared on {within['device_name'].iloc[0]}, in the environment "
        f"{within['environment'].iloc[0]}: {listed(names)}."
    )
