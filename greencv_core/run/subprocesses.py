"""Call a function in a fresh process that ends with its driver; only the driver sees Ctrl-C."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import multiprocessing.util
import os
import pickle
import re
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from greencv_core.utils.errors import GreencvError
from greencv_core.utils.interpreters import children_isolated
from greencv_core.utils.interrupts import is_new_interrupt

Result = TypeVar("Result")
Check = Callable[[], None]
"""Called every second while a process works; an exception from it ends the process."""

CHECK_EVERY_S = 1.0
ATTEMPTS = 5  # attempts at a short task whose process is killed
TERMINATE_S = 1.0  # time that a terminated process has to end before it is killed
LONGEST_FOLDER = 70
"""Bytes of a temporary folder's path in which a socket's path, 103 bytes at most, has its place."""
EXIT_CODE_S = 10.0
"""Time that the fork server has, on a busy computer, to report how a process ended."""


class ProcessLostError(GreencvError):
    """A process ended before its function did.

    With ``retry``, another attempt may succeed; not if memory was too small or the process hung.
    """

    def __init__(self, reason: str, *, retry: bool = True) -> None:
        super().__init__(reason)
        self.retry = retry


def call_in_fresh_process(
    function: Callable[..., Result],
    *arguments: Any,
    on_message: Callable[[Any], None] | None = None,
    watch: Check | None = None,
) -> Result:
    """Call a function in a new process, with torch already imported where there is a fork server.

    ``on_message`` receives what the function sends with :func:`send_to_driver`.
    :class:`ProcessLostError` is raised if the process was killed.
    """
    context = _context()
    oom_kills = count_oom_kills()
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_run_in_child, args=(sending, function, arguments))
    try:
        try:
            with _interrupt_held_back(), children_isolated():
                process.start()
        except (EOFError, OSError) as error:
            ended = isinstance(error, (EOFError, ConnectionError))
            why = "Python ended at its start, see its message" if ended else str(error)
            reason = f"the training process could not be started: {why}"
            raise ProcessLostError(reason, retry=False) from error
        sending.close()  # the process has its own
        for kind, content in _messages(receiving, process.sentinel, watch):
            if kind == "message":
                if on_message is not None:
                    on_message(content)
                continue
            process.join()
            if kind == "error":
                raise content
            return content  # type: ignore[no-any-return]
        process.join(EXIT_CODE_S)
        if count_oom_kills() > oom_kills:
            reason = "out of memory: the system killed the training process"
            raise ProcessLostError(reason, retry=False)
        by = [f" by {each.name}" for each in signal.Signals if process.exitcode == -each]
        raise ProcessLostError("".join(["the training process was killed", *by]))
    finally:
        receiving.close()
        # After an interrupt or a hang, do not wait for the end of the training.
        _end(process)


def retry_in_fresh_process(
    function: Callable[..., Result], *arguments: Any, watch: Check | None = None
) -> Result:
    """Call a short function in a fresh process, and again if that process is killed."""
    for _ in range(ATTEMPTS - 1):
        try:
            return call_in_fresh_process(function, *arguments, watch=watch)
        except ProcessLostError as error:
            if not error.retry:
                raise
    return call_in_fresh_process(function, *arguments, watch=watch)


def send_to_driver(message: Any) -> None:
    """Send a message from a process of :func:`call_in_fresh_process`, from any of its threads."""
    _send("message", message)


_to_driver: multiprocessing.connection.Connection | None = None
_sending = threading.Lock()


def _send(kind: str, content: Any) -> None:
    assert _to_driver is not None, "only in processes of call_in_fresh_process()"
    with _sending:
        _to_driver.send((kind, content))


def _run_in_child(
    to_driver: multiprocessing.connection.Connection, function: Callable[..., Any], arguments: Any
) -> None:
    global _to_driver
    _to_driver = to_driver
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # without a fork server, it is not inherited
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    try:
        _send("result", function(*arguments))
    except BaseException as error:
        error.add_note("".join(traceback.format_exception(error)))
        try:
            pickle.loads(pickle.dumps(error))
            is_known = isinstance(error, Exception)  # SystemExit would end the driver
        except Exception:  # an exception with its own arguments
            is_known = False
        if not is_known:
            error = RuntimeError(f"{type(error).__name__}: {error}")
        _send("error", error)


def _end_with_the_driver() -> None:
    # A driver that was killed cannot end its training, which would go on during the next attempt
    # and use energy that is metered there.
    driver = multiprocessing.parent_process()
    assert driver is not None
    multiprocessing.connection.wait([driver.sentinel])
    os._exit(1)


def _messages(
    receiving: multiprocessing.connection.Connection, sentinel: int, watch: Check | None
) -> Iterator[tuple[str, Any]]:
    while True:
        every_s = None if watch is None else CHECK_EVERY_S
        ready = multiprocessing.connection.wait([receiving, sentinel], every_s)
        if watch is not None:
            watch()
        if receiving in ready:
            try:
                yield receiving.recv()
            except (EOFError, OSError):  # the process ended, maybe within a message
                return
        elif ready:
            return


def _end(process: Any) -> None:
    if process.pid is None or not process.is_alive():
        return
    process.terminate()
    # A training that waits for a GPU's driver may not end on request. A thread kills it, so that
    # another interrupt does not prevent that.
    killer = threading.Thread(target=_kill, args=(process,), daemon=True)
    killer.start()
    killer.join()


def _kill(process: Any) -> None:
    process.join(TERMINATE_S)
    process.kill()
    process.join()


def _context() -> Any:
    # Apple's frameworks do not survive a fork of a process that has loaded them.
    fork = "forkserver" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"
    if not fork:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["greencv_core.run._preload"])
    if len(os.fsencode(tempfile.gettempdir())) > LONGEST_FOLDER:
        _choose_folder_of_sockets("/tmp")
    # Ctrl-C goes to the whole process group, but the driver ends its children itself, and an
    # interrupted start of the fork server would print a traceback: it inherits a mask.
    with _interrupt_held_back(), children_isolated():
        multiprocessing.resource_tracker.ensure_running()  # its start would lift the mask
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            multiprocessing.forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return context


def _choose_folder_of_sockets(parent: str) -> None:
    before, tempfile.tempdir = tempfile.tempdir, parent
    try:
        multiprocessing.util.get_temp_dir()  # made once, also for the processes that are started
    finally:
        tempfile.tempdir = before


@contextlib.contextmanager
def _interrupt_held_back() -> Iterator[None]:
    """Delay Ctrl-C until a process that is being started is known and can be ended.

    A second Ctrl-C is not delayed: the fork server may take long to load.
    """
    pending: list[int] = []

    def hold(number: int, _: object) -> None:
        if not is_new_interrupt():
            return
        if pending:
            raise KeyboardInterrupt
        pending.append(number)

    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored or threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pending:
        raise KeyboardInterrupt


def count_oom_kills(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many processes the kernel has killed for lack of memory; 0 if unknown.

    In this process's control group (a container, a batch job) if there is one, else on the machine.
    """
    try:
        groups = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        groups = []
    counts: list[int | None] = []
    for line in groups:
        _, controllers, name = line.split(":", 2)
        # In a container the group may have its name on the host: the root is the group there.
        for folder in (name.lstrip("/"), ""):
            if not controllers:
                counts.append(_oom_kills_in(cgroups / folder / "memory.events"))
            elif controllers == "memory":
                counts.append(_oom_kills_in(cgroups / "memory" / folder / "memory.oom_control"))
    known = [count for count in counts if count is not None]
    return sum(known) if known else _oom_kills_in(proc / "vmstat") or 0


def _oom_kills_in(file: Path) -> int | None:
    try:
        found = re.search(r"^oom_kill (\d+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None
