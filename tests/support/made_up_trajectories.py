"""Trainings for the tests of estimation, whose epochs are typed in."""

import numpy as np

from greencv_core.estimation.trajectory import Epochs, StagePlan, TrainingTask, Trajectory


def stage(most, tflop=1.0, name="whole"):
    return StagePlan(name, most_epochs=most, fewest_epochs=1, tflop_per_epoch=tflop)


def made_up_task(stages, features=None, limit_w=100.0, **condition):
    named = {"architecture": "a", "environment": "e", "setting": "s", **condition}
    return TrainingTask(
        **named,
        gflops_per_image=1.0,
        stages=tuple(stages),
        idle_power_w=0.0,
        power_limit_w=limit_w,
        features=features or {},
    )


def made_up_trajectory(
    energies_j, each_s=10.0, task=None, before=(0.0, 0.0), after=(0.0, 0.0), used_pct=None
):
    """Return a training; ``before`` and ``after`` its epochs are seconds and joules."""
    energies_j = np.array(energies_j, dtype=float)
    n = len(energies_j)
    durations_s = np.broadcast_to(np.asarray(each_s, dtype=float), n).copy()
    pieces_s = np.concatenate([[0, before[0]], durations_s, [after[0]]])
    pieces_j = np.concatenate([[0, before[1]], energies_j, [after[1]]])
    time_s = np.cumsum(pieces_s)
    return Trajectory(
        run_id="run",
        task=task or made_up_task([stage(n)]),
        epochs=Epochs(np.zeros(n, dtype=np.int64), durations_s, energies_j),
        before_s=before[0],
        before_j=before[1],
        time_s=time_s,
        energy_so_far_j=np.cumsum(pieces_j),
        utilization_so_far_pct=np.empty(0) if used_pct is None else np.full(len(time_s), used_pct),
    )
