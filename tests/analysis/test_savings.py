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
    savings_without_loss,
)
from tests.support.tables import ENERGY, F1, architecture, lognormal, made_up_runs, runs_of


def saved(runs):
    return saving(runs, architecture("dear"), architecture("cheap"))


def of_ratio(interval):
    """Return the bounds of a saving from those of a log ratio."""
    return 1 - math.exp(interval.high), 1 - math.exp(interval.low)


@pytest.mark.parametrize("sizes", [(3, 3), (30, 29)])
def test_the_interval_of_a_saving_is_welchs_of_logarithms(sizes):
    dear, cheap = lognormal(1, sizes[0], 2.0, 0.2), lognormal(2, sizes[1], 1.0, 0.1)
    result = saved(runs_of({"dear": dear, "cheap": cheap}))
    interval = stats.ttest_ind(np.log(cheap), np.log(dear), equal_var=False).confidence_interval()
    assert (result.ci_low, result.ci_high) == pytest.approx(of_ratio(interval), rel=1e-9)
    assert result.saving == pytest.approx(1 - stats.gmean(cheap) / stats.gmean(dear))
    assert result.of_medians == pytest.approx(1 - np.median(cheap) / np.median(dear))
    assert f"n = {sizes[1]} and {sizes[0]})" in result.sentence()


def test_with_several_sessions_these_are_the_units():
    dear, cheap = lognormal(1, 9, 2.0, 0.4), lognormal(2, 9, 1.0, 0.1)
    runs = runs_of({"dear": dear, "cheap": cheap})
    runs["session"] = list("aaabbbccc") * 2
    result = saved(runs)
    means = [np.log(v).reshape(3, 3).mean(axis=1) for v in (cheap, dear)]
    interval = stats.ttest_rel(*means).confidence_interval()
    assert (result.ci_low, result.ci_high) == pytest.approx(of_ratio(interval))
    assert "n = 9 and 9 in 3 and 3 sessions" in result.sentence()
    runs["session"] = [*"aaabbbccc", *"dddeeefff"]
    parts = [sample.var(ddof=1) / 3 for sample in means]
    df = sum(parts) ** 2 / sum(part**2 / (3 + 1) for part in parts) - 2  # Welch (1947)
    assert 2 < df < 4
    low, high = stats.t.interval(0.95, df, means[0].mean() - means[1].mean(), sum(parts) ** 0.5)
    expected = 1 - math.exp(high), 1 - math.exp(low)
    assert (saved(runs).ci_low, saved(runs).ci_high) == pytest.approx(expected)


def three_apart(n=12):
    return runs_of(
        {
            "dear": lognormal(1, n, 9.0),
            "middle": lognormal(2, n, 3.0),
            "cheap": lognormal(3, n, 1.0),
        }
    )


@pytest.mark.parametrize("n", [3, 12])
def test_the_largest_of_all_pairs_has_a_lower_bound_by_the_studentised_range(n):
    runs = three_apart(n)
    alone, picked = saved(runs), best_against_worst(runs, "architecture")
    assert savings_table(runs, "architecture")[0] == alone
    assert picked.picked_from == 3
    assert replace(picked, picked_from=1, ci_low=alone.ci_low) == alone
    width = stats.studentized_range.ppf(0.95, 3, alone.contrast.df) / math.sqrt(2)
    log_ratio = alone.contrast.estimate + width * alone.contrast.se
    assert picked.ci_low == pytest.approx(1 - math.exp(log_ratio), abs=1e-3)
    assert picked.ci_low < alone.ci_low < picked.saving < picked.ci_high
    assert "corrected for selection from 3 pairs" in picked.sentence()
    shuffled = best_against_worst(runs.sample(frac=1, random_state=0), "architecture")
    assert shuffled.ci_low == pytest.approx(picked.ci_low, rel=1e-9)


def test_the_largest_of_few_pairs_is_by_sidak():
    table = savings_table(three_apart(), "architecture")
    [alone] = [one for one in table if (one.dear, one.cheap) == ("dear", "cheap")]
    assert alone.picked(2, 1) == alone
    tail = (1 - math.sqrt(0.95)) / 2
    bound = stats.t.isf(tail, alone.contrast.df) * alone.contrast.se
    low = alone.picked(3, 2).ci_low
    assert low == pytest.approx(1 - math.exp(alone.contrast.estimate + bound))


@pytest.mark.parametrize("conditions", [10, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.parametrize("n", [3, 30])
def test_the_largest_saving_of_equal_conditions_seldom_excludes_none(conditions, n):
    rng = np.random.default_rng(1)
    energies = {f"net{i}": np.ones(n) for i in range(conditions)}
    runs, wrong = runs_of(energies), 0
    for _ in range(60):
        runs[ENERGY] = rng.lognormal(0, 0.1, len(runs))
        wrong += best_against_worst(runs, "architecture").ci_low > 0
    assert wrong <= stats.binom.ppf(0.999, 60, 0.05)


@pytest.mark.filterwarnings("error")
def test_a_condition_with_energy_of_zero_or_below_is_left_out_by_name():
    idle = np.array([1.0, 0.4, 0.0, -0.01, 0.2])  # net of idle power
    energies = {"dear": lognormal(1, 5, 3.0), "cheap": lognormal(2, 5, 1.0)}
    runs = runs_of({**energies, "idle": idle, "idle too": -idle})
    result = best_against_worst(runs, "architecture")
    of_others = best_against_worst(runs_of(energies), "architecture")
    assert replace(result, left_out=()) == of_others
    assert result.left_out == ("idle", "idle too")
    why = "fewer than 2 runs, or energy per image of zero or below"
    assert result.sentence().endswith(f"; left out: idle and idle too ({why}).")
    harmless = savings_without_loss(runs, by="architecture")
    assert (len(harmless.conditions), harmless.left_out) == (2, ("idle", "idle too"))
    assert "; left out: idle and idle too (fewer than 2 runs with macro F1" in harmless.sentence()
    assert "or energy per image of zero or below" in harmless.sentence()
    answer = attempt(saving, runs, architecture("dear"), architecture("idle"))
    assert isinstance(answer, Unavailable)
    assert "idle @ env0 has energy per image of zero or below" in answer.sentence()


def test_a_condition_without_correctness_is_left_out_by_name():
    energies = {name: lognormal(i, 5, 3.0 - i) for i, name in enumerate("abc")}
    runs = runs_of(energies)
    runs.loc[runs["architecture"] == "c", F1] = np.nan
    assert savings_without_loss(runs, by="architecture").left_out == ("c",)
    assert (
        "the change of macro F1 is unknown" in best_against_worst(runs, "architecture").sentence()
    )


def test_a_condition_with_a_single_run_cannot_be_saved_against():
    single = runs_of({"dear": np.array([2.0]), "cheap": lognormal(1, 5, 1.0)})
    with pytest.raises(NotEnoughDataError, match="dear has 1 of the at least 2 runs"):
        saved(single)


def test_a_saving_says_what_it_costs_and_reversed_that_it_takes_more():
    runs = made_up_runs(environments=1)
    result = best_against_worst(runs, "architecture")
    means = runs.groupby("architecture")[ENERGY].apply(stats.gmean)
    assert (result.cheap, result.dear) == ("net0", "net4")
    f1 = runs.groupby("architecture")["f1_macro"].median()
    assert result.correctness_loss == pytest.approx(f1["net4"] - f1["net0"])
    assert " lower." in result.sentence()
    reverse = saving(runs, {"architecture": "net0"}, {"architecture": "net4"})
    dearer = (means["net4"] / means["net0"] - 1) * 100
    assert f"net4 uses {dearer:.1f}% more energy per image than net0" in reverse.sentence()
    assert "-" not in reverse.sentence().split("interval")[1].split(";")[0]


def test_a_saving_may_be_between_whole_numbers_and_needs_two_groups():
    runs = made_up_runs(environments=1).assign(batch_size=np.tile([16, 32, 16, 32, 16], 5))
    result = best_against_worst(runs, "batch_size")
    assert {result.dear, result.cheap} <= {"16", "32"}
    with pytest.raises(NotEnoughDataError, match="at least 2 batch_size groups"):
        best_against_worst(runs[runs["batch_size"] == 16], "batch_size")


def test_a_saving_says_what_its_interval_is():
    runs = made_up_runs(n=3, environments=1)
    assert "(95% interval" in best_against_worst(runs, "architecture").sentence()
    alike = runs.assign(energy_j_per_image=np.tile([1.0, 2.0, 3.0], 5))
    with pytest.raises(NotEnoughDataError, match="is the same"):
        best_against_worst(alike, "architecture")
    two = {"architecture": "net0"}, {"architecture": "net1"}
    assert "which includes no difference" in saving(alike, *two).sentence()
    unknown = saving(runs.assign(f1_macro=np.nan), *two).sentence()
    assert unknown.endswith("the change of macro F1 is unknown.")
    constant = runs_of({"dear": np.full(3, 2.0), "cheap": np.full(3, 1.0)})
    assert "no interval: the runs of each condition are identical" in saved(constant).sentence()
