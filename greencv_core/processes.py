"""A function's call in a fresh process, which ends with its driver and leaves Ctrl-C to it."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from greencv_core.errors import GreencvError

Result = TypeVar("Result")


class ProcessLostError(GreencvError):
    """A process of ours was killed from outside."""


_PRELOAD = ["greencv_core._preload"]


def in_fresh_process(
    function: Callable[..., Result],
    *arguments: Any,
    on_message: Callable[[Any], None] | None = None,
) -> Result:
    """Call a function in a process that has run nothing before, with torch already imported.

    Parameters
    ----------
    on_message
        Called here with what the function gives to :func:`tell_driver` meanwhile.

    Raises
    ------
    ProcessLostError
        The process was killed.
    """
    context = _context()
    received, sent = context.Pipe(duplex=False)
    ended, at_end = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(1, context, initializer=_begin, initargs=(sent,))
    try:
        with _interrupt_held_back():
            future = pool.submit(function, *arguments)
        future.add_done_callback(lambda _: at_end.close())
        sent.close()  # the process has its own
        for message in _messages(received, ended):
            if on_message is not None:
                on_message(message)
        return future.result()
    except BrokenProcessPool as error:
        raise ProcessLostError("the training process was killed (out of memory?)") from error
    except BaseException:
        # Interrupted: the training in progress is lost anyway, so do not wait for its end.
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        received.close()
        ended.close()


def tell_driver(message: Any) -> None:
    """Send something to the driver of this process, from whichever of its threads."""
    assert _to_driver is not None, "for processes of in_fresh_process() alone"
    with _one_message_at_a_time:
        _to_driver.send(message)


_to_driver: multiprocessing.connection.Connection | None = None
_one_message_at_a_time = threading.Lock()


def _begin(to_driver: multiprocessing.connection.Connection) -> None:
    global _to_driver
    _to_driver = to_driver
    _follow_the_driver()


def _messages(
    received: multiprocessing.connection.Connection, ended: multiprocessing.connection.Connection
) -> Iterator[Any]:
    """Yield what comes, until the call has ended, however it did."""
    while received in multiprocessing.connection.wait([received, ended]):
        try:
            yield received.recv()
        except (EOFError, OSError):  # the process ends, maybe within a message
            return


def _context() -> Any:
    # Apple's frameworks do not stand a fork of a process that has loaded them.
    fork = "forkserver" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"
    if not fork:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    with _interrupt_ignored():
        multiprocessing.forkserver.ensure_running()
    return context


@contextlib.contextmanager
def _interrupt_ignored() -> Iterator[None]:
    """Let what is started meanwhile ignore Ctrl-C, which goes to the whole process group.

    The driver decides and ends its children itself; one that was interrupted while it starts would
    print a traceback.
    """
    with _interrupt_handler(signal.SIG_IGN):
        yield


@contextlib.contextmanager
def _interrupt_held_back() -> Iterator[None]:
    """Have Ctrl-C wait until a process that is being started is known and can be ended.

    A second one does not wait: the fork server may take its time to load.
    """
    pending: list[int] = []

    def hold(number: int, _: object) -> None:
        if pending:
            raise KeyboardInterrupt
        pending.append(number)

    with _interrupt_handler(hold):
        yield
    if pending:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _interrupt_handler(handler: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers are the main thread's
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _follow_the_driver() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where there is no fork server to inherit it from
    threading.Thread(target=_end_with_the_driver, daemon=True).start()


def _end_with_the_driver() -> None:
    # A driver that was killed cannot end its training; left alone, that would go on beside the
    # next attempt and in its energy.
    driver = multiprocessing.parent_process()
    assert driver is not None
    multiprocessing.connection.wait([driver.sentinel])
    os._exit(1)
