"""Regressions against numpy, statsmodels and planted effects."""

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from greencv_core.analysis import (
    NotEnoughDataError,
    attempt,
    energy_regression,
    mixed_model,
    nested_models,
)
from tests.support.tables import ENERGY, check_sentences, made_up_runs


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
    estimates = energy_regression(more).coefficients["estimate"].tolist()
    assert estimates == pytest.approx([level, slope])


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
        slope, half = coefficients[1], stats.t.ppf(0.975, len(runs) - 6) * errors[1]
        assert row.exponent == pytest.approx(slope)
        assert (row.ci_low, row.ci_high) == pytest.approx((slope - half, slope + half))
    assert "parameters" not in result.sentence()
    assert "times the energy per image in env2 (exponent 0.7" in result.sentence()


@pytest.mark.parametrize(("column", "architectures"), [("architecture", 5), ("environment", 4)])
def test_unseen_levels_are_predicted_from_the_others(column, architectures):
    environments = 1 if column == "architecture" else 2
    runs = made_up_runs(3, architectures, environments).assign(parameters=np.nan)
    x, y = line_of(runs)
    errors = []
    for name in runs[column].unique():
        out = (runs[column] == name).to_numpy()
        slope, level = np.polyfit(x[~out], y[~out], 1)
        errors.append(np.abs(10 ** (level + slope * x[out] - y[out]) - 1))
    result = energy_regression(runs)
    error = getattr(result, f"unseen_{column}_error")
    assert error == pytest.approx(np.median(np.concatenate(errors)))
    if column == "architecture":
        assert result.unseen_environment_error is None
    else:
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
        "log10(GFLOPs)", "+ environment", "+ log10(GFLOPs) x environment",
        "+ log10(parameters)", "+ log10(parameters) x environment",
    ]  # fmt: skip
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
    rejected = 0
    for seed in range(30):
        runs = made_up_runs(n=5, architectures=3, environments=1, seed=seed)
        rejected += nested_models(runs).models["lack_of_fit_p"].iloc[0] < 0.05
    assert rejected <= 5


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
    for seed in range(12):
        assert mixed_model(made_up_runs(n=4, seed=seed)).architecture_sd < 0.01
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
    check_sentences(result)
    if result:
        assert np.isfinite(result.coefficients[["ci_low", "ci_high", "p"]].to_numpy()).all()


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


def test_regression_copes_with_an_environment_that_one_architecture_alone_has():
    runs = made_up_runs(n=4)
    runs.loc[runs["architecture"] == "net3", "environment"] = "env2"
    result = energy_regression(runs)
    assert 0 < result.unseen_architecture_error < 0.2
    runs.loc[0, "gflops_per_image"] = np.nan
    assert energy_regression(runs).n == len(runs) - 1
