"""Idle power, and energy net of it."""

from __future__ import annotations

import pandas as pd

from greencv_core.analysis import Saving
from greencv_core.published.seaa2023.reanalysis import (
    IDLE,
    NET_OF,
    RQ1_ENVIRONMENT,
    RQ2_ARCHITECTURE,
    SMALLER_GPU,
    Reanalysis,
)
from greencv_core.published.seaa2023.runs import describe_conditions, signed_percent
from greencv_core.utils.text import count, listed, number, percent


def idle_evidence(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return each idle power and its share of a run's energy, by environment."""
    runs = reanalysis.runs("ends_restored")
    runs = runs.join(reanalysis.idle_power, on="environment").dropna(subset=list(IDLE.values()))
    gross = runs["energy_j_per_image"]
    shares = {power.replace("_w", "_share"): 1 - runs[net] / gross for net, power in IDLE.items()}
    columns = ["power_w", *IDLE.values(), *shares]
    return runs.assign(**shares).groupby("environment", sort=False)[columns].median().reset_index()


def idle_sentence(reanalysis: Reanalysis) -> str:
    """Say which idle power is plausible, and its effect on a comparison."""
    table = idle_evidence(reanalysis)
    if table.empty:
        return "No available log shows a different power before and after its training."
    unknown = sorted(set(reanalysis.every_run["environment"]) - set(table["environment"]))
    parts = [_return_to_low_power(reanalysis), _net_of_each(reanalysis)]
    if unknown:
        parts.append(f"{listed(unknown)} has no logs, and so no net energy.")
    return " ".join(part for part in parts if part)


def _net_of_each(reanalysis: Reanalysis) -> str:
    """Say how large RQ2's saving is net of each idle power, and whether they agree."""
    row = f"{RQ2_ARCHITECTURE}, {RQ1_ENVIRONMENT} to {SMALLER_GPU}"
    move = reanalysis.effects.set_index("claim").loc[row]
    gross = move["ends_restored"]
    nets = {variant: move[variant] for variant in IDLE if isinstance(move[variant], Saving)}
    if not isinstance(gross, Saving) or len(nets) < len(IDLE):
        return ""
    each = listed(
        [
            f"{signed_percent(net.saving)} {NET_OF[variant]} ({signed_percent(net.ci_low)} to "
            f"{signed_percent(net.ci_high)})"
            for variant, net in nets.items()
        ]
    )
    saved = [NET_OF[variant] for variant, net in nets.items() if net.ci_low > 0]
    if len(saved) == len(nets):
        verdict = "With each of them, a saving is left."
    else:
        verdict = f"Only {listed(saved)}, a saving is left." if saved else "No saving is left."
    return (
        f"Moving {RQ2_ARCHITECTURE} from {RQ1_ENVIRONMENT} to {SMALLER_GPU} saves "
        f"{percent(gross.saving)} gross, {each}. {verdict}"
    )


def _return_to_low_power(reanalysis: Reanalysis) -> str:
    """Say what the logs that continue after their training show of an idle GPU."""
    runs = reanalysis.raw.runs
    back = runs.dropna(subset=["fallback_s"])
    if back.empty:
        return ""
    power_w, after_s = (
        f"{number(float(back[column].min()))} to {number(float(back[column].max()))}"
        for column in ("fallback_power_w", "fallback_s")
    )
    return (
        f"{count(len(back), 'log')} ({describe_conditions(back)}) "
        f"{'continues' if len(back) == 1 else 'continue'} long enough to show the GPU back "
        f"at {power_w} W, {after_s} s after its last work, with its memory still held. "
        "So a waiting GPU probably draws the power of the low-power state; the two others are "
        "transient and give bounds."
    )
