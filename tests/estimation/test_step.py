"""STEP finds the stable epochs and projects them as one does by hand."""

import numpy as np
import pytest

from greencv_core.analysis.result import NotEnoughDataError
from greencv_core.estimation.step import StepEpochs, StepPower, find_stable_window, fixed_step
from greencv_core.estimation.trajectory import NO_ORACLE, Oracle
from tests.support.trajectories import made_up_task, made_up_trajectory, planned

BOTH = pytest.mark.parametrize("method", [StepEpochs(), StepPower()], ids=["epochs", "power"])


def of(energies_j, most=20, **more):
    return made_up_trajectory(energies_j, task=made_up_task([planned(most)]), **more)


def energy_j(method, trajectory, epochs, oracle=NO_ORACLE):
    return method.predict(trajectory.task, trajectory.observe_epochs(epochs), oracle).energy_j


SETTLES = of([20, 14] + [10] * 18, each_s=[9, 7] + [5] * 18, before=(3, 6))
"""Stable from the third epoch on, at 2 W."""


@pytest.mark.parametrize(
    ("energies", "begin"),
    [
        ([], None),
        ([10] * 4, None),
        ([10] * 5, 0),
        ([20, 14, 10, 10, 10, 10], None),
        ([20, 14, 10, 10, 10, 10, 10], 2),
        ([10, 10.25, 9.75, 10.25, 9.75], 0),  # standard deviation 2.5 % of the mean
        ([10, 10.35, 9.65, 10.35, 9.65], None),  # 3.5 %
        ([10] * 9, 0),  # the first, not the last
    ],
)
def test_the_window_is_the_first_five_epochs_of_little_spread(energies, begin):
    assert find_stable_window(np.array(energies, dtype=float)) == begin


@pytest.mark.parametrize(
    ("energies", "begin"),
    [
        ([10] * 6 + [10.8] * 6, 0),
        ([10] * 6 + [11.2] * 6, 6),
        ([10] * 6 + [8.8] * 6, 6),
        ([10] * 6 + [30] * 4, 0),  # not yet stable
        ([10] * 6 + [30, 20] * 6, 0),  # changed, but never stable
        # Each level is compared with that in force, which was not the one before, nor the first.
        ([10] * 5 + [10.8] * 5 + [11.6] * 5, 10),
        ([10] * 5 + [12] * 5 + [13] * 5, 5),
    ],
)
def test_a_stable_window_gives_way_to_one_on_another_level(energies, begin):
    assert find_stable_window(np.array(energies, dtype=float)) == begin


@BOTH
@pytest.mark.parametrize(
    ("oracle", "epochs"), [(NO_ORACLE, 20), (Oracle(epochs=12), 12), (Oracle(epochs=7), 7)]
)
def test_epochs_before_the_window_count_as_measured_and_others_as_its_mean(method, oracle, epochs):
    assert energy_j(method, SETTLES, 7, oracle) == pytest.approx(6 + 34 + (epochs - 2) * 10)


def test_a_duration_that_is_told_is_filled_with_the_windows_power():
    # Until the window 3 + 16 s and 6 + 34 J; then 2 W.
    oracle = Oracle(epochs=12, duration_s=200.0)
    assert energy_j(StepPower(), SETTLES, 7, oracle) == pytest.approx(40 + 2 * (200 - 19))
    assert energy_j(StepEpochs(), SETTLES, 7, oracle) == pytest.approx(40 + 10 * 10)


def test_the_windows_power_is_its_energy_over_its_time():
    # 50 J in 50 s; the mean of the epochs' powers would be 1.36 W.
    trajectory = of([10] * 6, each_s=[5, 5, 5, 5, 30, 5])
    assert energy_j(StepPower(), trajectory, 5, Oracle(duration_s=100.0)) == pytest.approx(100)


@BOTH
@pytest.mark.parametrize(
    ("energies", "expected"),
    [
        ([10], 20 * 10),
        ([10, 20, 60], 20 * 30),
        ([1, 2, 4, 8, 16, 32, 64], 1 + 2 + 18 * 124 / 5),
    ],
)
def test_before_any_window_is_stable_the_last_epochs_stand_in(method, energies, expected):
    assert energy_j(method, of([*energies, 1000]), len(energies)) == pytest.approx(expected)


@BOTH
def test_without_an_epoch_there_is_no_answer(method):
    with pytest.raises(NotEnoughDataError, match="no epoch"):
        energy_j(method, SETTLES, 0, Oracle(20, 100.0))


@BOTH
def test_a_second_stage_is_overlooked_until_it_has_been_stable(method):
    two_stages = of([10] * 10 + [30] * 20, most=30)
    assert energy_j(method, two_stages, 8) == pytest.approx(300)
    assert energy_j(method, two_stages, 14) == pytest.approx(300)
    assert energy_j(method, two_stages, 15) == pytest.approx(10 * 10 + 20 * 30)
    assert energy_j(method, two_stages, 25) == pytest.approx(10 * 10 + 20 * 30)


@BOTH
def test_no_estimate_is_less_than_what_the_meter_shows(method):
    trajectory = of([10] * 5 + [100] * 2, most=7, before=(3, 6))
    oracle = Oracle(7, trajectory.duration_s)
    assert energy_j(method, trajectory, 5, oracle) < 6 + 50 + 100
    assert energy_j(method, trajectory, 6, oracle) == pytest.approx(6 + 50 + 100)


def test_the_originals_figures_are_those_of_its_fixed_window():
    energies = [50] * 10 + [10, 11, 12, 13, 14] + [20] * 3
    durations = [9] * 10 + [4, 5, 6, 7, 8] + [9] * 3
    trajectory = of(energies, each_s=durations, before=(3, 6), after=(2, 1))
    power_based, epoch_based = fixed_step(trajectory)
    assert power_based == pytest.approx(60 / 30 * (3 + 90 + 30 + 27 + 2))
    assert epoch_based == pytest.approx(6 + 500 + 8 * 12)


def test_another_window_can_be_asked_for():
    trajectory = of([30, 10, 20, 40], each_s=5)
    assert fixed_step(trajectory, start=1, window=2) == pytest.approx((3 * 20, 30 + 3 * 15))


def test_before_the_first_epoch_belongs_to_it():
    trajectory = of([30, 10], each_s=5, before=(5, 20))
    for _ in range(2):  # the training itself is left as it is
        assert fixed_step(trajectory, start=0, window=1) == pytest.approx((5 * 15, 2 * 50))


def test_a_training_that_ends_before_the_fixed_window_does_has_no_figures():
    assert fixed_step(of([10] * 15)) == pytest.approx((150, 150))
    with pytest.raises(NotEnoughDataError, match="14 epochs, and 15 are needed"):
        fixed_step(of([10] * 14))
