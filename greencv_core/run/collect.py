"""From a study to its records: what is missing is made, here or on a cluster; resumable.

What trains is imported by the processes that train: torch takes seconds to load, and a report from
finished runs does without.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from greencv_core.estimation.run_cost import RunCost
from greencv_core.estimation.run_forecast import RunHistory, predict_costs
from greencv_core.machine import environment, hardware
from greencv_core.machine.hardware import Machine
from greencv_core.metering import intensity_gco2e_per_kwh
from greencv_core.records.backends.bundle import is_bundle
from greencv_core.records.components import restrict_to_components
from greencv_core.records.record import RunRecord
from greencv_core.records.select import (
    count_environments,
    disambiguate_environments,
    records_from_bundle,
    records_from_other_machines,
    sort_records,
)
from greencv_core.records.source import load_study
from greencv_core.records.store import Store
from greencv_core.run.local import run_locally
from greencv_core.run.planning import costs_from_records, plan_here, select_unfinished
from greencv_core.run.progress import ProgressBar, RunProgress
from greencv_core.run.queue import RunQueue
from greencv_core.run.worker import describe_worker, estimate_costs, find_study_errors
from greencv_core.study.plan import PlannedRun
from greencv_core.study.schema import Carbon, Study
from greencv_core.utils.energy import emissions_gco2e
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.paths import default_store


@dataclass(frozen=True)
class Outcome:
    """What became of the plan."""

    records: tuple[RunRecord, ...]
    """Of all the planned runs that have one, in the study's order: architecture, environment,
    repetition."""
    trained: int
    """Runs made by this call."""
    failed: int
    stopped: int
    """Runs that were forecast to exceed what was allowed."""
    missing: int
    """Planned runs without a record (where training was not allowed)."""

    @property
    def planned(self) -> int:
        """Runs in the plan."""
        return len(self.records) + self.missing


def check(study: Study, *, download: bool) -> None:
    """Check the names in a study that only what trains can know.

    Parameters
    ----------
    download
        Get the images, too, where they are not at hand, and look at them.

    Raises
    ------
    BadInputError
        The study names an architecture, a data set or a country that is not known, or images that
        cannot be had; one line each. Or this machine has none of the study's environments.
    """
    problems = find_study_errors(study, download=download)
    machine = hardware.describe_machine()
    if not environment.resolve(study, machine):
        problems = [*problems, *environment.missing_environments(study, machine)]
    _refuse(study, problems)


def _refuse(study: Study, problems: Sequence[str]) -> None:
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
) -> Outcome:
    """Make all runs of a study that the store does not hold yet.

    Each run is written when it ends, so an interruption loses the runs in progress alone. A run
    that fails is recorded with its reason, the others go on, and the next call tries it again.

    Parameters
    ----------
    store
        Where records are; the project's ``runs/`` (or ``$GREENCV_STORE``) when omitted. Of a
        bundle, the records are those that it holds, and nothing is planned on this machine.
    architectures
        Make these alone.
    progress
        Told what goes on; a bar on the terminal or in the notebook when omitted.
    train
        False: return what the store holds and train nothing.
    stop_above_j
        Stop each run that is forecast to take more, even at the lower end of the forecast's 95 %
        interval.
    scheduler
        Address of a Dask cluster whose workers make the runs; this computer makes them when
        omitted.
    every_component
        Return records with all that was metered, also of a study that counts some components alone.

    Raises
    ------
    BadInputError
        See :func:`plan_here` and :func:`check`. Or runs are to be trained into a bundle, or it
        holds none of the study.
    GreencvError
        A record cannot be written, or the cluster is not there.
    """
    store = store or Store(default_store())
    if train and store.is_bundle:
        store.check_writable()  # which it never is
    store.run_ids()  # one that cannot be read is told before data are downloaded, say
    chosen = list(study.architectures if architectures is None else architectures)
    if store.is_bundle:
        study.check_architectures(chosen)
        packed = records_from_bundle(study, store, chosen)
        return _outcome(study, packed, made=(), missing=0, every_component=every_component)
    runs, _ = plan_here(study, architectures=chosen)
    made: list[RunRecord] = []
    if train and (scheduler is not None or _lacks_some(study, store, runs, chosen, stop_above_j)):
        if scheduler is None:
            # A finished run is proof enough of its own names.
            check(study, download=True)
        else:
            _refuse(study, find_study_errors(study, download=False))
        with contextlib.ExitStack() as stack:
            if progress is None:
                progress = stack.enter_context(ProgressBar())
            dispatch = RunQueue(study, store, progress, chosen, stop_above_j)
            if scheduler is None:
                run_locally(dispatch)
            else:
                # A driver of its own computer's runs does without Dask, which takes a second.
                from greencv_core.run.dask_cluster import run_on_cluster

                run_on_cluster(dispatch, scheduler)
                runs = list(dispatch.runs.values())
        made = dispatch.made
    here = [record for run in runs if (record := store.read(run.run_id)) is not None]
    elsewhere = records_from_other_machines(study, store, runs, chosen)
    return _outcome(
        study, [*here, *elsewhere],
        made=made, missing=len(runs) - len(here), every_component=every_component,
    )  # fmt: skip


def _outcome(
    study: Study,
    found: Sequence[RunRecord],
    *,
    made: Sequence[RunRecord],
    missing: int,
    every_component: bool,
) -> Outcome:
    components = None if every_component else study.analysis.components
    ordered = sort_records(disambiguate_environments(found), study)
    try:
        records = [
            restrict_to_components(_with_carbon(record, study.carbon), components)
            for record in ordered
        ]
    except BadInputError as error:
        raise BadInputError(f"{study.where}: {error}") from error
    of_status = {
        status: {record.run_id for record in [*made, *records] if record.status == status}
        for status in ("failed", "stopped")
    }
    return Outcome(
        records=tuple(records),
        trained=len(made),
        failed=len(of_status["failed"]),
        stopped=len(of_status["stopped"]),
        missing=missing,
    )


def _lacks_some(
    study: Study,
    store: Store,
    runs: Sequence[PlannedRun],
    architectures: Sequence[str],
    stop_above_j: float | None,
) -> bool:
    if runs:
        return bool(select_unfinished(runs, describe_worker(), store, stop_above_j=stop_above_j))
    return not records_from_other_machines(study, store, runs, architectures)


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

    This is what a notebook calls. Parameters as in :func:`run_study`; ``study`` may be the path
    or the name of a study file. A bundle as the store lacks nothing, so that none is trained.
    """
    loaded = study if isinstance(study, Study) else load_study(study)
    opened = Store(store if store is not None else default_store())
    outcome = run_study(
        loaded,
        store=opened,
        progress=progress,
        architectures=architectures,
        train=train and not opened.is_bundle,
        every_component=every_component,
    )
    return list(outcome.records)


def plan_size(
    study: str | Path | Study,
    records: Iterable[RunRecord] = (),
    *,
    store: str | Path | None = None,
) -> int:
    """Return how many runs a study has: planned on this machine, or recorded by another one.

    Of a bundle, as the study or the store, they are those planned where its runs were made: of
    each training environment that made some, on each machine. This machine does not count.
    """
    loaded = study if isinstance(study, Study) else load_study(study)
    opened = Store(store if store is not None else default_store())
    if opened.is_bundle or is_bundle(study):
        return count_environments(records) * len(loaded.architectures) * loaded.protocol.repetitions
    runs = plan_here(loaded)[0]
    return len({run.run_id for run in runs} | {record.run_id for record in records})


def estimate_run_costs(
    runs: Sequence[PlannedRun], machine: Machine, store: Store
) -> tuple[dict[str, RunCost], dict[str, str]]:
    """Predict the cost of one run of each condition.

    As in ``greencv estimate``, from all finished runs of the store; conditions that have none are
    timed and metered for a few batches, each in a fresh process.

    Returns
    -------
    costs
        By condition.
    problems
        Conditions that could not be timed (they do not fit into memory, say), and why.
    """
    costs, problems = estimate_costs(runs, machine, costs_from_records(runs, store))
    specs = {run.environment.name: run.environment for run in runs}
    limits_w = {name: environment.power_limit_w(spec, machine) for name, spec in specs.items()}
    history = RunHistory.from_records(store.records())
    return predict_costs(costs, history.forecasters(runs, costs, limits_w)), problems


def estimate_startup_s(runs: Sequence[PlannedRun], machine: Machine, probed_s: float) -> float:
    """Return how long a study takes before its first run: idle power, batches, warming up.

    Parameters
    ----------
    runs
        Those still to make.
    probed_s
        How long :func:`estimate_run_costs` took.
    """
    if not runs:
        return 0.0
    environments = {run.environment.name: run.environment for run in runs}.values()
    idle_windows = {environment.gpu_uuids(spec, machine) for spec in environments}
    devices = {spec.device for spec in environments}
    protocol = runs[0].protocol
    return probed_s + len(idle_windows) * protocol.idle_s + len(devices) * protocol.warmup_s


def _with_carbon(record: RunRecord, carbon: Carbon) -> RunRecord:
    """Return a record with the emissions that this study's electricity makes of its energy."""
    wanted = carbon.model_dump(mode="json")
    energy_j = record.total.energy_j if record.total and record.complete else None
    if record.carbon == wanted or energy_j is None:
        return record
    intensity = intensity_gco2e_per_kwh(carbon.country, carbon.intensity_gco2e_per_kwh)
    return record.model_copy(
        update={
            "carbon": wanted,
            "carbon_intensity_gco2e_per_kwh": intensity,
            "emissions_gco2e": emissions_gco2e(energy_j, intensity),
        }
    )
