"""Omnibus tests against calculations by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from greencv_core.analysis import NotEnoughDataError, compare, compare_each
from greencv_core.analysis.comparison.omnibus import permutation_p
from greencv_core.analysis.comparison.pairwise import holm
from tests.support.tables import made_up_runs


def test_comparison_against_recomputation_by_hand():
    runs = made_up_runs(environments=1, architectures=3)
    result = compare(runs, "energy_j_per_image", "architecture")
    values = [g["energy_j_per_image"].to_numpy() for _, g in runs.groupby("architecture")]
    everything = np.concatenate(values)
    ranks = everything.argsort().argsort() + 1
    n, sizes = len(everything), [len(v) for v in values]
    sums = [part.sum() for part in np.split(ranks, np.cumsum(sizes)[:-1])]
    h = 12 / (n * (n + 1)) * sum(s**2 / k for s, k in zip(sums, sizes, strict=True)) - 3 * (n + 1)
    assert result.kruskal_h == pytest.approx(h)
    assert result.eta_squared == pytest.approx((h - 3 + 1) / (n - 3))
    assert result.epsilon_squared == pytest.approx(h / (n - 1))
    weights = [len(v) / v.var(ddof=1) for v in values]
    grand = sum(w * v.mean() for w, v in zip(weights, values, strict=True)) / sum(weights)
    between = sum(w * (v.mean() - grand) ** 2 for w, v in zip(weights, values, strict=True)) / 2
    lam = sum((1 - w / sum(weights)) ** 2 / (n / 3 - 1) for w in weights)
    assert result.welch_f == pytest.approx(between / (1 + 2 * (3 - 2) / (3**2 - 1) * lam))


@pytest.mark.filterwarnings("error")
def test_where_nothing_varies_nothing_is_tested():
    runs = pd.DataFrame({"g": ["a"] * 3 + ["b"] * 3, "v": [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]})
    with pytest.raises(NotEnoughDataError, match="v is the same in all runs of each g"):
        compare(runs, "v", "g")
    tied = pd.concat([runs, pd.DataFrame({"g": ["c"] * 3, "v": [1.0, 2.0, 2.0]})])
    result = compare(tied, "v", "g")
    assert result.pairs["t_p"].isna().tolist() == [True, False, False]
    assert result.pairs_differing == 0
    assert "1 pair without any spread cannot be tested" in result.sentence()


def test_comparison_leaves_out_small_groups_and_refuses_what_cannot_be_compared():
    runs = made_up_runs(environments=1)
    third = runs["architecture"].eq("net0") & runs["run_id"].gt("001")
    result = compare(runs[~third], "energy_j", "architecture")
    assert result.left_out == ("net0",)
    assert "left out: net0 (fewer than 3 runs)" in result.sentence()
    assert len(result.groups) == 4
    with pytest.raises(NotEnoughDataError, match="there is 1"):
        compare(runs[runs["architecture"] == "net0"], "energy_j", "architecture")
    with pytest.raises(NotEnoughDataError, match="there are 0"):
        compare(runs.drop_duplicates("architecture"), "energy_j", "architecture")


def test_one_rule_decides_whatever_the_number_of_runs():
    every = made_up_runs(n=5, environments=1, architectures=3)
    lost = every.drop(index=every.index[0])
    groups = [g["energy_j_per_image"] for _, g in every.groupby("architecture")]
    by_hand = [
        stats.ttest_ind(a, b, equal_var=False).pvalue for a, b in itertools.combinations(groups, 2)
    ]
    whole = compare(every, "energy_j_per_image", "architecture")
    assert whole.pairs["t_p"].tolist() == pytest.approx(by_hand)
    assert whole.p == pytest.approx(min(holm(by_hand)))
    result = compare(lost, "energy_j_per_image", "architecture")
    assert result.pairs_differing == whole.pairs_differing == 3
    assert result.statistics() == whole.statistics()
    f, df1 = result.welch_f, result.welch_df1
    assert result.omega_squared == pytest.approx(df1 * (f - 1) / (df1 * (f - 1) + 14))
    assert f"omega squared = {result.omega_squared:.2f}" in result.sentence()


def test_a_large_group_lends_no_certainty_to_a_small_one():
    rng = np.random.default_rng(3)
    runs = pd.DataFrame(
        {"g": ["a"] * 3 + ["b"] * 50, "v": [*(1.0, 1.001, 1.002), *rng.normal(1.05, 0.1, 50)]}
    )
    result = compare(runs, "v", "g")
    a, b = (part["v"].to_numpy() for _, part in runs.groupby("g"))
    t = stats.ttest_ind(a, b, equal_var=False)
    assert t.df > 40
    assert result.p == pytest.approx(2 * stats.t.sf(abs(t.statistic), 2 * (1 + 3 / 50)))


def test_sessions_are_the_units_where_there_are_several():
    runs = made_up_runs(n=9, environments=1, architectures=2)
    runs["session"] = [str(i // 3) for i in range(9)] * 2
    result = compare(runs, "energy_j_per_image", "architecture")
    means = runs.groupby(["architecture", "session"])["energy_j_per_image"].mean()
    assert result.p == pytest.approx(stats.ttest_rel(means["net0"], means["net1"]).pvalue)
    assert result.groups["sessions"].tolist() == [3, 3]
    assert result.permutation_lowest == pytest.approx(1 / 4)
    assert "cannot be significant with so few units (at best, p = 0.250)" in result.sentence()
    assert "t test paired over sessions" in result.sentence()


@pytest.mark.filterwarnings("error")
def test_groups_that_are_apart_beyond_every_number_have_the_lowest_p():
    rng = np.random.default_rng(0)
    groups = {name: pd.Series(1e-6 * rng.normal(size=3000) + i) for i, name in enumerate("abc")}
    assert permutation_p(groups, paired=False) == (0.0002, 0.0002)


def test_the_permutation_test_is_exact_with_few_runs():
    runs = pd.DataFrame({"g": ["a"] * 4 + ["b"] * 4, "v": [1.0, 2, 3, 4.5, 11, 12, 13, 14]})
    assert compare(runs, "v", "g").permutation_p == pytest.approx(2 / 70)
    one = made_up_runs(n=30, environments=1)
    first, second = (compare(one, "f1_macro", "architecture").permutation_p for _ in range(2))
    assert first == second < 0.001
    assert np.isnan(compare(one, "f1_macro", "architecture", pairs=False).permutation_p)


def test_sentences_follow_the_data():
    runs = made_up_runs(environments=1)
    apart = compare(runs, "energy_j_per_image", "architecture").sentence()
    assert "10 of 10 pairs differ significantly, 10 without overlap" in apart
    assert "Energy per image differs between the 5 architectures" in apart
    alike = runs.assign(energy_j_per_image=np.tile([1, 2, 3, 4, 5.0], 5))
    same = compare(alike, "energy_j_per_image", "architecture").sentence()
    assert "The data show no difference" in same
    assert compare(runs, "f1_macro", "architecture").sentence().startswith("Macro F1 ")


def test_tests_of_one_question_are_adjusted_together():
    runs = made_up_runs(n=5)
    alone = {
        name: compare(part, "f1_macro", "environment")
        for name, part in runs.groupby("architecture", sort=False)
    }
    together = compare_each(runs, "f1_macro", "environment", "architecture")
    p = sorted(c.p for c in alone.values())
    by_hand = np.minimum(1, np.maximum.accumulate([(5 - i) * p[i] for i in range(5)]))
    assert sorted(c.p for c in together.values()) == pytest.approx(by_hand)
    # One pair an architecture: Dunn's p and the permutations' are adjusted over all of them, too.
    raw = np.concatenate([c.pairs["dunn_p"] for c in together.values()])
    adjusted = np.concatenate([c.pairs["dunn_p_holm"] for c in together.values()])
    assert (adjusted >= raw).all()
    assert adjusted.max() > raw.max()
    permuted = [c.permutation_p for c in alone.values()]
    assert [c.permutation_p for c in together.values()] == pytest.approx(holm(permuted))
    assert "by Holm's method for 5 pairs" in together["net0"].sentence()
