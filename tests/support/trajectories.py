"""Trainings whose epochs are typed in, or drawn from what the projection assumes."""

from dataclasses import replace

import numpy as np

from greencv_core.estimation.trajectory import Epochs, StagePlan, TrainingTask, Trajectory


def planned(most, tflop=1.0, name="whole", fewest=None):
    """Return a stage that nothing stops early, unless ``fewest`` epochs are given."""
    return StagePlan(name, most, most if fewest is None else fewest, tflop)


def made_up_task(stages, gflops=1.0, idle_w=0.0, limit_w=100.0, features=(), **condition):
    """Return a task; its condition is its architecture, environment and setting."""
    return TrainingTask(
        **{"architecture": "a", "environment": "e", "setting": "s", **condition},
        gflops_per_image=gflops,
        stages=tuple(stages),
        idle_power_w=idle_w,
        power_limit_w=limit_w,
        features=dict(features),
    )


def made_up_trajectory(
    energies_j, each_s=10.0, task=None, before=(0.0, 0.0), after=(0.0, 0.0), used_pct=None
):
    """Return a training; ``before`` and ``after`` its epochs are seconds and joules."""
    energies_j = np.array(energies_j, dtype=float)
    n = len(energies_j)
    durations_s = np.broadcast_to(np.asarray(each_s, dtype=float), n).copy()
    time_s = np.cumsum([0, before[0], *durations_s, after[0]])
    return Trajectory(
        run_id="run",
        task=task or made_up_task([planned(n)]),
        epochs=Epochs(np.zeros(n, dtype=np.int64), durations_s, energies_j),
        before_s=before[0],
        before_j=before[1],
        time_s=time_s,
        energy_so_far_j=np.cumsum([0, before[1], *energies_j, after[1]]),
        utilization_so_far_pct=np.empty(0) if used_pct is None else np.full(len(time_s), used_pct),
    )


def probe_epochs(task, energies_j, each_s=10.0):
    """Return the task with a probed epoch of each stage."""
    durations_s = np.full(len(energies_j), float(each_s))
    epochs = Epochs(np.arange(len(energies_j)), durations_s, np.array(energies_j, dtype=float))
    return replace(task, probe_epochs=epochs)


def training(task, *stages_j, each_s=10.0, run_id="run", before=(0.0, 0.0)):
    """Return a training from the energies of each stage's epochs."""
    flat = np.concatenate([np.asarray(some, dtype=float) for some in stages_j])
    trajectory = made_up_trajectory(flat, each_s=each_s, task=task, before=before)
    stage = np.repeat(np.arange(len(stages_j)), [len(some) for some in stages_j])
    return replace(trajectory, run_id=run_id, epochs=replace(trajectory.epochs, stage=stage))


def simulated(
    rng: np.random.Generator,
    architectures=6,
    environments=2,
    runs=5,
    epochs=(3, 15),
    fewest=None,
    idle_w=30.0,
    run_sd=0.02,
    epoch_sd=0.02,
) -> list[Trajectory]:
    """Return trainings whose epochs are drawn as ``bayesian.random_effects`` says.

    Of two stages, frozen and main. With ``fewest`` epochs the main one may stop early, after a
    number of epochs that every architecture has of its own.
    """
    step, slopes = np.array([0.0, 1.0]), rng.normal(0.0, 0.3, 2)
    """Of dynamic energy and of time, as are the last axes below."""
    of_environment = rng.normal(0.0, (0.3, 0.3), (environments, 2))
    trajectories = []
    for a in range(architectures):
        gflops = 0.5 * 2.0**a
        of_architecture = rng.normal(0.0, 0.25, 2)
        of_main = rng.normal(0.0, 0.15, 2)
        length = int(rng.integers(fewest, epochs[1] + 1)) if fewest else epochs[1]
        stages = (
            planned(epochs[0], tflop=gflops * 2, name="frozen"),
            planned(epochs[1], tflop=gflops * 4, name="main", fewest=fewest),
        )
        for e in range(environments):
            of_condition = rng.normal(0.0, 0.1, 2)
            task = made_up_task(stages, gflops, idle_w, architecture=f"a{a}", environment=f"e{e}")
            level = np.log([200.0, 3.0]) + of_environment[e] + of_architecture + of_condition
            level += slopes * np.log(gflops)
            for r in range(runs):
                own = level + rng.normal(0.0, run_sd, 2)
                energies_j, durations_s = [], []
                for i, n in enumerate((epochs[0], length)):
                    logs = own + step[i] * (0.2 + of_main)
                    logs = np.exp(logs + rng.normal(0.0, epoch_sd, (n, 2)))
                    dynamic_j, time_s = (logs * stages[i].tflop_per_epoch).T
                    durations_s.append(time_s)
                    energies_j.append(dynamic_j + idle_w * time_s)
                trajectories.append(
                    training(
                        task,
                        *energies_j,
                        each_s=np.concatenate(durations_s),
                        run_id=f"a{a}-e{e}-{r}",
                        before=(2.0, 2.0 * idle_w),
                    )
                )
    return trajectories
