"""Registry of published data sets: their measurements as runs tables and trajectories.

To add a data set NAME, add three things:

1. ``published/NAME.py``, an adapter module (or a package, as ``seaa2023``) with the names of
   :class:`Adapter`, and ``published_trajectories(files)``, which returns a list, if its files hold
   trajectories;
2. ``published/NAME.sha256``, its manifest: the output of ``sha256sum`` for its files. The adapter
   reads it with :func:`load_manifest`;
3. NAME in :data:`DATA_SETS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, cast

import pandas as pd

from greencv_core.estimation.trajectory import Trajectory
from greencv_core.published.card import Card
from greencv_core.utils.answers import remembered
from greencv_core.utils.downloads import (
    DataUnavailableError,
    Fetched,
    Progress,
    Release,
    fetch,
    read_manifest,
    summarise_problems,
)
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.intact import files_digest

DATA_SETS = (
    "seaa2023",
    "fischer2022",
    "zeus2023",
    "ecnas2022",
    "pepr2024",
)
"""Names of the data sets, which are the names of their modules in this package."""
METER_COMPARISONS = ("xu2023",)
"""Data sets that compare meters; no claim is evaluated on them."""

__all__ = [
    "DATA_SETS",
    "METER_COMPARISONS",
    "DataUnavailableError",
    "fetch",
    "load_adapter",
    "load_manifest",
    "load_published",
    "published_trajectories",
    "runs_from_files",
    "smallest_first",
]


class Adapter(Protocol):
    """Names that the module of a data set defines."""

    RELEASE: Release
    """Address of the publication, and its files by hash."""
    NEEDED: tuple[str, ...]
    """Files that the runs table is made from."""
    CARD: Card
    """What was measured, its defects and the rules for them."""

    def published_runs(self, files: Mapping[str, Path]) -> pd.DataFrame:
        """Return the runs table from the available files, which include all of ``NEEDED``."""


def load_adapter(name: str) -> Adapter:
    """Import the module of a data set.

    Raises
    ------
    BadInputError
        The name is unknown.
    """
    known = (*DATA_SETS, *METER_COMPARISONS)
    if name not in known:
        raise BadInputError(f"{name}: no such published data; known: {', '.join(known)}")
    return cast(Adapter, importlib.import_module(f"{__name__}.{name}"))


def smallest_first(names: Iterable[str]) -> list[str]:
    """Return the names of data sets, those with the fewest files first.

    Raises
    ------
    BadInputError
        A name is unknown.
    """
    return sorted(names, key=lambda name: len(load_adapter(name).RELEASE.hashes))


def load_manifest(name: str) -> Mapping[str, str]:
    """Return the hashes of a data set's files, by path, from its manifest in this package."""
    text = resources.files(__name__).joinpath(f"{name}.sha256").read_text(encoding="utf-8")
    return MappingProxyType(read_manifest(text))


def load_published(name: str, progress: Progress | None = None) -> pd.DataFrame:
    """Return a data set's runs table; downloads only the files that it needs.

    Raises
    ------
    BadInputError
        The name is unknown.
    DataUnavailableError
        The files cannot be downloaded.
    """
    adapter = load_adapter(name)
    needed = adapter.RELEASE.select(lambda path: path in adapter.NEEDED)
    return runs_from_files(name, fetch(needed, progress))


def runs_from_files(name: str, fetched: Fetched) -> pd.DataFrame:
    """Return a data set's runs table from downloaded files; errors as :func:`load_published`."""
    adapter = load_adapter(name)
    missing = tuple(f"{path}:" for path in adapter.NEEDED if path not in fetched.files)
    if missing:
        reasons = [problem for problem in fetched.problems if problem.startswith(missing)]
        raise DataUnavailableError("\n".join(reasons))
    files = {path: fetched.files[path] for path in adapter.NEEDED}
    return _published_runs(name, files, files_digest(files.values()))


@remembered
def _published_runs(name: str, files: Mapping[str, Path], content: str) -> pd.DataFrame:
    return load_adapter(name).published_runs(files)


@remembered
def _published_trajectories(name: str, files: Mapping[str, Path], content: str) -> list[Trajectory]:
    adapter: Any = load_adapter(name)
    return list(adapter.published_trajectories(files))


def published_trajectories(name: str, progress: Progress | None = None) -> list[Trajectory]:
    """Return the trajectories of a data set's trainings; downloads all of its files.

    Files that cannot be downloaded or read are left out.

    Raises
    ------
    BadInputError
        The name is unknown, or the data set has no trajectories.
    DataUnavailableError
        No trajectory is available.
    """
    adapter = load_adapter(name)
    if not hasattr(adapter, "published_trajectories"):
        raise BadInputError(f"{name}: the files of this data set hold no trajectories")
    fetched = fetch(adapter.RELEASE, progress)
    files = dict(fetched.files)
    found = _published_trajectories(name, files, files_digest(files.values()))
    if not found:
        lines = (f"{name}: no log of a training can be read", *summarise_problems(fetched.problems))
        raise DataUnavailableError("\n".join(lines))
    return found
