"""Others' measurements as runs tables, so that one analysis serves theirs and ours.

To add a data set: a module that offers what :class:`Adapter` asks (``seaa2023.py`` is the pattern),
a line in :data:`DATA_SETS`, and beside the module its manifest, ``<name>.sha256``, which is what
``sha256sum`` prints of its files. If its files hold trajectories, a module that offers what
:class:`CourseAdapter` asks and a line in :data:`COURSES`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, cast

import pandas as pd

from greencv_core.estimation.trajectory import Trajectory
from greencv_core.utils.downloads import (
    DataUnavailableError,
    Fetched,
    Progress,
    Release,
    fetch,
    summarise_problems,
)
from greencv_core.utils.errors import BadInputError

DATA_SETS = {"seaa2023": "greencv_core.published.seaa2023.runs"}
COURSES = {"seaa2023": "greencv_core.published.seaa2023.trajectories"}
"""Those data sets that hold more than figures of whole trainings."""

__all__ = [
    "COURSES",
    "DATA_SETS",
    "DataUnavailableError",
    "adapter",
    "fetch",
    "published_runs",
    "published_trajectories",
    "runs_from_files",
]


class Adapter(Protocol):
    """What the module of a data set offers."""

    RELEASE: Release
    NEEDED: tuple[str, ...]
    """The files without which there is no runs table."""

    def published_runs(self, files: Mapping[str, Path]) -> pd.DataFrame:
        """Return the runs table, from the files at hand; all of ``NEEDED`` are."""


class CourseAdapter(Protocol):
    """What the module of a data set's trajectories offers."""

    def published_trajectories(self, files: Mapping[str, Path]) -> list[Trajectory]:
        """Return the trainings that can be read from the files at hand; it may be none."""


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
    return runs_from_files(
        name, fetch(module.RELEASE.select(lambda path: path in module.NEEDED), progress)
    )


def runs_from_files(name: str, fetched: Fetched) -> pd.DataFrame:
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


def published_trajectories(name: str, progress: Progress | None = None) -> list[Trajectory]:
    """Return the trajectories of a data set's trainings; all of its files are downloaded.

    What cannot be had or read is left out.

    Raises
    ------
    BadInputError
        There is no such data set, or it tells no trajectories.
    DataUnavailableError
        Not one training can be had here.
    """
    release = adapter(name).RELEASE
    if name not in COURSES:
        raise BadInputError(f"{name}: no trajectories; available for: {', '.join(COURSES)}")
    fetched = fetch(release, progress)
    module = cast(CourseAdapter, importlib.import_module(COURSES[name]))
    found = module.published_trajectories(fetched.files)
    if not found:
        lines = (f"{name}: no log of a training can be read", *summarise_problems(fetched.problems))
        raise DataUnavailableError("\n".join(lines))
    return found
