"""Numbers from the bytes of many lines of one form at once.

A general parser decides at each byte what it is. Where every line has the same form, eight digits
are one 64-bit integer, and a few operations on arrays make numbers of those of all lines. Each
function raises :class:`IrregularError` rather than read what has another form, or `IndexError` if
that would lie beyond the last line.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from greencv_core.estimation.trajectory import Floats

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]
Positions = NDArray[np.intp]

COMMA, POINT = b",."
_NEWLINE, _SPACE, _ZERO = b"\n 0"
_LARGEST_BLOCK_BYTES = 1 << 23  # glibc heeds 32 MiB at most
_WORD = np.dtype("<u8")  # its first byte is its lowest
_BITS = 64
_TWO_WORDS = np.dtype((np.void, 16))
_POWERS = 10.0 ** np.arange(8)


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


def find_ends(content: Bytes, starts: Positions, most: int) -> Positions:
    """Return where numbers end that start at some positions and have so many digits at most."""
    ends = starts + (content[starts] >= _ZERO)
    for _ in range(most - 1):
        ends = ends + (content[ends] >= _ZERO)
    return ends


def find_starts(content: Bytes, ends: Positions, most: int) -> Positions:
    """Return where numbers start that end at some positions and have so many digits at most."""
    starts = ends
    for _ in range(most):
        starts = starts - (content[starts - 1] >= _ZERO)
    return starts


def require_text(content: Bytes, starts: Positions, text: bytes) -> None:
    """Require one text at each of some positions."""
    width = len(text)
    texts = windows(content, starts, np.dtype((np.void, width))).view(np.uint8)
    require(texts[:width].tobytes() == text)
    require(texts[width:] == texts[:-width])


def whole_numbers(
    content: Bytes, starts: Positions, ends: Positions, unit: bytes = b""
) -> NDArray[np.float64]:
    """Return numbers of up to eight digits, each of which ends before a unit."""
    bits = 8 * len(unit)
    first, last = _two_words(content, ends + len(unit))
    if not unit:
        return joined(_unused_zero(last, ends - starts)).astype(np.float64)
    require(last >> (_BITS - bits) == word(unit))
    texts = last << bits | first >> (_BITS - bits)
    return joined(_unused_zero(texts, ends - starts)).astype(np.float64)


def decimal_numbers(
    content: Bytes, starts: Positions, points: Positions, ends: Positions
) -> Floats:
    """Return numbers of up to eight digits, with a point."""
    decimals = ends - points - 1
    require((decimals > 0) & (points > starts))
    require(content[points] == POINT)
    first, last = _two_words(content, ends)
    bits = (8 * decimals).view(np.uint64)
    before = last << (bits + 8) | first >> (_BITS - 8 - bits)
    after = _BITS - bits
    texts = before >> bits | last >> after << after
    # The quotient of two exact numbers is what a parser returns.
    return joined(_unused_zero(texts, ends - starts - 1)) / _POWERS[decimals]


def joined(digits: Words) -> Words:
    """Return numbers from words of eight digits: neighbours become pairs, then fours, then one.

    Raises
    ------
    IrregularError
        A byte of a word is not a digit, from 0 to 9.
    """
    # Adding 0x76 sets the highest bit of a byte of 10 or more.
    high = np.bitwise_or.reduce(digits + word(b"\x76" * 8) | digits)
    require(high & word(b"\x80" * 8) == 0)
    for base, bits in ((10, 8), (100, 16)):
        every_other = np.uint64((2**_BITS - 1) // (2**bits + 1))
        digits = digits * np.uint64((base << bits) + 1) >> np.uint64(bits) & every_other
    return digits * np.uint64((10_000 << 32) + 1) >> np.uint64(32)


def windows(content: Bytes, starts: Positions, kind: np.dtype[Any]) -> NDArray[Any]:
    """Return the values of a type that begin at some bytes."""
    count = content.size - kind.itemsize + 1
    every: NDArray[Any] = np.ndarray((count,), kind, content, strides=(1,))
    return every[starts]


def word(text: bytes) -> np.uint64:
    """Return up to eight characters as one number."""
    return np.uint64(int.from_bytes(text, "little"))


def require(condition: NDArray[np.bool_] | bool) -> None:
    """Raise IrregularError unless all of a condition is true."""
    if not np.all(condition):
        raise IrregularError


def _two_words(content: Bytes, ends: Positions) -> tuple[Words, Words]:
    texts = windows(content, ends - _TWO_WORDS.itemsize, _TWO_WORDS).view(_WORD)
    return texts[::2], texts[1::2]


def _unused_zero(texts: Words, widths: Positions) -> Words:
    """Return the values of the last characters of words; those before are 0."""
    require((widths > 0) & (widths <= 8))
    unused_bits = (_BITS - 8 * widths).view(np.uint64)
    return (texts ^ word(b"0" * 8)) >> unused_bits << unused_bits
