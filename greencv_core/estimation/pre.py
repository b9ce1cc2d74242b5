"""PRE: predict a training's power or epoch energy by regression, before it begins.

After the offline estimators of del Rey et al., whose best was a kernel ridge regression (radial
basis functions) of a training's mean power, or of its mean epoch energy, on numbers that describe
the model, the data and the hardware. It is static: measurements do not change it.

It differs from the original in three ways. Features are standardised within each fit; the original
standardises all trainings before it holds some out, so that the test set influences the fit. Fewer
parameters are tried: see :data:`DRAWS`. And the folds of the cross-validation are shuffled, because
trainings come here in the order of their conditions, and there in random order.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import expon
from sklearn import config_context
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import KFold, RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from greencv_core.analysis.result import NotEnoughDataError
from greencv_core.estimation.base import PointEstimator, expected_duration_s, expected_epochs
from greencv_core.estimation.trajectory import Floats, Observed, Oracle, TrainingTask, Trajectory

DRAWS = 25
"""Pairs of parameters to try; the original tries 100, which takes seconds for each of many fits."""
FOLDS = 5
SEED = 2022
"""The original's."""
SCALE = 0.01
"""Mean of the exponential distributions of alpha and gamma."""
FEWEST_TRAININGS = 5
LEAST_SHARE = 0.1
"""Lower bound of a prediction, as a share of the smallest target. Far from its data a kernel ridge
tends to 0 and may become negative; such an energy is impossible."""


class _Regression(PointEstimator):
    """Regression of one target per training on the task's features."""

    _model: Any = None

    @abstractmethod
    def _target(self, trajectory: Trajectory) -> float:
        """Return the quantity to predict."""

    def _learn(self, trajectories: Sequence[Trajectory]) -> None:
        self._model = None
        self._predicted: dict[tuple[float, ...], float] = {}
        trajectories = [trajectory for trajectory in trajectories if len(trajectory.epochs)]
        if len(trajectories) < FEWEST_TRAININGS:
            raise NotEnoughDataError(
                f"a regression needs {FEWEST_TRAININGS} trainings, and there are "
                f"{len(trajectories)}"
            )
        names = sorted(trajectories[0].task.features)
        rows = np.array([_feature_values(trajectory.task, names) for trajectory in trajectories])
        informative = np.isfinite(rows).all(axis=0) & (rows != rows[0]).any(axis=0)
        if not informative.any():
            raise NotEnoughDataError("the trainings do not differ in any feature that all have")
        self._names = tuple(name for name, used in zip(names, informative, strict=True) if used)
        targets = np.array([self._target(trajectory) for trajectory in trajectories])
        self._least = LEAST_SHARE * float(targets.min())
        self._model = _fit_kernel_ridge(rows[:, informative], targets)

    def _predict_target(self, task: TrainingTask) -> float:
        """Predict the target; tasks with the same features get the same answer."""
        if self._model is None:
            raise NotEnoughDataError("the regression has learned from no trainings")
        values = _feature_values(task, self._names)
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
    """The mean energy of an epoch (J), by regression, times the expected number of epochs.

    As in the original, the energy before the first epoch is not included.
    """

    name = "PRE, epoch energy"

    def _target(self, trajectory: Trajectory) -> float:
        return float(trajectory.epochs.energy_j.mean())

    def _energy_j(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> float:
        return self._predict_target(task) * expected_epochs(task, oracle)


def _feature_values(task: TrainingTask, names: Sequence[str]) -> tuple[float, ...]:
    return tuple(float(task.features.get(name, np.nan)) for name in names)


def _fit_kernel_ridge(rows: Floats, targets: Floats) -> Any:
    """Return the kernel ridge with the best cross-validated R2 among random parameters."""
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
    # All values are finite, and to check that each time takes longer than to fit.
    with config_context(assume_finite=True, skip_parameter_validation=True):
        return search.fit(rows, targets).best_estimator_
