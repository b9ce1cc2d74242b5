"""What the workers of a Dask cluster do: join a session, calibrate, train, send messages."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from distributed import Status, get_worker

from greencv_core.estimation.run_cost import RunCost
from greencv_core.machine.environment import missing_environments, resolve
from greencv_core.machine.lock import machine_lock
from greencv_core.metering.ranks import other_rank
from greencv_core.records.record import RunRecord
from greencv_core.run.calibration import Calibration
from greencv_core.run.worker import Job, Worker, WorkerInfo, describe_worker, find_study_errors
from greencv_core.study.plan import PlannedRun
from greencv_core.study.schema import Study

SLOT = "greencv"
"""The Dask resource that a training takes completely, so that a worker trains one run at a time."""
NOTE, STARTED, FORECAST, WAITS = "note", "started", "forecast", "waits"
"""Kinds of messages to the driver."""

_workers: dict[str, Worker] = {}
"""The worker of this process, by session; only of the last session."""


class CancelledTaskError(Exception):
    """A task was cancelled, or its Dask worker is shutting down."""


def kind_of(worker: WorkerInfo) -> str:
    """Return the kind of a worker: a study has the same runs for all workers of a kind."""
    names = [accelerator.name for accelerator in worker.machine.accelerators]
    return "/".join([worker.machine.fingerprint, *names])


def required_device(run: PlannedRun) -> str:
    """Return the machine and device that a run needs, as part of a Dask resource's name."""
    return _device(run.machine, run.environment.device, run.accelerator)


def offered_devices(study: Study, worker: WorkerInfo) -> set[str]:
    """Return the devices that a worker offers for a study, named as by :func:`required_device`."""
    machine = worker.machine
    specs = [(spec.device, machine.accelerator_of(spec)) for spec in resolve(study, machine)]
    return {_device(machine.fingerprint, name, gpu.name if gpu else "") for name, gpu in specs}


def _device(machine: str, device: str, accelerator: str) -> str:
    return f"{machine} {device} {accelerator}".rstrip()


def join(study: Study, versions: Mapping[str, str], session: str) -> WorkerInfo | str:
    """Offer this computer for a study; return why if it cannot be used."""
    if rank := other_rank():
        return f"{rank}: the worker of local rank 0 meters its computer"
    info = describe_worker()
    own, wanted = info.versions["greencv"], versions["greencv"]
    if own != wanted:
        return f"it has greencv {own}, and this is {wanted}"
    # A worker that a nanny watches is a daemon, which may not start processes.
    multiprocessing.current_process().daemon = False
    devices = offered_devices(study, info)
    problems = (
        find_study_errors(study, download=True)[0]
        if devices
        else missing_environments(study, info.machine)
    )
    if problems:
        return "; ".join(problems)
    dask_worker = get_worker()
    names = {f"{session} {name}" for name in {*devices, kind_of(info)}}
    asyncio.run_coroutine_threadsafe(
        dask_worker.set_resources(**dict.fromkeys({SLOT, session, *names}, 1)),
        dask_worker.loop.asyncio_loop,  # type: ignore[attr-defined]
    ).result()
    return info


def calibrate(
    session: str, runs: Sequence[PlannedRun], known: Mapping[str, RunCost], probe_all: bool
) -> Calibration:
    """Calibrate this worker for runs; see :meth:`Worker.calibrate`."""
    worker = _worker(session)
    with machine_lock(worker.check):
        return worker.calibrate(runs, known, probe_all=probe_all)


def train(session: str, job: Job) -> tuple[RunRecord, float]:
    """Train one run; return its record and the duration with the set-up."""
    worker, send = _worker(session), partial(_send, session, job.run.run_id)
    with machine_lock(worker.check):
        send(STARTED)
        worker.ensure_ready(job.run)
        start_s = time.monotonic()
        record = worker.train(
            job, partial(send, FORECAST), lambda reason, left_s: send(WAITS, (reason, left_s))
        )
        return record, time.monotonic() - start_s


def _worker(session: str) -> Worker:
    """Return this process's worker, which remembers its idle power, for the current task."""
    dask_worker = get_worker()
    if session not in _workers:
        _workers.clear()
        _workers[session] = Worker(
            describe_worker(),
            lambda text: _send(session, "", NOTE, f"{dask_worker.address}: {text}"),
        )
    key = dask_worker.get_current_task()

    def check_not_cancelled() -> None:
        task = dask_worker.state.tasks.get(key)
        running = dask_worker.status is Status.running
        if task is None or task.state != "executing" or not running:
            raise CancelledTaskError

    worker = _workers[session]
    worker.check = check_not_cancelled
    return worker


def _send(session: str, run_id: str, kind: str, content: Any = None) -> None:
    get_worker().log_event(session, pickle.dumps((kind, run_id, content)))
