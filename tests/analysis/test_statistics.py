"""The statistics, against brute force, scipy, statsmodels and sums done by hand."""

import itertools
import math
import re
import tracemalloc
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.oneway import anova_oneway
from statsmodels.stats.power import TTestIndPower

from greencv_core.analysis import (
    NotEnoughDataError,
    Saving,
    Unavailable,
    architecture_by_environment,
    attempt,
    best_against_worst,
    break_even,
    break_evens,
    cliffs_delta,
    compare,
    compare_each,
    energy_definitions,
    energy_regression,
    energy_to_target,
    fastest_environment,
    find_outliers,
    leave_one_repetition_out,
    mixed_model,
    nested_models,
    non_inferiority,
    outliers_sentence,
    paired_by_environment,
    pareto_front,
    repetitions_needed,
    saving,
    savings_table,
    savings_without_loss,
    select_runs,
    specification_curve,
)
from greencv_core.analysis import bootstrap as resampling_module
from greencv_core.analysis.bootstrap import (
    bca,
    generator,
    mean_draws,
    median_draws,
    medians_without_each,
    studentised,
)
from greencv_core.analysis.choice.savings import pick_largest
from greencv_core.analysis.comparison import pairwise as pairs_module
from greencv_core.analysis.comparison.pairwise import (
    _u_distribution,
    cliffs_delta_interval,
    hodges_lehmann,
)
from greencv_core.analysis.regression.breakeven import _crossing, _Line
from greencv_core.analysis.regression.interaction import aligned_ranks_anova, welch_james
from tests.support.tables import made_up_runs

ENERGY, F1 = "energy_j_per_image", "f1_macro"


def numbered(runs):
    """Add what a runs table has and the made-up one lacks."""
    repetition = runs["run_id"].str[2:].astype(int)
    return runs.assign(
        repetition=repetition,
        seed=100 + repetition,
        images_processed=1000.0,
        train_energy_j=0.8 * runs["energy_j"],
    )


def conditions(energies, scores=None):
    """Return a runs table with one environment, the architectures' energies being given."""
    rows = []
    for name, values in energies.items():
        f1 = np.full(len(values), 0.9) if scores is None else scores[name]
        rows += [
            {
                "run_id": f"{name}{i}",
                "architecture": name,
                "environment": "env0",
                "energy_j": 1000 * energy,
                ENERGY: energy,
                F1: score,
                "contended": False,
                "repetition": i,
            }
            for i, (energy, score) in enumerate(zip(values, f1, strict=True))
        ]
    return pd.DataFrame(rows)


def spread(seed, n, centre, sigma=0.1):
    return centre * np.random.default_rng(seed).lognormal(0, sigma, n)


def of(name):
    return {"architecture": name}


# --- resampling -------------------------------------------------------------------------------


def furthest_apart(drawn, reference):
    """Return the Kolmogorov distance of two samples, ties by rounding errors being removed."""
    drawn, reference = np.sort(drawn.round(9)), np.sort(reference.round(9))
    at = np.union1d(drawn, reference)
    one, other = (np.searchsorted(v, at, side="right") / len(v) for v in (drawn, reference))
    return float(np.abs(one - other).max())


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_drawn_medians_have_the_distribution_of_all_samples_medians(n):
    values = np.random.default_rng(n).lognormal(size=n)
    every = np.array([np.median(s) for s in itertools.product(values, repeat=n)])
    drawn = median_draws(values, np.random.default_rng(1), 40_000)
    assert furthest_apart(drawn, every) < 0.012


@pytest.mark.parametrize("n", [11, 12, 30])
def test_drawn_medians_have_the_quantiles_of_drawn_samples_medians(n):
    rng = np.random.default_rng(n)
    values = rng.lognormal(size=n)
    brute = np.median(values[rng.integers(0, n, (40_000, n))], axis=1)
    drawn = median_draws(values, np.random.default_rng(1), 40_000)
    assert furthest_apart(drawn, brute) < 0.016


def test_the_order_of_the_values_does_not_matter_to_drawn_medians():
    values = np.random.default_rng(0).lognormal(size=9)
    one = median_draws(values, generator("a"))
    assert (one == median_draws(values[::-1], generator("a"))).all()
    assert len(one) == 10_000


def test_drawing_medians_of_a_million_values_holds_no_samples():
    values = np.random.default_rng(0).normal(size=1_000_000)
    tracemalloc.start()
    try:
        drawn = median_draws(values, generator("large"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * values.nbytes
    # The standard error of a normal sample's median.
    assert drawn.std() == pytest.approx(math.sqrt(math.pi / 2 / 1e6), rel=0.1)


@pytest.mark.parametrize("values", [[3.0, 1.0], [2.0, 9.0, 4.0], [5, 1, 1, 2], [1, 1, 1, 7, 1.0]])
def test_medians_without_each_are_those_of_the_others(values):
    values = np.array(values, dtype=float)
    assert medians_without_each(values) == pytest.approx(
        [np.median(np.delete(values, i)) for i in range(len(values))]
    )


@pytest.mark.parametrize("n", [10, 11, 40, 41])
def test_medians_without_each_of_many_are_those_of_the_others(n):
    values = np.random.default_rng(n).integers(0, 20, n).astype(float)  # with ties
    assert medians_without_each(values) == pytest.approx(
        [np.median(np.delete(values, i)) for i in range(n)]
    )


def test_drawn_means_and_their_errors_have_the_moments_of_the_bootstrap():
    values = np.random.default_rng(0).lognormal(size=25)
    means, errors = mean_draws(values, generator("a"), 40_000)
    of_mean = values.var() / len(values)
    assert means.mean() == pytest.approx(values.mean(), abs=4 * math.sqrt(of_mean / 40_000))
    assert means.var() == pytest.approx(of_mean, rel=0.05)
    assert (errors**2).mean() == pytest.approx(of_mean, rel=0.03)


def test_drawn_means_are_the_same_in_pieces_and_need_little_memory(monkeypatch):
    values = np.random.default_rng(0).lognormal(size=1000)
    whole = mean_draws(values, generator("a"), 1000)
    monkeypatch.setattr(resampling_module, "_AT_ONCE", 7_000)
    tracemalloc.start()
    try:
        pieces = mean_draws(values, generator("a"), 1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (whole[0] == pieces[0]).all()
    assert (whole[1] == pieces[1]).all()
    assert peak < 1_000_000  # all samples at once would be 8 million bytes


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
    dear, cheap = spread(1, 25, 2.0, 0.3), spread(2, 18, 1.0, 0.2)
    ours = saving(conditions({"dear": dear, "cheap": cheap}), of("dear"), of("cheap"))
    theirs = stats.bootstrap(
        (dear, cheap), ratio_of_medians, n_resamples=20_000, method="BCa", vectorized=True,
        rng=np.random.default_rng(3),
    ).confidence_interval  # fmt: skip
    assert ours.method == "BCa"
    width = theirs.high - theirs.low
    assert ours.ci_low == pytest.approx(theirs.low, abs=0.05 * width)
    assert ours.ci_high == pytest.approx(theirs.high, abs=0.05 * width)


@pytest.mark.filterwarnings("error")
def test_bca_stays_within_the_draws_where_all_lie_on_one_side():
    draws = np.linspace(1, 2, 1000)
    low, high = bca(draws, 0.5, [np.zeros(10)])
    assert 1 <= low <= high <= 2
    assert bca(np.full(5, 3.0), 3.0, [np.zeros(10)]) == (3.0, 3.0)


def test_a_studentised_interval_is_students_where_values_are_normal_and_leans_where_skewed():
    values = stats.norm.ppf((np.arange(40) + 0.5) / 40)
    error = values.std(ddof=1) / math.sqrt(40)
    draws, errors = mean_draws(values, generator("normal"))
    low, high = studentised(draws, errors, values.mean(), error)
    half = stats.t.ppf(0.975, 39) * error
    assert (low, high) == pytest.approx((-half, half), rel=0.05)
    skewed = stats.expon.ppf((np.arange(40) + 0.5) / 40)
    mean, error = skewed.mean(), skewed.std(ddof=1) / math.sqrt(40)
    low, high = studentised(*mean_draws(skewed, generator("skewed")), mean, error)
    assert high - mean > 1.2 * (mean - low)


@pytest.mark.filterwarnings("error")
def test_a_studentised_interval_leaves_out_draws_without_an_error():
    draws, errors = np.array([1.0, 2.0, 3.0, 9.0]), np.array([1.0, 1.0, 1.0, 0.0])
    low, high = studentised(draws, errors, 2.0, 1.0)
    assert (low, high) == pytest.approx((2 - 0.95, 2 + 0.95))
    assert studentised(np.ones(3), np.zeros(3), 1.0, 0.0) == (1.0, 1.0)


# --- savings ----------------------------------------------------------------------------------


def three_apart(n=12):
    return conditions(
        {"dear": spread(1, n, 9.0), "middle": spread(2, n, 3.0), "cheap": spread(3, n, 1.0)}
    )


@pytest.mark.parametrize("statistic", ["median", "mean"])
@pytest.mark.parametrize("n", [6, 12, 13])
def test_a_pair_has_one_interval_whatever_else_is_compared(n, statistic):
    runs = three_apart(n)
    alone = saving(runs, of("dear"), of("cheap"), statistic=statistic)
    table = savings_table(runs, "architecture", statistic=statistic)
    assert {(s.dear, s.cheap) for s in table[1:]} == {("dear", "middle"), ("middle", "cheap")}
    assert table[0] == alone


@pytest.mark.parametrize("statistic", ["median", "mean"])
def test_an_interval_does_not_depend_on_the_order_of_the_runs(statistic):
    runs = three_apart(12)
    one, other = (
        saving(table, of("dear"), of("cheap"), statistic=statistic)
        for table in (runs, runs.sample(frac=1, random_state=0))
    )
    assert (one.ci_low, one.ci_high) == pytest.approx((other.ci_low, other.ci_high), rel=1e-9)


@pytest.mark.parametrize("statistic", ["median", "mean"])
@pytest.mark.parametrize("n", [6, 12, 13])
def test_the_largest_saving_has_the_pairs_interval_where_nothing_else_is_in_the_running(
    n, statistic
):
    runs = three_apart(n)
    alone = saving(runs, of("dear"), of("cheap"), statistic=statistic)
    picked = best_against_worst(runs, "architecture", statistic=statistic)
    assert picked.picked_from == 3
    assert replace(picked, picked_from=1) == alone


@pytest.mark.parametrize("n", [6, 12, 13])
def test_the_largest_of_one_saving_is_that_saving(n):
    runs = three_apart(n)
    for one in savings_table(runs, "architecture"):
        picked = pick_largest(runs, [one])
        assert picked.picked_from == 1
        assert picked == one


def test_there_is_no_largest_of_no_savings():
    with pytest.raises(NotEnoughDataError, match="no pair of conditions is left"):
        pick_largest(three_apart(), [])


@pytest.mark.parametrize("n", [6, 12])
def test_picking_among_near_ties_lowers_the_lower_bound_alone(n):
    runs = conditions(
        {
            "dear": spread(1, n, 9.0),
            **{f"cheap{i}": spread(i, n, 1.0) for i in range(2, 6)},
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
    dear, cheap = spread(1, 5, 2.0, 0.2), spread(2, 8, 1.0, 0.1)
    result = saving(conditions({"dear": dear, "cheap": cheap}), of("dear"), of("cheap"))
    test = stats.ttest_ind(np.log(cheap), np.log(dear), equal_var=False)
    low, high = test.confidence_interval(0.95)
    assert result.method == "t"
    assert result.ci_low == pytest.approx(1 - math.exp(high), rel=1e-9)
    assert result.ci_high == pytest.approx(1 - math.exp(low), rel=1e-9)


def test_with_few_runs_the_interval_of_means_is_by_the_delta_method():
    dear, cheap = spread(1, 5, 2.0, 0.2), spread(2, 8, 1.0, 0.1)
    runs = conditions({"dear": dear, "cheap": cheap})
    result = saving(runs, of("dear"), of("cheap"), statistic="mean")
    va, vb = (v.var(ddof=1) / len(v) / v.mean() ** 2 for v in (dear, cheap))
    df = (va + vb) ** 2 / (va**2 / 4 + vb**2 / 7)
    log_ratio = math.log(cheap.mean() / dear.mean())
    half = stats.t.ppf(0.975, df) * math.sqrt(va + vb)
    assert result.saving == pytest.approx(1 - cheap.mean() / dear.mean())
    assert result.ci_low == pytest.approx(1 - math.exp(log_ratio + half))
    assert result.ci_high == pytest.approx(1 - math.exp(log_ratio - half))
    assert "less mean energy per image" in result.sentence()


def test_with_many_runs_the_interval_of_means_is_studentised_and_near_welchs():
    dear, cheap = spread(1, 40, 2.0, 0.05), spread(2, 30, 1.0, 0.05)
    runs = conditions({"dear": dear, "cheap": cheap})
    result = saving(runs, of("dear"), of("cheap"), statistic="mean")
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
    cheap = spread(2, n, 1.0)
    cheap[:2] = [0.0, -0.01]  # net of idle power
    runs = conditions({"dear": spread(1, n, 2.0), "cheap": cheap})
    result = saving(runs, of("dear"), of("cheap"))
    assert result.method == "percentile"
    drawn = 1 - median_draws(cheap, generator("cheap")) / median_draws(
        runs.loc[runs["architecture"] == "dear", ENERGY].to_numpy(), generator("dear")
    )
    assert (result.ci_low, result.ci_high) == pytest.approx(
        tuple(np.quantile(drawn, [0.025, 0.975]))
    )
    assert "percentile bootstrap interval" in result.sentence()
    assert best_against_worst(runs, "architecture").ci_low == result.ci_low


def test_what_takes_nothing_cannot_be_saved_against():
    runs = conditions({"dear": np.zeros(5), "cheap": np.array([-1.0, 0, -1, -1, 0])})
    answer = attempt(saving, runs, of("dear"), of("cheap"))
    assert isinstance(answer, Unavailable)
    assert "dear takes, whose median energy per image is not above 0" in answer.sentence()


def test_a_saving_against_a_single_run_is_refused_with_its_count():
    runs = conditions({"dear": np.array([2.0]), "cheap": spread(1, 5, 1.0)})
    with pytest.raises(NotEnoughDataError, match="dear has 1 of the at least 2 runs"):
        saving(runs, of("dear"), of("cheap"))


# --- pairs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(4, 4), (5, 7), (8, 3), (12, 12)])
def test_the_hodges_lehmann_interval_holds_the_shifts_that_mann_whitney_leaves(sizes):
    rng = np.random.default_rng(sum(sizes))
    a, b = rng.normal(size=sizes[0]), 1 + rng.normal(size=sizes[1])
    shift, low, high = hodges_lehmann(a, b)
    assert shift == pytest.approx(np.median(np.subtract.outer(b, a)))

    def p(moved):
        return stats.mannwhitneyu(a, b - moved, method="exact").pvalue

    assert p(low - 1e-9) <= 0.05 < p(low + 1e-9)
    assert p(high + 1e-9) <= 0.05 < p(high - 1e-9)


def test_the_hodges_lehmann_interval_of_large_groups_is_the_normal_approximations():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=60), 1 + rng.normal(size=70)
    shift, low, high = hodges_lehmann(a, b)
    ordered = np.sort(np.subtract.outer(b, a).ravel())
    rank = math.floor(60 * 70 / 2 - 1.959964 * math.sqrt(60 * 70 * 131 / 12))
    assert shift == pytest.approx(np.median(ordered))
    assert (low, high) == (ordered[rank - 1], ordered[-rank])


@pytest.mark.parametrize("sizes", [(3, 3), (4, 5), (9, 11), (60, 55)])
@pytest.mark.parametrize("ties", [False, True])
def test_hodges_lehmann_of_very_many_is_that_of_few(monkeypatch, sizes, ties):
    rng = np.random.default_rng(sum(sizes))
    a, b = (rng.integers(0, 9, n).astype(float) if ties else rng.normal(size=n) for n in sizes)
    direct = hodges_lehmann(a, b)
    monkeypatch.setattr(pairs_module, "MOST_DIFFERENCES", 1)
    assert hodges_lehmann(a, b) == pytest.approx(direct, rel=1e-12, abs=1e-12, nan_ok=True)


def test_three_against_three_have_a_shift_and_no_interval():
    shift, low, high = hodges_lehmann(np.array([1.0, 2, 3]), np.array([2.0, 4, 6]))
    assert shift == 2
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize("sizes", [(1, 4), (3, 3), (4, 6), (7, 7), (15, 20), (49, 49)])
def test_the_distribution_of_u_is_scipys(sizes):
    rng = np.random.default_rng(0)
    m, n = sizes
    cumulative = _u_distribution(m, n)
    assert len(cumulative) == m * n + 1
    assert cumulative[-1] == pytest.approx(1)
    for moved in np.linspace(-1.5, 1.5, 15):
        x, y = rng.normal(size=m) + moved, rng.normal(size=n)
        test = stats.mannwhitneyu(x, y, alternative="less", method="exact")
        assert cumulative[int(test.statistic)] == pytest.approx(test.pvalue, rel=1e-7)


@pytest.mark.parametrize("seed", range(10))
def test_the_interval_of_cliffs_delta_holds_it_and_stays_within_one(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=4 + seed), 0.4 * seed + 2 * rng.normal(size=6)
    low, high = cliffs_delta_interval(a, b)
    assert -1 <= low <= cliffs_delta(a, b) <= high <= 1
    mirrored = cliffs_delta_interval(b, a)
    assert mirrored == pytest.approx((-high, -low))


def test_the_interval_of_cliffs_delta_covers_what_it_says():
    rng = np.random.default_rng(0)
    truth = 2 * stats.norm.cdf(1 / math.sqrt(1 + 4)) - 1  # of N(1, 1) over N(0, 2^2)
    held = 0
    for _ in range(400):
        low, high = cliffs_delta_interval(rng.normal(1, 1, 20), rng.normal(0, 2, 20))
        held += low <= truth <= high
    assert 0.90 <= held / 400 <= 0.99


@pytest.mark.parametrize("sizes", [(5, 5), (4, 30), (2, 2)])
def test_separate_groups_have_wilsons_bound(sizes):
    n, z2 = min(sizes), stats.norm.ppf(0.975) ** 2
    a, b = np.arange(sizes[0]) + 100.0, np.arange(sizes[1]) * 1.0
    assert cliffs_delta_interval(a, b) == pytest.approx(((n - z2) / (n + z2), 1.0))
    assert cliffs_delta_interval(b, a) == pytest.approx((-1.0, -(n - z2) / (n + z2)))


@pytest.mark.filterwarnings("error")
def test_equal_groups_without_spread_have_no_interval_of_cliffs_delta():
    same = np.full(5, 2.0)
    assert cliffs_delta(same, same) == 0
    assert all(math.isnan(bound) for bound in cliffs_delta_interval(same, same))
    assert hodges_lehmann(same, same) == (0, 0, 0)


# --- correctness ------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [-0.03, 0.0, 0.015, 0.05])
def test_non_inferiority_is_welchs_one_sided_test(loss):
    rng = np.random.default_rng(3)
    a, b = 0.9 + rng.normal(0, 0.01, 7), 0.9 - loss + rng.normal(0, 0.03, 10)
    result = non_inferiority(a, b, 0.02)
    lower = stats.ttest_ind(b + 0.02, a, alternative="greater", equal_var=False)
    upper = stats.ttest_ind(b - 0.02, a, alternative="less", equal_var=False)
    assert result.p == pytest.approx(lower.pvalue, rel=1e-9)
    assert result.p_equivalence == pytest.approx(max(lower.pvalue, upper.pvalue), rel=1e-9)
    assert result.loss == pytest.approx(a.mean() - b.mean())
    interval = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.90)
    assert (result.loss_low, result.loss_high) == pytest.approx(tuple(interval))
    assert result.passes == (result.loss_high < 0.02)
    assert result.p_ranks == pytest.approx(
        stats.brunnermunzel(b + 0.02, a, alternative="greater").pvalue
    )


@pytest.mark.filterwarnings("error")
def test_a_better_score_is_no_loss_and_a_worse_one_is_by_every_test():
    a = 0.8 + np.array([0.0, 0.01, 0.02, 0.03, 0.04, 0.05])
    for far in (0.03, 0.3):  # overlapping, and far apart
        better, worse = non_inferiority(a, a + far, 0.01), non_inferiority(a, a - far, 0.01)
        assert max(better.p, better.p_ranks) < 0.02
        assert min(worse.p, worse.p_ranks) > 0.75
        assert better.passes
        assert not worse.passes
        assert "is shown to be below 0.01" in better.sentence()
        assert "is not shown to be below 0.01" in worse.sentence()


@pytest.mark.parametrize(("score", "passes"), [(0.9, True), (0.89, True), (0.87, False)])
@pytest.mark.filterwarnings("error")
def test_without_any_spread_a_loss_is_judged_by_its_value(score, passes):
    result = non_inferiority(np.full(3, 0.9), np.full(4, score), 0.02)
    assert math.isnan(result.p)
    assert result.passes == passes
    assert "p not defined" in result.sentence()
    assert "nan" not in result.sentence()


@pytest.mark.filterwarnings("error")
def test_a_loss_needs_two_runs_on_each_side():
    with pytest.raises(NotEnoughDataError, match="at least 2 runs on each side"):
        non_inferiority(np.array([0.9]), np.array([0.9, 0.8]), 0.02)


def scored(losses, n=8, sigma=0.005):
    """Return runs whose architectures differ in energy surely, and in F1 by these losses."""
    energies = {f"net{i}": spread(i, n, 2.0**-i, 0.02) for i in range(len(losses))}
    scores = {
        f"net{i}": 0.9 - loss + np.random.default_rng(50 + i).normal(0, sigma, n)
        for i, loss in enumerate(losses)
    }
    return conditions(energies, scores)


def test_savings_without_loss_adjusts_over_all_pairs_that_save_and_names_those_that_pass():
    runs = scored([0.0, 0.002, 0.05, 0.08])
    result = savings_without_loss(runs, 0.02, "architecture")
    assert result.compared == len(result.pairs) == 6
    f1 = {name: part[F1].to_numpy() for name, part in runs.groupby("architecture")}
    by_hand = [
        stats.ttest_ind(
            f1[cheap] + 0.02, f1[dear], alternative="greater", equal_var=False
        ).pvalue
        for dear, cheap in zip(result.pairs["from"], result.pairs["to"], strict=True)
    ]  # fmt: skip
    assert result.pairs["non_inferiority_p"].tolist() == pytest.approx(by_hand)
    order = np.argsort(by_hand)
    adjusted = np.empty(6)
    adjusted[order] = np.minimum(
        1, np.maximum.accumulate([(6 - i) * by_hand[k] for i, k in enumerate(order)])
    )
    assert result.pairs["non_inferiority_p_holm"].tolist() == pytest.approx(adjusted.tolist())
    assert (result.pairs["passes"] == (adjusted < 0.05)).all()
    passing = result.pairs[result.pairs["passes"]]
    assert list(zip(passing["from"], passing["to"], strict=True)) == [("net0", "net1")]
    assert (result.best.dear, result.best.cheap) == ("net0", "net1")
    assert "1 of these is shown to lose less than 2 points of macro F1" in result.sentence()
    assert "net1 takes" in result.sentence()
    assert "net2" not in result.sentence()
    assert "net3" not in result.sentence()


def test_savings_without_loss_leaves_out_pairs_that_do_not_surely_save():
    runs = conditions({"dear": spread(1, 8, 9.0), "one": spread(2, 8, 1.0),
                       "other": spread(3, 8, 1.0)})  # fmt: skip
    result = savings_without_loss(runs, 0.02, "architecture")
    assert result.compared == 3
    assert list(result.pairs["from"]) == ["dear", "dear"]
    assert result.best.picked_from == 2


def test_no_saving_is_called_free_where_none_is():
    result = savings_without_loss(scored([0.0, 0.05, 0.1]), 0.02, "architecture")
    assert result.best is None
    assert not result.pairs["passes"].any()
    assert "0 of these are shown" in result.sentence()
    assert "No saving can be called free of a loss of correctness." in result.sentence()
    alike = conditions({"a": spread(1, 5, 1.0), "b": spread(2, 5, 1.0)})
    none = savings_without_loss(alike, 0.02, "architecture")
    assert none.sentence() == (
        "Of 1 pair of conditions, 0 save energy per image (95 % interval above zero)."
    )


def test_the_margin_decides():
    runs = scored([0.0, 0.05])
    strict = savings_without_loss(runs, 0.02, "architecture")
    wide = savings_without_loss(runs, 0.1, "architecture")
    assert not strict.pairs["passes"].any()
    assert wide.pairs["passes"].all()
    assert "10 points of macro F1" in wide.sentence()


@pytest.mark.filterwarnings("error")
def test_a_condition_that_learns_nothing_loses_everything():
    runs = scored([0.0, 0.0])
    runs.loc[runs["architecture"] == "net1", F1] = 0.0
    result = savings_without_loss(runs, 0.02, "architecture")
    assert result.best is None
    assert result.pairs["loss_high"].item() == pytest.approx(0.9, abs=0.02)
    both = savings_without_loss(runs.assign(f1_macro=0.0), 0.02, "architecture")
    assert both.best is None
    assert "1 saves against a condition that learned nothing" in both.sentence()
    assert "nan" not in both.sentence()


# --- interaction ------------------------------------------------------------------------------


def described(groups):
    return (
        np.array([g.mean() for g in groups]),
        np.array([g.var(ddof=1) for g in groups]),
        np.array([float(len(g)) for g in groups]),
    )


@pytest.mark.parametrize("sizes", [(3, 3, 3), (5, 9, 4), (6, 6, 20, 8)])
def test_welch_james_in_one_way_is_welchs_analysis_of_variance(sizes):
    rng = np.random.default_rng(sum(sizes))
    groups = [rng.normal(0.5 * i, 1 + i, n) for i, n in enumerate(sizes)]
    k = len(groups)
    contrasts = np.hstack([np.ones((k - 1, 1)), -np.eye(k - 1)])
    ours = welch_james(*described(groups), contrasts)
    theirs = anova_oneway(groups, use_var="unequal")
    assert ours.f == pytest.approx(theirs.statistic, rel=1e-9)
    assert ours.df1 == k - 1
    assert ours.df2 == pytest.approx(theirs.df_denom, rel=1e-9)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-9)


def test_welch_james_of_two_groups_is_welchs_t_squared():
    a, b = np.random.default_rng(0).normal(0, 1, 5), np.random.default_rng(1).normal(1, 3, 9)
    ours = welch_james(*described([a, b]), np.array([[1.0, -1.0]]))
    theirs = stats.ttest_ind(a, b, equal_var=False)
    assert ours.f == pytest.approx(theirs.statistic**2)
    assert ours.df2 == pytest.approx(theirs.df)
    assert ours.p == pytest.approx(theirs.pvalue)


def test_welch_james_does_not_depend_on_how_contrasts_are_written():
    groups = [np.random.default_rng(i).normal(i, 1 + i, 5 + i) for i in range(3)]
    one = welch_james(*described(groups), np.array([[1.0, -1, 0], [1, 0, -1]]))
    other = welch_james(*described(groups), np.array([[0.0, 5, -5], [-2, 1, 1]]))
    assert (one.f, one.df2) == pytest.approx((other.f, other.df2))


def test_the_interaction_of_two_by_two_is_welchs_t_of_a_difference_of_differences():
    result = architecture_by_environment(made_up_runs(n=5, architectures=2))
    runs = made_up_runs(n=5, architectures=2)
    cells = [np.log10(g[ENERGY]) for _, g in runs.groupby(["architecture", "environment"])]
    of_means = np.array([c.var(ddof=1) / 5 for c in cells])
    t = (np.array([1, -1, -1, 1]) @ [c.mean() for c in cells]) / math.sqrt(of_means.sum())
    df = of_means.sum() ** 2 / (of_means**2 / 4).sum()
    assert result.p == pytest.approx(2 * stats.t.sf(abs(t), df))


def test_aligned_ranks_find_an_interaction_that_is_there_and_none_where_ratios_are_equal():
    runs = made_up_runs(n=6, architectures=4)
    data = pd.DataFrame(
        {"value": np.log10(runs[ENERGY]), "a": runs["architecture"], "b": runs["environment"]}
    )
    none = aligned_ranks_anova(data).set_index("term")
    assert none.loc["a x b", "p"] > 0.05
    assert none.loc[["a", "b"], "p"].max() < 0.001
    assert none["df1"].tolist() == [3, 1, 3]
    assert none["df2"].tolist() == [40, 40, 40]
    bent = data.copy()
    bent.loc[(bent["a"] == "net3") & (bent["b"] == "env1"), "value"] += 0.1
    assert aligned_ranks_anova(bent).set_index("term").loc["a x b", "p"] < 0.001


def test_aligned_ranks_reject_equal_ratios_at_their_level():
    rng = np.random.default_rng(0)
    data = pd.DataFrame(list(itertools.product("pqr", "xy", range(5))), columns=["a", "b", "r"])
    main = 3.0 * data["a"].map({"p": 0, "q": 1, "r": 2}) + data["b"].map({"x": 0, "y": 2})
    rejected = 0
    for _ in range(25):
        table = aligned_ranks_anova(data.assign(value=main + rng.normal(size=len(data))))
        rejected += table.set_index("term").loc["a x b", "p"] < 0.05
    assert rejected <= 5


def test_simple_effects_are_welchs_t_of_logarithms_adjusted_together():
    runs = made_up_runs(n=5, architectures=3, environments=3)
    raised = (runs["architecture"] == "net1") & (runs["environment"] == "env1")
    runs.loc[raised, ENERGY] /= 1.4  # no effect is left
    effects = architecture_by_environment(runs).effects
    assert len(effects) == 6
    raw = []
    for row in effects.itertuples():
        values, reference = (
            np.log10(runs.loc[(runs["architecture"] == row.architecture)
                              & (runs["environment"] == e), ENERGY].to_numpy())
            for e in (row.environment, "env0")
        )  # fmt: skip
        test = stats.ttest_ind(values, reference, equal_var=False)
        raw.append(test.pvalue)
        assert row.p == pytest.approx(test.pvalue)
        interval = test.confidence_interval(0.95)
        assert (row.ci_low, row.ci_high) == pytest.approx((10**interval.low, 10**interval.high))
        assert row.ratio == pytest.approx(10 ** (values.mean() - reference.mean()))
    by_hand = np.maximum.accumulate([(6 - i) * p for i, p in enumerate(sorted(raw))])
    assert sorted(effects["p_holm"]) == pytest.approx(np.minimum(1, by_hand).tolist())


def test_simple_effects_are_told_by_direction():
    runs = made_up_runs(n=6, architectures=3)
    in_env1 = runs["environment"] == "env1"
    runs.loc[in_env1 & (runs["architecture"] == "net1"), ENERGY] /= 1.4
    runs.loc[in_env1 & (runs["architecture"] == "net2"), ENERGY] /= 2.8
    text = architecture_by_environment(runs).effects_sentence()
    assert "env1 against env0: more for net0, less for net2, not shown to differ for net1" in text


def test_two_runs_and_no_spread_are_refused_by_the_conditions_name():
    runs = made_up_runs(n=3, architectures=2)
    chosen = (runs["architecture"] == "net1") & (runs["environment"] == "env1")
    fewer = runs.drop(index=runs.index[chosen][0])
    with pytest.raises(NotEnoughDataError, match=r"at least 3 .* and net1 @ env1 has 2"):
        architecture_by_environment(fewer)
    level = runs.copy()
    level.loc[chosen, ENERGY] = 0.3
    with pytest.raises(NotEnoughDataError, match=r"net1 @ env1 took the same energy"):
        architecture_by_environment(level)


# --- regression -------------------------------------------------------------------------------


def line_of(runs):
    x = np.log10(runs["gflops_per_image"].to_numpy())
    return x, np.log10(runs[ENERGY].to_numpy())


def hc3(design, y):
    """Return coefficients and HC3 errors, by hand."""
    inverse = np.linalg.inv(design.T @ design)
    coefficients = inverse @ design.T @ y
    residuals = y - design @ coefficients
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
    middle = (design * (residuals**2 / (1 - leverage) ** 2)[:, None]).T @ design
    return coefficients, np.sqrt(np.diag(inverse @ middle @ inverse)), leverage


def test_the_regressions_errors_are_hc3():
    runs = made_up_runs(n=4, architectures=3, environments=1)
    result = energy_regression(runs)
    x, y = line_of(runs)
    design = np.column_stack([np.ones(len(x)), x - x.mean()])  # balanced: the runs' own mean
    coefficients, errors, leverage = hc3(design, y)
    half = stats.t.ppf(0.975, len(x) - 2) * errors
    assert result.coefficients["term"].tolist() == ["intercept", "log10(GFLOPs)"]
    assert result.coefficients["estimate"].tolist() == pytest.approx(coefficients.tolist())
    assert result.coefficients["ci_low"].tolist() == pytest.approx((coefficients - half).tolist())
    assert result.coefficients["ci_high"].tolist() == pytest.approx((coefficients + half).tolist())
    assert result.leverage == pytest.approx(leverage)
    # Of one predictor, Type II is its t test.
    assert result.anova["f"].item() == pytest.approx((coefficients[1] / errors[1]) ** 2)
    assert (result.anova["df1"].item(), result.anova["df2"].item()) == (1, len(x) - 2)
    assert result.anova["p"].item() == pytest.approx(result.coefficients["p"].iloc[1])
    assert result.r_squared == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)


def test_predictors_are_centred_at_the_mean_of_architectures_not_of_runs():
    runs = made_up_runs(n=4, architectures=3, environments=1)
    more = pd.concat([runs, runs[runs["architecture"] == "net2"]], ignore_index=True)
    x, y = line_of(more)
    centre = np.log10(sorted(set(more["gflops_per_image"]))).mean()
    slope, level = np.polyfit(x - centre, y, 1)
    assert energy_regression(more).coefficients["estimate"].tolist() == pytest.approx(
        [level, slope]
    )


def test_variance_inflation_of_two_predictors_is_from_their_correlation():
    runs = made_up_runs(n=4, environments=1)
    x, _ = line_of(runs)
    r = np.corrcoef(x, np.log10(runs["parameters"]))[0, 1]
    vif = energy_regression(runs).vif
    assert vif["term"].tolist() == ["log10(GFLOPs)", "log10(parameters)"]
    assert vif["vif"].tolist() == pytest.approx([1 / (1 - r**2)] * 2)


def test_environments_with_their_own_slopes_have_those_of_regressions_of_their_own():
    runs = made_up_runs(n=4, architectures=4, environments=3).assign(parameters=np.nan)
    bent = runs["environment"] == "env2"
    runs.loc[bent, ENERGY] *= runs.loc[bent, "gflops_per_image"] ** 0.2
    result = energy_regression(runs)
    assert result.slopes["environment"].tolist() == ["env0", "env1", "env2"]
    for row in result.slopes.itertuples():
        x, y = line_of(runs[runs["environment"] == row.environment])
        coefficients, errors, _ = hc3(np.column_stack([np.ones(len(x)), x]), y)
        half = stats.t.ppf(0.975, len(runs) - 6) * errors[1]
        assert row.exponent == pytest.approx(coefficients[1])
        assert (row.ci_low, row.ci_high) == pytest.approx(
            (coefficients[1] - half, coefficients[1] + half)
        )
    assert "parameters" not in result.sentence()
    assert "times the energy per image in env2 (exponent 0.7" in result.sentence()


def test_an_unseen_architecture_is_predicted_from_the_others():
    runs = made_up_runs(n=3, environments=1).assign(parameters=np.nan)
    x, y = line_of(runs)
    errors = []
    for name in runs["architecture"].unique():
        out = (runs["architecture"] == name).to_numpy()
        slope, level = np.polyfit(x[~out], y[~out], 1)
        errors.append(np.abs(10 ** (level + slope * x[out] - y[out]) - 1))
    result = energy_regression(runs)
    assert result.unseen_architecture_error == pytest.approx(np.median(np.concatenate(errors)))
    assert result.unseen_environment_error is None


def test_an_unseen_environment_is_predicted_by_complexity_alone():
    runs = made_up_runs(n=3, architectures=4).assign(parameters=np.nan)
    x, y = line_of(runs)
    errors = []
    for name in ("env0", "env1"):
        out = (runs["environment"] == name).to_numpy()
        slope, level = np.polyfit(x[~out], y[~out], 1)
        errors.append(np.abs(10 ** (level + slope * x[out] - y[out]) - 1))
    error = energy_regression(runs).unseen_environment_error
    assert error == pytest.approx(np.median(np.concatenate(errors)))
    assert 0.25 < error < 0.45  # a factor of 1.4, either way


def test_lack_of_fit_is_the_contrast_that_a_line_leaves():
    runs = made_up_runs(n=5, architectures=3, environments=1)
    result = nested_models(runs)
    groups = [np.log10(g[ENERGY]) for _, g in runs.groupby("architecture")]
    contrast = np.array([1.0, -2.0, 1.0])  # GFLOPs are equally spaced
    means = np.array([g.mean() for g in groups])
    of_means = contrast**2 * [g.var(ddof=1) / 5 for g in groups]
    f = (contrast @ means) ** 2 / of_means.sum()
    df = of_means.sum() ** 2 / (of_means**2 / 4).sum()
    row = result.models.iloc[0]
    assert row["lack_of_fit_f"] == pytest.approx(f)
    assert row["lack_of_fit_p"] == pytest.approx(stats.f.sf(f, 1, df))
    slope, level = np.polyfit([0, 1, 2], means, 1)
    misfit = np.median(np.abs(means - level - slope * np.arange(3)))
    assert row["typical_misfit"] == pytest.approx(10**misfit - 1)
    regression = energy_regression(runs)
    assert row["added_f"] == pytest.approx(regression.anova["f"].item())
    ols = sm.OLS(line_of(runs)[1], sm.add_constant(line_of(runs)[0])).fit()
    assert row["adjusted_r_squared"] == pytest.approx(ols.rsquared_adj)
    assert row["aic"] == pytest.approx(ols.aic)


def test_gflops_are_enough_for_a_power_law_and_not_where_one_architecture_stands_out():
    runs = made_up_runs(n=6)
    enough = nested_models(runs)
    assert enough.models["model"].tolist() == [
        "log10(GFLOPs)",
        "+ environment",
        "+ log10(GFLOPs) x environment",
        "+ log10(parameters)",
        "+ log10(parameters) x environment",
    ]
    assert "GFLOPs alone are not shown to fall short" in enough.sentence()
    assert "what is left is not shown to be more than noise" in enough.sentence()
    # The environment is needed, and the model without it says so.
    assert enough.models["lack_of_fit_p"].iloc[0] < 0.001 < enough.models["added_p"].iloc[2]
    assert enough.models["added_p"].iloc[:2].max() < 0.001
    raised = runs.copy()
    raised.loc[raised["architecture"] == "net2", ENERGY] *= 1.5
    text = nested_models(raised).sentence()
    assert text.startswith("Within an environment, GFLOPs alone are not enough")
    assert "more than noise is left" in text


def test_lack_of_fit_rejects_a_power_law_at_its_level():
    rejected = [
        nested_models(made_up_runs(n=5, architectures=3, environments=1, seed=seed))
        .models["lack_of_fit_p"].iloc[0] < 0.05
        for seed in range(30)
    ]  # fmt: skip
    assert sum(rejected) <= 5


def architectures_apart(seed, sd, architectures=10, n=4):
    runs = made_up_runs(n=n, architectures=architectures, environments=1, seed=seed)
    runs = runs.assign(parameters=np.nan)
    own = np.random.default_rng(1000 + seed).normal(0, sd, architectures)
    runs[ENERGY] *= 10 ** own[runs["architecture"].str[3:].astype(int)]
    return runs


def test_a_mixed_model_finds_how_far_architectures_lie_apart():
    fits = [mixed_model(architectures_apart(seed, 0.1)) for seed in range(8)]
    assert {fit.architectures for fit in fits} == {10}
    assert np.sqrt(np.mean([f.architecture_sd**2 for f in fits])) == pytest.approx(0.1, rel=0.25)
    # Of the logarithm to base 10, of a lognormal spread of 2 %.
    sd = np.sqrt(np.mean([f.residual_sd**2 for f in fits]))
    assert sd == pytest.approx(0.02 / math.log(10), rel=0.1)
    assert "differ by a factor of" in fits[0].sentence()


def test_a_balanced_mixed_models_slope_is_the_regression_of_the_architectures_means():
    runs = architectures_apart(3, 0.1)
    means = runs.assign(e=np.log10(runs[ENERGY])).groupby("architecture")[
        ["gflops_per_image", "e"]
    ].mean()  # fmt: skip
    by_hand = stats.linregress(np.log10(means["gflops_per_image"]), means["e"])
    row = mixed_model(runs).coefficients.set_index("term").loc["log10(GFLOPs)"]
    assert row["estimate"] == pytest.approx(by_hand.slope, rel=1e-6)
    assert row["p"] == pytest.approx(by_hand.pvalue, rel=0.01)
    half = stats.t.ppf(0.975, 8) * by_hand.stderr
    assert row["ci_high"] - row["estimate"] == pytest.approx(half, rel=0.01)


def test_a_mixed_model_of_architectures_that_do_not_stray_says_so():
    refused = 0
    for seed in range(12):
        result = attempt(mixed_model, made_up_runs(n=4, seed=seed))
        refused += isinstance(result, Unavailable)
        assert not result or result.architecture_sd < 0.01
    assert refused == 0


def test_a_mixed_model_of_four_architectures_is_refused():
    with pytest.raises(NotEnoughDataError, match=r"at least 5 architectures, and there are 4"):
        mixed_model(made_up_runs(architectures=4))


def test_a_regression_without_parameters_has_no_term_of_them():
    runs = architectures_apart(0, 0.1)
    for result in (energy_regression(runs).coefficients, mixed_model(runs).coefficients):
        assert not result["term"].str.contains("parameters").any()
        assert result["estimate"].notna().all()
    models = nested_models(runs).models["model"]
    assert len(models) == 1
    assert "parameters" not in nested_models(runs).sentence()


@pytest.mark.filterwarnings("error")
def test_an_environment_of_one_architecture_has_an_effect_and_no_slope_of_its_own():
    runs = made_up_runs(n=4, environments=3)
    runs = runs[(runs["environment"] != "env2") | (runs["architecture"] == "net1")]
    result = energy_regression(runs)
    row = result.coefficients.set_index("term").loc["environment: env2"]
    assert 10 ** row["estimate"] == pytest.approx(1.8, rel=0.1)
    assert "nan" not in result.sentence() + nested_models(runs).sentence()


@pytest.mark.filterwarnings("error")
def test_a_run_alone_in_its_environment_leaves_no_undefined_figure():
    runs = made_up_runs(n=4, environments=3)
    alone = (runs["environment"] == "env2") & (runs["run_id"] != "220")
    runs = runs[~alone].reset_index(drop=True)
    for analysis in (energy_regression, nested_models, mixed_model):
        told(attempt(analysis, runs))


def test_no_interval_rests_on_a_run_that_alone_tells_its_term():
    # Such a run has a leverage of 1 and no residual: HC3 is 0 over 0 there, and its errors are
    # whatever rounding makes of it.
    widths = []
    for seed in range(3):
        runs = made_up_runs(n=4, environments=3, seed=seed)
        runs = runs[(runs["environment"] != "env2") | (runs["run_id"] == "220")]
        fit = attempt(energy_regression, runs.reset_index(drop=True))
        if not fit:
            continue
        row = fit.coefficients.set_index("term").reindex(["environment: env2"]).iloc[0]
        widths.append(row["ci_high"] - row["ci_low"])
    # The runs vary by 2 %, 0.009 in logarithms: no width, or one that they can have.
    assert all(math.isnan(width) or 0.01 < width < 0.2 for width in widths), widths


@pytest.mark.filterwarnings("error")
def test_a_mixed_model_of_few_runs_has_defined_intervals_or_none_at_all():
    runs = made_up_runs(n=1)
    runs = runs[(runs["environment"] == "env0") | runs["architecture"].isin(["net0", "net2"])]
    result = attempt(mixed_model, runs)
    told(result)
    if result:
        assert np.isfinite(result.coefficients[["ci_low", "ci_high", "p"]].to_numpy()).all()


# --- break-even -------------------------------------------------------------------------------


def crossing_runs(at, exponent, architectures=6, n=4, stray=0.01, seed=0, level=1.0):
    """Return runs of which env1 takes (GFLOPs / at) ** exponent times the energy of env0."""
    runs = made_up_runs(n=n, architectures=architectures, seed=seed)
    own = np.random.default_rng(seed + 7).normal(0, stray, architectures)
    in_b = runs["environment"] == "env1"
    ratio = level * (runs["gflops_per_image"] / at) ** exponent / 1.4
    ratio *= 10 ** own[runs["architecture"].str[3:].astype(int)]
    runs.loc[in_b, ENERGY] *= ratio[in_b]
    return runs


def possible_at(points, x):
    """Return at which x the line through the ratios is not shown to differ from 1, by hand."""
    at, y = np.log10(points["gflops_per_image"].to_numpy()), np.log10(points["ratio"].to_numpy())
    fit = sm.OLS(y, sm.add_constant(at)).fit()
    predicted = fit.get_prediction(sm.add_constant(x)).summary_frame(alpha=0.05)
    return (predicted["mean_ci_lower"] <= 0) & (predicted["mean_ci_upper"] >= 0)


def test_a_planted_break_even_lies_in_fiellers_interval():
    result = break_even(crossing_runs(0.02, -0.3), "env0", "env1")
    x = np.linspace(-6, 4, 200_001)
    possible = x[possible_at(result.points, x).to_numpy()]
    assert np.diff(possible).max() < 1e-4  # one interval
    assert math.log10(result.low) == pytest.approx(possible.min(), abs=1e-4)
    assert math.log10(result.high) == pytest.approx(possible.max(), abs=1e-4)
    assert result.low < 0.02 < result.high
    assert result.low < result.gflops < result.high
    assert result.exponent == pytest.approx(-0.3, abs=0.05)
    assert not result.excluded
    assert result.inside
    assert "env0 takes less below, env1 above" in result.sentence()
    at = np.log10(result.points["gflops_per_image"].to_numpy())
    y = np.log10(result.points["ratio"].to_numpy())
    by_hand = stats.linregress(at, y)
    assert result.exponent == pytest.approx(by_hand.slope)
    assert result.exponent_p == pytest.approx(by_hand.pvalue)
    frame = sm.OLS(y, sm.add_constant(at)).fit().get_prediction().summary_frame(alpha=0.05)
    assert np.log10(result.points["low"]).tolist() == pytest.approx(frame["mean_ci_lower"].tolist())
    assert np.log10(result.points["high"]).tolist() == pytest.approx(
        frame["mean_ci_upper"].tolist()
    )


@pytest.mark.parametrize("seed", range(12))
def test_what_is_ruled_out_is_what_a_scan_finds(seed):
    rng = np.random.default_rng(seed)
    # From sure to anything, with and without a slope.
    runs = crossing_runs(0.02, -0.3 * (seed % 3), 5, 3, rng.uniform(0, 0.15), seed,
                         level=10 ** rng.uniform(-0.3, 0.3))  # fmt: skip
    result = break_even(runs, "env0", "env1")
    x = np.linspace(math.log10(result.lowest), math.log10(result.highest), 2001)
    possible = possible_at(result.points, x).to_numpy()
    assert result.excluded == (not possible.any())
    if math.isfinite(result.low):
        inside = (10**x >= result.low) & (10**x <= result.high)
        assert (inside == possible).mean() > 0.998
    told(result)


def test_fiellers_interval_covers_what_it_says():
    rng = np.random.default_rng(0)
    x = np.linspace(-1, 1, 5)
    held = 0
    for _ in range(2000):
        low, high, _ = _Line.through(x, 0.5 * (x - 0.3) + rng.normal(0, 0.03, 5)).where_zero(-1, 1)
        held += low <= 0.3 <= high
    assert held / 2000 == pytest.approx(0.95, abs=0.02)


def test_equal_ratios_have_no_break_even_in_the_range():
    result = break_even(made_up_runs(n=5), "env0", "env1")
    assert result.excluded
    assert "no break-even in the range observed" in result.sentence()
    assert "env0 takes less throughout" in result.sentence()
    assert break_even(made_up_runs(n=5), "env1", "env0").sentence().count("env0 takes less") == 1


def test_noise_alone_bounds_no_break_even():
    unbounded = 0
    for seed in range(20):
        result = break_even(crossing_runs(0.02, 0.0, 5, 3, 0.05, seed), "env0", "env1")
        if math.isnan(result.low):
            unbounded += 1
            assert (
                "no interval bounds it" in result.sentence()
                or "cannot be ruled out" in result.sentence()
                or "takes less throughout" in result.sentence()
            )
    assert unbounded >= 16  # by chance, 5 % have a slope


def test_the_architectures_between_which_the_cheaper_environment_changes_are_named():
    runs = crossing_runs(0.02, -0.3, stray=0)
    found = break_even(runs, "env0", "env1").crossing
    assert (found.below, found.above) == ("net2", "net3")  # 0.0125 and 0.03125 GFLOPs
    means = (
        runs.assign(e=np.log10(runs[ENERGY]))
        .groupby(["architecture", "environment"])["e"].mean().unstack()
    )  # fmt: skip
    y2, y3 = (means["env1"] - means["env0"]).loc[["net2", "net3"]]
    at = 0.0125 * 2.5 ** (-y2 / (y3 - y2))
    assert found.gflops == pytest.approx(at)
    assert found.low < at < found.high
    assert "changes between net2 and net3" in found.sentence()
    assert "changes between net2 and net3" in break_even(runs, "env0", "env1").sentence()
    single = runs[runs["run_id"].str[2] == "0"]
    once = break_even(single, "env0", "env1").crossing
    assert math.isnan(once.low)
    assert "interval" not in once.sentence()


def test_the_interval_of_a_crossing_holds_the_points_where_the_runs_leave_both_equal():
    runs = crossing_runs(0.02, -0.3, n=5, stray=0)
    wide = (runs["architecture"] == "net3") & (runs["environment"] == "env1")
    runs.loc[wide, ENERGY] *= np.exp([-0.05, 0.05, 0.02, 0.0, -0.02])  # a variance of its own
    found = break_even(runs, "env0", "env1").crossing
    logs = runs.assign(e=np.log10(runs[ENERGY])).groupby(["architecture", "environment"])["e"]
    mean, of_mean = logs.mean().unstack(), (logs.var() / 5).unstack()
    y = (mean["env1"] - mean["env0"]).loc[["net2", "net3"]].to_numpy()
    v = of_mean.loc[["net2", "net3"], ["env0", "env1"]].to_numpy()
    share = y[0] / (y[0] - y[1])
    weighted = v * np.array([[1 - share], [share]]) ** 2
    t = stats.t.ppf(0.975, weighted.sum() ** 2 / (weighted**2 / 4).sum())
    u = np.linspace(-2, 3, 500_001)
    line = y[0] * (1 - u) + y[1] * u
    error = np.sqrt(v[0].sum() * (1 - u) ** 2 + v[1].sum() * u**2)
    possible = u[np.abs(line) <= t * error]
    assert found.low == pytest.approx(0.0125 * 2.5 ** possible.min(), rel=1e-4)
    assert found.high == pytest.approx(0.0125 * 2.5 ** possible.max(), rel=1e-4)


def test_a_crossing_whose_interval_is_all_but_unbounded_has_a_sentence():
    x, y, dfs = np.array([0.0, 0.4]), np.array([-0.1, 0.1]), np.full((2, 2), 4.0)
    t = stats.t.ppf(0.975, 16)
    for short in (0.1, 1e-4, 1e-8, 1e-12):
        variance = (0.2 / t) ** 2 / 4 * (1 - short)  # the slope is barely shown
        found = _crossing(["p", "q"], x, y, np.full((2, 2), variance), dfs)
        assert found.gflops == pytest.approx(10**0.2)
        told(found)


def test_a_break_even_needs_four_architectures_of_both_environments():
    runs = crossing_runs(0.02, -0.3, architectures=4)
    assert break_even(runs, "env0", "env1")
    lost = runs[(runs["architecture"] != "net3") | (runs["environment"] == "env0")]
    answers = break_evens(lost)
    assert list(answers) == ["env0 and env1"]
    assert answers["env0 and env1"].sentence() == (
        "No answer from these runs: a break-even of env0 and env1 needs at least 4 architectures "
        "of different GFLOPs that were trained in both."
    )
    assert list(break_evens(made_up_runs(environments=3))) == [
        "env0 and env1", "env0 and env2", "env1 and env2",
    ]  # fmt: skip


# --- trade-off --------------------------------------------------------------------------------


def test_membership_of_the_front_is_sure_where_far_apart_and_open_where_close():
    rng = np.random.default_rng(0)
    runs = conditions(
        {"good": spread(1, 9, 5.0), "one": spread(2, 9, 1.0), "other": spread(3, 9, 1.02),
         "bad": spread(4, 9, 9.0)},
        {"good": 0.9 + rng.normal(0, 0.002, 9), "one": np.full(9, 0.8), "other": np.full(9, 0.8),
         "bad": 0.7 + rng.normal(0, 0.002, 9)},
    )  # fmt: skip
    result = pareto_front(runs)
    p = result.conditions.set_index("architecture")["front_probability"]
    assert p["good"] == 1
    assert p["bad"] == 0
    assert 0.05 < p["one"] < 0.95
    # Of two with the same F1 one is beaten, but where both drew the same energy.
    assert p["one"] + p["other"] == pytest.approx(1, abs=0.001)
    assert result.conditions["on_front"].sum() == 2
    text = result.sentence()
    assert f"one @ env0 ({100 * p['one']:.0f} %)" in text
    assert "resampled leave open" in text


def test_membership_of_the_front_is_the_share_of_resamples_of_whole_runs():
    # Energy and F1 rise together within a condition: whole runs are resampled, not columns.
    energy = np.array([1.0, 2.0, 3.0])
    runs = conditions({"a": energy, "b": np.full(3, 2.0)},
                      {"a": 0.5 + energy / 10, "b": np.full(3, 0.7)})  # fmt: skip
    p = pareto_front(runs).conditions.set_index("architecture")["front_probability"]
    # Whatever is drawn, a has less energy, or more F1, or the same of both.
    assert p.tolist() == [1, 1]


def test_correctness_for_a_kilojoule_is_the_median_over_runs():
    runs = conditions({"a": np.array([1.0, 2.0, 4.0]), "b": np.array([10.0, 10.0, 10.0])},
                      {"a": np.array([0.5, 0.8, 0.8]), "b": np.full(3, 0.9)})  # fmt: skip
    result = pareto_front(runs)
    assert result.conditions["correctness_per_kj"].tolist() == pytest.approx([0.4, 0.09])
    assert "a @ env0 has the most macro F1 for a kilojoule of training, 0.400" in (
        result.efficiency_sentence()
    )
    assert "b @ env0 the least, 0.0900" in result.efficiency_sentence()
    unmetered = pareto_front(runs.assign(energy_j=0.0))
    assert unmetered.conditions["correctness_per_kj"].isna().all()
    assert unmetered.efficiency_sentence() == ""


@pytest.mark.filterwarnings("error")
def test_a_front_of_conditions_that_learn_nothing_is_the_least_energy():
    result = pareto_front(made_up_runs().assign(f1_macro=0.0))
    assert len(result.front) == 1
    assert result.front["architecture"].item() == "net0"
    told(result)


def epochs_table():
    rows = []
    for name, scores in {
        "quick": ([0.5, 0.8, 0.9], [0.6, 0.7, 0.85], [0.8, 0.6, 0.9]),
        "slow": ([0.1, 0.4, 0.7], [0.2, 0.5, 0.6], [0.1, 0.2, 0.3]),
    }.items():
        for r, run in enumerate(scores):
            rows += [
                {"architecture": name, "environment": "e", "run_id": f"{name}{r}", "epoch": i,
                 "energy_j": (10.0 + r) * (2 if name == "slow" else 1), F1: score}
                for i, score in enumerate(run, start=1)
            ]  # fmt: skip
    return pd.DataFrame(rows)


def test_energy_to_a_target_is_that_of_the_epochs_until_it_was_reached():
    epochs = epochs_table()
    result = energy_to_target(epochs.sample(frac=1, random_state=0), 0.6)
    table = result.conditions.set_index("architecture")
    # quick: 2 epochs of 10 J, 1 of 11 J, 1 of 12 J; slow: 3 of 20 J, 3 of 22 J, never.
    assert table.loc["quick", ["n", "reached", "energy_j"]].tolist() == [3, 3, 12]
    assert table.loc["slow", ["n", "reached", "energy_j"]].tolist() == [3, 2, 66]
    assert "quick @ e: 12.0 J; slow @ e took 5.50 times as much, 66.0 J" in result.sentence()


def test_runs_that_never_reach_the_target_count_as_more_than_any():
    result = energy_to_target(epochs_table(), 0.7)
    table = result.conditions.set_index("architecture")
    assert table.loc["slow", "reached"] == 1
    assert math.isnan(table.loc["slow", "energy_j"])
    assert "not reached in most runs: slow @ e" in result.sentence()
    assert "nan" not in result.sentence()
    nowhere = energy_to_target(epochs_table(), 0.99).sentence()
    assert nowhere == "No condition reached a macro F1 of 0.99 in most of its runs."


def test_half_the_runs_at_the_target_are_not_most():
    epochs = epochs_table()
    two = epochs[epochs["run_id"].isin(["quick0", "slow0", "quick2", "slow2"])]
    table = energy_to_target(two, 0.6).conditions.set_index("architecture")
    assert table.loc["slow", "reached"] == 1
    assert math.isnan(table.loc["slow", "energy_j"])


def test_the_default_target_is_one_that_half_of_every_conditions_runs_reach():
    epochs = epochs_table()
    result = energy_to_target(epochs.assign(f1_macro=epochs[F1] + 0.007))
    assert result.target == pytest.approx(0.60)  # the median of slow's 0.707, 0.607, 0.307
    assert (result.conditions["reached"] >= 2).all()
    assert "a macro F1 of 0.60" in result.sentence()


@pytest.mark.filterwarnings("error")
def test_an_epoch_without_a_reading_leaves_its_run_out_and_nothing_learnt_has_a_target_of_0():
    epochs = epochs_table()
    epochs.loc[0, "energy_j"] = np.nan
    assert energy_to_target(epochs, 0.6).conditions["n"].tolist() == [2, 3]
    nothing = energy_to_target(epochs_table().assign(f1_macro=0.0))
    assert nothing.target == 0
    told(nothing)
    answer = attempt(energy_to_target, epochs.assign(energy_j=np.nan))
    assert "no epoch has both an energy and a correctness" in answer.sentence()


def test_an_epoch_that_was_not_validated_still_took_energy():
    epochs = epochs_table()
    epochs.loc[epochs["epoch"] == 1, F1] = np.nan
    table = energy_to_target(epochs, 0.6).conditions.set_index("architecture")
    # quick: 2 epochs of 10, 11 and 12 J.
    assert table.loc["quick", "energy_j"] == 22


@pytest.mark.parametrize("score", [0.29, 0.57, 0.58, 0.9])
def test_the_default_target_is_reached_where_every_run_has_just_it(score):
    result = energy_to_target(epochs_table().assign(f1_macro=score))
    assert result.target == pytest.approx(score)


@pytest.mark.filterwarnings("error")
def test_energies_and_scores_of_different_runs_make_no_front():
    runs = conditions({"a": spread(1, 4, 1.0), "b": spread(2, 4, 2.0)})
    runs.loc[:1, ENERGY] = np.nan
    runs.loc[2:3, F1] = np.nan
    told(attempt(pareto_front, runs))


# --- robustness -------------------------------------------------------------------------------


def test_leaving_out_each_repetition_is_the_headline_of_the_others():
    runs = numbered(made_up_runs(n=4, environments=1))
    result = leave_one_repetition_out(runs)
    assert result.whole == best_against_worst(runs)
    assert result.without["left_out"].tolist() == [0, 1, 2, 3]
    for row in result.without.itertuples():
        by_hand = best_against_worst(runs[runs["repetition"] != row.left_out])
        assert (row.saving, row.ci_low, row.ci_high) == (
            by_hand.saving, by_hand.ci_low, by_hand.ci_high,
        )  # fmt: skip
    assert "between the same two conditions throughout" in result.sentence()
    assert "Without any one of 4 repetitions" in result.sentence()


def test_leaving_out_a_repetition_may_name_another_pair():
    runs = conditions({"dear": np.full(3, 9.0), "one": np.array([1.0, 1.0, 3.0]),
                       "other": np.array([1.1, 1.1, 1.1])})  # fmt: skip
    result = leave_one_repetition_out(runs, lambda r: best_against_worst(r, "architecture"))
    assert result.without["to"].tolist() == ["other", "other", "one"]
    assert result.whole.cheap == "one"
    assert "2 of them name another pair of conditions" in result.sentence()


def test_two_repetitions_leave_too_few_without_one():
    runs = numbered(made_up_runs(n=2))
    with pytest.raises(NotEnoughDataError, match="without repetition 0, a saving needs"):
        leave_one_repetition_out(runs)


def exactly(sigma, n):
    """Return logarithms of exactly this standard deviation."""
    z = stats.norm.ppf((np.arange(n) + 0.5) / n)
    return np.exp(sigma * z / z.std(ddof=1))


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.1, 0.3])
def test_the_repetitions_needed_are_those_of_a_t_test(sigma):
    runs = conditions({"a": exactly(sigma, 8)})
    row = repetitions_needed(runs).conditions.iloc[0]
    needed = TTestIndPower().solve_power(math.log(1.05) / sigma, alpha=0.05, power=0.8)
    assert row["variation"] == pytest.approx(sigma)
    assert row["repetitions_needed"] == math.ceil(needed)
    effect = TTestIndPower().solve_power(nobs1=8, alpha=0.05, power=0.8)
    assert row["smallest_difference"] == pytest.approx(math.exp(effect * sigma) - 1)


@pytest.mark.parametrize("sigma", [1e-9, 1e-4, 0.002, 0.0045, 0.005, 0.0055, 0.01])
@pytest.mark.filterwarnings("error")
def test_small_spreads_need_few_repetitions(sigma):
    row = repetitions_needed(conditions({"a": exactly(sigma, 5)})).conditions.iloc[0]
    assert 2 <= row["repetitions_needed"] <= 3
    power = TTestIndPower().power(math.log(1.05) / sigma, row["repetitions_needed"], 0.05)
    assert not power < 0.8


def test_the_repetitions_needed_have_the_power_by_simulation():
    runs = conditions({"a": exactly(0.08, 6)})
    n = int(repetitions_needed(runs).conditions["repetitions_needed"].item())
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 0.08, (4000, n)), rng.normal(math.log(1.05), 0.08, (4000, n))
    assert (stats.ttest_ind(a, b, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.03)


def test_the_condition_that_varies_most_is_named():
    runs = conditions({"calm": exactly(0.02, 6), "wild": exactly(0.2, 6), "once": np.ones(1)})
    result = repetitions_needed(runs)
    needed = int(result.conditions["repetitions_needed"].iloc[1])
    text = result.sentence()
    assert f"wild @ env0, which varies most (20.0 %), needs {needed}." in text
    assert "enough for 1 of 2 conditions" in text


def many_choices():
    runs = numbered(made_up_runs(n=6, architectures=3, environments=1))
    runs.loc[0, "contended"] = True
    runs.loc[[7], ["energy_j", ENERGY, "net_energy_j", "train_energy_j"]] *= 1.5
    return runs


def test_a_specification_curve_has_a_row_for_each_combination():
    runs = many_choices()
    assert len(find_outliers(runs).left_out) == 1
    result = specification_curve(energy_definitions(runs))
    table = result.specifications
    assert len(table) == 3 * 3 * 2
    assert not table.duplicated(list(result.choices)).any()
    assert table["saving"].is_monotonic_increasing
    assert result.unanswered == 0
    row = table[(table["energy"] == "net") & (table["runs"] == "without disturbed")
                & (table["statistic"] == "mean")].iloc[0]  # fmt: skip
    net = runs[~runs["contended"]].copy()
    net[ENERGY] = net["net_energy_j"] / 1000
    by_hand = best_against_worst(net, statistic="mean")
    assert (row["saving"], row["ci_low"]) == pytest.approx((by_hand.saving, by_hand.ci_low))
    assert "Over 18 reasonable analyses" in result.sentence()
    assert "between the same two conditions in all" in result.sentence()


def test_choices_that_leave_nothing_out_are_not_counted_twice():
    runs = numbered(made_up_runs(n=5, architectures=3, environments=1))
    assert find_outliers(runs).left_out.empty
    result = specification_curve(energy_definitions(runs))
    assert len(result.specifications) == 3 * 2
    assert set(result.specifications["runs"]) == {"all"}


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
    assert "the choice of statistic" in specification_curve(
        energy_definitions(wild)
    ).sentence() or (
        "the choice of runs" in specification_curve(energy_definitions(wild)).sentence()
    )
    assert "choice of energy" not in specification_curve(energy_definitions(wild)).sentence()


def test_the_rule_for_outliers_says_whether_the_pair_stays_the_same():
    dear = np.array([3.0, 3.01, 3.02, 3.03, 3.04])
    calm = conditions({"dear": dear, "other": dear - 1, "cheap": dear / 3})
    calm.loc[0, ENERGY] = 30.0
    assert "It leaves out 1 of 15 runs." in outliers_sentence(calm)
    assert outliers_sentence(calm).endswith("without those (the same pair).")
    # A mean is moved by the outlier, and without it another condition is the dearest.
    moved = conditions({"dear": dear, "other": np.array([2.0, 2.01, 2.02, 2.03, 200.0]),
                        "cheap": dear / 3})  # fmt: skip
    text = outliers_sentence(moved, lambda r: best_against_worst(r, statistic="mean"))
    assert "without those (cheap @ env0 against dear @ env0)" in text


# --- what runs may lack -----------------------------------------------------------------------

UNTOLD = re.compile(r"\b(nan|NaN|inf|None)\b|\[\]")
TEXTS = ("sentence", "diagnosis", "assumptions", "environment_sentence", "effects_sentence",
         "efficiency_sentence")  # fmt: skip


def told(answer):
    """Check that an answer, or each of several, tells in words what it tells."""
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, list):
        for one in answer:
            told(one)
        return
    texts = [answer] if isinstance(answer, str) else [
        getattr(answer, name)() for name in TEXTS if hasattr(answer, name)
    ]  # fmt: skip
    assert texts
    for text in texts:
        assert not UNTOLD.search(text), text


ANALYSES = {
    "compare energy": lambda r: compare(r, ENERGY, "environment"),
    "compare F1": lambda r: compare(r, F1, "environment"),
    "compare_each": lambda r: compare_each(
        r[r["architecture"].isin(["net0", "net1"])], F1, "environment", "architecture"
    ),
    "saving": lambda r: saving(r, of("net1"), of("net0")),
    "best_against_worst": best_against_worst,
    "best_against_worst of means": lambda r: best_against_worst(r, statistic="mean"),
    "savings_table": savings_table,
    "savings_without_loss": savings_without_loss,
    "energy_regression": energy_regression,
    "nested_models": nested_models,
    "mixed_model": mixed_model,
    "architecture_by_environment": architecture_by_environment,
    "break_evens": break_evens,
    "break_even": lambda r: break_even(r, "env0", "env1"),
    "pareto_front": pareto_front,
    "paired_by_environment": lambda r: paired_by_environment(r, F1),
    "leave_one_repetition_out": leave_one_repetition_out,
    "repetitions_needed": repetitions_needed,
    "specification_curve": lambda r: specification_curve(energy_definitions(r)),
    "outliers": find_outliers,
    "outliers_sentence": outliers_sentence,
    "fastest_environment": fastest_environment,
}
OF_ENERGY = ["energy_j", ENERGY, "net_energy_j", "train_energy_j", "duration_s_per_image"]


def two_equal_groups():
    runs = numbered(made_up_runs(n=5))
    values = [*OF_ENERGY, F1]
    runs.loc[runs["environment"] == "env1", values] = runs.loc[
        runs["environment"] == "env0", values
    ].to_numpy()
    return runs


def constant_conditions():
    runs = numbered(made_up_runs(n=5))
    columns = [*OF_ENERGY, F1]
    groups = runs.groupby(["architecture", "environment"])[columns]
    runs[columns] = groups.transform("first")
    return runs


def one_run_in_an_environment():
    runs = numbered(made_up_runs(n=4, environments=3))
    return runs[(runs["environment"] != "env2") | (runs["run_id"] == "220")]


RUNS = {
    "one repetition": lambda: numbered(made_up_runs(n=1)),
    "one run": lambda: numbered(made_up_runs(n=1, architectures=1, environments=1)),
    "two repetitions": lambda: numbered(made_up_runs(n=2)),
    "one architecture": lambda: numbered(made_up_runs(n=5, architectures=1)),
    "two architectures": lambda: numbered(made_up_runs(n=5, architectures=2)),
    "one environment": lambda: numbered(made_up_runs(n=5, environments=1)),
    "two equal groups": two_equal_groups,
    "all energies equal": lambda: numbered(made_up_runs(n=5)).assign(
        **dict.fromkeys(OF_ENERGY, 2.0)
    ),
    "constant conditions": constant_conditions,
    "a constant condition": lambda: pd.concat(
        [constant_conditions().head(5), numbered(made_up_runs(n=5)).iloc[5:]], ignore_index=True
    ),
    "no run at all": lambda: select_runs(numbered(made_up_runs(n=3)).assign(status="failed")).runs,
    "F1 of 0": lambda: numbered(made_up_runs(n=5)).assign(f1_macro=0.0),
    "F1 unknown": lambda: numbered(made_up_runs(n=5)).assign(f1_macro=np.nan),
    "energy unknown": lambda: numbered(made_up_runs(n=5)).assign(
        **dict.fromkeys(OF_ENERGY[:-1], np.nan)
    ),
    "energy of 0": lambda: numbered(made_up_runs(n=5)).assign(**dict.fromkeys(OF_ENERGY, 0.0)),
    "parameters unknown": lambda: numbered(made_up_runs(n=5)).assign(parameters=np.nan),
    "GFLOPs unknown": lambda: numbered(made_up_runs(n=5)).assign(gflops_per_image=np.nan),
    "one run in an environment": one_run_in_an_environment,
}


CASES = [
    (name, what)
    for name, what in itertools.product(ANALYSES, RUNS)
    # What compares F1 alone reads no energy and no complexity.
    if name not in ("compare F1", "compare_each")
    or not re.search("energies|energy|parameters|GFLOPs", what)
]


@pytest.mark.parametrize(("name", "what"), CASES)
def test_every_analysis_answers_whatever_runs_lack(name, what):
    runs = RUNS[what]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = attempt(ANALYSES[name], runs)
    told(answer)


@pytest.mark.parametrize("name", ANALYSES)
def test_no_analysis_changes_the_runs_it_is_given(name):
    runs = RUNS["two architectures"]()
    before = runs.copy(deep=True)
    attempt(ANALYSES[name], runs)
    pd.testing.assert_frame_equal(runs, before)


def test_answers_of_savings_are_savings():
    assert isinstance(attempt(best_against_worst, numbered(made_up_runs(n=5))), Saving)
    assert isinstance(attempt(best_against_worst, RUNS["no run at all"]()), Unavailable)
