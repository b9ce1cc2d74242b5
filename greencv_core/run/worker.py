"""The computer that trains: what it offers, and what happens on it, alone or as a cluster's worker.

What trains is imported by the processes that train: torch takes seconds to load.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from greencv_core.estimation.run_cost import PROBE_S, ProbeResult, RunCost, extrapolate, from_probe
from greencv_core.estimation.run_forecast import EpochForecast, RunForecaster
from greencv_core.machine import environment, hardware
from greencv_core.machine.hardware import Machine
from greencv_core.metering import (
    intensity_gco2e_per_kwh,
    measure_idle_power,
    provenance_by_component,
)
from greencv_core.records.record import RunRecord
from greencv_core.run.subprocesses import (
    Check,
    ProcessLostError,
    call_in_fresh_process,
    retry_in_fresh_process,
    send_to_driver,
)
from greencv_core.study.plan import PlannedRun
from greencv_core.study.schema import Study
from greencv_core.utils.energy import Component, Provenance
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.secrets import without_secrets

ATTEMPTS = 2
"""At a run whose process was killed from outside."""
SETUP_SILENCE_S = 1800.0
"""How long a training may take to its first epoch's end, beside that epoch: images and models are
loaded, and compiled."""
EPOCH_SILENCE_S = 120.0
"""How long any epoch may take."""
SLOWER = 10.0
"""How many times longer than expected an epoch may take before its training counts as hung."""

PROBING_S = 30.0
PROBING_SHARE = 0.05
"""For how long conditions are timed before the first run: so long, or this share of what all runs
will take, if that is longer. The others' times are guessed from these."""

IdlePower = dict[Component, float]
"""Watts by component."""
Gpus = tuple[str, ...]
"""NVML's identifiers; empty for the CPU."""


@dataclass(frozen=True)
class WorkerInfo:
    """A computer as it offers itself for runs."""

    machine: Machine
    host: str
    """Hash of its name."""
    versions: Mapping[str, str]
    """Of the software that runs depend on."""
    meters: Mapping[Gpus, Mapping[Component, Provenance]]
    """What each component's energy would be, by the GPUs that are metered with it."""


def describe_worker() -> WorkerInfo:
    """Return this computer as this process sees it."""
    machine = hardware.describe_machine()
    gpus: set[Gpus] = {(), *(a.metered_uuids for a in machine.accelerators)}
    meters = {each: provenance_by_component(each) for each in gpus}
    versions = hardware.software_versions()
    return WorkerInfo(machine, hardware.host(), versions, meters)


@dataclass(frozen=True)
class Job:
    """A run to be made, and what its maker is to know."""

    run: PlannedRun
    expected_s: float | None
    """How long it is expected to take; None where nothing tells."""
    forecaster: RunForecaster | None
    stop_above_j: float | None
    refused: EpochForecast | None = None
    """The forecast that keeps it from being begun."""
    replaces: str = ""
    """When the record was started that is to give way; empty where there is none."""


@dataclass(frozen=True)
class Calibration:
    """What a computer found out about runs before the first of them."""

    idle_power_w: Mapping[str, IdlePower]
    """By environment."""
    power_limit_w: Mapping[str, float]
    """Of the GPU, by environment; NaN where none is told."""
    expected: Mapping[str, RunCost]
    """By condition, of those that could be timed; or guessed, where there are many."""


@dataclass
class Worker:
    """A computer that makes runs, one at a time.

    Parameters
    ----------
    site
        This computer.
    note
        Receives a line about what is worth one.
    still_wanted
        Asked every second; what it raises ends the training in progress.

    Whoever has one sees to it that no other one trains on the same device.
    """

    site: WorkerInfo
    note: Callable[[str], None]
    still_wanted: Callable[[], None] = lambda: None
    _idle: dict[Gpus, IdlePower] = field(default_factory=dict, init=False)
    _warm: set[str] = field(default_factory=set, init=False)
    """Devices that have trained."""

    def prepare(
        self, runs: Sequence[PlannedRun], known: Mapping[str, RunCost], *, every: bool = False
    ) -> Calibration:
        """Meter idle power, time a few batches of the conditions not known yet, and warm up.

        Parameters
        ----------
        known
            What earlier runs told, by condition.
        every
            Time every condition, however long that takes.
        """
        idle = self._idle_of(runs)
        most = None if every else PROBING_SHARE
        timed, problems = estimate_costs(
            runs, self.site.machine, known, self.still_wanted, most_share=most
        )
        told = {**known, **timed}
        expected = dict(told)
        for run in {run.condition: run for run in runs}.values():
            if run.condition not in {*told, *problems}:
                guess = extrapolate(run, runs, told)
                if guess is not None:
                    expected[run.condition] = guess
        self._warm_up(runs, expected)
        specs = {run.environment.name: run.environment for run in runs}
        limits = {n: environment.power_limit_w(s, self.site.machine) for n, s in specs.items()}
        return Calibration(idle, limits, expected)

    def make(self, order: Job, told: Callable[[EpochForecast], None]) -> RunRecord:
        """Make one run.

        Parameters
        ----------
        told
            Called with each forecast of it.
        """
        run, machine = order.run, self.site.machine
        if order.refused is not None:
            limit_j = order.stop_above_j
            return retry_in_fresh_process(_not_begun, run, machine, order.refused, limit_j)
        if run.protocol.cooldown_s:
            self._sleep(run.protocol.cooldown_s)
        idle = self._idle[environment.gpu_uuids(run.environment, machine)]
        for attempt in range(1, ATTEMPTS + 1):
            watch = _Watch(order, self.still_wanted)
            try:
                return call_in_fresh_process(
                    _execute, run, machine, idle, order.forecaster, order.stop_above_j,
                    on_message=partial(watch.heard, told), watch=watch.look,
                )  # fmt: skip
            except ProcessLostError as error:
                lost = error
                if error.by_the_system:
                    break
                if attempt < ATTEMPTS:
                    self.note(f"{run.title}: {error}; again")
        again = "" if lost.by_the_system else f", {ATTEMPTS} times in a row"
        return retry_in_fresh_process(failed, run, machine, f"{lost}{again}")

    def settle(self, run: PlannedRun) -> None:
        """Meter idle power and warm up for a run's device, unless that was done before."""
        gpus = environment.gpu_uuids(run.environment, self.site.machine)
        if gpus not in self._idle or run.environment.device not in self._warm:
            self._idle_of([run])
            self._warm_up([run], {})

    def _sleep(self, duration_s: float) -> None:
        end_s = time.monotonic() + duration_s
        while (left_s := end_s - time.monotonic()) > 0:
            self.still_wanted()
            time.sleep(min(1.0, left_s))

    def _idle_of(self, runs: Sequence[PlannedRun]) -> dict[str, IdlePower]:
        return measure_idle_powers(
            runs, self.site.machine, self.note, self._idle, self.still_wanted
        )

    def _warm_up(self, runs: Sequence[PlannedRun], expected: Mapping[str, RunCost]) -> None:
        """Train on each device before the first run, as long as the protocol says.

        To have timed a condition is enough where it says nothing; where records told the times,
        nothing was timed.
        """
        duration_s = runs[0].protocol.warmup_s
        if duration_s:
            self.note(f"warming up for {duration_s:g} s on each device")

        def cost(run: PlannedRun) -> float:
            return expected[run.condition].duration_s if run.condition in expected else 0.0

        by_device: dict[str, list[PlannedRun]] = {}
        for run in runs:
            by_device.setdefault(run.environment.device, []).append(run)
        for device, candidates in by_device.items():
            costliest = max(candidates, key=cost)
            if duration_s:
                with contextlib.suppress(ProcessLostError):
                    call_in_fresh_process(
                        _keep_busy, costliest, duration_s, watch=self.still_wanted
                    )
            elif not any(
                expected[r.condition].probe for r in candidates if r.condition in expected
            ):
                run_probe(costliest, self.site.machine, watch=self.still_wanted)
            self._warm.add(device)


class _Watch:
    """Listens to a training, and ends one that hangs or is wanted no more."""

    def __init__(self, order: Job, still_wanted: Callable[[], None]) -> None:
        epochs = order.run.protocol.most_epochs
        self._epoch_s = 0.0 if order.expected_s is None else order.expected_s / epochs
        self._told_nothing = order.expected_s is None
        self._still_wanted = still_wanted
        self._epochs = 0
        self._last_s = time.monotonic()

    def heard(self, told: Callable[[EpochForecast], None], message: object) -> None:
        if isinstance(message, EpochForecast):
            told(message)
            return
        now_s = time.monotonic()
        if self._epochs:  # the first one has the set-up in it
            self._epoch_s = max(self._epoch_s, now_s - self._last_s)
        self._last_s = now_s
        self._epochs += 1

    def look(self) -> None:
        self._still_wanted()
        begun = self._epochs > 0
        longest_s = EPOCH_SILENCE_S + SLOWER * self._epoch_s
        if not begun or (self._told_nothing and self._epochs == 1):
            longest_s += SETUP_SILENCE_S
        silent_s = time.monotonic() - self._last_s
        if silent_s > longest_s:
            what = f"after epoch {self._epochs}" if begun else "in its first epoch"
            raise ProcessLostError(
                f"the training hung: no sign of life for {silent_s:.0f} s {what}",
                by_the_system=True,
            )


def estimate_costs(
    runs: Sequence[PlannedRun],
    machine: Machine,
    known: Mapping[str, RunCost],
    watch: Check | None = None,
    *,
    most_share: float | None = None,
) -> tuple[dict[str, RunCost], dict[str, str]]:
    """Return what is known of conditions, or a few batches tell; and of which these cannot.

    Parameters
    ----------
    most_share
        Time no more conditions once that took this share of what the runs will take, and
        :data:`PROBING_S`: they are in neither answer then.
    """
    expected: dict[str, RunCost] = {}
    problems: dict[str, str] = {}
    begun_s = time.monotonic()
    for condition, run in _each_architecture_first(runs):
        found: RunCost | str | None = known.get(condition)
        if found is None:
            if most_share is not None and expected:
                mean_s = statistics.fmean(one.total_s for one in expected.values())
                most_s = max(PROBING_S, most_share * mean_s * len(runs))
                if time.monotonic() - begun_s > most_s:
                    continue
            probe = run_probe(run, machine, watch=watch)
            found = probe if isinstance(probe, str) else from_probe(run, probe)
        if isinstance(found, str):
            problems[condition] = found
        else:
            expected[condition] = found
    return expected, problems


def _each_architecture_first(runs: Sequence[PlannedRun]) -> list[tuple[str, PlannedRun]]:
    """Return one run of each condition: no architecture's second before all had their first."""
    times: Counter[str] = Counter()
    ranked = []
    for condition, run in {run.condition: run for run in runs}.items():
        ranked.append((times[run.architecture], condition, run))
        times[run.architecture] += 1
    return [(condition, run) for _, condition, run in sorted(ranked, key=lambda one: one[0])]


def run_probe(
    run: PlannedRun, machine: Machine, for_s: float = PROBE_S, watch: Check | None = None
) -> ProbeResult | str:
    """Return what a few batches of a condition take, or why it cannot be trained."""
    try:
        probe: ProbeResult | str = call_in_fresh_process(_probe, run, machine, for_s, watch=watch)
    except ProcessLostError as error:
        return str(error)
    return probe


def measure_idle_powers(
    runs: Sequence[PlannedRun],
    machine: Machine,
    note: Callable[[str], None],
    known: dict[Gpus, IdlePower] | None = None,
    watch: Check | None = None,
) -> dict[str, IdlePower]:
    """Return idle power by environment and component, metered once for each set of GPUs.

    Parameters
    ----------
    note
        Receives a line about each problem.
    known
        What was metered before, by GPUs; what is metered now is added.
    """
    by_gpus = {} if known is None else known
    result = {}
    for spec in {run.environment.name: run.environment for run in runs}.values():
        gpus = environment.gpu_uuids(spec, machine)
        if gpus not in by_gpus:
            reading = retry_in_fresh_process(
                measure_idle_power, runs[0].protocol.idle_s, gpus, watch=watch
            )
            for problem in reading.problems:
                note(f"idle power: {problem}")
            by_gpus[gpus] = {
                name: part.energy_j / reading.duration_s
                for name, part in reading.components.items()
            }
        result[spec.name] = by_gpus[gpus]
    return result


def find_study_errors(study: Study, *, download: bool) -> list[str]:
    """Return a line for each name in a study that only what trains can know, and that is wrong.

    Parameters
    ----------
    download
        Get the images and weights, too, where they are not at hand, and look at them.
    """
    return retry_in_fresh_process(_wrong_names, study, download)


def _wrong_names(study: Study, download: bool) -> list[str]:
    from greencv_core.architectures.build import build, check_architecture
    from greencv_core.datasets import check_dataset

    weights, size = study.protocol.weights, study.dataset.image_size

    def look_at(name: str) -> None:
        if download and weights != "none":  # to build is to get the weights, and see that they fit
            build(name, 10, size, weights)
        else:
            check_architecture(name, weights, size)

    checks: list[Callable[[], object]] = [
        *(partial(look_at, name) for name in study.architectures),
        partial(
            intensity_gco2e_per_kwh, study.carbon.country, study.carbon.intensity_gco2e_per_kwh
        ),
        partial(check_dataset, study.dataset, download=download),
    ]
    problems = []
    for one in checks:
        try:
            one()
        except BadInputError as error:
            problems.append(str(error))
    return problems


def describe_error(error: BaseException) -> str:
    """Return what went wrong, as one line that tells no secrets."""
    text = " ".join(without_secrets(str(error)).split())
    if type(error).__name__ == "OutOfMemoryError":
        # torch goes on with how much each process holds, and with advice.
        return f"out of memory on the GPU: {text.partition('. ')[0]}"
    return f"{type(error).__name__}: {text[:500]}"


def _probe(run: PlannedRun, machine: Machine, for_s: float) -> ProbeResult | str:
    from greencv_core.run.probe import probe

    try:
        return probe(run, machine, for_s)
    except Exception as error:  # an architecture may raise what it likes
        return describe_error(error)


def _keep_busy(run: PlannedRun, duration_s: float) -> None:
    from greencv_core.run.probe import keep_busy

    # What it is will be the reason of the run's failure.
    with contextlib.suppress(Exception):
        keep_busy(run, duration_s)


def _not_begun(
    run: PlannedRun, machine: Machine, forecast: EpochForecast, limit_j: float
) -> RunRecord:
    from greencv_core.run.unfinished import build_not_started_record

    return build_not_started_record(run, machine, forecast, limit_j)


def failed(run: PlannedRun, machine: Machine, reason: str) -> RunRecord:
    """Return the record of a run that was lost; in a process of its own, as torch is loaded."""
    from greencv_core.run.unfinished import build_failed_record

    return build_failed_record(run, machine, reason)


def _execute(
    run: PlannedRun,
    machine: Machine,
    idle: IdlePower,
    forecaster: RunForecaster | None,
    stop_above_j: float | None,
) -> RunRecord:
    """Run in the child: what a person can act on becomes the record's reason."""
    from greencv_core.run.experiment import execute
    from greencv_core.run.unfinished import build_failed_record

    try:
        return execute(
            run,
            machine,
            idle_power_w=idle,
            on_epoch=lambda epoch: send_to_driver(epoch.epoch),
            forecaster=forecaster,
            on_forecast=send_to_driver,
            stop_above_j=stop_above_j,
        )
    except Exception as error:  # an architecture may raise what it likes; the study goes on
        return build_failed_record(run, machine, describe_error(error))
