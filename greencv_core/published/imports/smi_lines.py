"""Lines of a log of nvidia-smi, as people have them, read one by one.

:mod:`greencv_core.published.seaa2023.nvidia_smi` is the fast reader of the original study's logs,
whose columns are known. This one takes any columns, and names the line that it cannot read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from greencv_core.published.problems import Problem, listed_problems
from greencv_core.published.seaa2023.nvidia_smi import HEADERS, ending_of
from greencv_core.published.text_files import read_text
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.text import count, one_line

GPU_KEYS = ("uuid", "gpu_uuid", "pci.bus_id", "gpu_bus_id", "index", "serial", "gpu_serial", "name")
"""Columns that identify a GPU, the surest first; a name does if no two GPUs have it."""
_POWERS = ("power.draw", "power.draw.average", "power.draw.instant")
_OWN, _RENAMED = HEADERS
_TITLES = {
    **{new: re.sub(r" \[.*", "", old) for new, old in zip(_RENAMED, _OWN, strict=True)},
    "gpu_name": "name",
}
"""Names that nvidia-smi gives, by other names of the same columns."""
_TITLE = re.compile(r"^([^\[]+?)\s*(?:\[(.*)\])?$")
_MISSING = re.compile(r"^\[.*\]$|^N/A$|^ERR!$|^Unknown Error$", re.IGNORECASE)
_QUANTITY = re.compile(r"^(-?\d+(?:\.\d*)?)\s*(\S*)$")
_UNITS = {"power_w": "W", "utilization_pct": "%"}
_COMMAND = "nvidia-smi --query-gpu=timestamp,index,name,power.draw --format=csv -l 1"


@dataclass(frozen=True)
class Lines:
    """The readings of a log, one row a line."""

    path: Path
    table: pd.DataFrame
    """Columns ``line``, ``time_s``, ``power_w`` and ``utilization_pct`` (NaN where the log has no
    value), and those of :data:`GPU_KEYS` that the log has."""
    notes: list[str]


def read_lines(path: Path) -> Lines:
    """Read a log.

    Raises
    ------
    BadInputError
        The file is no such log, or a line is invalid; one line for each problem.
    """
    *whole, rest = read_text(path).split("\n")
    numbered = [(n, line) for n, line in enumerate(whole, 1) if line.strip()]
    header = numbered[0][1] if numbered else rest
    columns = _columns(path, header)
    notes, problems, readings, lines = [], [], [], []
    repeated = 0
    for n, line in numbered[1:]:
        if line.strip() == header.strip():
            repeated += 1
            continue
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == len(columns):
            readings.append(cells)
            lines.append(n)
        else:
            text = f"{count(len(cells), 'value')}, but the header has {len(columns)}"
            problems.append(Problem("values", text, n, one_line(line)[:60], "line"))
    table = pd.DataFrame(readings, columns=pd.Index(columns), dtype="str")
    table.insert(0, "line", pd.Series(lines, dtype="int64"))
    read, found = _values(table)
    if problems or found:
        raise BadInputError("\n".join(listed_problems(path, [*problems, *found])))
    if read.empty:
        raise BadInputError(f"{path}: no reading; the log has a header only")
    if rest.strip():
        notes.append(f"its last line is left out ({ending_of(rest.encode(), len(columns) - 1)})")
    if repeated:
        notes.append(f"its header is repeated ({count(repeated, 'time')})")
    missing = int(read["power_w"].isna().sum())
    if missing:
        of = count(len(read), "reading")
        notes.append(f"{missing} of {of} without a power; those around them are joined")
    return Lines(path, read, notes)


def identity(table: pd.DataFrame) -> pd.Series:
    """Return which GPU each reading is of, as far as the log says."""
    for name in GPU_KEYS:
        if name in table and not table[name].str.match(_MISSING).any():
            return table[name].astype("str")
    return pd.Series("", index=table.index, dtype="str")


def _columns(path: Path, header: str) -> list[str]:
    """Return the columns of a header, by our names where we read them."""
    titles = [_TITLE.match(cell.strip()) for cell in header.split(",")]
    names = [title[1] if title else "" for title in titles]
    names = [_TITLES.get(name, name) for name in names]
    power = next((name for name in _POWERS if name in names), None)
    if "timestamp" not in names or power is None:
        shown = one_line(header)[:60]
        what = f"no log of nvidia-smi with times and powers: it begins with {shown!r}"
        raise BadInputError(f"{path}, line 1: {what}; make one with {_COMMAND}")
    unit = titles[names.index(power)]
    if unit is not None and unit[2] not in (None, "W"):
        raise BadInputError(f"{path}, line 1: power in {unit[2]}; nvidia-smi writes W")
    ours = {"utilization.gpu": "utilization_pct", power: "power_w"}
    names = [ours.get(name, name) for name in names]
    used = ("timestamp", *_UNITS, *GPU_KEYS)
    twice = [name for name in used if names.count(name) > 1]
    if twice:
        raise BadInputError(f"{path}, line 1: column {twice[0]!r} is there twice")
    return [name if name in used else f"{name} {place}" for place, name in enumerate(names)]


def _values(table: pd.DataFrame) -> tuple[pd.DataFrame, list[Problem]]:
    """Return times in seconds and numbers in our units, and the cells that are none."""
    problems: list[Problem] = []
    lines = table["line"]
    read = table[["line", *(name for name in GPU_KEYS if name in table)]].copy()
    dates = table["timestamp"].str.replace("/", "-")
    # The log has its writer's local time; pandas raises for dates of which only some have a zone.
    dates = dates.where(dates.str.fullmatch(r"\d+-\d+-\d+[T ][\d:.]+"))
    moments = pd.to_datetime(dates, format="ISO8601", errors="coerce")
    for place in moments.index[moments.isna()]:
        text = "no date and time such as 2024/05/31 14:05:00.000"
        shown = one_line(table["timestamp"][place])[:40]
        problems.append(Problem("timestamp", text, int(lines[place]), shown, "line"))
    read["time_s"] = moments.astype("datetime64[us]").astype("int64") / 1e6
    for name, unit in _UNITS.items():
        texts = table[name] if name in table else pd.Series("N/A", index=table.index, dtype="str")
        parts = texts.str.extract(_QUANTITY)
        read[name] = pd.to_numeric(parts[0], errors="coerce").astype(float)
        missing = texts.str.match(_MISSING).astype(bool)
        wrong = ~missing & (read[name].isna() | ~parts[1].isin(["", unit]))
        for place in wrong.index[wrong]:
            what = name.rpartition("_")[0]
            text = f"no {what} in {unit}"
            shown = one_line(texts[place])[:40]
            problems.append(Problem(name, text, int(lines[place]), shown, "line"))
    return read, problems
