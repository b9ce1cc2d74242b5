"""How many epochs a training has that may stop early: what is believed before it does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greencv_core.estimation.trajectory import Floats, Integers, StagePlan, TrainingTask, Trajectory

DRAWS = 200
SEED = 2022
OTHERS_COUNT_AS = 10
"""Trainings of other architectures weigh as much, together, as so many of one's own."""
BLUR = 0.1
"""By which share an observed number of epochs may be another one the next time."""
BEYOND = 0.25
"""Share of the epochs had, that a training which outlasts all others has on top, on average."""


@dataclass(frozen=True)
class EpochCountModel:
    """The last stage's epochs of trainings that were measured."""

    architectures: tuple[str, ...]
    epochs: Integers
    plans: tuple[StagePlan, ...]

    def sample(self, task: TrainingTask, had: int, n: int, rng: np.random.Generator) -> Integers:
        """Return ``n`` equally probable numbers of epochs of the last stage.

        Parameters
        ----------
        had
            Those that are complete already.
        """
        plan = task.stages[-1]
        least = min(max(plan.fewest_epochs, had), plan.most_epochs)
        if plan.fewest_epochs == plan.most_epochs:
            return np.full(n, plan.most_epochs)
        alike = [i for i, other in enumerate(self.plans) if _alike(other, plan)]
        weights = self._weights(task.architecture, alike)
        fewest = plan.fewest_epochs
        outcomes = np.concatenate([self.epochs[alike].astype(float), [np.nan]])
        chosen = outcomes[rng.choice(len(outcomes), 8 * n, p=weights)]
        anything = np.isnan(chosen)
        chosen[anything] = rng.uniform(fewest, plan.most_epochs, int(anything.sum()))
        blurred = fewest + (chosen - fewest) * np.exp(BLUR * rng.standard_normal(8 * n))
        blurred = np.clip(np.rint(blurred), fewest, plan.most_epochs)
        possible = blurred[blurred >= least]
        if len(possible) < max(1, n // 8):
            more = rng.exponential(1 + BEYOND * had, n)
            possible = np.clip(np.rint(least + more), least, plan.most_epochs)
        return rng.choice(possible, n).astype(np.int64)

    def median(self, task: TrainingTask, had: int) -> int:
        """Return the median number of epochs of the whole training."""
        earlier = sum(stage.most_epochs for stage in task.stages[:-1])
        last = self.sample(task, max(0, had - earlier), DRAWS, np.random.default_rng(SEED))
        return earlier + int(np.median(last))

    def _weights(self, architecture: str, alike: Sequence[int]) -> Floats:
        """Return the weight of each training that is alike, and of anything at last.

        The next architecture is a new kind as probably as it is like any one of those known.
        """
        names = [self.architectures[i] for i in alike]
        sizes = Counter(names)
        own = sizes[architecture] / (sizes[architecture] + OTHERS_COUNT_AS)
        each = (1 - own) / (len(sizes) + 1)
        weights = [(each + own * (name == architecture)) / sizes[name] for name in names]
        return np.array([*weights, each])


def fit_epoch_counts(trajectories: Sequence[Trajectory]) -> EpochCountModel:
    """Learn from trainings how long their last stage was."""
    last = [len(trajectory.task.stages) - 1 for trajectory in trajectories]
    return EpochCountModel(
        tuple(trajectory.task.architecture for trajectory in trajectories),
        np.array(
            [int((c.epochs.stage == i).sum()) for c, i in zip(trajectories, last, strict=True)],
            dtype=np.int64,
        ),
        tuple(trajectory.task.stages[-1] for trajectory in trajectories),
    )


def _alike(a: StagePlan, b: StagePlan) -> bool:
    return (a.fewest_epochs, a.most_epochs) == (b.fewest_epochs, b.most_epochs)
