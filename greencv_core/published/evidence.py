"""What the published measurements themselves show of how they were made; tables and sentences."""

from __future__ import annotations

import numpy as np
import pandas as pd

from greencv_core.analysis import Saving
from greencv_core.analysis.wording import count, duration, listed, number, percent
from greencv_core.published.reanalysis import RQ2_ARCHITECTURE, Reanalysis
from greencv_core.published.seaa2023_logs import INITIAL_EPOCHS, WEAKEST_RHYTHM

BLOCK_BYTES = 4096
"""What programs and file systems write at once, or a multiple of it."""
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
    """Return, by condition, the logs cut off before their training ended, and what is missing."""
    runs = reanalysis.raw.runs.reindex(
        columns=[*_CONDITION, "ending", "missing_s", "missing_energy_j", "energy_j", "duration_s"]
    )
    cut = runs[runs["ending"] != "whole line"].copy()
    cut["share"] = cut["missing_energy_j"] / cut["energy_j"]
    groups = cut.groupby(_CONDITION, sort=False)
    every = runs.groupby(_CONDITION, sort=False).size()
    return pd.DataFrame(
        {
            "logs": every.reindex(groups.size().index),
            "cut_off": groups.size(),
            "missing_s": groups["missing_s"].median(),
            "most_missing_s": groups["missing_s"].max(),
            "missing_energy": groups["share"].median(),
            "most_missing_energy": groups["share"].max(),
        }
    ).reset_index()


def lost_ends_sentence(reanalysis: Reanalysis) -> str:
    """Say which logs lack their end, how that shows, and how much they lack."""
    table = lost_ends_evidence(reanalysis)
    if table.empty:
        return "No log at hand is cut off."
    runs = reanalysis.raw.runs
    cut = runs[runs["ending"] != "whole line"]
    paths = [path for run_id in cut["run_id"] if (path := reanalysis.log_path(run_id))]
    blocks = sum(path.stat().st_size % BLOCK_BYTES == 0 for path in paths)
    where = listed([f"{a} in {e}" for e, a in zip(table["environment"], table["architecture"],
                                                   strict=True)])  # fmt: skip
    return (
        f"{count(len(cut), 'log')} end within a line or without its end, all of {where}. Of these "
        f"files, {blocks} are a whole number of blocks of {BLOCK_BYTES:,} bytes long: the sampler "
        "was ended with its last block unwritten. The processor's log, written line by line, goes "
        f"on to the end of the training, {duration(float(cut['missing_s'].median()))} later in the "
        f"median and {duration(float(cut['missing_s'].max()))} at most. With the mean power of the "
        f"last minute, {percent(float(table['missing_energy'].max()))} of a run's energy is "
        "missing in the median of the most affected condition."
    )


def idle_evidence(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return, by environment, power before the first batch and what share of energy it makes."""
    runs = reanalysis.runs("ends_restored")
    runs = runs.join(reanalysis.idle_power, on="environment").dropna(subset=["rest_power_w"])
    gross = runs["energy_j_per_image"]
    runs["rest_share"] = 1 - runs["net_of_rest"] / gross
    runs["waiting_share"] = 1 - runs["net_of_waiting"] / gross
    columns = ["rest_power_w", "waiting_power_w", "power_w", "rest_share", "waiting_share"]
    return runs.groupby("environment", sort=False)[columns].median().reset_index()


def idle_sentence(reanalysis: Reanalysis) -> str:
    """Say how much of the energy the GPUs draw anyway, and what that makes of a comparison."""
    table = idle_evidence(reanalysis)
    if table.empty:
        return "No log is at hand to read idle power from."
    each = [
        f"{row.environment} draws {number(row.rest_power_w)} W at rest and "
        f"{number(row.waiting_power_w)} W once the framework holds the GPU, which over the "
        f"training make {percent(row.rest_share, 0)} and {percent(row.waiting_share, 0)} of the "
        "energy in the median run"
        for row in table.itertuples()
    ]
    unknown = sorted(set(reanalysis.every_run["environment"]) - set(table["environment"]))
    text = f"{'; '.join(each)}."
    if unknown:
        text += f" Of {listed(unknown)} there is no log, and no net energy."
    move = reanalysis.effects.set_index("claim").loc[f"{RQ2_ARCHITECTURE}, Cloud to Local ML"]
    gross, net = move["ends_restored"], move["net_of_waiting"]
    if isinstance(gross, Saving) and isinstance(net, Saving):
        shown = "which includes no difference" if net.ci_low <= 0 <= net.ci_high else "net"
        text += (
            f" Moving {RQ2_ARCHITECTURE} from Cloud to Local ML saves {percent(gross.saving)} "
            f"gross, and {_signed(net.saving)} ({_signed(net.ci_low)} to {_signed(net.ci_high)}, "
            f"{shown}) net of the power while waiting: what tells the two GPUs apart there is what "
            "they draw while they wait."
        )
    return text


def _signed(share: float) -> str:
    return percent(share).replace("-", "\N{MINUS SIGN}")


def repetitions_evidence(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return, by condition, how far the repetitions of one seed differ."""
    groups = reanalysis.runs("epochs_corrected").groupby(_CONDITION, sort=False)
    joules = groups["energy_j_per_image"]
    return pd.DataFrame(
        {
            "n": groups.size(),
            "outcomes": groups[["f1", "epochs_true"]].apply(lambda g: len(g.drop_duplicates())),
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
    return (
        f"{int(table['outcomes'].sum())} of {int(table['n'].sum())} runs differ from all others of "
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
