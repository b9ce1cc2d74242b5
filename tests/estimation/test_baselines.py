"""The common practice of estimation answers what its formulas give by hand."""

import math

import pytest

from greencv_core.analysis.result import NotEnoughDataError
from greencv_core.estimation.baselines import FirstEpoch, Operations, PowerLimit, PowerLimitUsed
from greencv_core.estimation.trajectory import NO_ORACLE, NOTHING_OBSERVED, Oracle
from tests.support.trajectories import made_up_task, made_up_trajectory, planned

SIX = made_up_trajectory(
    [700, 500, 500, 500, 500, 500], before=(5, 70), task=made_up_task([planned(6)]), used_pct=40
)
"""Six epochs of 10 s, after 5 s."""


def energy_j(method, trajectory, epochs, oracle=NO_ORACLE):
    return method.predict(trajectory.task, trajectory.observe_epochs(epochs), oracle).energy_j


@pytest.mark.parametrize(
    ("oracle", "seconds"),
    [(NO_ORACLE, 5 + 6 * 10), (Oracle(epochs=3), 5 + 3 * 10), (Oracle(duration_s=50.0), 50)],
)
def test_the_power_limit_is_taken_for_the_power_of_the_whole_time(oracle, seconds):
    assert energy_j(PowerLimit(), SIX, 2, oracle) == pytest.approx(100 * seconds)
    assert energy_j(PowerLimitUsed(), SIX, 2, oracle) == pytest.approx(0.4 * 100 * seconds)


def test_a_time_that_is_told_needs_no_epoch_and_a_time_that_is_not_needs_one():
    oracle = Oracle(duration_s=50.0)
    assert PowerLimit().predict(SIX.task, NOTHING_OBSERVED, oracle).energy_j == 5000
    for method in PowerLimit(), PowerLimitUsed():
        with pytest.raises(NotEnoughDataError, match="without a complete epoch"):
            energy_j(method, SIX, 0)


@pytest.mark.parametrize("method", [PowerLimit(), PowerLimitUsed()])
def test_a_power_limit_that_is_not_known_is_not_made_up(method):
    trajectory = made_up_trajectory(
        [1, 1], task=made_up_task([planned(2)], limit_w=math.nan), used_pct=40
    )
    with pytest.raises(NotEnoughDataError, match="power limit is not known"):
        energy_j(method, trajectory, 1, Oracle(duration_s=50.0))


@pytest.mark.parametrize(("used", "reason"), [(None, "not known"), (0.0, "not been used yet")])
def test_utilization_must_be_known_and_more_than_none(used, reason):
    trajectory = made_up_trajectory([1, 1], used_pct=used)
    with pytest.raises(NotEnoughDataError, match=reason):
        energy_j(PowerLimitUsed(), trajectory, 1)


def test_the_interval_is_where_the_trainings_learned_from_were():
    method = PowerLimit()
    # Of 100 W for 30 s they took 0.5 and 0.8; the last was over after an epoch, where the others
    # are asked for one that has seen two.
    method.fit(
        [made_up_trajectory([500] * 3), made_up_trajectory([800] * 3), made_up_trajectory([1])]
    )
    estimate = method.predict(SIX.task, SIX.observe_epochs(2), NO_ORACLE)
    assert estimate.energy_j == pytest.approx(6500)
    # The 2.5 % and 97.5 % quantiles of two values, interpolated.
    assert estimate.low_j == pytest.approx(6500 * (0.5 + 0.025 * 0.3))
    assert estimate.high_j == pytest.approx(6500 * (0.5 + 0.975 * 0.3))


def test_without_trainings_learned_from_there_is_no_interval():
    estimate = PowerLimit().predict(SIX.task, SIX.observe_epochs(2), NO_ORACLE)
    assert math.isnan(estimate.low_j)
    assert math.isnan(estimate.high_j)


def took(joules_per_tflop, **condition):
    """Return a training of 3 of at most 5 epochs, in two stages: 2 + 3 = 5 TFLOP."""
    task = made_up_task([planned(2, tflop=1), planned(3, tflop=3)], **condition)
    return made_up_trajectory([joules_per_tflop, joules_per_tflop, 3 * joules_per_tflop], task=task)


MEASURED = [
    *[took(j) for j in (1, 2, 2.5, 30)],
    took(4, environment="other"),
    took(5, architecture="other"),
    took(6, setting="other"),
]
"""The conditions' medians are 2.25, 4, 5 and 6 J per TFLOP."""


@pytest.mark.parametrize(("oracle", "tflop"), [(NO_ORACLE, 2 + 9), (Oracle(epochs=4), 2 + 6)])
def test_operations_cost_the_median_of_the_conditions_medians(oracle, tflop):
    method = Operations()
    method.fit(MEASURED)
    new = took(1, setting="new").task
    assert method.predict(new, NOTHING_OBSERVED, oracle).energy_j == pytest.approx(4.5 * tflop)


def test_operations_interval_holds_how_far_trainings_lay_from_the_median():
    method = Operations()
    method.fit([took(3), took(4), took(5)])
    oracle = Oracle(epochs=3)
    estimate = method.predict(took(1).task, NOTHING_OBSERVED, oracle)
    # Quantiles of 3/4, 4/4 and 5/4, the epochs of each being told as well.
    assert estimate.energy_j == pytest.approx(20)
    assert estimate.low_j == pytest.approx(20 * (0.75 + 0.05 * 0.25))
    assert estimate.high_j == pytest.approx(20 * (1.25 - 0.05 * 0.25))


def test_operations_have_no_answer_without_trainings_that_tell_their_cost():
    method = Operations()
    with pytest.raises(NotEnoughDataError, match="no training shows"):
        method.predict(SIX.task, NOTHING_OBSERVED, NO_ORACLE)
    method.fit(MEASURED)
    nothing_computed = made_up_trajectory([1], task=made_up_task([planned(1, tflop=0)]))
    for trajectories in [], [nothing_computed]:
        with pytest.raises(NotEnoughDataError, match="no training shows"):
            method.fit(trajectories)
        # Nor is the answer that of an earlier fit.
        with pytest.raises(NotEnoughDataError, match="no training shows"):
            method.predict(SIX.task, NOTHING_OBSERVED, NO_ORACLE)


@pytest.mark.parametrize("epochs", [1, 3])
def test_every_epoch_is_taken_for_the_first(epochs):
    assert energy_j(FirstEpoch(), SIX, epochs) == pytest.approx(70 + 6 * 700)
    assert energy_j(FirstEpoch(), SIX, epochs, Oracle(epochs=4)) == pytest.approx(70 + 4 * 700)


def test_the_first_epoch_must_be_over():
    with pytest.raises(NotEnoughDataError, match="no epoch"):
        FirstEpoch().predict(SIX.task, SIX.observe(0.2), NO_ORACLE)  # 13 s of the 15


def test_no_estimate_from_the_first_epoch_is_less_than_what_the_meter_shows():
    rising = made_up_trajectory([10, 100, 100, 100], before=(5, 7))
    assert energy_j(FirstEpoch(), rising, 1) == pytest.approx(7 + 4 * 10)
    assert energy_j(FirstEpoch(), rising, 3) == pytest.approx(7 + 10 + 100 + 100)


def test_the_first_epochs_interval_holds_how_much_later_epochs_differed():
    method = FirstEpoch()
    method.fit([made_up_trajectory([10, 10, 10, 10]), made_up_trajectory([10, 20, 20, 20])])
    estimate = method.predict(SIX.task, SIX.observe_epochs(1), NO_ORACLE)
    assert estimate.energy_j == pytest.approx(4270)
    assert estimate.low_j == pytest.approx(4270 * (1 + 0.025 * 0.75))
    assert estimate.high_j == pytest.approx(4270 * (1.75 - 0.025 * 0.75))
