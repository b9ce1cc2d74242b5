"""From the plan to the records: a fresh process a run, in order, resumable, with its progress.

What trains is imported by the processes that train: torch takes seconds to load, and a report from
finished runs does without.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from greencv_core import environment
from greencv_core.devices import whole_machine
from greencv_core.energy import Component, Provenance, emissions_gco2e, weakest
from greencv_core.environment import Machine
from greencv_core.errors import BadInputError
from greencv_core.forecast import Expected, Forecast, Total, as_before, in_all
from greencv_core.gathering import in_the_studys_order, made_elsewhere, told_apart
from greencv_core.metering import intensity_gco2e_per_kwh, provenance_by_component
from greencv_core.outlook import Experience, Midway, Outlook
from greencv_core.paths import default_store
from greencv_core.progress import ProgressBar
from greencv_core.records import RunRecord, Store
from greencv_core.study import Carbon, PlannedRun, Study, load_study, plan
from greencv_core.workplace import (
    IdlePower,
    Order,
    Workplace,
    carry_out,
    describe_site,
    in_a_line,
    wrong_names,
)
from greencv_core.workplace import expectations as _expectations


class Progress(Protocol):
    """What an execution tells while it goes on."""

    def begin(self, runs: Sequence[PlannedRun], finished: int, expected: Total) -> None:
        """The runs still to make, how many are finished already, and what they will take."""

    def started(self, run: PlannedRun) -> None:
        """A run begins."""

    def forecast(self, run: PlannedRun, midway: Midway) -> None:
        """An epoch of the run ended: what it took so far, and what it will take in all."""

    def ended(self, run: PlannedRun, record: RunRecord, remaining_s: float) -> None:
        """A run ended, well or not; what remains is expected to take ``remaining_s``."""

    def note(self, text: str) -> None:
        """Something else worth a line."""


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


def planned(
    study: Study, *, architectures: Iterable[str] | None = None
) -> tuple[list[PlannedRun], Machine]:
    """Return a study's runs on this machine, in order, and the machine.

    Environments that the machine lacks are left out: :func:`environment.lacking` names them.

    Raises
    ------
    BadInputError
        ``architectures`` names one that the study lacks.
    """
    wanted = list(architectures) if architectures is not None else None
    for name in wanted or []:
        if name not in study.architectures:
            raise BadInputError(
                f"{study.where}: architectures: {name}: not in this study, "
                f"which has {', '.join(study.architectures)}"
            )
    machine = environment.describe_machine()
    specs = environment.resolve(study, machine)
    on_gpu = [(spec, machine.accelerator_of(spec)) for spec in specs]
    runs = plan(
        study,
        specs,
        machine.fingerprint,
        accelerators={spec.name: gpu.identity for spec, gpu in on_gpu if gpu is not None},
        architectures=wanted,
    )
    return runs, machine


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
    problems = wrong_names(study, download=download)
    machine = environment.describe_machine()
    if not environment.resolve(study, machine):
        problems = [*problems, *environment.lacking(study, machine)]
    if problems:
        raise BadInputError("\n".join(f"{study.where}: {problem}" for problem in problems))


def unfinished(
    runs: Sequence[PlannedRun],
    machine: Machine,
    store: Store,
    *,
    stop_above_j: float | None = None,
) -> list[PlannedRun]:
    """Return the runs still to make.

    They have no record of success, or one that lacks a component or estimates it where this machine
    could now meter or measure it: to give a meter its permission is to ask for better figures. A
    run that was stopped, and would be again for exceeding ``stop_above_j``, is not among them.
    """
    now: dict[tuple[str, ...], dict[Component, Provenance]] = {}
    left = []
    for run in runs:
        gpus = environment.gpu_uuids(run.environment, machine)
        if gpus not in now:
            now[gpus] = provenance_by_component(gpus)
        record = store.read(run.run_id)
        if record is None or not (
            _stays_stopped(record, stop_above_j)
            if record.status == "stopped"
            else record.status == "finished" and not _weaker(record, now[gpus])
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


def run_study(
    study: Study,
    *,
    store: Store | None = None,
    progress: Progress | None = None,
    architectures: Iterable[str] | None = None,
    train: bool = True,
    stop_above_j: float | None = None,
) -> Outcome:
    """Make all runs of a study that the store does not hold yet.

    Each run is written when it ends, so an interruption loses the run in progress alone. A run
    that fails is recorded with its reason, the others go on, and the next call tries it again.

    Parameters
    ----------
    store
        Where records are; the project's ``runs/`` (or ``$GREENCV_STORE``) when omitted.
    architectures
        Make these alone.
    progress
        Told what goes on; a bar on the terminal or in the notebook when omitted.
    train
        False: return what the store holds and train nothing.
    stop_above_j
        Stop each run that is forecast to take more, even at the lower end of the forecast's 95 %
        interval.

    Raises
    ------
    BadInputError
        See :func:`planned` and :func:`check`.
    """
    store = store or Store(default_store())
    chosen = list(study.architectures if architectures is None else architectures)
    runs, machine = planned(study, architectures=chosen)
    elsewhere = made_elsewhere(study, store, runs, chosen)
    made: list[RunRecord] = []
    left_of = partial(unfinished, runs, machine, store, stop_above_j=stop_above_j)
    if train and (left_of() or not (runs or elsewhere)):
        # A finished run is proof enough of its own names.
        check(study, download=True)
        with contextlib.ExitStack() as stack:
            if progress is None:
                progress = stack.enter_context(ProgressBar())
            stack.enter_context(whole_machine())
            for damaged in store.prepare():
                progress.note(f"damaged, and set aside: {damaged.where}: {damaged.reason}")
            missing = left_of()  # another one may have made some meanwhile
            for line in environment.lacking(study, machine):
                progress.note(f"left to another machine: {line}")
            if machine.accelerator_problem:
                progress.note(f"no accelerator is used: {machine.accelerator_problem}")
            for accelerator in machine.accelerators:
                if accelerator.unmetered and study.environments == "auto":
                    progress.note(f"{accelerator.device} is not used: {accelerator.unmetered}")
            if missing:
                finished = len(runs) - len(missing)
                made = _make(missing, machine, store, progress, finished, stop_above_j)
    here = [record for run in runs if (record := store.read(run.run_id)) is not None]
    ordered = in_the_studys_order(told_apart([*here, *elsewhere]), study)
    try:
        records = [_with_carbon(record, study.carbon) for record in ordered]
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
        missing=len(runs) - len(here),
    )


def collect(
    study: str | Path | Study,
    *,
    store: str | Path | None = None,
    architectures: Iterable[str] | None = None,
    progress: Progress | None = None,
    train: bool = True,
) -> list[RunRecord]:
    """Return a study's records: finished runs from the store, missing ones trained now.

    This is what a notebook calls. Parameters as in :func:`run_study`; ``study`` may be the path
    or the name of a study file.
    """
    loaded = study if isinstance(study, Study) else load_study(study)
    outcome = run_study(
        loaded,
        store=Store(store if store is not None else default_store()),
        progress=progress,
        architectures=architectures,
        train=train,
    )
    return list(outcome.records)


def plan_size(study: str | Path | Study, records: Iterable[RunRecord] = ()) -> int:
    """Return how many runs a study has: planned on this machine, or recorded by another one."""
    runs = planned(study if isinstance(study, Study) else load_study(study))[0]
    return len({run.run_id for run in runs} | {record.run_id for record in records})


def expectations(
    runs: Sequence[PlannedRun], machine: Machine, store: Store
) -> tuple[dict[str, Expected], dict[str, str]]:
    """Return what one run of each condition is expected to take, by condition.

    From the records of the same condition where there are some, else from a few timed and metered
    batches, in a process of its own.

    Returns
    -------
    expected
        By condition.
    problems
        Conditions that could not be timed (they do not fit into memory, say), and why.
    """
    return _expectations(runs, machine, _as_before(runs, store))


def _as_before(runs: Sequence[PlannedRun], store: Store) -> dict[str, Expected]:
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
            known[condition] = as_before(finished)
    return known


def before_the_first_run_s(runs: Sequence[PlannedRun], machine: Machine, probed_s: float) -> float:
    """Return how long a study takes before its first run: idle power, batches, warming up.

    Parameters
    ----------
    runs
        Those still to make.
    probed_s
        How long :func:`expectations` took.
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
    intensity = intensity_gco2e_per_kwh(carbon)
    return record.model_copy(
        update={
            "carbon": wanted,
            "carbon_intensity_gco2e_per_kwh": intensity,
            "emissions_gco2e": emissions_gco2e(energy_j, intensity),
        }
    )


def _make(
    runs: Sequence[PlannedRun],
    machine: Machine,
    store: Store,
    progress: Progress,
    finished: int,
    stop_above_j: float | None,
) -> list[RunRecord]:
    made = []
    workplace = Workplace(describe_site(), progress.note)
    progress.note("metering idle power, timing a few batches of each condition")
    # A condition that cannot be timed is told by the run that fails.
    prepared = workplace.prepare(runs, _as_before(runs, store))
    expected = prepared.expected
    outlooks = _outlooks(runs, machine, store, prepared.idle_power_w, expected, progress)
    expected_s = {name: one.duration_s for name, one in expected.items()}
    forecast = Forecast(runs, expected_s)
    progress.begin(runs, finished, in_all(runs, expected))
    for run in runs:
        outlook, earlier = outlooks.get(run.condition), store.read(run.run_id)
        order = Order(
            run=run,
            expected_s=expected_s.get(run.condition),
            outlook=outlook,
            stop_above_j=stop_above_j,
            refused=None if stop_above_j is None else _refusal(run, outlook, stop_above_j),
            replaces="" if earlier is None else earlier.started_at,
        )
        progress.started(run)
        start = time.monotonic()
        record = carry_out(order, workplace, store, partial(progress.forecast, run))
        made.append(record)
        forecast.learn(run, time.monotonic() - start - run.protocol.cooldown_s)
        progress.ended(run, record, forecast.remaining_s())
    return made


def _outlooks(
    runs: Sequence[PlannedRun],
    machine: Machine,
    store: Store,
    idle: Mapping[str, IdlePower],
    expected: Mapping[str, Expected],
    progress: Progress,
) -> dict[str, Outlook]:
    """Return the outlooks by condition, of those that have one: runs are made without, too."""
    outlooks = {}
    try:
        experience = Experience.of(store.records())
        for condition, run in {run.condition: run for run in runs}.items():
            probe = expected[condition].probe if condition in expected else None
            size = experience.size(run, probe)
            if size is not None:
                outlooks[condition] = experience.outlook(
                    run,
                    size,
                    idle_power_w=sum(idle[run.environment.name].values()),
                    power_limit_w=environment.power_limit_w(run.environment, machine),
                    probe=probe,
                )
    except Exception as error:  # whatever it is, it is no reason to train nothing
        progress.note(f"no forecasts: {in_a_line(error)}")
    return outlooks


def _refusal(run: PlannedRun, outlook: Outlook | None, limit_j: float) -> Midway | None:
    """Return the forecast that keeps a run from being begun; None where it may begin."""
    if outlook is None:
        return None
    with contextlib.suppress(Exception):  # that there is nothing to tell it from yet, say
        before = Midway(0, run.protocol.most_epochs, 0.0, outlook.before())
        return before if before.exceeds(limit_j) else None
    return None
