"""Run any program, with the signals that this process gets passed on to it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from greencv_core.utils.errors import GreencvError

SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
]
KEYBOARD = ("SIGINT", "SIGQUIT")
PASS_ON_AFTER_S = 0.5
"""Wait before a signal is passed on. ``timeout`` and batch systems send one to the whole process
group, so the program already has it. Most programs end within this time, and a second signal would
interrupt their clean-up."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # exit codes of a shell
KILLED = 128  # added to the number of the signal that ended a program, as shells do


class StartError(GreencvError):
    """A program cannot be started."""

    def __init__(self, program: str, error: OSError) -> None:
        super().__init__(f"{program}: cannot be started: {error.strerror}")
        self.exit_code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE


class Program:
    """A program with this process's input, output, error output and terminal."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        self._timers: dict[int, threading.Timer] = {}

    @contextlib.contextmanager
    def signals_passed_on(self) -> Iterator[None]:
        """Pass signals on to the program in this block, which they do not end.

        Once the program has ended, they are ignored until the end of the block.
        """
        ignored = [number for number in SIGNALS if signal.getsignal(number) == signal.SIG_IGN]
        former: dict[int, Any] = {
            number: signal.signal(number, self._receive)
            for number in SIGNALS
            if number not in ignored  # such as by nohup
        }
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def run(self, command: Sequence[str]) -> int:
        """Run the program to its end and return its exit code, as a shell has it.

        It is in the process group of this process, so that the terminal's Ctrl-C reaches it.
        :class:`StartError` is raised if it cannot be started.
        """
        try:
            # Files that this process was given, such as a shell's <(...), are the program's.
            self._process = subprocess.Popen(list(command), close_fds=False)
        except OSError as error:
            raise StartError(command[0], error) from error
        for number in self._early:
            self._process.send_signal(number)
        code = self._process.wait()
        for timer in self._timers.values():
            timer.cancel()
        return code if code >= 0 else KILLED - code

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self._process is None:
            self._early.append(number)
            return
        typed = signal.Signals(number).name in KEYBOARD and _is_in_foreground()
        timer = self._timers.get(number)
        if typed or self._process.returncode is not None or (timer and timer.is_alive()):
            return
        self._timers[number] = threading.Timer(
            PASS_ON_AFTER_S, self._process.send_signal, (number,)
        )
        self._timers[number].daemon = True
        self._timers[number].start()


def _is_in_foreground() -> bool:
    """Return whether the terminal sends its signals to the process group of this process."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
