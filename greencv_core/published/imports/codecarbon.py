"""Runs that CodeCarbon wrote to ``emissions.csv``, of its versions 1 to 3.

Version 1 has ``energy_consumed`` alone; version 2 adds the energies of CPU, GPU and RAM, 2.2 the
data centre's PUE, and version 3 utilisations and water. Energies are in kWh and include the PUE,
which is removed. The columns do not say how an energy is known: CodeCarbon reads the energy
counter of NVIDIA's GPUs, reads RAPL for the CPU or assumes a share of its rated power, and always
assumes the power of the memory. So the sum, the CPU and the memory are estimated, and only an
NVIDIA GPU's energy is measured.

A tracker that is flushed writes a row each time, with all energy since its start: the last row of
a run counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from greencv_core.published.cells import Cells, parse_column, read_cells
from greencv_core.published.imports.facts import Facts, Measured, combine
from greencv_core.published.problems import Problem, listed_problems
from greencv_core.published.table_format import Field
from greencv_core.utils.energy import J_PER_KWH, Provenance
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.text import count, listed

Part = Literal["all", "gpu", "cpu", "ram"]
"""Whose energy a run takes."""
_COLUMNS: dict[Part, str] = {
    "all": "energy_consumed", "gpu": "gpu_energy", "cpu": "cpu_energy", "ram": "ram_energy",
}  # fmt: skip
_NEEDED = ("timestamp", "duration", "energy_consumed")
_OPTIONAL = ("cpu_energy", "gpu_energy", "ram_energy", "pue",
             "gpu_utilization_percent")  # fmt: skip
_RUNS = ("run_id", "experiment_id")
"""Columns that identify a run: of version 2 and later, and of version 1."""
_GPUS = re.compile(r"(\d+) x (.+?)(?=\d+ x |$)")
_NVIDIA = re.compile(r"nvidia|tesla|geforce|quadro|titan|\b[AHLV]\d{2,3}\b", re.IGNORECASE)
_LITTLE = 0.3
"""Share of the stated power below which a part's mean power is odd."""
_SHOWN = 8
"""Rows that a note names."""
_SUM_TOLERANCE = 0.01
"""Relative difference of the parts' sum from the whole that rounding can explain."""


@dataclass(frozen=True)
class _File:
    path: Path
    cells: Cells
    table: pd.DataFrame
    """Values of the columns that are read, a row each row of the file."""


def import_codecarbon(
    paths: Sequence[Path], facts: Facts, part: Part = "all"
) -> tuple[pd.DataFrame, list[str]]:
    """Return the evidence table of CodeCarbon's files, and notes on how they were read.

    Parameters
    ----------
    paths
        Files named ``emissions.csv`` by CodeCarbon.
    facts
        What the files lack.
    part
        Whose energy counts.

    Raises
    ------
    BadInputError
        A file cannot be read whole, or holds what cannot be; one line for each problem.
    """
    runs: list[Measured] = []
    notes: list[str] = []
    lines: list[str] = []
    for path in paths:
        try:
            file = _read(path, part)
            last, of_file = _last_rows(file)
            runs += [_measured(file, row, part) for row in last]
            notes += [*of_file, *(_notes_on_parts(file, last) if part == "all" else ())]
        except BadInputError as error:
            lines += str(error).splitlines()
    if lines:
        raise BadInputError("\n".join(lines))
    return combine(runs, facts), notes


def _read(path: Path, part: Part) -> _File:
    """Read a file whole, or refuse it."""
    cells = read_cells(path)
    missing = [repr(name) for name in _NEEDED if name not in cells.columns]
    if missing:
        words = "column" if len(missing) == 1 else "columns"
        raise BadInputError(f"{path}: no file of CodeCarbon: no {words} {listed(missing)}")
    problems = list(cells.problems)
    table = pd.DataFrame(index=pd.RangeIndex(len(cells.rows)))
    for name in (*_NEEDED, *_OPTIONAL):
        kind: Literal["string", "number"] = "string" if name == "timestamp" else "number"
        column = Field(name, kind, "", required=name in _NEEDED)
        if name in cells.columns:
            table[name], found = parse_column(cells.columns[name], column, cells.rows)
            problems += found
        else:
            table[name] = np.nan
    texts = [name for name in cells.columns if name not in (*_NEEDED[1:], *_OPTIONAL)]
    for name in texts:
        table[name] = pd.Series(cells.columns[name].to_pandas(), dtype="str")
    problems = problems or _implausible(table, cells, part)
    if not problems and table.empty:
        problems = [Problem("no rows", "no row but the header")]
    if problems:
        raise BadInputError("\n".join(listed_problems(path, problems)))
    return _File(path, cells, table.assign(pue=table["pue"].fillna(1.0)))


def _implausible(table: pd.DataFrame, cells: Cells, part: Part) -> list[Problem]:
    ends = pd.to_datetime(table["timestamp"], format="ISO8601", errors="coerce", utc=True)
    parts = table[["cpu_energy", "gpu_energy", "ram_energy"]]
    sums = parts.sum(axis=1)
    whole = table["energy_consumed"]
    off = parts.notna().all(axis=1) & ((sums - whole).abs() > _SUM_TOLERANCE * whole.abs())
    counted = list(_COLUMNS.values())[1:] if part == "all" else [_COLUMNS[part]]
    checks = (
        *(
            (name, table[name] < 0, f"{name} (kWh) is negative, as after a counter's overflow")
            for name in counted
        ),
        ("timestamp", ends.isna(), "timestamp is not a date and time"),
        ("duration", ~(table["duration"] > 0), "duration (s) must be above zero"),
        ("energy_consumed", ~(whole > 0), "energy_consumed (kWh) must be above zero"),
        ("pue", table["pue"] < 1, "pue must be at least 1"),
    )
    found = [
        Problem(name, what, int(cells.rows[place]), str(table[name].iloc[place]))
        for name, wrong, what in checks
        for place in np.flatnonzero(wrong)
    ]
    return found + [
        Problem(
            "sum",
            f"cpu_energy, gpu_energy and ram_energy add up to {sums[place]:g} kWh, but "
            f"energy_consumed is {whole[place]:g}",
            int(cells.rows[place]),
        )
        for place in np.flatnonzero(off)
    ]


def _last_rows(file: _File) -> tuple[list[int], list[str]]:
    """Return the last row of each run, and what was passed over."""
    key = next((name for name in _RUNS if name in file.table), None)
    if key is None:
        return list(range(len(file.table))), []
    names = [key, "task_name"] if "task_name" in file.table else [key]
    last: list[int] = []
    problems = []
    for _, run in file.table.groupby(names, sort=False):
        totals = run[["duration", "energy_consumed"]]
        falls = np.flatnonzero((totals.diff() < 0).any(axis=1))
        if run[key].iloc[0] == "":
            last += list(run.index)
            continue
        last.append(int(run.index[-1]))
        if len(falls):
            row = int(file.cells.rows[run.index[falls[0]]])
            text = f"the totals of run {run[key].iloc[0]} fall; CodeCarbon's totals grow"
            problems.append(Problem("falls", text, row))
    if problems:
        raise BadInputError("\n".join(listed_problems(file.path, problems)))
    passed = len(file.table) - len(last)
    note = (
        f"{file.path}: {count(passed, 'row')} passed over: CodeCarbon writes a run's total so far "
        "at each flush, and the last row of a run counts"
    )
    return sorted(last), [note] if passed else []


def _notes_on_parts(file: _File, rows: Sequence[int]) -> list[str]:
    """Name runs without energy of the CPU or GPU, or with far less than the stated power."""
    notes = []
    table = file.table.loc[list(rows)]
    for part in ("cpu", "gpu"):
        energy_j = table[f"{part}_energy"] * J_PER_KWH
        power = table.get(f"{part}_power", pd.Series(np.nan, index=table.index))
        stated_w = pd.to_numeric(power, errors="coerce")
        known = table.get(f"{part}_model", pd.Series("", index=table.index)) != ""
        absent = known & (energy_j == 0)
        little = (energy_j > 0) & (energy_j / table["duration"] < _LITTLE * stated_w)
        for wrong, what in (
            (absent, f"the sum is without the {part.upper()}"),
            (little, f"{part}_energy is less than {_LITTLE:.0%} of {part}_power times duration; "
             "a counter may have overflowed"),
        ):  # fmt: skip
            if wrong.any():
                numbers = [str(file.cells.rows[row]) for row in table.index[wrong]]
                named = ", ".join(numbers[:_SHOWN]) + (", ..." if len(numbers) > _SHOWN else "")
                notes.append(f"{file.path}, row {named}: {what}")
    return notes


def _measured(file: _File, place: int, part: Part) -> Measured:
    """Return a run in the evidence table's units."""
    row = file.table.loc[place]
    number_of_row = int(file.cells.rows[place])
    energy_kwh = float(row[_COLUMNS[part]])
    if not energy_kwh > 0:
        raise BadInputError(
            f"{file.path}, row {number_of_row}: no {_COLUMNS[part]}; this run has the energy of "
            f"{listed(_parts_of(row)) or 'all parts together'} alone"
        )
    ended = pd.Timestamp(row["timestamp"])
    key = next((row[name] for name in _RUNS if row.get(name)), f"{file.path.stem}/{place + 1}")
    task = row.get("task_name")
    utilization = float(row["gpu_utilization_percent"])
    values: dict[str, Any] = {
        "energy_j": energy_kwh * J_PER_KWH / float(row["pue"]),
        "provenance": _provenance(row, part),
        "duration_s": float(row["duration"]),
        "started_at": (ended - pd.Timedelta(seconds=float(row["duration"]))).isoformat(
            timespec="seconds"
        ),
        "hardware": _hardware(row, part),
        "device_utilization_pct": utilization if utilization > 0 else None,
        "run_id": f"{key}/{task}" if task else key,
    }
    texts = {name: str(value) for name, value in row.items() if isinstance(value, str)}
    return Measured(file.path, number_of_row, values, texts)


def _parts_of(row: pd.Series) -> list[str]:
    return [part for part in get_args(Part) if part != "all" and row[_COLUMNS[part]] > 0]


def _provenance(row: pd.Series, part: Part) -> Provenance:
    model = row.get("gpu_model") or ""
    nvidia = _NVIDIA.search(model) and not re.search("amd|intel", model, re.IGNORECASE)
    return "measured" if part == "gpu" and nvidia else "estimated"


def _hardware(row: pd.Series, part: Part) -> str | None:
    """Return what the energy is of, with the number of GPUs first where it includes theirs."""
    gpus = _GPUS.findall(row.get("gpu_model") or "")
    if len(gpus) > 1:
        named = ", ".join(f"{n}x {name.strip()}" for n, name in gpus)
        gpu = f"{sum(int(n) for n, _ in gpus)}x GPU ({named})"
    elif gpus:
        gpu = f"{gpus[0][0]}x {gpus[0][1].strip()}"
    else:
        gpu = row.get("gpu_model") or ""
    cpu = row.get("cpu_model") or ""
    counted = {"gpu": [gpu], "cpu": [cpu], "ram": ["RAM"]}
    wanted = _parts_of(row) if part == "all" else [part]
    words = [word for name in wanted for word in counted[name] if word]
    order = sorted(words, key=lambda word: word != gpu)
    return ", ".join(order) or None
