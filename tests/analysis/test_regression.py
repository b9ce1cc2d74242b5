"""Regressions against textbook formulas, scipy and planted effects."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from greencv_core.analysis import (
    NotEnoughDataError,
    attempt,
    energy_regression,
    nested_models,
)
from greencv_core.analysis.regression.data import Fit, shared_variance
from tests.support.tables import ENERGY, check_sentences, made_up_runs


def means_of(runs):
    """Return log10 GFLOPs and the mean log10 energy of each architecture, by hand."""
    logs = pd.DataFrame({name: np.log10(runs[name]) for name in ("gflops_per_image", ENERGY)})
    return logs.groupby(runs["architecture"]).mean().to_numpy().T


def by_name(result):
    return result.lines.set_index("environment")


def test_a_line_is_the_regression_of_the_architectures_means():
    runs = made_up_runs(n=4, architectures=5, environments=3)
    bent = runs["environment"] == "env2"
    runs.loc[bent, ENERGY] *= runs.loc[bent, "gflops_per_image"] ** 0.2
    result = energy_regression(runs)
    assert result.lines["environment"].tolist() == ["env0", "env1", "env2"]
    for name, row in by_name(result).iterrows():
        x, y = means_of(runs[runs["environment"] == name])
        known = stats.linregress(x, y)
        half = stats.t.ppf(0.975, 3) * known.stderr
        assert row["exponent"] == pytest.approx(known.slope)
        assert [row["ci_low"], row["ci_high"]] == pytest.approx(
            [known.slope - half, known.slope + half]
        )
        assert row["p"] == pytest.approx(known.pvalue)
        assert row["df"] == 3
        assert row["level_j"] == pytest.approx(10 ** (known.intercept + known.slope * x.mean()))
    assert "parameters" not in result.sentence()
    assert "times the energy per image on env2 (exponent 0.7" in result.sentence()
    assert "treat the 5 architectures as units, not their 60 runs" in result.sentence()


def test_more_runs_of_the_same_architectures_do_not_narrow_the_interval():
    rng = np.random.default_rng(1)
    few = made_up_runs(n=3, environments=1)
    stray = dict(zip(few["architecture"].unique(), rng.lognormal(0, 0.1, 5), strict=True))
    few[ENERGY] *= few["architecture"].map(stray)
    narrow, wide = by_name(energy_regression(pd.concat([few] * 20))), by_name(
        energy_regression(few)
    )  # fmt: skip
    for column in ("exponent", "ci_low", "ci_high"):
        assert narrow.loc["env0", column] == pytest.approx(wide.loc["env0", column])


def strayed(seed, architectures, environments=2, n=4, stray=0.1):
    runs = made_up_runs(n, architectures, environments, seed).assign(parameters=np.nan)
    own = np.random.default_rng(1000 + seed).lognormal(0, stray, (architectures, environments))
    place = [runs[c].str.extract(r"(\d+)$")[0].astype(int) for c in ("architecture", "environment")]
    runs[ENERGY] *= own[tuple(place)]
    return runs


def test_the_exponents_interval_holds_where_architectures_stray():
    held = [
        row["ci_low"] <= 0.5 <= row["ci_high"]
        for seed in range(40)
        for _, row in by_name(energy_regression(strayed(seed, 5))).iterrows()
    ]
    assert 0.88 < np.mean(held) <= 1


def test_names_and_order_of_environments_change_no_number():
    runs = strayed(0, 5, environments=3)
    names = {"env0": "z", "env1": "a", "env2": "m"}
    renamed = runs.assign(environment=runs["environment"].map(names)).iloc[::-1]
    one, other = energy_regression(runs), energy_regression(renamed)
    lines = by_name(one).rename(index=names)
    pd.testing.assert_frame_equal(lines.sort_index(), by_name(other).sort_index())
    assert other.r_squared == pytest.approx(one.r_squared)
    assert other.unseen_environment_error == pytest.approx(one.unseen_environment_error)
    pd.testing.assert_frame_equal(nested_models(runs).models, nested_models(renamed).models)


def test_predictors_are_centred_at_the_mean_of_architectures_not_of_runs():
    runs = made_up_runs(n=4, architectures=3, environments=1)
    more = pd.concat([runs, runs[runs["architecture"] == "net2"]], ignore_index=True)
    pd.testing.assert_frame_equal(energy_regression(more).lines, energy_regression(runs).lines)


def test_parameters_enter_from_six_architectures_on():
    runs = made_up_runs(n=4, architectures=6, environments=1)
    assert "parameters_exponent" not in energy_regression(made_up_runs(n=4)).lines
    result = energy_regression(runs)
    x, y = means_of(runs)
    w = np.log10(1e6 * (1 + np.arange(6) ** 2))
    design = np.column_stack([np.ones(6), x - x.mean(), w - w.mean()])
    estimates, (squares,), _, _ = np.linalg.lstsq(design, y)
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * squares / 3)
    row = result.lines.iloc[0]
    assert [row["exponent"], row["parameters_exponent"]] == pytest.approx(estimates[1:].tolist())
    assert row["parameters_high"] - row["parameters_exponent"] == pytest.approx(
        stats.t.ppf(0.975, 3) * errors[2]
    )
    assert row["parameters_p"] == pytest.approx(2 * stats.t.sf(abs(estimates[2]) / errors[2], 3))
    assert result.vif == pytest.approx(1 / (1 - np.corrcoef(x, w)[0, 1] ** 2))
    assert "at equal parameters" in result.sentence()
    assert "are strongly correlated" in result.diagnosis()
    proportional = runs.assign(parameters=runs["gflops_per_image"] * 1e9)
    with pytest.raises(NotEnoughDataError, match="proportional"):
        energy_regression(proportional)


def test_the_condition_that_strays_most_is_named():
    runs = made_up_runs(n=4, architectures=5, environments=2)
    here = (runs["architecture"] == "net2") & (runs["environment"] == "env1")
    runs.loc[here, ENERGY] *= 1.5
    result = energy_regression(runs)
    assert result.diagnosis().startswith(
        "net2 @ env1 lies furthest from its line: it uses 40% more energy"
    )
    table = result.conditions.set_index(["architecture", "environment"])
    assert table["n"].eq(4).all()
    assert table["leverage"].sum() == pytest.approx(4)  # two coefficients in each environment
    y = (table["fitted"] + table["residual"]).unstack("environment")
    assert y["env1"].to_numpy() == pytest.approx(means_of(runs[runs["environment"] == "env1"])[1])


@pytest.mark.parametrize(("column", "architectures"), [("architecture", 5), ("environment", 4)])
def test_unseen_levels_are_predicted_from_the_others(column, architectures):
    environments = 1 if column == "architecture" else 2
    runs = made_up_runs(3, architectures, environments)
    means = pd.concat(
        pd.DataFrame({"environment": name, "x": x, "y": y, "architecture": sorted(set(
            part["architecture"]))})
        for name, part in runs.groupby("environment") for x, y in [means_of(part)]
    )  # fmt: skip
    errors = []
    for name in runs[column].unique():
        out = (means[column] == name).to_numpy()
        seen = means[~out]
        slope, level = np.polyfit(seen["x"], seen["y"], 1)
        errors.append(np.abs(10 ** (level + slope * means["x"][out] - means["y"][out]) - 1))
    result = energy_regression(runs)
    error = getattr(result, f"unseen_{column}_error")
    assert error == pytest.approx(np.median(np.concatenate(errors)))
    if column == "architecture":
        assert result.unseen_environment_error is None
    else:
        assert 0.25 < error < 0.45  # a factor of 1.4, either way


def test_lack_of_fit_is_the_contrast_that_a_line_leaves():
    runs = made_up_runs(n=5, architectures=3, environments=1)
    groups = [np.log10(g[ENERGY]) for _, g in runs.groupby("architecture")]
    contrast = np.array([1.0, -2.0, 1.0])  # GFLOPs are equally spaced
    means = np.array([g.mean() for g in groups])
    of_means = contrast**2 * [g.var(ddof=1) / 5 for g in groups]
    f = (contrast @ means) ** 2 / of_means.sum()
    df = of_means.sum() ** 2 / (of_means**2 / 4).sum()
    row = nested_models(runs).models.iloc[0]
    assert row["lack_of_fit_f"] == pytest.approx(f)
    assert row["lack_of_fit_p"] == pytest.approx(stats.f.sf(f, 1, df))
    slope, level = np.polyfit([0, 1, 2], means, 1)
    misfit = np.median(np.abs(means - level - slope * np.arange(3)))
    assert row["typical_misfit"] == pytest.approx(10**misfit - 1)
    known = stats.linregress([0, 1, 2], means)
    assert row["added_p"] == pytest.approx(known.pvalue)
    assert row["adjusted_r_squared"] == pytest.approx(1 - (1 - known.rvalue**2) * 2)


def test_terms_are_tested_between_architectures():
    runs = strayed(3, 6, environments=2)
    x, first = means_of(runs[runs["environment"] == "env0"])
    _, second = means_of(runs[runs["environment"] == "env1"])
    models = nested_models(runs).models.set_index("model")["added_p"]
    assert models["log10(GFLOPs)"] == pytest.approx(stats.linregress(x, first + second).pvalue)
    difference = stats.linregress(x, second - first)
    assert models["+ log10(GFLOPs) x environment"] == pytest.approx(difference.pvalue)
    centred = Fit(np.column_stack([np.ones(6), x - x.mean()]), second - first)
    assert models["+ environment"] == pytest.approx(centred.estimate(0).p)


def test_several_environments_are_each_tested_against_their_mean():
    runs = strayed(3, 6, environments=3)
    x = means_of(runs)[0]
    y = np.array([means_of(part)[1] for _, part in runs.groupby("environment")])
    p = [stats.linregress(x, row).pvalue for row in y - y.mean(axis=0)]
    found = nested_models(runs).models.set_index("model")["added_p"]
    assert found["+ log10(GFLOPs) x environment"] == pytest.approx(min(1.0, 3 * min(p)))


def test_sessions_that_differ_leave_an_environment_untold():
    runs = made_up_runs(n=6)  # env1 takes 40 % more throughout
    told = nested_models(runs.assign(session=runs["repetition"].mod(2).astype(str))).models
    assert told["added_p"].iloc[1] < 0.01
    day = runs["environment"] + runs["repetition"].mod(2).astype(str)
    factor = {"env00": 1.3, "env01": 0.8, "env10": 0.9, "env11": 1.2}
    apart = runs.assign(session=day, **{ENERGY: runs[ENERGY] * day.map(factor)})
    models = nested_models(apart).models
    assert models["added_p"].iloc[1] > 0.1
    assert models["added_p"].iloc[0] < 0.001  # sessions leave the exponents as they are


def test_what_sessions_add_is_their_variance_beyond_that_of_runs():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        cells = rng.normal(0, 0.02, (6, 4)) + rng.normal(0, 0.1, 4)
        names = pd.MultiIndex.from_product([list("abcdef"), list("1234")])
        data = pd.DataFrame({"log_energy": cells.ravel()}, index=names).reset_index(
            names=["architecture", "session"]
        )
        found.append(shared_variance(data.assign(environment="one"), {"one": 1.0}, 3))
    assert np.mean(found) == pytest.approx(0.1**2 / 4, rel=0.1)
    alone = data[data["session"] == "1"].assign(environment="one")
    assert shared_variance(alone, {"one": 1.0}, 3) == 0


def test_gflops_are_enough_for_a_power_law_and_not_where_one_architecture_stands_out():
    runs = made_up_runs(n=6, architectures=6)
    enough = nested_models(runs)
    assert enough.models["model"].tolist() == [
        "log10(GFLOPs)", "+ environment", "+ log10(GFLOPs) x environment",
        "+ log10(parameters)", "+ log10(parameters) x environment",
    ]  # fmt: skip
    assert "the data show no misfit of GFLOPs alone" in enough.sentence()
    assert "the data show no further misfit" in enough.sentence()
    # The environment is needed, and the model without it says so.
    assert enough.models["lack_of_fit_p"].iloc[0] < 0.001 < enough.models["added_p"].iloc[2]
    assert enough.models["added_p"].iloc[:2].max() < 0.001
    raised = runs.copy()
    raised.loc[raised["architecture"] == "net2", ENERGY] *= 1.5
    text = nested_models(raised).sentence()
    assert text.startswith("Within an environment, GFLOPs alone do not explain the energy")
    assert "a misfit remains that exceeds the spread of the runs" in text


@pytest.mark.parametrize("architectures", [5, 6])
def test_what_was_not_tested_is_said_to_be_not_tested(architectures):
    text = nested_models(made_up_runs(n=1, architectures=architectures)).sentence()
    assert text.startswith("Whether GFLOPs alone are enough was not tested: that takes 3 runs")
    if architectures < 6:
        assert "Parameters were not tested: that takes 6 architectures" in text
    else:
        assert text.endswith("whether a misfit remains was not tested.")
    assert "not shown" not in text


def test_lack_of_fit_rejects_a_power_law_at_its_level():
    rejected = 0
    for seed in range(30):
        runs = made_up_runs(n=5, architectures=3, environments=1, seed=seed)
        rejected += nested_models(runs).models["lack_of_fit_p"].iloc[0] < 0.05
    assert rejected <= 5


def test_an_environment_of_few_architectures_has_no_line_and_is_named():
    runs = made_up_runs(n=4, environments=3)
    runs = runs[(runs["environment"] != "env2") | (runs["architecture"] == "net1")]
    result = energy_regression(runs)
    assert result.lines["environment"].tolist() == ["env0", "env1"]
    assert "left out: env2 (fewer than 3 architectures, or energy or GFLOPs" in result.sentence()
    check_sentences(result)
    check_sentences(nested_models(runs))


def test_terms_between_environments_without_architectures_in_common_are_not_tested():
    runs = made_up_runs(n=4, architectures=6)
    first = runs["architecture"].isin(["net0", "net1", "net2"])
    apart = runs[first == (runs["environment"] == "env0")]
    assert nested_models(apart).models["added_p"].isna().all()


def test_regression_finds_the_exponent_that_made_the_data():
    result = energy_regression(made_up_runs(n=10))
    for row in result.lines.itertuples():
        assert row.ci_low < 0.5 < row.ci_high
        assert row.exponent == pytest.approx(0.5, abs=0.05)
    assert result.r_squared > 0.98
    assert len(result.conditions) == 10
    assert result.unseen_architecture_error < 0.1
    with pytest.raises(ValueError, match="at least 3"):
        energy_regression(made_up_runs(architectures=2))


def test_regression_copes_with_an_environment_that_one_architecture_alone_has():
    runs = made_up_runs(n=4)
    runs.loc[runs["architecture"] == "net3", "environment"] = "env2"
    result = energy_regression(runs)
    assert 0 < result.unseen_architecture_error < 0.2
    runs.loc[0, "gflops_per_image"] = np.nan
    assert energy_regression(runs).n == result.n - 1
    assert attempt(energy_regression, runs.assign(parameters=None))
