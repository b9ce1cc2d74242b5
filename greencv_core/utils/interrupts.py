"""What a command does about Ctrl-C and about the signals that end it.

Repeated Ctrl-C within a second is one: ``timeout --signal=INT``, for example, interrupts a command
and then its whole group, and the second signal would interrupt the clean-up after the first.
"""

from __future__ import annotations

import math
import signal
import sys
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


def clean_up_when_terminated() -> None:
    """Make SIGTERM and SIGHUP end this process as an exception does, unless it ignores them.

    By default they end it on the spot, and its incomplete and temporary files stay.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _exit)


def _exit(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # a repetition would interrupt the clean-up
    sys.exit(128 + number)  # as shells have it


def _raise_if_new(number: int, _: object) -> None:
    if is_new_interrupt():
        raise KeyboardInterrupt
