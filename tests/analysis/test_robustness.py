"""Outliers, leave-one-out, specification curve and power."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestIndPower

from greencv_core.analysis import (
    NotEnoughDataError,
    best_against_worst,
    energy_definitions,
    find_outliers,
    leave_one_repetition_out,
    outliers_sentence,
    repetitions_needed,
    specification_curve,
)
from tests.support.tables import ENERGY, made_up_runs, runs_of


def test_leaving_out_each_repetition_is_the_headline_of_the_others():
    runs = made_up_runs(n=4, environments=1)
    result = leave_one_repetition_out(runs)
    assert result.whole == best_against_worst(runs)
    assert result.without["left_out"].tolist() == [0, 1, 2, 3]
    for row in result.without.itertuples():
        by_hand = best_against_worst(runs[runs["repetition"] != row.left_out])
        assert (row.saving, row.ci_low) == (by_hand.saving, by_hand.ci_low)
        assert row.ci_high == by_hand.ci_high
    assert "always between the same two conditions" in result.sentence()
    assert "Without any one of 4 repetitions" in result.sentence()
    with pytest.raises(NotEnoughDataError, match="without repetition 0, a saving needs"):
        leave_one_repetition_out(made_up_runs(n=2))


def test_leaving_out_a_repetition_may_name_another_pair():
    runs = runs_of({"dear": np.full(3, 9.0), "one": np.array([1.0, 1.0, 3.0]),
                       "other": np.array([1.1, 1.1, 1.1])})  # fmt: skip
    result = leave_one_repetition_out(runs, lambda r: best_against_worst(r, "architecture"))
    assert result.without["to"].tolist() == ["other", "other", "one"]
    assert result.whole.cheap == "other"
    assert "in 1 of these cases the pair of conditions changes" in result.sentence()


def exact_spread(sigma, n):
    """Return logarithms of exactly this standard deviation."""
    z = stats.norm.ppf((np.arange(n) + 0.5) / n)
    return np.exp(sigma * z / z.std(ddof=1))


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.1, 0.3])
def test_the_repetitions_needed_are_those_of_a_t_test(sigma):
    runs = runs_of({"a": exact_spread(sigma, 8)})
    row = repetitions_needed(runs).conditions.iloc[0]
    needed = TTestIndPower().solve_power(math.log(1.05) / sigma, alpha=0.05, power=0.8)
    assert row["variation"] == pytest.approx(sigma)
    assert row["repetitions_needed"] == math.ceil(needed)
    effect = TTestIndPower().solve_power(nobs1=8, alpha=0.05, power=0.8)
    assert row["smallest_difference"] == pytest.approx(math.exp(effect * sigma) - 1)


@pytest.mark.parametrize("sigma", [1e-9, 1e-4, 0.002, 0.0045, 0.005, 0.0055, 0.01])
@pytest.mark.filterwarnings("error")
def test_small_spreads_need_few_repetitions(sigma):
    row = repetitions_needed(runs_of({"a": exact_spread(sigma, 5)})).conditions.iloc[0]
    assert 2 <= row["repetitions_needed"] <= 3
    power = TTestIndPower().power(math.log(1.05) / sigma, row["repetitions_needed"], 0.05)
    assert not power < 0.8


def test_the_repetitions_needed_have_the_power_by_simulation():
    runs = runs_of({"a": exact_spread(0.08, 6)})
    n = int(repetitions_needed(runs).conditions["repetitions_needed"].item())
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 0.08, (4000, n)), rng.normal(math.log(1.05), 0.08, (4000, n))
    assert (stats.ttest_ind(a, b, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.03)


def test_the_condition_that_varies_most_is_named():
    runs = runs_of(
        {"calm": exact_spread(0.02, 6), "wild": exact_spread(0.2, 6), "once": np.ones(1)}
    )
    result = repetitions_needed(runs)
    needed = int(result.conditions["repetitions_needed"].iloc[1])
    text = result.sentence()
    assert f"wild @ env0 varies most (20.0%) and needs {needed}; left out: once @ env0 (" in text
    assert "1 of 2 conditions have enough repetitions" in text


def many_choices():
    runs = made_up_runs(n=6, architectures=3, environments=1)
    runs.loc[0, "disturbed"] = True
    runs.loc[[7], ["energy_j", ENERGY, "net_energy_j", "train_energy_j"]] *= 1.5
    return runs


def test_a_specification_curve_has_a_row_for_each_combination():
    runs = many_choices()
    assert len(find_outliers(runs).left_out) == 1
    result = specification_curve(energy_definitions(runs))
    table = result.specifications
    assert len(table) == 3 * 3
    assert not table.duplicated(list(result.choices)).any()
    assert table["saving"].is_monotonic_increasing
    assert result.unanswered == 0
    row = table[(table["energy"] == "net") & (table["runs"] == "without disturbed")].iloc[0]
    net = runs[~runs["disturbed"]].copy()
    net[ENERGY] = net["net_energy_j"] / 1000
    by_hand = best_against_worst(net)
    assert (row["saving"], row["ci_low"]) == pytest.approx((by_hand.saving, by_hand.ci_low))
    assert "In 9 reasonable analyses" in result.sentence()
    assert "between the same two conditions in all" in result.sentence()


def test_choices_that_leave_nothing_out_are_not_counted_twice():
    runs = made_up_runs(n=5, architectures=3, environments=1)
    assert find_outliers(runs).left_out.empty
    result = specification_curve(energy_definitions(runs))
    assert len(result.specifications) == 3
    assert set(result.specifications["runs"]) == {"all"}


def test_a_condition_that_takes_no_more_than_idling_is_named_and_the_others_are_compared():
    runs = made_up_runs(n=5, architectures=4, environments=1)
    runs.loc[runs["architecture"] == "net0", "net_energy_j"] = -0.1
    result = specification_curve(energy_definitions(runs))
    assert set(result.specifications["energy"]) == {"gross", "net", "training alone"}
    assert result.specifications["saving"].max() < 1
    assert result.left_out == ("net0 @ env0",)
    assert "; left out: net0 @ env0 (in some of them: fewer than 2 runs" in result.sentence()


def test_a_specification_curve_names_the_choice_that_moves_it_most():
    runs = many_choices()
    largest = runs["architecture"] == "net2"
    runs.loc[largest, "net_energy_j"] *= 3
    result = specification_curve(energy_definitions(runs))
    medians = result.specifications.groupby("energy")["saving"].median()
    points = 100 * (medians.max() - medians.min())
    assert f"Most depends on the choice of energy, whose medians lie {points:.1f} points" in (
        result.sentence()
    )
    wild = runs.copy()
    wild["net_energy_j"] = wild["train_energy_j"] = np.nan
    wild.loc[wild.index[largest][0], ENERGY] *= 40
    text = specification_curve(energy_definitions(wild)).sentence()
    assert "the choice of runs" in text
    assert "choice of energy" not in text


def test_the_rule_for_outliers_says_whether_the_pair_stays_the_same():
    dear = np.array([3.0, 3.01, 3.02, 3.03, 3.04])
    calm = runs_of({"dear": dear, "other": dear - 1, "cheap": dear / 3})
    calm.loc[0, ENERGY] = 30.0
    assert "It leaves out 1 of 15 runs." in outliers_sentence(calm)
    assert outliers_sentence(calm).endswith("without those (the same pair).")
    # The mean is moved by the outlier, and without it another condition is the dearest.
    moved = runs_of({"dear": dear, "other": np.array([2.0, 2.01, 2.02, 2.03, 200.0]),
                        "cheap": dear / 3})  # fmt: skip
    text = outliers_sentence(moved)
    assert "without those (cheap @ env0 against dear @ env0)" in text
