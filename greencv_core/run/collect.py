"""Collect a study's records; train what is missing, here or on a cluster."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType

from greencv_core.estimation.run_cost import RunCost
from greencv_core.estimation.run_forecast import RunHistory, predict_costs
from greencv_core.machine import environment, hardware
from greencv_core.machine.hardware import Machine
from greencv_core.metering import carbon_intensity_gco2e_per_kwh
from greencv_core.metering.ranks import other_rank
from greencv_core.records.backends.bundle import is_bundle
from greencv_core.records.components import restrict_to_components
from greencv_core.records.record import RunRecord
from greencv_core.records.select import (
    count_environments,
    disambiguate_environments,
    find_records,
    sort_records,
)
from greencv_core.records.snapshot import StoreSnapshot
from greencv_core.records.source import load_study
from greencv_core.records.store import Store
from greencv_core.run.calibration import estimate_costs, power_limits_w
from greencv_core.run.local import run_locally
from greencv_core.run.planning import costs_from_records, plan_here, select_unfinished
from greencv_core.run.progress import ProgressBar, RunProgress
from greencv_core.run.queue import RunQueue
from greencv_core.run.worker import describe_worker, find_study_errors
from greencv_core.study.plan import PlannedRun
from greencv_core.study.schema import Carbon, Study
from greencv_core.utils.energy import Component, emissions_gco2e
from greencv_core.utils.errors import BadInputError, check_type
from greencv_core.utils.interpreters import NO_NOTES
from greencv_core.utils.paths import default_store


@dataclass(frozen=True)
class Outcome:
    """Records of a study, and how many of its runs were trained, failed or are missing."""

    records: tuple[RunRecord, ...]
    """Records of the planned runs, in the study's order: architecture, environment, repetition."""
    trained: int
    """Runs trained by this call."""
    failed: int
    stopped: int
    """Runs whose forecast exceeded the energy limit."""
    missing: int

    @property
    def disturbed(self) -> int:
        """Number of records of disturbed runs."""
        return sum(record.disturbed for record in self.records)

    @property
    def planned(self) -> int:
        """Number of runs in the plan."""
        return len(self.records) + self.missing


def check(study: Study, *, download: bool) -> str:
    """Check the parts of a study that only the training libraries know.

    Returns a line about images that are not used, or an empty text.
    With ``download``, images and weights are downloaded if they are missing, and checked.
    :class:`BadInputError` has one line for each unknown architecture, data set or country, and for
    images that are not available. It is also raised if this machine has none of the study's
    environments, or if another process of a parallel job meters it.
    """
    if rank := other_rank():
        raise BadInputError(
            f"{rank}: local rank 0 of this computer meters it, and a study's runs are trained one "
            "at a time: start greencv once a computer (srun --ntasks-per-node=1)"
        )
    problems, note = find_study_errors(study, download=download)
    machine = hardware.describe_machine()
    if not environment.resolve(study, machine):
        problems = [*problems, *environment.missing_environments(study, machine)]
    _raise_problems(study, problems)
    return note


def _raise_problems(study: Study, problems: Sequence[str]) -> None:
    if problems:
        raise BadInputError("\n".join(f"{study.where}: {problem}" for problem in problems))


def run_study(
    study: Study,
    *,
    store: Store | None = None,
    progress: RunProgress | None = None,
    architectures: Iterable[str] | None = None,
    train: bool = True,
    stop_above_j: float | None = None,
    scheduler: str | None = None,
    every_component: bool = False,
    again_disturbed: bool = False,
) -> Outcome:
    """Train all unfinished runs of a study, and return all its records.

    An interruption loses only the runs in progress. If a run fails, its record states why, the
    study goes on, and the next call tries the run again.

    Parameters
    ----------
    store
        The project's ``runs/`` (or ``$GREENCV_STORE``) by default; or a bundle, to read only.
    architectures
        Train these architectures only.
    progress
        Receives events; by default a bar.
    train
        False: only return the records in the store.
    stop_above_j
        Stop a run when even the lower end of its forecast's 95% interval exceeds this energy.
    scheduler
        Address of a Dask cluster whose workers train; this computer by default.
    every_component
        Return the energy of every metered component, also if the study counts only some of them.
    again_disturbed
        Make disturbed runs again, too.
    """
    store = StoreSnapshot(store or Store(default_store()))
    if train and store.is_bundle:
        store.check_writable()  # raises: a bundle is read-only
    store.stamps()  # raises before any download if the store cannot be read
    chosen = list(study.architectures if architectures is None else architectures)
    study.check_architectures(chosen)
    runs = [] if store.is_bundle else plan_here(study, architectures=chosen)[0]
    new: list[RunRecord] = []
    on_cluster, limits = scheduler is not None, (stop_above_j, again_disturbed)
    if train and (on_cluster or _is_unfinished(study, store, runs, chosen, *limits)):
        with contextlib.ExitStack() as stack:
            progress = progress or stack.enter_context(ProgressBar())
            run_queue = RunQueue(study, store, progress, chosen, *limits)
            _train_missing(run_queue, scheduler)
        runs = list(run_queue.runs.values()) if on_cluster else runs
        new = run_queue.new_records
        store.stamps()  # finds the new records
    ids = [run.run_id for run in runs]
    here = [record for record in store.load_all(ids) if isinstance(record, RunRecord)]
    components = None if every_component else study.analysis.components
    records = _adapt([*here, *find_records(study, store, chosen, set(ids))], study, components)
    counts = Counter(status for _, status in {(r.run_id, r.status) for r in [*new, *records]})
    missing = len(runs) - len(here)
    return Outcome(tuple(records), len(new), counts["failed"], counts["stopped"], missing)


def _train_missing(run_queue: RunQueue, scheduler: str | None) -> None:
    study = run_queue.study
    if scheduler is None:
        if note := check(study, download=True):
            run_queue.progress.note(note)
        run_locally(run_queue)
        return
    problems, note = find_study_errors(study, download=False)
    _raise_problems(study, problems)
    if note:
        run_queue.progress.note(note)
    # Importing Dask takes a second.
    from greencv_core.run.dask_cluster import run_on_cluster

    run_on_cluster(run_queue, scheduler)


def _adapt(
    found: Sequence[RunRecord], study: Study, components: Sequence[Component] | None
) -> list[RunRecord]:
    """Return records in the study's order, with its components and its electricity.

    If computers stated their own electricity, each record keeps that of its computer.
    """
    own = _electricity_differs(found)
    try:
        return [
            restrict_to_components(
                record if own else _with_carbon(record, study.carbon), components
            )
            for record in sort_records(disambiguate_environments(found), study)
        ]
    except BadInputError as error:
        raise BadInputError(f"{study.where}: {error}") from error


def _is_unfinished(
    study: Study,
    store: Store,
    runs: Sequence[PlannedRun],
    architectures: Sequence[str],
    stop_above_j: float | None,
    again_disturbed: bool,
) -> bool:
    if runs:
        worker = describe_worker()
        return bool(
            select_unfinished(
                runs, worker, store, stop_above_j=stop_above_j, again_disturbed=again_disturbed
            )
        )
    return not find_records(study, store, architectures)


def collect(
    study: str | Path | Study,
    *,
    store: str | Path | None = None,
    architectures: Iterable[str] | None = None,
    progress: RunProgress | None = None,
    train: bool = True,
    every_component: bool = False,
) -> list[RunRecord]:
    """Return a study's records: finished runs from the store, missing ones trained now.

    For notebooks. Parameters as in :func:`run_study`. ``study`` may also be the path or the name of
    a study file, or a bundle, whose runs are returned if ``store`` is omitted. With a bundle as the
    store, nothing is trained. Notes on standard error say how many of the study's runs are missing,
    and how many runs of the store belong to the study.
    """
    check_type("study", study, (str, Path, Study), "a study file's path or name")
    check_type("store", store, (str, os.PathLike, NoneType), "a folder, a URL or None")
    check_type("train", train, (bool,), "True or False")
    loaded = study if isinstance(study, Study) else load_study(study)
    opened = _open_store(study, store)
    outcome = run_study(
        loaded,
        store=opened,
        progress=progress,
        architectures=architectures,
        train=train and not opened.is_bundle,
        every_component=every_component,
    )
    if NO_NOTES not in os.environ:
        command = loaded.name if isinstance(study, Study) else study
        _write_notes(outcome, loaded.name, opened, f"greencv run {shlex.quote(str(command))}")
    return list(outcome.records)


def _open_store(study: str | Path | Study, store: str | Path | None) -> Store:
    """Open a store; by default the bundle that is the study, or else the project's store."""
    if store is None and not isinstance(study, Study) and is_bundle(study):
        store = study
    return Store(store if store is not None else default_store())


def _write_notes(outcome: Outcome, study: str, store: Store, command: str) -> None:
    found, stored = len(outcome.records), len(store.run_ids())
    if outcome.missing:
        sys.stderr.write(
            f"{outcome.missing} of {outcome.planned} runs of study {study} are missing. Train them "
            f"with train = True, or with: {command}\n"
        )
    if found < stored:
        sys.stderr.write(f"{found} of {stored} stored runs belong to study {study}\n")


def plan_size(
    study: str | Path | Study,
    records: Iterable[RunRecord] = (),
    *,
    store: str | Path | None = None,
) -> int:
    """Return how many runs a study has: planned on this machine, or recorded by another one.

    For a bundle, as the study or the store: the runs planned on the machines that trained it, for
    each of its training environments. This machine does not count.
    """
    loaded = study if isinstance(study, Study) else load_study(study)
    opened = _open_store(study, store)
    if opened.is_bundle or is_bundle(study):
        return count_environments(records) * len(loaded.architectures) * loaded.protocol.repetitions
    runs = plan_here(loaded)[0]
    return len({run.run_id for run in runs} | {record.run_id for record in records})


def estimate_run_costs(
    runs: Sequence[PlannedRun], machine: Machine, store: Store
) -> tuple[dict[str, RunCost], dict[str, str]]:
    """Predict the cost of one run of each condition.

    As in ``greencv estimate``, from all finished runs of the store. For conditions without any, a
    few batches are timed and metered, each in a fresh process. Also returns why a condition could
    not be timed (too little memory, for example), by condition.
    """
    store = StoreSnapshot(store)
    costs, problems = estimate_costs(runs, machine, costs_from_records(runs, store))
    history = RunHistory.from_records(store.records())
    forecasters = history.forecasters(runs, costs, power_limits_w(runs, machine))
    return predict_costs(costs, forecasters), problems


def estimate_startup_s(runs: Sequence[PlannedRun], machine: Machine, probed_s: float) -> float:
    """Return the seconds before the first unfinished run: idle power, timed batches, warm-up.

    ``probed_s`` is how long :func:`estimate_run_costs` took.
    """
    if not runs:
        return 0.0
    environments = {run.environment.name: run.environment for run in runs}.values()
    idle_windows = {environment.gpu_uuids(spec, machine) for spec in environments}
    devices = {spec.device for spec in environments}
    protocol = runs[0].protocol
    return probed_s + len(idle_windows) * protocol.idle_s + len(devices) * protocol.warmup_s


def _electricity_differs(records: Sequence[RunRecord]) -> bool:
    """Return whether several computers made the records, on electricity that is not the same."""
    computers = {(record.host, str(record.machine.get("fingerprint"))) for record in records}
    stated = {json.dumps(record.carbon, sort_keys=True) for record in records}
    return len(computers) > 1 and len(stated) > 1


def _with_carbon(record: RunRecord, carbon: Carbon) -> RunRecord:
    """Return a record with its emissions computed for this study's electricity."""
    wanted = carbon.model_dump(mode="json")
    energy_j = record.total.energy_j if record.total and record.complete else None
    if record.carbon == wanted or energy_j is None:
        return record
    intensity = carbon_intensity_gco2e_per_kwh(carbon.country, carbon.intensity_gco2e_per_kwh)
    return record.model_copy(
        update={
            "carbon": wanted,
            "carbon_intensity_gco2e_per_kwh": intensity,
            "emissions_gco2e": emissions_gco2e(energy_j, intensity),
        }
    )
