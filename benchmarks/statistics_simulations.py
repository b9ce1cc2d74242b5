"""Simulated runs of known truth: how often tests reject and intervals hold it."""

import itertools
import math
import os
import time
import zlib
from unittest import mock

import numpy as np
import pandas as pd
from joblib import Parallel, cpu_count, delayed
from scipy import stats

from benchmarks.output import show_progress
from greencv_core import analysis
from greencv_core.analysis.choice import savings
from greencv_core.analysis.comparison import noninferiority
from greencv_core.analysis.comparison import omnibus as comparison
from greencv_core.analysis.comparison import pairwise as pairs
from greencv_core.analysis.regression import interaction

SEED = 2022
LEVEL = 0.05
FEW, USUAL, COVERED = (3, 4), (5, 10, 30), (3, 5, 10, 30)
CHUNKS = 20  # into which the simulations of one setting are cut
CHECKED = 200  # one in so many simulations checks that a short cut says what the long way does
VALUE, F1 = "energy_j_per_image", "f1_macro"
DEAR, CHEAP = 0.4, 0.3
LEVEL_OF_LINE, SLOPE = 0.05, -0.25
BREAK_EVEN = 10 ** (-LEVEL_OF_LINE / SLOPE)
USED, BOUNDED = "used", "bounded"
ALONE = "as if it had not been picked"
SPREADS = {"1:2:3:4:5": (1, 2, 3, 4, 5), "1:1:1:1:4": (1, 1, 1, 1, 4), "1:2:4": (1, 2, 4)}
"""Standard deviations of groups of the same mean; the JSON shows the first."""
CELLS = {"1:2:3:4:5 by 1:2": np.outer((1, 2, 3, 4, 5), (1, 2))}
SCORES = {"0.004 and 0.012": (0.004, 0.012), "0.004 both": (0.004, 0.004)}
"""Standard deviations of F1 where the true loss is just the margin."""
ERRORS = {
    f"{shape}, cv {cv[0]:g} and {cv[1]:g}": {"shape": shape, "cv": cv}
    for shape, cv in itertools.product(("normal", "skewed"), ((0.05, 0.05), (0.03, 0.12)))
}
MEDIANS = {
    "5 as published": (0.136, 0.267, 0.327, 0.328, 0.382),
    "12 as published": (
        0.076, 0.173, 0.201, 0.255, 0.40, 0.081, 0.342, 0.136, 0.327, 0.267, 0.328, 0.382,
    ),
    "3 alike at the top": (0.1, 0.2, 0.39, 0.395, 0.40),
    "2 equal at both ends": (0.1, 0.1, 0.2, 0.4, 0.4),
    "3 equal at both ends": (0.1, 0.1, 0.1, 0.4, 0.4, 0.4),
}  # fmt: skip
"""True geometric means of the conditions among which the largest saving is picked."""
STRAY = {"architectures stray by 0.05": 0.05, "runs alone stray": 0.0}
"""Standard deviation, in log10, of the architectures' ratios about the line."""


def omnibus(rng, number, sd, n):
    groups = [rng.normal(0.0, s, n) for s in sd]
    return {
        "welch": comparison.anova_oneway(groups, use_var="unequal").pvalue < LEVEL,
        "kruskal": comparison.stats.kruskal(*groups).pvalue < LEVEL,
    }


def rule(rng, number, sd, n):
    runs = table({str(i): rng.normal(0.0, s, n) for i, s in enumerate(sd)})
    with mock.patch.object(comparison, "compared_pairs"):  # slow, and not part of the answer
        return {"primary_of_compare": comparison.compare(runs, VALUE, "condition").p < LEVEL}


def games_howell(rng, number, sd, n, critical):
    """Return whether any pair of the family is significant.

    The test is slow. No pair is significant if no distance reaches the critical value of the next
    higher tabulated degrees of freedom, which is lower; the test then runs only now and then.
    """
    groups = np.array([rng.normal(0.0, s, n) for s in sd])
    one, other = np.triu_indices(len(sd), 1)
    t = stats.ttest_ind(groups[one], groups[other], axis=1, equal_var=False)
    dfs, values = critical
    reaches = (math.sqrt(2) * abs(t.statistic) >= values[np.searchsorted(dfs, t.df)]).any()
    rejects = False
    if reaches or number % CHECKED == 0:
        p = stats.tukey_hsd(*groups, equal_var=False).pvalue
        rejects = p[one, other].min() < LEVEL
        assert reaches or not rejects
    return {"games_howell": rejects}


def critical_distances(groups):
    dfs = np.array([*np.arange(1, 12, 0.5), *range(12, 30), 40, 60, 120, np.inf])
    return dfs, stats.studentized_range.ppf(1 - LEVEL, groups, dfs) * (1 - 1e-4)


def dunn(rng, number, sd, n):
    p = pairs._dunn([rng.normal(0.0, s, n) for s in sd])
    with mock.patch("gc.collect"):  # statsmodels calls it, and it takes most of the time
        return {"dunn_holm": min(pairs.holm(p[np.triu_indices(len(sd), 1)])) < LEVEL}


def two_way(rng, number, sd, n):
    values = rng.normal(0.0, sd[..., None], (*sd.shape, n))
    (a, b), flat = sd.shape, values.reshape(-1, n)
    of_a, of_b = interaction._differences(a), interaction._differences(b)
    contrasts = {
        "interaction": np.kron(of_a, of_b), "environment": np.kron(np.ones((1, a)) / a, of_b)
    }  # fmt: skip
    counts = np.full(a * b, float(n))
    rejects = {
        f"welch_james_{term}": interaction.welch_james(
            flat.mean(1), flat.var(1, ddof=1), counts, rows
        ).p < LEVEL
        for term, rows in contrasts.items()
    }  # fmt: skip
    # The classical analysis of variance, which is simple where all cells have as many runs.
    means = values.mean(2)
    residual = flat.var(1, ddof=1).mean()
    main = means.mean(0) - means.mean()
    both = means - means.mean(1, keepdims=True) - main
    for term, square, df in (
        ("interaction", n * (both**2).sum(), (a - 1) * (b - 1)),
        ("environment", n * a * (main**2).sum(), b - 1),
    ):
        f = square / df / residual
        rejects[f"classical_f_{term}"] = stats.f.sf(f, df, a * b * (n - 1)) < LEVEL
    return rejects


def aligned_ranks(rng, number, sd, n):
    a, b = (index.ravel().repeat(n) for index in np.indices(sd.shape))
    runs = pd.DataFrame({"value": rng.normal(0.0, sd.ravel().repeat(n)), "a": a, "b": b})
    p = interaction.aligned_ranks_anova(runs.astype({"a": str, "b": str})).set_index("term")["p"]
    return {
        "aligned_ranks_interaction": p["a x b"] < LEVEL,
        "aligned_ranks_environment": p["b"] < LEVEL,
    }


def non_inferiority(rng, number, sd, n):
    margin = noninferiority.DEFAULT_MARGIN
    a, b = rng.normal(0.9, sd[0], n), rng.normal(0.9 - margin, sd[1], n)
    test = noninferiority.non_inferiority(pd.Series(a), pd.Series(b), margin)
    return {"non_inferiority_welch": test.passes}


def saving(rng, number, shape, cv, n):
    dear, cheap = (np.exp(sd * errors(rng, shape, n)) for sd in cv)
    runs = table({"dear": DEAR * dear, "cheap": CHEAP * cheap})
    found = savings.saving(runs, {"condition": "dear"}, {"condition": "cheap"}, VALUE)
    return {USED: held((found.ci_low, found.ci_high), 1 - CHEAP / DEAR)}


def errors(rng, shape, n):
    """Errors of mean 0 and standard deviation 1."""
    if shape == "normal":
        return rng.normal(size=n)
    return (rng.gamma(2.0, size=n) - 2) / math.sqrt(2)


def picked_maximum(rng, number, medians, n):
    spread = rng.permutation(np.linspace(0.02, 0.08, len(medians)))
    runs = table(
        {
            f"{i}": median * np.exp(cv * rng.normal(size=n))
            for i, (median, cv) in enumerate(zip(medians, spread, strict=True))
        }
    )
    best = savings.best_against_worst(runs, "condition", VALUE)
    ends = best.from_condition, best.to_condition
    alone = savings.saving(runs, *ends, VALUE)
    dear, cheap = (medians[int(end["condition"])] for end in ends)
    truth = 1 - cheap / dear
    return {
        USED: held((best.ci_low, best.ci_high), truth),
        ALONE: held((alone.ci_low, alone.ci_high), truth),
    }


def break_even(rng, number, stray, n):
    gflops = np.geomspace(0.05, 5, 5)
    ratio = LEVEL_OF_LINE + SLOPE * np.log10(gflops) + rng.normal(0.0, stray, 5)
    spread = np.linspace(0.01, 0.04, 5)
    a, b = (rng.normal(m[:, None], s[:, None], (5, n)) for m, s in (
        (0.5 * np.log10(gflops), spread), (0.5 * np.log10(gflops) + ratio, spread[::-1])
    ))  # fmt: skip
    runs = pd.DataFrame(
        {
            "architecture": np.tile(np.repeat(list("abcde"), n), 2),
            "environment": np.repeat(["a", "b"], 5 * n),
            "gflops_per_image": np.tile(np.repeat(gflops, n), 2),
            VALUE: 10 ** np.concatenate([a.ravel(), b.ravel()]),
        }
    )
    line = analysis.break_even(runs, "a", "b")
    bounded = not math.isnan(line.low)
    return {
        USED: (not bounded or line.low <= BREAK_EVEN <= line.high, math.nan),
        BOUNDED: (bounded, math.nan),
    }


def held(interval, truth):
    low, high = interval
    return low <= truth <= high, high - low


def table(values):
    return pd.DataFrame(
        {
            "condition": np.repeat(list(values), [len(v) for v in values.values()]),
            VALUE: np.concatenate(list(values.values())),
            F1: 0.9,
        }
    )


def settings():
    """Each kind of simulation, the name of its scenario, how many, and what it is given."""
    first = next(iter(SPREADS))
    for name, sd in SPREADS.items():
        critical = critical_distances(len(sd))
        for n in (*FEW, *USUAL) if name == "1:2:3:4:5" else USUAL:
            yield omnibus, name, 10_000, {"sd": sd, "n": n}
        pairwise = 20_000 if name == first else 4_000
        for n in USUAL:
            yield games_howell, name, pairwise, {"sd": sd, "n": n, "critical": critical}
            yield dunn, name, 4_000, {"sd": sd, "n": n}
    for n in USUAL:
        yield rule, first, 20_000, {"sd": SPREADS[first], "n": n}
        for name, sd in CELLS.items():
            yield two_way, name, 10_000, {"sd": sd, "n": n}
            yield aligned_ranks, name, 1_000, {"sd": sd, "n": n}
        for name, sd in SCORES.items():
            yield non_inferiority, name, 10_000, {"sd": sd, "n": n}
    for n in COVERED:
        for name, given in ERRORS.items():
            yield saving, name, 2_000, {**given, "n": n}
        for name, medians in MEDIANS.items():
            yield picked_maximum, name, 2_000, {"medians": medians, "n": n}
        for name, stray in STRAY.items():
            yield break_even, name, 2_000, {"stray": stray, "n": n}


def simulated():
    """Return (hits, simulations, mean width) by kind, question, scenario and n."""
    tasks = []
    for simulate, scenario, count, given in settings():
        key = (simulate.__name__, scenario, given["n"])
        starts = np.linspace(0, count, CHUNKS + 1).astype(int)
        for first, last in itertools.pairwise(starts):
            tasks.append((simulate, key, int(first), int(last), given))
    np.random.default_rng(SEED).shuffle(tasks)  # so that the rest takes as long as what is done
    os.environ["PYTHONSAFEPATH"] = "1"  # for the workers: see search_path
    cores = cpu_count()
    parallel = Parallel(cores, return_as="generator_unordered", batch_size=1)
    sums, started_s = {}, time.perf_counter()
    for done, (key, found) in enumerate(parallel(delayed(chunk)(*task) for task in tasks), 1):
        for question, counted in found.items():
            kind, scenario, n = key
            place = (kind, question, scenario, n)
            sums[place] = sums.get(place, 0) + np.array(counted)
        left_s = (time.perf_counter() - started_s) / done * (len(tasks) - done)
        show_progress(f"simulations: {done} of {len(tasks)} parts, {left_s:.0f} s left")
    counts = {}
    for simulate, _, count, _ in settings():
        counts.setdefault(simulate.__name__, count)  # of the scenario in the JSON
    rates = {place: (h, int(total), w / total) for place, (h, total, w) in sums.items()}
    return rates, counts


def chunk(simulate, key, first, last, given):
    rng = np.random.default_rng([SEED, zlib.crc32(repr(key).encode()), first])
    sums = {}
    for number in range(first, last):
        for question, answer in simulate(rng, number, **given).items():
            hit, width = answer if isinstance(answer, tuple) else (answer, math.nan)
            hits, count, widths = sums.get(question, (0, 0, 0.0))
            sums[question] = (hits + bool(hit), count + 1, widths + width)
    return key, sums
