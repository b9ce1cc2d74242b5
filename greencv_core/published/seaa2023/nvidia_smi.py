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
from greencv_core.published.log_checks import find_wrong_readings
from greencv_core.published.seaa2023.dates import DATE_WIDTH, read_dates
from greencv_core.published.seaa2023.digits import (
    IrregularError,
    decimal_numbers,
    find_lines,
    numbers,
    require,
    skip_text,
)
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.text import one_line

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
_CONSTANT = ("device_name", "memory_total_mib", "power_limit_w")
_TYPES = {
    "timestamp": pa.string(),
    "device_name": pa.binary(),
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
        The header is unknown, a line is invalid, or the readings are not those of one GPU in the
        order of time.
    """
    content, rest = whole_lines(path)
    begin = content.find(b"\n", 0, _LONGEST_LINE) + 1
    titles = _fields(content) if begin else []
    header = HEADERS.get(tuple(titles))
    if header is None:
        raise BadInputError(f"{path}: no log of nvidia-smi that is known: its header is {titles}")
    if begin == len(content):
        raise BadInputError(f"{path}: no line but the header")
    try:
        columns = _regular_columns(content, begin, spaced=header == HEADERS[_OWN])
    except (IrregularError, IndexError):
        try:
            columns = _columns(pa.py_buffer(content).slice(begin))
        except pa.ArrowInvalid as error:
            raise BadInputError(f"{path}: {str(error).splitlines()[0]}") from error
    wrong = find_wrong_readings(columns["time_s"], columns["power_w"], identified=False)
    if wrong:
        place, text = wrong[0]
        raise BadInputError(f"{path}, line {line_number(content, place)}: {text}")
    first_line = content[begin : begin + _LONGEST_LINE].lstrip()  # parsers skip empty lines
    return Log(
        header=header,
        device_name=_fields(first_line)[_COLUMNS.index("device_name")],
        ending=ending_of(rest, separators=len(titles) - 1),
        **columns,
    )


def whole_lines(path: Path) -> tuple[bytes, bytes]:
    """Return the complete lines of a file, and the rest."""
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    return content[:end], content[end:]


def line_number(content: bytes, place: int) -> int:
    """Return the line of a reading in a file with a header; parsers skip empty lines."""
    return [n for n, line in enumerate(content.splitlines(), 1) if line.strip()][place + 1]


def _fields(content: bytes) -> list[str]:
    """Return the fields of the first line."""
    line = content[:_LONGEST_LINE].split(b"\n", 1)[0]
    return [field.strip() for field in line.decode("utf-8", "replace").split(",")]


def ending_of(rest: bytes, separators: int) -> Ending:
    """Return what follows the last whole line of a log, whose lines have this number of commas."""
    if not rest:
        return "whole line"
    return "half a line" if rest.count(b",") < separators else "line without end"


def _regular_columns(text: bytes, begin: int, *, spaced: bool) -> dict[str, Floats]:
    """Read lines as nvidia-smi writes them, with a space after each comma or without, fast.

    Only what varies within a log is found in each line; the rest is as in the first line.
    """
    comma = b", " if spaced else b","
    first = text[begin : text.index(b"\n", begin)].split(b",")
    require(len(first) == len(_COLUMNS))
    name, total, limit = (first[_COLUMNS.index(column)].strip() for column in _CONSTANT)
    require(total.endswith(b" MiB") and total[:-4].isdigit())

    lines = np.frombuffer(text, np.uint8)
    starts, ends = find_lines(lines, begin)
    time_s = read_dates(lines, starts)
    place = skip_text(lines, starts + DATE_WIDTH, comma + name + comma)
    utilization_pct, place = numbers(lines, place, most=3)
    _, place = numbers(lines, skip_text(lines, place, b" %" + comma), most=3)
    place = skip_text(lines, place, b" %" + comma + total + comma)
    memory_used_mib, place = numbers(lines, place, most=5)
    place = skip_text(lines, place, b" MiB" + comma)
    power_w, place = decimal_numbers(lines, place, most=3, decimals=2)
    place = skip_text(lines, place, b" W" + comma + limit + comma)
    temperature_c, place = numbers(lines, place, most=2)
    require(place == ends)
    return {
        "time_s": time_s,
        "utilization_pct": utilization_pct.astype(float),
        "memory_total_mib": np.full(len(starts), float(total[:-4])),
        "memory_used_mib": memory_used_mib.astype(float),
        "power_w": power_w,
        "temperature_c": temperature_c.astype(float),
    }


def _columns(lines: pa.Buffer) -> dict[str, Floats]:
    """Read lines of any form that Arrow's parser understands."""
    table = csv.read_csv(
        pa.BufferReader(lines),
        read_options=csv.ReadOptions(
            column_names=list(_COLUMNS), use_threads=False, block_size=lines.size
        ),
        parse_options=csv.ParseOptions(quote_char=False),
        convert_options=csv.ConvertOptions(include_columns=list(_TYPES), column_types=_TYPES),
    )
    names = [name.strip() for name in table["device_name"].to_pylist()]
    other = next((name for name in names if name != names[0]), None)
    if other is not None:
        shown = one_line(other.decode("utf-8", "replace"))
        raise pa.ArrowInvalid(f"another device ({shown}) than in the first line; split the log")
    dates = table["timestamp"]
    for start, stop in _DASHES:
        dates = pc.binary_replace_slice(dates, start=start, stop=stop, replacement="-")
    return {
        "time_s": _seconds(dates),
        "temperature_c": _floats(table["temperature_c"]),
        **{name: _numbers(table[name]) for name in _WITH_UNITS},
    }


def _numbers(column: pa.ChunkedArray) -> Floats:
    return _floats(pc.cast(pc.ascii_trim(column, characters=_UNITS), pa.float64()))


def _seconds(dates: pa.Array | pa.ChunkedArray) -> Floats:
    return _floats(pc.cast(pc.cast(dates, pa.timestamp("ms")), pa.int64())) / 1e3


def _floats(column: Any) -> Floats:
    return np.asarray(column.to_numpy(), dtype=np.float64)
