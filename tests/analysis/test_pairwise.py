"""Pairwise effect sizes against enumeration and scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from greencv_core.analysis import cliffs_delta
from greencv_core.analysis.comparison.differences import differences_of_rank
from greencv_core.analysis.comparison.pairwise import (
    cliffs_delta_interval,
    hodges_lehmann,
)


@pytest.mark.parametrize("sizes", [(4, 4), (5, 7), (8, 3), (12, 12), (15, 20), (49, 49)])
def test_the_hodges_lehmann_interval_holds_the_shifts_that_mann_whitney_leaves(sizes):
    rng = np.random.default_rng(sum(sizes))
    a, b = rng.normal(size=sizes[0]), 1 + rng.normal(size=sizes[1])
    shift, low, high = hodges_lehmann(a, b)
    assert shift == pytest.approx(np.median(np.subtract.outer(b, a)))

    def p(moved):
        return stats.mannwhitneyu(a, b - moved, method="exact").pvalue

    assert p(low - 1e-9) <= 0.05 < p(low + 1e-9)
    assert p(high + 1e-9) <= 0.05 < p(high - 1e-9)


def test_the_hodges_lehmann_interval_of_large_groups_is_the_normal_approximations():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=60), 1 + rng.normal(size=70)
    shift, low, high = hodges_lehmann(a, b)
    ordered = np.sort(np.subtract.outer(b, a).ravel())
    rank = math.floor(60 * 70 / 2 - 1.959964 * math.sqrt(60 * 70 * 131 / 12))
    assert shift == pytest.approx(np.median(ordered))
    assert (low, high) == (ordered[rank - 1], ordered[-rank])


def test_three_against_three_have_a_shift_and_no_interval():
    shift, low, high = hodges_lehmann(np.array([1.0, 2, 3]), np.array([2.0, 4, 6]))
    assert shift == 2
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize("seed", range(10))
def test_the_interval_of_cliffs_delta_holds_it_and_stays_within_one(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=4 + seed), 0.4 * seed + 2 * rng.normal(size=6)
    low, high = cliffs_delta_interval(a, b)
    assert -1 <= low <= cliffs_delta(a, b) <= high <= 1
    mirrored = cliffs_delta_interval(b, a)
    assert mirrored == pytest.approx((-high, -low))


def test_the_interval_of_cliffs_delta_covers_what_it_says():
    rng = np.random.default_rng(0)
    truth = 2 * stats.norm.cdf(1 / math.sqrt(1 + 4)) - 1  # of N(1, 1) over N(0, 2^2)
    held = 0
    for _ in range(400):
        low, high = cliffs_delta_interval(rng.normal(1, 1, 20), rng.normal(0, 2, 20))
        held += low <= truth <= high
    assert 0.90 <= held / 400 <= 0.99


@pytest.mark.parametrize("sizes", [(5, 5), (4, 30), (2, 2)])
def test_separate_groups_have_wilsons_bound(sizes):
    n, z2 = min(sizes), stats.norm.ppf(0.975) ** 2
    a, b = np.arange(sizes[0]) + 100.0, np.arange(sizes[1]) * 1.0
    assert cliffs_delta_interval(a, b) == pytest.approx(((n - z2) / (n + z2), 1.0))
    assert cliffs_delta_interval(b, a) == pytest.approx((-1.0, -(n - z2) / (n + z2)))


@pytest.mark.filterwarnings("error")
def test_equal_groups_without_spread_have_no_interval_of_cliffs_delta():
    same = np.full(5, 2.0)
    assert cliffs_delta(same, same) == 0
    assert all(math.isnan(bound) for bound in cliffs_delta_interval(same, same))
    assert hodges_lehmann(same, same) == (0, 0, 0)


def test_cliffs_delta_counts_pairs():
    a, b = np.array([1.0, 2.0, 5.0]), np.array([2.0, 3.0])
    by_hand = sum(np.sign(x - y) for x in a for y in b) / 6
    assert cliffs_delta(a, b) == pytest.approx(by_hand)


SHAPES = {
    "continuous": lambda rng, n: rng.lognormal(size=n),
    "rounded": lambda rng, n: np.round(rng.lognormal(size=n), 1),
    "around zero": lambda rng, n: rng.normal(size=n),
    "of very different size": lambda rng, n: rng.lognormal(size=n) * 10.0 ** rng.integers(-6, 6),
    "half of them equal": lambda rng, n: np.where(np.arange(n) % 2, rng.normal(size=n), 0.1),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_differences_by_rank_are_those_of_all_pairs_to_the_last_digit(shape):
    rng = np.random.default_rng(3)
    for _ in range(5):
        a, b = (SHAPES[shape](rng, n) for n in rng.integers(350, 700, 2))
        ordered = np.sort(np.subtract.outer(b, a), axis=None)
        ranks = [0, len(ordered) - 1, *map(int, rng.integers(0, len(ordered), 5))]
        assert differences_of_rank(a, b, ranks) == [float(ordered[rank]) for rank in ranks]
