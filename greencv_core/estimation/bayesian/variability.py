"""How a run strays from its condition, and its epochs from the run, as far as others showed it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from greencv_core.analysis.result import CONFIDENCE
from greencv_core.estimation.trajectory import Floats, Trajectory

OBSERVED_EPOCHS = (1, 2, 3, 5, 8, 12, 20, 30, 50)
"""Epochs seen of a stage, of which it is known how well they tell the rest."""
FIRST_GUESS = 0.03
"""Standard deviation of a run's level about its condition's, and of an epoch's about its run's,
before any is known."""
COUNTS_AS = 5
"""The first guess weighs as much as so many observations."""
EPOCH_SHARES = (0.1, 0.25, 0.5, 0.75, 0.95)
"""Shares of an epoch's time."""
PARTIAL_GUESS = 0.1
"""As :data:`FIRST_GUESS`, of power in a part of an epoch."""
_Z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))


@dataclass(frozen=True)
class Variability:
    """Of the logarithm of a level."""

    run_sd: float
    """Of a run about its condition."""
    shared: float
    """Correlation of a run's straying in one stage with that in another."""
    shifts: Floats
    """Difference of the later epochs from :func:`late_mean`, for :data:`OBSERVED_EPOCHS`."""
    sds: Floats

    def after(self, epochs: int) -> tuple[float, float]:
        """Return shift and standard deviation of the rest about those seen."""
        at, known = np.log(epochs), np.log(OBSERVED_EPOCHS)
        return float(np.interp(at, known, self.shifts)), float(np.interp(at, known, self.sds))


def estimate_variability(
    runs: Sequence[str],
    conditions: Sequence[tuple[Hashable, ...]],
    means: Floats,
    epochs: Sequence[Floats],
) -> Variability:
    """Learn from each stage of each run: its level, and the logarithms of its epochs.

    A condition begins with its architecture, environment and setting.

    The rest is that of stages of which at least as much is left as was seen: fewer epochs would
    scatter more, and matter less. Standard deviations are those of a normal distribution whose 95 %
    interval is as wide as that of what was observed (tails count, a single run does not), and wider
    by as much as Student's t for the number of conditions: runs of one condition are alike.
    """
    wider = _student(len({place[:3] for place in conditions}))
    astray = _less_median(means, conditions)
    shifts, sds = [], []
    for n in OBSERVED_EPOCHS:
        rest = [log_mean(one[n:]) - late_mean(one[:n]) for one in epochs if len(one) >= 2 * n]
        shift = float(np.median(rest)) * len(rest) / (len(rest) + COUNTS_AS) if rest else 0.0
        shifts.append(shift)
        sds.append(_sd(np.array(rest) - shift, FIRST_GUESS / np.sqrt(n), wider))
    return Variability(
        run_sd=_sd(astray, FIRST_GUESS, wider),
        shared=_shared(runs, astray),
        shifts=np.array(shifts),
        sds=np.array(sds),
    )


@dataclass(frozen=True)
class PartialEpochs:
    """How well power in an epoch's first part tells that of the whole epoch."""

    shifts: Floats
    """Of the logarithm, for each of :data:`EPOCH_SHARES`."""
    sds: Floats

    def after(self, share: float) -> tuple[float, float] | None:
        """Return shift and standard deviation; None of so small a share that it tells nothing."""
        if share < EPOCH_SHARES[0]:
            return None
        return float(np.interp(share, EPOCH_SHARES, self.shifts)), float(
            np.interp(share, EPOCH_SHARES, self.sds)
        )


def estimate_partial_epochs(trajectories: Sequence[Trajectory]) -> PartialEpochs:
    """Learn from the second, a middle and the last epoch of each stage of each training."""
    told: list[Floats] = []
    for trajectory in trajectories:
        ends_s = trajectory.before_s + np.cumsum(trajectory.epochs.duration_s)
        for stage in np.unique(trajectory.epochs.stage):
            members = np.flatnonzero(trajectory.epochs.stage == stage)
            for i in np.unique(members[[min(1, len(members) - 1), len(members) // 2, -1]]):
                length_s = trajectory.epochs.duration_s[i]
                passed_s = length_s * np.array([0.0, *EPOCH_SHARES, 1.0])
                energy_j = np.interp(
                    ends_s[i] - length_s + passed_s, trajectory.time_s, trajectory.energy_so_far_j
                )
                power_w = (energy_j[1:] - energy_j[0]) / passed_s[1:]
                told.append(np.log(power_w[-1] / power_w[:-1]))
    columns = np.array(told).reshape(-1, len(EPOCH_SHARES)).T
    shifts = np.array([float(np.median(c)) if len(c) else 0.0 for c in columns])
    conditions = {(c.task.architecture, c.task.environment, c.task.setting) for c in trajectories}
    wider = _student(len(conditions))
    sds = [_sd(c - shift, PARTIAL_GUESS, wider) for c, shift in zip(columns, shifts, strict=True)]
    return PartialEpochs(shifts, np.array(sds))


def log_mean(logs: Floats) -> float:
    """Return the logarithm of the mean of what the logarithms are of."""
    return float(np.log(np.exp(logs).mean()))


def late_mean(logs: Floats) -> float:
    """Return what the epochs of a stage that were seen say of those to come.

    It is the mean of the later half: the first ones may still warm up the machine.
    """
    return log_mean(logs[len(logs) // 2 :])


def _less_median(values: Floats, groups: Sequence[Hashable]) -> Floats:
    """Return what values differ by from their group's median, but for groups of one."""
    of_group: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        of_group.setdefault(group, []).append(i)
    astray = np.full(len(values), np.nan)
    for members in of_group.values():
        if len(members) > 1:
            n = len(members)
            astray[members] = (values[members] - np.median(values[members])) * np.sqrt(n / (n - 1))
    return astray


def _sd(values: Floats, guess: float, wider: float) -> float:
    known = values[np.isfinite(values)]
    n = len(known)
    seen = wider * float(np.quantile(np.abs(known), CONFIDENCE)) / _Z if n else 0.0
    return float(np.sqrt((n * seen**2 + COUNTS_AS * guess**2) / (n + COUNTS_AS)))


def _student(conditions: int) -> float:
    """Return how much wider than a normal one Student's interval is, of so many conditions."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, max(2, conditions - 1))) / _Z


def _shared(runs: Sequence[str], astray: Floats) -> float:
    """Return the rank correlation between a run's stages; 0 where there are no two."""
    of_run: dict[str, list[float]] = {}
    for run, value in zip(runs, astray, strict=True):
        of_run.setdefault(run, []).append(value)
    pairs = np.array([some[:2] for some in of_run.values() if len(some) > 1]).reshape(-1, 2)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    if len(pairs) < COUNTS_AS or (np.ptp(pairs, axis=0) == 0).any():
        return 0.0
    return float(np.clip(stats.spearmanr(*pairs.T).statistic, 0, 0.95))
