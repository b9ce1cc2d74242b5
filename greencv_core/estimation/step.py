"""STEP: wait until the energy of an epoch is stable, then extrapolate it.

After del Rey et al.'s stable training epoch projection. Their published code uses one window for
all trainings, the 5 epochs from the 11th on; :func:`fixed_step` reproduces it. During a training no
such number is known, so :class:`StepEpochs` and :class:`StepPower` look for a stable window in the
observed epochs.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from greencv_core.analysis.result import NotEnoughDataError
from greencv_core.estimation.base import PointEstimator, expected_epochs
from greencv_core.estimation.trajectory import Floats, Observed, Oracle, TrainingTask, Trajectory

WINDOW = 5
"""Epochs in the window, as in the original."""
STABLE_BELOW = 0.03
"""Largest coefficient of variation of the energies in a stable window."""
SAME_LEVEL = 0.1
"""Relative difference of means from which a later stable window replaces an earlier one."""


class StepEpochs(PointEstimator):
    """Epochs before the stable window as measured, all others at the window's mean (J).

    The energy is that before the first epoch, plus that of the s epochs before the window, plus
    (N - s) times the window's mean, N being the expected number of epochs. It is never less than
    the metered energy.
    """

    name = "STEP, epoch energy"

    def _energy_j(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> float:
        start = _window_start(observed)
        until_j = observed.before_j + float(observed.epochs.energy_j[:start].sum())
        each_j = float(observed.epochs.energy_j[start : start + WINDOW].mean())
        total_j = until_j + (expected_epochs(task, oracle) - start) * each_j
        return max(total_j, observed.energy_j)


class StepPower(PointEstimator):
    """Energy before the stable window as measured, then the window's mean power (W) to the end.

    If the duration is unknown, the remaining epochs last as long as those of the window; then this
    equals :class:`StepEpochs`. The energy is never less than the metered energy.
    """

    name = "STEP, power"

    def _energy_j(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> float:
        start = _window_start(observed)
        energy_j, duration_s = observed.epochs.energy_j, observed.epochs.duration_s
        window = slice(start, start + WINDOW)
        until_j = observed.before_j + float(energy_j[:start].sum())
        until_s = observed.before_s + float(duration_s[:start].sum())
        power_w = float(energy_j[window].sum() / duration_s[window].sum())
        if oracle.duration_s is None:
            each_s = float(duration_s[window].mean())
            rest_s = (expected_epochs(task, oracle) - start) * each_s
        else:
            rest_s = oracle.duration_s - until_s
        return max(until_j + power_w * rest_s, observed.energy_j)


def find_stable_window(energy_j: Floats) -> int | None:
    """Return the index of the first epoch in the stable window, or None.

    A window is :data:`WINDOW` consecutive epochs with stable energies (J). The first one is valid
    until another one differs from it by more than :data:`SAME_LEVEL`. The method does not know the
    stages of a training: with two stages it settles in the first, and adapts when the second has
    lasted a window.
    """
    if len(energy_j) < WINDOW:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(energy_j, WINDOW)
    means = windows.mean(axis=1)
    stable = np.flatnonzero(windows.std(axis=1, ddof=1) < STABLE_BELOW * means)
    start: int | None = None
    for i in stable.tolist():
        if start is None or abs(means[i] - means[start]) > SAME_LEVEL * means[start]:
            start = i
    return start


def fixed_step(
    trajectory: Trajectory, start: int = 10, window: int = WINDOW
) -> tuple[float, float]:
    """Return the follow-up's two estimates of a whole training, from one window and the true end.

    The window has this number of epochs, of which the first has index ``start``.

    Returns
    -------
    power_based_j
        The window's mean power times the whole duration.
    epoch_based_j
        The energy before the window, plus the window's mean epoch times the remaining epochs. As in
        the original, whose epochs begin with the log, the first epoch includes what was metered
        before it.

    Raises :class:`NotEnoughDataError` if the training ended before the window did.

    Notes
    -----
    The original (``build_energy_estimation`` in del Rey et al.'s replication package) adds the
    main memory's power, which is not metered here.
    """
    n = len(trajectory.epochs)
    if n < start + window:
        raise NotEnoughDataError(f"the training has {n} epochs, and {start + window} are needed")
    energy_j, duration_s = trajectory.epochs.energy_j.copy(), trajectory.epochs.duration_s.copy()
    energy_j[0] += trajectory.before_j
    duration_s[0] += trajectory.before_s
    chosen = slice(start, start + window)
    power_w = float(energy_j[chosen].sum() / duration_s[chosen].sum())
    epoch_based_j = float(energy_j[:start].sum() + (n - start) * energy_j[chosen].mean())
    return power_w * trajectory.duration_s, epoch_based_j


@lru_cache(maxsize=8192)  # both methods ask, and again with each fold of other trainings
def _window_start(observed: Observed) -> int:
    """Return the first epoch of the stable window, or of the last epochs if none is stable."""
    n = len(observed.epochs)
    if not n:
        raise NotEnoughDataError("no epoch is complete")
    start = find_stable_window(observed.epochs.energy_j)
    return max(n - WINDOW, 0) if start is None else start
