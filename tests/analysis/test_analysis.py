"""The statistics, against published figures and against recomputation by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from greencv_core.analysis import (
    NotEnoughDataError,
    architecture_by_environment,
    attempt,
    best_against_worst,
    cliffs_delta,
    compare,
    compare_each,
    energy_regression,
    fastest_environment,
    filter_by,
    paired_by_environment,
    pareto_front,
    saving,
    select_runs,
    summarise,
    weakest_provenance,
)
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.text import listed, number, p_value
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
    lam = sum(
        (1 - w / sum(weights)) ** 2 / (len(v) - 1) for w, v in zip(weights, values, strict=True)
    )
    assert result.welch_f == pytest.approx(between / (1 + 2 * (3 - 2) / (3**2 - 1) * lam))


def test_cliffs_delta_counts_pairs():
    a, b = np.array([1.0, 2.0, 5.0]), np.array([2.0, 3.0])
    by_hand = sum(np.sign(x - y) for x in a for y in b) / 6
    assert cliffs_delta(a, b) == pytest.approx(by_hand)


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


def test_an_analysis_without_data_answers_with_a_sentence():
    runs = made_up_runs(n=3)
    one_architecture = runs[runs["architecture"] == "net0"]
    one_environment = runs[runs["environment"] == "env0"]
    each_its_own = one_environment.drop_duplicates("architecture").head(3)
    each_its_own = each_its_own.assign(environment=["env0", "env1", "env2"])
    unanswered = [
        attempt(compare, one_architecture, "energy_j", "architecture"),
        attempt(architecture_by_environment, one_environment),
        attempt(architecture_by_environment, runs.drop_duplicates(["architecture", "environment"])),
        attempt(energy_regression, one_architecture),
        attempt(energy_regression, each_its_own),
        attempt(best_against_worst, one_architecture, "architecture"),
    ]
    for result in unanswered:
        assert not result
        assert result.sentence().startswith("No answer from these runs: ")
        assert "nan" not in result.sentence()
    with pytest.raises(KeyError):  # a defect is not missing data
        attempt(compare, runs, "no_such_column", "architecture")


def test_sentences_follow_the_data():
    runs = made_up_runs(environments=1)
    apart = compare(runs, "energy_j_per_image", "architecture").sentence()
    assert "and the values of 10 do not overlap" in apart
    assert "Energy per image differs between the 5 architectures" in apart
    alike = runs.assign(energy_j_per_image=np.tile([1, 2, 3, 4, 5.0], 5))
    same = compare(alike, "energy_j_per_image", "architecture").sentence()
    assert "is not shown to differ" in same
    assert compare(runs, "f1_macro", "architecture").sentence().startswith("Macro F1 ")


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


def test_regression_finds_the_exponent_that_made_the_data():
    result = energy_regression(made_up_runs(n=10))
    row = result.coefficients.set_index("term").loc["log10(GFLOPs)"]
    assert row["ci_low"] < 0.5 < row["ci_high"]
    assert row["estimate"] == pytest.approx(0.5, abs=0.05)
    assert result.r_squared > 0.98
    assert len(result.residuals) == result.n == 100
    assert result.unseen_architecture_error < 0.1
    with pytest.raises(ValueError, match="at least 3"):
        energy_regression(made_up_runs(architectures=2))


def test_interaction_is_absent_where_ratios_are_equal_and_found_where_not():
    runs = made_up_runs(n=8)
    none = architecture_by_environment(runs)
    assert none.p > 0.05
    assert none.ratios["ratio"].to_numpy() == pytest.approx(1.4, rel=0.1)
    bent = runs.copy()
    chosen = (bent["architecture"] == "net4") & (bent["environment"] == "env1")
    bent.loc[chosen, "energy_j_per_image"] *= 3
    found = architecture_by_environment(bent)
    assert found.p < 0.001
    assert "depends on the architecture" in found.sentence()


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


def test_regression_stands_an_environment_that_one_architecture_alone_has():
    runs = made_up_runs(n=4)
    runs.loc[runs["architecture"] == "net3", "environment"] = "env2"
    result = energy_regression(runs)
    assert 0 < result.unseen_architecture_error < 0.2
    runs.loc[0, "gflops_per_image"] = np.nan
    assert energy_regression(runs).n == len(runs) - 1


def test_a_level_that_no_run_has_is_one_clear_line():
    runs = made_up_runs()
    assert set(filter_by(runs, "environment", "env1")["environment"]) == {"env1"}
    with pytest.raises(BadInputError, match=r"environment gpu: no run has it; .* env0, env1"):
        filter_by(runs, "environment", "gpu")


def test_the_fastest_environment_counts_architectures_alike():
    runs = made_up_runs()
    runs.loc[runs["environment"] == "env1", "duration_s_per_image"] *= 0.1
    assert fastest_environment(runs) == "env1"


def test_an_environment_is_not_fast_for_want_of_large_architectures():
    runs = made_up_runs()
    slow_survivor = (runs["environment"] == "env1") & runs["architecture"].isin(["net3", "net4"])
    assert fastest_environment(runs[~slow_survivor]) == "env0"


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


def test_pairing_sees_what_the_architectures_spread_hides():
    runs = made_up_runs(n=5)
    runs["seed"] = runs["run_id"].str[-1].astype(int)
    better = runs["environment"] == "env1"
    noise = np.random.default_rng(1).normal(0, 0.0005, len(runs))
    runs["f1_macro"] = 0.8 + 0.03 * runs["architecture"].str[-1].astype(int) + noise
    runs.loc[better, "f1_macro"] += 0.002
    result = paired_by_environment(runs.sample(frac=1, random_state=0).sort_index(), "f1_macro")
    wide = runs.pivot(index=["architecture", "seed"], columns="environment", values="f1_macro")
    assert result.combinations == 25
    assert result.p == pytest.approx(stats.wilcoxon(wide["env0"], wide["env1"]).pvalue)
    assert result.p < 0.001 < compare(runs, "f1_macro", "environment").p
    shift = (wide["env1"] - wide["env0"]).median()
    assert result.shifts["shift"].tolist() == pytest.approx([shift])
    assert f"{shift:+.4f} in env1" in result.sentence()
    lost = runs.drop(index=runs.index[better][:22])
    with pytest.raises(NotEnoughDataError, match="at least 6 combinations"):
        paired_by_environment(lost, "f1_macro")
    same = runs.assign(f1_macro=0.9)
    assert paired_by_environment(same, "f1_macro").p == 1


def test_three_environments_are_paired_by_friedmans_test():
    runs = made_up_runs(n=5, environments=3)
    runs["seed"] = runs["run_id"].str[-1].astype(int)
    result = paired_by_environment(runs, "f1_macro")
    wide = runs.pivot(index=["architecture", "seed"], columns="environment", values="f1_macro")
    assert result.p == pytest.approx(stats.friedmanchisquare(*(wide[c] for c in wide)).pvalue)
    assert list(result.shifts["environment"]) == ["env1", "env2"]


def test_pareto_front_holds_what_nothing_beats():
    runs = pd.DataFrame(
        {
            "architecture": ["a", "b", "c", "d", "unmetered", "unscored"],
            "environment": "e",
            "energy_j_per_image": [1.0, 2.0, 3.0, 3.0, np.nan, 0.5],
            "f1_macro": [0.8, 0.9, 0.85, 0.95, 0.99, np.nan],
            "energy_j": [10.0, 20.0, 30.0, 30.0, np.nan, 5.0],
        }
    )
    result = pareto_front(runs)
    assert list(result.front["architecture"]) == ["a", "b", "d"]
    assert "a @ e, b @ e and d @ e are on the Pareto front" in result.sentence()
    # To differ by less than a thousandth is to be equally right.
    runs.loc[1, "f1_macro"] = 0.8004
    assert list(pareto_front(runs).front["architecture"]) == ["a", "d"]
    assert "No condition" in pareto_front(runs.assign(f1_macro=np.nan)).sentence()


def test_selection_leaves_out_and_says_so():
    runs = made_up_runs(n=2)
    runs.loc[0, "status"] = "failed"
    runs = runs.astype({"complete": object})
    runs.loc[1, "complete"] = False
    runs.loc[3, "complete"] = np.nan
    runs.loc[2, "contended"] = True
    chosen = select_runs(runs)
    assert len(chosen.runs) == len(runs) - 3
    text = chosen.sentence()
    assert "1 failed" in text
    assert "2 with an incomplete energy reading" in text
    assert "1 run was disturbed" in text
    assert chosen.sentence(planned=30).startswith(f"{len(runs) - 3} of 30 planned runs are")


def test_a_sums_provenance_is_its_weakest():
    runs = made_up_runs(n=1)
    runs["provenance"] = ["measured"] * 9 + ["sampled"]
    assert weakest_provenance(runs) == "sampled"


def test_summary_has_medians_and_quartiles():
    runs = made_up_runs()
    row = summarise(runs, ["architecture"]).iloc[0]
    values = runs[runs["architecture"] == row["architecture"]]["energy_j_per_image"]
    assert row["energy_j_per_image"] == pytest.approx(np.median(values))
    assert row["energy_j_per_image_q1"] == pytest.approx(np.quantile(values, 0.25))


def test_wording():
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert number(0.012345) == "0.0123"
    assert number(1234567) == "1,234,567"
    assert p_value(0.0004) == "p < 0.001"
