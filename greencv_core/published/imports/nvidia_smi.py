"""Runs whose power ``nvidia-smi --query-gpu=... --format=csv`` logged.

A log is one training: its energy is the power of each GPU, integrated over time by trapezia from
the first reading to the last. A log of several GPUs gives a run for each, or one run of their sum
where that is asked for. What could be summed wrongly is refused: a clock that was set back,
readings of GPUs without an index, a long gap, another device in mid-file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from greencv_core.estimation.trajectory import Floats
from greencv_core.published.imports.facts import Facts, Measured, combine
from greencv_core.published.imports.smi_lines import Lines, identity, read_lines
from greencv_core.published.log_checks import find_wrong_readings
from greencv_core.published.problems import Problem, listed_problems
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.text import count, duration

_EDGE_INTERVALS = 3
"""Intervals by which GPUs of a sum may begin or end apart."""


@dataclass(frozen=True)
class _Gpu:
    """Readings of one GPU, in the order of the log."""

    label: str
    name: str
    line: npt.NDArray[np.int64]
    time_s: Floats
    power_w: Floats
    utilization_pct: Floats

    @property
    def usual_s(self) -> float:
        """Usual interval between readings."""
        return float(np.median(np.diff(self.time_s)))

    @property
    def energy_j(self) -> float:
        """Energy from the first reading to the last."""
        return float(np.trapezoid(self.power_w, self.time_s))


def import_nvidia_smi(
    paths: Sequence[Path], facts: Facts, *, sum_gpus: bool = False
) -> tuple[pd.DataFrame, list[str]]:
    """Return the evidence table of logs, one a training, and notes on how they were read.

    Parameters
    ----------
    paths
        Logs with at least the columns ``timestamp`` and ``power.draw``.
    facts
        What the logs lack.
    sum_gpus
        Whether the GPUs of a log make one run, instead of a run each.

    Raises
    ------
    BadInputError
        A log cannot be read whole, or holds what cannot be; one line for each problem.
    """
    runs: list[Measured] = []
    notes: list[str] = []
    problems: list[str] = []
    for path in paths:
        try:
            lines = read_lines(path)
            gpus = _split(lines)
            notes += [f"{path}: {note}" for note in lines.notes]
            if len(gpus) > 1 and not sum_gpus:
                notes.append(f"{path}: {len(gpus)} GPUs, a row each; --sum-gpus adds them up")
            _check(path, gpus, sum_gpus)
        except BadInputError as error:
            problems += str(error).splitlines()
            continue
        runs += [_sum_of(path, gpus)] if sum_gpus else [_run_of(path, g, len(gpus)) for g in gpus]
    if problems:
        raise BadInputError("\n".join(problems))
    return combine(runs, facts), notes


def _split(lines: Lines) -> list[_Gpu]:
    """Return the readings of each GPU; readings without a power are left out."""
    table = lines.table
    gpus = []
    for label, rows in table.groupby(identity(table), sort=False):
        first = rows.iloc[0]
        name = str(first.get("name", ""))
        others = rows["name"] != name if "name" in rows else pd.Series(False, index=rows.index)
        if others.any():
            place = rows.index[others][0]
            text = f"another device ({rows['name'][place]}) than before ({name}); split the log"
            raise BadInputError(_line(lines.path, rows["line"][place], text))
        powered = rows[rows["power_w"].notna()]
        if len(powered) < 2:
            what = f"GPU {label}".strip() if str(label) else "the GPU"
            text = f"{count(len(powered), 'reading')} of {what} with a power; a run needs two"
            raise BadInputError(_line(lines.path, first["line"], text))
        gpus.append(
            _Gpu(
                str(label), name,
                powered["line"].to_numpy(), powered["time_s"].to_numpy(),
                powered["power_w"].to_numpy(), powered["utilization_pct"].to_numpy(),
            )
        )  # fmt: skip
    return gpus


def _line(path: Path, line: int, text: str) -> str:
    return Problem("log", text, int(line), place="line").describe(path)


def _check(path: Path, gpus: Sequence[_Gpu], sum_gpus: bool) -> None:
    """Refuse readings whose integral could be wrong."""
    found: list[tuple[int, str]] = []
    for gpu in gpus:
        identified = gpu.label not in ("", gpu.name)
        wrong = find_wrong_readings(gpu.time_s, gpu.power_w, identified=identified)
        found += [(gpu.line[place], text) for place, text in wrong]
    if not found:
        last = min(gpus, key=lambda gpu: gpu.time_s[-1])
        found = [
            (gpu.line[0], f"another device ({gpu.name or gpu.label}) after the last reading of "
             f"the one before ({last.name or last.label}); split the log")
            for gpu in gpus if gpu.time_s[0] > last.time_s[-1]
        ]  # fmt: skip
    if not found and sum_gpus:
        found = _check_edges(gpus)
    problems = [Problem(text.split("(")[0], text, int(line), place="line") for line, text in found]
    if problems:
        raise BadInputError("\n".join(listed_problems(path, problems)))


def _check_edges(gpus: Sequence[_Gpu]) -> list[tuple[int, str]]:
    """Refuse a sum of GPUs that were not logged at the same time."""
    leeway_s = max(_EDGE_INTERVALS * gpu.usual_s for gpu in gpus)
    first = min(gpu.time_s[0] for gpu in gpus)
    last = max(gpu.time_s[-1] for gpu in gpus)
    found: list[tuple[int, str]] = []
    for gpu in gpus:
        late, early = gpu.time_s[0] - first, last - gpu.time_s[-1]
        if late > leeway_s:
            text = f"GPU {gpu.label} begins {duration(late)} after another; no sum"
            found.append((gpu.line[0], text))
        if early > leeway_s:
            text = f"GPU {gpu.label} ends {duration(early)} before another; no sum"
            found.append((gpu.line[-1], text))
    return found


def _run_of(path: Path, gpu: _Gpu, gpus: int) -> Measured:
    values = _values(gpu) | {"hardware": gpu.name or None}
    label = re.sub(r"\s+", " ", gpu.label)
    values["run_id"] = f"{path.stem}/{label}" if gpus > 1 else path.stem
    names = {"gpu": label, "device_name": gpu.name}
    return Measured(path, int(gpu.line[0]), values, names, "line")


def _sum_of(path: Path, gpus: Sequence[_Gpu]) -> Measured:
    kinds = list(dict.fromkeys(gpu.name for gpu in gpus))
    named = kinds[0] or "GPU" if len(kinds) == 1 else f"GPU ({', '.join(kinds)})"
    begins = min(gpu.time_s[0] for gpu in gpus)
    utilization = np.array([_mean(gpu.utilization_pct) for gpu in gpus], dtype=float)
    values = _values(gpus[0]) | {
        "energy_j": sum(gpu.energy_j for gpu in gpus),
        "duration_s": max(gpu.time_s[-1] for gpu in gpus) - begins,
        "device_utilization_pct": _mean(utilization),
        "hardware": f"{len(gpus)}x {named}",
        "run_id": path.stem,
    }
    names = {"device_name": named, "gpu": ", ".join(gpu.label for gpu in gpus)}
    return Measured(path, int(gpus[0].line[0]), values, names, "line")


def _values(gpu: _Gpu) -> dict[str, Any]:
    begun = pd.Timestamp(gpu.time_s[0], unit="s").isoformat(timespec="milliseconds")
    return {
        "energy_j": gpu.energy_j,
        "provenance": "sampled",
        "started_at": begun,
        "duration_s": float(gpu.time_s[-1] - gpu.time_s[0]),
        "device_utilization_pct": _mean(gpu.utilization_pct),
    }


def _mean(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
