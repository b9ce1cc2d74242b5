"""The online Bayesian projection: a prediction before training, updated by each measured epoch.

An epoch's energy is what the machine takes at idle for as long as the epoch lasts, and what its
operations take on top. Both its time and its dynamic energy, per operation, are levels of the run
in a stage of training: before it begins they are known from other runs as
:mod:`~greencv_core.estimation.bayesian.random_effects` has it; then every epoch is an observation,
of its own stage's level and, by what stages have in common, of those still to come. How many epochs
remain is a question of its own (:mod:`greencv_core.estimation.bayesian.early_stopping`).
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
    Design,
    LevelModel,
    design_from_rows,
    fit_level_model,
)
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
"""Share of the power that operations take at least. Idle power may be overstated, or work may take
no more, as where power is estimated by a constant; less counts as idle power then."""
AROUND_EACH = 8
"""Draws from each set of standard deviations."""
ORACLE_SD = 0.003
"""Of the logarithm of a time given by an oracle: it holds the pauses between epochs, too."""
PROBE_SD = 0.1
"""Of the logarithm of the time that a few batches promise for an epoch: machines that others share
are a tenth faster or slower from minute to minute."""
PROBE_POWER_SD = 0.03
"""Of the logarithm of their power, which varies less."""
LINEARISED = 3
"""Times that the sum of the stages' times is taken for linear, each around a better place."""


class Projection:
    """See :class:`greencv_core.estimation.base.Estimator`.

    Fitted on no training at all it has a prior so wide that it answers only once an epoch has been
    measured, or probe_epochs.
    """

    name = "Bayesian projection"

    def __init__(self) -> None:
        self._learnt: _Learnt | None = None
        self._priors: dict[tuple[object, ...], tuple[_State, _State]] = {}

    def fit(self, trajectories: Sequence[Trajectory]) -> None:
        """Learn from trainings; none at all is allowed."""
        self._learnt, self._priors = _learn(trajectories), {}

    def predict(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> Estimate:
        """Return what a training will take.

        Raises
        ------
        NotEnoughDataError
            Nothing tells: no training was fitted on, no epoch was observed or probe_epochs.
        """
        learnt = self._learnt
        assert learnt is not None, "fit() comes first"
        if not learnt.trainings and not len(observed.epochs) and task.probe_epochs is None:
            raise NotEnoughDataError("no finished training, no epoch and no batch tells of it")
        rng = np.random.default_rng(SEED)
        met = [epochs for epochs in (observed.epochs, task.probe_epochs) if epochs is not None]
        least_w = [learnt.least_power_w.get(task.environment, np.inf), *map(_least_power_w, met)]
        task = _idle_below(task, min(least_w))
        energy, time = self._prior(task, learnt)
        state = _State.of(energy, time)
        if task.probe_epochs is not None:
            _observe_probe(state, task, task.probe_epochs)
        _observe_epochs(state, task, observed, learnt)
        left = _epochs_left(task, observed, oracle, learnt.epoch_counts, rng)
        _observe_epoch_going_on(state, task, observed, learnt)
        begun_s, begun_j = _until_last_epoch(observed)
        if observed.duration_s <= observed.before_s:  # the first epoch has not begun
            wait_s = max(0.0, learnt.before_s - observed.duration_s)
            begun_s, begun_j = begun_s + wait_s, begun_j + task.idle_power_w * wait_s
        left_s = None if oracle.duration_s is None else max(0.0, oracle.duration_s - begun_s)
        if left_s and oracle.epochs is not None:
            _observe_time_left(state, task, left[0], left_s)
        weights, levels = state.draws(rng)
        n_stages = len(task.stages)
        tflop = np.array([stage.tflop_per_epoch for stage in task.stages])
        each = left[rng.integers(0, len(left), len(levels))] * tflop
        dynamic_j = (each * np.exp(levels[:, :n_stages])).sum(axis=1)
        times_s = (each * np.exp(levels[:, n_stages:])).sum(axis=1)
        if left_s is not None:
            times_s = np.full_like(times_s, left_s)
        energies_j = begun_j + task.idle_power_w * times_s + dynamic_j
        energies_j = np.maximum(energies_j, observed.energy_j)
        durations_s = np.maximum(begun_s + times_s, observed.duration_s)
        energy_j, joules = _summary(energies_j, weights)
        duration_s, seconds = _summary(durations_s, weights)
        low, high = (QUANTILES.index(one) for one in TAILS)
        return Estimate(
            energy_j=energy_j,
            low_j=joules[low],
            high_j=joules[high],
            duration_s=duration_s,
            low_s=seconds[low],
            high_s=seconds[high],
            quantiles_j=joules,
        )

    def _prior(self, task: TrainingTask, learnt: _Learnt) -> tuple[_State, _State]:
        key = (task.architecture, task.environment, task.setting, task.gflops_per_image,
               tuple(stage.name for stage in task.stages))  # fmt: skip
        if key not in self._priors:
            where = _design_of(task)
            self._priors[key] = (
                _run_level(learnt.energy, where, learnt.energy_variability),
                _run_level(learnt.time, where, learnt.time_variability),
            )
        return self._priors[key]


@dataclass(frozen=True)
class _Learnt:
    trainings: int
    energy: LevelModel
    """Of the logarithm of dynamic energy, J per TFLOP."""
    time: LevelModel
    """Of the logarithm of time, s per TFLOP."""
    energy_variability: Variability
    time_variability: Variability
    parts: PartialEpochs
    epoch_counts: EpochCountModel
    least_power_w: Mapping[str, float]
    """Of a stage of a training, by environment."""
    before_s: float


def _learn(trajectories: Sequence[Trajectory]) -> _Learnt:
    of_run, conditions, energy, time = [], [], [], []
    joules, seconds = [], []
    least_w: dict[str, float] = {}
    for trajectory in trajectories:
        where = trajectory.task.environment
        least_w[where] = min(least_w.get(where, np.inf), _least_power_w(trajectory.epochs))
    for trajectory in trajectories:
        task = _idle_below(trajectory.task, least_w[trajectory.task.environment])
        for stage in range(len(task.stages)):
            epochs = trajectory.epochs.of_stage(stage)
            if not len(epochs):
                continue
            of_run.append(trajectory.run_id)
            conditions.append(_cell(task, stage))
            levels = _levels(task, stage, epochs)
            energy.append(log_mean(levels[0]))
            time.append(log_mean(levels[1]))
            joules.append(np.log(epochs.energy_j))
            seconds.append(np.log(epochs.duration_s))
    energies, times = np.array(energy), np.array(time)
    energy_variability = estimate_variability(of_run, conditions, energies, joules)
    time_variability = estimate_variability(of_run, conditions, times, seconds)
    return _Learnt(
        trainings=len(trajectories),
        energy=_condition_levels(conditions, energies, energy_variability),
        time=_condition_levels(conditions, times, time_variability),
        energy_variability=energy_variability,
        time_variability=time_variability,
        parts=estimate_partial_epochs(trajectories),
        epoch_counts=fit_epoch_counts(trajectories),
        least_power_w=least_w,
        before_s=float(np.median([trajectory.before_s for trajectory in trajectories]))
        if trajectories
        else 0.0,
    )


def _levels(task: TrainingTask, stage: int, epochs: Epochs) -> tuple[Floats, Floats]:
    """Return log dynamic energy and log time per TFLOP of a stage's epochs."""
    tflop = task.stages[stage].tflop_per_epoch
    return np.log(_dynamic_j(task, epochs) / tflop), np.log(epochs.duration_s / tflop)


def _least_power_w(epochs: Epochs) -> float:
    """Return the mean power of the stage that drew least; infinite where there is none."""
    parts = [epochs.of_stage(stage) for stage in np.unique(epochs.stage)]
    powers_w = [float(part.energy_j.sum() / part.duration_s.sum()) for part in parts]
    return min(powers_w, default=float("inf"))


def _idle_below(task: TrainingTask, power_w: float) -> TrainingTask:
    """Return the task with idle power that leaves something to its operations."""
    return replace(task, idle_power_w=min(task.idle_power_w, (1 - LEAST_DYNAMIC) * power_w))


def _dynamic_j(task: TrainingTask, epochs: Epochs) -> Floats:
    above = epochs.energy_j - task.idle_power_w * epochs.duration_s
    return np.maximum(above, LEAST_DYNAMIC * epochs.energy_j)


Cell = tuple[str, str, str, str, float]


def _cell(task: TrainingTask, stage: int) -> Cell:
    name = task.stages[stage].name
    log_gflops = float(np.log(task.gflops_per_image))
    return task.architecture, task.environment, task.setting, name, log_gflops


def _design_of(task: TrainingTask) -> Design:
    return design_from_rows([_cell(task, stage) for stage in range(len(task.stages))])


def _condition_levels(
    conditions: Sequence[Cell], levels: Floats, within: Variability
) -> LevelModel:
    """Learn from the means of each condition's runs."""
    groups: dict[Cell, list[float]] = {}
    for condition, level in zip(conditions, levels, strict=True):
        groups.setdefault(condition, []).append(level)
    means = np.array([np.median(some) for some in groups.values()])
    variances = np.array([within.run_sd**2 / len(some) for some in groups.values()])
    return fit_level_model(design_from_rows(list(groups)), means, variances)


@dataclass
class _State:
    """Levels as far as they are known: Gaussian around each of the draws, which have weights."""

    means: Floats
    covariances: Floats
    log_weights: Floats

    @classmethod
    def of(cls, energy: _State, time: _State) -> _State:
        """Return both levels side by side; nothing ties them but what is observed later."""
        n = energy.means.shape[1]
        covariances = np.zeros((len(energy.means), 2 * n, 2 * n))
        covariances[:, :n, :n] = energy.covariances
        covariances[:, n:, n:] = time.covariances
        means = np.concatenate([energy.means, time.means], axis=1)
        return cls(means, covariances, np.zeros(len(means)))

    def observe(self, toward: Floats, value: Floats | float, variance: float) -> None:
        """Take into account a value of ``toward`` times the levels, with its variance."""
        along = np.broadcast_to(toward, self.means.shape)
        carried = np.einsum("dpq,dq->dp", self.covariances, along)
        total = np.einsum("dp,dp->d", carried, along) + variance
        surprise = value - np.einsum("dp,dp->d", self.means, along)
        self.log_weights -= 0.5 * (surprise**2 / total + np.log(total))
        gain = carried / total[:, None]
        self.means = self.means + gain * surprise[:, None]
        self.covariances = self.covariances - gain[:, :, None] * carried[:, None, :]

    def draws(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return weights and levels: :data:`AROUND_EACH` of each draw."""
        n, size = self.means.shape
        # A level that was observed has next to no variance left, and rounding may take more.
        values, axes = np.linalg.eigh(self.covariances)
        # The symmetric root: an eigenvector's sign is the processor's whim, and is not in it.
        scaled = axes * np.sqrt(np.maximum(values, 0))[:, None, :]
        spread = scaled @ axes.transpose(0, 2, 1)
        noise = rng.standard_normal((n, AROUND_EACH, size))
        levels = self.means[:, None, :] + np.einsum("dpq,daq->dap", spread, noise)
        weights = np.exp(self.log_weights - self.log_weights.max())
        return np.repeat(weights, AROUND_EACH), levels.reshape(-1, size)


def _run_level(model: LevelModel, where: Design, within: Variability) -> _State:
    """Return the levels of one run: those of its condition, and its own variability."""
    means, covariances = model.at(where)
    n = len(where)
    own = within.run_sd**2 * (within.shared * np.ones((n, n)) + (1 - within.shared) * np.eye(n))
    return _State(means, covariances + own, np.zeros(DRAWS))


def _observe_probe(state: _State, task: TrainingTask, probe_epochs: Epochs) -> None:
    for stage in range(len(task.stages)):
        epochs = probe_epochs.of_stage(stage)
        if len(epochs):
            time = float(np.log(epochs.duration_s[0] / task.stages[stage].tflop_per_epoch))
            state.observe(_unit(2 * len(task.stages), len(task.stages) + stage), time, PROBE_SD**2)
            _observe_power(state, task, stage, epochs, (0.0, PROBE_POWER_SD))


def _observe_power(
    state: _State, task: TrainingTask, stage: int, passed: Epochs, oracle: tuple[float, float]
) -> None:
    """Take dynamic power into account; shift and standard deviation are of the metered power."""
    n = len(task.stages)
    dynamic_j = float(_dynamic_j(task, passed)[0])
    shift, sd = (float(passed.energy_j[0]) / dynamic_j * one for one in oracle)
    toward = _unit(2 * n, stage) - _unit(2 * n, n + stage)
    state.observe(toward, float(np.log(dynamic_j / passed.duration_s[0])) + shift, sd**2)


def _observe_epochs(state: _State, task: TrainingTask, observed: Observed, learnt: _Learnt) -> None:
    for stage in range(len(task.stages)):
        epochs = observed.epochs.of_stage(stage)
        if len(epochs):
            energy, time = (
                one.after(len(epochs))
                for one in (learnt.energy_variability, learnt.time_variability)
            )
            _observe(state, task, stage, epochs, energy, time)


def _observe(
    state: _State,
    task: TrainingTask,
    stage: int,
    epochs: Epochs,
    energy: tuple[float, float],
    time: tuple[float, float],
) -> None:
    """Take a stage's epochs into account; shift and standard deviation are of what is metered."""
    n = len(task.stages)
    dynamic, duration = _levels(task, stage, epochs)
    amplified = float((epochs.energy_j / _dynamic_j(task, epochs)).mean())
    shift, sd = amplified * energy[0], amplified * energy[1]
    state.observe(_unit(2 * n, stage), late_mean(dynamic) + shift, sd**2)
    state.observe(_unit(2 * n, n + stage), late_mean(duration) + time[0], time[1] ** 2)


def _observe_epoch_going_on(
    state: _State, task: TrainingTask, observed: Observed, learnt: _Learnt
) -> None:
    """Learn from the power in an epoch that is not complete: dynamic energy over time."""
    begun_s, begun_j = _until_last_epoch(observed)
    passed_s, passed_j = observed.duration_s - begun_s, observed.energy_j - begun_j
    n, stage = len(task.stages), _stage_of(task, len(observed.epochs))
    if stage is None or passed_s <= 0 or passed_j <= 0:
        return
    expected_s = np.exp(state.means[:, n + stage].mean()) * task.stages[stage].tflop_per_epoch
    oracle = learnt.parts.after(passed_s / expected_s)
    if oracle is None:
        return
    passed = Epochs(np.array([stage]), np.array([passed_s]), np.array([passed_j]))
    _observe_power(state, task, stage, passed, oracle)


def _observe_time_left(state: _State, task: TrainingTask, left: Floats, left_s: float) -> None:
    """Take into account the time that the epochs left will take together, given by an oracle."""
    n = len(task.stages)
    tflop = np.array([stage.tflop_per_epoch for stage in task.stages])
    if not (left * tflop).any():
        return
    prior = _State(state.means, state.covariances, state.log_weights)
    around = prior.means
    for _ in range(LINEARISED):
        parts_s = left * tflop * np.exp(around[:, n:])
        total_s = parts_s.sum(axis=1)
        toward = np.concatenate([np.zeros_like(parts_s), parts_s / total_s[:, None]], axis=1)
        value = np.log(left_s) - np.log(total_s) + np.einsum("dp,dp->d", toward, around)
        after = _State(prior.means, prior.covariances, prior.log_weights.copy())
        after.observe(toward, value, ORACLE_SD**2)
        around = after.means
    state.means, state.covariances = after.means, after.covariances
    state.log_weights = after.log_weights


def _epochs_left(
    task: TrainingTask,
    observed: Observed,
    oracle: Oracle,
    epoch_counts: EpochCountModel,
    rng: np.random.Generator,
) -> Floats:
    """Return (draws, stages): epochs that are still to come."""
    had = np.array([(observed.epochs.stage == i).sum() for i in range(len(task.stages))])
    if oracle.epochs is not None:
        return _less(_by_stage(task, np.array([oracle.epochs])), had)
    earlier = sum(stage.most_epochs for stage in task.stages[:-1])
    last = epoch_counts.sample(task, int(had[-1]), DRAWS * AROUND_EACH, rng)
    return _less(_by_stage(task, earlier + last), had)


def _less(epochs: Floats, had: Integers) -> Floats:
    left: Floats = np.maximum(epochs - had, 0)
    return left


def _by_stage(task: TrainingTask, epochs: Integers) -> Floats:
    """Return (draws, stages): numbers of epochs, which fill the stages in their order."""
    rest, columns = epochs.astype(float), []
    for stage in task.stages[:-1]:
        columns.append(np.minimum(rest, stage.most_epochs))
        rest = rest - columns[-1]
    return np.stack([*columns, rest], axis=1)


def _stage_of(task: TrainingTask, epoch: int) -> int | None:
    """Return the stage of the epoch after so many; None where there is none after."""
    for i, stage in enumerate(task.stages):
        if epoch < stage.most_epochs:
            return i
        epoch -= stage.most_epochs
    return None


def _until_last_epoch(observed: Observed) -> tuple[float, float]:
    return (
        observed.before_s + float(observed.epochs.duration_s.sum()),
        observed.before_j + float(observed.epochs.energy_j.sum()),
    )


def _unit(size: int, place: int) -> Floats:
    toward = np.zeros(size)
    toward[place] = 1.0
    return toward


def _summary(values: Floats, weights: Floats) -> tuple[float, tuple[float, ...]]:
    """Return the estimate whose relative error is expected to be least, and the quantiles.

    The estimate is the median when each value counts by its inverse (Gneiting, "Making and
    evaluating point forecasts", 2011). Of next to nothing known it would be next to nothing: then
    the median.
    """
    order = np.argsort(values)
    values, weights = values[order], weights[order]
    quantiles = _below(values, weights, QUANTILES)
    [point] = _below(values, weights / values, (0.5,))
    low, middle, high = (quantiles[QUANTILES.index(one)] for one in (TAILS[0], 0.5, TAILS[1]))
    return point if low <= point <= high else middle, quantiles


def _below(ascending: Floats, weights: Floats, shares: Sequence[float]) -> tuple[float, ...]:
    """Return what weighted values lie below of, in these shares."""
    counted = np.cumsum(weights) - weights / 2
    return tuple(np.interp(shares, counted / weights.sum(), ascending).tolist())
