"""Plan a study on this machine, and find its unfinished runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from greencv_core.estimation.run_cost import RunCost, from_history
from greencv_core.machine import environment, hardware
from greencv_core.machine.hardware import Machine
from greencv_core.records.record import RunRecord
from greencv_core.records.store import Store
from greencv_core.run.worker import WorkerInfo
from greencv_core.study.plan import PlannedRun, plan
from greencv_core.study.schema import Study
from greencv_core.utils.energy import Component, Provenance, weakest


def plan_on_machine(
    study: Study, machine: Machine, architectures: Iterable[str] | None = None
) -> list[PlannedRun]:
    """Return a study's runs on a machine, in order.

    Environments that this machine does not have are left out (see :func:`missing_environments`).

    Raises
    ------
    BadInputError
        ``architectures`` names one that the study lacks.
    """
    wanted = list(architectures) if architectures is not None else None
    study.check_architectures(wanted or [])
    specs = environment.resolve(study, machine)
    on_gpu = [(spec, machine.accelerator_of(spec)) for spec in specs]
    return plan(
        study,
        specs,
        machine.fingerprint,
        accelerators={spec.name: gpu.name for spec, gpu in on_gpu if gpu is not None},
        architectures=wanted,
    )


def select_unfinished(
    runs: Sequence[PlannedRun],
    site: WorkerInfo,
    store: Store,
    *,
    stop_above_j: float | None = None,
) -> list[PlannedRun]:
    """Return the runs still to make.

    They have no record of success, or one that lacks a component or estimates it where this
    computer could now meter or measure it: to give a meter its permission is to ask for better
    figures. A run that was stopped, and would be again for exceeding ``stop_above_j``, is not
    among them.
    """
    left = []
    for run in runs:
        now = site.meters[environment.gpu_uuids(run.environment, site.machine)]
        record = store.read(run.run_id)
        if record is None or not (
            _stays_stopped(record, stop_above_j)
            if record.status == "stopped"
            else record.status == "finished" and not _weaker(record, now)
        ):
            left.append(run)
    return left


def _stays_stopped(record: RunRecord, limit_j: float | None) -> bool:
    forecast = record.forecast
    return limit_j is not None and forecast is not None and forecast.low_j > limit_j


def _weaker(record: RunRecord, now: Mapping[Component, Provenance]) -> bool:
    parts = record.total.components if record.total else {}
    return any(
        name not in parts or weakest([parts[name].provenance, word]) != word
        for name, word in now.items()
    )


def costs_from_records(runs: Sequence[PlannedRun], store: Store) -> dict[str, RunCost]:
    """Return what finished runs tell that one run takes, by condition."""
    known = {}
    for condition, run in {run.condition: run for run in runs}.items():
        finished = [
            record
            for repetition in range(run.protocol.repetitions)
            if (record := store.read(replace(run, repetition=repetition).run_id)) is not None
            and record.status == "finished"
        ]
        if finished:
            known[condition] = from_history(finished)
    return known


def plan_here(
    study: Study, *, architectures: Iterable[str] | None = None
) -> tuple[list[PlannedRun], Machine]:
    """Return a study's runs on this machine, in order, and the machine.

    Raises
    ------
    BadInputError
        See :func:`greencv_core.run.planning.plan_on_machine`.
    """
    machine = hardware.describe_machine()
    return plan_on_machine(study, machine, architectures), machine
