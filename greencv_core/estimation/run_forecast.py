"""What one run will take in all, with intervals: before it begins, and after each of its epochs.

The module that projects is imported where it is used: it takes seconds to load, and most commands
do without.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from greencv_core.estimation.run_cost import ProbeResult, epoch_s
from greencv_core.records.record import ForecastRecord, RunRecord
from greencv_core.records.store import Damaged
from greencv_core.study.plan import PlannedRun
from greencv_core.utils.text import joules, joules_between

if TYPE_CHECKING:
    from greencv_core.estimation.base import Estimate
    from greencv_core.estimation.bayesian.projection import Projection
    from greencv_core.estimation.trajectory import Epochs, Observed, TrainingTask, Trajectory

NAN = float("nan")


@dataclass(frozen=True)
class Size:
    """What an architecture is for images of one kind."""

    gflops_per_image: float
    parameters: int | None


@dataclass(frozen=True)
class RunForecaster:
    """A run's task, and what finished runs taught; it travels to the process that trains."""

    projection: Projection
    task: TrainingTask

    def predict(self, seen: Observed) -> Estimate:
        """Return what the whole run will take, from what has been measured of it until now.

        Raises
        ------
        NotEnoughDataError
            No run taught anything, and no epoch or batch of this one tells.
        """
        from greencv_core.estimation.trajectory import NO_ORACLE

        return self.projection.predict(self.task, seen, NO_ORACLE)

    def predict_before(self) -> Estimate:
        """Return what the run will take, before it begins; errors as of :meth:`predict`."""
        from greencv_core.estimation.trajectory import NOTHING_OBSERVED

        return self.predict(NOTHING_OBSERVED)


@dataclass(frozen=True)
class EpochForecast:
    """A run after some of its epochs: what it took, and what it is forecast to take in all."""

    epoch: int
    most_epochs: int
    spent_j: float
    whole: Estimate | None
    """None where nothing tells."""

    def exceeds(self, limit_j: float) -> bool:
        """Return whether even the lower end of the forecast, or what is spent, exceeds a limit."""
        return self._least_j > limit_j

    def left_in_words(self) -> str:
        """Say what is still to come: ``120 J (110 to 135) to go``; empty where it is not known."""
        if self.whole is None:
            return ""
        left_j = max(0.0, self.whole.energy_j - self.spent_j)
        ends_j = [max(0.0, end - self.spent_j) for end in (self.whole.low_j, self.whole.high_j)]
        interval = joules_between(*ends_j, like_j=left_j)
        return f"{joules(left_j)} ({interval}) to go"

    def record(self, limit_j: float) -> ForecastRecord:
        """Return what a record keeps of it, where it ended a run."""
        whole = self.whole
        return ForecastRecord(
            energy_j=None if whole is None else whole.energy_j,
            low_j=self._least_j,
            high_j=None if whole is None else whole.high_j,
            after_epoch=self.epoch,
            limit_j=limit_j,
        )

    def reason(self, limit_j: float) -> str:
        """Say why a run was stopped that is not to take more than a limit."""
        if self.whole is None or self.spent_j > limit_j:
            why = f"{joules(self.spent_j)} spent already"
        else:
            whole_j = self.whole.energy_j
            interval = joules_between(self.whole.low_j, self.whole.high_j, like_j=whole_j)
            unit = joules(whole_j).rpartition(" ")[2]
            why = f"forecast {joules(whole_j)} (95 % interval {interval} {unit})"
        after = f"stopped after epoch {self.epoch} of {self.most_epochs}"
        return f"{after}: {why}, above {joules(limit_j)}"

    @property
    def _least_j(self) -> float:
        return self.spent_j if self.whole is None else max(self.spent_j, self.whole.low_j)


@dataclass(frozen=True)
class RunHistory:
    """What the finished runs of a store teach; one for all the runs of a study."""

    projection: Projection
    runs: int
    """How many taught it."""
    architectures: int
    """How many those are of."""
    sizes: Mapping[str, Size]
    idle_power_w: Mapping[str, float]
    """Median of what was metered, by the task's environment."""

    @classmethod
    def from_records(cls, records: Iterable[RunRecord | Damaged]) -> RunHistory:
        """Learn from a store's records, those that are finished with their whole energy."""
        from greencv_core.estimation.bayesian.projection import Projection
        from greencv_core.estimation.from_records import read_trajectory

        known: list[Trajectory] = []
        sizes: dict[str, Size] = {}
        for record in records:
            if isinstance(record, Damaged):
                continue
            if record.gflops_per_image is not None:
                size = Size(record.gflops_per_image, record.parameters)
                sizes[_kind(record.architecture, record.dataset)] = size
            one = read_trajectory(record)
            if one is not None:
                known.append(one)
        projection = Projection()
        projection.fit(known)
        idle_w: dict[str, list[float]] = {}
        for each in known:
            idle_w.setdefault(each.task.environment, []).append(each.task.idle_power_w)
        return cls(
            projection=projection,
            runs=len(known),
            architectures=len({each.task.architecture for each in known}),
            sizes=sizes,
            idle_power_w={name: statistics.median(watts) for name, watts in idle_w.items()},
        )

    def size(self, run: PlannedRun, probe: ProbeResult | None = None) -> Size | None:
        """Return a run's size, as records tell it, or a probe; None where neither does."""
        known = self.sizes.get(_kind(run.architecture, run.dataset.model_dump(mode="json")))
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
        """Return a planned run's forecaster.

        Parameters
        ----------
        idle_power_w
            Of all that is metered; None for what earlier runs of the environment met.
        power_limit_w
            The GPU's; NaN where it is not known, and of a CPU.
        probe
            A few batches of the run, where some were tried.
        """
        from greencv_core.estimation.from_records import describe_task

        planned = describe_task(
            run,
            gflops_per_image=size.gflops_per_image,
            parameters=size.parameters,
            power_limit_w=power_limit_w,
            probe_epochs=None if probe is None else _rehearsed(run, probe),
        )
        if idle_power_w is None:
            idle_power_w = self.idle_power_w.get(planned.environment, 0.0)
        planned = replace(planned, idle_power_w=idle_power_w)
        return RunForecaster(self.projection, planned)


def _rehearsed(run: PlannedRun, probe: ProbeResult) -> Epochs | None:
    """Return an epoch of each stage as a probe tells it; None where it metered no energy."""
    import numpy as np

    from greencv_core.estimation.trajectory import Epochs

    if probe.power_w is None:
        return None
    seconds = np.array([epoch_s(run, probe, name) for name, _ in run.protocol.stages])
    return Epochs(np.arange(len(seconds)), seconds, probe.power_w * seconds)


def _kind(architecture: str, dataset: Mapping[str, object]) -> str:
    """Return what decides a size: the architecture, the images' size and their classes."""
    asked = [dataset.get(key) for key in ("name", "classes", "image_size")]
    return json.dumps([architecture, *asked])
