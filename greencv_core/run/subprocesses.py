"""A function's call in a fresh process, which ends with its driver and leaves Ctrl-C to it."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from greencv_core.utils.errors import GreencvError
from greencv_core.utils.interrupts import is_new_interrupt

Result = TypeVar("Result")
Check = Callable[[], None]
"""Called every second while a process works; what it raises ends the process."""

LOOK_EVERY_S = 1.0
ATTEMPTS = 5
"""At what is soon done."""
LAST_WORDS_S = 1.0
"""How long a process that is to end may take to, before it is killed."""
EXIT_CODE_S = 10.0
"""How long the fork server may take, on a busy computer, to tell how a process ended."""


class ProcessLostError(GreencvError):
    """A process of ours ended before its function did.

    Attributes
    ----------
    by_the_system
        Whether it would end so again: the machine's memory was not enough, or it hung.
    """

    def __init__(self, reason: str, *, by_the_system: bool = False) -> None:
        super().__init__(reason)
        self.by_the_system = by_the_system


_PRELOAD = ["greencv_core.run._preload"]


def call_in_fresh_process(
    function: Callable[..., Result],
    *arguments: Any,
    on_message: Callable[[Any], None] | None = None,
    watch: Check | None = None,
) -> Result:
    """Call a function in a process that has run nothing before, with torch already imported.

    Parameters
    ----------
    on_message
        Called here with what the function gives to :func:`send_to_driver` meanwhile.
    watch
        See :data:`Check`.

    Raises
    ------
    ProcessLostError
        The process was killed.
    """
    context = _context()
    killed_before = count_oom_kills()
    received, sent = context.Pipe(duplex=False)
    ended, at_end = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(1, context, initializer=_begin, initargs=(sent,))
    processes: list[Any] = []
    try:
        with _interrupt_held_back():
            future = pool.submit(function, *arguments)
            processes = list((pool._processes or {}).values())
        future.add_done_callback(lambda _: at_end.close())
        sent.close()  # the process has its own
        for message in _messages(received, ended, watch):
            if on_message is not None:
                on_message(message)
        return future.result()
    except BrokenProcessPool as error:
        raise _lost(processes, count_oom_kills() > killed_before) from error
    except BaseException:
        # Interrupted, or hung: the training in progress is lost anyway, so do not wait for its end.
        _end(processes)
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        received.close()
        ended.close()


def retry_in_fresh_process(
    function: Callable[..., Result], *arguments: Any, watch: Check | None = None
) -> Result:
    """Call a function in a fresh process, and again in another one where that is killed.

    For what is soon done: a training that is killed costs more, and is told of.

    Raises
    ------
    ProcessLostError
        It was killed each time, or for want of memory.
    """
    for _ in range(ATTEMPTS):
        try:
            return call_in_fresh_process(function, *arguments, watch=watch)
        except ProcessLostError as error:
            lost = error
            if error.by_the_system:
                break
    raise lost


def send_to_driver(message: Any) -> None:
    """Send something to the driver of this process, from whichever of its threads."""
    assert _to_driver is not None, "for processes of call_in_fresh_process() alone"
    with _one_message_at_a_time:
        _to_driver.send(message)


_to_driver: multiprocessing.connection.Connection | None = None
_one_message_at_a_time = threading.Lock()


def _begin(to_driver: multiprocessing.connection.Connection) -> None:
    global _to_driver
    _to_driver = to_driver
    _follow_the_driver()


def _messages(
    received: multiprocessing.connection.Connection,
    ended: multiprocessing.connection.Connection,
    watch: Check | None,
) -> Iterator[Any]:
    """Yield what comes, until the call has ended, however it did."""
    while True:
        every_s = None if watch is None else LOOK_EVERY_S
        ready = multiprocessing.connection.wait([received, ended], every_s)
        if watch is not None:
            watch()
        if not ready:
            continue
        if received not in ready:
            return
        try:
            yield received.recv()
        except (EOFError, OSError):  # the process ends, maybe within a message
            return


def _lost(processes: Sequence[Any], out_of_memory: bool) -> ProcessLostError:
    for process in processes:
        process.join(EXIT_CODE_S)
    if out_of_memory:
        return ProcessLostError(
            "out of memory: the system killed the training process", by_the_system=True
        )
    codes = [process.exitcode for process in processes if process.exitcode is not None]
    signals = [signal.Signals(-code).name for code in codes if -code in _SIGNALS]
    by = f" by {signals[0]}" if signals else ""
    return ProcessLostError(f"the training process was killed{by}")


_SIGNALS = frozenset(int(each) for each in signal.Signals)


def _end(processes: Sequence[Any]) -> None:
    for process in processes:
        process.terminate()
    # A training that a driver of a GPU holds up, say, heeds no request.
    threading.Thread(target=_kill, args=(processes,), daemon=True).start()


def _kill(processes: Sequence[Any]) -> None:
    for process in processes:
        process.join(LAST_WORDS_S)
        if process.is_alive():
            process.kill()


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
        if not is_new_interrupt():
            return
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


def count_oom_kills(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many processes the kernel has killed for want of memory; 0 where it is not told.

    Of this process's control group where that counts (a container's, a batch job's), else of the
    whole machine. What counts is by how much it grew.
    """
    try:
        groups = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        groups = []
    of_the_group: list[int | None] = []
    for line in groups:
        _, controllers, name = line.split(":", 2)
        # Within a container the group's own name may be that of the host: its root is the group.
        for own in (name.lstrip("/"), ""):
            if not controllers:
                of_the_group.append(_count(cgroups / own / "memory.events"))
            elif controllers == "memory":
                of_the_group.append(_count(cgroups / "memory" / own / "memory.oom_control"))
    told = [count for count in of_the_group if count is not None]
    return sum(told) if told else _count(proc / "vmstat") or 0


def _count(file: Path) -> int | None:
    try:
        found = re.search(r"^oom_kill (\d+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None
