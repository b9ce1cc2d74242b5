"""Treat repeated Ctrl-C within a second as one.

``timeout --signal=INT``, for example, interrupts a command and then its whole group: the second
signal would interrupt the clean-up after the first.
"""

from __future__ import annotations

import math
import signal
import time

SAME_INTERRUPT_S = 1.0  # interrupts within this time of each other are the same Ctrl-C

_last_s = -math.inf


def is_new_interrupt() -> bool:
    """Return whether an interrupt is not a repetition of the one just before."""
    global _last_s
    now_s = time.monotonic()
    new = now_s - _last_s > SAME_INTERRUPT_S
    if new:
        _last_s = now_s
    return new


def merge_repeated_interrupts() -> None:
    """Make this process treat repeated Ctrl-C as one, unless it ignores Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _raise_if_new)


def _raise_if_new(number: int, _: object) -> None:
    if is_new_interrupt():
        raise KeyboardInterrupt
