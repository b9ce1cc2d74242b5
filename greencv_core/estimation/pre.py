"""PRE: a training's power or epoch energy, by regression on what is known before it begins.

After the offline estimators of del Rey et al., whose best was a kernel ridge regression (radial
basis functions) of a training's mean power, or of its mean epoch energy, on numbers that tell of
the model, the data and the hardware. It is static: nothing that the meter shows changes it.

It differs from the original in three ways. The features are standardised within each fit; there
they were standardised on all trainings before some were set apart, so that those to be predicted
had a part in it. Fewer parameters are tried: see :data:`DRAWS`. And the folds of the
cross-validation are shuffled, because trainings come here in the order of their conditions, and
there in random order.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import expon
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import KFold, RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from greencv_core.analysis.result import NotEnoughDataError
from greencv_core.estimation.base import (
    PointEstimator,
    expected_duration_s,
    expected_epochs,
)
from greencv_core.estimation.trajectory import Floats, Observed, Oracle, TrainingTask, Trajectory

DRAWS = 25
"""Pairs of parameters tried; the original tries 100, which takes seconds for each of many fits."""
FOLDS = 5
SEED = 2022
"""The original's."""
SCALE = 0.01
"""Mean of the exponential distributions that alpha and gamma are drawn from."""
FEWEST_COURSES = 5
LEAST_SHARE = 0.1
"""No prediction is less than this share of the smallest target learned from. Far from what it has
learned, a kernel ridge returns to 0 and may cross it, but no training takes 0 J or less, nor has an
error relative to such an estimate a meaning."""


class _Regression(PointEstimator):
    """What both variants share: a target per training, explained by the task's features."""

    def __init__(self) -> None:
        super().__init__()
        self._names: tuple[str, ...] = ()
        self._model: Any = None
        self._least = 0.0
        self._predicted: dict[tuple[float, ...], float] = {}

    @abstractmethod
    def _target(self, trajectory: Trajectory) -> float:
        """Return what is regressed."""

    def _learn(self, trajectories: Sequence[Trajectory]) -> None:
        self._model, self._predicted = None, {}
        # No epoch, no mean of epochs.
        trajectories = [trajectory for trajectory in trajectories if len(trajectory.epochs)]
        if len(trajectories) < FEWEST_COURSES:
            raise NotEnoughDataError(
                f"a regression needs {FEWEST_COURSES} trainings, and there are {len(trajectories)}"
            )
        names = sorted(trajectories[0].task.features)
        rows = np.array([_values(trajectory.task, names) for trajectory in trajectories])
        # What is the same everywhere, or not known somewhere, cannot tell trainings apart.
        telling = np.isfinite(rows).all(axis=0) & (rows != rows[0]).any(axis=0)
        if not telling.any():
            raise NotEnoughDataError("the trainings do not differ in any feature that all have")
        self._names = tuple(name for name, tells in zip(names, telling, strict=True) if tells)
        targets = np.array([self._target(trajectory) for trajectory in trajectories])
        self._least = LEAST_SHARE * float(targets.min())
        self._model = _fitted(rows[:, telling], targets)

    def _predict_target(self, task: TrainingTask) -> float:
        """Return the regression's answer, which is the same for all tasks with the same features.

        Raises
        ------
        NotEnoughDataError
            Nothing was learned, or a feature that was learned from is not known of the task.
        """
        if self._model is None:
            raise NotEnoughDataError("the regression has learned from no trainings")
        values = _values(task, self._names)
        for name, value in zip(self._names, values, strict=True):
            if not np.isfinite(value):
                raise NotEnoughDataError(f"the training's {name} is not known")
        if values not in self._predicted:
            predicted = float(self._model.predict(np.array([values]))[0])
            self._predicted[values] = max(predicted, self._least)
        return self._predicted[values]


class PrePower(_Regression):
    """The mean power (W) of the whole training, by regression, times its duration (s)."""

    name = "PRE, power"

    def _target(self, trajectory: Trajectory) -> float:
        return trajectory.energy_j / trajectory.duration_s

    def _energy_j(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> float:
        return self._predict_target(task) * expected_duration_s(task, observed, oracle)


class PreEpochs(_Regression):
    """The mean energy of an epoch (J), by regression, times the epochs oracle or planned at most.

    What is metered before the first epoch is in none, as in the estimates of the original.
    """

    name = "PRE, epoch energy"

    def _target(self, trajectory: Trajectory) -> float:
        return float(trajectory.epochs.energy_j.mean())

    def _energy_j(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> float:
        return self._predict_target(task) * expected_epochs(task, oracle)


def _values(task: TrainingTask, names: Sequence[str]) -> tuple[float, ...]:
    return tuple(float(task.features.get(name, np.nan)) for name in names)


def _fitted(rows: Floats, targets: Floats) -> Any:
    """Return the kernel ridge with the best R2 in cross-validation, of parameters drawn."""
    # R2 needs two trainings in each fold.
    folds = min(FOLDS, len(rows) // 2)
    search = RandomizedSearchCV(
        Pipeline([("standardise", StandardScaler()), ("ridge", KernelRidge(kernel="rbf"))]),
        {"ridge__alpha": expon(scale=SCALE), "ridge__gamma": expon(scale=SCALE)},
        n_iter=DRAWS,
        scoring="r2",
        cv=KFold(folds, shuffle=True, random_state=SEED),
        random_state=SEED,
        n_jobs=1,
    )
    return search.fit(rows, targets).best_estimator_
