"""From the plan to the records: a fresh process a run, in order, resumable, with its progress.

What trains is imported by the processes that train: torch takes seconds to load, and a report from
finished runs does without.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from greencv_core import environment
from greencv_core.energy import Component, Provenance, emissions_gco2e, weakest
from greencv_core.environment import Machine
from greencv_core.errors import BadInputError, GreencvError
from greencv_core.metering import (
    intensity_gco2e_per_kwh,
    measure_idle_power,
    provenance_by_component,
)
from greencv_core.paths import default_store
from greencv_core.progress import ProgressBar
from greencv_core.records import RunRecord, Store
from greencv_core.study import Carbon, PlannedRun, Study, load_study, plan

Result = TypeVar("Result")
IdlePower = dict[Component, float]
"""Watts by component."""

VALIDATION_COST = 1 / 3
"""A validation image costs the forward pass alone, about a third of a training image."""
START_S = 1.0
"""Seconds to start a run's process, build its model and open its meters."""


class ProcessLostError(GreencvError):
    """A process of ours was killed from outside."""


class Progress(Protocol):
    """What an execution tells while it goes on."""

    def begin(self, runs: Sequence[PlannedRun], finished: int, expected_s: float) -> None:
        """The runs still to make, how many are finished already, and how long it will take."""

    def started(self, run: PlannedRun) -> None:
        """A run begins."""

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

    Raises
    ------
    BadInputError
        The study names a device that is not there, or ``architectures`` one that the study lacks.
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


def check(study: Study) -> None:
    """Check the names in a study that only what trains can know.

    Raises
    ------
    BadInputError
        The study names an architecture, a data set or a country that is not known; one line each.
    """
    problems = _in_fresh_process(_wrong_names, study)
    if problems:
        raise BadInputError("\n".join(f"{study.where}: {problem}" for problem in problems))


def _wrong_names(study: Study) -> list[str]:
    from greencv_core.architectures import check_architecture
    from greencv_core.datasets import check_dataset

    checks: list[Callable[[], object]] = [
        *(partial(check_architecture, name) for name in study.architectures),
        partial(check_dataset, study.dataset),
        partial(intensity_gco2e_per_kwh, study.carbon),
    ]
    problems = []
    for one in checks:
        try:
            one()
        except BadInputError as error:
            problems.append(str(error))
    return problems


def unfinished(runs: Sequence[PlannedRun], machine: Machine, store: Store) -> list[PlannedRun]:
    """Return the runs still to make.

    They have no record of success, or one that lacks a component or estimates it where this machine
    could now meter or measure it: to give a meter its permission is to ask for better figures.
    """
    now: dict[tuple[str, ...], dict[Component, Provenance]] = {}
    left = []
    for run in runs:
        gpus = environment.gpu_uuids(run.environment, machine)
        if gpus not in now:
            now[gpus] = provenance_by_component(gpus)
        record = store.read(run.run_id)
        if record is None or record.status != "finished" or _weaker(record, now[gpus]):
            left.append(run)
    return left


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

    Raises
    ------
    BadInputError
        See :func:`planned` and :func:`check`.
    """
    store = store or Store(default_store())
    runs, machine = planned(study, architectures=architectures)
    made: list[RunRecord] = []
    if train and unfinished(runs, machine, store):
        check(study)  # a finished run is proof enough of its own names
        with contextlib.ExitStack() as stack:
            if progress is None:
                progress = stack.enter_context(ProgressBar())
            stack.enter_context(store.writing())
            missing = unfinished(runs, machine, store)  # another one may have made some meanwhile
            if machine.accelerator_problem:
                progress.note(f"no accelerator is used: {machine.accelerator_problem}")
            for accelerator in machine.accelerators:
                if accelerator.unmetered and study.environments == "auto":
                    progress.note(f"{accelerator.device} is not used: {accelerator.unmetered}")
            if missing:
                made = _make(missing, machine, store, progress, finished=len(runs) - len(missing))
    environments = [spec.name for spec in environment.resolve(study, machine)]
    runs.sort(
        key=lambda run: (
            study.architectures.index(run.architecture),
            environments.index(run.environment.name),
            run.repetition,
        )
    )
    found = [record for run in runs if (record := store.read(run.run_id)) is not None]
    try:
        records = [_with_carbon(record, study.carbon) for record in found]
    except BadInputError as error:
        raise BadInputError(f"{study.where}: {error}") from error
    failed = {record.run_id for record in [*made, *records] if record.status == "failed"}
    return Outcome(
        records=tuple(records),
        trained=len(made),
        failed=len(failed),
        missing=len(runs) - len(records),
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


def plan_size(study: str | Path | Study) -> int:
    """Return how many runs a study has on this machine, made or not."""
    return len(planned(study if isinstance(study, Study) else load_study(study))[0])


def expected_run_seconds(runs: Sequence[PlannedRun], store: Store) -> dict[str, float]:
    """Return the seconds that each condition's run is expected to take.

    From the records of the same condition where there are some, else from a few timed training
    steps, in a process of its own. A condition that could not be timed (it does not fit
    into memory, say) is absent.
    """
    expected: dict[str, float] = {}
    conditions = {run.condition: run for run in runs}
    for record in store.records():
        if isinstance(record, RunRecord) and record.status == "finished" and record.duration_s:
            name = f"{record.architecture} @ {record.environment['name']}"
            run = conditions.get(name)
            same = run is not None and (
                run.protocol.model_dump(mode="json", exclude={"repetitions"})
                == {k: v for k, v in record.protocol.items() if k != "repetitions"}
                and run.dataset.model_dump(mode="json") == record.dataset
                and run.environment.model_dump(mode="json") == record.environment
                and run.machine == record.machine["fingerprint"]
                and run.accelerator == record.accelerator
            )
            if same:
                expected[name] = record.duration_s + START_S
    for name, run in conditions.items():
        if name not in expected and (seconds := _time_image(run)):
            expected[name] = seconds * _equivalent_images(run) + START_S
    return expected


def _time_image(run: PlannedRun) -> float | None:
    """Train a few batches of a condition; None where it cannot be trained."""
    try:
        return _in_fresh_process(_seconds_per_image, run)
    except ProcessLostError:
        return None


def _seconds_per_image(run: PlannedRun) -> float | None:
    from greencv_core.experiment import seconds_per_image

    try:
        return seconds_per_image(run)
    except Exception:  # what it is will be the reason of the run's failure
        return None


def _equivalent_images(run: PlannedRun) -> float:
    data = run.dataset
    per_epoch = data.train_images + VALIDATION_COST * data.validation_images
    return run.protocol.epochs * per_epoch


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
    runs: Sequence[PlannedRun], machine: Machine, store: Store, progress: Progress, finished: int
) -> list[RunRecord]:
    made = []
    progress.note("metering idle power and warming up")
    idle = _idle_power(runs, machine, progress)
    expected = expected_run_seconds(runs, store)
    # Timing a condition warms the machine up; where records told the times, nothing did.
    for run in {run.environment.name: run for run in runs}.values():
        _time_image(run)
    forecast = _Forecast(runs, expected)
    progress.begin(runs, finished, forecast.remaining_s())
    for run in runs:
        if run.protocol.cooldown_s:
            time.sleep(run.protocol.cooldown_s)
        progress.started(run)
        start = time.monotonic()
        record = _one_run(run, machine, idle[run.environment.name])
        store.write(record)
        made.append(record)
        forecast.learn(run, time.monotonic() - start)
        progress.ended(run, record, forecast.remaining_s())
    return made


def _one_run(run: PlannedRun, machine: Machine, idle: IdlePower) -> RunRecord:
    try:
        return _in_fresh_process(_execute, run, machine, idle)
    except ProcessLostError as error:
        return _in_fresh_process(_failure, run, machine, str(error))


def _failure(run: PlannedRun, machine: Machine, reason: str) -> RunRecord:
    from greencv_core.experiment import failure

    return failure(run, machine, reason)


def _execute(run: PlannedRun, machine: Machine, idle: IdlePower) -> RunRecord:
    """Run in the child: what a person can act on becomes the record's reason."""
    from greencv_core.experiment import execute, failure

    try:
        return execute(run, machine, idle_power_w=idle)
    except Exception as error:  # an architecture may raise what it likes; the study goes on
        text = " ".join(str(error).split())
        return failure(run, machine, f"{type(error).__name__}: {text[:500]}")


def _idle_power(
    runs: Sequence[PlannedRun], machine: Machine, progress: Progress
) -> dict[str, IdlePower]:
    """Return idle power by environment and component, metered once for each set of GPUs."""
    by_gpus: dict[tuple[str, ...], IdlePower] = {}
    result = {}
    for spec in {run.environment.name: run.environment for run in runs}.values():
        gpus = environment.gpu_uuids(spec, machine)
        if gpus not in by_gpus:
            reading = _in_fresh_process(measure_idle_power, runs[0].protocol.idle_s, gpus)
            for problem in reading.problems:
                progress.note(f"idle power: {problem}")
            by_gpus[gpus] = {
                name: part.energy_j / reading.duration_s
                for name, part in reading.components.items()
            }
        result[spec.name] = by_gpus[gpus]
    return result


class _Forecast:
    """Remaining time: expected seconds a condition, corrected by how the past ones turned out."""

    def __init__(self, runs: Sequence[PlannedRun], expected_s: dict[str, float]) -> None:
        self._left = list(runs)
        self._expected_s = expected_s
        self._actual_s: dict[str, list[float]] = {}

    def learn(self, run: PlannedRun, seconds: float) -> None:
        self._left.remove(run)
        self._actual_s.setdefault(run.condition, []).append(seconds)

    def remaining_s(self) -> float:
        done = [(c, s) for c, all_s in self._actual_s.items() for s in all_s]
        forecast_s = sum(self._expected_s.get(condition, 0.0) for condition, _ in done)
        ratio = sum(s for _, s in done) / forecast_s if forecast_s else 1.0
        return sum(self._one(run.condition, ratio) + run.protocol.cooldown_s for run in self._left)

    def _one(self, condition: str, ratio: float) -> float:
        if condition in self._actual_s:
            return statistics.median(self._actual_s[condition])
        return self._expected_s.get(condition, START_S) * ratio


_PRELOAD = ["greencv_core._preload"]


def _in_fresh_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function in a process that has run nothing before, with torch already imported.

    Raises
    ------
    ProcessLostError
        The process was killed.
    """
    pool = ProcessPoolExecutor(max_workers=1, mp_context=_context(), initializer=_follow_the_driver)
    try:
        with _interrupt_held_back():
            future = pool.submit(function, *arguments)
        return future.result()
    except BrokenProcessPool as error:
        raise ProcessLostError("the training process was killed (out of memory?)") from error
    except BaseException:
        # Interrupted: the training in progress is lost anyway, so do not wait for its end.
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _context() -> Any:
    # Apple's frameworks do not stand a fork of a process that has loaded them.
    fork = "forkserver" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"
    if not fork:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    with _interrupt_ignored():
        multiprocessing.forkserver.ensure_running()
    return context


@contextlib.contextmanager
def _interrupt_ignored() -> Iterator[None]:
    """Let what is started meanwhile ignore Ctrl-C, which goes to the whole process group.

    The driver decides and ends its children itself; one that was interrupted while it starts would
    print a traceback.
    """
    with _interrupt_handler(signal.SIG_IGN):
        yield


@contextlib.contextmanager
def _interrupt_held_back() -> Iterator[None]:
    """Have Ctrl-C wait until a process that is being started is known and can be ended.

    A second one does not wait: the fork server may take its time to load.
    """
    pending: list[int] = []

    def hold(number: int, _: object) -> None:
        if pending:
            raise KeyboardInterrupt
        pending.append(number)

    with _interrupt_handler(hold):
        yield
    if pending:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _interrupt_handler(handler: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers are the main thread's
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _follow_the_driver() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where there is no fork server to inherit it from
    threading.Thread(target=_end_with_the_driver, daemon=True).start()


def _end_with_the_driver() -> None:
    # A driver that was killed cannot end its training; left alone, that would go on beside the
    # next attempt and in its energy.
    driver = multiprocessing.parent_process()
    assert driver is not None
    multiprocessing.connection.wait([driver.sentinel])
    os._exit(1)
