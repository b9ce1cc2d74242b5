"""A meter at the wall: which share of its energy the components explain."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from greencv_core.records.record import RunRecord
from greencv_core.utils.text import count

_BY = ["environment", "meter", "provenance"]


def wall_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return one row for each environment and wall meter, with medians over its runs.

    Columns: the energy at the wall, and the share of it (0 to 1) that the components explain.
    """
    rows = [
        {
            "environment": r.environment["name"],
            "meter": r.wall.energy.source,
            "provenance": r.wall.energy.provenance,
            "energy_j": r.wall.energy.energy_j,
            "explained_share": r.wall.explained_share,
        }
        for r in records
        if r.wall is not None and r.wall.energy is not None and r.wall.explained_share is not None
    ]
    frame = pd.DataFrame(rows, columns=[*_BY, "energy_j", "explained_share"])
    frame = frame.astype({"energy_j": float, "explained_share": float})
    return (
        frame.groupby(_BY, sort=False)
        .agg(
            runs=("energy_j", "size"),
            energy_j=("energy_j", "median"),
            explained_share=("explained_share", "median"),
            lowest_share=("explained_share", "min"),
            highest_share=("explained_share", "max"),
        )
        .reset_index()
    )


def wall_sentence(records: Sequence[RunRecord]) -> str:
    """State which share of the energy at the wall the components explain; empty without one."""
    walls = [r.wall for r in records if r.wall is not None]
    if not walls:
        return ""
    shares = pd.Series(
        [w.explained_share for w in walls if w.explained_share is not None], dtype=float
    )
    sentences = []
    if len(shares):
        sentences.append(
            f"The metered components explain {shares.median():.0%} of the energy at the wall "
            f"(median of {count(len(shares), 'run')}; {shares.min():.0%} to {shares.max():.0%}). "
            "The rest is lost in the power supply or used by parts without a meter: fans, disks, "
            "the mainboard, and GPUs that did not train."
        )
    problems = [w.problem for w in walls if w.problem]
    if problems:
        reasons = "; ".join(sorted(set(problems))[:3])
        sentences.append(f"Problems in {count(len(problems), 'run')}: {reasons}.")
    return " ".join(sentences) or "The meter at the wall gave nothing to compare."
