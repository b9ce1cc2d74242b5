"""Cells of a CSV file, and the values in its columns."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from greencv_core.published.problems import Problem
from greencv_core.published.table_format import MISSING, Field
from greencv_core.published.text_files import read_text
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.text import one_line

Rows = npt.NDArray[np.int64]
"""Numbers of rows in a file."""
_NUMBER = r"^-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_SEPARATORS = ",;\t"
_LARGEST_INTEGER = 2.0**53


@dataclass(frozen=True)
class Cells:
    """The cells of a file as text."""

    columns: Mapping[str, pa.ChunkedArray]
    rows: Rows
    """Number of each row in the file."""
    header: tuple[str, ...]
    problems: list[Problem]


def read_cells(path: Path) -> Cells:
    """Split a file into cells. Rows with too few or too many cells are problems.

    Raises
    ------
    BadInputError
        The file cannot be read, or is not text.
    """
    text = read_text(path)
    first = text.split("\n", 1)[0]
    separator = max(_SEPARATORS, key=first.count)
    lines = csv.reader(io.StringIO(text), delimiter=separator)
    try:
        header = tuple(cell.strip() for cell in next(lines, []))
    except csv.Error:
        header = ()
    if not any(header):
        raise BadInputError(f"{path}: no header; the first row names the columns")
    rest = text.split("\n", lines.line_num)[lines.line_num :]
    problems: list[Problem] = []
    skipped: list[int] = []

    def skip(row: arrow_csv.InvalidRow) -> str:
        skipped.append(row.number)
        cells = "1 cell" if row.actual_columns == 1 else f"{row.actual_columns} cells"
        what = f"{cells}, but the header has {row.expected_columns}"
        problems.append(Problem("cells", what, row.number + 1, one_line(row.text)[:40]))
        return "skip"

    names = [f"{place}" for place in range(len(header))]
    table = pa.table({name: pa.array([], pa.string()) for name in names})
    content = (rest[0] if rest else "").encode()
    if content.strip():
        table = _split(path, content, names, separator, skip)
    rows = np.setdiff1d(np.arange(len(table) + len(skipped)) + 1, skipped) + 1
    columns = {name: pc.utf8_trim_whitespace(table[str(i)]) for i, name in enumerate(header)}
    empty = np.ones(len(table), dtype=bool)
    for values in columns.values():
        empty &= np.asarray(pc.equal(values, ""))
    keep = pa.array(~empty)
    kept = {name: values.filter(keep) for name, values in columns.items()}
    return Cells(kept, rows[~empty], header, problems)


def _split(
    path: Path,
    content: bytes,
    names: list[str],
    separator: str,
    skip: Callable[[arrow_csv.InvalidRow], str],
) -> pa.Table:
    try:
        return arrow_csv.read_csv(
            pa.BufferReader(content),
            arrow_csv.ReadOptions(
                column_names=names, use_threads=False, block_size=len(content) + 1
            ),
            arrow_csv.ParseOptions(
                delimiter=separator,
                newlines_in_values=True,
                ignore_empty_lines=False,
                invalid_row_handler=skip,
            ),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise BadInputError(f"{path}: not a table: {one_line(error)}") from error


def parse_column(
    cells: pa.ChunkedArray, field: Field, rows: Rows
) -> tuple[pd.Series, list[Problem]]:
    """Return the values of a column, and its cells that are no such values.

    Texts are of pandas' type of strings, whole numbers of integers where no cell is empty, and
    other numbers of floats; what cannot be read is NaN.
    """
    missing = pc.is_in(cells, value_set=pa.array(MISSING))
    needed = np.asarray(missing) & field.required
    absent = [Problem(f"no {field.name}", f"no {field.name}", int(row)) for row in rows[needed]]
    if field.kind == "string":
        texts = pc.if_else(missing, pa.scalar(None, pa.string()), cells)
        values = pd.Series(texts.to_pandas(), dtype="str")
        odd = {text for text in pc.unique(cells).to_pylist() if not text.isprintable()}
        wrong = np.asarray(pc.is_in(cells, value_set=pa.array(odd, pa.string())))
        return values, absent + _bad_cells(cells, wrong, field, "holds a control character", rows)
    valid = pc.match_substring_regex(cells, _NUMBER)
    numbers = pc.cast(pc.if_else(valid, cells, pa.scalar(None, pa.string())), pa.float64())
    values = pd.Series(numbers.to_numpy(), dtype=float)
    given = ~np.asarray(missing)
    wrong = given & ~np.isfinite(values.to_numpy())
    found = absent + _bad_cells(cells, wrong, field, "is not a number", rows)
    if field.kind == "integer":
        array = values.to_numpy()
        with np.errstate(invalid="ignore"):
            whole = (array == np.floor(array)) & (np.abs(array) <= _LARGEST_INTEGER)
        part = given & ~wrong & ~whole
        found += _bad_cells(cells, part, field, "is not a whole number", rows)
        values = values.mask(part)
        if whole.all() and len(array):
            values = values.astype("int64")
    return values, found


def _bad_cells(
    cells: pa.ChunkedArray, wrong: np.ndarray, field: Field, what: str, rows: Rows
) -> list[Problem]:
    places = np.flatnonzero(wrong)
    comma = " (decimal commas must be points)" if "number" in what else ""
    found = []
    for place in places:
        text = one_line(cells[place].as_py())[:40]
        hint = comma if re.fullmatch(r"-?\d+,\d+", text) else ""
        found.append(Problem(f"{field.name}: {what}", f"{field.name} {what}{hint}",
                             int(rows[place]), text))  # fmt: skip
    return found
