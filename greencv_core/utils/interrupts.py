"""Ctrl-C, told once however often it is sent at a time.

``timeout --signal=INT``, say, interrupts a command and then its whole group, so that the command
hears of it twice: the second one would interrupt what the first one has ended in good order.
"""

from __future__ import annotations

import math
import signal
import time

ONE_PRESS_S = 1.0
"""Interrupts that follow so soon are the same."""

_last_s = -math.inf


def is_new_interrupt() -> bool:
    """Return whether an interrupt that has just come is not one with the last."""
    global _last_s
    now_s = time.monotonic()
    another = now_s - _last_s > ONE_PRESS_S
    if another:
        _last_s = now_s
    return another


def merge_repeated_interrupts() -> None:
    """Have this process be told once; one that ignores Ctrl-C goes on to."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _raise)


def _raise(number: int, _: object) -> None:
    if is_new_interrupt():
        raise KeyboardInterrupt
