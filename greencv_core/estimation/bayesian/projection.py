"""The online Bayesian projection: a prediction before training, updated by each measured epoch.

The energy of an epoch is idle power times its duration, plus the dynamic energy of its operations.
Time and dynamic energy per operation are levels of the run in a stage of training. Before the run,
they are predicted from other runs by :mod:`~greencv_core.estimation.bayesian.random_effects`; then
every epoch is an observation of its stage's level and, by their correlation, of later stages.
The number of remaining epochs is predicted by
:mod:`~greencv_core.estimation.bayesian.early_stopping`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from greencv_core.analysis.result import NotEnoughDataError
from greencv_core.estimation.base import QUANTILES, TAILS, Estimate
from greencv_core.estimation.bayesian.early_stopping import EpochCountModel, fit_epoch_counts
from greencv_core.estimation.bayesian.random_effects import (
    DRAWS,
    SEED,
    Cell,
    Design,
    LevelModel,
    fit_level_model,
)
from greencv_core.estimation.bayesian.state import DRAWS_PER_COMPONENT, LevelState
from greencv_core.estimation.bayesian.variability import (
    PartialEpochs,
    Variability,
    estimate_partial_epochs,
    estimate_variability,
    late_mean,
    log_mean,
)
from greencv_core.estimation.trajectory import (
    Epochs,
    Floats,
    Integers,
    Observed,
    Oracle,
    TrainingTask,
    Trajectory,
)

LEAST_DYNAMIC = 0.05
"""Smallest dynamic share of the power. Idle power may be overstated, or power may not depend on the
load, for example if it is estimated by a constant; idle power is then reduced."""
ORACLE_SD = 0.003
"""Standard deviation of the logarithm of a known duration, which includes pauses between epochs."""
PROBE_SD = 0.1
"""Standard deviation of the logarithm of the epoch time predicted from a probe: shared machines
vary by a tenth from minute to minute."""
PROBE_POWER_SD = 0.03
"""Standard deviation of the logarithm of the power in a probe, which varies less."""
LINEARISATIONS = 3
"""Number of linearisations of the sum of the stages' times, each around a better point."""


class Projection:
    """The online Bayesian projection; see :class:`greencv_core.estimation.base.Estimator`.

    Fitted on no training, it predicts only once an epoch has been measured or probed.
    """

    name = "Bayesian projection"
    _fitted: _Fitted | None = None
    _known: tuple[TrainingTask, LevelState]
    """What is known whatever the oracle: see :meth:`_observe`."""

    def fit(self, trajectories: Sequence[Trajectory]) -> None:
        """Learn from trainings, possibly none."""
        self._fitted = _fit(trajectories)
        self._priors: dict[tuple[object, ...], tuple[LevelState, LevelState]] = {}
        self._lengths: dict[tuple[object, ...], tuple[Integers, Mapping[str, object]]] = {}
        # The last question may be asked again with another oracle.
        self._asked: tuple[TrainingTask | None, Observed | None] = (None, None)

    def predict(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> Estimate:
        """Predict the cost of a training.

        :class:`NotEnoughDataError` is raised if there is neither a fitted training nor an observed
        or probed epoch.
        """
        fitted = self._fitted
        assert fitted is not None, "fit() comes first"
        if not fitted.trainings and not len(observed.epochs) and task.probe_epochs is None:
            raise NotEnoughDataError("no finished training, epoch or batch to predict from")
        rng = np.random.default_rng(SEED)
        if self._asked[0] is not task or self._asked[1] is not observed:
            self._asked, self._known = (task, observed), self._observe(task, observed, fitted)
        task, state = self._known
        left = self._sample_epochs_left(task, observed, oracle, fitted.epoch_counts, rng)
        spent_s, spent_j = _until_last_epoch(observed)
        if observed.duration_s <= observed.before_s:  # the first epoch has not started
            wait_s = max(0.0, fitted.before_s - observed.duration_s)
            spent_s, spent_j = spent_s + wait_s, spent_j + task.idle_power_w * wait_s
        left_s = None if oracle.duration_s is None else max(0.0, oracle.duration_s - spent_s)
        if left_s and oracle.epochs is not None:
            state = _observe_time_left(state, task, left[0], left_s)
        weights, levels = state.sample(rng)
        n = len(task.stages)
        each = left[rng.integers(0, len(left), len(levels))] * _tflop(task)
        dynamic_j = (each * np.exp(levels[:, :n])).sum(axis=1)
        times_s = (each * np.exp(levels[:, n:])).sum(axis=1)
        if left_s is not None:
            times_s = np.full_like(times_s, left_s)
        energies_j = spent_j + task.idle_power_w * times_s + dynamic_j
        energies_j = np.maximum(energies_j, observed.energy_j)
        durations_s = np.maximum(spent_s + times_s, observed.duration_s)
        return _summarise(energies_j, durations_s, weights)

    def _observe(
        self, task: TrainingTask, observed: Observed, fitted: _Fitted
    ) -> tuple[TrainingTask, LevelState]:
        """Return the task with its idle power limited, and the levels after all measurements."""
        measured = [epochs for epochs in (observed.epochs, task.probe_epochs) if epochs is not None]
        least_w = fitted.least_power_w.get(task.environment, np.inf)
        task = _limit_idle_power(task, min([least_w, *map(_least_power_w, measured)]))
        state = LevelState.join(*self._prior(task, fitted))
        if task.probe_epochs is not None:
            _observe_probe(state, task, task.probe_epochs)
        _observe_epochs(state, task, observed, fitted)
        _observe_epoch_in_progress(state, task, observed, fitted)
        return task, state

    def _prior(self, task: TrainingTask, fitted: _Fitted) -> tuple[LevelState, LevelState]:
        key = (task.architecture, task.environment, task.setting, task.gflops_per_image,
               tuple(stage.name for stage in task.stages))  # fmt: skip
        if key not in self._priors:
            design = Design.from_cells([_cell(task, stage) for stage in range(len(task.stages))])
            self._priors[key] = (
                _run_prior(fitted.energy, design, fitted.energy_variability),
                _run_prior(fitted.time, design, fitted.time_variability),
            )
        return self._priors[key]

    def _sample_epochs_left(
        self,
        task: TrainingTask,
        observed: Observed,
        oracle: Oracle,
        epoch_counts: EpochCountModel,
        rng: np.random.Generator,
    ) -> Floats:
        """Return (draws, stages): numbers of remaining epochs. The generator is a new one."""
        completed = np.array([(observed.epochs.stage == i).sum() for i in range(len(task.stages))])
        most = np.array([stage.most_epochs for stage in task.stages], dtype=float)
        first = np.cumsum(most) - most
        if oracle.epochs is not None:
            totals = np.array([oracle.epochs])
        else:
            plan, length = task.stages[-1], int(completed[-1])
            key = (task.architecture, plan.fewest_epochs, plan.most_epochs, length)
            if key not in self._lengths:
                drawn = epoch_counts.sample(task, length, DRAWS * DRAWS_PER_COMPONENT, rng)
                self._lengths[key] = drawn, rng.bit_generator.state
            drawn, rng.bit_generator.state = self._lengths[key]
            totals = first[-1] + drawn
        # Epochs fill the stages in order; those beyond the plan belong to the last one.
        most[-1] = np.inf
        left: Floats = np.maximum(np.clip(totals[:, None] - first, 0, most) - completed, 0)
        return left


@dataclass(frozen=True)
class _Fitted:
    trainings: int
    energy: LevelModel
    """Logarithm of dynamic energy, J per TFLOP."""
    time: LevelModel
    """Logarithm of time, s per TFLOP."""
    energy_variability: Variability
    time_variability: Variability
    partial: PartialEpochs
    epoch_counts: EpochCountModel
    least_power_w: Mapping[str, float]
    """Lowest mean power of a stage of a training, by environment."""
    before_s: float
    """Median time before the first epoch."""


def _fit(trajectories: Sequence[Trajectory]) -> _Fitted:
    runs, cells, energy, time = [], [], [], []
    joules, seconds = [], []
    least_w: dict[str, float] = {}
    for trajectory in trajectories:
        name = trajectory.task.environment
        least_w[name] = min(least_w.get(name, np.inf), _least_power_w(trajectory.epochs))
    for trajectory in trajectories:
        task = _limit_idle_power(trajectory.task, least_w[trajectory.task.environment])
        for stage in range(len(task.stages)):
            epochs = trajectory.epochs.of_stage(stage)
            if not len(epochs):
                continue
            runs.append(trajectory.run_id)
            cells.append(_cell(task, stage))
            levels = _levels(task, stage, epochs)
            energy.append(log_mean(levels[0]))
            time.append(log_mean(levels[1]))
            joules.append(np.log(epochs.energy_j))
            seconds.append(np.log(epochs.duration_s))
    energies, times = np.array(energy), np.array(time)
    energy_variability = estimate_variability(runs, cells, energies, joules)
    time_variability = estimate_variability(runs, cells, times, seconds)
    before_s = [trajectory.before_s for trajectory in trajectories]
    return _Fitted(
        trainings=len(trajectories),
        energy=_fit_condition_levels(cells, energies, energy_variability),
        time=_fit_condition_levels(cells, times, time_variability),
        energy_variability=energy_variability,
        time_variability=time_variability,
        partial=estimate_partial_epochs(trajectories),
        epoch_counts=fit_epoch_counts(trajectories),
        least_power_w=least_w,
        before_s=float(np.median(before_s)) if before_s else 0.0,
    )


def _levels(task: TrainingTask, stage: int, epochs: Epochs) -> tuple[Floats, Floats]:
    """Return log dynamic energy and log time per TFLOP of a stage's epochs."""
    tflop = task.stages[stage].tflop_per_epoch
    return np.log(_dynamic_j(task, epochs) / tflop), np.log(epochs.duration_s / tflop)


def _least_power_w(epochs: Epochs) -> float:
    """Return the lowest mean power of a stage; infinite without epochs."""
    parts = [epochs.of_stage(stage) for stage in np.unique(epochs.stage)]
    powers_w = [float(part.energy_j.sum() / part.duration_s.sum()) for part in parts]
    return min(powers_w, default=float("inf"))


def _limit_idle_power(task: TrainingTask, power_w: float) -> TrainingTask:
    """Return the task with an idle power that leaves a dynamic share of ``power_w``."""
    return replace(task, idle_power_w=min(task.idle_power_w, (1 - LEAST_DYNAMIC) * power_w))


def _dynamic_j(task: TrainingTask, epochs: Epochs) -> Floats:
    above = epochs.energy_j - task.idle_power_w * epochs.duration_s
    return np.maximum(above, LEAST_DYNAMIC * epochs.energy_j)


def _cell(task: TrainingTask, stage: int) -> Cell:
    name = task.stages[stage].name
    log_gflops = float(np.log(task.gflops_per_image))
    return task.architecture, task.environment, task.setting, name, log_gflops


def _tflop(task: TrainingTask) -> Floats:
    return np.array([stage.tflop_per_epoch for stage in task.stages])


def _fit_condition_levels(
    cells: Sequence[Cell], levels: Floats, variability: Variability
) -> LevelModel:
    """Fit the random effects to the median of the runs in each cell."""
    groups: dict[Cell, list[float]] = {}
    for cell, level in zip(cells, levels, strict=True):
        groups.setdefault(cell, []).append(level)
    medians = np.array([np.median(some) for some in groups.values()])
    variances = np.array([variability.run_sd**2 / len(some) for some in groups.values()])
    return fit_level_model(Design.from_cells(list(groups)), medians, variances)


def _run_prior(model: LevelModel, design: Design, variability: Variability) -> LevelState:
    """Return the prior of a run's levels: its condition's levels and the run's deviation."""
    means, covariances = model.predict(design)
    n, shared = len(design), variability.stage_correlation
    own = variability.run_sd**2 * (shared * np.ones((n, n)) + (1 - shared) * np.eye(n))
    return LevelState(means, covariances + own, np.zeros(DRAWS))


def _observe_probe(state: LevelState, task: TrainingTask, probe_epochs: Epochs) -> None:
    n = len(task.stages)
    for stage in range(n):
        epochs = probe_epochs.of_stage(stage)
        if len(epochs):
            time = float(np.log(epochs.duration_s[0] / task.stages[stage].tflop_per_epoch))
            state.observe(_unit(2 * n, n + stage), time, PROBE_SD**2)
            _observe_power(state, task, stage, epochs, (0.0, PROBE_POWER_SD))


def _observe_power(
    state: LevelState, task: TrainingTask, stage: int, part: Epochs, error: tuple[float, float]
) -> None:
    """Update on dynamic power; shift and standard deviation in ``error`` are of metered power."""
    n = len(task.stages)
    dynamic_j = float(_dynamic_j(task, part)[0])
    shift, sd = (float(part.energy_j[0]) / dynamic_j * value for value in error)
    direction = _unit(2 * n, stage) - _unit(2 * n, n + stage)
    state.observe(direction, float(np.log(dynamic_j / part.duration_s[0])) + shift, sd**2)


def _observe_epochs(
    state: LevelState, task: TrainingTask, observed: Observed, fitted: _Fitted
) -> None:
    n = len(task.stages)
    for stage in range(n):
        epochs = observed.epochs.of_stage(stage)
        if not len(epochs):
            continue
        dynamic, duration = _levels(task, stage, epochs)
        # The errors are of metered energy, of which dynamic energy is a part.
        amplified = float((epochs.energy_j / _dynamic_j(task, epochs)).mean())
        shift, sd = fitted.energy_variability.remaining_error(len(epochs))
        shift, sd = amplified * shift, amplified * sd
        state.observe(_unit(2 * n, stage), late_mean(dynamic) + shift, sd**2)
        shift, sd = fitted.time_variability.remaining_error(len(epochs))
        state.observe(_unit(2 * n, n + stage), late_mean(duration) + shift, sd**2)


def _observe_epoch_in_progress(
    state: LevelState, task: TrainingTask, observed: Observed, fitted: _Fitted
) -> None:
    """Update on the power in an incomplete epoch."""
    spent_s, spent_j = _until_last_epoch(observed)
    passed_s, passed_j = observed.duration_s - spent_s, observed.energy_j - spent_j
    n = len(task.stages)
    ends = np.cumsum([stage.most_epochs for stage in task.stages])
    stage = int(np.searchsorted(ends, len(observed.epochs), side="right"))
    if stage == n or passed_s <= 0 or passed_j <= 0:
        return
    expected_s = np.exp(state.means[:, n + stage].mean()) * task.stages[stage].tflop_per_epoch
    error = fitted.partial.remaining_error(passed_s / expected_s)
    if error is None:
        return
    part = Epochs(np.array([stage]), np.array([passed_s]), np.array([passed_j]))
    _observe_power(state, task, stage, part, error)


def _observe_time_left(
    state: LevelState, task: TrainingTask, left: Floats, left_s: float
) -> LevelState:
    """Return the state updated on the known total time of the remaining epochs."""
    n, tflop = len(task.stages), _tflop(task)
    if not (left * tflop).any():
        return state
    around = state.means
    for _ in range(LINEARISATIONS):
        parts_s = left * tflop * np.exp(around[:, n:])
        total_s = parts_s.sum(axis=1)
        direction = np.concatenate([np.zeros_like(parts_s), parts_s / total_s[:, None]], axis=1)
        value = np.log(left_s) - np.log(total_s) + np.einsum("dp,dp->d", direction, around)
        after = replace(state, log_weights=state.log_weights.copy())
        after.observe(direction, value, ORACLE_SD**2)
        around = after.means
    return after


def _until_last_epoch(observed: Observed) -> tuple[float, float]:
    """Return time and energy up to the end of the last complete epoch."""
    spent_s, spent_j = observed.epochs.duration_s.sum(), observed.epochs.energy_j.sum()
    return observed.before_s + float(spent_s), observed.before_j + float(spent_j)


def _unit(size: int, index: int) -> Floats:
    vector = np.zeros(size)
    vector[index] = 1.0
    return vector


def _summarise(energies_j: Floats, durations_s: Floats, weights: Floats) -> Estimate:
    energy_j, joules = _point_and_quantiles(energies_j, weights)
    duration_s, seconds = _point_and_quantiles(durations_s, weights)
    (low_j, high_j), (low_s, high_s) = (
        [values[QUANTILES.index(tail)] for tail in TAILS] for values in (joules, seconds)
    )
    return Estimate(energy_j, low_j, high_j, duration_s, low_s, high_s, joules)


def _point_and_quantiles(values: Floats, weights: Floats) -> tuple[float, tuple[float, ...]]:
    """Return the point estimate with the least expected relative error, and the quantiles.

    It is the median of the values weighted by their inverse (Gneiting, "Making and evaluating point
    forecasts", 2011). For a very wide distribution it would be near 0: then the median is used.
    """
    order = np.argsort(values)
    values, weights = values[order], weights[order]
    quantiles = _weighted_quantiles(values, weights, QUANTILES)
    [point] = _weighted_quantiles(values, weights / values, (0.5,))
    low, middle, high = (quantiles[QUANTILES.index(q)] for q in (TAILS[0], 0.5, TAILS[1]))
    return point if low <= point <= high else middle, quantiles


def _weighted_quantiles(
    ascending: Floats, weights: Floats, shares: Sequence[float]
) -> tuple[float, ...]:
    cumulative = np.cumsum(weights) - weights / 2
    return tuple(np.interp(shares, cumulative / weights.sum(), ascending).tolist())
