"""A worker: one machine that trains runs, one at a time, on its own or in a cluster.

The processes that train import torch, which takes seconds to load; the worker itself does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from greencv_core.estimation.run_cost import RunCost
from greencv_core.estimation.run_forecast import EpochForecast, RunForecaster
from greencv_core.machine import environment, hardware
from greencv_core.machine.hardware import Machine
from greencv_core.machine.quiet import Disturbance, QuietMachine
from greencv_core.metering import (
    carbon_intensity_gco2e_per_kwh,
    measure_idle_power,
    provenance_by_component,
)
from greencv_core.records.record import RunRecord
from greencv_core.run.calibration import (
    Calibration,
    estimate_costs,
    power_limits_w,
    run_probe,
    warm_up_device,
)
from greencv_core.run.subprocesses import (
    Check,
    ProcessLostError,
    call_in_fresh_process,
    retry_in_fresh_process,
    send_to_driver,
)
from greencv_core.run.unfinished import (
    build_failed_record,
    build_not_started_record,
    describe_error,
)
from greencv_core.study.plan import PlannedRun
from greencv_core.study.schema import Study
from greencv_core.utils.energy import Component, Provenance
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.text import clock

ATTEMPTS = 2  # attempts at a run whose process is killed from outside
SETUP_SILENCE_S = 1800.0
"""Time that a training may take before its first epoch: to load images and models, to compile."""
EPOCH_SILENCE_S = 120.0  # time that any epoch may take
SLOWDOWN = 10.0
"""An epoch may take this many times longer than expected before the training counts as hung."""


@dataclass(frozen=True)
class WorkerInfo:
    """A worker's machine, software and meters."""

    machine: Machine
    host: str
    """Hash of the computer's name."""
    versions: Mapping[str, str]
    """Versions of the software that results depend on."""
    meters: Mapping[tuple[str, ...], Mapping[Component, Provenance]]
    """Provenance of each component's energy, by NVML's identifiers of the GPUs metered with it."""


def describe_worker() -> WorkerInfo:
    """Return this computer as this process sees it."""
    machine = hardware.describe_machine()
    gpus = {(), *(a.metered_uuids for a in machine.accelerators)}
    meters = {uuids: provenance_by_component(uuids) for uuids in gpus}
    return WorkerInfo(machine, hardware.host(), hardware.software_versions(), meters)


@dataclass(frozen=True)
class Job:
    """A run to train, with what the worker needs to know about it."""

    run: PlannedRun
    expected_s: float | None
    """Expected duration; None if unknown."""
    forecaster: RunForecaster | None
    stop_above_j: float | None
    refusal: EpochForecast | None = None
    """The forecast above the limit that prevents the run."""
    replaces: str = ""
    """``started_at`` of the record that this run is to replace; empty if there is none."""
    tries: int = 1
    """Number of times that the run was made, with this one."""
    again: int = 0
    """How often the run may be made again if it is disturbed."""


@dataclass
class Worker:
    """Trains runs on this computer, one at a time.

    The caller makes sure that nothing else trains on the same devices. ``note`` receives lines
    about problems. ``check`` is called every second; an exception from it ends the training.
    """

    info: WorkerInfo
    note: Callable[[str], None]
    check: Check = lambda: None
    _idle_power: dict[tuple[str, ...], dict[Component, float]] = field(
        default_factory=dict, init=False
    )
    """Watts by component, by the GPUs metered with them."""
    _warm: set[str] = field(default_factory=set, init=False)
    """Devices that have trained."""
    _quiet: QuietMachine = field(default_factory=QuietMachine, init=False)

    def calibrate(
        self, runs: Sequence[PlannedRun], known: Mapping[str, RunCost], *, probe_all: bool = False
    ) -> Calibration:
        """Measure idle power, time a few batches of conditions with unknown cost, and warm up.

        ``known`` and ``probe_all`` as in :func:`.estimate_costs`.
        """
        machine = self.info.machine
        idle_power = self._measure_idle_power(runs)
        costs, _ = estimate_costs(runs, machine, known, self.check, probe_all=probe_all)
        self._warm_up(runs, costs)
        return Calibration(idle_power, power_limits_w(runs, machine), costs)

    def ensure_ready(self, run: PlannedRun) -> None:
        """Measure idle power and warm up for a run's device, unless that was done before."""
        gpus = environment.gpu_uuids(run.environment, self.info.machine)
        if gpus not in self._idle_power or run.environment.device not in self._warm:
            self._measure_idle_power([run])
            self._warm_up([run], {})

    def train(
        self,
        job: Job,
        on_forecast: Callable[[EpochForecast], None],
        on_wait: Callable[[str, float], None],
    ) -> RunRecord:
        """Train one run and return its record, also if it fails.

        ``on_forecast`` is called after each epoch, ``on_wait`` as of
        :meth:`.QuietMachine.wait`, and without a reason at the end of the wait.
        """
        run, machine = job.run, self.info.machine
        if job.refusal is not None and job.stop_above_j is not None:
            return build_not_started_record(run, machine, job.refusal, job.stop_above_j)
        if run.protocol.cooldown_s:
            self._sleep(run.protocol.cooldown_s)
        reasons: list[Disturbance] = []
        told = self._quiet.gave_up
        if longest_s := run.protocol.quiet_wait_s:
            gpus = environment.gpu_uuids(run.environment, machine)
            reasons = self._quiet.wait(gpus, longest_s, on_wait, self.check)
            on_wait("", 0.0)
        if reasons and not told:
            self.note(f"{run.title}: starts, although {'; '.join(map(str, reasons))}")
        record = self._train_in_fresh_process(job, on_forecast)
        remarks = [f"started, although {reason.what}" for reason in reasons]
        return record.model_copy(update={"problems": [*record.problems, *remarks]})

    def _train_in_fresh_process(
        self, job: Job, on_forecast: Callable[[EpochForecast], None]
    ) -> RunRecord:
        run, machine = job.run, self.info.machine
        idle_power_w = self._idle_power[environment.gpu_uuids(run.environment, machine)]
        for attempt in range(1, ATTEMPTS + 1):
            monitor = _Monitor(job, self.check)
            try:
                return call_in_fresh_process(
                    _execute, run, machine, idle_power_w, job.forecaster, job.stop_above_j,
                    on_message=partial(monitor.receive, on_forecast), watch=monitor.check,
                )  # fmt: skip
            except ProcessLostError as error:
                reason = str(error)
                if not error.retry:
                    return build_failed_record(run, machine, reason)
                if attempt < ATTEMPTS:
                    self.note(f"{run.title}: {reason}; again")
        return build_failed_record(run, machine, f"{reason}, {ATTEMPTS} times in a row")

    def _sleep(self, duration_s: float) -> None:
        end_s = time.monotonic() + duration_s
        while (left_s := end_s - time.monotonic()) > 0:
            self.check()
            time.sleep(min(1.0, left_s))

    def _measure_idle_power(self, runs: Sequence[PlannedRun]) -> dict[str, dict[Component, float]]:
        """Return idle power by environment and component, measured once for each set of GPUs."""
        powers = {}
        for spec in {run.environment.name: run.environment for run in runs}.values():
            gpus = environment.gpu_uuids(spec, self.info.machine)
            if gpus not in self._idle_power:
                self._wait_before_idle(gpus, runs[0].protocol.quiet_wait_s)
                reading = retry_in_fresh_process(
                    measure_idle_power, runs[0].protocol.idle_s, gpus, watch=self.check
                )
                for problem in reading.problems:
                    self.note(f"idle power: {problem}")
                self._idle_power[gpus] = {
                    name: part.energy_j / reading.duration_s
                    for name, part in reading.components.items()
                }
            powers[spec.name] = self._idle_power[gpus]
        return powers

    def _wait_before_idle(self, gpus: tuple[str, ...], longest_s: float) -> None:
        """Wait for a quiet machine, and note once why; temperatures count from the first run on."""
        noted = False

        def on_wait(reason: str, left_s: float) -> None:
            nonlocal noted
            if not noted:
                self.note(f"waits for a quiet machine, at most {clock(left_s)}: {reason}")
            noted = True

        if longest_s and QuietMachine().wait(gpus, longest_s, on_wait, self.check):
            self.note("idle power may be too high: the machine is still busy")

    def _warm_up(self, runs: Sequence[PlannedRun], costs: Mapping[str, RunCost]) -> None:
        """Train on each device for the protocol's duration; without one, a probe is enough."""
        duration_s = runs[0].protocol.warmup_s
        if duration_s:
            self.note(f"warming up for {duration_s:g} s on each device")

        seconds = {condition: cost.duration_s for condition, cost in costs.items()}
        for device in dict.fromkeys(run.environment.device for run in runs):
            candidates = [run for run in runs if run.environment.device == device]
            costliest = max(candidates, key=lambda run: seconds.get(run.condition, 0.0))
            if duration_s:
                warm_up_device(costliest, duration_s, self.check)
            elif not any(costs[r.condition].probe for r in candidates if r.condition in costs):
                run_probe(costliest, self.info.machine, watch=self.check)
            self._warm.add(device)


class _Monitor:
    """Stops a training process if it hangs or is cancelled."""

    def __init__(self, job: Job, check: Check) -> None:
        self._is_unknown = job.expected_s is None
        self._epoch_s = (job.expected_s or 0.0) / job.run.protocol.most_epochs
        self._check = check
        self._epochs = 0
        self._last_s = time.monotonic()

    def receive(self, on_forecast: Callable[[EpochForecast], None], message: object) -> None:
        if isinstance(message, EpochForecast):
            on_forecast(message)
            return
        now_s = time.monotonic()
        if self._epochs:  # the first epoch includes the set-up
            self._epoch_s = max(self._epoch_s, now_s - self._last_s)
        self._last_s = now_s
        self._epochs += 1

    def check(self) -> None:
        self._check()
        longest_s = EPOCH_SILENCE_S + SLOWDOWN * self._epoch_s
        if not self._epochs or (self._is_unknown and self._epochs == 1):
            longest_s += SETUP_SILENCE_S
        silent_s = time.monotonic() - self._last_s
        if silent_s > longest_s:
            when = f"after epoch {self._epochs}" if self._epochs else "in its first epoch"
            raise ProcessLostError(
                f"the training hung: no sign of life for {silent_s:.0f} s {when}", retry=False
            )


def _execute(
    run: PlannedRun,
    machine: Machine,
    idle_power_w: Mapping[Component, float],
    forecaster: RunForecaster | None,
    stop_above_j: float | None,
) -> RunRecord:
    from greencv_core.run.experiment import execute

    try:
        return execute(
            run, machine, idle_power_w=idle_power_w, forecaster=forecaster,
            on_epoch=lambda epoch: send_to_driver(epoch.epoch), on_forecast=send_to_driver,
            stop_above_j=stop_above_j,
        )  # fmt: skip
    except Exception as error:  # an architecture may raise any exception; the study goes on
        return build_failed_record(run, machine, describe_error(error))


def find_study_errors(study: Study, *, download: bool) -> tuple[list[str], str]:
    """Return one line for each error in a study that only the training libraries can find.

    With ``download``, images and weights are downloaded if they are missing, and checked. The
    second value is a line about images that are not used, or an empty text.
    """
    return retry_in_fresh_process(_find_study_errors, study, download)


def _find_study_errors(study: Study, download: bool) -> tuple[list[str], str]:
    from greencv_core.architectures.build import build, check_architecture
    from greencv_core.architectures.image_sizes import check_image_size
    from greencv_core.datasets import check_dataset

    weights, size, carbon = study.protocol.weights, study.dataset.image_size, study.carbon
    errors, note = [], ""

    def check_model(name: str) -> None:
        check_architecture(name, weights, size)
        check_image_size(name, size, weights)
        if download and weights != "none":  # building downloads the weights and checks their shapes
            build(name, 10, size, weights)

    def check_images() -> None:
        nonlocal note
        note = check_dataset(study.dataset, download=download)

    checks: list[Callable[[], object]] = [
        *(partial(check_model, name) for name in study.architectures),
        partial(carbon_intensity_gco2e_per_kwh, carbon.country, carbon.intensity_gco2e_per_kwh),
        check_images,
    ]
    for check in checks:
        try:
            check()
        except BadInputError as error:
            errors.append(str(error))
    return errors, note
