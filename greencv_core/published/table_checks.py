"""Checks of an evidence table's values, of each row and of rows together.

A row that is left out for a reason is not checked: its values may be the reason.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from greencv_core.published.cells import Rows
from greencv_core.published.problems import Problem
from greencv_core.published.table_format import EVIDENCE_COLUMNS, Field
from greencv_core.published.tables import count_devices
from greencv_core.utils.text import count, listed, number

LARGEST_POWER_W = 2000.0
"""Mean power of one device that no product reaches."""
LARGEST_GFLOPS_SPREAD = 0.05
"""Relative difference in GFLOPs of one architecture that rounding can explain."""
LARGEST_DEVIATION = 0.01
"""Relative difference of a given energy per image from energy over images."""
_SAME_RUN = ("source", "dataset", "architecture", "environment", "session", "repetition")
_SAME_MOMENT = ("started_at", "energy_j", "energy_j_per_image", "correctness")
_HINTS = {
    "energy_j": "a run takes energy",
    "energy_j_per_image": "is energy_j in joules, and images_processed of all epochs?",
    "correctness": "a share, not a percentage",
    "power_limit_w": "of one device, in watts",
}


def check_rows(table: pd.DataFrame, rows: Rows) -> list[Problem]:
    """Return what is wrong with the values of a table.

    Parameters
    ----------
    table
        All columns of the evidence table; numbers that could not be read are NaN.
    rows
        Number of each row in the file.
    """
    counted = (table["left_out"].isna() | (table["left_out"] == "")).to_numpy()
    table, rows = table[counted].reset_index(drop=True), rows[counted]
    problems = [
        problem
        for field in EVIDENCE_COLUMNS.values()
        for problem in _outside_limits(table[field.name], field, rows)
    ]
    problems += _dates(table, rows)
    problems += _energies_per_image(table, rows)
    problems += _powers(table, rows)
    problems += _duplicates(table, rows)
    problems += _mixed_provenance(table, rows)
    problems += _contradictions(table, rows)
    return problems


def _outside_limits(values: pd.Series, field: Field, rows: Rows) -> list[Problem]:
    hint = f" ({_HINTS[field.name]})" if field.name in _HINTS else ""
    unit = f" {field.unit}" if field.unit else ""
    limits: list[tuple[pd.Series, str]] = []
    if field.allowed:
        words = f"{', '.join(field.allowed[:-1])} or {field.allowed[-1]}"
        limits.append((values.notna() & ~values.isin(field.allowed), f"must be {words}"))
    if field.positive:
        limits.append((values <= 0, f"must be above zero{hint}"))
    if field.minimum is not None:
        limits.append((values < field.minimum, f"must be at least {field.minimum:g}{unit}"))
    if field.maximum is not None:
        limits.append((values > field.maximum, f"must be at most {field.maximum:,g}{unit}{hint}"))
    return [
        Problem(f"{field.name} {what}", f"{field.name} {what}", int(rows[place]),
                _shown(values.iloc[place]))
        for wrong, what in limits
        for place in np.flatnonzero(wrong)
    ]  # fmt: skip


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)[:60]


def _dates(table: pd.DataFrame, rows: Rows) -> list[Problem]:
    given = table["started_at"].dropna()
    moments = pd.to_datetime(given, format="ISO8601", errors="coerce", utc=True)
    what = "started_at is not a date and time such as 2024-05-31T14:05:00"
    return [
        Problem("started_at", what, int(rows[place]), _shown(given.loc[place]))
        for place in given.index[moments.isna()]
    ]


def _energies_per_image(table: pd.DataFrame, rows: Rows) -> list[Problem]:
    """Check that energy per image can be, and is energy over images where both are given."""
    derived = table["energy_j"] / table["images_processed"]
    given = table["energy_j_per_image"]
    largest = EVIDENCE_COLUMNS["energy_j_per_image"].maximum
    above = (derived > largest) & given.isna()
    other = (given - derived).abs() > LARGEST_DEVIATION * derived
    return [
        Problem(
            "energy per image",
            f"{number(derived[place])} J per image cannot be ({_HINTS['energy_j_per_image']})",
            int(rows[place]),
        )
        for place in np.flatnonzero(above)
    ] + [
        Problem(
            "energy_j_per_image",
            f"energy_j_per_image is {number(given[place])}, but energy_j / images_processed is "
            f"{number(derived[place])}",
            int(rows[place]),
        )
        for place in np.flatnonzero(other)
    ]


def _powers(table: pd.DataFrame, rows: Rows) -> list[Problem]:
    number_of = count_devices(table["hardware"])
    power_w = table["energy_j"] / table["duration_s"].where(table["duration_s"] > 0) / number_of
    return [
        Problem(
            "power",
            f"{number(power_w[place])} W for {count(int(number_of[place]), 'device')} cannot be "
            "(is energy_j in joules, duration_s in seconds, the number of devices in hardware?)",
            int(rows[place]),
        )
        for place in np.flatnonzero(power_w > LARGEST_POWER_W)
    ]


def _duplicates(table: pd.DataFrame, rows: Rows) -> list[Problem]:
    """Find runs that are there twice: by name, by repetition, by start, or in every value."""
    found: dict[int, Problem] = {}
    numbered = table["repetition"].notna()
    named = table["run_id"].notna()
    # A date alone does not identify a run.
    timed = table["started_at"].astype("string").str.contains(":").fillna(False)
    timed &= table["correctness"].notna() & table[["energy_j", "energy_j_per_image"]].any(axis=1)
    ways: tuple[tuple[Sequence[str], pd.Series, str], ...] = (
        (("run_id",), named, "the same run_id"),
        (_SAME_RUN, numbered, "the same condition, session and repetition"),
        (_SAME_MOMENT, timed, "the same start, energy and correctness"),
        (tuple(table.columns), ~named & ~numbered, "every value the same"),
    )
    for names, asked, what in ways:
        part = table.loc[asked, list(names)]
        again = part.duplicated()
        if not again.any():
            continue
        groups = part.groupby(list(names), dropna=False, sort=False)
        first = part.index.to_series().groupby(groups.ngroup()).transform("first")
        for place in np.flatnonzero(again):
            here = part.index[place]
            text = f"the run of row {rows[first[here]]} again ({what})"
            found.setdefault(int(here), Problem("duplicate", text, int(rows[here])))
    return list(found.values())


def _mixed_provenance(table: pd.DataFrame, rows: Rows) -> list[Problem]:
    """Find sources whose energies are known in several ways."""
    found = []
    known = table["provenance"].isin(EVIDENCE_COLUMNS["provenance"].allowed)
    pairs = table.loc[known, ["source", "provenance"]].dropna().drop_duplicates()
    for source, kinds in pairs.groupby("source", sort=False):
        if len(kinds) > 1:
            words = [f"{word} (row {rows[place]})" for place, word in kinds["provenance"].items()]
            text = f"source {source!r} mixes provenances: {listed(words)}; name a source for each"
            found.append(Problem("provenance", text, int(rows[kinds.index[1]])))
    return found


def _contradictions(table: pd.DataFrame, rows: Rows) -> list[Problem]:
    """Find architectures with other GFLOPs in another row, on one data set and framework."""
    given = table[table["gflops_per_image"] > 0]
    names = ["source", "dataset", "framework", "architecture"]
    if given.empty:
        return []
    group = given.groupby(names, dropna=False, sort=False).ngroup()
    first = given["gflops_per_image"].groupby(group).transform("first")
    first_place = given.index.to_series().groupby(group).transform("first")
    off = (given["gflops_per_image"] / first - 1).abs() > LARGEST_GFLOPS_SPREAD
    return [
        Problem(
            "gflops_per_image",
            f"{table['architecture'][place]} has {given['gflops_per_image'][place]:g} GFLOPs per "
            f"image, but {first[place]:g} in row {rows[first_place[place]]} (multiply-adds count "
            "as two operations)",
            int(rows[place]),
        )
        for place in given.index[off]
    ]
