"""The two-way analysis against Welch's tests."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.oneway import anova_oneway

from greencv_core.analysis import NotEnoughDataError, architecture_by_environment
from greencv_core.analysis.regression.interaction import (
    SumsOfSquares,
    aligned_ranks_anova,
    welch_james,
)
from greencv_core.report.pages.short_answers import environment_verdict
from tests.support.tables import ENERGY, made_up_runs


def moments(groups):
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
    ours = welch_james(*moments(groups), contrasts)
    theirs = anova_oneway(groups, use_var="unequal")
    assert ours.f == pytest.approx(theirs.statistic, rel=1e-9)
    assert ours.df1 == k - 1
    assert ours.df2 == pytest.approx(theirs.df_denom, rel=1e-9)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-9)


def test_welch_james_does_not_depend_on_how_contrasts_are_written():
    groups = [np.random.default_rng(i).normal(i, 1 + i, 5 + i) for i in range(3)]
    one = welch_james(*moments(groups), np.array([[1.0, -1, 0], [1, 0, -1]]))
    other = welch_james(*moments(groups), np.array([[0.0, 5, -5], [-2, 1, 1]]))
    assert (one.f, one.df2) == pytest.approx((other.f, other.df2))


def test_the_interaction_of_two_by_two_is_welchs_t_of_a_difference_of_differences():
    runs = made_up_runs(n=5, architectures=2)
    result = architecture_by_environment(runs)
    cells = [np.log10(g[ENERGY]) for _, g in runs.groupby(["architecture", "environment"])]
    of_means = np.array([c.var(ddof=1) / 5 for c in cells])
    t = (np.array([1, -1, -1, 1]) @ [c.mean() for c in cells]) / math.sqrt(of_means.sum())
    df = of_means.sum() ** 2 / (of_means**2 / 4).sum()
    p = 2 * stats.t.sf(abs(t), df)
    assert result.p == pytest.approx(p)
    assert result.anova.set_index("term").loc["architecture x environment", "p"] == pytest.approx(p)


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


@pytest.mark.parametrize("seed", range(3))
def test_sums_of_squares_are_those_of_statsmodels_for_cells_of_any_size(seed):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(
        [(a, b) for a in "stuv" for b in "xyz" for _ in range(rng.integers(3, 9))],
        columns=["a", "b"],
    )
    data["value"] = rng.normal(size=len(data)) + (data["a"] == "t") * (1 + (data["b"] == "y"))
    found = SumsOfSquares(data)
    second = anova_lm(smf.ols("value ~ C(a) * C(b)", data).fit(), typ=2)
    third = anova_lm(smf.ols("value ~ C(a, Sum) * C(b, Sum)", data).fit(), typ=3)
    for term, names in {
        "a": ("C(a)", "C(a, Sum)"),
        "b": ("C(b)", "C(b, Sum)"),
        "a x b": ("C(a):C(b)", "C(a, Sum):C(b, Sum)"),
    }.items():
        assert found.hierarchical(term) == pytest.approx(second.loc[names[0], "sum_sq"])
        assert found.without(term) == pytest.approx(third.loc[names[1], "sum_sq"])
        assert found.degrees[term] == second.loc[names[0], "df"]
    assert found.residual == pytest.approx(second.loc["Residual", "sum_sq"])
    assert found.residual_df == second.loc["Residual", "df"]


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
    assert len(effects) == 9
    raw = []
    for row in effects.itertuples():
        values, reference = (
            np.log10(runs.loc[(runs["architecture"] == row.architecture)
                              & (runs["environment"] == e), ENERGY].to_numpy())
            for e in (row.environment, row.reference)
        )  # fmt: skip
        test = stats.ttest_ind(values, reference, equal_var=False)
        raw.append(test.pvalue)
        assert row.p == pytest.approx(test.pvalue)
        interval = test.confidence_interval(0.95 ** (1 / 9))  # for all nine at once
        assert (row.ci_low, row.ci_high) == pytest.approx((10**interval.low, 10**interval.high))
        assert row.ratio == pytest.approx(10 ** (values.mean() - reference.mean()))
    by_hand = np.maximum.accumulate([(9 - i) * p for i, p in enumerate(sorted(raw))])
    assert sorted(effects["p_holm"]) == pytest.approx(np.minimum(1, by_hand).tolist())


def test_simple_effects_are_told_by_direction():
    runs = made_up_runs(n=6, architectures=3)
    in_env1 = runs["environment"] == "env1"
    runs.loc[in_env1 & (runs["architecture"] == "net1"), ENERGY] /= 1.4
    runs.loc[in_env1 & (runs["architecture"] == "net2"), ENERGY] /= 2.8
    text = architecture_by_environment(runs).effects_sentence()
    by = "On env1 instead of env0: more energy for net0, less energy for net2, no clear difference"
    assert f"{by} for net1" in text


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


def test_interaction_is_absent_where_ratios_are_equal_and_found_where_not():
    runs = made_up_runs(n=8)
    none = architecture_by_environment(runs)
    assert none.p > 0.05
    assert none.effects["ratio"].to_numpy() == pytest.approx(1.4, rel=0.1)
    bent = runs.copy()
    chosen = (bent["architecture"] == "net4") & (bent["environment"] == "env1")
    bent.loc[chosen, "energy_j_per_image"] *= 3
    found = architecture_by_environment(bent)
    assert found.p < 0.001
    assert "depends on the architecture" in found.sentence()


def test_the_verdict_on_environments_has_one_gate_and_an_interval():
    runs = made_up_runs(n=6, architectures=3)
    in_env1 = runs["environment"] == "env1"
    runs.loc[in_env1, ENERGY] /= 1.4  # no effect is left
    assert environment_verdict(architecture_by_environment(runs)) == (
        "The data show no difference between the environments."
    )
    runs.loc[in_env1 & (runs["architecture"] == "net2"), ENERGY] /= 2
    found = architecture_by_environment(runs)
    effect = found.sure.iloc[0]
    saving, low, high = (100 * (1 - effect[end]) for end in ("ratio", "ci_high", "ci_low"))
    assert environment_verdict(found) == (
        f"It depends on the architecture: net2 needs {saving:.0f}% less energy ({low:.0f}% to "
        f"{high:.0f}%) on env1 than on env0. The difference is significant for 1 of 3 "
        "architectures (simultaneous intervals)."
    )
    assert "differs between the training environments for 1 of 3" in found.environment_sentence()


def test_interaction_uses_the_architectures_that_every_environment_has():
    runs = made_up_runs(n=4)
    lost = (runs["architecture"] == "net2") & (runs["environment"] == "env1")
    result = architecture_by_environment(runs[~lost])
    assert result.left_out == ("net2",)
    assert np.isfinite(result.p)
    assert "left out: net2 (too few runs in some conditions)" in result.sentence()


def test_interaction_of_a_study_cut_short_uses_the_environments_that_are_whole():
    runs = made_up_runs(n=4, environments=3)
    repetition = runs.groupby(["architecture", "environment"]).cumcount()
    begun = (runs["environment"] != "env2") | (repetition == 0)
    cut, whole = architecture_by_environment(runs[begun]), runs[runs["environment"] != "env2"]
    assert cut.left_out == ("env2",)
    assert cut.p == architecture_by_environment(whole).p
    assert "left out: env2 (too few runs in some conditions)" in cut.sentence()
