"""Dates from the bytes of many lines of one form at once, such as ``2023-03-08 13:11:01.250``.

The clock is arithmetic. The day, which rarely changes within a log, is Arrow's.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from greencv_core.estimation.trajectory import Floats
from greencv_core.published.seaa2023.digits import (
    Bytes,
    IrregularError,
    Positions,
    Words,
    joined,
    require,
    windows,
    word,
)

_DAY_WIDTH = len("2023-03-08 ")
_BEFORE = 5
"""Bytes before a date that make its clock the third word of four."""
_FOUR_WORDS = np.dtype((np.void, 32))
_DASHES = (4, 7)


def date_width(decimals: int) -> int:
    """Return how long a date is whose seconds have so many decimals."""
    return len("2023-03-08 13:11:01.") + decimals


def read_dates(content: Bytes, starts: Positions, decimals: int, *, any_dash: bool) -> Floats:
    """Return the seconds since 1970 of dates, whose seconds have up to six decimals.

    Any characters count as the separators of a day if ``any_dash``.
    """
    words = windows(content, starts - _BEFORE, _FOUR_WORDS).view("<u8").reshape(-1, 4)
    unused = 8 * (7 - decimals)
    point = word(bytes(7 - decimals) + b"." + b"0" * decimals)
    fraction = joined((words[:, 3] << np.uint64(unused)) ^ point) * np.uint64(10 ** (6 - decimals))
    clock_us = _clock_s(words[:, 2]) * np.uint64(10**6) + fraction
    year, day = words[:, 0] >> np.uint64(8 * _BEFORE), words[:, 1]
    changed = np.append(True, (day[1:] != day[:-1]) | (year[1:] != year[:-1]))
    first = np.flatnonzero(changed)
    days_us = _days_us(content, starts[first], any_dash)
    every = np.repeat(days_us, np.diff(first, append=len(starts)))
    return (every + clock_us.view(np.int64)) / 1e6


def _clock_s(texts: Words) -> Words:
    """Return the seconds since midnight of words such as 13:11:01."""
    digits = texts ^ word(b"00:00:00")
    joined(digits)
    pairs = digits * np.uint64((10 << 8) + 1) >> np.uint64(8) & word(b"\xff\0\0\xff\0\0\xff")
    # The addition sets the highest bit of hours from 24, and of minutes and seconds from 60.
    high = np.bitwise_or.reduce(pairs + word(b"\x68\0\0\x44\0\0\x44"))
    require(high & word(b"\x80" * 8) == 0)
    seconds = pairs * np.uint64((60 << 24) + 1) >> np.uint64(48)
    return (pairs & np.uint64(0xFF)) * np.uint64(3600) + seconds


def _days_us(content: Bytes, starts: Positions, any_dash: bool) -> np.ndarray:
    days = windows(content, starts, np.dtype((np.void, _DAY_WIDTH))).view(np.uint8)
    days = days.reshape(-1, _DAY_WIDTH)
    if any_dash:
        days[:, _DASHES] = ord("-")
    try:
        texts = pa.array([day.tobytes().decode("ascii") + "00:00:00" for day in days])
        return pc.cast(pc.cast(texts, pa.timestamp("us")), pa.int64()).to_numpy()
    except (UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise IrregularError from error
