"""Train one planned run under the meters, and return its record."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from greencv_core import datasets, training
from greencv_core.architectures import build
from greencv_core.estimation.run_forecast import EpochForecast, RunForecaster
from greencv_core.machine import environment, hardware
from greencv_core.machine.load import CpuLoad, describe_others
from greencv_core.metering import (
    ComponentReading,
    EnergyMeter,
    Phase,
    Reading,
    Window,
    carbon_intensity_gco2e_per_kwh,
    open_wall_meter,
)
from greencv_core.records.record import (
    ComparisonRecord,
    EnergyRecord,
    EpochRecord,
    RunRecord,
    TraceRecord,
    ValidationRecord,
    WallRecord,
    WindowRecord,
    phase_name,
    sum_energies,
)
from greencv_core.run.stop_rules import BudgetLimit, EnergyLimit
from greencv_core.run.unfinished import build_identity, build_stopped_fields
from greencv_core.run.wall_comparison import compare_with_wall
from greencv_core.study.plan import PlannedRun
from greencv_core.study.schema import Budget, EnvironmentSpec
from greencv_core.utils.energy import Component
from greencv_core.utils.secrets import without_secrets


def execute(
    run: PlannedRun,
    machine: hardware.Machine,
    *,
    idle_power_w: Mapping[Component, float] | None = None,
    on_epoch: Callable[[training.Epoch], None] | None = None,
    forecaster: RunForecaster | None = None,
    on_forecast: Callable[[EpochForecast], None] | None = None,
    stop_above_j: float | None = None,
) -> RunRecord:
    """Train one planned run under the meters of this machine.

    The metered window contains only the epochs: building the model, loading the data, counting
    operations and a warm-up batch come before it.

    Parameters
    ----------
    idle_power_w
        Idle power by component, for the net energy.
    forecaster
        Forecasts the cost of the whole run after each epoch.
    on_forecast
        Called with the forecast, from another thread.
    stop_above_j
        Stop the training when its forecast exceeds this energy, and record that.
    """
    start_s = time.monotonic()
    limit = EnergyLimit(run.protocol, forecaster, on_forecast, stop_above_j)
    with prepare(run) as setup:
        return _train_metered(run, machine, setup, idle_power_w or {}, on_epoch, limit, start_s)


@dataclass(frozen=True)
class TrainingSetup:
    """Model and data of a run, warmed up on their device."""

    module: torch.nn.Module
    data: datasets.ImageData
    device: torch.device
    gflops_per_image: float
    parameters: int
    weights_sha256: str


@contextlib.contextmanager
def prepare(run: PlannedRun) -> Iterator[TrainingSetup]:
    """Build the model, load the images, and warm both up on the run's device."""
    spec, size = run.environment, run.dataset.image_size
    device, layout = environment.apply(spec), training.memory_format(spec)
    torch.manual_seed(run.seed)
    np.random.seed(run.seed)
    classes = datasets.count_classes(run.dataset)
    built = build.build(run.architecture, classes, size, run.protocol.weights)
    gflops = build.gflops_per_image(built.module, size)
    parameters = build.parameter_count(built.module)
    module = built.module.to(device, memory_format=layout)  # type: ignore[call-overload]
    if spec.compile:
        module.compile(dynamic=False)  # the warm-up has batches of every size
    data = datasets.load_dataset(
        run.dataset, normalisation=built.normalisation, workers=spec.workers
    ).to(device, layout)
    training.warm_up(module, data, run.protocol, spec)
    with contextlib.closing(data):
        yield TrainingSetup(module, data, device, gflops, parameters, built.weights_sha256)


def _train_metered(
    run: PlannedRun,
    machine: hardware.Machine,
    setup: TrainingSetup,
    idle_power_w: Mapping[Component, float],
    on_epoch: Callable[[training.Epoch], None] | None,
    limit: EnergyLimit,
    start_s: float,
) -> RunRecord:
    spec, protocol, carbon = run.environment, run.protocol, run.carbon
    intensity = carbon_intensity_gco2e_per_kwh(carbon.country, carbon.intensity_gco2e_per_kwh)
    meter = EnergyMeter(
        environment.gpu_uuids(spec, machine),
        synchronize=synchronizer(setup.device),
        carbon_intensity_gco2e_per_kwh=intensity,
        idle_power_w=idle_power_w,
        compare=True,
    )
    wall_meter = open_wall_meter(run.wall_meter)
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    setup_s = time.monotonic() - start_s
    with wall_meter or contextlib.nullcontext(), limit, meter as window:
        load = CpuLoad()
        history = training.train(
            setup.module,
            setup.data,
            protocol,
            spec,
            seed=run.seed,
            hook=lambda phase, epoch: window.phase(phase_name(epoch, phase)),
            on_epoch=on_epoch,
            stop=_stop_rule(protocol.budget, window, limit),
        )
        others, own_pct = load.share_of_others(), load.own_pct()
    accelerator, phases = machine.accelerator_of(spec), window.phases
    lost, disturbances = _problems(window, accelerator, others)
    wall = compare_with_wall(wall_meter, window)
    return RunRecord(
        **_status(history, limit),
        **build_identity(run, machine),
        started_at=started_at,
        **_environment_fields(spec, machine),
        gflops_per_image=setup.gflops_per_image,
        parameters=setup.parameters,
        data_sha256=setup.data.sha256,
        weights_sha256=setup.weights_sha256,
        setup_s=setup_s,
        epochs=[_epoch_record(e, phases) for e in history.epochs],
        final_epoch=history.final_epoch,
        validation=_validation_record(history, setup.data),
        images_processed=history.images_processed,
        **_reading_fields(window, whole=not lost),
        idle_power_w=dict(idle_power_w),
        carbon_intensity_gco2e_per_kwh=intensity,
        **_gpu_fields(window, None if accelerator else own_pct),
        wall=wall,
        disturbed=bool(disturbances),
        problems=_problem_lines(*lost, *disturbances, wall=wall),
        trace=_trace_record(window),
    )


def _problems(
    window: Window, accelerator: hardware.Accelerator | None, others: float
) -> tuple[list[str], list[str]]:
    """Return why the energy is incomplete, and what disturbed the run."""
    reading = window.reading
    lost, disturbances = list(reading.problems), list(window.disturbances)
    if by_others := describe_others(others):
        disturbances.append(by_others)
    if accelerator is not None and reading.gpu is None and not lost:
        lost.append(f"the energy of {accelerator.device} is not metered: {accelerator.unmetered}")
    return lost, disturbances


def _environment_fields(spec: EnvironmentSpec, machine: hardware.Machine) -> dict[str, str]:
    return {
        "device_name": environment.device_name(spec, machine),
        "wait_policy": environment.wait_policy(),
    }


def _problem_lines(*problems: str, wall: WallRecord | None) -> list[str]:
    contradicted = [wall.problem] if wall is not None and wall.energy and wall.problem else []
    return [without_secrets(problem) for problem in (*problems, *contradicted)]


def _gpu_fields(window: Window, cpu_pct: float | None) -> dict[str, Any]:
    """Return the state of the GPU, and the utilisation of the device that trained."""
    fields = dict(vars(window.gpu)) if window.gpu else {}
    return {
        "device_utilization_pct": fields.get("utilization_pct") if cpu_pct is None else cpu_pct,
        "gpu_slowed_share": fields.pop("slowed_share", {}),
        "gpu": fields,
    }


def _reading_fields(window: Window, *, whole: bool) -> dict[str, Any]:
    reading = window.reading
    return {
        "duration_s": reading.duration_s,
        "total": _window_record("run", 0.0, reading.duration_s, reading),
        "phases": [
            _window_record(phase.name, phase.start_s, phase.end_s, phase.reading)
            for phase in window.phases
        ],
        "net_energy_j": reading.net_energy_j if whole else None,
        "emissions_gco2e": reading.emissions_gco2e if whole else None,
        "comparisons": [
            ComparisonRecord(
                component=component, first=_energy_record(first), second=_energy_record(second)
            )
            for component, first, second in window.comparisons
        ],
        "complete": whole and reading.total is not None,
    }


def _status(history: training.History, limit: EnergyLimit) -> dict[str, Any]:
    if limit.stopped_by is None or limit.stop_above_j is None:
        return {"status": "finished", "ended_by": history.ended_by}
    return build_stopped_fields(limit.stopped_by, limit.stop_above_j)


def _stop_rule(
    budget: Budget | None, window: Window, limit: EnergyLimit
) -> Callable[[training.Epoch], training.Stop | None]:
    budget_limit = None if budget is None else BudgetLimit(budget, window)

    def stop(epoch: training.Epoch) -> training.Stop | None:
        if budget_limit is not None and not budget_limit.allows_another_epoch():
            return "budget"
        return "forecast" if limit.is_exceeded(window, epoch.stage) else None

    return stop


def synchronizer(device: torch.device) -> Callable[[], None] | None:
    """Return a function that waits for a device's queued work; None for a CPU."""
    return {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(device.type)


def _epoch_record(epoch: training.Epoch, phases: tuple[Phase, ...]) -> EpochRecord:
    parts = [p for p in phases if p.name.startswith(phase_name(epoch.epoch))]
    return EpochRecord(
        epoch=epoch.epoch,
        stage=epoch.stage,
        learning_rate=epoch.learning_rate,
        train_loss=epoch.train_loss,
        validation_loss=epoch.validation_loss,
        **vars(epoch.correctness),
        duration_s=sum(p.reading.duration_s for p in parts),
        energy_j=sum_energies(p.reading.total.energy_j if p.reading.total else None for p in parts),
    )


def _validation_record(history: training.History, data: datasets.ImageData) -> ValidationRecord:
    """Return the trained model's answers, copied from the device: call it outside the window."""
    labels, predictions = (
        some.cpu().numpy().astype(np.int64)
        for some in (data.validation_labels, history.predictions)
    )
    return ValidationRecord.from_classes(labels, predictions, data.classes)


def _window_record(name: str, start_s: float, end_s: float, reading: Reading) -> WindowRecord:
    components = {name: _energy_record(part) for name, part in reading.components.items()}
    return WindowRecord(name=name, start_s=start_s, end_s=end_s, components=components)


def _energy_record(reading: ComponentReading) -> EnergyRecord:
    return EnergyRecord.model_validate(vars(reading))


def _trace_record(window: Window) -> TraceRecord:
    time_s: dict[Component, list[float]] = {}
    power_w: dict[Component, list[float]] = {}
    for point in window.trace:
        time_s.setdefault(point.component, []).append(round(point.time_s, 3))
        power_w.setdefault(point.component, []).append(round(point.power_w, 3))
    return TraceRecord(time_s=time_s, power_w=power_w)
