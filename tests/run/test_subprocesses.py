"""Functions in fresh processes: killed, hung, out of memory, and what they send."""

import contextlib
import math
import os
import signal
import sys
import time

import numpy as np
import pytest

from greencv_core.run import subprocesses
from greencv_core.run.subprocesses import (
    ProcessLostError,
    call_in_fresh_process,
    count_oom_kills,
    retry_in_fresh_process,
    send_to_driver,
)


def kill_self(by):
    os.kill(os.getpid(), by)


def sleep(seconds):
    send_to_driver("alive")
    time.sleep(seconds)


@pytest.mark.parametrize("out_of_memory", [False, True])
def test_a_killed_process_is_lost_and_the_kernels_count_tells_whether_memory_was(
    out_of_memory, monkeypatch
):
    counts = iter([3, 3 + out_of_memory])
    monkeypatch.setattr(subprocesses, "count_oom_kills", lambda: next(counts))
    reason = "out of memory" if out_of_memory else r"was killed by SIGKILL$"
    with pytest.raises(ProcessLostError, match=reason) as lost:
        call_in_fresh_process(kill_self, signal.SIGKILL)
    assert lost.value.retry is not out_of_memory


@pytest.mark.parametrize(
    ("cgroup", "file", "text"),
    [
        ("0::/job\n", "job/memory.events", "oom 9\noom_kill 2\noom_group_kill 0\n"),
        ("0::/of/the/host\n", "memory.events", "oom 9\noom_kill 2\n"),
        ("4:memory:/job\n", "memory/job/memory.oom_control", "under_oom 0\noom_kill 2\n"),
        ("", "nothing", ""),
    ],
)
def test_kills_for_memory_are_counted(tmp_path, cgroup, file, text):
    assert count_oom_kills(tmp_path, tmp_path) == 0
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text(cgroup)
    (tmp_path / "vmstat").write_text("pgfault 5\noom_kill 7\n")
    (tmp_path / "groups" / file).parent.mkdir(parents=True)
    (tmp_path / "groups" / file).write_text(text)
    assert count_oom_kills(tmp_path, tmp_path / "groups") == (2 if text else 7)


def test_an_exception_from_its_watch_ends_a_process():
    start_s = time.monotonic()

    def watch():
        if time.monotonic() - start_s > 1:
            raise ProcessLostError("hung", retry=False)

    with pytest.raises(ProcessLostError, match="hung"):
        call_in_fresh_process(sleep, 600, watch=watch)
    assert time.monotonic() - start_s < 60


def ignore_requests_to_end():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    send_to_driver(os.getpid())
    time.sleep(600)


def test_a_process_that_ignores_requests_to_end_is_killed():
    pids = []

    def watch():
        if pids:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call_in_fresh_process(ignore_requests_to_end, on_message=pids.append, watch=watch)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def kill_self_at_first(count, times):
    with count.open("a") as file:
        file.write("x")
    if count.stat().st_size <= times:
        kill_self(signal.SIGKILL)
    return "done"


def test_a_short_task_is_tried_again_when_its_process_is_killed(tmp_path):
    assert retry_in_fresh_process(kill_self_at_first, tmp_path / "twice", 2) == "done"
    assert (tmp_path / "twice").read_text() == "xxx"
    with pytest.raises(ProcessLostError):
        retry_in_fresh_process(kill_self_at_first, tmp_path / "always", 99)
    assert (tmp_path / "always").read_text() == "xxxxx"


class UnpicklableError(Exception):
    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")


def send_and_end(messages, ending):
    for message in messages:
        send_to_driver(message)
    if ending == "fails":
        raise ValueError("as asked")
    if ending == "fails in its own way":
        raise UnpicklableError("this", "that")
    if ending == "exits":
        sys.exit("as a script does")
    if ending == "is killed":
        kill_self(signal.SIGKILL)
    return "returned"


@pytest.mark.parametrize(
    ("ending", "error", "reason"),
    [
        ("returns", None, ""),
        ("fails", ValueError, "as asked"),
        ("fails in its own way", RuntimeError, "UnpicklableError: this and that"),
        ("exits", RuntimeError, "SystemExit: as a script does"),
        ("is killed", ProcessLostError, "SIGKILL"),
    ],
)
def test_all_messages_come_in_order_however_the_process_ends(ending, error, reason):
    messages, received = [*range(50), np.arange(100_000)], []
    with pytest.raises(error, match=reason) if error else contextlib.nullcontext():
        call_in_fresh_process(send_and_end, messages, ending, on_message=received.append)
    assert received[:50] == messages[:50]
    assert math.isclose(received[-1].sum(), messages[-1].sum())


def test_messages_need_no_receiver_but_arguments_must_be_picklable():
    assert call_in_fresh_process(send_and_end, [1, 2], "returns") == "returned"
    with pytest.raises((TypeError, AttributeError)):
        call_in_fresh_process(send_and_end, [lambda: None], "returns")
