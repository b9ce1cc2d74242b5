"""A study's runs, made by the computer that the driver runs on."""

from __future__ import annotations

import time
from functools import partial

from greencv_core.machine import environment
from greencv_core.machine.lock import machine_lock
from greencv_core.run.queue import RunQueue
from greencv_core.run.worker import Worker, describe_worker


def run_locally(dispatch: RunQueue) -> None:
    """Make a study's runs on this computer, one after the other.

    Raises
    ------
    GreencvError
        Another greencv trains here, or a record cannot be written.
    """
    study, progress = dispatch.study, dispatch.progress
    with machine_lock():
        dispatch.open_store()
        site = describe_worker()
        machine = site.machine
        for line in environment.missing_environments(study, machine):
            progress.note(f"left to another machine: {line}")
        if machine.accelerator_problem:
            progress.note(f"no accelerator is used: {machine.accelerator_problem}")
        for accelerator in machine.accelerators:
            if accelerator.unmetered and study.environments == "auto":
                progress.note(f"{accelerator.device} is not used: {accelerator.unmetered}")
        runs = dispatch.runs_for(site)
        if not runs:  # another one made them while this one waited for names to be checked
            return
        workplace = Worker(site, progress.note)
        progress.note("metering idle power, timing a few batches")
        # A condition that cannot be timed is told by the run that fails.
        prepared = workplace.prepare(runs, dispatch.known(runs), every=dispatch.may_refuse)
        for order in dispatch.orders(runs, prepared):
            dispatch.begins(order)
            start_s = time.monotonic()
            record = dispatch.made_meanwhile(order)
            if record is None:
                record = workplace.make(order, partial(dispatch.told, order))
            dispatch.ended(order, record, time.monotonic() - start_s)
