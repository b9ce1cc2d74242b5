"""Numbers from the bytes of many lines of one form at once.

A general parser decides at each byte what it is. Where every line has the same form, eight digits
are one 64-bit integer, and a few operations on arrays make numbers of those of all lines. Each
function raises :class:`IrregularError` rather than read what has another form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]
Positions = NDArray[np.intp]

_COMMA, _NEWLINE, _SPACE = b",\n "
_LARGEST_BLOCK_BYTES = 1 << 23  # glibc heeds 32 MiB at most
_WORD = np.dtype("<u8")  # its first byte is its lowest
_BYTES, _BITS = 8, 64
_TWO_WORDS = np.dtype((np.void, 2 * _BYTES))


class IrregularError(Exception):
    """Lines differ from the expected form; a general parser may still read them."""


@dataclass(frozen=True)
class Form:
    """What the fields of a column are: up to eight characters of a number, then its unit."""

    unit: bytes = b""
    decimals: int = 0


def keep_freed_memory() -> None:
    """Have the C library keep freed memory for the next log's arrays.

    It returns to the system what exceeds twice the largest block freed so far, and each of those
    pages costs a fault again, together as long as the arithmetic takes. This block is never
    written to, so that it takes no memory.
    """
    np.empty(_LARGEST_BLOCK_BYTES, np.uint8)


def find_ends(content: Bytes, columns: int) -> Positions:
    """Return the position after each field: a row for each column, a column for each line."""
    found = content < _SPACE
    lines = np.count_nonzero(found)
    ends = np.flatnonzero(np.logical_or(found, content == _COMMA, out=found))
    _require(ends.size == lines * columns)
    ends = np.ascontiguousarray(ends.reshape(lines, columns).T)
    # So every line has as many commas, and no other control character is anywhere.
    _require(content[ends[-1]] == _NEWLINE)
    return ends


def fixed_texts(content: Bytes, starts: Positions, ends: Positions, width: int) -> Bytes:
    """Return ASCII fields of one width, a row of bytes for each."""
    _require(ends - starts == width)
    texts = _windows(content, starts, np.dtype((np.void, width))).view(np.uint8)
    _require(texts < 0x80)
    return texts.reshape(-1, width)


def skip_space(content: Bytes, starts: Positions) -> Positions:
    """Return where fields start whose first byte is a space."""
    _require(content[starts] == _SPACE)
    return starts + 1


def numbers(
    content: Bytes, starts: Positions, ends: Positions, forms: Sequence[Form]
) -> NDArray[np.float64]:
    """Return the values of fields, whose forms are given for each row."""
    unit_bits = _column([8 * len(form.unit) for form in forms])
    units = _column([_word(form.unit) for form in forms])
    zeros = _column([_word(_zero(form.decimals)) for form in forms])
    widths = ends - starts - (unit_bits >> np.uint64(3)).astype(np.intp)
    _require((widths > 0) & (widths <= _BYTES))
    _require(ends[:, 0] >= _TWO_WORDS.itemsize)
    words = _windows(content, ends - _TWO_WORDS.itemsize, _TWO_WORDS).view(_WORD)
    words = words.reshape(*ends.shape, 2)
    first, last = words[..., 0], words[..., 1]
    _require(last >> (_BITS - unit_bits) == units)
    # The eight characters before the unit, less those before the number. As "0" is subtracted from
    # each, the byte of a digit is its value, and that of the point is 0.
    digits = (last << unit_bits | first >> (_BITS - unit_bits)) ^ zeros
    unused_bits = (_BITS - 8 * widths).view(np.uint64)
    digits = digits >> unused_bits << unused_bits
    # Adding 0x76 sets the highest bit of a byte of 10 or more.
    _require((digits + _word(b"\x76" * 8) | digits) & _word(b"\x80" * 8) == 0)
    joined = _joined(digits)
    values = joined.astype(np.float64)
    for row, form in enumerate(forms):
        if form.decimals:
            point = form.decimals + 1
            _require(widths[row] > point)
            _require(digits[row] >> np.uint64(_BITS - 8 * point) & np.uint64(0xFF) == 0)
            # So far the point counts as a digit. Both parts are exact: the quotient is, too, what
            # a parser returns.
            before, after = np.divmod(joined[row], np.uint64(10**point))
            values[row] = (before * np.uint64(10**form.decimals) + after) / 10.0**form.decimals
    return values


def _joined(digits: Words) -> Words:
    """Return numbers from words of eight digits: neighbours become pairs, then fours, then one."""
    for base, bits in ((10, 8), (100, 16), (10_000, 32)):
        every_other = np.uint64((2**_BITS - 1) // (2**bits + 1))
        digits = digits * np.uint64(base) + (digits >> np.uint64(bits)) & every_other
    return digits


def _windows(content: Bytes, starts: Positions, kind: np.dtype[Any]) -> NDArray[Any]:
    """Return the values of a type that begin at some bytes."""
    count = content.size - kind.itemsize + 1
    every: NDArray[Any] = np.ndarray((count,), kind, content, strides=(1,))
    return every[starts]


def _zero(decimals: int) -> bytes:
    return f"{0:0{_BYTES}.{decimals}f}".encode()


def _word(text: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(text, "little"))


def _column(values: Sequence[int | np.uint64]) -> Words:
    return np.array(values, dtype=np.uint64)[:, np.newaxis]


def _require(condition: NDArray[np.bool_] | bool) -> None:
    if not np.all(condition):
        raise IrregularError
