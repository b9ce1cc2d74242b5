"""Expected duration and energy of runs, and the remaining time of a study."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from greencv_core.records.record import RunRecord
from greencv_core.study.plan import PlannedRun
from greencv_core.utils.energy import Provenance, weakest

PROBE_S = 1.0  # least duration of a probe of each stage, in seconds
SETUP_S = 1.0  # seconds from the start of a run's process to its training, where no record has them


@dataclass(frozen=True)
class ProbeResult:
    """Time and power of a few batches of a condition."""

    train_s_per_image: Mapping[str, float]
    """By stage."""
    validation_s_per_image: float
    power_w: float | None
    """Of all metered components; None where nothing could be metered."""
    provenance: Provenance | None
    around_s: float
    """From the start of the process to these batches, and from their end to the meters' reading."""
    gflops_per_image: float
    parameters: int
    batches: int
    """Number of training batches over all stages."""
    others_share: float = 0.0
    """Share (0 to 1) of the machine's CPUs that other processes used meanwhile."""


@dataclass(frozen=True)
class RunCost:
    """Expected cost of one run of a condition."""

    duration_s: float
    """Duration of the metered window."""
    energy_j: float | None
    """Energy of the metered window; None where nothing could be metered."""
    provenance: Provenance | None
    probe: ProbeResult | None = None
    """The probe behind it; None where finished runs are."""
    setup_s: float = 0.0
    """Time before and after the metered window."""
    at_most: bool = False
    """Whether it is the cost of all epochs of a run that may stop before the last one."""

    @property
    def total_s(self) -> float:
        """Duration of the whole run, with its set-up."""
        return self.duration_s + self.setup_s


@dataclass(frozen=True)
class StudyCost:
    """Expected cost of several runs."""

    duration_s: float
    energy_j: float | None
    """None where the energy of a run is unknown."""
    provenance: Provenance | None
    at_most: bool
    """Whether some runs may stop before the epochs that are counted here."""
    setup_s: float = 0.0
    """Part of the duration that is the set-up of runs."""


def total_cost(
    runs: Sequence[PlannedRun], costs: Mapping[str, RunCost], startup_s: float = 0.0
) -> StudyCost:
    """Return the cost of several runs, with ``startup_s`` seconds before the first one.

    Runs of conditions that have no cost count nothing.
    """
    known = [costs[run.condition] for run in runs if run.condition in costs]
    joules = [cost.energy_j for cost in known]
    provenances = [cost.provenance for cost in known if cost.provenance is not None]
    pauses_s = sum(run.protocol.cooldown_s for run in runs)
    return StudyCost(
        duration_s=startup_s + sum(cost.total_s for cost in known) + pauses_s,
        energy_j=None if None in joules or not joules else sum(j for j in joules if j is not None),
        provenance=weakest(provenances) if provenances else None,
        at_most=any(cost.at_most for cost in known),
        setup_s=sum(cost.setup_s for cost in known),
    )


def from_history(records: Sequence[RunRecord]) -> RunCost:
    """Return the median cost of a condition's finished runs."""
    durations_s = [record.duration_s for record in records if record.duration_s]
    totals = [record.total for record in records if record.total and record.complete]
    joules = [total.energy_j for total in totals if total.energy_j is not None]
    parts = [part.provenance for total in totals for part in total.components.values()]
    return RunCost(
        duration_s=statistics.median(durations_s),
        energy_j=statistics.median(joules) if joules else None,
        provenance=weakest(parts) if parts else None,
        setup_s=statistics.median(record.setup_s or SETUP_S for record in records),
    )


def from_probe(run: PlannedRun, probe: ProbeResult) -> RunCost:
    """Extrapolate a run's cost from a probe: all of its epochs, at the speed of these batches."""
    stages = run.protocol.stages
    window_s = sum(stage.epochs * epoch_s(run, probe, name) for name, stage in stages)
    return RunCost(
        duration_s=window_s,
        energy_j=None if probe.power_w is None else probe.power_w * window_s,
        provenance=probe.provenance,
        probe=probe,
        setup_s=probe.around_s,
        at_most=run.protocol.may_stop_early,
    )


def extrapolate(
    run: PlannedRun, runs: Sequence[PlannedRun], known: Mapping[str, RunCost]
) -> RunCost | None:
    """Extrapolate a run's cost from other conditions; None where no cost is known.

    The logarithms of the known costs are fitted with one term for each architecture and one for
    each environment (least squares of least norm: a term that no known condition has counts as the
    mean).

    ``known`` are costs by condition, and ``runs`` are of all conditions.
    """
    conditions = {other.condition: other for other in runs if other.condition in known}.values()
    if not conditions:
        return None
    costs = [known[other.condition] for other in conditions]
    terms = sorted({term for other in (*conditions, run) for term in _terms(other)})

    def row(planned: PlannedRun) -> list[float]:
        return [1.0, *(float(term in _terms(planned)) for term in terms)]

    design = np.array([row(other) for other in conditions])

    def fit(values: Sequence[float]) -> float:
        logs = np.log(values)
        fitted = np.linalg.lstsq(design, logs - logs.mean(), rcond=None)[0]
        return float(np.exp(logs.mean() + np.array(row(run)) @ fitted))

    provenances = [cost.provenance for cost in costs if cost.provenance is not None]
    joules = [cost.energy_j for cost in costs if cost.energy_j]
    metered = len(joules) == len(costs)
    return RunCost(
        duration_s=fit([cost.duration_s for cost in costs]),
        energy_j=fit(joules) if metered else None,
        provenance=weakest(provenances) if metered else None,
        setup_s=statistics.median(cost.setup_s for cost in costs),
        at_most=any(cost.at_most for cost in costs),
    )


def _terms(run: PlannedRun) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("architecture", run.architecture), ("environment", run.environment.name)


def epoch_s(run: PlannedRun, probe: ProbeResult, stage: str) -> float:
    """Return the duration of a stage's epoch, training and validation, at a probe's speed."""
    data, batch_size = run.dataset, run.protocol.batch_size
    trained = data.train_images // batch_size * batch_size
    validation_s = data.validation_images * probe.validation_s_per_image
    return trained * probe.train_s_per_image[stage] + validation_s


class RemainingTime:
    """Remaining time of a study: expected seconds a condition, corrected by the finished runs."""

    def __init__(self, runs: Sequence[PlannedRun], expected_s: dict[str, float]) -> None:
        self._left = list(runs)
        self._expected_s = expected_s
        self._actual_s: dict[str, list[float]] = {}

    def learn(self, run: PlannedRun, seconds: float) -> None:
        """Take the actual duration of a run into account."""
        self._left.remove(run)
        self._actual_s.setdefault(run.condition, []).append(seconds)

    @property
    def runs_left(self) -> int:
        """Number of runs that are not finished."""
        return len(self._left)

    def remaining_s(self) -> float:
        """Return the expected seconds of the unfinished runs."""
        done = [(c, s) for c, all_s in self._actual_s.items() for s in all_s]
        expected_s = sum(self._expected_s.get(condition, 0.0) for condition, _ in done)
        ratio = sum(s for _, s in done) / expected_s if expected_s else 1.0
        return sum(self._one(run.condition, ratio) + run.protocol.cooldown_s for run in self._left)

    def _one(self, condition: str, ratio: float) -> float:
        if condition in self._actual_s:
            return statistics.median(self._actual_s[condition])
        return self._expected_s.get(condition, SETUP_S) * ratio
