"""Bootstrap draws and intervals against enumeration, scipy and the distributions they have."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from greencv_core.analysis import bootstrap
from greencv_core.analysis.bootstrap import (
    bca,
    generator,
    mean_draws,
    median_draws,
    medians_without_each,
    studentised,
)


def traced(call, *args):
    """Return what a call returns, and its peak memory in bytes."""
    tracemalloc.start()
    try:
        return call(*args), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


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
    drawn, peak = traced(median_draws, values, generator("large"))
    assert peak < 3 * values.nbytes
    # The standard error of a normal sample's median.
    assert drawn.std() == pytest.approx(math.sqrt(math.pi / 2 / 1e6), rel=0.1)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 40, 41])
def test_medians_without_each_are_those_of_the_others(n):
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
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 7_000)
    pieces, peak = traced(mean_draws, values, generator("a"), 1000)
    assert (whole[0] == pieces[0]).all()
    assert (whole[1] == pieces[1]).all()
    assert peak < 1_000_000  # all samples at once would be 8 million bytes


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
