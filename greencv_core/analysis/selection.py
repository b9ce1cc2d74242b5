"""Selection of runs, the outlier rule, and summaries of groups."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from greencv_core.analysis.result import NotEnoughDataError
from greencv_core.utils.energy import weakest
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.text import count, listed, number, quantity

CONDITION = ("architecture", "environment")
OUTLIER_LIMIT = 3.5
"""Largest modified z that is no outlier (Iglewicz and Hoaglin 1993)."""
_MAD_TO_SIGMA = 0.6745
"""Ratio of the MAD to the standard deviation of a normal sample."""
_ONE_RUN = {
    ("run_id",): "the same run_id",
    ("started_at", "energy_j", "validation_loss"): "the same start, energy and last loss",
}
"""Columns that no two runs share, and how a message calls them."""
_NAMED = 6
"""Most runs or conditions that a message names."""
FEWEST_UNDISTURBED = 3
"""Undisturbed runs of a condition from which on its disturbed runs are left out."""
DISTURBED = "disturbed by other work on the machine, or by clocks held back"


def condition_name(levels: Iterable[object]) -> str:
    """Return the name of a condition: ``resnet18 @ cpu``."""
    return " @ ".join(map(str, levels))


def runs_of(runs: pd.DataFrame, condition: Mapping[str, object]) -> pd.DataFrame:
    """Return the runs of a condition, given as column to level."""
    for column, level in condition.items():
        runs = runs[runs[column] == level]
    return runs


def groups_but(
    runs: pd.DataFrame, by: str | Sequence[str], names: Collection[str]
) -> tuple[str, ...]:
    """Return the names of the groups of a table that are not among some names, in its order."""
    groups = runs[[by] if isinstance(by, str) else list(by)].drop_duplicates()
    every = (condition_name(row) for row in groups.itertuples(index=False))
    return tuple(name for name in every if name not in names)


@dataclass(frozen=True)
class Selection:
    """Runs that are analysed, and runs that are excluded with the reason."""

    runs: pd.DataFrame
    excluded: pd.DataFrame
    """Excluded runs, with a column ``reason``."""

    @property
    def disturbed(self) -> pd.DataFrame:
        """Disturbed runs that are analysed."""
        return self.runs[self.runs["disturbed"].eq(True)]

    @property
    def left_out_as_disturbed(self) -> int:
        """Number of runs that are excluded because they were disturbed."""
        return int(self.excluded["reason"].eq(DISTURBED).sum())

    def sentence(self, planned: int | None = None) -> str:
        """Describe how many runs (of those ``planned``) are analysed, excluded or disturbed."""
        verb = "is" if len(self.runs) == 1 else "are"
        of_all = "" if planned is None else f" of {planned} planned"
        text = f"{len(self.runs)}{of_all} {'run' if (planned or len(self.runs)) == 1 else 'runs'} "
        text += f"{verb} analysed."
        if len(self.excluded):
            reasons = self.excluded["reason"].value_counts()
            parts = [f"{n} {reason}" for reason, n in reasons.items()]
            text += f" Left out: {listed(parts)}."
        return f"{text}{self.disturbed_clause()}"

    def disturbed_clause(self) -> str:
        """Return a sentence about the disturbed runs that are analysed; empty if there are none."""
        kept = self.disturbed
        if kept.empty:
            return ""
        verb = "was" if len(kept) == 1 else "were"
        text = f" {count(len(kept), 'run')} {verb} {DISTURBED}, and counted all the same"
        if (_undisturbed(self.runs)[kept.index] < FEWEST_UNDISTURBED).all():
            rows = kept[list(CONDITION)].drop_duplicates().itertuples(index=False)
            names = [condition_name(row) for row in rows]
            if len(names) > _NAMED:
                names = [*names[:_NAMED], f"{len(names) - _NAMED} more"]
            text += f": fewer than {FEWEST_UNDISTURBED} undisturbed runs are left of "
            text += listed(names)
        return f"{text}. Energy and time may be too high."


def _undisturbed(runs: pd.DataFrame) -> pd.Series:
    """Return for each run how many runs of its condition were not disturbed."""
    calm = ~runs["disturbed"].eq(True)
    return calm.groupby([runs[c] for c in CONDITION], observed=True).transform("sum")


def select_runs(runs: pd.DataFrame, *, keep_disturbed: bool = False) -> Selection:
    """Exclude runs that failed, were stopped, lost a meter or took no energy, and disturbed ones.

    Disturbed runs are excluded where their condition has :data:`FEWEST_UNDISTURBED` others, unless
    ``keep_disturbed``. Whether a run was disturbed does not depend on its energy.

    Raises
    ------
    BadInputError
        A run is in the table twice.
    """
    refuse_duplicates(runs)
    finished = runs["status"] == "finished"
    without_energy = runs["energy_j_per_image"] <= 0
    kept_back = ~finished | ~runs["complete"].eq(True) | without_energy
    excluded = runs[kept_back].copy()
    excluded["reason"] = "with an incomplete energy reading"
    for place in excluded.index[without_energy[kept_back]]:
        name = condition_name(excluded.loc[place, list(CONDITION)])
        excluded.loc[place, "reason"] = f"of {name} with an energy of zero or below"
    excluded.loc[~finished[kept_back], "reason"] = "failed"
    excluded.loc[excluded["status"] == "stopped", "reason"] = "stopped by a forecast"
    kept = runs[~kept_back]
    enough = _undisturbed(kept) >= FEWEST_UNDISTURBED
    apart = kept["disturbed"].eq(True) & enough & (not keep_disturbed)
    if apart.any():
        excluded = pd.concat([excluded, kept[apart].assign(reason=DISTURBED)])
    return Selection(kept[~apart].reset_index(drop=True), excluded.reset_index(drop=True))


def refuse_duplicates(runs: pd.DataFrame) -> None:
    """Refuse a table with a run twice: by its id, or by start, energy and last loss together.

    Raises
    ------
    BadInputError
        One line for each way, which names the runs.
    """
    lines = []
    for columns, what in _ONE_RUN.items():
        if not set(columns) <= set(runs.columns):
            continue
        known = runs.loc[runs[list(columns)].notna().all(axis=1)]
        again = known.duplicated(list(columns), keep=False)
        if again.any():
            copies = known[again].sort_values(list(columns), kind="stable")  # beside each other
            ids = copies["run_id"].astype(str).drop_duplicates()
            more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
            lines.append(
                f"the runs table has runs twice ({what}): {', '.join(ids.head(_NAMED))}{more}; "
                "keep each once"
            )
    if lines:
        raise BadInputError("\n".join(lines))


def summarise(
    runs: pd.DataFrame,
    by: Sequence[str] = CONDITION,
    values: Sequence[str] = ("energy_j_per_image", "duration_s_per_image", "power_w", "f1_macro"),
) -> pd.DataFrame:
    """Return n and, for each value, median and quartiles (``_q1``, ``_q3``) of each group."""
    groups = runs.groupby(list(by), sort=False, observed=True)
    table = groups.size().rename("n").to_frame()
    for value in values:
        table[value] = groups[value].median()
        table[f"{value}_q1"] = groups[value].quantile(0.25)
        table[f"{value}_q3"] = groups[value].quantile(0.75)
    return table.reset_index()


def filter_by(runs: pd.DataFrame, column: str, level: str) -> pd.DataFrame:
    """Return the runs of one level of a column; :class:`BadInputError` if there are none."""
    chosen = runs[runs[column] == level]
    if chosen.empty:
        present = ", ".join(sorted(map(str, runs[column].unique())))
        raise BadInputError(f"{column} {level}: no run has it; these runs have {present}")
    return chosen


def fastest_environment(runs: pd.DataFrame) -> str:
    """Return the environment of the lowest median time per image.

    The median is over the architectures' medians; if possible, only architectures that were trained
    in every environment count.
    """
    if runs.empty:
        raise NotEnoughDataError("there is none to analyse")
    trained_in = runs.groupby("architecture")["environment"].nunique()
    everywhere = trained_in.index[trained_in == runs["environment"].nunique()]
    if len(everywhere):
        runs = runs[runs["architecture"].isin(everywhere)]
    medians = runs.groupby(["environment", "architecture"])["duration_s_per_image"].median()
    return str(medians.groupby("environment").median().idxmin())


def weakest_provenance(runs: pd.DataFrame, column: str = "provenance") -> str:
    """Return the weakest provenance of a figure over these runs.

    ``column`` may be that of one component: ``cpu_provenance``.
    """
    present = set(runs[column].dropna())
    return weakest(present) if present else "not metered"


@dataclass(frozen=True)
class Outliers:
    """Runs that the outlier rule keeps and excludes."""

    kept: pd.DataFrame
    left_out: pd.DataFrame
    """Excluded runs, with their ``modified_z``."""
    value: str
    limit: float

    def sentence(self) -> str:
        """Describe the rule and how many runs it excludes."""
        n = len(self.kept) + len(self.left_out)
        return (
            f"The rule: a run is left out if its {quantity(self.value)} lies further than "
            f"{number(self.limit)} from its condition's median, in modified z (0.6745 times the "
            f"distance over the median absolute deviation). It leaves out {len(self.left_out)} of "
            f"{count(n, 'run')}."
        )


def find_outliers(
    runs: pd.DataFrame,
    value: str = "energy_j_per_image",
    by: Sequence[str] = CONDITION,
    limit: float = OUTLIER_LIMIT,
) -> Outliers:
    """Find runs whose value is far from the median of their group.

    The modified z is 0.6745 (x - median) / MAD (Iglewicz and Hoaglin 1993). Runs without the value
    and groups with a MAD of 0 have no outliers.
    """
    groups = runs.groupby(list(by), sort=False, observed=True)[value]
    distance = runs[value] - groups.transform("median")
    spread = distance.abs().groupby([runs[c] for c in by], sort=False, observed=True)
    mad = spread.transform("median").replace(0.0, np.nan)
    z = _MAD_TO_SIGMA * distance / mad
    apart = z.abs() > limit
    return Outliers(
        kept=runs[~apart].reset_index(drop=True),
        left_out=runs[apart].assign(modified_z=z[apart]).reset_index(drop=True),
        value=value,
        limit=limit,
    )
