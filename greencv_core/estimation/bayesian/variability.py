"""Run-to-run and epoch-to-epoch variability, estimated from finished runs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from greencv_core.analysis.result import CONFIDENCE
from greencv_core.estimation.trajectory import Floats, Trajectory

OBSERVED_EPOCHS = (1, 2, 3, 5, 8, 12, 20, 30, 50)
"""Numbers of observed epochs for which the error of the later ones is estimated."""
FIRST_GUESS = 0.03
"""Prior standard deviation of a run's level about its condition's, and of an epoch's about its
run's."""
GUESS_COUNTS_AS = 5  # weight of the prior guess, in observations
EPOCH_SHARES = (0.1, 0.25, 0.5, 0.75, 0.95)  # shares of an epoch's time
PARTIAL_GUESS = 0.1
"""As :data:`FIRST_GUESS`, of the power in a part of an epoch."""
_Z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))


@dataclass(frozen=True)
class Variability:
    """Variability of the logarithm of a level (energy or time)."""

    run_sd: float
    """Standard deviation of a run about its condition."""
    stage_correlation: float
    """Correlation between the deviations of a run in two stages."""
    shifts: Floats
    """Mean difference of the later epochs from :func:`late_mean` of the observed ones, for each of
    :data:`OBSERVED_EPOCHS`."""
    sds: Floats
    """Standard deviation of this difference."""

    def remaining_error(self, epochs: int) -> tuple[float, float]:
        """Return shift and standard deviation of the later epochs, from ``epochs`` observed."""
        at, known = np.log(epochs), np.log(OBSERVED_EPOCHS)
        return float(np.interp(at, known, self.shifts)), float(np.interp(at, known, self.sds))


def estimate_variability(
    runs: Sequence[str],
    conditions: Sequence[tuple[Hashable, ...]],
    means: Floats,
    epochs: Sequence[Floats],
) -> Variability:
    """Estimate the variability from each stage of each run.

    Parameters
    ----------
    runs, conditions
        Run and condition of each stage; a condition starts with its architecture, environment and
        setting.
    means
        Level of each stage.
    epochs
        Logarithms of the epochs of each stage.

    Notes
    -----
    The error of the later epochs is estimated from stages with at least as many later as observed
    epochs. Standard deviations are those of a normal distribution whose 95% interval is as wide as
    the observed one, so that tails count but single runs do not. They are wider by Student's t for
    the number of conditions, since runs of one condition are alike.
    """
    wider = _student_factor(len({condition[:3] for condition in conditions}))
    deviations = _deviations(means, conditions)
    shifts, sds = [], []
    for n in OBSERVED_EPOCHS:
        rest = [log_mean(one[n:]) - late_mean(one[:n]) for one in epochs if len(one) >= 2 * n]
        shift = float(np.median(rest)) * len(rest) / (len(rest) + GUESS_COUNTS_AS) if rest else 0.0
        shifts.append(shift)
        sds.append(_sd(np.array(rest) - shift, FIRST_GUESS / np.sqrt(n), wider))
    return Variability(
        run_sd=_sd(deviations, FIRST_GUESS, wider),
        stage_correlation=_stage_correlation(runs, deviations),
        shifts=np.array(shifts),
        sds=np.array(sds),
    )


@dataclass(frozen=True)
class PartialEpochs:
    """How well the power in the first part of an epoch predicts that of the whole epoch."""

    shifts: Floats
    """Mean difference of the logarithm, for each of :data:`EPOCH_SHARES`."""
    sds: Floats

    def remaining_error(self, share: float) -> tuple[float, float] | None:
        """Return shift and standard deviation, or None for a share too small to predict from."""
        if share < EPOCH_SHARES[0]:
            return None
        shift, sd = (float(np.interp(share, EPOCH_SHARES, v)) for v in (self.shifts, self.sds))
        return shift, sd


def estimate_partial_epochs(trajectories: Sequence[Trajectory]) -> PartialEpochs:
    """Learn from the second, a middle and the last epoch of each stage of each training."""
    ratios: list[Floats] = []
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
                ratios.append(np.log(power_w[-1] / power_w[:-1]))
    columns = np.array(ratios).reshape(-1, len(EPOCH_SHARES)).T
    shifts = np.array([float(np.median(c)) if len(c) else 0.0 for c in columns])
    tasks = [trajectory.task for trajectory in trajectories]
    wider = _student_factor(len({(t.architecture, t.environment, t.setting) for t in tasks}))
    sds = [_sd(c - shift, PARTIAL_GUESS, wider) for c, shift in zip(columns, shifts, strict=True)]
    return PartialEpochs(shifts, np.array(sds))


def log_mean(logs: Floats) -> float:
    """Return the logarithm of the arithmetic mean, from logarithms."""
    return float(np.log(np.exp(logs).mean()))


def late_mean(logs: Floats) -> float:
    """Return :func:`log_mean` of the later half of a stage's epochs.

    The first epochs may still warm up the machine.
    """
    return log_mean(logs[len(logs) // 2 :])


def _deviations(values: Floats, groups: Sequence[Hashable]) -> Floats:
    """Return deviations from the median of the group; NaN in groups of one."""
    of_group: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        of_group.setdefault(group, []).append(i)
    deviations = np.full(len(values), np.nan)
    for members in of_group.values():
        if (n := len(members)) > 1:
            off = values[members] - np.median(values[members])
            deviations[members] = off * np.sqrt(n / (n - 1))
    return deviations


def _sd(values: Floats, guess: float, wider: float) -> float:
    known = values[np.isfinite(values)]
    n = len(known)
    sd = wider * float(np.quantile(np.abs(known), CONFIDENCE)) / _Z if n else 0.0
    return float(np.sqrt((n * sd**2 + GUESS_COUNTS_AS * guess**2) / (n + GUESS_COUNTS_AS)))


def _student_factor(conditions: int) -> float:
    """Return the width of Student's interval relative to the normal one."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, max(2, conditions - 1))) / _Z


def _stage_correlation(runs: Sequence[str], deviations: Floats) -> float:
    """Return the rank correlation between two stages of a run; 0 if too few runs have two."""
    of_run: dict[str, list[float]] = {}
    for run, value in zip(runs, deviations, strict=True):
        of_run.setdefault(run, []).append(value)
    pairs = np.array([some[:2] for some in of_run.values() if len(some) > 1]).reshape(-1, 2)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    if len(pairs) < GUESS_COUNTS_AS or (np.ptp(pairs, axis=0) == 0).any():
        return 0.0
    return float(np.clip(stats.spearmanr(*pairs.T).statistic, 0, 0.95))
