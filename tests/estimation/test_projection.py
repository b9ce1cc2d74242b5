"""The online Bayesian projection: before a training, and after each of its epochs."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from greencv_core.analysis.result import NotEnoughDataError
from greencv_core.estimation.base import QUANTILES
from greencv_core.estimation.baselines import FirstEpoch
from greencv_core.estimation.trajectory import (
    NO_ORACLE,
    NOTHING_OBSERVED,
    Epochs,
    Observed,
    Oracle,
    Trajectory,
)
from tests.support.projections import after, fitted, holds, in_order, width
from tests.support.trajectories import made_up_task, planned, probe_epochs, simulated, training


def amplified(trajectory: Trajectory, factor: float) -> Trajectory:
    """Return a training as long as this one, whose operations take another energy."""
    idle_w = trajectory.task.idle_power_w
    idle_j, epochs = idle_w * trajectory.time_s, trajectory.epochs
    above_j = epochs.energy_j - idle_w * epochs.duration_s
    return replace(
        trajectory,
        epochs=replace(epochs, energy_j=epochs.energy_j + (factor - 1) * above_j),
        energy_so_far_j=idle_j + factor * (trajectory.energy_so_far_j - idle_j),
    )


@pytest.fixture(scope="module")
def known():
    return simulated(np.random.default_rng(5), architectures=5, idle_w=100.0)


@pytest.fixture(scope="module")
def experienced(known):
    """All but the third architecture."""
    return fitted(trajectory for trajectory in known if trajectory.task.architecture != "a2")


@pytest.fixture(scope="module")
def new(known):
    """A training of the third architecture."""
    return next(trajectory for trajectory in known if trajectory.task.architecture == "a2")


def test_without_trainings_epochs_and_batches_there_is_no_answer():
    trajectory = training(made_up_task([planned(30)]), [500.0] * 30, before=(5, 50))
    for observed in NOTHING_OBSERVED, trajectory.observe(0.005), trajectory.observe(0.02):
        assert not len(observed.epochs)
        with pytest.raises(NotEnoughDataError, match="to predict from"):
            fitted().predict(trajectory.task, observed, NO_ORACLE)


def test_without_trainings_rehearsed_epochs_are_answer_enough():
    task = made_up_task([planned(5, name="frozen"), planned(20, name="main", tflop=3)], idle_w=3)
    estimate = fitted().predict(probe_epochs(task, [100, 250]), NOTHING_OBSERVED, NO_ORACLE)
    assert estimate.energy_j == pytest.approx(5 * 100 + 20 * 250, rel=0.05)
    assert estimate.duration_s == pytest.approx(25 * 10, rel=0.05)
    assert holds(estimate, 5500)
    assert 0.04 < width(estimate) / 5500 < 0.6


def test_measured_epochs_outweigh_rehearsed_ones():
    trajectory = training(made_up_task([planned(30)]), [500.0] * 30)
    task = probe_epochs(trajectory.task, [600], each_s=12)
    before, later = (
        fitted().predict(task, trajectory.observe_epochs(n), NO_ORACLE).energy_j for n in (0, 10)
    )
    assert before == pytest.approx(30 * 600, rel=0.05)
    assert later == pytest.approx(30 * 500, rel=0.02)


@pytest.mark.parametrize("idle_w", [0, 20])
def test_constant_epochs_are_projected_and_the_interval_shrinks(idle_w):
    trajectory = training(made_up_task([planned(30)], idle_w=idle_w), [500.0] * 30, before=(7, 140))
    estimates = [after(fitted(), trajectory, n) for n in (1, 2, 4, 8, 15, 25)]
    for estimate in estimates:
        assert estimate.energy_j == pytest.approx(trajectory.energy_j, rel=0.02)
        assert estimate.duration_s == pytest.approx(trajectory.duration_s, rel=0.02)
        assert holds(estimate, trajectory.energy_j)
        assert estimate.low_s <= trajectory.duration_s <= estimate.high_s
        assert in_order(estimate)
    widths = [width(estimate) for estimate in estimates]
    assert (np.diff(widths) < 0).all()
    assert widths[-1] < widths[0] / 10


def test_a_stage_not_seen_yet_is_known_from_other_trainings():
    """Of all architectures a main epoch costs 2.5 times a frozen one."""

    def of(name, gflops, each_j, run_id="run"):
        stages = planned(5, gflops, "frozen"), planned(20, 2 * gflops, "main")
        task = made_up_task(stages, gflops, architecture=name)
        return training(task, [each_j] * 5, [2.5 * each_j] * 20, run_id=run_id)

    method = fitted(
        of(f"a{i}", 2.0**i, 300 * 1.8**i, f"{i} {run}") for i in range(5) for run in range(3)
    )
    trajectory = of("new", 6.0, 1500.0)
    estimate = after(method, trajectory, 3)
    assert estimate.energy_j == pytest.approx(trajectory.energy_j, rel=0.1)
    assert holds(estimate, trajectory.energy_j)
    assert width(estimate) < trajectory.energy_j
    first = after(FirstEpoch(), trajectory, 3).energy_j
    assert first == pytest.approx(25 * 1500)
    assert not holds(estimate, first)
    # A main epoch tells more.
    assert width(after(method, trajectory, 6)) < width(estimate) / 2


def test_a_first_epoch_that_costs_more_is_known_from_other_trainings():
    def of(name, each_j, run_id="run"):
        task = made_up_task([planned(30)], architecture=name)
        return training(task, [1.2 * each_j] + [each_j] * 29, run_id=run_id)

    method = fitted(of(f"a{i}", 100 * (1 + i), f"{i} {run}") for i in range(6) for run in range(5))
    trajectory = of("new", 370.0)
    first = after(FirstEpoch(), trajectory, 1).energy_j
    assert first == pytest.approx(1.19 * trajectory.energy_j, rel=0.01)
    estimate = after(method, trajectory, 1)
    assert estimate.energy_j == pytest.approx(trajectory.energy_j, rel=0.04)
    assert holds(estimate, trajectory.energy_j)


def test_before_training_a_known_condition_is_expected_as_it_was(known):
    method = fitted(known)
    same = [trajectory for trajectory in known if trajectory.run_id.startswith("a2-e1")]
    usual_j = np.mean([trajectory.energy_j for trajectory in same])
    usual_s = np.mean([trajectory.duration_s for trajectory in same])
    estimate = method.predict(same[0].task, NOTHING_OBSERVED, NO_ORACLE)
    assert estimate.energy_j == pytest.approx(usual_j, rel=0.05)
    assert estimate.duration_s == pytest.approx(usual_s, rel=0.05)
    assert width(estimate) < 0.4 * usual_j


def test_before_training_a_known_condition_is_as_unsure_as_its_runs_scatter():
    task = made_up_task([planned(30)])
    usual = np.exp(np.random.default_rng(1).normal(np.log(500), 0.2, 40))
    method = fitted(training(task, [j] * 30, run_id=str(i)) for i, j in enumerate(usual))
    estimate = method.predict(task, NOTHING_OBSERVED, NO_ORACLE)
    assert 2 * 1.96 * 0.2 * 0.8 < np.log(estimate.high_j / estimate.low_j) < 2.5


def test_a_run_that_strays_from_its_condition_does_not_take_it_along():
    task = made_up_task([planned(30)])
    trajectories = [training(task, [j] * 30, run_id=str(j)) for j in (1500, 500, 501, 502, 503)]
    estimate = fitted(trajectories).predict(task, NOTHING_OBSERVED, NO_ORACLE)
    assert np.interp(0.5, QUANTILES, estimate.quantiles_j) == pytest.approx(15000, rel=0.1)


def test_before_training_a_new_architecture_is_less_sure_than_a_known_one(known, experienced, new):
    told_nothing = new.task, NOTHING_OBSERVED, NO_ORACLE
    fresh, usual = experienced.predict(*told_nothing), fitted(known).predict(*told_nothing)
    assert holds(fresh, new.energy_j)
    assert width(fresh) > 2 * width(usual)
    elsewhere = replace(new.task, environment="unknown")
    assert width(experienced.predict(elsewhere, NOTHING_OBSERVED, NO_ORACLE)) > width(fresh)


def test_what_comes_before_the_first_epoch_is_expected_as_others_had_it():
    """A hundred seconds at 30 W, before ten epochs of a second and 50 J."""
    task = made_up_task([planned(10)], idle_w=30)
    trajectories = [
        training(task, [50.0] * 10, each_s=1.0, before=(100, 3000), run_id=str(i)) for i in range(8)
    ]
    estimate = fitted(trajectories).predict(task, NOTHING_OBSERVED, NO_ORACLE)
    assert estimate.energy_j == pytest.approx(3000 + 10 * 50, rel=0.02)
    assert estimate.duration_s == pytest.approx(100 + 10, rel=0.02)


def test_another_training_of_the_fit_is_forgotten_at_the_next_fit(known, new):
    method = fitted(known)
    before = after(method, new, 0)
    method.fit([amplified(trajectory, 3.0) for trajectory in known])
    assert after(method, new, 0).energy_j > 1.5 * before.energy_j


def test_no_estimate_is_below_what_was_metered():
    """The epoch that goes on takes longer, and more, than all that was to come."""
    task = made_up_task([planned(3)])
    epochs = Epochs(np.zeros(1, dtype=np.int64), np.array([10.0]), np.array([100.0]))
    for oracle in NO_ORACLE, Oracle(epochs=2), Oracle(3, 900.0):
        estimate = fitted().predict(task, Observed(1000.0, 1e6, epochs), oracle)
        assert min(estimate.low_j, estimate.energy_j, estimate.high_j) >= 1e6
        assert min(estimate.quantiles_j) >= 1e6
        assert min(estimate.low_s, estimate.duration_s) >= 1000


@pytest.mark.parametrize("epochs", [30, 31])
def test_when_nothing_is_left_it_is_what_was_metered(epochs):
    trajectory = training(made_up_task([planned(30)]), [500.0] * 30, before=(5, 77))
    estimate = after(fitted(), trajectory, epochs)
    assert estimate.energy_j == estimate.low_j == estimate.high_j == pytest.approx(15077)
    assert estimate.duration_s == pytest.approx(305)
    stopped = after(fitted(), trajectory, 12, Oracle(epochs=12))
    assert stopped.energy_j == stopped.high_j == pytest.approx(77 + 12 * 500)


def test_quantiles_are_in_order_and_the_interval_is_among_them(experienced, new):
    estimate = after(experienced, new, 2)
    assert len(estimate.quantiles_j) == len(QUANTILES)
    assert (np.diff(estimate.quantiles_j) > 0).all()
    at = dict(zip(QUANTILES, estimate.quantiles_j, strict=True))
    assert (estimate.low_j, estimate.high_j) == (at[0.025], at[0.975])
    assert at[0.25] < estimate.energy_j < at[0.75]


def test_the_estimate_is_in_its_interval_however_little_is_known():
    """One training of something else entirely: the interval spans powers of ten."""
    task = made_up_task([planned(5, name="frozen"), planned(20, 3.0, "main")])
    method = fitted([training(task, [100.0] * 5, [250.0] * 20)])
    other = made_up_task(task.stages, 20.0, architecture="new", environment="other")
    for one in other, task:
        estimate = method.predict(one, NOTHING_OBSERVED, NO_ORACLE)
        assert in_order(estimate)
    assert estimate.energy_j == pytest.approx(5500, rel=0.05)
    assert holds(estimate, 5500)
    rows = training(task, [100.0] * 5, [250.0] * 20)
    for epochs in 1, 5, 6:
        assert in_order(after(fitted(), rows, epochs))


def test_a_known_duration_is_used(experienced, new):
    untold, told = (after(experienced, new, 0, one) for one in (NO_ORACLE, new.oracle))
    assert told.high_j / told.low_j < 0.75 * untold.high_j / untold.low_j
    assert told.duration_s == pytest.approx(new.duration_s)
    assert told.low_s == told.high_s == pytest.approx(new.duration_s)
    assert holds(told, new.energy_j)
    assert untold.high_s > 1.2 * untold.low_s


def test_idle_power_is_taken_for_all_of_a_longer_time(experienced, new):
    n = len(new.epochs)
    usual, longer = (
        after(experienced, new, 6, Oracle(n, share * new.duration_s)).energy_j
        for share in (1, 1.02)
    )
    more_j = 0.02 * new.duration_s * new.task.idle_power_w
    assert longer - usual == pytest.approx(more_j, rel=0.15)


def test_power_in_half_an_epoch_times_the_known_time_is_the_energy():
    """Power alone does not tell how long it lasts, nor does the time alone tell the power."""

    def of(name, each_j, each_s, run_id="run"):
        task = made_up_task([planned(30)], architecture=name)
        return training(task, [each_j] * 30, each_s=each_s, run_id=run_id)

    kinds = {"a0": (200, 4), "a1": (900, 9), "a2": (500, 20), "a3": (400, 5), "a4": (3000, 25)}
    method = fitted(of(name, *kind, f"{name} {r}") for name, kind in kinds.items() for r in (0, 1))
    trajectory = of("new", 800.0, 12.0)
    half, oracle = trajectory.observe(0.5 / 30), trajectory.oracle
    assert not len(half.epochs)
    both = method.predict(trajectory.task, half, oracle)
    assert both.energy_j == pytest.approx(trajectory.energy_j, rel=0.03)
    assert holds(both, trajectory.energy_j)
    assert width(both) < 0.3 * trajectory.energy_j
    for observed, what in (half, Oracle(epochs=30)), (NOTHING_OBSERVED, oracle):
        assert width(method.predict(trajectory.task, observed, what)) > 3 * width(both)


def test_power_in_an_epoch_that_goes_on_moves_the_estimate(experienced, new):
    now = (new.before_s + 0.5 * float(new.epochs.duration_s[0])) / new.duration_s
    cool, warm, hot = (
        experienced.predict(one.task, one.observe(now), one.oracle).energy_j
        for one in (amplified(new, 0.6), new, amplified(new, 1.6))
    )
    assert cool < 0.95 * warm
    assert hot > 1.05 * warm


def test_power_in_the_first_epoch_of_the_next_stage_tells_of_that_stage():
    stages = planned(10, name="frozen"), planned(6, 2.0, name="main")
    trajectory = training(made_up_task(stages), [100.0] * 10, [400.0] * 6)
    now = trajectory.observe((10 + 0.5) / 16)
    assert len(now.epochs) == 10
    told = fitted().predict(trajectory.task, now, trajectory.oracle)
    assert told.energy_j == pytest.approx(trajectory.energy_j, rel=0.1)
    assert width(told) < width(after(fitted(), trajectory, 10, trajectory.oracle)) / 4


def test_a_part_so_small_that_it_tells_nothing_does_not_move_it(experienced, new):
    now = (new.before_s + 0.02 * float(new.epochs.duration_s[0])) / new.duration_s
    usual, hot = (
        experienced.predict(one.task, one.observe(now), one.oracle).energy_j
        for one in (new, amplified(new, 3.0))
    )
    assert hot == pytest.approx(usual, rel=0.01)


@pytest.mark.parametrize("power_w", [50, 20], ids=["all idle", "less than idle"])
def test_an_epoch_that_is_all_idle_is_projected_too(power_w):
    """The idle power, said to be 50 W, is as much as was metered, or more."""
    task = made_up_task([planned(30)], idle_w=50)
    trajectory = training(task, [10.0 * power_w] * 30)
    for method in fitted(), fitted([replace(trajectory, run_id=str(i)) for i in range(4)]):
        estimate = after(method, trajectory, 10)
        assert in_order(estimate)
        assert estimate.low_j >= 10 * 10 * power_w
        # What remains takes what was metered, not the idle power that was said.
        assert estimate.energy_j == pytest.approx(trajectory.energy_j, rel=0.1)


def test_a_moment_before_the_first_epoch_is_no_harm(experienced, new):
    observed = new.observe(0.5 * new.before_s / new.duration_s)
    assert observed.duration_s < new.before_s
    estimate = experienced.predict(new.task, observed, NO_ORACLE)
    assert holds(estimate, new.energy_j)


def test_a_training_that_lacks_its_last_stage_teaches_the_one_it_had():
    stages = planned(5, name="frozen"), planned(20, name="main", fewest=1)
    cut = training(made_up_task(stages), [100.0] * 3, [])
    estimate = fitted([cut]).predict(cut.task, NOTHING_OBSERVED, Oracle(epochs=5))
    assert estimate.energy_j == pytest.approx(500, rel=0.05)


def test_predicting_and_fitting_and_pickling_again_give_the_same(known, experienced, new):
    moments = [(n, oracle) for n in (0, 2, 6) for oracle in (NO_ORACLE, new.oracle)]
    once = [after(experienced, new, *moment) for moment in moments]
    assert [after(experienced, new, *moment) for moment in reversed(moments)] == once[::-1]
    pickled = pickle.loads(pickle.dumps(experienced))
    assert [after(pickled, new, *moment) for moment in moments] == once
    others = [trajectory for trajectory in known if trajectory.task.architecture != "a2"]
    assert after(fitted(others), new, 2) == after(experienced, new, 2)


def test_what_was_asked_of_another_condition_does_not_matter(known, new):
    """They compute the same, and are called otherwise."""
    asked_of_all = fitted(known)
    unasked = pickle.dumps(asked_of_all)
    after(asked_of_all, new, 2)
    for names in {"architecture": "b"}, {"environment": "f"}, {"setting": "t"}:
        other = replace(new, task=replace(new.task, **names))
        assert after(asked_of_all, other, 2) == after(pickle.loads(unasked), other, 2)


def test_of_trainings_as_it_assumes_them_its_intervals_hold_most():
    """Six architectures in two environments, five runs each; each architecture is new once."""
    trajectories = simulated(np.random.default_rng(2022))
    inside, errors, widths = [], [], []
    for name in {each.task.architecture: None for each in trajectories}:
        method = fitted(each for each in trajectories if each.task.architecture != name)
        for trajectory in (each for each in trajectories if each.task.architecture == name):
            estimate = method.predict(trajectory.task, trajectory.observe(0.25), NO_ORACLE)
            inside.append(holds(estimate, trajectory.energy_j))
            errors.append(abs(estimate.energy_j / trajectory.energy_j - 1))
            widths.append(width(estimate) / trajectory.energy_j)
    assert len(inside) == 60
    assert 0.85 <= np.mean(inside) <= 1
    assert np.mean(errors) < 0.05
    assert np.median(widths) < 0.2
