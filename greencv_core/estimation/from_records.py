"""Convert planned runs to tasks and run records to trajectories."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from pydantic import ValidationError

from greencv_core.estimation.trajectory import (
    Epochs,
    Floats,
    StagePlan,
    TrainingTask,
    Trajectory,
    tflop_per_epoch,
)
from greencv_core.records.record import RunRecord, WindowRecord, phase_name
from greencv_core.study.plan import PlannedRun
from greencv_core.study.schema import Carbon, Dataset, EnvironmentSpec, Protocol

NAN = float("nan")
LEAST_POINTS = 5
"""Fewest points of the power trace in a phase; with fewer, power is constant within the phase."""


def describe_task(
    run: PlannedRun,
    *,
    gflops_per_image: float,
    parameters: int | None = None,
    idle_power_w: float = 0.0,
    power_limit_w: float = NAN,
    probe_epochs: Epochs | None = None,
) -> TrainingTask:
    """Describe a planned run as a task; figures as in :class:`TrainingTask`.

    The run is one of this machine: its ``threads`` are a number, see
    :func:`~greencv_core.machine.environment.resolve`.
    """
    data, protocol, spec = run.dataset, run.protocol, run.environment
    assert isinstance(spec.threads, int), "resolve() comes first"
    batches = data.train_images // protocol.batch_size
    train_images = batches * protocol.batch_size
    return TrainingTask(
        architecture=run.architecture,
        environment=_environment(run),
        setting=_setting(data, protocol),
        gflops_per_image=gflops_per_image,
        stages=_stages(protocol, gflops_per_image, train_images, data.validation_images),
        idle_power_w=idle_power_w,
        power_limit_w=power_limit_w,
        features={
            "batch_size": protocol.batch_size,
            "training_images": train_images,
            "validation_images": data.validation_images,
            "gflops_per_image": gflops_per_image,
            "parameters": parameters or 0,
            "image_size": data.image_size,
            "threads": spec.threads,
            "gpu": int(_on_gpu(spec)),
            "half_precision": int(spec.precision in ("bf16", "fp16")),
            "power_limit_w": 0.0 if np.isnan(power_limit_w) else power_limit_w,
        },
        probe_epochs=probe_epochs,
    )


def read_trajectories(records: Iterable[RunRecord]) -> list[Trajectory]:
    """Return the trajectories of those records that have one; see :func:`read_trajectory`."""
    found = (read_trajectory(record) for record in records)
    return [trajectory for trajectory in found if trajectory is not None]


def read_trajectory(record: RunRecord) -> Trajectory | None:
    """Return a run's trajectory, or None.

    An epoch lasts until the next one starts; time between two epochs, such as a meter reading,
    belongs to the first of them.

    There is no trajectory if the run failed, a meter was lost, the operations or the energy of an
    epoch are unknown (an epoch may be too short for its meter), or the settings come from an
    incompatible version of greencv.
    """
    run = _planned(record)
    if run is None or record.status != "finished" or not record.complete:
        return None
    if record.total is None or record.gflops_per_image is None:
        return None
    starts_s = _epoch_starts_s(record)
    curve = _energy_so_far(record)
    if starts_s is None or curve is None:
        return None
    time_s, energy_j = curve
    edges_s = np.append(starts_s, time_s[-1])
    edges_j = np.interp(edges_s, time_s, energy_j)
    indices = {name: i for i, (name, _) in enumerate(run.protocol.stages)}
    stages = [indices.get(epoch.stage, -1) for epoch in record.epochs]
    epochs = Epochs(np.array(stages, dtype=np.int64), np.diff(edges_s), np.diff(edges_j))
    if min(stages) < 0 or epochs.duration_s.min() <= 0 or epochs.energy_j.min() <= 0:
        return None
    idle_w = [record.idle_power_w.get(component, 0.0) for component in record.total.components]
    power_limit_w = record.gpu.get("power_limit_w")
    used_pct = record.device_utilization_pct if _on_gpu(run.environment) else None
    return Trajectory(
        run_id=record.run_id,
        task=describe_task(
            run,
            gflops_per_image=record.gflops_per_image,
            parameters=record.parameters,
            idle_power_w=sum(idle_w),
            power_limit_w=NAN if power_limit_w is None else power_limit_w,
        ),
        epochs=epochs,
        before_s=float(edges_s[0]),
        before_j=float(edges_j[0]),
        time_s=time_s,
        energy_so_far_j=energy_j,
        # A record holds only the run's mean.
        utilization_so_far_pct=np.empty(0) if used_pct is None else np.full(len(time_s), used_pct),
    )


def _environment(run: PlannedRun) -> str:
    """Return the environment's name with its machine, so that machines do not mix."""
    where = f"{run.machine}, {run.accelerator}" if run.accelerator else run.machine
    return f"{run.environment.name} ({where})"


def _setting(data: Dataset, protocol: Protocol) -> str:
    classes = len(data.classes) if isinstance(data.classes, dict) else data.classes
    parts = [data.name, f"{data.image_size} px", f"batch {protocol.batch_size}"]
    return ", ".join(parts if classes is None else [*parts, f"{classes} classes"])


def _stages(
    protocol: Protocol, gflops_per_image: float, train_images: int, validation_images: int
) -> tuple[StagePlan, ...]:
    any_epoch_may_be_the_last = protocol.target is not None or protocol.budget is not None
    plans: list[StagePlan] = []
    for name, stage in protocol.stages:
        fewest = stage.epochs
        if stage.early_stopping is not None:
            # The first epoch of a stage is always the best so far.
            fewest = min(fewest, stage.early_stopping.patience + 1)
        if any_epoch_may_be_the_last:
            fewest = 0 if plans else 1
        tflop = tflop_per_epoch(
            gflops_per_image, train_images, validation_images, frozen=name == "frozen"
        )
        plans.append(StagePlan(name, stage.epochs, fewest, tflop))
    return tuple(plans)


def _on_gpu(spec: EnvironmentSpec) -> bool:
    return spec.device != "cpu"


def _planned(record: RunRecord) -> PlannedRun | None:
    """Return the planned run of a record, or None if its settings are incompatible."""
    # In records of several machines the name may include the device.
    name = str(record.environment.get("name")).partition(" (")[0]
    try:
        return PlannedRun(
            study=record.study,
            dataset=Dataset.model_validate(record.dataset),
            architecture=record.architecture,
            environment=EnvironmentSpec.model_validate({**record.environment, "name": name}),
            protocol=Protocol.model_validate(record.protocol),
            carbon=Carbon.model_validate(record.carbon),
            repetition=record.repetition,
            order=record.order,
            machine=str(record.machine.get("fingerprint")),
            accelerator=record.accelerator,
        )
    except ValidationError:
        return None


def _epoch_starts_s(record: RunRecord) -> list[float] | None:
    """Return when the training of each epoch started, or None unless all are known."""
    starts_s = {phase.name: phase.start_s for phase in record.phases}
    names = [phase_name(epoch.epoch, "training") for epoch in record.epochs]
    known = names and starts_s.keys() >= set(names)
    return [starts_s[name] for name in names] if known else None


def _energy_so_far(record: RunRecord) -> tuple[Floats, Floats] | None:
    """Return times from the start to the end of the run, and the cumulative energy at each.

    Each phase has its own energy; the rest of the run's energy is spread over the time between
    phases. Within a phase the energy follows the power trace.
    """
    total_j = record.total.energy_j if record.total else None
    phases = sorted(record.phases, key=lambda phase: phase.start_s)
    joules = [phase.energy_j for phase in phases]
    known_j = [j for j in joules if j is not None]
    if total_j is None or not record.duration_s or len(known_j) < len(joules):
        return None
    gaps_s = record.duration_s - sum(phase.end_s - phase.start_s for phase in phases)
    gap_w = max(0.0, total_j - sum(known_j)) / gaps_s if gaps_s > 0 else 0.0
    # The run's reading is more accurate than the sum of its phases': scale the phases to it if they
    # exceed it, or if there is no time between them.
    scale = (total_j - gap_w * gaps_s) / sum(known_j) if sum(known_j) > 0 else 0.0
    trace = _trace_energy(record)
    time_s, so_far_j = [0.0], [0.0]
    for phase, phase_j in zip(phases, known_j, strict=True):
        start_j = so_far_j[-1] + gap_w * (phase.start_s - time_s[-1])
        inside_s, share = _energy_shares(phase, *trace)
        time_s += [phase.start_s, *inside_s, phase.end_s]
        so_far_j += [start_j, *(start_j + share * scale * phase_j), start_j + scale * phase_j]
    return np.array([*time_s, record.duration_s]), np.array([*so_far_j, total_j])


def _trace_energy(record: RunRecord) -> tuple[Floats, Floats]:
    """Return the times of the power trace and the cumulative energy of all components at each."""
    trace, metered = record.trace, record.total.components if record.total else {}
    traced = [] if trace is None else [c for c in metered if c in trace.time_s]
    if trace is None or not traced:
        return np.zeros(1), np.zeros(1)
    each_s = {c: np.append(0.0, trace.time_s[c]) for c in traced}
    time_s = np.unique(np.concatenate(list(each_s.values())))
    energy_j = np.zeros(len(time_s))
    for component, own_s in each_s.items():
        # A point of the trace is the mean power since the previous point.
        own_j = np.append(0.0, np.cumsum(np.diff(own_s) * trace.power_w[component]))
        energy_j += np.interp(time_s, own_s, own_j)
    return time_s, energy_j


def _energy_shares(phase: WindowRecord, time_s: Floats, energy_j: Floats) -> tuple[Floats, Floats]:
    """Return the trace's times within a phase, and the share of its energy up to each."""
    inside = (time_s > phase.start_s) & (time_s < phase.end_s)
    first_j, last_j = np.interp([phase.start_s, phase.end_s], time_s, energy_j)
    if inside.sum() < LEAST_POINTS or last_j <= first_j:
        return np.empty(0), np.empty(0)
    return time_s[inside], (energy_j[inside] - first_j) / (last_j - first_j)
