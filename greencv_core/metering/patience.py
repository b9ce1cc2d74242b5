"""Drivers that may never answer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from greencv_core.metering.base import MeterError

LONGEST_START_S = 60.0
"""Longest wait for a driver to find its cards; to wake eight of them takes some 20 s."""

_Found = TypeVar("_Found")


def in_time(driver: str, find: Callable[[], _Found], limit_s: float = LONGEST_START_S) -> _Found:
    """Return what a function finds, in a thread that is left alone if it does not end.

    Raises
    ------
    MeterError
        The driver did not answer within ``limit_s`` seconds.
    """
    answers: queue.SimpleQueue[tuple[_Found | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((find(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=run, name="greencv-driver", daemon=True).start()
    try:
        found, error = answers.get(timeout=limit_s)
    except queue.Empty:
        raise MeterError(f"{driver} does not answer for {limit_s:g} s") from None
    if error is not None:
        raise error
    return found  # type: ignore[return-value]
