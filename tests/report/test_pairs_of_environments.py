"""Rank correlations, break-evens and crossings of environments, and their tables."""

import numpy as np
import pandas as pd
import pytest

from greencv_core.analysis import (
    NotEnoughDataError,
    Unavailable,
    attempt,
    break_even,
    break_evens,
)
from greencv_core.analysis.comparison.correlation import rank_correlation, rank_correlations
from greencv_core.analysis.regression.breakeven import most_precise
from greencv_core.published.claim_matching import most_powerful
from greencv_core.report.pages.correlations import correlations_table
from greencv_core.report.pages.research_questions import break_even_sentences, break_even_table
from tests.support.known_truth import crossing, truth


def test_rho_equals_scipys_and_lies_in_its_interval():
    from scipy import stats

    runs = truth(energy=lambda g, e: g**0.02, environments=1, n=6)
    result = rank_correlation(runs, "gflops_per_image", "energy_j_per_image")
    by_scipy = stats.spearmanr(runs["gflops_per_image"], runs["energy_j_per_image"]).statistic
    assert result.rho == pytest.approx(by_scipy, abs=1e-12)
    assert result.low < result.rho < result.high
    assert (result.n, result.architectures) == (30, 5)


def test_architectures_that_do_not_overlap_have_no_interval():
    result = rank_correlation(truth(environments=1), "gflops_per_image", "energy_j_per_image")
    assert result.rises
    assert result.estimate() == "0.980, the same in all resamples"


@pytest.mark.parametrize("n", [3, 8])
def test_the_interval_of_rho_has_its_nominal_coverage(n, monkeypatch):
    monkeypatch.setattr("greencv_core.analysis.comparison.correlation.RESAMPLES", 400)
    rng = np.random.default_rng(11)
    gflops = np.arange(1.0, 6.0)
    means = np.array([0.0, 0.8, 0.5, 1.6, 2.0])

    def study(size):
        return pd.DataFrame(
            {
                "architecture": np.repeat(list("abcde"), size),
                "x": np.repeat(gflops, size),
                "y": rng.normal(np.repeat(means, size)),
            }
        )

    true = study(20_000)[["x", "y"]].corr("spearman").iloc[0, 1]
    found = [rank_correlation(study(n), "x", "y") for _ in range(250)]
    held = np.mean([result.low <= true <= result.high for result in found])
    assert 0.90 <= held <= 0.99


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"device_utilization_pct": 50.0}, "device utilisation is the same in all runs"),
        ({"device_utilization_pct": np.nan}, "needs at least 3 architectures"),
    ],
)
def test_a_correlation_that_is_not_defined_says_why(changed, message):
    with pytest.raises(NotEnoughDataError, match=message):
        rank_correlation(truth().assign(**changed), "gflops_per_image", "device_utilization_pct")


def test_missing_utilisation_leaves_runs_out_and_not_architectures():
    runs = truth(environments=1, n=5)
    runs.loc[runs.index % 5 == 0, "device_utilization_pct"] = np.nan
    result = rank_correlation(runs, "gflops_per_image", "device_utilization_pct")
    assert (result.n, result.architectures) == (20, 5)


def test_correlations_stand_in_a_line_for_each_environment():
    runs = truth(n=4)
    runs.loc[runs["environment"] == "env1", "device_utilization_pct"] = 50.0
    by_utilisation = rank_correlations(runs, "gflops_per_image", "device_utilization_pct")
    by_energy = rank_correlations(runs, "gflops_per_image", "energy_j_per_image")
    made = correlations_table({"Busy": by_utilisation, "Joules": by_energy}, "measured")
    assert made.body.count("<tr>") == 3
    assert by_utilisation["env0"].estimate() in made.body
    assert len(made.files["csv"].decode().splitlines()) == 4
    assert correlations_table({"Busy": {"env1": by_utilisation["env1"]}}, "measured") is None


def test_every_pair_of_five_environments_has_its_line():
    exponents = (0.5, 0.3, 0.4, 0.5, 0.5)
    factors = (1.0, 0.1**0.2, 0.3**0.1, 1.5, 0.5)
    runs = truth(lambda g, e: g ** exponents[e] * factors[e], environments=5, n=4)
    found = break_evens(runs)
    made = break_even_table(found, "measured")
    data = pd.read_csv(pd.io.common.BytesIO(made.files["csv"])).set_index("environments")
    assert made.body.count("<tr>") == len(data) + 1 == 11
    assert (data["architectures"] == 5).all()
    crossing_pair = data.loc["env0 and env1"]
    assert crossing_pair["ci_low"] < 0.1 < crossing_pair["ci_high"]
    assert (crossing_pair["less_below"], crossing_pair["less_above"]) == ("env0", "env1")
    parallel = data.loc["env0 and env3"]
    assert parallel["ruled_out"]
    assert np.isnan(parallel["break_even_gflops"])
    assert (parallel["less_below"], parallel["less_above"]) == ("env0", "env0")
    assert "of 10 pairs of environments".capitalize() in break_even_sentences(found).data


def test_a_pair_without_an_answer_keeps_its_line():
    runs = truth(crossing(0.1), environments=2, n=4)
    third = truth(environments=1, n=4, gflops=(0.01, 0.03)).assign(environment="small")
    made = break_even_table(break_evens(pd.concat([runs, third])), "measured")
    assert made.body.count("no answer from these runs") == 2
    one_pair = break_evens(runs)
    assert break_even_table(one_pair, "measured") is None
    assert "env0 and env1 need the same energy per image at" in break_even_sentences(one_pair).data


def test_the_most_precise_break_even_has_the_narrowest_interval_within_the_range():
    rng = np.random.default_rng(1)

    def noisy(runs, spread):
        stray = {name: rng.normal(0, spread) for name in runs["architecture"].unique()}
        by_stray = np.exp(runs["architecture"].map(stray) * (runs["environment"] == "env1"))
        return runs.assign(energy_j_per_image=runs["energy_j_per_image"] * by_stray)

    sharp, blurred, none = (
        attempt(break_even, runs, "env0", "env1")
        for runs in (
            truth(crossing(0.1)),
            noisy(truth(crossing(0.1)), 0.1),
            truth(lambda g, e: g**0.5 * (1 + e)),
        )
    )
    assert sharp.within_range
    assert none.excluded
    assert blurred.high / blurred.low > sharp.high / sharp.low
    for results in ((none, blurred, sharp), (sharp, none, blurred), (blurred, sharp, none)):
        assert most_precise({str(i): result for i, result in enumerate(results)}) is sharp
    assert most_precise({"a": Unavailable("few"), "b": none}) is none
    assert most_precise({"a": Unavailable("few")}) is None


def test_the_most_powerful_is_the_fastest_for_what_is_complex():
    runs = truth(duration=lambda g, e: 1.0 if e == 0 else 0.2 + g)
    assert most_powerful(runs[runs["gflops_per_image"] < 0.5]) == "env1"
    assert most_powerful(runs) == "env0"
    with pytest.raises(NotEnoughDataError, match="no architecture was trained in two"):
        most_powerful(runs[runs["environment"] == "env0"])
