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
from greencv_core.records.record import RunRecord, WindowRecord
from greencv_core.study.plan import PlannedRun
from greencv_core.study.schema import Carbon, Dataset, EnvironmentSpec, Protocol

NAN = float("nan")
LEAST_POINTS = 5
"""Points of the trace in a phase, from which it tells the phase's trajectory; power is taken to be
constant in one with fewer."""


def describe_task(
    run: PlannedRun,
    *,
    gflops_per_image: float,
    parameters: int | None = None,
    idle_power_w: float = 0.0,
    power_limit_w: float = NAN,
    probe_epochs: Epochs | None = None,
) -> TrainingTask:
    """Return what is known of a planned run before it begins.

    Parameters
    ----------
    run
        Run on this machine: its ``threads`` are a number, see
        :func:`~greencv_core.machine.environment.resolve`.
    gflops_per_image, parameters
        Of the architecture.
    idle_power_w
        Of all that is metered; 0 where it is not known.
    power_limit_w
        The GPU's; NaN where it is not known, and of a CPU.
    probe_epochs
        An epoch of each stage, as a few timed batches tell it.
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
    """Return the trajectories of those records that tell one; see :func:`read_trajectory`."""
    found = (read_trajectory(record) for record in records)
    return [one for one in found if one is not None]


def read_trajectory(record: RunRecord) -> Trajectory | None:
    """Return a run's trajectory.

    An epoch lasts from the begin of its training until that of the next one's; what lies between
    two of them, a look at a meter say, belongs to the one before.

    None where the record tells none: the run failed or a meter was lost, operations are not known,
    an epoch's energy is not (or none was seen: the meter is too coarse for so short an epoch), or
    an earlier greencv made it, whose settings this one does not know.
    """
    run = _planned(record)
    if run is None or record.status != "finished" or not record.complete:
        return None
    if record.total is None or record.gflops_per_image is None:
        return None
    begins_s = _begins_s(record)
    curve = _energy_so_far(record)
    if begins_s is None or curve is None:
        return None
    time_s, energy_j = curve
    edges_s = np.append(begins_s, time_s[-1])
    edges_j = np.interp(edges_s, time_s, energy_j)
    places = {name: place for place, (name, _) in enumerate(run.protocol.stages)}
    stages = [places.get(epoch.stage, -1) for epoch in record.epochs]
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
        # The run's mean is all that a record tells of it.
        utilization_so_far_pct=np.empty(0) if used_pct is None else np.full(len(time_s), used_pct),
    )


def _environment(run: PlannedRun) -> str:
    """Return the environment's name and where it is: another machine's is another environment."""
    where = f"{run.machine}, {run.accelerator}" if run.accelerator else run.machine
    return f"{run.environment.name} ({where})"


def _setting(data: Dataset, protocol: Protocol) -> str:
    classes = len(data.classes) if isinstance(data.classes, dict) else data.classes
    told = [data.name, f"{data.image_size} px", f"batch {protocol.batch_size}"]
    return ", ".join(told if classes is None else [*told, f"{classes} classes"])


def _stages(
    protocol: Protocol, gflops_per_image: float, train_images: int, validation_images: int
) -> tuple[StagePlan, ...]:
    any_epoch_may_be_the_last = protocol.target is not None or protocol.budget is not None
    plans: list[StagePlan] = []
    for name, stage in protocol.stages:
        fewest = stage.epochs
        if stage.early_stopping is not None:
            # A stage's first epoch always is its best so far.
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
    """Return the run that a record is of; None if it is of a version that knew other settings."""
    # Where several machines' records stand together, the name tells the device, too.
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


def _begins_s(record: RunRecord) -> list[float] | None:
    """Return when the training of each epoch began; None if it is not told of all, or of none."""
    started_s = {phase.name: phase.start_s for phase in record.phases}
    begins_s = [started_s.get(f"epoch {epoch.epoch} training") for epoch in record.epochs]
    known_s = [begin_s for begin_s in begins_s if begin_s is not None]
    return known_s if known_s and len(known_s) == len(begins_s) else None


def _energy_so_far(record: RunRecord) -> tuple[Floats, Floats] | None:
    """Return times and the energy until each, from the run's begin to its end.

    Each phase has its own energy; the time between phases shares what remains of the run's. Within
    a phase the energy follows the power trace.
    """
    total_j = record.total.energy_j if record.total else None
    phases = sorted(record.phases, key=lambda phase: phase.start_s)
    joules = [phase.energy_j for phase in phases]
    known_j = [j for j in joules if j is not None]
    if total_j is None or not record.duration_s or len(known_j) < len(joules):
        return None
    gaps_s = record.duration_s - sum(phase.end_s - phase.start_s for phase in phases)
    gap_w = max(0.0, total_j - sum(known_j)) / gaps_s if gaps_s > 0 else 0.0
    # Where readings of the phases come to more than the run's, which is surer, they give way; where
    # there is no time between them, they have all of its energy.
    scale = (total_j - gap_w * gaps_s) / sum(known_j) if sum(known_j) > 0 else 0.0
    traced = _traced(record)
    time_s, so_far_j = [0.0], [0.0]
    for phase, phase_j in zip(phases, known_j, strict=True):
        begin_j = so_far_j[-1] + gap_w * (phase.start_s - time_s[-1])
        inside_s, share = _shape(phase, *traced)
        time_s += [phase.start_s, *inside_s, phase.end_s]
        so_far_j += [begin_j, *(begin_j + share * scale * phase_j), begin_j + scale * phase_j]
    return np.array([*time_s, record.duration_s]), np.array([*so_far_j, total_j])


def _traced(record: RunRecord) -> tuple[Floats, Floats]:
    """Return times of the power trace and the energy until each, over all components."""
    trace, metered = record.trace, record.total.components if record.total else {}
    told = [] if trace is None else [c for c in metered if c in trace.time_s]
    if trace is None or not told:
        return np.zeros(1), np.zeros(1)
    each_s = {c: np.append(0.0, trace.time_s[c]) for c in told}
    time_s = np.unique(np.concatenate(list(each_s.values())))
    energy_j = np.zeros(len(time_s))
    for component, own_s in each_s.items():
        # A point of the trace is the mean power since the point before.
        own_j = np.append(0.0, np.cumsum(np.diff(own_s) * trace.power_w[component]))
        energy_j += np.interp(time_s, own_s, own_j)
    return time_s, energy_j


def _shape(phase: WindowRecord, time_s: Floats, energy_j: Floats) -> tuple[Floats, Floats]:
    """Return the trace's times within a phase, and the share (0 to 1) of its energy until each."""
    inside = (time_s > phase.start_s) & (time_s < phase.end_s)
    first_j, last_j = np.interp([phase.start_s, phase.end_s], time_s, energy_j)
    if inside.sum() < LEAST_POINTS or last_j <= first_j:
        return np.empty(0), np.empty(0)
    return time_s[inside], (energy_j[inside] - first_j) / (last_j - first_j)
