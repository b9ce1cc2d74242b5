"""Break-evens against planted crossings and scans."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from greencv_core.analysis import break_even, break_evens
from greencv_core.analysis.regression.breakeven import _Line
from tests.support.tables import ENERGY, check_sentences, made_up_runs


def crossing_runs(at, exponent, architectures=6, n=4, stray=0.01, seed=0, level=1.0):
    """Return runs of which env1 takes (GFLOPs / at) ** exponent times the energy of env0."""
    runs = made_up_runs(n=n, architectures=architectures, seed=seed)
    own = np.random.default_rng(seed + 7).normal(0, stray, architectures)
    in_b = runs["environment"] == "env1"
    ratio = level * (runs["gflops_per_image"] / at) ** exponent / 1.4
    ratio *= 10 ** own[runs["architecture"].str[3:].astype(int)]
    runs.loc[in_b, ENERGY] *= ratio[in_b]
    return runs


def logs_of(runs):
    return np.log10(runs[ENERGY]).groupby([runs["architecture"], runs["environment"]])


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
    assert "env0 uses less below, env1 above" in result.sentence()
    at = np.log10(result.points["gflops_per_image"].to_numpy())
    y = np.log10(result.points["ratio"].to_numpy())
    by_hand = stats.linregress(at, y)
    assert result.exponent == pytest.approx(by_hand.slope)
    assert result.exponent_p == pytest.approx(by_hand.pvalue)
    frame = sm.OLS(y, sm.add_constant(at)).fit().get_prediction().summary_frame(alpha=0.05)
    bounds = np.log10(result.points[["low", "high"]]).to_numpy()
    assert bounds == pytest.approx(frame[["mean_ci_lower", "mean_ci_upper"]].to_numpy())


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
    check_sentences(result)


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
    assert "env0 uses less throughout" in result.sentence()
    assert break_even(made_up_runs(n=5), "env1", "env0").sentence().count("env0 uses less") == 1


def test_noise_alone_bounds_no_break_even():
    unbounded = 0
    for seed in range(20):
        result = break_even(crossing_runs(0.02, 0.0, 5, 3, 0.05, seed), "env0", "env1")
        if math.isnan(result.low):
            unbounded += 1
            phrases = ("the interval is unbounded", "cannot be ruled out", "uses less throughout")
            assert any(phrase in result.sentence() for phrase in phrases)
    assert unbounded >= 16  # by chance, 5 % have a slope


def test_the_architectures_between_which_the_cheaper_environment_changes_are_named():
    runs = crossing_runs(0.02, -0.3, stray=0)
    found = break_even(runs, "env0", "env1").crossing
    assert (found.below, found.above) == ("net2", "net3")  # 0.0125 and 0.03125 GFLOPs
    means = logs_of(runs).mean().unstack()
    y2, y3 = (means["env1"] - means["env0"]).loc[["net2", "net3"]]
    at = 0.0125 * 2.5 ** (-y2 / (y3 - y2))
    assert found.gflops == pytest.approx(at)
    assert "changes between net2 and net3" in found.sentence()
    assert "changes between net2 and net3" in break_even(runs, "env0", "env1").sentence()


def test_names_and_order_of_environments_do_not_matter():
    runs = crossing_runs(0.02, -0.3, stray=0.05)
    one, other = break_even(runs, "env0", "env1"), break_even(runs.iloc[::-1], "env1", "env0")
    for name in ("gflops", "low", "high", "exponent_p"):
        assert getattr(other, name) == pytest.approx(getattr(one, name))
    assert (other.below, other.above) == (one.below, one.above) == ("env0", "env1")
    assert "The ratio of env1 to env0 falls with GFLOPs" in one.sentence()
    assert "The ratio of env1 to env0 falls with GFLOPs" in other.sentence()


def test_sessions_that_differ_widen_the_interval_and_one_session_is_named():
    runs = crossing_runs(0.02, -0.3, n=6)
    day = runs["environment"] + runs["repetition"].mod(3).astype(str)
    factor = dict(zip(sorted(set(day)), (0.9, 1.0, 1.1, 1.1, 1.05, 0.85), strict=True))
    apart = runs.assign(session=day, **{ENERGY: runs[ENERGY] * day.map(factor)})
    by_sessions, by_one = (
        break_even(runs_, "env0", "env1") for runs_ in (apart, apart.assign(session="1"))
    )
    assert (by_sessions.sessions, by_one.sessions) == (3, 1)
    assert by_sessions.gflops == pytest.approx(by_one.gflops)
    assert by_sessions.low < by_one.low < by_one.high < by_sessions.high
    assert "in one session, to which it applies" in by_one.sentence()
    assert "session" not in by_sessions.sentence()
    # What both environments share in a session leaves their ratio as it is.
    both = runs["repetition"].mod(3)
    shared = runs.assign(
        session=both.astype(str), **{ENERGY: runs[ENERGY] * both.map({0: 0.8, 1: 1.0, 2: 1.3})}
    )
    same = break_even(shared, "env0", "env1")
    assert same.high / same.low == pytest.approx(by_one.high / by_one.low, rel=0.2)


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
