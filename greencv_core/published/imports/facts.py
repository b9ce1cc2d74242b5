"""The evidence table of imported runs: their files' values, and what the user states."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from greencv_core.published.problems import LINES, Problem, listed_problems
from greencv_core.published.table_checks import check_rows
from greencv_core.published.table_format import EVIDENCE_COLUMNS
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.text import listed, one_line


@dataclass(frozen=True)
class Facts:
    """What a user says of all runs of some files.

    Texts may hold names in braces: of columns of the file, such as ``{project_name}``; of parts of
    its path, by ``path_pattern``; and ``{file}`` and ``{folder}``, the names of the file (without
    its suffix) and of its folder.
    """

    architecture: str
    environment: str
    source: str
    dataset: str | None = None
    framework: str | None = None
    hardware: str | None = None
    """What the energy is of; None for what the file says."""
    session: str | None = None
    batch_size: int | None = None
    power_limit_w: float | None = None
    images_processed: int | None = None
    epochs: float | None = None
    idle_power_w: float | None = None
    gflops_per_image: float | None = None
    parameters: int | None = None
    correctness: float | None = None
    correctness_name: str | None = None
    path_pattern: str | None = None
    """How the paths of the files end, with names in braces: ``logs/{model}-{n}.csv``."""


@dataclass(frozen=True)
class Measured:
    """One run that a file holds."""

    path: Path
    row: int
    """Row or line of the file where the run is, or begins."""
    values: Mapping[str, Any]
    """Values of columns of the evidence table."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Texts that may be used in braces."""
    place: Literal["row", "line"] = "row"
    """What ``row`` counts."""


def combine(runs: Sequence[Measured], facts: Facts) -> pd.DataFrame:
    """Return the evidence table of measured runs, of which a user states the facts.

    Runs of a condition are numbered in the order in which they began.

    Raises
    ------
    BadInputError
        A name in braces is unknown, or a value is implausible; one line for each problem.
    """
    stated = {name: value for name, value in asdict(facts).items() if value is not None}
    pattern = stated.pop("path_pattern", None)
    rows = []
    for run in runs:
        names = {**run.names, "file": run.path.stem, "folder": run.path.absolute().parent.name}
        names |= _names_in(run.path, pattern) if pattern else {}
        filled = {
            name: _fill(name, value, names, run.path) if isinstance(value, str) else value
            for name, value in stated.items()
        }
        rows.append({**run.values, **filled})
    table = pd.DataFrame(rows).reindex(columns=list(EVIDENCE_COLUMNS))
    kinds = {name: "str" for name, column in EVIDENCE_COLUMNS.items() if column.kind == "string"}
    table = table.astype(kinds | {name: float for name in table if name not in kinds})
    condition = ["source", "dataset", "architecture", "environment"]
    order = table.sort_values("started_at", kind="stable")
    table["repetition"] = order.groupby(condition, dropna=False).cumcount()
    _check(table, runs)
    return table


def _check(table: pd.DataFrame, runs: Sequence[Measured]) -> None:
    """Refuse a run that is there twice, and implausible values; each is named in its own file."""
    lines: list[str] = []
    first: dict[str, Measured] = {}
    for name, run in zip(table["run_id"], runs, strict=True):
        other = first.setdefault(name, run)
        if other is not run:
            text = f"run {name!r} is in {other.path}, {other.place} {other.row}, too"
            twice = Problem("duplicate", text, run.row, place=run.place)
            lines.append(twice.describe(run.path))
    places = pd.Series(range(len(runs))).groupby([str(run.path) for run in runs], sort=False)
    for path, group in places:
        rows = np.array([runs[place].row for place in group], dtype=np.int64)
        part = table.iloc[group.to_numpy()]
        found = [replace(problem, place=runs[group.iloc[0]].place)
                 for problem in check_rows(part, rows) if problem.kind != "duplicate"]  # fmt: skip
        lines += listed_problems(str(path), found)
    if not lines and table["provenance"].nunique() > 1:
        words = listed(sorted(table["provenance"].unique()))
        lines = [f"the files' energies are {words}; import them apart, each with its --source"]
    if lines:
        raise BadInputError("\n".join(lines[:LINES]))


def _names_in(path: Path, pattern: str) -> dict[str, str]:
    """Return the part of a path that each name in a pattern matches."""
    names: list[str] = []
    parts = re.split(r"\{([^{}]*)\}", pattern)
    for place in range(1, len(parts), 2):
        names.append(parts[place])
        parts[place] = r"([^/]+?)"
    parts[::2] = [re.escape(part) for part in parts[::2]]
    found = re.search(rf"(?:^|(?<=/)){''.join(parts)}$", path.absolute().as_posix())
    if not found:
        raise BadInputError(f"--path-pattern: {path} does not end as {pattern!r} says")
    return dict(zip(names, found.groups(), strict=True))


def _fill(name: str, template: str, names: Mapping[str, str], path: Path) -> str:
    """Replace names in braces."""
    option = f"--{name.replace('_', '-')}"
    known = listed([f"{{{one}}}" for one in sorted(names)])

    def value(match: re.Match[str]) -> str:
        if match[1] not in names:
            raise BadInputError(f"{option}: {path} has no {match[0]}; known: {known}")
        if not names[match[1]]:
            raise BadInputError(f"{option}: {match[0]} is empty in {path}")
        return names[match[1]]

    return one_line(re.sub(r"\{([^{}]*)\}", value, template))
