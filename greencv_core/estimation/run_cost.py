"""What runs are expected to take, before they start and while they go on."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from greencv_core.records.record import RunRecord
from greencv_core.study.plan import PlannedRun
from greencv_core.utils.energy import Provenance, weakest

PROBE_S = 1.0
"""How long the batches of each stage of a condition are timed, at least."""
START_S = 1.0
"""Seconds from the start of a run's process to its training, where no record tells."""


@dataclass(frozen=True)
class ProbeResult:
    """What a few batches of a condition took."""

    train_s_per_image: Mapping[str, float]
    """By stage."""
    validation_s_per_image: float
    power_w: float | None
    """Of all that was metered; None where nothing could be."""
    provenance: Provenance | None
    around_s: float
    """From the start of the process to these batches, and from their end to the meters' reading."""
    gflops_per_image: float
    parameters: int
    batches: int
    """Trained on, over all stages."""


@dataclass(frozen=True)
class RunCost:
    """What one run of a condition is expected to take: at most, where it may stop early."""

    duration_s: float
    """The whole run, with what comes before and after the metered window."""
    energy_j: float | None
    """Of the metered window; None where nothing could be metered."""
    provenance: Provenance | None
    probe: ProbeResult | None = None
    """The few batches that told it; None where finished runs did."""


@dataclass(frozen=True)
class StudyCost:
    """What several runs are expected to take together."""

    duration_s: float
    energy_j: float | None
    """None where it is unknown of a run."""
    provenance: Provenance | None
    at_most: bool
    """Whether runs may stop before their last epoch."""


def total_cost(
    runs: Sequence[PlannedRun], expected: Mapping[str, RunCost], before_s: float = 0.0
) -> StudyCost:
    """Return what runs take together, with ``before_s`` seconds before the first.

    Those of conditions that could not be timed count nothing.
    """
    known = [expected[run.condition] for run in runs if run.condition in expected]
    joules = [one.energy_j for one in known]
    provenances = [one.provenance for one in known if one.provenance is not None]
    pauses_s = sum(run.protocol.cooldown_s for run in runs)
    return StudyCost(
        duration_s=before_s + sum(one.duration_s for one in known) + pauses_s,
        energy_j=None if None in joules or not joules else sum(j for j in joules if j is not None),
        provenance=weakest(provenances) if provenances else None,
        at_most=any(run.protocol.may_stop_early for run in runs),
    )


def from_history(records: Sequence[RunRecord]) -> RunCost:
    """Return what one run took before: medians of its condition's finished runs."""
    durations_s = [r.duration_s + (r.setup_s or START_S) for r in records if r.duration_s]
    totals = [r.total for r in records if r.total and r.complete and r.total.energy_j is not None]
    joules = [total.energy_j for total in totals if total.energy_j is not None]
    parts = [part.provenance for total in totals for part in total.components.values()]
    return RunCost(
        duration_s=statistics.median(durations_s),
        energy_j=statistics.median(joules) if joules else None,
        provenance=weakest(parts) if parts else None,
    )


def from_probe(run: PlannedRun, probe: ProbeResult) -> RunCost:
    """Return what one run will take if all of it goes on as a few batches of it."""
    stages = run.protocol.stages
    window_s = sum(stage.epochs * epoch_s(run, probe, name) for name, stage in stages)
    return RunCost(
        duration_s=window_s + probe.around_s,
        energy_j=None if probe.power_w is None else probe.power_w * window_s,
        provenance=probe.provenance,
        probe=probe,
    )


def extrapolate(
    run: PlannedRun, runs: Sequence[PlannedRun], known: Mapping[str, RunCost]
) -> RunCost | None:
    """Return what one run of a condition that nothing tells of is likely to take.

    The known conditions' logarithms are fitted by one term for each architecture and one for each
    environment, by least squares; of the solutions the one of least norm, so that what no known
    condition shares counts as the mean. None where nothing is known.

    Parameters
    ----------
    runs
        Of all conditions.
    known
        By condition.
    """
    conditions = {other.condition: other for other in runs if other.condition in known}.values()
    if not conditions:
        return None
    told = [known[other.condition] for other in conditions]
    terms = sorted({term for other in (*conditions, run) for term in _terms(other)})

    def row(of: PlannedRun) -> list[float]:
        return [1.0, *(float(term in _terms(of)) for term in terms)]

    design = np.array([row(other) for other in conditions])

    def estimate(values: Sequence[float]) -> float:
        logs = np.log(values)
        fitted = np.linalg.lstsq(design, logs - logs.mean(), rcond=None)[0]
        return float(np.exp(logs.mean() + np.array(row(run)) @ fitted))

    words = [one.provenance for one in told if one.provenance is not None]
    joules = [one.energy_j for one in told if one.energy_j]
    metered = len(joules) == len(told)
    return RunCost(
        duration_s=estimate([one.duration_s for one in told]),
        energy_j=estimate(joules) if metered else None,
        provenance=weakest(words) if metered else None,
    )


def _terms(run: PlannedRun) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("architecture", run.architecture), ("environment", run.environment.name)


def epoch_s(run: PlannedRun, probe: ProbeResult, stage: str) -> float:
    """Return how long an epoch of a stage lasts, training and validation, as a probe tells it."""
    data, batch_size = run.dataset, run.protocol.batch_size
    trained = data.train_images // batch_size * batch_size
    validated_s = data.validation_images * probe.validation_s_per_image
    return trained * probe.train_s_per_image[stage] + validated_s


class Forecast:
    """Remaining time: expected seconds a condition, corrected by how the past ones turned out."""

    def __init__(self, runs: Sequence[PlannedRun], expected_s: dict[str, float]) -> None:
        self._left = list(runs)
        self._expected_s = expected_s
        self._actual_s: dict[str, list[float]] = {}

    def learn(self, run: PlannedRun, seconds: float) -> None:
        """Take into account how long a run took."""
        self._left.remove(run)
        self._actual_s.setdefault(run.condition, []).append(seconds)

    @property
    def runs_left(self) -> int:
        """How many runs are not made yet."""
        return len(self._left)

    def remaining_s(self) -> float:
        """Return the seconds that the runs not made yet will take."""
        done = [(c, s) for c, all_s in self._actual_s.items() for s in all_s]
        forecast_s = sum(self._expected_s.get(condition, 0.0) for condition, _ in done)
        ratio = sum(s for _, s in done) / forecast_s if forecast_s else 1.0
        return sum(self._one(run.condition, ratio) + run.protocol.cooldown_s for run in self._left)

    def _one(self, condition: str, ratio: float) -> float:
        if condition in self._actual_s:
            return statistics.median(self._actual_s[condition])
        return self._expected_s.get(condition, START_S) * ratio
