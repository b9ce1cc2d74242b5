"""What every bootstrap shares: seeds, the number of samples, and parts that fit into memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

RESAMPLES = 10_000
SEED = 2022
_AT_ONCE = 4_000_000
"""Resampled values that are held in memory at once."""


def generator(name: str) -> np.random.Generator:
    """Return the random generator of a group, the same in every analysis."""
    return np.random.default_rng([SEED, zlib.crc32(name.encode())])


def parts(rows: int, values: int) -> Iterator[slice]:
    """Cut rows of so many values each into parts that can be held in memory at once."""
    step = max(1, _AT_ONCE // max(1, values))
    for begin in range(0, rows, step):
        yield slice(begin, min(begin + step, rows))
