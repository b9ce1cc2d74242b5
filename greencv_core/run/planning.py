"""Plan a study on this machine, and find its unfinished runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from greencv_core.estimation.run_cost import RunCost, from_history
from greencv_core.machine import environment, hardware
from greencv_core.machine.hardware import Machine
from greencv_core.records.record import RunRecord
from greencv_core.records.source import load_study
from greencv_core.records.store import Store
from greencv_core.run.worker import WorkerInfo
from greencv_core.study.plan import PlannedRun, plan
from greencv_core.study.schema import Study
from greencv_core.utils.energy import Component, Provenance, weakest


def plan_runs(study: str | Path | Study) -> list[PlannedRun]:
    """Return the runs of a study on this machine, in the order in which they are trained.

    The study may also be a file or the name of one in ``studies/``.

    Raises
    ------
    BadInputError
        The file is missing or not a valid study.
    """
    return plan_here(study if isinstance(study, Study) else load_study(study))[0]


def plan_here(
    study: Study, *, architectures: Iterable[str] | None = None
) -> tuple[list[PlannedRun], Machine]:
    """Return a study's runs on this machine, in order, and the machine; see `plan_on_machine`."""
    machine = hardware.describe_machine()
    return plan_on_machine(study, machine, architectures), machine


def plan_on_machine(
    study: Study, machine: Machine, architectures: Iterable[str] | None = None
) -> list[PlannedRun]:
    """Return a study's runs on a machine, in order.

    Environments that this machine does not have are left out (see :func:`missing_environments`).
    """
    wanted = list(architectures) if architectures is not None else None
    study.check_architectures(wanted or [])
    specs = environment.resolve(study, machine)
    gpus = {spec.name: machine.accelerator_of(spec) for spec in specs}
    names = {name: gpu.name for name, gpu in gpus.items() if gpu is not None}
    return plan(study, specs, machine.fingerprint, accelerators=names, architectures=wanted)


def select_unfinished(
    runs: Sequence[PlannedRun],
    worker: WorkerInfo,
    store: Store,
    *,
    stop_above_j: float | None = None,
    again_disturbed: bool = False,
) -> list[PlannedRun]:
    """Return the runs that still need training.

    A run is finished if its record has the status ``finished`` and this machine has no better
    meters now. A better meter is one for a component that the record does not have, or one that
    measures what the record estimates. A stopped run is trained again if ``stop_above_j`` no longer
    stops it, a disturbed one with ``again_disturbed``.
    """
    records = _read(store, [run.run_id for run in runs])

    def is_done(run: PlannedRun) -> bool:
        record = records.get(run.run_id)
        if record is None or (again_disturbed and record.disturbed):
            return False
        if record.status == "stopped" and record.forecast is not None:
            return stop_above_j is not None and record.forecast.low_j > stop_above_j
        meters = worker.meters[environment.gpu_uuids(run.environment, worker.machine)]
        return record.status == "finished" and not _has_weaker_meters(record, meters)

    return [run for run in runs if not is_done(run)]


def costs_from_records(runs: Sequence[PlannedRun], store: Store) -> dict[str, RunCost]:
    """Return the cost of one run by condition, of the conditions with finished runs."""
    repetitions = {
        run.condition: [
            replace(run, repetition=number).run_id for number in range(run.protocol.repetitions)
        ]
        for run in {run.condition: run for run in runs}.values()
    }
    records = _read(store, [run_id for run_ids in repetitions.values() for run_id in run_ids])
    costs = {}
    for condition, run_ids in repetitions.items():
        found = [records[run_id] for run_id in run_ids if run_id in records]
        finished = [record for record in found if record.status == "finished"]
        if finished:
            costs[condition] = from_history(finished)
    return costs


def _read(store: Store, run_ids: Iterable[str]) -> dict[str, RunRecord]:
    loaded = store.load_all(run_ids)
    return {record.run_id: record for record in loaded if isinstance(record, RunRecord)}


def _has_weaker_meters(record: RunRecord, meters: Mapping[Component, Provenance]) -> bool:
    parts = record.total.components if record.total else {}
    return any(
        name not in parts or weakest([parts[name].provenance, provenance]) != provenance
        for name, provenance in meters.items()
    )
