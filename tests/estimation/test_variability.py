"""Run-to-run and epoch-to-epoch variability, estimated from finished runs."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from greencv_core.estimation.bayesian.variability import (
    EPOCH_SHARES,
    FIRST_GUESS,
    OBSERVED_EPOCHS,
    PARTIAL_GUESS,
    estimate_partial_epochs,
    estimate_variability,
    late_mean,
    log_mean,
)
from tests.support.trajectories import made_up_task, made_up_trajectory, planned


def conditions(n, runs):
    return [(f"a{i}", "e", "s", "main", 0.0) for i in range(n) for _ in range(runs)]


def of_means(means, runs=2, stages=1):
    """Learn from conditions of so many runs, each with so many stages, given run by run."""
    n = len(means) // (runs * stages)
    where = [
        (f"a{i}", "e", "s", f"stage {k}", 0.0)
        for i in range(n)
        for _ in range(runs)
        for k in range(stages)
    ]
    of_run = [f"run {i}" for i in range(n * runs) for _ in range(stages)]
    return estimate_variability(of_run, where, np.asarray(means), [np.empty(0)] * len(means))


def of_epochs(epochs):
    """Learn from as many conditions of one run each."""
    n = len(epochs)
    return estimate_variability(
        [str(i) for i in range(n)], conditions(n, 1), np.zeros(n), list(epochs)
    )


@pytest.mark.parametrize("sd", [0.01, 0.2])
@pytest.mark.parametrize(("runs", "wider"), [(2, 1.0), (3, 1.2), (5, 1.15), (20, 1.03)])
def test_runs_scatter_about_their_condition_as_they_were_made_to(runs, wider, sd):
    """The median of few runs strays more than their mean."""
    rng = np.random.default_rng(1)
    n = 600
    of_condition = np.repeat(rng.normal(0, 5, n), runs)
    got = of_means(of_condition + rng.normal(0, sd, n * runs), runs)
    assert got.run_sd == pytest.approx(wider * sd, rel=0.07)


def test_a_condition_of_a_single_run_tells_nothing():
    wild = np.random.default_rng(1).normal(0, 5, 50)
    assert of_means(wild, runs=1).run_sd == FIRST_GUESS
    # Nor does it dilute what others tell.
    pairs = np.tile([0.0, 0.5], 20)
    where = conditions(20, 2) + [(f"single {i}", "e", "s", "main", 0.0) for i in range(300)]
    n = len(where)
    got = estimate_variability(
        [str(i) for i in range(n)], where, np.r_[pairs, np.zeros(300)], [np.empty(0)] * n
    )
    assert got.run_sd > 0.15


def test_one_outlier_in_hundreds_does_not_move_the_scatter():
    means = np.random.default_rng(1).normal(0, 0.02, 400)
    without = of_means(means, runs=4).run_sd
    means[7] += 5.0
    assert of_means(means, runs=4).run_sd == pytest.approx(without, rel=0.05)


def test_few_runs_are_taken_for_the_first_guess_and_many_for_themselves():
    few, many = of_means([0.0, 0.5]).run_sd, of_means(np.tile([0.0, 0.5], 200)).run_sd
    assert few > FIRST_GUESS
    alike = of_means(np.zeros(2 * 200)).run_sd
    assert alike == pytest.approx(FIRST_GUESS * np.sqrt(5 / 405))
    # Both stray by 0.25, and by the square root of two more as there are but two of a kind.
    assert many == pytest.approx(0.25 * np.sqrt(2) / stats.norm.ppf(0.975), rel=0.02)


def test_runs_of_few_conditions_make_a_wider_scatter():
    means = np.random.default_rng(1).normal(0, 0.1, 600)
    assert of_means(means, runs=200).run_sd > 2 * of_means(means, runs=6).run_sd


def test_stages_of_a_condition_do_not_count_as_conditions():
    means = np.tile([0.0, 0.5], 100)
    where = [("a", "e", "s", f"stage {i}", 0.0) for i in range(100) for _ in range(2)]
    n = len(where)
    got = estimate_variability([str(i) for i in range(n)], where, means, [np.empty(0)] * n)
    assert got.run_sd > 2 * of_means(means).run_sd


def strays(rng, correlation, runs=200):
    own = rng.normal(size=(runs, 2))
    both = own[:, 0], correlation * own[:, 0] + np.sqrt(1 - correlation**2) * own[:, 1]
    return 0.05 * np.stack(both, axis=1).ravel()


@pytest.mark.parametrize(("made", "low", "high"), [(0, 0, 0.2), (0.7, 0.55, 0.8), (1, 0.95, 0.95)])
def test_what_a_runs_stages_share_is_the_correlation_of_their_straying(made, low, high):
    means = strays(np.random.default_rng(3), made)
    assert low <= of_means(means, runs=10, stages=2).stage_correlation <= high


def test_stages_that_stray_in_opposite_directions_share_nothing():
    assert of_means(strays(np.random.default_rng(3), -1), runs=10, stages=2).stage_correlation == 0


@pytest.mark.parametrize(("runs", "stages"), [(1, 2), (10, 1)])
def test_without_pairs_of_stages_that_stray_nothing_is_shared(runs, stages):
    means = np.repeat(np.random.default_rng(3).normal(size=100), 2)
    assert of_means(means, runs=runs, stages=stages).stage_correlation == 0


def test_four_pairs_are_too_few_and_a_stage_that_never_strays_shares_nothing():
    alike = np.repeat(np.random.default_rng(3).normal(size=100), 2)
    assert of_means(alike[:8], runs=4, stages=2).stage_correlation == 0
    assert of_means(alike, runs=10, stages=2).stage_correlation > 0.9
    alike[1::2] = 0
    assert of_means(alike, runs=10, stages=2).stage_correlation == 0


def test_the_more_epochs_were_seen_the_better_they_tell_the_rest():
    rng = np.random.default_rng(1)
    got = of_epochs(rng.normal(3, 0.1, (80, 150)))
    sds = [got.remaining_error(n)[1] for n in OBSERVED_EPOCHS]
    assert (np.diff(sds) < 0).all()
    assert sds[0] == pytest.approx(0.1, rel=0.25)
    assert sds[-1] < sds[0] / 4
    shifts = [got.remaining_error(n)[0] for n in OBSERVED_EPOCHS]
    assert shifts == pytest.approx([0] * len(OBSERVED_EPOCHS), abs=0.03)


def test_a_first_epoch_that_costs_more_is_learned():
    logs = np.zeros((45, 40))
    logs[:, 0] = np.log(1.2)
    got = of_epochs(logs)
    # 45 observations, and the first guess that there is no shift counts as five.
    assert got.remaining_error(1)[0] == pytest.approx(-0.9 * np.log(1.2))
    # Of two or more the first one is not asked.
    assert [got.remaining_error(n)[0] for n in (2, 3, 8)] == pytest.approx(np.zeros(3))
    assert got.remaining_error(1)[1] < FIRST_GUESS


def test_one_stage_that_shifts_does_not_make_a_shift():
    logs = np.zeros((45, 40))
    logs[0, 0] = 3.0
    assert of_epochs(logs).remaining_error(1)[0] == 0


def test_a_stage_of_which_less_is_left_than_was_seen_tells_nothing():
    logs = np.random.default_rng(1).normal(0, 3, (50, 10))
    got = of_epochs(logs)
    assert got.remaining_error(8) == (0, pytest.approx(FIRST_GUESS / np.sqrt(8)))
    assert got.remaining_error(5)[1] > 10 * FIRST_GUESS


def test_without_epochs_the_first_guess_shrinks_as_more_are_seen():
    got = of_epochs([])
    for n in OBSERVED_EPOCHS:
        assert got.remaining_error(n) == (0, pytest.approx(FIRST_GUESS / np.sqrt(n)))
    assert got.run_sd == FIRST_GUESS
    assert got.stage_correlation == 0


def test_between_the_numbers_learned_it_is_between_and_beyond_them_it_stays():
    got = of_epochs(np.random.default_rng(1).normal(3, 0.1, (80, 150)))
    assert got.remaining_error(8)[1] > got.remaining_error(10)[1] > got.remaining_error(12)[1]
    assert got.remaining_error(1000) == got.remaining_error(50)


def test_the_mean_is_of_what_the_logarithms_are_of_and_the_settled_one_of_the_later_half():
    assert log_mean(np.log([1.0, 3.0])) == pytest.approx(np.log(2))
    assert late_mean(np.log([9.0])) == pytest.approx(np.log(9))
    assert late_mean(np.log([9.0, 2.0])) == pytest.approx(np.log(2))
    assert late_mean(np.log([9.0, 2.0, 4.0])) == pytest.approx(np.log(3))
    assert late_mean(np.log([9.0, 9.0, 2.0, 4.0])) == pytest.approx(np.log(3))


def constant(n=20, environment="e"):
    return made_up_trajectory(
        [500.0] * n, before=(3, 40), task=made_up_task([planned(n)], environment=environment)
    )


def halves(early_w, late_w, n=20, environment="e"):
    """Return a training whose every epoch takes another power in its second half."""
    trajectory = constant(n, environment)
    steps_j = np.tile([5 * early_w, 5 * late_w], n)
    return replace(
        trajectory,
        epochs=replace(trajectory.epochs, energy_j=np.full(n, 5.0 * (early_w + late_w))),
        time_s=np.concatenate([[0], 3 + 5.0 * np.arange(2 * n + 1)]),
        energy_so_far_j=np.concatenate([[0], 40 + np.concatenate([[0], np.cumsum(steps_j)])]),
    )


def test_of_constant_power_any_part_tells_the_whole():
    got = estimate_partial_epochs([constant(environment=f"e{i}") for i in range(20)])
    for share in EPOCH_SHARES:
        shift, sd = got.remaining_error(share)
        assert shift == pytest.approx(0, abs=1e-9)
        # Sixty epochs, and the first guess that counts as five.
        assert sd == pytest.approx(PARTIAL_GUESS * np.sqrt(5 / 65))


def test_power_that_rises_within_an_epoch_is_a_shift():
    got = estimate_partial_epochs([halves(50, 150, environment=f"e{i}") for i in range(20)])
    shifts = [got.remaining_error(share)[0] for share in EPOCH_SHARES]
    # Until 0.75: half at 50 W, a quarter at 150 W; until 0.95: 0.5 and 0.45.
    by_hand = [np.log(2), np.log(2), np.log(2), np.log(75 / 62.5), np.log(95 / 92.5)]
    assert shifts == pytest.approx(by_hand)
    assert got.remaining_error(0.6)[0] == pytest.approx(np.interp(0.6, EPOCH_SHARES, by_hand))
    assert got.remaining_error(1.4) == got.remaining_error(0.95)
    # It is the same in each.
    assert got.remaining_error(0.5)[1] < PARTIAL_GUESS / 3


def test_the_scatter_of_the_parts_is_learned():
    rng = np.random.default_rng(1)
    early_w = 100 * np.exp(rng.normal(0, 0.3, 60))
    trajectories = [halves(w, 100, environment=f"e{i}") for i, w in enumerate(early_w)]
    made = np.log((early_w + 100) / 2 / early_w).std()
    got = estimate_partial_epochs(trajectories)
    assert got.remaining_error(0.25)[1] == pytest.approx(made, rel=0.25)
    assert got.remaining_error(0.95)[1] < got.remaining_error(0.5)[1] / 3


def test_so_small_a_part_tells_nothing():
    got = estimate_partial_epochs([constant()])
    assert got.remaining_error(0.0) is None
    assert got.remaining_error(0.09) is None
    assert got.remaining_error(0.1) is not None


def test_without_trainings_a_part_tells_what_was_guessed():
    got = estimate_partial_epochs([])
    assert got.remaining_error(0.5) == (0, pytest.approx(PARTIAL_GUESS))


def test_the_first_epoch_warms_up_and_is_not_asked_unless_it_is_the_only_one():
    odd, even = halves(50, 150, n=2), halves(100, 100, n=2)
    so_far_j = np.concatenate([odd.energy_so_far_j[:4], even.energy_so_far_j[4:]])
    got = estimate_partial_epochs([replace(even, energy_so_far_j=so_far_j)])
    shift, sd = got.remaining_error(0.5)
    assert shift == pytest.approx(0)
    assert sd < PARTIAL_GUESS
    alone = estimate_partial_epochs([halves(50, 150, n=1)])
    assert alone.remaining_error(0.5)[0] == pytest.approx(np.log(2))
