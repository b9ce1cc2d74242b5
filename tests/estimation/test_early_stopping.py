"""What is believed of the number of epochs before a training ends."""

import numpy as np
import pytest

from greencv_core.estimation.bayesian.early_stopping import EpochCountModel, fit_epoch_counts
from tests.support.trajectories import made_up_task, planned, training

MAY_STOP = planned(100, fewest=5)


def epoch_counts(*kinds, plan=MAY_STOP):
    """Return a model from (architecture, epochs of each of its trainings)."""
    names = [name for name, epochs in kinds for _ in epochs]
    epochs = [n for _, some in kinds for n in some]
    return EpochCountModel(tuple(names), np.array(epochs, dtype=np.int64), (plan,) * len(names))


def task(architecture="a", plan=MAY_STOP):
    return made_up_task([planned(10, name="frozen"), plan], architecture=architecture)


def draws(of, architecture="a", had=0, n=1000, plan=MAY_STOP, seed=1):
    return of.sample(task(architecture, plan), had, n, np.random.default_rng(seed))


@pytest.mark.parametrize("had", [0, 3, 30])
def test_where_nothing_stops_early_it_is_what_was_planned(had):
    fixed = planned(30)
    experienced = epoch_counts(("a", [12] * 50), plan=fixed)
    assert (draws(experienced, had=had, plan=fixed) == 30).all()
    assert (draws(epoch_counts(), had=had, plan=fixed) == 30).all()


@pytest.mark.parametrize("had", [0, 5, 12, 31, 60, 99, 100])
@pytest.mark.parametrize(
    "of",
    [
        epoch_counts(),
        epoch_counts(("a", [5, 6, 30, 100] * 20)),
        epoch_counts(("b", [100] * 50)),
        epoch_counts(("a", [5] * 3000)),
    ],
)
def test_never_fewer_than_were_had_nor_than_the_fewest_nor_more_than_the_most(of, had):
    some = draws(of, had=had)
    assert some.shape == (1000,)
    assert some.dtype == np.int64
    assert some.min() >= max(had, 5)
    assert some.max() <= 100


def test_more_epochs_than_planned_leave_none_to_come():
    assert (draws(epoch_counts(("a", [20] * 50)), had=130) == 100).all()


def test_many_trainings_of_its_own_architecture_dominate():
    of = epoch_counts(("a", [20] * 100), ("b", [60] * 300), ("c", [90] * 300))
    own = draws(of)
    assert np.mean(np.abs(own - 20) <= 6) > 0.85
    assert np.mean(np.abs(draws(of, "new") - 20) <= 6) < 0.45


def test_few_trainings_of_its_own_leave_room_for_others():
    of = epoch_counts(("a", [20, 20]), ("b", [60] * 300))
    own = draws(of)
    assert 0.3 < np.mean(np.abs(own - 20) <= 6) < 0.65
    assert np.mean(np.abs(own - 60) <= 16) > 0.2


def test_the_other_architectures_count_alike_however_often_they_were_trained():
    of = epoch_counts(("b", [20] * 300), ("c", [60]))
    new = draws(of, "new", n=4000)
    # A third each, the last third being anything.
    assert np.mean(np.abs(new - 20) <= 5) == pytest.approx(1 / 3, abs=0.12)
    assert np.mean(np.abs(new - 60) <= 16) == pytest.approx(1 / 3 + 1 / 9, abs=0.12)


def test_without_experience_it_is_anything_between_the_fewest_and_the_most():
    some = draws(epoch_counts(), n=4000)
    assert some.mean() == pytest.approx(52.5, abs=3)
    shares = np.quantile(some, [0.1, 0.25, 0.75, 0.9])
    assert shares == pytest.approx([14.5, 28.75, 76.25, 90.5], abs=5)


def test_trainings_that_were_planned_otherwise_are_no_experience():
    other = epoch_counts(("a", [20] * 100), plan=planned(50, fewest=5))
    assert np.array_equal(draws(other), draws(epoch_counts()))
    more_at_least = epoch_counts(("a", [20] * 100), plan=planned(100, fewest=7))
    assert np.array_equal(draws(more_at_least), draws(epoch_counts()))


def test_what_an_epoch_of_another_plan_computes_does_not_matter():
    heavier = epoch_counts(("a", [20] * 100), plan=planned(100, fewest=5, tflop=7.0, name="main"))
    assert np.array_equal(draws(heavier), draws(epoch_counts(("a", [20] * 100))))


def test_a_number_observed_may_be_a_somewhat_other_one_the_next_time():
    own = draws(epoch_counts(("a", [45] * 5000)), n=4000)
    middle = own[np.abs(own - 45) < 20]
    assert np.median(middle) == pytest.approx(45, abs=1)
    assert middle.std() == pytest.approx(4, rel=0.15)  # a tenth of what is beyond the fewest


def test_experience_that_has_been_outlasted_does_not_count():
    of = epoch_counts(("a", [20] * 100 + [60] * 100))
    assert np.mean(draws(of, had=0) < 40) > 0.4
    still = draws(of, had=40)
    assert np.median(still) == pytest.approx(60, abs=5)


def test_having_outlasted_all_others_still_answers():
    long = planned(1000, fewest=5)
    of = epoch_counts(("a", [10] * 3000), plan=long)
    some = draws(of, had=60, plan=long, n=4000)
    assert some.min() == 60
    # A quarter of what it had, on average, and one.
    assert some.mean() == pytest.approx(60 + 1 + 0.25 * 60, abs=1.5)


@pytest.mark.parametrize("n", [1, 4, 7])
def test_having_outlasted_all_others_answers_with_few_draws_too(n):
    of = epoch_counts(("a", [10] * 5000))
    for seed in range(20):
        some = draws(of, had=98, n=n, seed=seed)
        assert len(some) == n
        assert some.min() >= 98


@pytest.mark.parametrize("had", [0, 30, 90])
def test_the_same_generator_gives_the_same_draws(had):
    of = epoch_counts(("a", [20, 25, 70]), ("b", [60] * 5))
    assert np.array_equal(draws(of, had=had, seed=4), draws(of, had=had, seed=4))
    assert not np.array_equal(draws(of, had=had, seed=4), draws(of, had=had, seed=5))


def test_the_middle_counts_the_earlier_stages_and_moves_with_what_was_had():
    of = epoch_counts(("a", [20] * 200 + [60] * 100))
    assert of.median(task(), 0) == pytest.approx(10 + 20, abs=3)
    assert of.median(task(), 7) == of.median(task(), 0)  # still the first stage
    assert of.median(task(), 10 + 15) == pytest.approx(10 + 20, abs=3)
    assert of.median(task(), 10 + 40) == pytest.approx(10 + 60, abs=5)
    assert of.median(task(), 10 + 100) == 110
    assert len({epoch_counts().median(task(), 0) for _ in range(10)}) == 1
    assert epoch_counts().median(task(plan=planned(30)), 3) == 40  # nothing stops it early


def test_experience_is_the_last_stages_epochs():
    trajectories = [
        training(task("a"), [1.0] * 10, [2.0] * 7),
        training(task("b"), [1.0] * 10, [2.0] * 30),
        training(made_up_task([MAY_STOP], architecture="c"), [1.0] * 12),
    ]
    of = fit_epoch_counts(trajectories)
    assert of.architectures == ("a", "b", "c")
    assert of.epochs.tolist() == [7, 30, 12]
    assert of.plans == (MAY_STOP,) * 3
    assert not len(fit_epoch_counts([]).epochs)
    assert (draws(fit_epoch_counts([]), had=3) >= 5).all()
