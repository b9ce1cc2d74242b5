"""Irregularities of the logs: whole watts, lost ends, a second program."""

from __future__ import annotations

import pandas as pd

from greencv_core.analysis import Comparison, Saving, attempt
from greencv_core.published.seaa2023.logs import ENDS_WITHIN_S, SHARED_FROM
from greencv_core.published.seaa2023.reanalysis import Reanalysis
from greencv_core.published.seaa2023.runs import CONDITION, describe_conditions
from greencv_core.utils.text import count, duration, listed, number, percent

BLOCK_BYTES = 8192
"""Largest power of two that divides the size of all logs that end within a line."""
TOGETHER_S = 1.0
"""Largest distance between ends of logs that end together."""


def truncation_evidence(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return the loss by cutting power to whole watts, by condition.

    ``largest_difference`` is the relative difference of the published energy and ours, also cut.
    """
    runs = reanalysis.raw.runs.merge(
        reanalysis.table[["run_id", "energy_j"]], on="run_id", suffixes=("", "_published")
    )
    runs["loss"] = 1 - runs["energy_j_whole_watts"] / runs["energy_j"]
    runs["difference"] = (runs["energy_j_whole_watts"] / runs["energy_j_published"] - 1).abs()
    runs["loss_w"] = (runs["energy_j"] - runs["energy_j_whole_watts"]) / runs["duration_s"]
    groups = runs.groupby(CONDITION, sort=False)
    return pd.DataFrame(
        {
            "logs": groups.size(),
            "loss_w": groups["loss_w"].mean(),
            "loss": groups["loss"].median(),
            "lowest_loss": groups["loss"].min(),
            "highest_loss": groups["loss"].max(),
            "largest_difference": groups["difference"].max(),
        }
    ).reset_index()


def truncation_sentence(reanalysis: Reanalysis) -> str:
    """Say how much the cut loses, and how close our integral is."""
    table = truncation_evidence(reanalysis)
    if table.empty:
        return "No log is available to integrate again."
    runs = reanalysis.every_run
    estimated = runs[~runs["from_raw"]]
    text = (
        "With power cut to whole watts, the logs give the published energy of "
        f"{count(int(table['logs'].sum()), 'run')} to within "
        f"{table['largest_difference'].max():.0e}. With the decimals, energy is higher by "
        f"{number(reanalysis.lost_w)} W times the duration: "
        f"{percent(float(table['loss'].min()), 2)} to {percent(float(table['loss'].max()), 2)} "
        "(medians of conditions)."
    )
    if len(estimated):
        share = float((reanalysis.lost_w / estimated["power_w"]).median())
        places = listed(sorted(estimated["environment"].unique()))
        text += (
            f" {count(len(estimated), 'run')} ({places}) have no log; the same loss would be "
            f"{percent(share)} of their energy."
        )
    return text


def lost_ends_evidence(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return the logs that end before their training, and what is missing, by condition."""
    runs = reanalysis.raw.runs
    lost = runs[runs["lost_end"]]
    groups = lost.assign(share=lost["missing_energy_j"] / lost["energy_j"]).groupby(
        CONDITION, sort=False
    )
    every = runs.groupby(CONDITION, sort=False).size()
    return pd.DataFrame(
        {
            "logs": every.reindex(groups.size().index),
            "lost_ends": groups.size(),
            "missing_s": groups["missing_s"].median(),
            "most_missing_s": groups["missing_s"].max(),
            "missing_energy": groups["share"].median(),
            "most_missing_energy": groups["share"].max(),
        }
    ).reset_index()


def lost_ends_sentence(reanalysis: Reanalysis) -> str:
    """Say which logs lost their end, by which signs, and how much is missing."""
    runs = reanalysis.raw.runs
    if runs.empty:
        return "No log is available."
    apart_s = runs["ends_apart_s"]
    whole = runs[(runs["ending"] == "whole line") & apart_s.notna()]
    together = int((whole["ends_apart_s"].abs() <= TOGETHER_S).sum())
    early = whole[whole["ends_apart_s"] < -ENDS_WITHIN_S]
    text = (
        "The processor's log was written line by line and ends with its training. "
        f"{together} of {len(whole)} GPU logs with a whole last line end within {TOGETHER_S:g} s "
        "of it."
    )
    if len(early):
        text += (
            f" In {count(len(early), 'run')} ({describe_conditions(early)}) the processor's log "
            f"stops {duration(float(-early['ends_apart_s'].max()))} to "
            f"{duration(float(-early['ends_apart_s'].min()))} before the GPU's."
        )
    lost = runs[runs["lost_end"]]
    if lost.empty:
        return f"{text} No available log lacks its end."
    cut = lost[lost["ending"] != "whole line"]
    if len(cut):
        blocks = int((cut["log_bytes"] % BLOCK_BYTES == 0).sum())
        block_s = BLOCK_BYTES * (cut["duration_s"] / cut["log_bytes"]).median()
        text += (
            f" {count(len(cut), 'log')} ({describe_conditions(cut)}) end within a line. {blocks} "
            f"of them are a whole number of {BLOCK_BYTES:,}-byte blocks long (a block holds "
            f"{number(float(block_s))} s), so the sampler was probably killed before it wrote its "
            "last block."
        )
    hidden = lost[lost["ending"] == "whole line"]
    if len(hidden):
        text += (
            f" {count(len(hidden), 'log')} ({describe_conditions(hidden)}) "
            f"{'ends' if len(hidden) == 1 else 'end'} with a whole line, but up to "
            f"{duration(float(hidden['missing_s'].max()))} before the processor's."
        )
    known = lost.dropna(subset=["missing_s"])
    unknown = len(lost) - len(known)
    if len(known):
        share = known["missing_energy_j"] / known["energy_j"]
        text += (
            f" The missing end lasts {duration(float(known['missing_s'].median()))} (median), and "
            f"{duration(float(known['missing_s'].max()))} at most. At the mean power of the last "
            f"minute, it is {percent(float(share.median()))} of the run's energy (median), and "
            f"{percent(float(share.max()))} at most."
        )
    if unknown:
        text += (
            f" For {count(unknown, 'run')} no processor's log shows how much is missing; they are "
            "left out where the lost ends are restored."
        )
    return text


def shared_evidence(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return the runs that shared their GPU, with their memory use, alone and shared."""
    shared = reanalysis.shared
    by_rule = set(reanalysis.outliers.left_out["run_id"])
    energy = reanalysis.runs("full_correction", "none")
    groups = energy.groupby(CONDITION)["energy_j_per_image"]
    energy["against_median"] = energy["energy_j_per_image"] / groups.transform("median") - 1
    table = shared[[*CONDITION, "repetition", "memory_used_mib", "shared_memory_mib"]].assign(
        shared_share=shared["shared_s"] / shared["duration_s"],
        against_median=shared["run_id"].map(energy.set_index("run_id")["against_median"]),
        removed_by=[
            listed([name for name, some in (("hand", hand), ("rule", rule)) if some]) or "none"
            for hand, rule in zip(
                shared["removed_by_hand"], shared["run_id"].isin(by_rule), strict=True
            )
        ],
    )
    return table.reset_index(drop=True)


def shared_sentence(reanalysis: Reanalysis) -> str:
    """Say which runs shared their GPU, and how the headlines change without them."""
    shared = reanalysis.shared
    if reanalysis.raw.runs.empty:
        return "No log is available."
    if shared.empty:
        return f"No available log shows another program. {_where_sharing_shows(reanalysis)}"
    without = reanalysis.without_shared()
    before, after = (r.effects.set_index("claim")["ends_restored"] for r in (reanalysis, without))
    changed = [
        f"{claim}, {percent(after[claim].saving, 2)} instead of {percent(before[claim].saving, 2)}"
        for claim in before.index
        if isinstance(before[claim], Saving)
        and isinstance(after.get(claim), Saving)
        and percent(before[claim].saving, 2) != percent(after[claim].saving, 2)
    ]
    effect = f"these corrected headlines change: {listed(changed)}"
    tests = [attempt(r.test, "rq1_energy", "ends_restored") for r in (reanalysis, without)]
    factor = float((shared["shared_memory_mib"] / shared["memory_used_mib"]).median())
    text = (
        f"In {count(len(shared), 'run')} ({describe_conditions(shared)}) the memory in use was, "
        f"for some time, {number(factor)} times what the training itself holds. Another program "
        "probably used the GPU, and its energy is in the published figure. "
        f"{_where_sharing_shows(reanalysis)} Without these runs, "
        f"{effect if changed else 'no corrected headline changes in the digits shown'}"
    )
    if all(isinstance(test, Comparison) for test in tests):
        figures = [f"H = {test.kruskal_h:.2f}" for test in tests if isinstance(test, Comparison)]
        if figures[0] != figures[1]:
            text += f"; RQ1's test of energy is {figures[1]} instead of {figures[0]}"
    return f"{text}."


def _where_sharing_shows(reanalysis: Reanalysis) -> str:
    """Say in which conditions a second program would have been visible."""
    runs = reanalysis.raw.runs
    least = runs.groupby(CONDITION, sort=False)[["memory_used_mib", "memory_total_mib"]].median()
    held = least["memory_used_mib"] / least["memory_total_mib"]
    shows = held < 1 / SHARED_FROM
    full = held[~shows]
    if full.empty:
        return "This would be visible in every condition."
    where = describe_conditions(shows[shows].reset_index()) or "no condition"
    return (
        f"This is visible only for {where}: elsewhere the framework itself holds "
        f"{percent(float(full.min()), 0)} to {percent(float(full.max()), 0)} of the GPU's memory, "
        "so there may be more such runs."
    )
