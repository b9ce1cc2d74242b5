"""What other published data sets say about metering and about forecasts."""

from __future__ import annotations

import pandas as pd

from greencv_core.published.seaa2023.runs import signed_percent
from greencv_core.utils.text import count, percent


def wall_meter_sentence(runs: pd.DataFrame) -> str:
    """Compare a meter at the wall with a software estimate of the same runs.

    Parameters
    ----------
    runs
        As :func:`greencv_core.published.xu2023.published_runs` returns them.
    """
    compared = runs.dropna(subset=["wall_to_estimate"])
    ratio = compared["wall_to_estimate"]
    other = _ratio_by_power(compared)
    left_out = len(runs) - len(compared)
    return (
        f"The wall meter reads {ratio.median():.2f} times CodeCarbon's estimate of the same run "
        f"(median of {count(len(compared), 'run')}; {ratio.min():.2f} to {ratio.max():.2f}). "
        "CodeCarbon also states a CPU power that is far above its own CPU energy. With that "
        f"power in the estimate, the ratio is {other.median():.2f} ({other.min():.2f} to "
        f"{other.max():.2f}). "
        f"{count(left_out, 'run')} with a negative CPU energy are left out."
    )


def _ratio_by_power(runs: pd.DataFrame) -> pd.Series:
    """Return wall energy over the estimate with its stated CPU power for its CPU energy."""
    cpu_j = runs["codecarbon_cpu_power_w"] * runs["duration_s"]
    return runs["energy_j"] / (runs["codecarbon_gpu_j"] + runs["codecarbon_ram_j"] + cpu_j)


def wall_meter_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return medians of wall energy, estimate and their ratio by condition."""
    columns = {
        "energy_j": "Energy at the wall (MJ)",
        "codecarbon_energy_j": "CodeCarbon's estimate (MJ)",
        "wall_to_estimate": "ratio",
    }
    compared = runs.dropna(subset=["wall_to_estimate"])
    groups = compared.groupby(["architecture", "dataset"], sort=False)
    table = groups[list(columns)].median().rename(columns=columns)
    table[list(columns.values())[:2]] /= 1e6
    table.insert(0, "n", groups.size())
    return table.reset_index()


def epoch_readings_sentence(runs: pd.DataFrame) -> str:
    """Say how far the first epoch predicts the later ones in EC-NAS-Bench.

    Parameters
    ----------
    runs
        As :func:`greencv_core.published.ecnas2022.published_runs` returns them.
    """
    error = 3 * runs["energy_j_first_epoch"] / runs["energy_j_later_epochs"] - 1
    return (
        "None of the other published data sets has the energy of each epoch, so the methods are "
        "tested on one published source only. EC-NAS-Bench comes nearest: it states the "
        "energy after one epoch and after four. Three times the first epoch's energy is "
        f"{percent(error.median())} more than that of the three later epochs (median of "
        f"{count(len(runs), 'run')}; {signed_percent(error.min())} to "
        f"{signed_percent(error.max())}). Each reading also contains the start of a session."
    )
