"""Baseline estimators, as calculators and trackers use them: nameplates, FLOPs or a first epoch.

Each estimates the energy of the metered device. Only :class:`FirstEpoch` reads the meter.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from greencv_core.analysis.result import NotEnoughDataError
from greencv_core.estimation.base import PointEstimator, expected_duration_s, expected_epochs
from greencv_core.estimation.trajectory import Observed, Oracle, TrainingTask, Trajectory


class PowerLimit(PointEstimator):
    """The device's power limit (W) times the duration (s).

    So does the ML CO2 Impact calculator (Lacoste et al., "Quantifying the carbon emissions of
    machine learning", 2019), before it converts energy to emissions.
    """

    name = "TDP x time"

    def _energy_j(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> float:
        return _power_limit_w(task) * expected_duration_s(task, observed, oracle)


class PowerLimitUsed(PointEstimator):
    """The power limit (W) times the mean utilization so far times the duration (s).

    So do the Green Algorithms (Lannelongue et al., "Green Algorithms: quantifying the carbon
    footprint of computation", Advanced Science 2021) for a processor. Their second term, 0.3725 W
    per GB of memory, is left out: the metered device is the GPU, whose power limit includes its
    own memory.
    """

    name = "TDP x utilisation x time"

    def _energy_j(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> float:
        limit_w = _power_limit_w(task)
        if math.isnan(observed.utilization_pct):
            raise NotEnoughDataError("the device's utilization is not known")
        if observed.utilization_pct <= 0:
            # An estimate of 0 J is meaningless, and so is an error relative to it.
            raise NotEnoughDataError("the device has not been used yet")
        power_w = limit_w * observed.utilization_pct / 100
        return power_w * expected_duration_s(task, observed, oracle)


class Operations(PointEstimator):
    """The training's nominal operations times the energy per operation of earlier trainings.

    Operations are counted in units of 10**12, from the forward pass: see
    :func:`~greencv_core.estimation.trajectory.tflop_per_epoch`. Estimates from a model's FLOPs
    assume that energy is proportional to operations (Desislavov et al., "Trends in AI inference
    energy consumption", 2023). The factor is the median over conditions (architecture, environment,
    setting) of each one's median, so that frequently measured conditions do not count more.
    """

    name = "FLOPs"
    _UNKNOWN = "no training shows the energy per operation"
    _j_per_tflop = math.nan

    def _learn(self, trajectories: Sequence[Trajectory]) -> None:
        self._j_per_tflop = math.nan
        conditions: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        for trajectory in trajectories:
            task = trajectory.task
            tflop = task.tflop(len(trajectory.epochs))
            if tflop > 0:
                condition = task.architecture, task.environment, task.setting
                conditions[condition].append(trajectory.energy_j / tflop)
        if not conditions:
            raise NotEnoughDataError(self._UNKNOWN)
        self._j_per_tflop = float(np.median([np.median(j) for j in conditions.values()]))

    def _energy_j(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> float:
        if math.isnan(self._j_per_tflop):
            raise NotEnoughDataError(self._UNKNOWN)
        return task.tflop(expected_epochs(task, oracle)) * self._j_per_tflop


class FirstEpoch(PointEstimator):
    """The first epoch's energy (J) times the epochs, plus the energy before the first epoch.

    So does carbontracker by default (Anthony et al., "Carbontracker: tracking and predicting the
    carbon footprint of training deep learning models", 2020).
    """

    name = "First epoch x epochs"

    def _energy_j(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> float:
        if not len(observed.epochs):
            raise NotEnoughDataError("no epoch is complete")
        each_j = float(observed.epochs.energy_j[0])
        total_j = observed.before_j + expected_epochs(task, oracle) * each_j
        # The total is no less than the metered energy.
        return max(total_j, observed.energy_j)


def _power_limit_w(task: TrainingTask) -> float:
    if math.isnan(task.power_limit_w):
        raise NotEnoughDataError("the device's power limit is not known")
    return task.power_limit_w
