"""STEP: wait until the epochs' energy is stable, and project it.

After del Rey et al.'s stable training epoch projection. Their published code looks for one change
of regime in each training's power, and then takes one window for all of them, the 5 epochs from
the 11th on: :func:`fixed_step` does so. A training that goes on has no such number yet, so
:class:`StepEpochs` and :class:`StepPower` look for the window in what they have observed.
"""

from __future__ import annotations

import numpy as np

from greencv_core.analysis.result import NotEnoughDataError
from greencv_core.estimation.base import PointEstimator, expected_epochs
from greencv_core.estimation.trajectory import Floats, Observed, Oracle, TrainingTask, Trajectory

WINDOW = 5
"""Epochs that are projected, as in the original."""
STABLE_BELOW = 0.03
"""Epochs in a row are stable if their energies' standard deviation is less than this share of
their mean."""
SAME_LEVEL = 0.1
"""A stable window further than this from the one in force, as a share of it, replaces it."""


class StepEpochs(PointEstimator):
    """Epochs before the stable window as measured, all others as its mean epoch (J).

    The energy is that before the first epoch, plus that of the s epochs before the window, plus
    (N - s) times the window's mean, N being the epochs oracle, or planned at most. It is never less
    than what has been metered.
    """

    name = "STEP, epoch energy"

    def _energy_j(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> float:
        begin = _window_begin(observed)
        until_j = observed.before_j + float(observed.epochs.energy_j[:begin].sum())
        each_j = float(observed.epochs.energy_j[begin : begin + WINDOW].mean())
        whole_j = until_j + (expected_epochs(task, oracle) - begin) * each_j
        return max(whole_j, observed.energy_j)


class StepPower(PointEstimator):
    """Energy until the stable window as measured, then its mean power (W) until the end.

    The oracle gives the end. Without one, the remaining epochs last as long as those of the window:
    then this and :class:`StepEpochs` are the same. The energy is never less
    than what has been metered.
    """

    name = "STEP, power"

    def _energy_j(self, task: TrainingTask, observed: Observed, oracle: Oracle) -> float:
        begin = _window_begin(observed)
        energy_j, duration_s = observed.epochs.energy_j, observed.epochs.duration_s
        window = slice(begin, begin + WINDOW)
        until_j = observed.before_j + float(energy_j[:begin].sum())
        until_s = observed.before_s + float(duration_s[:begin].sum())
        power_w = float(energy_j[window].sum() / duration_s[window].sum())
        if oracle.duration_s is None:
            each_s = float(duration_s[window].mean())
            rest_s = (expected_epochs(task, oracle) - begin) * each_s
        else:
            rest_s = oracle.duration_s - until_s
        return max(until_j + power_w * rest_s, observed.energy_j)


def stable_from(energy_j: Floats) -> int | None:
    """Return the place of the first epoch of the window in force; None if none is stable.

    The window is the first :data:`WINDOW` epochs in a row whose energies (J) are stable, until
    others are whose mean lies more than :data:`SAME_LEVEL` off: a level that has changed was not
    stable. No stage of the training is looked at, since the method knows of none: on two stages it
    settles in the first, and learns of the second when that has lasted a window.
    """
    if len(energy_j) < WINDOW:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(energy_j, WINDOW)
    means = windows.mean(axis=1)
    stable = np.flatnonzero(windows.std(axis=1, ddof=1) < STABLE_BELOW * means)
    begin: int | None = None
    for i in stable.tolist():
        if begin is None or abs(means[i] - means[begin]) > SAME_LEVEL * means[begin]:
            begin = i
    return begin


def fixed_step(
    trajectory: Trajectory, start: int = 10, window: int = WINDOW
) -> tuple[float, float]:
    """Return the follow-up's two figures for a whole training, from one window and the true end.

    Parameters
    ----------
    start
        The window's first epoch, from 0.
    window
        Its epochs.

    Returns
    -------
    power_based_j
        The window's mean power times the whole duration.
    epoch_based_j
        The energy until the window, plus the window's mean epoch times all epochs from its first
        on. The first epoch's energy holds what was metered before it, as in the original, whose
        epochs begin with the log.

    Raises
    ------
    NotEnoughDataError
        The training ended before the window did.

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


def _window_begin(observed: Observed) -> int:
    """Return the first epoch of the stable window, or of the last ones where none is stable yet."""
    n = len(observed.epochs)
    if not n:
        raise NotEnoughDataError("no epoch has been observed")
    begin = stable_from(observed.epochs.energy_j)
    return max(n - WINDOW, 0) if begin is None else begin
