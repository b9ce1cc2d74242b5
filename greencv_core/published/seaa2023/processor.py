"""Reader of the processor's logs: a date and three numbers a line, written by a script."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from greencv_core.estimation.trajectory import Floats
from greencv_core.published.log_checks import find_clock_set_back
from greencv_core.published.seaa2023.nvidia_smi import line_number, whole_lines
from greencv_core.utils.errors import BadInputError

_TYPES = {
    "timestamp": pa.timestamp("us"),
    "cpu usage (%)": pa.float64(),
    "memory usage (MB)": pa.float64(),
}


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
        A column is missing, a line is invalid, there are fewer than two lines, or a time is before
        that of the line before.
    """
    content, _ = whole_lines(path)
    try:
        table = csv.read_csv(
            pa.BufferReader(content),
            read_options=csv.ReadOptions(use_threads=False, block_size=max(1, len(content))),
            convert_options=csv.ConvertOptions(include_columns=list(_TYPES), column_types=_TYPES),
        )
    except (pa.ArrowInvalid, KeyError) as error:
        raise BadInputError(f"{path}: {str(error).splitlines()[0]}") from error
    if table.num_rows < 2:
        raise BadInputError(f"{path}: too short: {table.num_rows} lines")
    time_s = pc.cast(table["timestamp"], pa.int64()).to_numpy() / 1e6
    for place, text in find_clock_set_back(time_s):
        raise BadInputError(f"{path}, line {line_number(content, place)}: {text}")
    return ProcessorLog(time_s, *(table[name].to_numpy() for name in list(_TYPES)[1:]))
