"""A worker: calibration, trainings that are killed or hang, one training at a time."""

import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from greencv_core.estimation.run_cost import RunCost
from greencv_core.machine.lock import machine_lock
from greencv_core.machine.quiet import Disturbance, QuietMachine
from greencv_core.records.source import load_study
from greencv_core.run import calibration, worker
from greencv_core.run.planning import plan_here
from greencv_core.run.unfinished import build_failed_record, describe_error
from greencv_core.run.worker import Job, Worker, describe_worker
from greencv_core.utils.errors import BadInputError
from tests.run.test_subprocesses import kill_self, sleep


@pytest.fixture
def runs():
    """Return the smoke study's runs, those of one architecture first."""
    return sorted(plan_here(load_study("smoke"))[0], key=lambda run: run.architecture)


@pytest.fixture
def job(runs):
    return Job(run=runs[0], expected_s=None, forecaster=None, stop_above_j=None)


@pytest.fixture
def notes():
    return []


@pytest.fixture
def here(notes):
    """Return a worker that needs no calibration."""
    found = Worker(describe_worker(), note=notes.append)
    found._idle_power[()] = {}
    found._warm.add("cpu")
    return found


def test_timing_stops_when_it_would_take_too_large_a_share(here, runs, monkeypatch):
    monkeypatch.setattr(calibration, "PROBING_S", 0.0)
    monkeypatch.setattr(calibration, "PROBING_SHARE", 0.0)
    costs = here.calibrate(runs, {}).costs
    timed = [condition for condition, cost in costs.items() if cost.probe is not None]
    assert timed == [runs[0].condition]
    assert set(costs) == {run.condition for run in runs}
    first_s = costs[timed[0]].duration_s
    assert [cost.duration_s for cost in costs.values()] == pytest.approx([first_s] * len(costs))


def test_every_architecture_is_timed_before_any_is_timed_twice(here, runs, monkeypatch):
    probed = []
    for module in (calibration, worker):
        monkeypatch.setattr(
            module, "run_probe", lambda run, *_, **__: probed.append(run) or "no time"
        )
    calibrated = here.calibrate(runs, {}, probe_all=True)
    half = len({run.condition for run in runs}) // 2
    assert len({run.architecture for run in probed[:half]}) == half == 2
    assert {run.condition for run in probed} == {run.condition for run in runs}
    assert calibrated.costs == {}  # the cost of a condition that cannot be timed is unknown


def test_conditions_with_records_are_not_timed(here, runs):
    unknown = runs[0].condition
    names = {run.condition for run in runs} - {unknown}
    known = {name: RunCost(3.0, 6.0, "estimated") for name in names}
    costs = here.calibrate(runs, known).costs
    assert {name for name, cost in costs.items() if cost.probe is not None} == {unknown}
    assert {name: costs[name] for name in names} == known


def replace_training(monkeypatch, times, function, *arguments):
    """Call a function in place of the first trainings; return the number of trainings so far."""
    call, calls = worker.call_in_fresh_process, []

    def instead(called, *given, **named):
        calls.append(called)
        if len(calls) <= times:
            return call(function, *arguments, watch=named["watch"])
        return call(called, *given, **named)

    monkeypatch.setattr(worker, "call_in_fresh_process", instead)
    return calls


@pytest.mark.parametrize(
    ("kills", "status", "reason"),
    [
        (1, "finished", ""),
        (2, "failed", "the training process was killed by SIGKILL, 2 times in a row"),
    ],
)
def test_a_killed_training_is_tried_once_more(kills, status, reason, job, here, notes, monkeypatch):
    calls = replace_training(monkeypatch, kills, kill_self, signal.SIGKILL)
    record = here.train(job, lambda _: None, lambda *_: None)
    assert (record.status, record.reason, len(calls)) == (status, reason, 2)
    assert notes == [f"{job.run.title}: the training process was killed by SIGKILL; again"]


def test_a_training_that_hangs_is_ended_and_recorded(job, here, monkeypatch):
    monkeypatch.setattr(worker, "SETUP_SILENCE_S", 1.0)
    monkeypatch.setattr(worker, "EPOCH_SILENCE_S", 1.0)
    replace_training(monkeypatch, 1, sleep, 600)
    record = here.train(job, lambda _: None, lambda *_: None)
    assert record.status == "failed"
    assert record.reason.startswith("the training hung: no sign of life for")


def test_a_second_greencv_on_the_computer_is_refused_but_a_killed_one_holds_no_lock():
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
        refused = pytest.raises(BadInputError, match="another greencv is training on this computer")
        with refused, machine_lock():
            pass
        with pytest.raises(ZeroDivisionError), machine_lock(lambda: 1 / 0):
            pass
    finally:
        holder.kill()
        holder.wait()
    with machine_lock():
        pass


def test_an_error_is_described_in_one_line_without_secrets(monkeypatch):
    monkeypatch.setenv("LAB_TOKEN", "hunter22")
    described = describe_error(ValueError("no\nentry with hunter22"))
    assert described == "ValueError: no entry with [$LAB_TOKEN]"

    class OutOfMemoryError(RuntimeError):
        pass

    text = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 1 GiB."
    assert describe_error(OutOfMemoryError(text)) == "out of memory on the GPU: CUDA out of memory"


def test_a_run_that_waited_in_vain_has_a_remark_without_names(job, here, notes, monkeypatch):
    record = build_failed_record(job.run, here.info.machine, "not trained in this test")
    monkeypatch.setattr(worker, "call_in_fresh_process", lambda *_, **__: record)
    found = [Disturbance("other processes use 40% of the CPUs", "cc1plus (process 7)")]
    monkeypatch.setattr(QuietMachine, "wait", lambda *_: found)
    for longest_s, remarks in ((0.0, []), (1.0, [f"started, although {found[0].what}"])):
        protocol = job.run.protocol.model_copy(update={"quiet_wait_s": longest_s})
        waiting = replace(job, run=replace(job.run, protocol=protocol))
        assert here.train(waiting, lambda _: None, lambda *_: None).problems == remarks
    assert notes == [f"{job.run.title}: starts, although {found[0]}"]
