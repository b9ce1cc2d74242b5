"""Forecast one run's energy and duration, with intervals: before it starts and after each epoch.

The Bayesian projection is imported where it is used: it takes seconds to load, and most commands
do without.
"""

from __future__ import annotations

import contextlib
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from greencv_core.estimation.from_records import describe_task, read_trajectory
from greencv_core.estimation.run_cost import ProbeResult, RunCost, epoch_s
from greencv_core.estimation.trajectory import (
    NO_ORACLE,
    NOTHING_OBSERVED,
    Epochs,
    Observed,
    TrainingTask,
    Trajectory,
)
from greencv_core.records.record import ForecastRecord, RunRecord
from greencv_core.records.store import Damaged
from greencv_core.study.plan import PlannedRun
from greencv_core.utils.errors import NotEnoughDataError
from greencv_core.utils.text import joules, joules_between

if TYPE_CHECKING:
    from greencv_core.estimation.base import Estimate
    from greencv_core.estimation.bayesian.projection import Projection

NAN = float("nan")


@dataclass(frozen=True)
class Size:
    """Size of an architecture for images of one kind."""

    gflops_per_image: float
    parameters: int | None


@dataclass(frozen=True)
class RunForecaster:
    """Predicts one run from what finished runs taught; it is sent to the training process."""

    projection: Projection
    task: TrainingTask

    def predict(self, observed: Observed) -> Estimate:
        """Predict the whole run from what has been measured of it.

        :class:`NotEnoughDataError` is raised if there is no finished run, and neither an epoch nor
        a probe of this one.
        """
        return self.projection.predict(self.task, observed, NO_ORACLE)

    def predict_before(self) -> Estimate:
        """Predict the run before it starts; errors as of :meth:`predict`."""
        return self.predict(NOTHING_OBSERVED)


@dataclass(frozen=True)
class EpochForecast:
    """Forecast of a run after some of its epochs."""

    epoch: int
    most_epochs: int
    spent_j: float
    whole: Estimate | None
    """None where there is nothing to forecast from."""

    def exceeds(self, limit_j: float) -> bool:
        """Return whether the lower end of the forecast, or the energy spent, exceeds a limit."""
        return self._least_j > limit_j

    def left_in_words(self) -> str:
        """Return the energy still to come: ``120 J (110 to 135) to go``; empty if unknown."""
        if self.whole is None:
            return ""
        left_j = max(0.0, self.whole.energy_j - self.spent_j)
        ends_j = [max(0.0, end - self.spent_j) for end in (self.whole.low_j, self.whole.high_j)]
        interval = joules_between(*ends_j, like_j=left_j)
        return f"{joules(left_j)} ({interval}) to go"

    def record(self, limit_j: float) -> ForecastRecord:
        """Return the part of the record of a run that was stopped by this forecast."""
        return ForecastRecord(
            energy_j=None if self.whole is None else self.whole.energy_j,
            low_j=self._least_j,
            high_j=None if self.whole is None else self.whole.high_j,
            after_epoch=self.epoch,
            limit_j=limit_j,
        )

    def reason(self, limit_j: float) -> str:
        """Return why a run was stopped at an energy limit."""
        if self.whole is None or self.spent_j > limit_j:
            why = f"{joules(self.spent_j)} spent already"
        else:
            whole_j = self.whole.energy_j
            interval = joules_between(self.whole.low_j, self.whole.high_j, like_j=whole_j)
            unit = joules(whole_j).rpartition(" ")[2]
            why = f"forecast {joules(whole_j)} (95% interval {interval} {unit})"
        after = f"stopped after epoch {self.epoch} of {self.most_epochs}"
        return f"{after}: {why}, above {joules(limit_j)}"

    @property
    def _least_j(self) -> float:
        return self.spent_j if self.whole is None else max(self.spent_j, self.whole.low_j)


@dataclass(frozen=True)
class RunHistory:
    """What the finished runs of a store teach about other runs."""

    projection: Projection
    runs: int
    """Number of runs learnt from."""
    architectures: int
    """Number of their architectures."""
    sizes: Mapping[str, Size]
    idle_power_w: Mapping[str, float]
    """Median idle power of all metered components, by the task's environment."""

    @classmethod
    def from_records(cls, records: Iterable[RunRecord | Damaged]) -> RunHistory:
        """Learn from the finished records of a store that have their whole energy."""
        from greencv_core.estimation.bayesian.projection import Projection

        trajectories: list[Trajectory] = []
        sizes: dict[str, Size] = {}
        for record in records:
            if isinstance(record, Damaged):
                continue
            if record.gflops_per_image is not None:
                size = Size(record.gflops_per_image, record.parameters)
                sizes[_size_key(record.architecture, record.dataset)] = size
            trajectory = read_trajectory(record)
            if trajectory is not None:
                trajectories.append(trajectory)
        projection = Projection()
        projection.fit(trajectories)
        idle_w: dict[str, list[float]] = {}
        for each in trajectories:
            idle_w.setdefault(each.task.environment, []).append(each.task.idle_power_w)
        architectures = {each.task.architecture for each in trajectories}
        idle_power_w = {name: statistics.median(watts) for name, watts in idle_w.items()}
        return cls(projection, len(trajectories), len(architectures), sizes, idle_power_w)

    def size(self, run: PlannedRun, probe: ProbeResult | None = None) -> Size | None:
        """Return the size of a run's architecture from records or a probe; None if unknown."""
        known = self.sizes.get(_size_key(run.architecture, run.dataset.model_dump(mode="json")))
        if known is None and probe is not None:
            return Size(probe.gflops_per_image, probe.parameters)
        return known

    def forecaster(
        self,
        run: PlannedRun,
        size: Size,
        *,
        idle_power_w: float | None = None,
        power_limit_w: float = NAN,
        probe: ProbeResult | None = None,
    ) -> RunForecaster:
        """Return the forecaster of a planned run.

        ``idle_power_w`` is that of all metered components; of earlier runs of the environment if
        None. ``power_limit_w`` is the GPU's; NaN where it is unknown, and for a CPU.
        """
        task = describe_task(
            run,
            gflops_per_image=size.gflops_per_image,
            parameters=size.parameters,
            power_limit_w=power_limit_w,
            probe_epochs=None if probe is None else _probed_epochs(run, probe),
        )
        if idle_power_w is None:
            idle_power_w = self.idle_power_w.get(task.environment, 0.0)
        return RunForecaster(self.projection, replace(task, idle_power_w=idle_power_w))

    def forecasters(
        self,
        runs: Sequence[PlannedRun],
        costs: Mapping[str, RunCost],
        power_limit_w: Mapping[str, float],
        idle_power_w: Mapping[str, float] | None = None,
    ) -> dict[str, RunForecaster]:
        """Return a forecaster by condition, where the architecture's size is known.

        ``costs`` are by condition, and their probes also have the architecture's size; powers are
        by the name of the environment, see :meth:`forecaster`.
        """
        idle_power_w = idle_power_w or {}
        probes = {name: cost.probe for name, cost in costs.items() if cost.probe is not None}
        sizing = {r.architecture: probes[r.condition] for r in runs if r.condition in probes}
        forecasters = {}
        for condition, run in {run.condition: run for run in runs}.items():
            probe = probes.get(condition)
            size = self.size(run, probe or sizing.get(run.architecture))
            if size is not None:
                forecasters[condition] = self.forecaster(
                    run,
                    size,
                    idle_power_w=idle_power_w.get(run.environment.name),
                    power_limit_w=power_limit_w[run.environment.name],
                    probe=probe,
                )
        return forecasters


def predict_costs(
    costs: Mapping[str, RunCost], forecasters: Mapping[str, RunForecaster]
) -> dict[str, RunCost]:
    """Return costs by condition with the energy and duration that their forecasters predict.

    A cost stays as it is where no energy is metered, or there is nothing to predict from.
    """
    predicted = dict(costs)
    for name, cost in costs.items():
        if name in forecasters and cost.energy_j is not None:
            with contextlib.suppress(NotEnoughDataError):
                whole = forecasters[name].predict_before()
                predicted[name] = replace(
                    cost, duration_s=whole.duration_s, energy_j=whole.energy_j, at_most=False
                )
    return predicted


def _probed_epochs(run: PlannedRun, probe: ProbeResult) -> Epochs | None:
    """Return an epoch of each stage at a probe's speed; None where it metered no energy."""
    if probe.power_w is None:
        return None
    seconds = np.array([epoch_s(run, probe, name) for name, _ in run.protocol.stages])
    return Epochs(np.arange(len(seconds)), seconds, probe.power_w * seconds)


def _size_key(architecture: str, dataset: Mapping[str, object]) -> str:
    """Return the key of a size: the architecture, the images' size and their classes."""
    values = [dataset.get(key) for key in ("name", "classes", "image_size")]
    return json.dumps([architecture, *values])
