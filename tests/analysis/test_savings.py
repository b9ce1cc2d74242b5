"""Savings and their intervals against scipy and calculations by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from greencv_core.analysis import (
    NotEnoughDataError,
    Unavailable,
    attempt,
    best_against_worst,
    saving,
    savings_table,
)
from greencv_core.analysis.bootstrap import bca, generator, median_draws
from greencv_core.analysis.choice.savings import pick_largest
from tests.support.tables import ENERGY, architecture, lognormal, made_up_runs, runs_of


def ratio_of_medians(dear, cheap, axis=-1):
    return 1 - np.median(cheap, axis=axis) / np.median(dear, axis=axis)


@pytest.mark.parametrize("sizes", [(12, 17), (20, 11), (15, 15)])
def test_bca_of_the_same_draws_is_scipys(sizes):
    dear, cheap = (np.random.default_rng(n).lognormal(0.4, 0.4, n) for n in sizes)
    theirs = stats.bootstrap(
        (dear, cheap), ratio_of_medians, n_resamples=2_000, method="BCa", vectorized=True,
        rng=np.random.default_rng(3),
    )  # fmt: skip
    without = [
        np.array([ratio_of_medians(np.delete(dear, i), cheap) for i in range(len(dear))]),
        np.array([ratio_of_medians(dear, np.delete(cheap, i)) for i in range(len(cheap))]),
    ]
    ours = bca(theirs.bootstrap_distribution, float(ratio_of_medians(dear, cheap)), without)
    assert ours == pytest.approx(tuple(theirs.confidence_interval), rel=1e-9)


def test_the_interval_of_a_saving_is_scipys_but_for_the_draws():
    dear, cheap = lognormal(1, 25, 2.0, 0.3), lognormal(2, 18, 1.0, 0.2)
    ours = saved(runs_of({"dear": dear, "cheap": cheap}))
    theirs = stats.bootstrap(
        (dear, cheap), ratio_of_medians, n_resamples=20_000, method="BCa", vectorized=True,
        rng=np.random.default_rng(3),
    ).confidence_interval  # fmt: skip
    assert ours.method == "BCa"
    width = theirs.high - theirs.low
    assert ours.ci_low == pytest.approx(theirs.low, abs=0.05 * width)
    assert ours.ci_high == pytest.approx(theirs.high, abs=0.05 * width)


def saved(runs, **how):
    return saving(runs, architecture("dear"), architecture("cheap"), **how)


def three_apart(n=12):
    return runs_of(
        {
            "dear": lognormal(1, n, 9.0),
            "middle": lognormal(2, n, 3.0),
            "cheap": lognormal(3, n, 1.0),
        }
    )


@pytest.mark.parametrize("statistic", ["median", "mean"])
@pytest.mark.parametrize("n", [6, 12, 13])
def test_a_pair_has_one_interval_whatever_else_is_compared(n, statistic):
    runs = three_apart(n)
    alone = saved(runs, statistic=statistic)
    table = savings_table(runs, "architecture", statistic=statistic)
    assert {(s.dear, s.cheap) for s in table[1:]} == {("dear", "middle"), ("middle", "cheap")}
    assert table[0] == alone
    picked = best_against_worst(runs, "architecture", statistic=statistic)
    assert picked.picked_from == 3
    assert replace(picked, picked_from=1) == alone  # nothing else comes near


@pytest.mark.parametrize("statistic", ["median", "mean"])
def test_an_interval_does_not_depend_on_the_order_of_the_runs(statistic):
    runs = three_apart(12)
    one, other = (
        saved(table, statistic=statistic) for table in (runs, runs.sample(frac=1, random_state=0))
    )
    assert (one.ci_low, one.ci_high) == pytest.approx((other.ci_low, other.ci_high), rel=1e-9)


@pytest.mark.parametrize("n", [6, 12, 13])
def test_the_largest_of_one_saving_is_that_saving(n):
    runs = three_apart(n)
    for one in savings_table(runs, "architecture"):
        picked = pick_largest(runs, [one])
        assert picked.picked_from == 1
        assert picked == one
    with pytest.raises(NotEnoughDataError, match="no pair of conditions is left"):
        pick_largest(runs, [])


@pytest.mark.parametrize("n", [6, 12])
def test_picking_among_near_ties_lowers_the_lower_bound_alone(n):
    runs = runs_of(
        {
            "dear": lognormal(1, n, 9.0),
            **{f"cheap{i}": lognormal(i, n, 1.0) for i in range(2, 6)},
        }
    )
    picked = best_against_worst(runs, "architecture")
    alone = saving(runs, picked.from_condition, picked.to_condition)
    assert picked.ci_low < alone.ci_low - 0.001
    assert picked.ci_high == alone.ci_high
    assert picked.saving == alone.saving
    assert "the largest of 10 pairs, which the interval allows for" in picked.sentence()
    from_dear = [s for s in savings_table(runs, "architecture") if s.dear == "dear"]
    again = pick_largest(runs, from_dear)
    assert (again.cheap, again.picked_from) == (picked.cheap, 4)
    assert again.ci_low < alone.ci_low - 0.001
    assert again.ci_high == alone.ci_high


def test_with_few_runs_the_interval_is_welchs_of_logarithms():
    dear, cheap = lognormal(1, 5, 2.0, 0.2), lognormal(2, 8, 1.0, 0.1)
    result = saved(runs_of({"dear": dear, "cheap": cheap}))
    test = stats.ttest_ind(np.log(cheap), np.log(dear), equal_var=False)
    low, high = test.confidence_interval(0.95)
    assert result.method == "t"
    assert result.ci_low == pytest.approx(1 - math.exp(high), rel=1e-9)
    assert result.ci_high == pytest.approx(1 - math.exp(low), rel=1e-9)


def test_with_few_runs_the_interval_of_means_is_by_the_delta_method():
    dear, cheap = lognormal(1, 5, 2.0, 0.2), lognormal(2, 8, 1.0, 0.1)
    runs = runs_of({"dear": dear, "cheap": cheap})
    result = saved(runs, statistic="mean")
    va, vb = (v.var(ddof=1) / len(v) / v.mean() ** 2 for v in (dear, cheap))
    df = (va + vb) ** 2 / (va**2 / 4 + vb**2 / 7)
    log_ratio = math.log(cheap.mean() / dear.mean())
    half = stats.t.ppf(0.975, df) * math.sqrt(va + vb)
    assert result.saving == pytest.approx(1 - cheap.mean() / dear.mean())
    assert result.ci_low == pytest.approx(1 - math.exp(log_ratio + half))
    assert result.ci_high == pytest.approx(1 - math.exp(log_ratio - half))
    assert "less mean energy per image" in result.sentence()


def test_with_many_runs_the_interval_of_means_is_studentised_and_near_welchs():
    dear, cheap = lognormal(1, 40, 2.0, 0.05), lognormal(2, 30, 1.0, 0.05)
    runs = runs_of({"dear": dear, "cheap": cheap})
    result = saved(runs, statistic="mean")
    low, high = stats.ttest_ind(
        np.log(cheap), np.log(dear), equal_var=False
    ).confidence_interval(0.95)  # fmt: skip
    width = math.exp(high) - math.exp(low)
    assert result.method == "studentised"
    assert result.ci_low == pytest.approx(1 - math.exp(high), abs=0.08 * width)
    assert result.ci_high == pytest.approx(1 - math.exp(low), abs=0.08 * width)


@pytest.mark.parametrize("n", [5, 15])
@pytest.mark.filterwarnings("error")
def test_energies_that_are_not_above_zero_use_the_percentile(n):
    cheap = lognormal(2, n, 1.0)
    cheap[:2] = [0.0, -0.01]  # net of idle power
    runs = runs_of({"dear": lognormal(1, n, 2.0), "cheap": cheap})
    result = saved(runs)
    assert result.method == "percentile"
    drawn = 1 - median_draws(cheap, generator("cheap")) / median_draws(
        runs.loc[runs["architecture"] == "dear", ENERGY].to_numpy(), generator("dear")
    )
    assert (result.ci_low, result.ci_high) == pytest.approx(
        tuple(np.quantile(drawn, [0.025, 0.975]))
    )
    assert "percentile bootstrap interval" in result.sentence()
    assert best_against_worst(runs, "architecture").ci_low == result.ci_low


def test_what_takes_nothing_or_has_a_single_run_cannot_be_saved_against():
    runs = runs_of({"dear": np.zeros(5), "cheap": np.array([-1.0, 0, -1, -1, 0])})
    answer = attempt(saving, runs, architecture("dear"), architecture("cheap"))
    assert isinstance(answer, Unavailable)
    assert "dear takes, whose median energy per image is not above 0" in answer.sentence()
    single = runs_of({"dear": np.array([2.0]), "cheap": lognormal(1, 5, 1.0)})
    with pytest.raises(NotEnoughDataError, match="dear has 1 of the at least 2 runs"):
        saved(single)


def test_saving_is_the_ratio_of_medians_within_its_interval():
    runs = made_up_runs(environments=1)
    result = best_against_worst(runs, "architecture")
    medians = runs.groupby("architecture")["energy_j_per_image"].median()
    assert (result.cheap, result.dear) == ("net0", "net4")
    assert result.saving == pytest.approx(1 - medians["net0"] / medians["net4"])
    assert result.ci_low <= result.saving <= result.ci_high
    f1 = runs.groupby("architecture")["f1_macro"].median()
    assert result.correctness_loss == pytest.approx(f1["net4"] - f1["net0"])
    assert "lower by" in result.sentence()
    again = saving(runs, {"architecture": "net4"}, {"architecture": "net0"})
    assert replace(again, picked_from=10) == result  # seeded, and no other pair comes near
    reverse = saving(runs, {"architecture": "net0"}, {"architecture": "net4"})
    dearer = (medians["net4"] / medians["net0"] - 1) * 100
    assert f"net4 takes {dearer:.1f} % more energy per image than net0" in reverse.sentence()
    assert "-" not in reverse.sentence().split("interval")[1].split(";")[0]


def test_a_saving_may_be_between_whole_numbers_and_needs_two_groups():
    runs = made_up_runs(environments=1).assign(batch_size=np.tile([16, 32, 16, 32, 16], 5))
    result = best_against_worst(runs, "batch_size")
    assert {result.dear, result.cheap} <= {"16", "32"}
    with pytest.raises(NotEnoughDataError, match="at least 2 batch_size groups"):
        best_against_worst(runs[runs["batch_size"] == 16], "batch_size")


def test_a_saving_says_what_its_interval_is():
    runs = made_up_runs(n=3, environments=1)
    assert "95 % t interval of logarithms" in best_against_worst(runs, "architecture").sentence()
    assert "BCa bootstrap interval" in best_against_worst(made_up_runs(n=12)).sentence()
    alike = runs.assign(energy_j_per_image=np.tile([1.0, 2.0, 3.0], 5))
    with pytest.raises(NotEnoughDataError, match="are the same"):
        best_against_worst(alike, "architecture")
    two = {"architecture": "net0"}, {"architecture": "net1"}
    assert "which includes no difference" in saving(alike, *two).sentence()
    assert "F1" not in saving(runs.assign(f1_macro=np.nan), *two).sentence()
