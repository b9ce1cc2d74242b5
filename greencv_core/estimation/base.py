"""Interface of the estimators: fit on measured trainings, predict the energy of another one.

:class:`PointEstimator` gives methods without an interval one from their errors on the trainings
that they were fitted on.
"""

from __future__ import annotations

import bisect
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from greencv_core.analysis.result import NotEnoughDataError
from greencv_core.estimation.trajectory import Floats, Observed, Oracle, TrainingTask, Trajectory

NAN = float("nan")
QUANTILES = (0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.995)
"""Levels of the quantiles of an estimate, from which its calibration is computed."""
TAILS = (0.025, 0.975)
"""Levels of the ends of the 95% interval."""


@dataclass(frozen=True)
class Estimate:
    """Predicted cost of a whole training, with 95% intervals; NaN if unknown."""

    energy_j: float
    low_j: float = NAN
    high_j: float = NAN
    duration_s: float = NAN
    low_s: float = NAN
    high_s: float = NAN
    quantiles_j: tuple[float, ...] = ()
    """Energy at each of :data:`QUANTILES`; empty if unknown."""


class Estimator(Protocol):
    """A method of estimation."""

    @property
    def name(self) -> str:
        """Name in tables."""

    def fit(self, trajectories: Sequence[Trajectory]) -> None:
        """Learn from measured trainings, if the method learns.

        :class:`NotEnoughDataError` is raised if they do not suffice.
        """

    def predict(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> Estimate:
        """Predict the cost of a training from its plan, its measurements so far and its end.

        :class:`NotEnoughDataError` is raised if the method needs more, such as a complete epoch.
        """


class PointEstimator(ABC):
    """A method with a point estimate; its interval comes from its errors on the fitted trainings.

    Those trainings are cut after as many epochs as are observed now (or the next lower number of
    :data:`CUTS`), with the same oracle.
    """

    name: str

    CUTS = (0, 1, 3, 8, 20, 50)

    def __init__(self) -> None:
        self._trajectories: Sequence[Trajectory] = ()
        self._ratios: dict[tuple[int, bool, bool], Floats] = {}
        """Quantiles of true over estimated energy, by number of epochs and kind of oracle."""

    def fit(self, trajectories: Sequence[Trajectory]) -> None:
        """Learn from trainings; see :class:`Estimator`."""
        self._trajectories, self._ratios = trajectories, {}
        self._learn(trajectories)

    def predict(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> Estimate:
        """Predict the cost of a training; see :class:`Estimator`."""
        energy_j = self._energy_j(task, observed, oracle)
        ratios = self._error_ratios(len(observed.epochs), oracle)
        if not len(ratios):
            return Estimate(energy_j)
        quantiles_j = energy_j * ratios
        low_j, high_j = (float(quantiles_j[QUANTILES.index(tail)]) for tail in TAILS)
        return Estimate(energy_j, low_j, high_j, quantiles_j=tuple(quantiles_j.tolist()))

    def _learn(self, trajectories: Sequence[Trajectory]) -> None:  # noqa: B027 - optional
        """Learn from trainings, or raise :class:`NotEnoughDataError`."""

    @abstractmethod
    def _energy_j(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> float:
        """Return the point estimate, or raise :class:`NotEnoughDataError`."""

    def _error_ratios(self, epochs: int, oracle: Oracle) -> Floats:
        cut = self.CUTS[bisect.bisect_right(self.CUTS, epochs) - 1]
        key = cut, oracle.epochs is not None, oracle.duration_s is not None
        if key not in self._ratios:
            ratios = []
            for past in self._trajectories:
                if cut >= len(past.epochs):
                    continue
                same = Oracle(
                    past.oracle.epochs if key[1] else None,
                    past.oracle.duration_s if key[2] else None,
                )
                with contextlib.suppress(NotEnoughDataError):
                    estimated_j = self._energy_j(past.task, past.observe_epochs(cut), same)
                    ratios.append(past.energy_j / estimated_j)
            self._ratios[key] = np.quantile(ratios, QUANTILES) if ratios else np.empty(0)
        return self._ratios[key]


def expected_epochs(task: TrainingTask, oracle: Oracle) -> int:
    """Return the final number of epochs if known, else the largest planned number."""
    return task.most_epochs if oracle.epochs is None else oracle.epochs


def expected_duration_s(task: TrainingTask, observed: Observed, oracle: Oracle) -> float:
    """Return the total duration if known, else that of epochs as long as those observed.

    :class:`NotEnoughDataError` is raised if it is unknown and no epoch is complete.
    """
    if oracle.duration_s is not None:
        return oracle.duration_s
    if not len(observed.epochs):
        raise NotEnoughDataError("without a complete epoch the duration is unknown")
    each_s = float(observed.epochs.duration_s.mean())
    return observed.before_s + expected_epochs(task, oracle) * each_s
