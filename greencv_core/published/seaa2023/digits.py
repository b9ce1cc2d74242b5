"""Numbers from the bytes of many lines of one form at once.

A general parser decides at each byte what it is. Where every line has the same form, the n-th
characters of a field are one array, and a few operations make numbers of those of all lines. Each
function raises :class:`IrregularError` rather than read what has another form, or `IndexError` if
that would lie beyond the last line.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.uint32]
Positions = NDArray[np.intp]

_NEWLINE, _SPACE, _POINT, _ZERO = b"\n .0"
_LARGEST_BLOCK_BYTES = 1 << 23  # glibc heeds 32 MiB at most
_INTEGERS = (1, 2, 4, 8)  # widths that NumPy copies faster than others
_NO_NUMBER = np.zeros((), np.uint32)
_POWERS = 10.0 ** np.arange(10)


class IrregularError(Exception):
    """Lines differ from the expected form; a general parser may still read them."""


def keep_freed_memory() -> None:
    """Have the C library keep freed memory for the next log's arrays.

    It returns to the system what exceeds twice the largest block freed so far, and each of those
    pages costs a fault again, together as long as the arithmetic takes. This block is never
    written to, so that it takes no memory.
    """
    np.empty(_LARGEST_BLOCK_BYTES, np.uint8)


def find_lines(content: Bytes, begin: int) -> tuple[Positions, Positions]:
    """Return the first position of each line, and that after its last, from a position on."""
    ends = np.flatnonzero(content[begin:] < _SPACE) + begin
    require(content[ends] == _NEWLINE)  # no other control character is anywhere
    return np.append(begin, ends[:-1] + 1), ends


def texts(content: Bytes, starts: Positions, width: int) -> Bytes:
    """Return the bytes of texts of one width, one after the other."""
    kind: Any = f"u{width}" if width in _INTEGERS else (np.void, width)
    every: NDArray[Any] = np.ndarray((content.size - width + 1,), kind, content, strides=(1,))
    return every[starts].view(np.uint8)


def skip_text(content: Bytes, starts: Positions, text: bytes) -> Positions:
    """Require one text at each of some positions, and return where it ends."""
    width = len(text)
    found = texts(content, starts, width)
    require(found[:width].tobytes() == text)
    require(found[width:] == found[:-width])
    return starts + width


def numbers(
    content: Bytes, starts: Positions, most: int, before: Numbers = _NO_NUMBER
) -> tuple[Numbers, Positions]:
    """Return numbers of up to a number of digits, after those before, and where they end.

    What follows is not looked at, even if it is a digit. In all, nine digits are the most.
    """
    digits = content[starts] - _ZERO  # 10 or more for all but digits
    require(digits.max() < 10)
    values = before * 10 + digits
    widths: Bytes | np.uint8 = np.uint8(1)
    inside: NDArray[np.bool_] | np.bool_ = np.True_
    for place in range(1, most):
        digits = content[place:][starts] - _ZERO
        inside = inside & (digits < 10)
        if not inside.any():
            break
        if inside.all():
            values, widths = values * 10 + digits, widths + 1
        else:
            values = np.where(inside, values * 10 + digits, values)
            widths = widths + inside
    return values, starts + widths


def decimal_numbers(
    content: Bytes, starts: Positions, most: int, decimals: int
) -> tuple[NDArray[np.float64], Positions]:
    """Return numbers with some digits before and after the point, and where they end."""
    values, points = numbers(content, starts, most)
    require(content[points] == _POINT)
    values, ends = numbers(content, points + 1, decimals, values)
    # The quotient of two exact numbers is what a parser returns.
    return values / _POWERS[ends - points - 1], ends


def require(condition: NDArray[np.bool_] | np.bool_ | bool) -> None:
    """Raise IrregularError unless all of a condition is true."""
    if not (condition if isinstance(condition, bool) else condition.all()):
        raise IrregularError
