"""Dates from the bytes of many lines of one form at once, such as ``2023-03-08 13:11:01.250``.

The clock is arithmetic. The day, which rarely changes within a log, is Arrow's.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from greencv_core.published.seaa2023.digits import (
    Bytes,
    IrregularError,
    Positions,
    require,
    texts,
)

Words = NDArray[np.uint64]

DATE_WIDTH = len("2023-03-08 13:11:01.250")
_DAY_WIDTH = len("2023-03-08 ")
_BEFORE = 5  # bytes before a date that make its clock the third word of four
_YEAR_BITS = 8 * _BEFORE


def _word(text: bytes) -> np.uint64:
    """Return eight characters as one number, of which the first is the lowest byte."""
    return np.uint64(int.from_bytes(text, "little"))


_PAIRS = _word(b"\xff\0\0\xff\0\0\xff")
_TOO_HIGH = _word(b"\x68\0\0\x44\0\0\x44")  # sets the highest bit of 24 hours, and of 60 others
_HIGHEST_BITS = _word(b"\x80" * 8)
_JOINS = (
    (np.uint64((10 << 8) + 1), np.uint64(8), _word(b"\xff\0" * 4)),
    (np.uint64((100 << 16) + 1), np.uint64(16), _word(b"\xff\xff\0\0" * 2)),
    (np.uint64((10_000 << 32) + 1), np.uint64(32), _word(b"\xff" * 4)),
)


def read_dates(content: Bytes, starts: Positions) -> NDArray[np.float64]:
    """Return the seconds since 1970 of dates; any characters count as the separators of a day."""
    words = texts(content, starts - _BEFORE, 32).view("<u8").reshape(-1, 4)
    years, days, clocks, fractions = words.T
    fraction_ms = _joined(_digits(fractions << np.uint64(32), bytes(4) + b".000"))
    dates_ms = _clock_s(clocks) * np.int64(1000) + fraction_ms
    other = (days[1:] != days[:-1]) | ((years[1:] ^ years[:-1]) >> np.uint64(_YEAR_BITS) != 0)
    changed = np.flatnonzero(other) + 1
    for begin, end in zip([0, *changed], [*changed, len(starts)], strict=True):
        day = content[starts[begin] : starts[begin] + _DAY_WIDTH].tobytes()
        dates_ms[begin:end] += _day_ms(day)
    return dates_ms / 1e3


def _digits(words: Words, zeros: bytes) -> Words:
    """Return the values of digits, which are 0 where a text has its zeros and separators."""
    digits = words ^ _word(zeros)
    # The addition sets the highest bit of a digit of 10 or more, and of another separator.
    addend = _word(bytes(0x76 if zero == ord("0") else 0x7F for zero in zeros))
    require(not np.bitwise_or.reduce(digits + addend | digits) & _HIGHEST_BITS)
    return digits


def _joined(digits: Words) -> NDArray[np.int64]:
    """Return numbers from words of eight digits: neighbours become pairs, then fours, then one."""
    for factor, bits, kept in _JOINS:
        digits = (digits * factor >> bits) & kept
    return digits.view(np.int64)


def _clock_s(clocks: Words) -> NDArray[np.int64]:
    """Return the seconds since midnight of words such as 13:11:01."""
    factor, bits, _ = _JOINS[0]
    pairs = (_digits(clocks, b"00:00:00") * factor >> bits) & _PAIRS
    require(not np.bitwise_or.reduce(pairs + _TOO_HIGH) & _HIGHEST_BITS)
    seconds = pairs * np.uint64((60 << 24) + 1) >> np.uint64(48)  # minutes are in between
    return ((pairs & np.uint64(0xFF)) * np.uint64(3600) + seconds).view(np.int64)


@lru_cache
def _day_ms(day: bytes) -> int:
    try:
        text = day.decode("ascii")
        text = f"{text[:4]}-{text[5:7]}-{text[8:]}00:00:00"
        return int(pc.cast(pa.scalar(text), pa.timestamp("ms")).value)
    except (UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise IrregularError from error
