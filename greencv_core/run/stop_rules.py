"""Beside a training: after each epoch, what the whole of it will take, from what is metered so far.

A meter that is refreshed every 100 ms tells what an epoch took that much later. The training does
not wait for it, unless it is the forecast that decides whether the training goes on.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from greencv_core.estimation.base import Estimate
from greencv_core.estimation.run_forecast import EpochForecast, RunForecaster
from greencv_core.estimation.trajectory import NOTHING_OBSERVED, Epochs, Observed
from greencv_core.metering import (
    MeterError,
    Window,
)
from greencv_core.study.schema import Budget, Protocol


class EnergyLimit:
    """Looks at each epoch of a metered training, as a context manager around its window.

    Parameters
    ----------
    forecaster
        None where nothing can be forecast: a limit then holds for what is spent.
    tell
        Called after each epoch that can be told of, maybe from another thread.
    limit_j
        Joules that the training is not to exceed; None for any number.
    """

    def __init__(
        self,
        protocol: Protocol,
        forecaster: RunForecaster | None,
        tell: Callable[[EpochForecast], None] | None,
        limit_j: float | None,
    ) -> None:
        self._places = {name: place for place, (name, _) in enumerate(protocol.stages)}
        self._most_epochs = protocol.most_epochs
        self._forecaster = forecaster
        self._tell = tell
        self.limit_j = limit_j
        self._asked = 0
        self._ends = _Ends([], [0.0], [0.0])
        self._beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="greencv-forecast")
        self.stopped_by: EpochForecast | None = None
        """What was forecast when that exceeded the limit."""

    def __enter__(self) -> EnergyLimit:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave out what could not be told in time."""
        self._beside.shutdown(wait=True, cancel_futures=True)

    def exceeds(self, window: Window, stage: str) -> bool:
        """Look at the epoch that has just ended; return whether the limit will be exceeded."""
        if self._forecaster is None and self.limit_j is None:
            return False
        self._asked += 1
        place, end_s = self._places[stage], window.part_end_s
        if self.limit_j is None:
            self._beside.submit(self._look, window, place, end_s)
            return False
        midway = self._look(window, place, end_s)
        if midway is None or not midway.exceeds(self.limit_j):
            return False
        self.stopped_by = midway
        return True

    def _look(self, window: Window, stage: int, end_s: float) -> EpochForecast | None:
        # Whatever goes wrong with a forecast, the training goes on.
        with contextlib.suppress(Exception):
            reading = window.read_until(end_s)
            # Without all its meters, what is told of a run is not its energy.
            if reading.total is None or reading.problems:
                return None
            self._ends.add(stage, end_s, reading.total.energy_j)
            if len(self._ends.stages) < self._asked:
                return None  # the next epoch has ended meanwhile
            whole = self._whole()
            spent_j = self._ends.energy_j[-1]
            midway = EpochForecast(len(self._ends.stages), self._most_epochs, spent_j, whole)
            if whole is not None and self._tell is not None:
                with contextlib.suppress(Exception):
                    self._tell(midway)
            return midway
        return None

    def _whole(self) -> Estimate | None:
        if self._forecaster is None:
            return None
        with contextlib.suppress(Exception):  # that there is nothing to tell it from, say
            whole = self._forecaster.predict(self._ends.seen())
            return whole if math.isfinite(whole.energy_j) else None
        return None


@dataclass(frozen=True)
class _Ends:
    """Where epochs ended: each one's stage, and time and energy until then, from 0."""

    stages: list[int]
    time_s: list[float]
    energy_j: list[float]

    def add(self, stage: int, time_s: float, energy_j: float) -> None:
        self.stages.append(stage)
        self.time_s.append(time_s)
        self.energy_j.append(energy_j)

    def seen(self) -> Observed:
        if not self.stages:
            return NOTHING_OBSERVED
        stages = np.array(self.stages, dtype=np.int64)
        epochs = Epochs(stages, np.diff(self.time_s), np.diff(self.energy_j))
        # As sums, so that no trace of an epoch that goes on is left by rounding.
        return Observed(float(epochs.duration_s.sum()), float(epochs.energy_j.sum()), epochs)


class BudgetLimit:
    """Tells after each epoch whether the budget allows for one more like the dearest so far."""

    def __init__(self, budget: Budget, window: Window) -> None:
        self._budget = budget
        self._window = window
        self._spent_s = self._dearest_s = 0.0
        self._spent_j = self._dearest_j = 0.0

    def __call__(self) -> bool:
        """Return whether one more epoch fits into the budget."""
        reading = self._window.read_so_far()
        self._dearest_s = max(self._dearest_s, reading.duration_s - self._spent_s)
        self._spent_s = reading.duration_s
        if (
            self._budget.duration_s is not None
            and self._spent_s + self._dearest_s > self._budget.duration_s
        ):
            return False
        if self._budget.energy_j is None:
            return True
        if reading.total is None or reading.problems:
            raise MeterError("the energy budget cannot be kept: a meter was lost")
        self._dearest_j = max(self._dearest_j, reading.total.energy_j - self._spent_j)
        self._spent_j = reading.total.energy_j
        return self._spent_j + self._dearest_j <= self._budget.energy_j
