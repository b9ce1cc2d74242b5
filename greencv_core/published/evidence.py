"""The runs tables of all published data sets."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from greencv_core.published import DATA_SETS, load_published, smallest_first
from greencv_core.published.evidence_bundle import read_evidence, shipped_evidence
from greencv_core.published.seaa2023.corrected import corrected_runs
from greencv_core.published.seaa2023.reanalysis import load_reanalysis
from greencv_core.published.seaa2023.runs import NAME as SEAA2023
from greencv_core.published.tables import typed
from greencv_core.utils.downloads import DataUnavailableError, Progress, summarise_problems

ORIGIN = "origin"
"""Key of :attr:`pandas.DataFrame.attrs` with a sentence that says where a table comes from."""
FROM_BUNDLE = "from_bundle"
"""Key of :attr:`pandas.DataFrame.attrs`: whether a table comes from the bundle."""


def load_evidence(
    names: Iterable[str] = DATA_SETS, progress: Progress | None = None
) -> dict[str, pd.DataFrame]:
    """Return the runs table of each data set, by its name.

    The files are downloaded, the smallest data set first. A data set whose files are not available
    comes from the bundle that is part of the project; ``table.attrs["origin"]`` says which it was.

    Raises
    ------
    BadInputError
        A name is unknown.
    DataUnavailableError
        A data set can neither be downloaded nor read from the bundle.
    """
    names = list(names)
    tables = {name: _load(name, progress) for name in smallest_first(names)}
    return {name: tables[name] for name in names}


def derive_table(name: str, progress: Progress | None = None) -> pd.DataFrame:
    """Return a data set's runs table from its files; all of them must be available.

    Raises
    ------
    BadInputError
        The name is unknown.
    DataUnavailableError
        A file is missing or damaged.
    """
    if name != SEAA2023:
        return typed(load_published(name, progress))
    reanalysis = load_reanalysis(progress)
    if reanalysis.problems:
        raise DataUnavailableError("\n".join(summarise_problems(reanalysis.problems)))
    return typed(corrected_runs(reanalysis))


def _load(name: str, progress: Progress | None) -> pd.DataFrame:
    try:
        table = derive_table(name, progress)
    except DataUnavailableError as unavailable:
        path = shipped_evidence()
        if not path.is_file():
            raise
        table, metadata = read_evidence(path, name)
        reason = str(unavailable).partition("\n")[0]
        table.attrs[FROM_BUNDLE] = True
        table.attrs[ORIGIN] = (
            f"{name}: from {path.name} (derived by greencv {metadata['greencv_version']} from "
            f"commit {metadata['sources'][name]['commit'][:12]}), because {reason}"
        )
    else:
        table.attrs[FROM_BUNDLE] = False
        table.attrs[ORIGIN] = f"{name}: derived from the published files"
    return table
