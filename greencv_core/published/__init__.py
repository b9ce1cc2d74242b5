"""Others' measurements as runs tables, so that one analysis serves theirs and ours.

To add a data set: a module that offers what :class:`Adapter` asks (``seaa2023.py`` is the pattern),
a line in :data:`DATA_SETS`, and beside the module its manifest, ``<name>.sha256``, which is what
``sha256sum`` prints of its files.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, cast

import pandas as pd

from greencv_core.errors import BadInputError
from greencv_core.published.download import (
    DataUnavailableError,
    Fetched,
    Progress,
    Release,
    fetch,
)

DATA_SETS = {"seaa2023": "greencv_core.published.seaa2023"}

__all__ = ["DATA_SETS", "DataUnavailableError", "adapter", "fetch", "published_runs", "tabulated"]


class Adapter(Protocol):
    """What the module of a data set offers."""

    RELEASE: Release
    NEEDED: tuple[str, ...]
    """The files without which there is no runs table."""

    def published_runs(self, files: Mapping[str, Path]) -> pd.DataFrame:
        """Return the runs table, from the files at hand; all of ``NEEDED`` are."""


def adapter(name: str) -> Adapter:
    """Return the module of a data set.

    Raises
    ------
    BadInputError
        There is none of that name.
    """
    if name not in DATA_SETS:
        raise BadInputError(f"{name}: no such published data; known: {', '.join(DATA_SETS)}")
    return cast(Adapter, importlib.import_module(DATA_SETS[name]))


def published_runs(name: str, progress: Progress | None = None) -> pd.DataFrame:
    """Return a data set's runs table; only the files that it needs are downloaded.

    Raises
    ------
    BadInputError
        There is no such data set.
    DataUnavailableError
        The files cannot be had here.
    """
    module = adapter(name)
    return tabulated(name, fetch(module.RELEASE.some(lambda path: path in module.NEEDED), progress))


def tabulated(name: str, fetched: Fetched) -> pd.DataFrame:
    """Return a data set's runs table from files that were fetched.

    Raises
    ------
    BadInputError
        There is no such data set.
    DataUnavailableError
        A file that is needed is not among them.
    """
    module = adapter(name)
    lacking = tuple(f"{path}:" for path in module.NEEDED if path not in fetched.files)
    if lacking:
        reasons = [problem for problem in fetched.problems if problem.startswith(lacking)]
        raise DataUnavailableError("\n".join(reasons))
    return module.published_runs(fetched.files)
