"""Columns that the runs tables of all published data sets share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pandas as pd

from greencv_core.analysis.selection import refuse_duplicates
from greencv_core.analysis.sessions import find_sessions
from greencv_core.published.table_format import EVIDENCE_COLUMNS
from greencv_core.records.columns import RUNS_COLUMNS, Kind
from greencv_core.utils.secrets import safe_line

Content = TypeVar("Content")
_CLASSES = {
    "CIFAR-10": 10, "CIFAR-100": 100, "ImageNet": 1000, "MNIST": 10, "derma": 7, "lidc": 2,
    "pneumonia": 2, "private images of two classes": 2,
}  # fmt: skip
"""Classes of the data sets that were trained on, by name."""


def read_content(
    source: str, path: str, read: Callable[[], Content], problems: list[str]
) -> Content | None:
    """Return what a function reads from a file; None, and a line in ``problems``, if it cannot."""
    try:
        return read()
    except KeyError as error:
        reason = f"{error} is missing"
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        reason = f"not as published ({safe_line(error)})"
    problems.append(f"{source}: {path}: {reason}")
    return None


def complete_table(runs: pd.DataFrame, source: str) -> pd.DataFrame:
    """Add the missing columns of the runs table and the evidence table to published runs.

    Energy and time per image, images per second and mean power follow from the others; ``run_id``
    follows from the column ``run``, which is dropped. Reasons are empty where there are none.
    Sessions are found among all runs: a rule that leaves runs out must not make pauses.

    Parameters
    ----------
    runs
        One row a run, with ``run`` (unique), ``architecture``, ``environment`` and ``energy_j``.
    source
        Key of the data set.
    """
    runs = runs.assign(
        run_id=source + "/" + runs["run"].astype(str),
        source=source,
        study=source,
        status="finished",
        provenance="published",
        complete=True,
        disturbed=False,
    ).drop(columns="run")
    for reason in ("left_out", "correctness_left_out"):
        runs[reason] = runs[reason].fillna("") if reason in runs else ""
    known = list(dict.fromkeys([*RUNS_COLUMNS, *EVIDENCE_COLUMNS]))
    runs = runs.reindex(columns=[*known, *(c for c in runs.columns if c not in known)])
    named = runs["dataset"].map(_CLASSES).astype(float)
    runs["classes"] = pd.to_numeric(runs["classes"]).astype(float).fillna(named)
    images = pd.to_numeric(runs["images_processed"]).astype(float)
    duration_s = pd.to_numeric(runs["duration_s"]).astype(float)
    return runs.assign(
        session=find_sessions(runs),
        energy_j_per_image=runs["energy_j"] / images,
        power_w=runs["energy_j"] / duration_s,
        duration_s_per_image=duration_s / images,
        images_per_s=images / duration_s,
    )


def counted_runs(table: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that no rule leaves out.

    Raises
    ------
    BadInputError
        A run is in the table twice.
    """
    refuse_duplicates(table)
    if "left_out" not in table:
        return table
    return table[table["left_out"].fillna("").eq("")]


def count_devices(hardware: pd.Series) -> pd.Series:
    """Return the number of devices: that before the x of ``8x A100`` or ``8x-A100``, else 1."""
    numbers = hardware.astype("string").str.extract(r"^\s*(\d+)\s*x(?![a-z0-9])", expand=False)
    return pd.to_numeric(numbers, errors="coerce").astype(float).fillna(1.0).clip(lower=1.0)


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose columns have the same types whether it is derived or read from a file.

    Whole numbers are float where a row has none.
    """
    return pd.DataFrame({name: _typed(table[name]) for name in table.columns})


def _typed(values: pd.Series) -> pd.Series:
    kind = column_kind(values)
    complete = bool(values.notna().all())
    if kind in ("integer", "number"):
        numbers = pd.to_numeric(values).astype(float)
        return numbers.astype("int64") if complete and kind == "integer" else numbers
    if kind == "boolean" and complete:
        return values.astype(bool)
    return values.astype("str")


def column_kind(values: pd.Series) -> Kind:
    """Return the kind of a column: as defined, or of its values."""
    name = str(values.name)
    if name in RUNS_COLUMNS:
        return RUNS_COLUMNS[name].kind
    if name in EVIDENCE_COLUMNS:
        return EVIDENCE_COLUMNS[name].kind
    if pd.api.types.is_bool_dtype(values):
        return "boolean"
    return "number" if pd.api.types.is_numeric_dtype(values) else "string"
