"""Read and check a file with an evidence table.

A file is CSV in UTF-8 or UTF-16, separated by commas, semicolons or tabs, with the columns of
:data:`~greencv_core.published.table_format.EVIDENCE_COLUMNS` in any order. Rows are counted as a
spreadsheet counts them: the header is row 1.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from greencv_core.published.cells import parse_column, read_cells
from greencv_core.published.problems import Problem, listed_problems
from greencv_core.published.table_checks import check_rows
from greencv_core.published.table_format import EVIDENCE_COLUMNS, REQUIRED
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.text import listed, one_line

_HINTS = {
    "model": "architecture",
    "network": "architecture",
    "hardware_environment": "environment",
    "energy": "energy_j",
    "joules": "energy_j",
    "energy_kwh": "energy_j (1 kWh is 3.6e6 J)",
    "energy_consumed": "energy_j (1 kWh is 3.6e6 J)",
    "energy_wh": "energy_j (1 Wh is 3600 J)",
    "energy_kj": "energy_j (1 kJ is 1000 J)",
    "images": "images_processed",
    "flops": "gflops_per_image (10^9)",
    "gflops": "gflops_per_image",
    "params": "parameters",
    "accuracy": "correctness, with correctness_name",
    "f1": "correctness, with correctness_name",
    "duration": "duration_s",
    "seconds": "duration_s",
    "gpu": "hardware",
    "batch": "batch_size",
}
"""What columns with other names probably are."""


@dataclass(frozen=True)
class Checked:
    """What a file holds, and what is wrong with it."""

    path: Path
    table: pd.DataFrame
    """The evidence table; of no use where there are problems."""
    problems: list[Problem]
    ignored: tuple[str, ...]
    """Columns of the file that the evidence table does not have."""


def read_table(path: Path) -> pd.DataFrame:
    """Return the evidence table that a file holds.

    It has all columns of the evidence table in order. Energy per image is computed where images
    are given, runs without a name are numbered, and an absent reason for leaving out is empty.

    Raises
    ------
    BadInputError
        Something is wrong with the file; one line for each problem, in one screen.
    """
    checked = read_and_check(path)
    if checked.problems:
        raise BadInputError("\n".join(listed_problems(path, checked.problems)))
    return checked.table


def check_table(path: Path) -> list[Problem]:
    """Return what is wrong with a file, row by row; nothing where it is an evidence table.

    Raises
    ------
    BadInputError
        The file cannot be read, or is not text.
    """
    return read_and_check(path).problems


def read_and_check(path: Path) -> Checked:
    """Read a file and collect its problems.

    Raises
    ------
    BadInputError
        The file cannot be read, or is not text.
    """
    cells = read_cells(path)
    unknown = tuple(name for name in cells.header if name not in EVIDENCE_COLUMNS and name)
    problems = [*cells.problems, *_check_header(cells.header, unknown)]
    frame = pd.DataFrame(index=pd.RangeIndex(len(cells.rows)))
    for field in EVIDENCE_COLUMNS.values():
        if field.name not in cells.columns:
            kind = "str" if field.kind == "string" else "float"
            frame[field.name] = pd.Series(np.nan, index=frame.index, dtype=kind)
            continue
        values, found = parse_column(cells.columns[field.name], field, cells.rows)
        frame[field.name] = values
        problems += found
    if not len(cells.rows) and not problems:
        problems.append(Problem("no rows", "no row but the header"))
    problems += check_rows(frame, cells.rows)
    return Checked(path, _complete(frame), problems, unknown)


def table_csv(table: pd.DataFrame) -> str:
    """Return an evidence table as CSV, without the columns that are empty."""
    names = [
        name
        for name, field in EVIDENCE_COLUMNS.items()
        if name in table and (field.required or not _is_empty(table[name]))
    ]
    whole = {name: "Int64" for name in names if EVIDENCE_COLUMNS[name].kind == "integer"}
    text: str = table[names].astype(whole).to_csv(index=False, lineterminator="\n")
    return text


def _is_empty(values: pd.Series) -> bool:
    return bool((values.isna() | (values == "")).all())


def _check_header(header: tuple[str, ...], unknown: tuple[str, ...]) -> list[Problem]:
    """Find columns that are missing, misspelt or given twice."""
    twice = [name for name, n in Counter(header).items() if n > 1 and name]
    found = [Problem(name, f"column {name!r} is there twice", 1) for name in twice]
    absent = [name for name in EVIDENCE_COLUMNS if name not in header]
    meant: set[str] = set()
    for name in unknown:
        hint = _meaning(name, absent)
        if hint:
            meant.add(hint.split(" ")[0].rstrip(","))
            text = f"unknown column {one_line(name)[:60]!r}; did you mean {hint}?"
            found.append(Problem(name, text, 1))
    needed = [repr(name) for name in absent if name in REQUIRED and name not in meant]
    if needed:
        words = "column" if len(needed) == 1 else "columns"
        found.append(Problem("column", f"no {words} {listed(needed)}: required", 1))
    return found


def _meaning(name: str, absent: list[str]) -> str:
    """Return which absent column an unknown one probably is, or nothing."""
    plain = re.sub(r"\W+", "_", name.casefold()).strip("_")
    hint = _HINTS.get(plain, "")
    if hint and hint.split(" ")[0].rstrip(",") in absent:
        return hint
    nearest = difflib.get_close_matches(plain, absent, n=1, cutoff=0.8)
    return nearest[0] if nearest else ""


def _complete(frame: pd.DataFrame) -> pd.DataFrame:
    """Fill in what follows from other columns."""
    derived = frame["energy_j"] / frame["images_processed"]
    numbers = pd.Series(frame.index + 1, index=frame.index).astype("str")
    return frame.assign(
        energy_j_per_image=frame["energy_j_per_image"].fillna(derived),
        run_id=frame["run_id"].fillna(frame["source"] + "/" + numbers),
        left_out=frame["left_out"].fillna(""),
        correctness_left_out=frame["correctness_left_out"].fillna(""),
    )
