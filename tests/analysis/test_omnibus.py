"""Omnibus tests against calculations by hand."""

import numpy as np
import pandas as pd
import pytest

from greencv_core.analysis import NotEnoughDataError, compare, compare_each
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
    assert result.primary == "welch"  # five runs a group
    weights = [len(v) / v.var(ddof=1) for v in values]
    grand = sum(w * v.mean() for w, v in zip(weights, values, strict=True)) / sum(weights)
    between = sum(w * (v.mean() - grand) ** 2 for w, v in zip(weights, values, strict=True)) / 2
    lam = sum((1 - w / sum(weights)) ** 2 / (n / 3 - 1) for w in weights)
    assert result.welch_f == pytest.approx(between / (1 + 2 * (3 - 2) / (3**2 - 1) * lam))


@pytest.mark.parametrize("values", [[1.0, 1.0, 1.0], [1.0, 2.0, 2.0]])
@pytest.mark.filterwarnings("error")
def test_ties_and_groups_without_spread_do_not_fail(values):
    runs = pd.DataFrame({"g": ["a"] * 3 + ["b"] * 3, "v": [1.0, 1.0, 1.0, *values]})
    result = compare(runs, "v", "g")
    assert 0 <= result.kruskal_p <= 1
    assert "differ" in result.sentence()


def test_comparison_leaves_out_small_groups_and_refuses_what_cannot_be_compared():
    runs = made_up_runs(environments=1)
    alone = runs["architecture"].eq("net0") & runs["run_id"].ne("000")
    result = compare(runs[~alone], "energy_j", "architecture")
    assert result.left_out == ("net0",)
    assert "left out: net0 (fewer than 2 runs)" in result.sentence()
    assert len(result.groups) == 4
    with pytest.raises(NotEnoughDataError, match="there is 1"):
        compare(runs[runs["architecture"] == "net0"], "energy_j", "architecture")
    with pytest.raises(NotEnoughDataError, match="there are 0"):
        compare(runs.drop_duplicates("architecture"), "energy_j", "architecture")


def test_means_answer_where_groups_have_five_runs_and_ranks_where_not():
    few = compare(made_up_runs(n=4, environments=1), "energy_j_per_image", "architecture")
    assert few.primary == "kruskal"
    assert few.p == few.kruskal_p
    assert few.sentence().index("Kruskal") < few.sentence().index("Welch")
    runs = made_up_runs(n=30, environments=1, architectures=3)
    result = compare(runs, "energy_j_per_image", "architecture")
    f, df1 = result.welch_f, result.welch_df1
    assert result.primary == "welch"
    assert result.omega_squared == pytest.approx(df1 * (f - 1) / (df1 * (f - 1) + 90))
    text = result.sentence()
    assert f"omega squared = {result.omega_squared:.2f}" in text
    assert text.index("Welch") < text.index("by ranks the answer is the same (Kruskal-Wallis H")
    level = runs.assign(energy_j_per_image=runs["energy_j_per_image"].where(
        runs["architecture"] != "net0", 1.0
    ))  # fmt: skip
    assert compare(level, "energy_j_per_image", "architecture").primary == "kruskal"


def test_sentences_follow_the_data():
    runs = made_up_runs(environments=1)
    apart = compare(runs, "energy_j_per_image", "architecture").sentence()
    assert "and the values of 10 do not overlap" in apart
    assert "Energy per image differs between the 5 architectures" in apart
    alike = runs.assign(energy_j_per_image=np.tile([1, 2, 3, 4, 5.0], 5))
    same = compare(alike, "energy_j_per_image", "architecture").sentence()
    assert "is not shown to differ" in same
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
    # One pair an architecture: Dunn's p are adjusted over all of them, too.
    raw = np.concatenate([c.pairs["dunn_p"] for c in together.values()])
    adjusted = np.concatenate([c.pairs["dunn_p_holm"] for c in together.values()])
    assert (adjusted >= raw).all()
    assert adjusted.max() > raw.max()
    assert "by Holm's method for 5 comparisons" in together["net0"].sentence()
