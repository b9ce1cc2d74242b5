"""What the published measurements themselves show of how they were made; tables and sentences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from greencv_core.analysis import Comparison, Saving, Unanswered, attempt
from greencv_core.analysis.wording import (
    as_opening,
    count,
    duration,
    listed,
    number,
    p_value,
    percent,
)
from greencv_core.published.reanalysis import (
    IDLE,
    RQ1_ENVIRONMENT,
    RQ2_ARCHITECTURE,
    Reanalysis,
)
from greencv_core.published.seaa2023_logs import ENDS_WITHIN_S, INITIAL_EPOCHS, WEAKEST_RHYTHM

LIKE = 1.25
"""Factor within which a log's stage, or epoch, is like the median log's."""
NOTED_PAUSE = 0.25
"""Share of an epoch; more without work, beyond the usual, is told."""
BLOCK_BYTES = 4096
"""What programs and file systems write at once, or a multiple of it."""
TOGETHER_S = 1.0
"""Logs that end so near each other end together."""
LOGGED_ENVIRONMENT = "Local ML"
"""Where RQ2 moves to, of the environments that have logs."""
_NET_OF = {
    "net_of_low": "of the low-power state",
    "net_of_before": "of the power before work",
    "net_of_after": "of the power after work",
}
_CONDITION = ["environment", "architecture"]


def epochs_evidence(reanalysis: Reanalysis) -> pd.DataFrame:
    """Compare epochs counted from each log alone with both counts, by condition.

    ``published_off`` and ``corrected_off`` are medians of a count less the log's; ``matching``
    counts the logs whose number, rounded, is the count.
    """
    clear = counted_epochs(reanalysis)
    groups = clear.groupby(_CONDITION, sort=False)
    table = pd.DataFrame(
        {
            "logs": groups.size(),
            "epoch_s": groups["epoch_s"].median(),
            "published_off": groups["published_off"].median(),
            "published_matching": groups["published_off"].agg(_whole),
            "corrected_off": groups["corrected_off"].median(),
            "corrected_matching": groups["corrected_off"].agg(_whole),
        }
    )
    return table.reset_index()


def epochs_sentence(reanalysis: Reanalysis) -> str:
    """Say what the count from the logs says of both counts, and what follows for the joules."""
    clear, every = counted_epochs(reanalysis), reanalysis.epochs_from_logs
    runs = reanalysis.every_run
    off = (runs["epochs"] - runs["epochs_true"]).value_counts()
    if clear.empty:
        return "No log is at hand to count epochs from."
    medians = reanalysis.runs("epochs_corrected").groupby(_CONDITION)["energy_j_per_image"].median()
    rise = medians / reanalysis.runs().groupby(_CONDITION)["energy_j_per_image"].median() - 1
    rest = listed([f"{int(k)} in {int(n)}" for k, n in off.items() if k != off.index[0]])
    published = _whole(clear["published_off"])
    return (
        f"Of {count(len(every), 'log')}, {len(clear)} repeat themselves clearly enough to count "
        f"epochs (autocorrelation of {WEAKEST_RHYTHM} or more). In "
        f"{_whole(clear['corrected_off'])} of them the log's number, rounded, is the corrected "
        f"count; in {published or 'none'} it is the published one, which is higher by "
        f"{number(float(clear['published_off'].median()))} epochs in the median. Over all runs the "
        f"published count exceeds the corrected by {int(off.index[0])} in {int(off.iloc[0])} runs"
        f"{f' and by {rest}' if rest else ''}, so that median joules per image are "
        f"{percent(float(rise.min()))} to {percent(float(rise.max()))} higher than published."
    )


def counted_epochs(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return the logs whose epochs could be counted, and how far both counts are from theirs."""
    told = reanalysis.epochs_from_logs.dropna(subset=["fine_tuning_epochs"])
    from_log = told["fine_tuning_epochs"] + INITIAL_EPOCHS
    return told.assign(
        published_off=told["epochs"] - from_log, corrected_off=told["epochs_true"] - from_log
    )


def odd_counts(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return the logs whose number of epochs, rounded, is not the corrected count, and a sign why.

    Each is held against the median log of its condition.
    """
    every = reanalysis.epochs_from_logs
    usual = every.groupby(_CONDITION)[["first_stage_s", "epoch_s", "quiet_s"]].median()
    clear = counted_epochs(reanalysis)
    odd = clear[clear["corrected_off"].round() != 0]
    signs = [_sign(log, usual.loc[(log.environment, log.architecture)]) for log in odd.itertuples()]
    table = odd[[*_CONDITION, "repetition", "corrected_off"]].assign(sign=signs)
    return table.rename(columns={"corrected_off": "corrected_less_log"}).reset_index(drop=True)


def _sign(log: Any, usual: pd.Series) -> str:
    if log.shared_s > 0:
        return f"more memory in use for {duration(log.shared_s)}, as by a second program"
    if not usual["first_stage_s"] / LIKE < log.first_stage_s < usual["first_stage_s"] * LIKE:
        return (
            f"second stage found after {duration(log.first_stage_s)}; in the median log after "
            f"{duration(usual['first_stage_s'])}"
        )
    if not usual["epoch_s"] / LIKE < log.epoch_s < usual["epoch_s"] * LIKE:
        found_s, usual_s = number(log.epoch_s), number(usual["epoch_s"])
        return f"epoch of {found_s} s found; in the median log {usual_s} s"
    if log.quiet_s - usual["quiet_s"] > NOTED_PAUSE * log.epoch_s:
        return (
            f"{duration(log.quiet_s)} without work; in the median log {duration(usual['quiet_s'])}"
        )
    return "none seen"


def odd_counts_sentence(reanalysis: Reanalysis) -> str:
    """Say how many logs do not show the corrected count, and how many show no count at all."""
    every, clear = reanalysis.epochs_from_logs, counted_epochs(reanalysis)
    if clear.empty:
        return "No log is at hand to count epochs from."
    odd = odd_counts(reanalysis)
    unseen = int((odd["sign"] == "none seen").sum())
    text = (
        f"In {len(odd)} of the {len(clear)} logs the number, rounded, is another than the "
        "corrected count. Counting assumes that all epochs of a log are alike and that nothing but "
        f"training is in it; {len(odd) - unseen} of these logs show that this is not so of them."
    )
    unclear = every[every["fine_tuning_epochs"].isna()]
    if len(unclear):
        of = every.groupby(_CONDITION).size()
        told = listed(
            [
                f"{n} of {of[environment, architecture]} of {architecture} in {environment}"
                for (environment, architecture), n in unclear.groupby(_CONDITION).size().items()
            ]
        )
        text += f" No number is taken from {count(len(unclear), 'log')}: {told}."
    return text


def _whole(differences: pd.Series) -> int:
    return int((differences.round() == 0).sum())


def truncation_evidence(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return, by condition, what cutting power to whole watts loses, and how near we recompute.

    ``largest_difference`` is of published energy and ours with the same cut, relative.
    """
    runs = reanalysis.raw.runs.merge(
        reanalysis.table[["run_id", "energy_j"]], on="run_id", suffixes=("", "_published")
    )
    runs["loss"] = 1 - runs["energy_j_whole_watts"] / runs["energy_j"]
    runs["difference"] = (runs["energy_j_whole_watts"] / runs["energy_j_published"] - 1).abs()
    runs["loss_w"] = (runs["energy_j"] - runs["energy_j_whole_watts"]) / runs["duration_s"]
    groups = runs.groupby(_CONDITION, sort=False)
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
    """Say what the cut loses, and how near our integral of the same power is."""
    table = truncation_evidence(reanalysis)
    if table.empty:
        return "No log is at hand to integrate again."
    runs = reanalysis.every_run
    estimated = runs[~runs["from_raw"]]
    text = (
        f"Integrating the logs with power cut to whole watts gives the published energy of all "
        f"{count(int(table['logs'].sum()), 'run')} to within "
        f"{table['largest_difference'].max():.0e} of it. With the decimals, energy is higher by "
        f"{number(reanalysis.lost_w)} W times the duration: "
        f"{percent(float(table['loss'].min()), 2)} to {percent(float(table['loss'].max()), 2)} in "
        "the median of a condition."
    )
    if len(estimated):
        share = float((reanalysis.lost_w / estimated["power_w"]).median())
        places = listed(sorted(estimated["environment"].unique()))
        text += (
            f" {count(len(estimated), 'run')} ({places}) have no log here; the same loss would be "
            f"{percent(share)} of theirs."
        )
    return text


def lost_ends_evidence(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return, by condition, the logs that end before their training, and what is missing."""
    runs = reanalysis.raw.runs
    lost = runs[runs["lost_end"]]
    groups = lost.assign(share=lost["missing_energy_j"] / lost["energy_j"]).groupby(
        _CONDITION, sort=False
    )
    every = runs.groupby(_CONDITION, sort=False).size()
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
    """Say which logs lack their end, how that shows, and how much they lack."""
    runs = reanalysis.raw.runs
    if runs.empty:
        return "No log is at hand."
    apart_s = runs["ends_apart_s"]
    whole = runs[(runs["ending"] == "whole line") & apart_s.notna()]
    together = int((whole["ends_apart_s"].abs() <= TOGETHER_S).sum())
    early = whole[whole["ends_apart_s"] < -ENDS_WITHIN_S]
    text = (
        f"The processor's log was written line by line and ends with its training: {together} of "
        f"the {len(whole)} logs of the GPU that end in a whole line end within {TOGETHER_S:g} s of "
        "it."
    )
    if len(early):
        text += (
            f" In {count(len(early), 'run')} ({_conditions(early)}) the processor's log stops "
            f"{duration(float(-early['ends_apart_s'].max()))} to "
            f"{duration(float(-early['ends_apart_s'].min()))} before the GPU's; the load of their "
            "processor is not given."
        )
    lost = runs[runs["lost_end"]]
    if lost.empty:
        return f"{text} No log at hand lacks its end."
    cut = lost[lost["ending"] != "whole line"]
    paths = [path for run_id in cut["run_id"] if (path := reanalysis.log_path(run_id))]
    blocks = sum(path.stat().st_size % BLOCK_BYTES == 0 for path in paths)
    if len(cut):
        text += (
            f" {count(len(cut), 'log')} end within a line or without its end ({_conditions(cut)}). "
            f"Of these files, {blocks} are a whole number of blocks of {BLOCK_BYTES:,} bytes long: "
            "the sampler was presumably ended with its last block unwritten."
        )
    hidden = lost[lost["ending"] == "whole line"]
    if len(hidden):
        text += (
            f" {count(len(hidden), 'log')} more ({_conditions(hidden)}) "
            f"{'ends' if len(hidden) == 1 else 'end'} in a whole line, and yet "
            f"{duration(float(hidden['missing_s'].max()))} before the processor's."
        )
    known = lost.dropna(subset=["missing_s"])
    unknown = len(lost) - len(known)
    if len(known):
        share = known["missing_energy_j"] / known["energy_j"]
        text += (
            f" What is missing lasts {duration(float(known['missing_s'].median()))} in the median "
            f"and {duration(float(known['missing_s'].max()))} at most; with the mean power of the "
            f"last minute, it is {percent(float(share.median()))} of the run's energy in the "
            f"median and {percent(float(share.max()))} at most."
        )
    if unknown:
        text += (
            f" Of {count(unknown, 'run')} there is no processor's log that tells how much; they "
            "are left out where the lost ends are restored."
        )
    return text


def _conditions(runs: pd.DataFrame) -> str:
    pairs = runs[_CONDITION].drop_duplicates().itertuples(index=False, name=None)
    return listed([f"{architecture} in {environment}" for environment, architecture in pairs])


def shared_evidence(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return the runs that shared their GPU: memory in use, alone and shared, and for how long."""
    shared = reanalysis.shared
    by_rule = set(reanalysis.outliers.left_out["run_id"])
    energy = reanalysis.runs("full_correction", "none")
    groups = energy.groupby(_CONDITION)["energy_j_per_image"]
    energy["against_median"] = energy["energy_j_per_image"] / groups.transform("median") - 1
    table = shared[[*_CONDITION, "repetition", "memory_used_mib", "shared_memory_mib"]].assign(
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
    """Say which runs shared their GPU, and what the headlines are without them."""
    shared = reanalysis.shared
    if reanalysis.raw.runs.empty:
        return "No log is at hand."
    if shared.empty:
        return "No log at hand shows another program on its GPU."
    without = reanalysis.without_shared()
    before, after = (r.effects.set_index("claim")["ends_restored"] for r in (reanalysis, without))
    changed = [
        f"{claim}, {percent(after[claim].saving, 2)} instead of {percent(before[claim].saving, 2)}"
        for claim in before.index
        if isinstance(before[claim], Saving)
        and isinstance(after.get(claim), Saving)
        and before[claim].saving != after[claim].saving
    ]
    effect = f"of the corrected headlines these change: {listed(changed)}"
    tests = [attempt(r.test, "rq1_energy", "ends_restored") for r in (reanalysis, without)]
    text = (
        f"In {count(len(shared), 'run')} ({_conditions(shared)}) the memory in use is for a while "
        f"{number(float((shared['shared_memory_mib'] / shared['memory_used_mib']).median()))} "
        "times what the training holds, and epochs take longer meanwhile: presumably another "
        "program used the GPU, and its energy is in the published figure. Without these runs, "
        f"{effect if changed else 'no corrected headline changes'}"
    )
    if all(isinstance(test, Comparison) for test in tests):
        told = [f"H = {test.kruskal_h:.2f}" for test in tests if isinstance(test, Comparison)]
        text += f"; RQ1's test of energy is {told[1]} instead of {told[0]}"
    return f"{text}."


def idle_evidence(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return, by environment, each idle power and what share of a run's energy it makes."""
    runs = reanalysis.runs("ends_restored")
    runs = runs.join(reanalysis.idle_power, on="environment").dropna(subset=list(IDLE.values()))
    gross = runs["energy_j_per_image"]
    shares = {power.replace("_w", "_share"): 1 - runs[net] / gross for net, power in IDLE.items()}
    columns = ["power_w", *IDLE.values(), *shares]
    return runs.assign(**shares).groupby("environment", sort=False)[columns].median().reset_index()


def idle_sentence(reanalysis: Reanalysis) -> str:
    """Say how much of the energy the GPUs draw anyway, and what that makes of a comparison."""
    table = idle_evidence(reanalysis)
    if table.empty:
        return "No log is at hand to read idle power from."
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
    return f"{text} {_net_of_each(reanalysis)}".strip()


def _net_of_each(reanalysis: Reanalysis) -> str:
    """Say what RQ2's saving is, net of each idle power, and whether they agree."""
    row = f"{RQ2_ARCHITECTURE}, {RQ1_ENVIRONMENT} to {LOGGED_ENVIRONMENT}"
    move = reanalysis.effects.set_index("claim").loc[row]
    gross = move["ends_restored"]
    nets = {variant: move[variant] for variant in IDLE if isinstance(move[variant], Saving)}
    if not isinstance(gross, Saving) or len(nets) < len(IDLE):
        return ""
    told = listed(
        [
            f"{_NET_OF[variant]} {_signed(net.saving)} ({_signed(net.ci_low)} to "
            f"{_signed(net.ci_high)}; {_test_in_words(reanalysis, variant)})"
            for variant, net in nets.items()
        ]
    )
    saved = [variant for variant, net in nets.items() if net.ci_low > 0]
    verdict = (
        "a saving is left by each of them"
        if len(saved) == len(nets)
        else "a saving is left by none of them"
        if not saved
        else f"a saving is left net {listed([_NET_OF[variant] for variant in saved])} alone, and "
        "which is right these data cannot tell"
    )
    return (
        f"Moving {RQ2_ARCHITECTURE} from {RQ1_ENVIRONMENT} to {LOGGED_ENVIRONMENT} saves "
        f"{percent(gross.saving)} gross; net {told}. {as_opening(verdict)}."
    )


def _test_in_words(reanalysis: Reanalysis, variant: str) -> str:
    test = attempt(reanalysis.test, "rq2_energy", variant)
    if isinstance(test, Unanswered):
        return "no test"
    return f"H = {test.kruskal_h:.2f}, {p_value(test.kruskal_p)}"


def _signed(share: float) -> str:
    return percent(share).replace("-", "\N{MINUS SIGN}")


def repetitions_evidence(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return, by condition, how far the repetitions of one seed differ."""
    groups = reanalysis.runs("epochs_corrected").groupby(_CONDITION, sort=False)
    joules = groups["energy_j_per_image"]
    return pd.DataFrame(
        {
            "n": groups.size(),
            "unlike_all_others": groups[["f1", "epochs_true"]].apply(
                lambda runs: int((~runs.duplicated(keep=False)).sum())
            ),
            "fewest_epochs": groups["epochs_true"].min(),
            "most_epochs": groups["epochs_true"].max(),
            "f1_q1": groups["f1"].quantile(0.25),
            "f1_q3": groups["f1"].quantile(0.75),
            "energy_variation": joules.std() / joules.mean(),
        }
    ).reset_index()


def repetitions_sentence(reanalysis: Reanalysis) -> str:
    """Say whether runs of one seed are copies of each other."""
    table = repetitions_evidence(reanalysis)
    widest = table.loc[(table["most_epochs"] / table["fewest_epochs"]).idxmax()]
    unlike = int(table["unlike_all_others"].sum())
    return (
        f"{unlike} of {int(table['n'].sum())} runs differ from all others of "
        f"their condition in epochs or F1; {widest['architecture']} in {widest['environment']} "
        f"stopped after {int(widest['fewest_epochs'])} to {int(widest['most_epochs'])} epochs."
    )


def removals_evidence(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return, by condition, the runs removed by hand and those that the declared rule removes."""
    runs = reanalysis.every_run
    by_rule = runs["run_id"].isin(reanalysis.outliers.left_out["run_id"])
    rows = []
    for (environment, architecture), part in runs.groupby(_CONDITION, sort=False):
        hand, rule = (
            part.loc[chosen.loc[part.index], "repetition"].tolist()
            for chosen in (runs["removed_by_hand"], by_rule)
        )
        if hand or rule:
            rows.append((environment, architecture, len(part), _spans(hand), _spans(rule)))
    return pd.DataFrame(rows, columns=[*_CONDITION, "n", "removed_by_hand", "removed_by_rule"])


def _spans(numbers: list[int]) -> str:
    """Return ``0 to 3, 7``: numbers that follow each other as one span."""
    values = np.array(sorted(numbers), dtype=int)
    if not len(values):
        return "none"
    runs = np.split(values, np.flatnonzero(np.diff(values) > 1) + 1)
    return ", ".join(f"{r[0]}" if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs)
