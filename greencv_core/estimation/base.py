"""What every method of estimation offers: fit on measured trainings, predict another one's energy.

A method tells an interval, too. Those that tell none by themselves get one here, from how far they
miss the trainings that they were fitted on.
"""

from __future__ import annotations

import bisect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from greencv_core.analysis.result import NotEnoughDataError
from greencv_core.estimation.trajectory import Floats, Observed, Oracle, TrainingTask, Trajectory

NAN = float("nan")
QUANTILES = (0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.995)
"""Of which an estimate tells the energies, so that its calibration can be looked at."""
TAILS = (0.025, 0.975)
"""The ends of the 95 % interval."""


@dataclass(frozen=True)
class Estimate:
    """What a whole training will take, with 95 % intervals; NaN is not oracle."""

    energy_j: float
    low_j: float = NAN
    high_j: float = NAN
    duration_s: float = NAN
    low_s: float = NAN
    high_s: float = NAN
    quantiles_j: tuple[float, ...] = ()
    """The energy's, for each of :data:`QUANTILES`; empty where they are not oracle."""


class Estimator(Protocol):
    """A method of estimation."""

    @property
    def name(self) -> str:
        """What tables call it."""

    def fit(self, trajectories: Sequence[Trajectory]) -> None:
        """Learn from trainings that were measured; a method may have nothing to learn.

        Raises
        ------
        NotEnoughDataError
            It cannot learn from these.
        """

    def predict(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> Estimate:
        """Return what a training will take, from what is known, measured and oracle of it.

        Raises
        ------
        NotEnoughDataError
            The method has no answer to this: it needs an epoch, say, and has not observed one.
        """


class PointEstimator(ABC):
    """A method that tells one figure; its interval is where its errors were while it was fitted.

    The errors are those on the trainings that it was fitted on, cut after as many epochs as it has
    observed now (or the nearest number of :data:`CUTS` below), with the same oracle.
    """

    name: str

    CUTS = (0, 1, 3, 8, 20, 50)

    def __init__(self) -> None:
        self._courses: Sequence[Trajectory] = ()
        self._ratios: dict[tuple[int, bool, bool], Floats] = {}
        """Quantiles of actual over estimated energies, by what was observed and oracle."""

    def fit(self, trajectories: Sequence[Trajectory]) -> None:
        """Learn from trainings; see :class:`Estimator`."""
        self._courses, self._ratios = trajectories, {}
        self._learn(trajectories)

    def predict(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> Estimate:
        """Return an estimate; see :class:`Estimator`."""
        energy_j = self._energy_j(task, observed, oracle)
        ratios = self._errors(len(observed.epochs), oracle)
        if not len(ratios):
            return Estimate(energy_j)
        quantiles_j = energy_j * ratios
        low_j, high_j = (float(quantiles_j[QUANTILES.index(one)]) for one in TAILS)
        return Estimate(energy_j, low_j, high_j, quantiles_j=tuple(quantiles_j.tolist()))

    def _learn(self, trajectories: Sequence[Trajectory]) -> None:  # noqa: B027 - many have nothing to learn
        """Learn from trainings, or raise :class:`NotEnoughDataError`."""

    @abstractmethod
    def _energy_j(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> float:
        """Return the one figure, or raise :class:`NotEnoughDataError`."""

    def _errors(self, epochs: int, oracle: Oracle) -> Floats:
        """Return quantiles of actual over estimated energies of the trainings fitted on."""
        cut = self.CUTS[bisect.bisect_right(self.CUTS, epochs) - 1]
        key = cut, oracle.epochs is not None, oracle.duration_s is not None
        if key not in self._ratios:
            ratios = []
            for trajectory in self._courses:
                if cut >= len(trajectory.epochs):
                    continue
                same = Oracle(
                    trajectory.oracle.epochs if key[1] else None,
                    trajectory.oracle.duration_s if key[2] else None,
                )
                try:
                    estimated_j = self._energy_j(
                        trajectory.task, trajectory.observe_epochs(cut), same
                    )
                except NotEnoughDataError:
                    continue
                ratios.append(trajectory.energy_j / estimated_j)
            self._ratios[key] = np.quantile(ratios, QUANTILES) if ratios else np.empty(0)
        return self._ratios[key]


def expected_epochs(task: TrainingTask, oracle: Oracle) -> int:
    """Return the epochs that a method counts on: those oracle, else those planned at most."""
    return task.most_epochs if oracle.epochs is None else oracle.epochs


def expected_duration_s(task: TrainingTask, observed: Observed, oracle: Oracle) -> float:
    """Return the duration oracle, else that of the epochs expected if all last as those observed.

    Raises
    ------
    NotEnoughDataError
        No epoch has been observed.
    """
    if oracle.duration_s is not None:
        return oracle.duration_s
    if not len(observed.epochs):
        raise NotEnoughDataError("without an epoch observed, nothing tells the time")
    each_s = float(observed.epochs.duration_s.mean())
    return observed.before_s + expected_epochs(task, oracle) * each_s
