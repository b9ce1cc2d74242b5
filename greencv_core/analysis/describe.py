"""Sentences about a set of runs."""

from __future__ import annotations

import pandas as pd

from greencv_core.analysis.selection import weakest_provenance
from greencv_core.utils.energy import COVERAGE_FACTOR, J_PER_KWH
from greencv_core.utils.text import count, duration, left_out_clause, listed, number, percent


def counted_components(runs: pd.DataFrame) -> set[str]:
    """Return the components whose energy counts in these runs."""
    return {name for names in runs["components"].dropna() for name in names.split("+")}


def joules_by_provenance(runs: pd.DataFrame) -> dict[str, float]:
    """Return the counted joules by provenance, the largest first."""
    joules: dict[str, float] = {}
    for component in sorted(counted_components(runs)):
        sums = runs.groupby(f"{component}_provenance")[f"{component}_energy_j"].sum()
        for name, energy_j in sums.items():
            joules[str(name)] = joules.get(str(name), 0.0) + float(energy_j)
    return dict(sorted(joules.items(), key=lambda item: -item[1]))


def environments_sentence(runs: pd.DataFrame) -> str:
    """Name the machines and the training environments of the runs."""
    devices = listed(sorted(runs["device_name"].unique()))
    names = list(runs["environment"].unique())
    return f"Trained on {devices} in {count(len(names), 'environment')}: {listed(names)}."


def study_cost_sentence(runs: pd.DataFrame) -> str:
    """Describe energy, emissions and time of all metered runs."""
    metered = runs[runs["energy_j"].notna()]
    energy_j, grams = metered["energy_j"].sum(), metered["emissions_gco2e"].sum()
    intensities = sorted(metered["carbon_intensity_gco2e_per_kwh"].dropna().unique())
    in_part = "in part " if len(joules_by_provenance(metered)) > 1 else ""
    return (
        f"The {count(len(metered), 'metered run')} of this study used {number(energy_j / 1e3)} kJ "
        f"({number(energy_j / J_PER_KWH)} kWh, {in_part}{weakest_provenance(metered)}) and emitted "
        f"{number(grams)} gCO2e (at {listed([number(i) for i in intensities])} gCO2e/kWh), over "
        f"{duration(metered['duration_s'].sum())} of training. This excludes idle measurement, "
        "warm-up and failed runs."
    )


def net_energy_sentence(runs: pd.DataFrame) -> str:
    """Describe how much of the energy is above idle."""
    if runs["net_energy_j"].isna().any():
        return "Idle power was not metered for every component: net energy is not stated."
    share = runs["net_energy_j"].sum() / runs["energy_j"].sum()
    text = f"Over all runs, {percent(share, 0)} of the gross energy is above idle"
    idle = int((runs["net_energy_j"] <= 0).sum())
    return (
        f"{text}; {count(idle, 'run')} used no more than idling would have." if idle else f"{text}."
    )


def uncertainty_sentence(runs: pd.DataFrame) -> str:
    """Describe the uncertainty of the energy of a run."""
    known = runs[runs["energy_uncertainty_j"].notna() & (runs["energy_j"] > 0)]
    if known.empty:
        return "The records of these runs state no uncertainty."
    half = COVERAGE_FACTOR * known["energy_uncertainty_j"] / known["energy_j"]
    same = half.max() - half.min() < 0.005
    spread = "" if same else f"; {percent(half.min(), 1)} to {percent(half.max(), 1)}"
    left = len(runs) - len(known)
    missing = f" The records of {count(left, 'run')} state none." if left else ""
    typical = percent(float(half.median()), 1)
    return (
        f"A run's energy is uncertain by \N{PLUS-MINUS SIGN}{typical} (95%, median{spread}). This "
        f"excludes the calibration of a sensor whose maker states none.{missing}"
    )


def correctness_sentence(runs: pd.DataFrame) -> str:
    """Name the architectures of the lowest and the highest median F1."""
    every = runs.groupby("architecture")["f1_macro"].median()
    medians = every.dropna().sort_values()
    left_out = left_out_clause([str(n) for n in every.index[every.isna()]], "no macro F1")
    if medians.empty and "dataset" in runs and runs["dataset"].eq("synthetic").all():
        return "The images are synthetic, so correctness has no meaning."
    if medians.empty:
        return "No run has a macro F1."
    if len(medians) == 1:
        return f"Median macro F1 of {medians.index[0]} is {medians.iloc[0]:.3f}{left_out}."
    return (
        f"Median macro F1 ranges from {medians.iloc[0]:.3f} ({medians.index[0]}) to "
        f"{medians.iloc[-1]:.3f} ({medians.index[-1]}){left_out}."
    )
