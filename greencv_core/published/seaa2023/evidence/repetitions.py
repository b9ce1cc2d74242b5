"""Differences between the repetitions of one seed, and removed runs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from greencv_core.published.seaa2023.reanalysis import Reanalysis
from greencv_core.published.seaa2023.runs import CONDITION
from greencv_core.utils.text import count, listed


def repetitions_evidence(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return how much the repetitions of one seed differ, by condition."""
    groups = reanalysis.runs("epochs_corrected").groupby(CONDITION, sort=False)
    joules = groups["energy_j_per_image"]
    return pd.DataFrame(
        {
            "n": groups.size(),
            "unlike_all_others": groups[["f1", "auc", "epochs_true"]].apply(
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
    """Say whether runs with the same seed are identical."""
    table = repetitions_evidence(reanalysis)
    widest = table.loc[(table["most_epochs"] / table["fewest_epochs"]).idxmax()]
    unlike = int(table["unlike_all_others"].sum())
    return (
        f"{unlike} of {int(table['n'].sum())} runs differ from all others of "
        f"their condition in epochs, F1 or AUC. {widest['architecture']} in "
        f"{widest['environment']}, for example, stopped after {int(widest['fewest_epochs'])} to "
        f"{int(widest['most_epochs'])} epochs."
    )


def removals_evidence(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return the runs removed by hand and by the declared rule, by condition."""
    runs = reanalysis.every_run
    by_rule = runs["run_id"].isin(reanalysis.outliers.left_out["run_id"])
    rows = []
    for (environment, architecture), part in runs.groupby(CONDITION, sort=False):
        hand, rule = (
            part.loc[chosen.loc[part.index], "repetition"].tolist()
            for chosen in (runs["removed_by_hand"], by_rule)
        )
        if hand or rule:
            rows.append((environment, architecture, len(part), _spans(hand), _spans(rule)))
    return pd.DataFrame(rows, columns=[*CONDITION, "n", "removed_by_hand", "removed_by_rule"])


def removals_sentence(reanalysis: Reanalysis) -> str:
    """Say which runs were removed by hand, by the rule and by both."""
    runs = reanalysis.every_run
    hand = runs[runs["removed_by_hand"]]
    both = int(reanalysis.outliers.left_out["removed_by_hand"].sum())
    text = f"The authors removed {len(hand)} by hand; {both} are removed both ways."
    sessions = _whole_sessions(reanalysis)
    if sessions:
        text += (
            f" Among them {'is' if len(sessions) == 1 else 'are'} "
            f"{count(len(sessions), 'whole session')} of a condition: {listed(sessions)}."
        )
    positive = runs[(runs["recall"] == 1) & np.isclose(runs["precision"], runs["accuracy"])]
    negative = runs[runs["f1"] == 0]
    for which, some in (("negative", negative), ("positive", positive)):
        if len(some):
            text += (
                f" {count(len(some), 'run')} ended with the {which} answer to every image (F1 "
                f"{some['f1'].median():.2f}); the authors removed "
                f"{int(some['removed_by_hand'].sum()) or 'none'} of them."
            )
    return text


def _whole_sessions(reanalysis: Reanalysis) -> list[str]:
    """Return the sessions of a condition of which no run was kept."""
    runs = reanalysis.every_run.dropna(subset=["session"])
    return [
        f"{count(len(part), 'run')} of {architecture} in {environment} from "
        f"{str(part['started_at'].min())[:10]}"
        for (environment, architecture, _), part in runs.groupby(
            [*CONDITION, "session"], sort=False
        )
        if part["removed_by_hand"].all()
    ]


def _spans(numbers: list[int]) -> str:
    """Return spans of consecutive numbers: ``0 to 3, 7``."""
    values = np.array(sorted(numbers), dtype=int)
    if not len(values):
        return "none"
    runs = np.split(values, np.flatnonzero(np.diff(values) > 1) + 1)
    return ", ".join(f"{r[0]}" if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs)
