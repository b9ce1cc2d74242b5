"""Problems of a file, each with its row, and a list of them that fits one screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from greencv_core.utils.text import count

SHOWN = 3
"""Problems of one kind that are shown in full."""
LINES = 20
"""Longest list of problems."""
_ROWS = 8
"""Rows that a summary names."""


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a file."""

    kind: str
    """What problems that are summarised together have in common."""
    text: str
    row: int | None = None
    """Row of the file, where the header is row 1; None for the whole file."""
    value: str = ""
    """What the file has there."""
    place: Literal["row", "line"] = "row"
    """What ``row`` counts: rows of a table or lines of a log."""

    def describe(self, path: Path | str) -> str:
        """Return the problem of a file on one line."""
        where = f"{path}" if self.row is None else f"{path}, {self.place} {self.row}"
        return f"{where}: {self.text}" + (f": {self.value!r}" if self.value else "")


def listed_problems(path: Path | str, problems: Sequence[Problem]) -> list[str]:
    """Return one line for each problem; many of one kind are summarised, as are many kinds."""
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem)
    lines: list[str] = []
    for group in kinds.values():
        lines += [problem.describe(path) for problem in group[:SHOWN]]
        if len(group) > SHOWN:
            lines.append(f"{path}: {_summary(group[SHOWN:])}")
    if len(lines) > LINES:
        more = count(len(problems), "problem")
        lines = [*lines[: LINES - 1], f"{path}: and more: {more} in all, of {len(kinds)} kinds"]
    return lines


def _summary(group: Sequence[Problem]) -> str:
    numbers = [str(problem.row) for problem in group if problem.row is not None]
    named = ", ".join(numbers[:_ROWS]) + (", ..." if len(numbers) > _ROWS else "")
    return f"the same in {count(len(group), f'more {group[0].place}')} ({named})"
