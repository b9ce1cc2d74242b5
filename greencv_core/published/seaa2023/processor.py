"""Fast reader of the processor's logs: a date and three numbers a line, written by a script."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from greencv_core.estimation.trajectory import Floats
from greencv_core.published.seaa2023.dates import date_width, read_dates
from greencv_core.published.seaa2023.digits import (
    COMMA,
    IrregularError,
    decimal_numbers,
    find_lines,
    require,
    skip_text,
)
from greencv_core.published.seaa2023.nvidia_smi import whole_lines
from greencv_core.utils.errors import BadInputError

_TYPES = {
    "timestamp": pa.timestamp("us"),
    "cpu usage (%)": pa.float64(),
    "memory usage (MB)": pa.float64(),
}
_HEADER = ",".join([*_TYPES, "temperature (Celsius)"]).encode() + b"\n"
_DATE_DECIMALS = 6


@dataclass(frozen=True)
class ProcessorLog:
    """One log: arrays of equal length, a row each second or so."""

    time_s: Floats
    """Seconds since 1970, in the time zone of the writer."""
    utilization_pct: Floats
    memory_mb: Floats


def read_processor_log(path: Path) -> ProcessorLog:
    """Read one log.

    Raises
    ------
    BadInputError
        A column is missing or a line is invalid.
    """
    content, _ = whole_lines(path)
    try:
        return _regular_log(content)
    except (IrregularError, IndexError):
        pass
    try:
        table = csv.read_csv(
            pa.BufferReader(content),
            read_options=csv.ReadOptions(use_threads=False, block_size=max(1, len(content))),
            convert_options=csv.ConvertOptions(include_columns=list(_TYPES), column_types=_TYPES),
        )
    except (pa.ArrowInvalid, KeyError) as error:
        raise BadInputError(f"{path}: {str(error).splitlines()[0]}") from error
    time_s = pc.cast(table["timestamp"], pa.int64()).to_numpy() / 1e6
    return ProcessorLog(time_s, *(table[name].to_numpy() for name in list(_TYPES)[1:]))


def _regular_log(text: bytes) -> ProcessorLog:
    """Read lines such as ``2022-12-05T09:55:45.568129,3.587,12234.051,32.0``, fast."""
    require(text.startswith(_HEADER) and b'"' not in text)
    lines = np.frombuffer(text, np.uint8)
    starts, ends = find_lines(lines, len(_HEADER))
    require(np.count_nonzero(lines == COMMA) == _HEADER.count(b",") * (len(ends) + 1))
    time_s = read_dates(lines, starts, _DATE_DECIMALS, any_dash=False)
    place = skip_text(lines, starts + date_width(_DATE_DECIMALS), b",")
    utilization_pct, place = decimal_numbers(lines, place, most=3, decimals=3)
    place = skip_text(lines, place, b",")
    memory_mb, place = decimal_numbers(lines, place, most=6, decimals=3)
    place = skip_text(lines, place, b",")
    require(place <= ends)
    return ProcessorLog(time_s, utilization_pct, memory_mb)
