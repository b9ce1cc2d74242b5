"""Reader of the processor's logs: a date and three numbers a line, written by a script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from greencv_core.estimation.trajectory import Floats
from greencv_core.published.log_checks import find_clock_set_back
from greencv_core.published.seaa2023.digits import IrregularError, require
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


def read_processor_logs(paths: Sequence[Path]) -> list[ProcessorLog | BadInputError | OSError]:
    """Read several logs; the error of one that cannot be read takes its place.

    Logs of one form are parsed as a single text, so that Arrow works undisturbed for long.
    """
    try:
        return list(_parse_together([whole_lines(path)[0] for path in paths]))
    except (pa.ArrowInvalid, KeyError, OSError, IrregularError):
        return [_read_or_error(path) for path in paths]


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
        table = _parse(content)
    except (pa.ArrowInvalid, KeyError) as error:
        raise BadInputError(f"{path}: {str(error).splitlines()[0]}") from error
    if table.num_rows < 2:
        raise BadInputError(f"{path}: too short: {table.num_rows} lines")
    log = ProcessorLog(*_columns(table))
    for place, text in find_clock_set_back(log.time_s):
        raise BadInputError(f"{path}, line {line_number(content, place)}: {text}")
    return log


def _read_or_error(path: Path) -> ProcessorLog | BadInputError | OSError:
    try:
        return read_processor_log(path)
    except (BadInputError, OSError) as error:
        return error


def _parse_together(contents: list[bytes]) -> Iterator[ProcessorLog]:
    header = contents[0][: contents[0].find(b"\n") + 1]
    require(all(content.startswith(header) for content in contents))
    lines = [content.count(b"\n") - 1 for content in contents]
    require(min(lines) >= 2)
    table = _parse(b"".join([header, *(content[len(header) :] for content in contents)]))
    ends = np.cumsum(lines)
    require(table.num_rows == ends[-1])  # no line was empty, and none spans two
    columns = _columns(table)
    for start, end in zip(ends - lines, ends, strict=True):
        log = ProcessorLog(*(column[start:end] for column in columns))
        require(not find_clock_set_back(log.time_s))
        yield log


def _parse(content: bytes) -> pa.Table:
    return csv.read_csv(
        pa.BufferReader(content),
        read_options=csv.ReadOptions(use_threads=False, block_size=max(1, len(content))),
        convert_options=csv.ConvertOptions(include_columns=list(_TYPES), column_types=_TYPES),
    )


def _columns(table: pa.Table) -> tuple[Floats, Floats, Floats]:
    time_s = pc.cast(table["timestamp"], pa.int64()).to_numpy() / 1e6
    first, second = (table[name].to_numpy() for name in list(_TYPES)[1:])
    return time_s, first, second
