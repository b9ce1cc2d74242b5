"""Fast reader of logs written by ``nvidia-smi --query-gpu=... --format=csv -l 1``.

A log whose writer was killed may end in half a line, which is reported and not read. What the
writer still held in its buffer is then missing, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from greencv_core.estimation.trajectory import Floats
from greencv_core.utils.errors import BadInputError

Ending = Literal["whole line", "half a line", "line without end"]

_OWN = (
    "timestamp", "name", "utilization.gpu [%]", "utilization.memory [%]", "memory.total [MiB]",
    "memory.used [MiB]", "power.draw [W]", "power.max_limit [W]", "temperature.gpu",
)  # fmt: skip
_RENAMED = (
    "timestamp", "gpu_name", "gpu_usage", "gpu_memory_usage", "gpu_total_memory",
    "gpu_memory_used", "gpu_power_draw", "gpu_max_power", "gpu_temperature",
)  # fmt: skip
HEADERS: dict[tuple[str, ...], str] = {_OWN: "nvidia-smi's own", _RENAMED: "renamed"}
_COLUMNS = (
    "timestamp", "device_name", "utilization_pct", "memory_utilization_pct", "memory_total_mib",
    "memory_used_mib", "power_w", "power_limit_w", "temperature_c",
)  # fmt: skip
_WITH_UNITS = ("utilization_pct", "memory_total_mib", "memory_used_mib", "power_w")
_TYPES = {
    "timestamp": pa.string(),
    **dict.fromkeys(_WITH_UNITS, pa.string()),
    "temperature_c": pa.float64(),
}
_LONGEST_LINE = 1000
_UNITS = " %MiBW"
_DASHES = ((4, 5), (7, 8))
"""Positions of the separators in a date, which are slashes in some logs."""


@dataclass(frozen=True)
class Log:
    """One log: arrays of equal length, a row each second or so."""

    header: str
    device_name: str
    time_s: Floats
    """Seconds since 1970, in the time zone of the writer."""
    utilization_pct: Floats
    memory_total_mib: Floats
    memory_used_mib: Floats
    power_w: Floats
    temperature_c: Floats
    ending: Ending
    """What follows the last whole line; it is not read."""

    @property
    def cut_off(self) -> bool:
        """Whether the log does not end in a whole line."""
        return self.ending != "whole line"

    def __len__(self) -> int:
        return len(self.time_s)


def read_log(path: Path) -> Log:
    """Read one log.

    Raises
    ------
    BadInputError
        The header is unknown or a line is invalid.
    """
    content, rest = whole_lines(path)
    header_ends = bytes(content[:_LONGEST_LINE]).find(b"\n") + 1
    titles = _fields(content) if header_ends else []
    header = HEADERS.get(tuple(titles))
    if header is None:
        raise BadInputError(f"{path}: no log of nvidia-smi that is known: its header is {titles}")
    if header_ends == content.size:
        raise BadInputError(f"{path}: no line but the header")
    try:
        table = csv.read_csv(
            pa.BufferReader(content.slice(header_ends)),
            read_options=csv.ReadOptions(
                column_names=list(_COLUMNS), use_threads=False, block_size=content.size
            ),
            parse_options=csv.ParseOptions(quote_char=False),
            convert_options=csv.ConvertOptions(include_columns=list(_TYPES), column_types=_TYPES),
        )
        time_s = _seconds(table["timestamp"])
        numbers = {name: _numbers(table[name]) for name in _WITH_UNITS}
    except pa.ArrowInvalid as error:
        raise BadInputError(f"{path}: {str(error).splitlines()[0]}") from error
    return Log(
        header=header,
        time_s=time_s,
        temperature_c=_floats(table["temperature_c"]),
        device_name=_fields(content.slice(header_ends))[_COLUMNS.index("device_name")],
        ending=ending_of(rest, separators=len(titles) - 1),
        **numbers,
    )


def whole_lines(path: Path) -> tuple[pa.Buffer, bytes]:
    """Return the complete lines of a file, and the rest."""
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    return pa.py_buffer(content).slice(0, end), content[end:]


def _fields(content: pa.Buffer) -> list[str]:
    """Return the fields of the first line."""
    line = bytes(content[:_LONGEST_LINE]).split(b"\n", 1)[0]
    return [field.strip() for field in line.decode("utf-8", "replace").split(",")]


def ending_of(rest: bytes, separators: int) -> Ending:
    """Return what follows the last whole line of a log, whose lines have so many commas."""
    if not rest:
        return "whole line"
    return "half a line" if rest.count(b",") < separators else "line without end"


def _numbers(column: pa.ChunkedArray) -> Floats:
    return _floats(pc.cast(pc.ascii_trim(column, characters=_UNITS), pa.float64()))


def _seconds(column: pa.ChunkedArray) -> Floats:
    for start, stop in _DASHES:
        column = pc.binary_replace_slice(column, start=start, stop=stop, replacement="-")
    moments = pc.cast(column, pa.timestamp("ms"))
    return _floats(pc.cast(moments, pa.int64())) / 1e3


def _floats(column: Any) -> Floats:
    return np.asarray(column.to_numpy(), dtype=np.float64)
