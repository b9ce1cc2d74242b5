"""PRE learns targets from features, and multiplies them as one does by hand."""

import numpy as np
import pytest

from greencv_core.analysis.result import NotEnoughDataError
from greencv_core.estimation import pre
from greencv_core.estimation.pre import PreEpochs, PrePower
from greencv_core.estimation.trajectory import NO_ORACLE, NOTHING_OBSERVED, Oracle
from tests.support.trajectories import made_up_task, made_up_trajectory, planned

SMALL, LARGE = {"gflops": 1.0, "batch": 64.0}, {"gflops": 10.0, "batch": 32.0}
TOLD = Oracle(epochs=7, duration_s=50.0)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(pre, "DRAWS", 10)


def task_of(features):
    return made_up_task([planned(4)], features=features)


def trained(features, epoch_j, n=6):
    """Return trainings of 4 epochs of 10 s: 1 W for each 10 J of an epoch, 5 s before included."""
    trajectory = made_up_trajectory(
        [epoch_j] * 4, task=task_of(features), before=(5.0, epoch_j / 2), after=(5.0, epoch_j / 2)
    )
    return [trajectory] * n


MEASURED = [*trained(SMALL, 1000.0), *trained(LARGE, 2000.0)]
"""100 W and 1 kJ an epoch; 200 W and 2 kJ."""


def predicted_j(method, trajectories, features, oracle=TOLD, observed=NOTHING_OBSERVED):
    method.fit(trajectories)
    return method.predict(task_of(features), observed, oracle).energy_j


@pytest.mark.parametrize(("features", "watts"), [(SMALL, 100), (LARGE, 200)])
def test_power_is_predicted_and_multiplied_by_the_time_told(features, watts):
    assert predicted_j(PrePower(), MEASURED, features) == pytest.approx(watts * 50, rel=0.01)


@pytest.mark.parametrize(("features", "joules"), [(SMALL, 1000), (LARGE, 2000)])
def test_an_epochs_energy_is_predicted_and_multiplied_by_the_epochs(features, joules):
    method = PreEpochs()
    assert predicted_j(method, MEASURED, features) == pytest.approx(joules * 7, rel=0.01)
    planned = method.predict(task_of(features), NOTHING_OBSERVED, NO_ORACLE)
    assert planned.energy_j == pytest.approx(joules * 4, rel=0.01)


def test_between_two_levels_the_regression_runs_smoothly():
    trajectories = [c for x in range(8) for c in trained({"x": float(x)}, 1000.0 + 100 * x, n=3)]
    assert predicted_j(PreEpochs(), trajectories, {"x": 3.5}) == pytest.approx(1350 * 7, rel=0.02)


def test_the_time_comes_from_the_epochs_seen_where_none_is_told():
    method = PrePower()
    observed = MEASURED[0].observe_epochs(2)
    joules = predicted_j(method, MEASURED, SMALL, NO_ORACLE, observed)
    assert joules == pytest.approx(100 * (5 + 4 * 10), rel=0.01)
    with pytest.raises(NotEnoughDataError, match="without a complete epoch"):
        method.predict(task_of(SMALL), NOTHING_OBSERVED, NO_ORACLE)


@pytest.mark.parametrize("variant", [PrePower, PreEpochs])
def test_what_is_measured_on_the_way_changes_nothing(variant):
    dear = made_up_trajectory([9000.0] * 4, task=task_of(SMALL)).observe_epochs(3)
    method = variant()
    assert predicted_j(method, MEASURED, SMALL) == predicted_j(method, MEASURED, SMALL, TOLD, dear)


def test_a_features_unit_does_not_matter():
    def in_units(factor):
        trajectories = trained({"x": factor}, 1000.0) + trained({"x": factor * 2.0}, 2000.0)
        return predicted_j(PreEpochs(), trajectories, {"x": factor * 1.2})

    assert in_units(1e6) == pytest.approx(in_units(1.0), rel=1e-6)


def test_features_that_tell_nothing_are_left_out():
    def more(features, memory):
        return {**features, "a_constant": 3.0, "memory": memory}

    trajectories = trained(more(SMALL, 8.0), 1000.0) + trained(more(LARGE, np.nan), 2000.0)
    new = {"gflops": 4.0, "batch": 48.0}
    joules = predicted_j(PreEpochs(), MEASURED, new)
    # Of the new one, they need not be known, nor be the same.
    for others in more(new, np.nan), {**new, "a_constant": 99.0}:
        assert predicted_j(PreEpochs(), trajectories, others) == pytest.approx(joules)


def test_features_are_told_by_their_names_not_by_their_order():
    turned = [*trained(dict(reversed(SMALL.items())), 1000.0), *trained(LARGE, 2000.0)]
    new = {"batch": 48.0, "gflops": 2.0}
    usual = predicted_j(PreEpochs(), MEASURED, dict(reversed(new.items())))
    assert predicted_j(PreEpochs(), turned, new) == usual


@pytest.mark.parametrize("new", [{"gflops": np.nan, "batch": 64.0}, {"batch": 64.0}])
def test_a_feature_that_was_learned_from_must_be_known(new):
    with pytest.raises(NotEnoughDataError, match="gflops is not known"):
        predicted_j(PreEpochs(), MEASURED, new)


def test_far_from_everything_measured_a_share_of_the_least_is_predicted():
    far = {"gflops": 1e6, "batch": 1e6}
    assert predicted_j(PrePower(), MEASURED, far) == pytest.approx(0.1 * 100 * 50)
    assert predicted_j(PreEpochs(), MEASURED, far) == pytest.approx(0.1 * 1000 * 7)


@pytest.mark.parametrize(
    ("trajectories", "reason"),
    [
        ([], "needs 5 trainings, and there are 0"),
        (trained(SMALL, 1.0, n=2) + trained(LARGE, 2.0, n=2), "needs 5 trainings"),
        ([*trained(SMALL, 1.0, n=4), made_up_trajectory([], before=(5, 5))], "there are 4"),
        (trained(SMALL, 1.0, n=6), "do not differ"),
        (trained({}, 1.0, n=6), "do not differ"),
        (trained({"x": 1.0}, 1.0) + trained({"x": np.nan}, 1.0), "do not differ"),
    ],
)
def test_a_regression_needs_trainings_that_differ(trajectories, reason):
    method = PreEpochs()
    method.fit(MEASURED)
    with pytest.raises(NotEnoughDataError, match=reason):
        method.fit(trajectories)
    with pytest.raises(NotEnoughDataError, match="learned from no trainings"):
        method.predict(task_of(SMALL), NOTHING_OBSERVED, TOLD)


@pytest.mark.filterwarnings("error")
def test_five_trainings_are_enough():
    trajectories = trained(SMALL, 1000.0, n=3) + trained(LARGE, 2000.0, n=2)
    assert predicted_j(PreEpochs(), trajectories, SMALL) == pytest.approx(7000, rel=0.05)


def test_a_new_fit_forgets_the_old_one():
    method = PreEpochs()
    first = predicted_j(method, MEASURED, SMALL)
    trajectories = [*trained(SMALL, 3000.0), *trained(LARGE, 2000.0)]
    assert predicted_j(method, trajectories, SMALL) == pytest.approx(3 * first, rel=0.01)


def test_fits_with_as_many_draws_as_are_used_repeat(monkeypatch):
    monkeypatch.undo()
    new = {"gflops": 4.0, "batch": 48.0}
    assert predicted_j(PreEpochs(), MEASURED, new) == predicted_j(PreEpochs(), MEASURED, new)


def test_the_interval_is_where_the_trainings_learned_from_were():
    trajectories = [
        *trained(SMALL, 900.0), *trained(SMALL, 1100.0),
        *trained(LARGE, 1800.0), *trained(LARGE, 2200.0),
    ]  # fmt: skip
    method = PrePower()
    method.fit(trajectories)
    estimate = method.predict(task_of(SMALL), NOTHING_OBSERVED, TOLD)
    assert estimate.energy_j == pytest.approx(5000, rel=0.03)
    # Half of each condition took 0.9 of its mean, half 1.1.
    assert estimate.low_j == pytest.approx(4500, rel=0.03)
    assert estimate.high_j == pytest.approx(5500, rel=0.03)
