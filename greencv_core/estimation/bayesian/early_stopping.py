"""Predictive distribution of the number of epochs under early stopping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greencv_core.estimation.trajectory import Floats, Integers, StagePlan, TrainingTask, Trajectory

DRAWS = 200
SEED = 2022
OTHERS_COUNT_AS = 10
"""Weight of all trainings of other architectures, in trainings of the same architecture."""
BLUR = 0.1  # relative standard deviation of the number of epochs when a training is repeated
BEYOND = 0.25
"""Mean number of further epochs, as a share of those completed, of a training that has lasted
longer than all others."""


@dataclass(frozen=True)
class EpochCountModel:
    """Numbers of epochs in the last stage of past trainings: arrays and tuples of one length."""

    architectures: tuple[str, ...]
    epochs: Integers
    plans: tuple[StagePlan, ...]

    def sample(
        self, task: TrainingTask, completed: int, n: int, rng: np.random.Generator
    ) -> Integers:
        """Draw ``n`` numbers of epochs of the last stage, of which some are completed."""
        fewest, most = bounds = task.stages[-1].fewest_epochs, task.stages[-1].most_epochs
        if fewest == most:
            return np.full(n, most)
        least = min(max(fewest, completed), most)
        plans = enumerate(self.plans)
        alike = [i for i, p in plans if (p.fewest_epochs, p.most_epochs) == bounds]
        weights = self._weights(task.architecture, alike)
        outcomes = np.concatenate([self.epochs[alike].astype(float), [np.nan]])
        chosen = outcomes[rng.choice(len(outcomes), 8 * n, p=weights)]
        new_kind = np.isnan(chosen)
        chosen[new_kind] = rng.uniform(fewest, most, int(new_kind.sum()))
        blurred = fewest + (chosen - fewest) * np.exp(BLUR * rng.standard_normal(8 * n))
        blurred = np.clip(np.rint(blurred), fewest, most)
        possible = blurred[blurred >= least]
        if len(possible) < max(1, n // 8):
            more = rng.exponential(1 + BEYOND * completed, n)
            possible = np.clip(np.rint(least + more), least, most)
        return rng.choice(possible, n).astype(np.int64)

    def median(self, task: TrainingTask, completed: int) -> int:
        """Return the median number of epochs of the whole training."""
        earlier = sum(stage.most_epochs for stage in task.stages[:-1])
        rng = np.random.default_rng(SEED)
        last = self.sample(task, max(0, completed - earlier), DRAWS, rng)
        return earlier + int(np.median(last))

    def _weights(self, architecture: str, alike: Sequence[int]) -> Floats:
        """Return the weight of each comparable training, and of a new kind at the end.

        A new kind is as probable as each known architecture.
        """
        names = [self.architectures[i] for i in alike]
        sizes = Counter(names)
        own = sizes[architecture] / (sizes[architecture] + OTHERS_COUNT_AS)
        each = (1 - own) / (len(sizes) + 1)
        weights = [(each + own * (name == architecture)) / sizes[name] for name in names]
        return np.array([*weights, each])


def fit_epoch_counts(trajectories: Sequence[Trajectory]) -> EpochCountModel:
    """Learn the length of the last stage from trainings."""
    epochs = [(each.epochs.stage == len(each.task.stages) - 1).sum() for each in trajectories]
    return EpochCountModel(
        tuple(trajectory.task.architecture for trajectory in trajectories),
        np.array(epochs, dtype=np.int64),
        tuple(trajectory.task.stages[-1] for trajectory in trajectories),
    )
