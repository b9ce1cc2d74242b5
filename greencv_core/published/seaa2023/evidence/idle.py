"""Idle power, and energy net of it."""

from __future__ import annotations

import pandas as pd

from greencv_core.analysis import Saving, Unavailable, attempt
from greencv_core.published.seaa2023.reanalysis import (
    IDLE,
    RQ1_ENVIRONMENT,
    RQ2_ARCHITECTURE,
    SMALLER_GPU,
    Reanalysis,
)
from greencv_core.published.seaa2023.runs import describe_conditions, signed_percent
from greencv_core.utils.text import as_opening, count, listed, number, p_value, percent

_NET_OF = {
    "net_of_low": "of the low-power state",
    "net_of_before": "of the power before work",
    "net_of_after": "of the power after work",
}


def idle_evidence(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return each idle power and its share of a run's energy, by environment."""
    runs = reanalysis.runs("ends_restored")
    runs = runs.join(reanalysis.idle_power, on="environment").dropna(subset=list(IDLE.values()))
    gross = runs["energy_j_per_image"]
    shares = {power.replace("_w", "_share"): 1 - runs[net] / gross for net, power in IDLE.items()}
    columns = ["power_w", *IDLE.values(), *shares]
    return runs.assign(**shares).groupby("environment", sort=False)[columns].median().reset_index()


def idle_sentence(reanalysis: Reanalysis) -> str:
    """Say how much of the energy is idle, and its effect on a comparison."""
    table = idle_evidence(reanalysis)
    if table.empty:
        return "No log at hand shows power before, and another power after, its training."
    each = [
        f"in {row.environment}, the GPU draws {number(row.low_power_w)} W in the first line, "
        f"{number(row.before_power_w)} W just before the first batch and "
        f"{number(row.after_power_w)} W in the last line, which over the training make "
        f"{percent(row.low_power_share, 0)}, {percent(row.before_power_share, 0)} and "
        f"{percent(row.after_power_share, 0)} of the energy in the median run"
        for row in table.itertuples()
    ]
    text = as_opening(f"{'; '.join(each)}.")
    unknown = sorted(set(reanalysis.every_run["environment"]) - set(table["environment"]))
    if unknown:
        text += f" Of {listed(unknown)} there is no log, and no net energy."
    parts = text, _return_to_low_power(reanalysis), _net_of_each(reanalysis)
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
            f"{_NET_OF[variant]} {signed_percent(net.saving)} ({signed_percent(net.ci_low)} to "
            f"{signed_percent(net.ci_high)}; {_test_in_words(reanalysis, variant)})"
            for variant, net in nets.items()
        ]
    )
    saved = [_NET_OF[variant] for variant, net in nets.items() if net.ci_low > 0]
    if len(saved) == len(nets):
        verdict = "A saving is left by each of them."
    else:
        verdict = f"A saving is left net {listed(saved)} alone." if saved else "No saving is left."
    return (
        f"Moving {RQ2_ARCHITECTURE} from {RQ1_ENVIRONMENT} to {SMALLER_GPU} saves "
        f"{percent(gross.saving)} gross; net {each}. {verdict}"
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
        f"{'goes' if len(back) == 1 else 'go'} on long enough to show the GPU back "
        f"at {power_w} W, {after_s} s after its last work and with its memory still held. "
        "This speaks for the low-power state as what a waiting GPU "
        "draws; the two others are passing, and what they give is a bound."
    )


def _test_in_words(reanalysis: Reanalysis, variant: str) -> str:
    test = attempt(reanalysis.test, "rq2_energy", variant)
    if isinstance(test, Unavailable):
        return "no test"
    return f"H = {test.kruskal_h:.2f}, {p_value(test.kruskal_p)}"
