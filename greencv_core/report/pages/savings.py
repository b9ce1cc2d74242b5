"""Tables of savings: every saving that the pages name, and one in kWh, emissions and cost."""

from __future__ import annotations

import math

import pandas as pd
from IPython.display import HTML

from greencv_core.analysis import Saving
from greencv_core.analysis.selection import runs_of, weakest_provenance
from greencv_core.analysis.study_results import StudyResults
from greencv_core.analysis.units import log_units, mark_units
from greencv_core.report.exhibits.exhibit import Exhibit
from greencv_core.report.exhibits.labels import people_name
from greencv_core.report.exhibits.tables import show_table, with_interval
from greencv_core.utils.energy import J_PER_KWH
from greencv_core.utils.text import as_opening, listed, number, percent


def headlines_table(results: StudyResults) -> Exhibit | HTML:
    """Return the savings that the pages of this report name."""
    found = results.headlines
    if found["saving"].isna().all():
        return HTML("<p>These runs show no saving.</p>")
    every = results.with_disturbed
    frame = pd.DataFrame(
        {
            "Number": found["number"].map(as_opening) + ", " + found["among"].map(people_name),
            "Saves, against": found["saves"] + "\n" + found["against"],
            "Saving (95%)": _savings(found),
            "n": found["n_to"].map("{:.0f}".format)
            + " and "
            + found["n_from"].map("{:.0f}".format),
            **({} if every is None else {"With all runs": _with_all_runs(found, every)}),
        }
    )[found["saving"].notna().to_numpy()]
    caption = f"Every saving of energy per image that these pages name; energy {results.provenance}"
    return show_table(frame.reset_index(drop=True), caption, data=found, runs=results.runs)


def _with_all_runs(found: pd.DataFrame, every: StudyResults) -> list[str]:
    """Return the same savings with the disturbed runs; the pair is named if it is another one."""
    number, pair = ["number", "among"], ["saves", "against"]
    others = found[number].merge(every.headlines, how="left", on=number)
    same = (others[pair] == found[pair].to_numpy()).all(axis=1)
    return [
        "unknown"
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
            "Training": [people_name(saving.dear), people_name(saving.cheap), "Saved"],
            f"Energy (kWh, {provenance})": energies_kwh,
            "Emissions (gCO2e)": emissions,
            "Cost (EUR)": [energy_kwh * price_eur_per_kwh for energy_kwh in energies_kwh],
        }
    )
    caption = (
        "Energy, emissions and cost of training on a billion such images on this machine, from "
        f"the mean energy per image, at {stated or 'unknown'} gCO2e/kWh and "
        f"{price_eur_per_kwh:g} EUR/kWh"
    )
    return show_table(frame, caption, runs=runs)
