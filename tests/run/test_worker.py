"""What happens on the computer that trains: killed, hung, for want of memory; one at a time."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from greencv_core.estimation.run_cost import RunCost
from greencv_core.machine.lock import machine_lock
from greencv_core.records.source import load_study
from greencv_core.run import worker
from greencv_core.run.planning import plan_here
from greencv_core.run.subprocesses import (
    ProcessLostError,
    call_in_fresh_process,
    count_oom_kills,
    retry_in_fresh_process,
    send_to_driver,
)
from greencv_core.run.worker import Job, Worker, describe_error, describe_worker
from greencv_core.utils.errors import BadInputError


@pytest.fixture
def run():
    return plan_here(load_study("smoke"))[0][0]


def order_of(run, **changes):
    return replace(Job(run=run, expected_s=None, forecaster=None, stop_above_j=None), **changes)


@pytest.fixture
def here(run):
    place = Worker(describe_worker(), note=lambda text: notes.append(text))
    notes: list[str] = []
    place._idle[()] = {}
    place._warm.add(run.environment.device)
    place.notes = notes
    return place


@pytest.fixture
def conditions():
    """Return the smoke study's runs, the conditions of one architecture first."""
    return sorted(plan_here(load_study("smoke"))[0], key=lambda run: run.architecture)


def test_timing_stops_where_it_would_take_too_much_of_the_whole(here, conditions, monkeypatch):
    monkeypatch.setattr(worker, "PROBING_S", 0.0)
    monkeypatch.setattr(worker, "PROBING_SHARE", 0.0)
    expected = here.prepare(conditions, {}).expected
    timed = [condition for condition, one in expected.items() if one.probe is not None]
    assert timed == [conditions[0].condition]
    assert set(expected) == {run.condition for run in conditions}
    first_s = expected[timed[0]].duration_s
    assert [one.duration_s for one in expected.values()] == pytest.approx([first_s] * len(expected))


def test_every_architecture_is_timed_before_any_is_timed_twice(here, conditions, monkeypatch):
    asked = []
    monkeypatch.setattr(worker, "run_probe", lambda run, *_, **__: asked.append(run) or "no time")
    prepared = here.prepare(conditions, {}, every=True)
    half = len(asked) // 2
    assert len({run.architecture for run in asked[:half]}) == half == 2
    assert {run.condition for run in asked} == {run.condition for run in conditions}
    assert prepared.expected == {}  # what cannot be timed is not guessed


def test_what_records_tell_is_not_timed(here, conditions):
    lacking = conditions[0].condition
    names = {run.condition for run in conditions} - {lacking}
    known = {name: RunCost(3.0, 6.0, "estimated") for name in names}
    expected = here.prepare(conditions, known).expected
    assert {name for name, one in expected.items() if one.probe is not None} == {lacking}
    assert {name: expected[name] for name in names} == known


def killed(by):
    os.kill(os.getpid(), by)


def tell_then_sleep(seconds):
    send_to_driver("alive")
    time.sleep(seconds)


def test_a_process_that_was_killed_is_lost_and_tells_by_what():
    with pytest.raises(ProcessLostError, match=r"was killed by SIGKILL$") as lost:
        call_in_fresh_process(killed, signal.SIGKILL)
    assert not lost.value.by_the_system


def test_the_systems_count_of_kills_for_memory_tells_them_from_others(monkeypatch):
    counts = iter([3, 4])
    monkeypatch.setattr("greencv_core.run.subprocesses.count_oom_kills", lambda: next(counts))
    with pytest.raises(ProcessLostError, match="out of memory") as lost:
        call_in_fresh_process(killed, signal.SIGKILL)
    assert lost.value.by_the_system


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
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text(cgroup)
    (tmp_path / "vmstat").write_text("pgfault 5\noom_kill 7\n")
    (tmp_path / "groups" / file).parent.mkdir(parents=True)
    (tmp_path / "groups" / file).write_text(text)
    assert count_oom_kills(tmp_path, tmp_path / "groups") == (2 if text else 7)


def test_no_counter_counts_nothing(tmp_path):
    assert count_oom_kills(tmp_path, tmp_path) == 0


def test_a_process_that_is_watched_is_ended_by_what_its_watch_raises():
    began_s = time.monotonic()

    def watch():
        if time.monotonic() - began_s > 1:
            raise ProcessLostError("hung", by_the_system=True)

    with pytest.raises(ProcessLostError, match="hung"):
        call_in_fresh_process(tell_then_sleep, 600, watch=watch)
    assert time.monotonic() - began_s < 60


def killed_at_first(count, times):
    with count.open("a") as file:
        file.write("x")
    if count.stat().st_size <= times:
        killed(signal.SIGKILL)
    return "done"


def test_what_is_soon_done_is_done_again_where_it_is_killed(tmp_path):
    assert retry_in_fresh_process(killed_at_first, tmp_path / "twice", 2) == "done"
    assert (tmp_path / "twice").read_text() == "xxx"
    with pytest.raises(ProcessLostError):
        retry_in_fresh_process(killed_at_first, tmp_path / "always", 99)
    assert (tmp_path / "always").read_text() == "xxxxx"


def kill_the_first(monkeypatch, times):
    real, calls = worker.call_in_fresh_process, []

    def instead(function, *arguments, **named):
        if function is worker._execute:
            calls.append(function)
            if len(calls) <= times:
                return real(killed, signal.SIGKILL)
        return real(function, *arguments, **named)

    monkeypatch.setattr(worker, "call_in_fresh_process", instead)
    return calls


def test_a_training_that_is_killed_is_made_once_more(run, here, monkeypatch):
    calls = kill_the_first(monkeypatch, 1)
    record = here.make(order_of(run), lambda _: None)
    assert record.status == "finished"
    assert len(calls) == 2
    assert here.notes == [
        f"{run.condition}, repetition {run.repetition + 1}: "
        "the training process was killed by SIGKILL; again"
    ]


def test_a_training_that_is_killed_each_time_is_recorded_as_failed(run, here, monkeypatch):
    kill_the_first(monkeypatch, 2)
    record = here.make(order_of(run), lambda _: None)
    assert record.status == "failed"
    assert record.reason == "the training process was killed by SIGKILL, 2 times in a row"


def test_a_training_that_hangs_is_ended_and_recorded(run, here, monkeypatch):
    monkeypatch.setattr(worker, "SETUP_SILENCE_S", 1.0)
    monkeypatch.setattr(worker, "EPOCH_SILENCE_S", 1.0)
    real = worker.call_in_fresh_process

    def instead(function, *arguments, **named):
        if function is worker._execute:
            return real(tell_then_sleep, 600, watch=named["watch"])
        return real(function, *arguments, **named)

    monkeypatch.setattr(worker, "call_in_fresh_process", instead)
    record = here.make(order_of(run), lambda _: None)
    assert record.status == "failed"
    assert record.reason.startswith("the training hung: no sign of life for")


def test_a_second_greencv_on_the_computer_is_refused_and_a_killed_one_holds_nothing(tmp_path):
    holder = subprocess.Popen(
        [
            sys.executable, "-c",
            "import time; from greencv_core.machine.lock import machine_lock\n"
            "with machine_lock():\n    print('held', flush=True); time.sleep(600)",
        ],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == b"held\n"
        refused = pytest.raises(BadInputError, match="another greencv trains on this computer")
        with refused, machine_lock():
            pass
        given_up = pytest.raises(ZeroDivisionError)
        with given_up, machine_lock(still_wanted=lambda: 1 / 0):
            pass
    finally:
        holder.kill()
        holder.wait()
    with machine_lock():
        pass


def test_what_went_wrong_is_one_line_without_secrets(monkeypatch):
    monkeypatch.setenv("LAB_TOKEN", "hunter22")
    assert (
        describe_error(ValueError("no\nentry with hunter22"))
        == "ValueError: no entry with [$LAB_TOKEN]"
    )

    class OutOfMemoryError(RuntimeError):
        pass

    told = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 1 GiB."
    assert describe_error(OutOfMemoryError(told)) == "out of memory on the GPU: CUDA out of memory"
