"""Trajectories of the trainings of del Rey et al. (SEAA 2023), from their raw logs.

The logs do not mark the ends of epochs. They show where the second stage begins, and the published
metrics give the number of epochs; within a stage all epochs are assumed to be equally long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from greencv_core.estimation.trajectory import (
    Epochs,
    StagePlan,
    TrainingTask,
    Trajectory,
    tflop_per_epoch,
)
from greencv_core.published.seaa2023.logs import (
    AT_WORK_PCT,
    INITIAL_EPOCHS,
    LogPair,
    RawRuns,
    log_pairs,
    map_pairs,
    raw_runs,
    trimmed,
)
from greencv_core.published.seaa2023.nvidia_smi import read_log
from greencv_core.published.seaa2023.runs import IMAGES_PER_EPOCH, MOST_EPOCHS
from greencv_core.published.seaa2023.segmentation import find_step

IMAGE_SIZE = 128
TRAIN_IMAGES = 23_776
"""Images in an epoch, in whole batches."""
VALIDATION_IMAGES = IMAGES_PER_EPOCH - TRAIN_IMAGES
PATIENCE = 20
"""Epochs without improvement after which the second stage ends."""


@dataclass(frozen=True)
class Gpu:
    """A GPU by its data sheet and its driver."""

    cores: int
    memory_gb: int
    power_limit_w: float
    """As ``nvidia-smi`` logged it (``power.max_limit``), the same in all logs."""


GPUS: Mapping[str, Gpu] = MappingProxyType(
    {
        "Cloud": Gpu(cores=10_496, memory_gb=24, power_limit_w=350.0),  # RTX 3090
        # RTX 3070; the follow-up uses the 220 W of its data sheet, which no log confirms.
        "Local ML": Gpu(cores=5_888, memory_gb=8, power_limit_w=240.0),
    }
)


def published_trajectories(files: Mapping[str, Path]) -> list[Trajectory]:
    """Return the trainings with logs and metrics; see :func:`read_trajectories`."""
    return read_trajectories(files, raw_runs(files))


def read_trajectories(files: Mapping[str, Path], raw: RawRuns) -> list[Trajectory]:
    """Return the trainings whose GPU log is available, in the order of the runs table.

    Energy and time are those of the log, plus its missing end. Trainings with an end of unknown
    length are left out, and all trainings without the file of metrics.

    Parameters
    ----------
    raw
        Result of :func:`greencv_core.published.seaa2023.logs.raw_runs` for the same files.
    """
    runs = raw.runs.set_index("run_id")
    idle_w = runs.groupby("environment")["before_power_w"].median()
    known = runs[runs["missing_s"].notna() & runs["epochs"].notna()]
    readable = [pair for pair in log_pairs(files) if pair.run_id in known.index]

    def read(pair: LogPair) -> Trajectory:
        return _read_trajectory(pair, known.loc[pair.run_id], float(idle_w[pair.environment]))

    return map_pairs(readable, read)


def _read_trajectory(pair: LogPair, run: pd.Series, idle_power_w: float) -> Trajectory:
    assert pair.gpu is not None
    log = trimmed(read_log(pair.gpu))
    time_s, power_w, utilization_pct = log.time_s - log.time_s[0], log.power_w, log.utilization_pct
    first = int(np.argmax(utilization_pct > AT_WORK_PCT))
    # An epoch with frozen layers is not longer than one without.
    latest = INITIAL_EPOCHS / run["epochs"]
    second_stage_s = time_s[first + find_step(utilization_pct[first:], last=latest)]
    begin_s = time_s[max(0, first - 1)]

    energy_j = np.append(0.0, np.cumsum(np.diff(time_s) * (power_w[1:] + power_w[:-1]) / 2))
    used_pct = np.cumsum(utilization_pct) / np.arange(1, len(utilization_pct) + 1)
    if run["missing_s"] > 0:
        time_s = np.append(time_s, time_s[-1] + run["missing_s"])
        energy_j = np.append(energy_j, energy_j[-1] + run["missing_energy_j"])
        used_pct = np.append(used_pct, used_pct[-1])

    frozen_s = np.linspace(begin_s, second_stage_s, INITIAL_EPOCHS + 1)
    main_s = np.linspace(second_stage_s, time_s[-1], int(run["epochs"]) - INITIAL_EPOCHS + 1)
    edges_s = np.concatenate([frozen_s, main_s[1:]])
    edges_j = np.interp(edges_s, time_s, energy_j)
    stages = (np.arange(len(edges_s) - 1) >= INITIAL_EPOCHS).astype(np.int64)
    return Trajectory(
        run_id=pair.run_id,
        task=_task(pair, run, idle_power_w),
        epochs=Epochs(stages, duration_s=np.diff(edges_s), energy_j=np.diff(edges_j)),
        before_s=float(edges_s[0]),
        before_j=float(edges_j[0]),
        time_s=time_s,
        energy_so_far_j=energy_j,
        utilization_so_far_pct=used_pct,
    )


def _task(pair: LogPair, run: pd.Series, idle_power_w: float) -> TrainingTask:
    gpu = GPUS[pair.environment]
    gflops, batch_size = float(run["gflops_per_image"]), int(run["batch_size"])

    def tflop(*, frozen: bool) -> float:
        return tflop_per_epoch(gflops, TRAIN_IMAGES, VALIDATION_IMAGES, frozen=frozen)

    most = MOST_EPOCHS - INITIAL_EPOCHS
    return TrainingTask(
        architecture=pair.architecture,
        environment=pair.environment,
        setting=f"{IMAGE_SIZE} px, batch {batch_size}",
        gflops_per_image=gflops,
        stages=(
            StagePlan("frozen", INITIAL_EPOCHS, INITIAL_EPOCHS, tflop(frozen=True)),
            # The first epoch is always the best so far.
            StagePlan("main", most, PATIENCE + 1, tflop(frozen=False)),
        ),
        idle_power_w=idle_power_w,
        power_limit_w=gpu.power_limit_w,
        features={
            "batch_size": batch_size,
            "training_images": TRAIN_IMAGES,
            "validation_images": VALIDATION_IMAGES,
            "gflops_per_image": gflops,
            "image_size": IMAGE_SIZE,
            "gpu_cores": gpu.cores,
            "gpu_memory_gb": gpu.memory_gb,
            "power_limit_w": gpu.power_limit_w,
        },
    )
