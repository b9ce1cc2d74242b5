"""Random-effects means against reference values of R's metafor."""

import math

import numpy as np
import pytest
from scipy import stats

from greencv_core.analysis import NotEnoughDataError
from greencv_core.published.pooling import Effect, effects_table, pool


def effects(estimates, ses, df=math.inf, laboratories=None):
    names = laboratories or [f"laboratory {n}" for n in range(len(estimates))]
    return [
        Effect(f"set{n}", name, "a/b", 5, estimate, se, df)
        for n, (name, estimate, se) in enumerate(zip(names, estimates, ses, strict=True))
    ]


KACKER = effects(
    [61.0, 61.4, 62.21, 62.3, 62.34, 62.6, 62.7, 62.84, 65.9],
    np.sqrt([0.2025, 1.21, 0.09, 0.2025, 0.3844, 0.5625, 0.0676, 0.0225, 1.8225]),
)
"""Nine laboratories of Kacker (Metrologia 41, 2004, 132-136)."""


def test_paule_and_mandel_as_metafor():
    # rma(y, v, method="PM", control=list(tol=1e-9)), as statsmodels' results_meta.py cites it.
    pooled = pool(KACKER)
    assert pooled.mean == pytest.approx(62.4076199113286, rel=1e-9)
    assert pooled.tau_squared == pytest.approx(0.705395309224248, rel=1e-6)
    assert pooled.q == pytest.approx(24.801897741835, rel=1e-9)
    assert pooled.q_p == pytest.approx(0.00167935146372742, rel=1e-6)
    # Paule and Mandel's weighted sum of squares is k - 1, so Hartung and Knapp change nothing.
    assert pooled.se == pytest.approx(0.338030602684471, rel=1e-6)
    assert pooled.i_squared == pytest.approx(0.67744403741711, rel=1e-6)  # its I2 with method="FE"


def test_hartung_and_knapp_and_the_prediction_interval_as_metafor():
    # rma(yi, vi, method="PM", test="knha"): mu 0.22957, tau2 0.05930; predict() gives -0.70650 to
    # 1.16564 with t of k - 1 degrees of freedom, where Higgins et al. (2009) have k - 2.
    pooled = pool(effects([0.40, -0.20, 0.55, 0.10], np.sqrt([0.05, 0.06, 0.04, 0.05])))
    assert pooled.mean == pytest.approx(0.22957, abs=5e-6)
    assert pooled.tau_squared == pytest.approx(0.05930, abs=5e-6)
    half = (1.16564 + 0.70650) / 2 * stats.t.ppf(0.975, 2) / stats.t.ppf(0.975, 3)
    assert pooled.prediction_high - pooled.mean == pytest.approx(half, abs=2e-5)
    assert pooled.mean - pooled.prediction_low == pytest.approx(half, abs=2e-5)


def test_without_heterogeneity_equal_effects_have_the_t_interval_of_their_mean():
    estimates = [0.10, 0.11, 0.12, 0.13]
    pooled = pool(effects(estimates, [0.5] * 4))
    expected = stats.ttest_1samp(estimates, 0).confidence_interval()
    assert pooled.tau_squared == pooled.i_squared == 0
    assert (pooled.ci_low, pooled.ci_high) == pytest.approx(tuple(expected))


def test_few_degrees_of_freedom_widen_the_interval_by_meiers_factor():
    # Meier (Biometrics 9, 1953): 1 + 4 sum(w (1 - w) / df) for shares w of the weights.
    estimates, ses = [0.10, 0.11, 0.12, 0.13], [0.5, 0.5, 0.25, 0.25]
    known, few = (pool(effects(estimates, ses, df)) for df in (math.inf, 3))
    shares = np.array([1, 1, 4, 4]) / 10
    assert few.mean == known.mean
    assert (few.se / known.se) ** 2 == pytest.approx(1 + 4 * np.sum(shares * (1 - shares)) / 3)


def test_the_result_does_not_depend_on_the_unit():
    pooled, thousandth = (
        pool(effects([e.estimate * unit for e in KACKER], [e.se * unit for e in KACKER]))
        for unit in (1.0, 1e-3)
    )
    assert thousandth.tau_squared == pytest.approx(1e-6 * pooled.tau_squared)
    assert thousandth.ci_low == pytest.approx(1e-3 * pooled.ci_low)
    assert thousandth.q == pytest.approx(pooled.q)


def test_fewer_than_three_effects_are_not_pooled():
    with pytest.raises(NotEnoughDataError, match=r"at least 3 effects .* there are 2"):
        pool(effects([0.1, 0.2, 0.3], [0.1, 0.1, math.nan]))


def test_effects_of_one_laboratory_are_marked():
    found = effects([-0.119, -0.169, -0.123], [0.031, 0.039, 0.031], 8, ["D", "D", "B"])
    pooled = pool(found)
    assert pooled.shared_laboratories == {"D": 2}
    assert "2 effects from D are not independent of each other" in pooled.sentence()
    assert effects_table(found)["shared_laboratory"].tolist() == [True, True, False]
    assert pooled.mean == pytest.approx(-0.133, abs=5e-4)  # of the same fixed effect
    assert pooled.q == pytest.approx(1.16, abs=0.005)


def test_leave_one_out_is_the_mean_of_the_others():
    pooled = pool(KACKER)
    table = pooled.leave_one_out
    assert table["left_out"].tolist() == [effect.name for effect in KACKER]
    rest = pool(KACKER[:8])
    assert table["mean"].iloc[8] == rest.mean
    assert (table["ci_low"].iloc[8], table["ci_high"].iloc[8]) == (rest.ci_low, rest.ci_high)


def test_an_effects_own_interval_has_its_degrees_of_freedom():
    # A slope of -0.119 with a standard error of 0.031, over 10 architectures, has p = 0.005.
    effect = Effect("fischer2022", "D", "a/b", 10, -0.119, 0.031, 8)
    assert effect.p == pytest.approx(0.005, abs=5e-4)
    assert effect.ci_high - effect.estimate == pytest.approx(stats.t.ppf(0.975, 8) * 0.031)
