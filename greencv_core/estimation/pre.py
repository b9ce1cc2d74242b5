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
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.linalg import solve
from scipy.stats import expon
from sklearn import config_context
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import KFold, ParameterSampler
from sklearn.pipeline import make_pipeline
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
    distribution = expon(scale=SCALE)
    tried = list(
        ParameterSampler({"alpha": distribution, "gamma": distribution}, DRAWS, random_state=SEED)
    )
    # All values are finite, and to check that each time takes longer than to fit.
    with config_context(assume_finite=True, skip_parameter_validation=True):
        scores = np.mean([_scores(*fold, tried) for fold in _folds(rows, targets)], axis=0)
        best = KernelRidge(kernel="rbf", **tried[int(np.argmax(scores))])
        return make_pipeline(StandardScaler(), best).fit(rows, targets)


def _folds(rows: Floats, targets: Floats) -> Iterator[tuple[Floats, Floats, Floats, Floats]]:
    """Yield each fold's squared distances: among those to fit, to those to test; their targets."""
    # R2 needs two trainings in each fold.
    folds = KFold(min(FOLDS, len(rows) // 2), shuffle=True, random_state=SEED)
    for fitted, tested in folds.split(rows):
        scaler = StandardScaler().fit(rows[fitted])
        known, new = scaler.transform(rows[fitted]), scaler.transform(rows[tested])
        among, to = (euclidean_distances(some, known, squared=True) for some in (known, new))
        yield among, to, targets[fitted], targets[tested]


def _scores(
    among: Floats, to: Floats, fitted: Floats, tested: Floats, tried: Sequence[Mapping[str, float]]
) -> list[float]:
    """Return the R2 of each pair of parameters.

    Distances are the same for all of them; :class:`sklearn.kernel_ridge.KernelRidge` would compute
    them again.
    """
    spread = float(((tested - tested.mean()) ** 2).sum())
    scores = []
    for one in tried:
        kernel = np.exp(-one["gamma"] * among)
        kernel[np.diag_indices_from(kernel)] += one["alpha"]
        predicted = np.exp(-one["gamma"] * to) @ solve(kernel, fitted, assume_a="pos")
        left = float(((tested - predicted) ** 2).sum())
        scores.append(1 - left / spread if spread else float(left == 0))
    return scores
