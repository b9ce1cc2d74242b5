"""The projection of trainings that may stop early."""

from dataclasses import replace

import numpy as np
import pytest

from greencv_core.estimation.base import QUANTILES
from greencv_core.estimation.trajectory import Oracle
from tests.support.projections import after, fitted, in_order, width
from tests.support.trajectories import made_up_task, planned, training

MAY_STOP = (planned(100, fewest=5),)


def stopped(name, epochs, each_j=500.0, run_id="run"):
    task = made_up_task(MAY_STOP, architecture=name)
    return training(task, [each_j] * epochs, run_id=run_id)


@pytest.fixture(scope="module")
def stopping():
    lengths = {"a0": 10, "a1": 20, "a2": 30, "a3": 40}
    return fitted(stopped(a, n, 500.0, f"{a} {r}") for a, n in lengths.items() for r in range(12))


def test_without_oracle_the_interval_spans_the_epochs_of_others(stopping):
    estimate = after(stopping, stopped("new", 60), 6)
    assert estimate.low_j < 10 * 500
    assert estimate.high_j > 40 * 500
    assert 10 * 500 < estimate.energy_j < 40 * 500


def test_without_oracle_its_own_architecture_counts_most(stopping):
    own, new = (after(stopping, stopped(a, 60), 6) for a in ("a1", "new"))
    assert own.energy_j == pytest.approx(20 * 500, rel=0.1)
    middle = [np.interp(q, QUANTILES, own.quantiles_j) for q in (0.3, 0.7)]
    others = [np.interp(q, QUANTILES, new.quantiles_j) for q in (0.3, 0.7)]
    assert np.ptp(middle) < np.ptp(others) / 2


def test_known_epochs_narrow_the_interval(stopping):
    estimate = after(stopping, stopped("new", 60), 6, Oracle(epochs=25))
    assert estimate.energy_j == pytest.approx(25 * 500, rel=0.02)
    assert width(estimate) < width(after(stopping, stopped("new", 60), 6)) / 5


def test_epochs_that_are_over_are_none_of_those_to_come(stopping):
    for epochs in 15, 35, 55, 99:
        estimate = after(stopping, stopped("new", 100), epochs)
        assert estimate.low_j >= epochs * 500
        assert estimate.high_j < 1.02 * 100 * 500
        assert in_order(estimate)
    # Of the others only some of 40 had more than 35.
    median_j = np.interp(0.5, QUANTILES, after(stopping, stopped("new", 100), 35).quantiles_j)
    assert 37 * 500 < median_j < 60 * 500


def test_epochs_of_earlier_stages_are_none_of_those_that_may_stop():
    """Ten frozen epochs, and then eight."""
    stages = planned(10, name="frozen"), planned(100, name="main", fewest=5)
    task = made_up_task(stages, architecture="a")
    trajectory = training(task, [100.0] * 10, [500.0] * 8)
    method = fitted(replace(trajectory, run_id=str(i)) for i in range(30))
    estimate = after(method, trajectory, 13)
    assert estimate.energy_j == pytest.approx(trajectory.energy_j, rel=0.1)
