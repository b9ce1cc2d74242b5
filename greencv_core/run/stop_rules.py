"""Rules that stop a training early: a study's budget, and an energy limit (``--stop-above``)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from greencv_core.estimation.base import Estimate
from greencv_core.estimation.run_forecast import EpochForecast, RunForecaster
from greencv_core.estimation.trajectory import Epochs, Observed
from greencv_core.metering import MeterError, Window
from greencv_core.study.schema import Budget, Protocol


class BudgetLimit:
    """Stops before an epoch that would exceed the budget at the cost of the costliest one."""

    def __init__(self, budget: Budget, window: Window) -> None:
        self._budget = budget
        self._window = window
        self._spent_s = self._costliest_s = 0.0
        self._spent_j = self._costliest_j = 0.0

    def allows_another_epoch(self) -> bool:
        """Return whether one more epoch fits into the budget; call it after each epoch.

        Raises :class:`MeterError` if there is an energy budget and a meter was lost.
        """
        reading, budget = self._window.read_so_far(), self._budget
        self._costliest_s = max(self._costliest_s, reading.duration_s - self._spent_s)
        self._spent_s = reading.duration_s
        if budget.duration_s is not None and self._spent_s + self._costliest_s > budget.duration_s:
            return False
        if budget.energy_j is None:
            return True
        if reading.total is None or reading.problems:
            raise MeterError("the energy budget cannot be kept: a meter was lost")
        self._costliest_j = max(self._costliest_j, reading.total.energy_j - self._spent_j)
        self._spent_j = reading.total.energy_j
        return self._spent_j + self._costliest_j <= budget.energy_j


class EnergyLimit(contextlib.AbstractContextManager["EnergyLimit"]):
    """Forecasts a run's total energy after each epoch, and stops it above a limit.

    A context manager around the metered window. A meter that refreshes every 100 ms knows the
    energy of an epoch 100 ms later. The training only waits for it if there is a limit. Without
    a forecaster, the limit holds for the energy spent so far. ``on_forecast`` is called with the
    forecast after each epoch, maybe from another thread.
    """

    def __init__(
        self,
        protocol: Protocol,
        forecaster: RunForecaster | None,
        on_forecast: Callable[[EpochForecast], None] | None,
        stop_above_j: float | None,
    ) -> None:
        self._stages = {name: number for number, (name, _) in enumerate(protocol.stages)}
        self._most_epochs = protocol.most_epochs
        self._forecaster = forecaster
        self._on_forecast = on_forecast
        self.stop_above_j = stop_above_j
        self._epochs = 0
        self._ended_stages: list[int] = []
        self._end_s, self._end_j = [0.0], [0.0]
        self._background = ThreadPoolExecutor(max_workers=1, thread_name_prefix="greencv-forecast")
        self.stopped_by: EpochForecast | None = None
        """The forecast above the limit."""

    def __exit__(self, *error: object) -> None:
        """Drop the forecasts that are not ready."""
        self._background.shutdown(wait=True, cancel_futures=True)

    def is_exceeded(self, window: Window, stage: str) -> bool:
        """Forecast after an epoch; return whether the training will exceed the limit."""
        if self._forecaster is None and self.stop_above_j is None:
            return False
        self._epochs += 1
        number, end_s = self._stages[stage], window.part_end_s
        if self.stop_above_j is None:
            self._background.submit(self._forecast, window, number, end_s)
            return False
        forecast = self._forecast(window, number, end_s)
        if forecast is None or not forecast.exceeds(self.stop_above_j):
            return False
        self.stopped_by = forecast
        return True

    def _forecast(self, window: Window, stage: int, end_s: float) -> EpochForecast | None:
        # The training goes on whatever goes wrong with a forecast.
        with contextlib.suppress(Exception):
            reading = window.read_until(end_s)
            # Without all its meters, the reading is not the run's energy.
            if reading.total is None or reading.problems:
                return None
            self._ended_stages.append(stage)
            self._end_s.append(end_s)
            self._end_j.append(reading.total.energy_j)
            epochs = len(self._ended_stages)
            if epochs < self._epochs:
                return None  # the next epoch has ended meanwhile
            whole = self._whole()
            forecast = EpochForecast(epochs, self._most_epochs, self._end_j[-1], whole)
            if whole is not None and self._on_forecast is not None:
                with contextlib.suppress(Exception):
                    self._on_forecast(forecast)
            return forecast
        return None

    def _whole(self) -> Estimate | None:
        if self._forecaster is None:
            return None
        with contextlib.suppress(Exception):  # such as too little data to forecast from
            stages = np.array(self._ended_stages, dtype=np.int64)
            epochs = Epochs(stages, np.diff(self._end_s), np.diff(self._end_j))
            # Sums, so that rounding leaves no trace of the epoch in progress.
            spent = float(epochs.duration_s.sum()), float(epochs.energy_j.sum())
            whole = self._forecaster.predict(Observed(*spent, epochs))
            return whole if math.isfinite(whole.energy_j) else None
        return None
