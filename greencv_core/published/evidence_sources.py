"""Evidence tables from what users have: a tidy CSV file, a bundle, or a store of run records."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from greencv_core.analysis import select_runs
from greencv_core.analysis.selection import refuse_duplicates
from greencv_core.analysis.sessions import find_sessions
from greencv_core.published.table_reading import read_table
from greencv_core.records.backends import is_url
from greencv_core.records.backends.bundle import is_bundle
from greencv_core.records.store import Store
from greencv_core.records.table_cache import cached_runs_table
from greencv_core.utils.errors import BadInputError

_ONE_RUN = ["run_id", "started_at", "energy_j", "validation_loss"]
"""Columns by which two runs are the same."""


def load_tables(locations: Iterable[str]) -> dict[str, pd.DataFrame]:
    """Return the evidence table of each source of some files, keyed by the file's name.

    A file with several sources gives a table for each: ``mine.csv: LABORATORY``. Files that share
    a name are keyed by their path.

    Raises
    ------
    BadInputError
        A file is missing or is no evidence table, or two files hold one run; a line for each
        problem of each file.
    """
    locations = list(dict.fromkeys(locations))
    names = [Path(location).name for location in locations]
    tables: dict[str, pd.DataFrame] = {}
    problems: list[str] = []
    for location, name in zip(locations, names, strict=True):
        key = name if name and names.count(name) == 1 else location
        try:
            table = load_table(location)
        except BadInputError as error:
            problems.append(str(error))
            continue
        sources = dict(list(table.groupby("source", sort=False)))
        for source, part in sources.items():
            # Among all runs: those that a rule leaves out later would seem to be pauses.
            named = part.assign(session=find_sessions(part))
            tables[key if len(sources) == 1 else f"{key}: {source}"] = named
    if problems:
        raise BadInputError("\n".join(problems))
    every = [
        table.assign(run_id=f"{key}: " + table["run_id"].astype(str)).reindex(columns=_ONE_RUN)
        for key, table in tables.items()
    ]
    refuse_duplicates(pd.concat(every, ignore_index=True) if every else pd.DataFrame())
    return tables


def load_table(location: str) -> pd.DataFrame:
    """Return the evidence table of a tidy CSV file, of a bundle, or of a store (folder or URL)."""
    if is_url(location) or is_bundle(location) or Path(location).is_dir():
        return _from_records(Store(location))
    return read_table(Path(location))


def _from_records(store: Store) -> pd.DataFrame:
    runs, _ = cached_runs_table(store)
    if runs.empty:
        raise BadInputError(f"{store.where}: no run records")
    selection = select_runs(runs)
    reasons = selection.excluded["reason"]
    table = pd.concat(
        [selection.runs.assign(left_out=""), selection.excluded.assign(left_out=reasons)],
        ignore_index=True,
    )
    if table["study"].nunique() > 1:
        table["dataset"] = table["study"].astype(str) + ": " + table["dataset"].astype(str)
    return table.assign(
        source=Path(str(store.location)).name,
        hardware=table["device_name"],
        correctness=table["f1_macro"],
        correctness_name="macro F1",
    )
