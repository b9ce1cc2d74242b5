"""Epochs counted from the logs alone, against both published counts."""

from __future__ import annotations

from typing import Any

import pandas as pd
from scipy import stats

from greencv_core.published.seaa2023.logs import INITIAL_EPOCHS, WEAKEST_RHYTHM
from greencv_core.published.seaa2023.reanalysis import Reanalysis
from greencv_core.published.seaa2023.runs import CONDITION
from greencv_core.utils.text import count, duration, listed, number, percent

LIKE = 1.25
"""Largest factor between the length of a stage, or epoch, and that of the median log."""
FEWEST_FOR_A_LINE = 5
"""Smallest number of different counts of epochs."""
NO_SIGN = "none seen"
NOTED_PAUSE = 0.25
"""Share of an epoch from which additional time without work is mentioned."""


def epochs_evidence(reanalysis: Reanalysis) -> pd.DataFrame:
    """Compare epochs counted from the logs with both published counts, by condition.

    Excludes runs removed by hand. ``published_off`` and ``corrected_off`` are medians of a count
    minus the log's; ``matching`` is the number of logs whose rounded count agrees.
    """
    groups = counted_epochs(reanalysis).groupby(CONDITION, sort=False)
    return pd.DataFrame(
        {
            "logs": groups.size(),
            "epoch_s": groups["epoch_s"].median(),
            "published_off": groups["published_off"].median(),
            "published_matching": groups["published_off"].agg(_whole),
            "corrected_off": groups["corrected_off"].median(),
            "corrected_matching": groups["corrected_off"].agg(_whole),
        }
    ).reset_index()


def begins_evidence(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return the count of epochs at which the second stage has length 0, by condition.

    From a robust line (Siegel 1982) through all logs of runs that were not removed by hand. A
    correct count gives 10, the epochs of the first stage.
    """
    groups = _not_removed(reanalysis.epochs_from_logs).groupby(CONDITION, sort=False)
    rows = [
        (*condition, len(logs), _begin(logs, "epochs"), _begin(logs, "epochs_true"))
        for condition, logs in groups
    ]
    columns = [*CONDITION, "logs", "published_begin", "corrected_begin"]
    return pd.DataFrame(rows, columns=columns)


def _begin(logs: pd.DataFrame, counted: str) -> float:
    logs = logs.dropna(subset=["fine_tuning_s"])
    if logs[counted].nunique() < FEWEST_FOR_A_LINE:
        return float("nan")
    line = stats.siegelslopes(logs["fine_tuning_s"], logs[counted])
    return float(-line.intercept / line.slope)


def epochs_sentence(reanalysis: Reanalysis) -> str:
    """Say how both counts compare with that from the logs, and the effect on energy."""
    clear, every = counted_epochs(reanalysis), _not_removed(reanalysis.epochs_from_logs)
    if clear.empty:
        return "No log is available to count epochs from."
    runs = reanalysis.every_run
    off = (runs["epochs"] - runs["epochs_true"]).value_counts()
    medians = reanalysis.runs("epochs_corrected").groupby(CONDITION)["energy_j_per_image"].median()
    rise = medians / reanalysis.runs().groupby(CONDITION)["energy_j_per_image"].median() - 1
    rest = listed([f"{int(k)} in {int(n)}" for k, n in off.items() if k != off.index[0]])
    published = _whole(clear["published_off"])
    begins = begins_evidence(reanalysis)[["published_begin", "corrected_begin"]].median()
    text = (
        f"{len(clear)} of {len(every)} logs repeat clearly enough to count epochs (autocorrelation "
        f"of at least {WEAKEST_RHYTHM}). In {_whole(clear['corrected_off'])} of them the log's "
        f"rounded count is the corrected one; in {published or 'none'} it is the published one, "
        f"which is {number(float(clear['published_off'].median()))} epochs higher (median)."
    )
    if begins.notna().all():
        text += (
            " A second check needs no rhythm: a line through the lengths of the second stages "
            f"should meet zero at {INITIAL_EPOCHS} epochs, those of the first stage. In the median "
            f"condition it does at {number(begins['corrected_begin'])} corrected or "
            f"{number(begins['published_begin'])} published epochs."
        )
    return (
        f"{text} The published count is {int(off.index[0])} epochs too high in "
        f"{count(int(off.iloc[0]), 'run')}{f', and {rest}' if rest else ''}. Corrected, median "
        f"joules per image are {percent(float(rise.min()))} to {percent(float(rise.max()))} higher "
        "than published."
    )


def counted_epochs(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return the logs whose epochs could be counted, and the differences of both counts.

    Excludes runs removed by hand.
    """
    logs = _not_removed(reanalysis.epochs_from_logs).dropna(subset=["fine_tuning_epochs"])
    from_log = logs["fine_tuning_epochs"] + INITIAL_EPOCHS
    return logs.assign(
        published_off=logs["epochs"] - from_log, corrected_off=logs["epochs_true"] - from_log
    )


def _not_removed(logs: pd.DataFrame) -> pd.DataFrame:
    return logs[~logs["removed_by_hand"].astype(bool)]


def odd_counts(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return the logs whose rounded count is not the corrected one, with a possible reason.

    Each is compared with the median log of its condition.
    """
    signs = _signs(reanalysis)
    odd = signs[signs["corrected_off"].round() != 0]
    table = odd[[*CONDITION, "repetition", "corrected_off", "sign"]]
    return table.rename(columns={"corrected_off": "corrected_less_log"}).reset_index(drop=True)


def _signs(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return the counted logs, with their difference from the median log of the condition."""
    clear = counted_epochs(reanalysis)
    usual = clear.groupby(CONDITION)[["first_stage_s", "epoch_s", "quiet_s"]].median()
    return clear.assign(
        sign=[
            _sign(log, usual.loc[log.environment, log.architecture]) for log in clear.itertuples()
        ]
    )


def _sign(log: Any, usual: pd.Series) -> str:
    if log.shared_s > 0:
        return f"more memory in use for {duration(log.shared_s)}, as with a second program"
    if not usual["first_stage_s"] / LIKE < log.first_stage_s < usual["first_stage_s"] * LIKE:
        return (
            f"second stage found after {duration(log.first_stage_s)}; in the median log after "
            f"{duration(usual['first_stage_s'])}"
        )
    if not usual["epoch_s"] / LIKE < log.epoch_s < usual["epoch_s"] * LIKE:
        found_s, usual_s = number(log.epoch_s), number(usual["epoch_s"])
        return f"epoch of {found_s} s found; in the median log {usual_s} s"
    if log.after_s > NOTED_PAUSE * log.epoch_s:
        return f"continues for {duration(log.after_s)} after its last work"
    if log.quiet_s - usual["quiet_s"] > NOTED_PAUSE * log.epoch_s:
        return (
            f"{duration(log.quiet_s)} without work; in the median log {duration(usual['quiet_s'])}"
        )
    return NO_SIGN


def odd_counts_sentence(reanalysis: Reanalysis) -> str:
    """Say how many logs contradict the corrected count, and how many show no count."""
    every, signs = _not_removed(reanalysis.epochs_from_logs), _signs(reanalysis)
    if signs.empty:
        return ""
    agree = signs["corrected_off"].round() == 0
    apart = signs["sign"] != NO_SIGN
    text = (
        f"In {int((~agree).sum())} of these {len(signs)} logs the rounded count is not the "
        "corrected one. Counting assumes that all epochs of a log are alike and that the log "
        f"contains only training; {int((apart & ~agree).sum())} of them show a sign of something "
        f"else, as do {int((apart & agree).sum())} of the {int(agree.sum())} that agree."
    )
    unclear = every[every["fine_tuning_epochs"].isna()]
    if len(unclear):
        of = every.groupby(CONDITION).size()
        conditions = listed(
            [
                f"{n} of {of[environment, architecture]} of {architecture} in {environment}"
                for (environment, architecture), n in unclear.groupby(CONDITION).size().items()
            ]
        )
        text += f" No count is taken from {count(len(unclear), 'log')}: {conditions}."
    return text


def _whole(differences: pd.Series) -> int:
    return int((differences.round() == 0).sum())
