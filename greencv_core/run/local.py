"""Run the queue on this computer."""

from __future__ import annotations

import time
from collections import deque
from functools import partial

from greencv_core.machine import environment
from greencv_core.machine.lock import machine_lock
from greencv_core.run.planning import costs_from_records
from greencv_core.run.queue import RunQueue
from greencv_core.run.worker import Worker, describe_worker


def run_locally(queue: RunQueue) -> None:
    """Train a study's runs on this computer, one after the other, if no other greencv trains."""
    study, progress = queue.study, queue.progress
    with machine_lock():
        queue.prepare_store()
        info = describe_worker()
        for line in environment.missing_environments(study, info.machine):
            progress.note(f"left to another machine: {line}")
        if info.machine.accelerator_problem:
            progress.note(f"no accelerator is used: {info.machine.accelerator_problem}")
        for accelerator in info.machine.accelerators:
            if accelerator.unmetered and study.environments == "auto":
                progress.note(f"{accelerator.device} is not used: {accelerator.unmetered}")
        runs = queue.plan_for(info)
        if not runs:  # another driver finished them while this one checked the study
            return
        worker = Worker(info, progress.note)
        progress.note("metering idle power, timing a few batches")
        # A condition that cannot be timed is reported when its run fails.
        known = costs_from_records(runs, queue.store)
        # With a limit, no run starts without a forecast.
        calibration = worker.calibrate(runs, known, probe_all=queue.stop_above_j is not None)
        jobs = deque(queue.create_jobs(runs, calibration))
        while jobs:
            job = jobs.popleft()
            queue.start(job)
            start_s = time.monotonic()
            record = queue.find_newer_record(job)
            if record is None:
                record = worker.train(
                    job,
                    partial(progress.run_forecast, job.run),
                    partial(progress.run_waits, job.run),
                )
            again = queue.finish(job, record, time.monotonic() - start_s)
            if again is not None:
                jobs.append(again)
