"""The common practice: what calculators and trackers answer, from nameplates or a first epoch.

Each is a :class:`~greencv_core.estimation.base.PointEstimator`: joules, for the device that is
metered. Only the last of them looks at the meter, and is therefore held to what it has shown.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from greencv_core.analysis.result import NotEnoughDataError
from greencv_core.estimation.base import (
    PointEstimator,
    expected_duration_s,
    expected_epochs,
)
from greencv_core.estimation.trajectory import Observed, Oracle, TrainingTask, Trajectory


class PowerLimit(PointEstimator):
    """The device's power limit (W) times the duration (s), as if it were always at its limit.

    So does the ML CO2 Impact calculator (Lacoste et al., "Quantifying the carbon emissions of
    machine learning", 2019), before it turns energy into emissions.
    """

    name = "TDP x time"

    def _energy_j(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> float:
        return _power_limit_w(task) * expected_duration_s(task, observed, oracle)


class PowerLimitUsed(PointEstimator):
    """The power limit (W) times the mean utilization until now times the duration (s).

    So do the Green Algorithms (Lannelongue et al., "Green Algorithms: quantifying the carbon
    footprint of computation", Advanced Science 2021) for a processor. Their second term, 0.3725 W
    per GB of memory, is left out: what is metered here is the GPU alone, and its own memory is
    within its power limit.
    """

    name = "TDP x utilisation x time"

    def _energy_j(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> float:
        limit_w = _power_limit_w(task)
        if math.isnan(observed.utilization_pct):
            raise NotEnoughDataError("the device's utilization is not known")
        if observed.utilization_pct <= 0:
            # An answer of 0 J says nothing of the training, and no error is relative to it.
            raise NotEnoughDataError("the device has not been used yet")
        return (
            limit_w * observed.utilization_pct / 100 * expected_duration_s(task, observed, oracle)
        )


class Operations(PointEstimator):
    """The training's nominal operations times what an operation took in trainings measured before.

    Operations are counted in units of 10**12, from the forward pass: see
    :func:`~greencv_core.estimation.trajectory.tflop_per_epoch`. That energy follows operations is
    the practice of estimates from a model's FLOPs (Desislavov et al., "Trends in AI inference
    energy consumption", 2023). The factor is the median over conditions (architecture, environment,
    setting) of each one's median, so that a condition does not count the more, the oftener it was
    measured.
    """

    name = "FLOPs"

    def __init__(self) -> None:
        super().__init__()
        self._j_per_tflop = math.nan

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
            raise NotEnoughDataError("no training tells what an operation takes")
        self._j_per_tflop = float(np.median([np.median(each) for each in conditions.values()]))

    def _energy_j(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> float:
        if math.isnan(self._j_per_tflop):
            raise NotEnoughDataError("no training tells what an operation takes")
        return task.tflop(expected_epochs(task, oracle)) * self._j_per_tflop


class FirstEpoch(PointEstimator):
    """The first epoch's energy (J) times the epochs, and what was metered before the first.

    So does carbontracker by default (Anthony et al., "Carbontracker: tracking and predicting the
    carbon footprint of training deep learning models", 2020).
    """

    name = "First epoch x epochs"

    def _energy_j(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> float:
        if not len(observed.epochs):
            raise NotEnoughDataError("no epoch has been observed")
        whole_j = observed.before_j + expected_epochs(task, oracle) * float(
            observed.epochs.energy_j[0]
        )
        # The whole is no less than what the meter shows already.
        return max(whole_j, observed.energy_j)


def _power_limit_w(task: TrainingTask) -> float:
    if math.isnan(task.power_limit_w):
        raise NotEnoughDataError("the device's power limit is not known")
    return task.power_limit_w
