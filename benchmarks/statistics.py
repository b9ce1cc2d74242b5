"""Whether the analysis keeps the error rates that it states, and how long it takes.

    GREENCV_DATA=folder .venv/bin/python benchmarks/statistics.py

Draws runs whose truth is known, asks the project's own functions about them, and counts: how often
a test at 5 % rejects what is true, and how often a 95 % interval holds the truth. Groups differ in
variance, as measured energies do. Beside what the project uses stand the ways that it might use
instead. Then times the whole analysis of the published runs (download them first by ``greencv
reanalyse``, or name their folder), and of 100,000 runs drawn from them. Seeds are fixed, and the
figures do not depend on the number of cores. Takes about twenty minutes on two cores. The
last line is JSON.
"""

import os
import sys

# Python looks first in the folder of the script that it runs, and there this file would pass for
# the standard library's own ``statistics``, which other modules import: the folder must go, here
# and (by the variable) in the processes that are started below.
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:] = [path for path in sys.path if os.path.realpath(path or os.curdir) != HERE]
sys.path[:0] = [os.path.dirname(HERE)]
os.environ["PYTHONSAFEPATH"] = "1"

import itertools  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import resource  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
import zlib  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402
from unittest import mock  # noqa: E402

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from joblib import Parallel, cpu_count, delayed  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from scipy import stats  # noqa: E402

from greencv_core import analysis  # noqa: E402
from greencv_core.analysis import bootstrap  # noqa: E402
from greencv_core.analysis.choice import savings  # noqa: E402
from greencv_core.analysis.comparison import noninferiority  # noqa: E402
from greencv_core.analysis.comparison import omnibus as comparison  # noqa: E402
from greencv_core.analysis.comparison import pairwise as pairs  # noqa: E402
from greencv_core.analysis.regression import interaction  # noqa: E402

SEED = 2022
LEVEL = 0.05
FEW, USUAL, COVERED = (3, 4), (5, 10, 30), (3, 5, 10, 30)
CHUNKS = 20
"""Into which the simulations of one setting are cut."""
CHECKED = 200
"""One in so many simulations checks that a short cut says what the long way does."""
LARGE = 100_000
ROUNDS = 3
VALUE, F1 = "energy_j_per_image", "f1_macro"
GAMMA_MEDIAN = float(stats.gamma.median(2))
DEAR, CHEAP = 0.4, 0.3
LEVEL_OF_LINE, SLOPE = 0.05, -0.25
BREAK_EVEN = 10 ** (-LEVEL_OF_LINE / SLOPE)
USED, BOUNDED = "used", "bounded"
T, BCA, PERCENTILE = "Welch's t of logarithms", "BCa bootstrap", "percentile bootstrap"
SHIFT, STUDENTISED = "Hodges-Lehmann of logarithms", "studentised bootstrap"
ALONE, RESELECTED = "as if it had not been picked", "percentile bootstrap of the selection"
METHODS = {"t": T, "BCa": BCA, "studentised": STUDENTISED}

SPREADS = {"1:2:3:4:5": (1, 2, 3, 4, 5), "1:1:1:1:4": (1, 1, 1, 1, 4), "1:2:4": (1, 2, 4)}
"""Standard deviations of groups of the same mean; the first stands for the test in the JSON."""
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
"""True medians of the conditions among which the largest saving is picked."""
STRAY = {"architectures stray by 0.05": 0.05, "runs alone stray": 0.0}
"""Standard deviation, in log10, of the architectures' ratios about the line."""
console = Console(width=132)


def main():
    if len(sys.argv) > 1:
        print(json.dumps(large_table(sys.argv[1])))
        return
    begun_s = time.perf_counter()
    every = published()
    told("the published runs")
    seconds = [timed(analyse, every) for _ in range(ROUNDS)]
    large = in_a_process(every)
    rates, simulations = simulated()
    told("")
    report(rates, simulations, float(np.median(seconds)), large, time.perf_counter() - begun_s)


def published():
    from greencv_core.published.seaa2023.reanalysis import load_reanalysis
    from greencv_core.utils.errors import GreencvError

    try:
        return load_reanalysis().every_run
    except GreencvError as error:
        sys.exit(f"error: {' '.join(str(error).split())}")


def told(what):
    print(f"\r{what:<70}", end="" if what else "\r", file=sys.stderr, flush=True)


# The tests, each where what it denies is true.


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
    """Whether any pair of the family is told apart.

    The test takes long. A family has none if no distance reaches the critical value of the next
    higher degrees of freedom that is tabulated, which is lower; it is then asked but now and then.
    """
    groups = np.array([rng.normal(0.0, s, n) for s in sd])
    one, other = np.triu_indices(len(sd), 1)
    t = stats.ttest_ind(groups[one], groups[other], axis=1, equal_var=False)
    dfs, values = critical
    reaches = (math.sqrt(2) * abs(t.statistic) >= values[np.searchsorted(dfs, t.df)]).any()
    rejects = False
    if reaches or number % CHECKED == 0:
        p = pairs._games_howell(dict(enumerate(groups)))
        rejects = p[one, other].min() < LEVEL
        assert reaches or not rejects
    return {"games_howell": rejects}


def critical_distances(groups):
    dfs = np.array([*np.arange(1, 12, 0.5), *range(12, 30), 40, 60, 120, np.inf])
    return dfs, stats.studentized_range.ppf(1 - LEVEL, groups, dfs) * (1 - 1e-4)


def dunn(rng, number, sd, n):
    p = pairs._dunn({i: rng.normal(0.0, s, n) for i, s in enumerate(sd)})
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
    test = noninferiority.non_inferiority(a, b, margin)
    return {"non_inferiority_welch": test.passes, "non_inferiority_ranks": test.p_ranks < LEVEL}


# The intervals: whether each holds the truth, and its width.


def saving(rng, number, shape, cv, n):
    truth = 1 - CHEAP / DEAR
    a, b = two_conditions(rng, number, shape, cv, n, "median")
    found = by_both_methods(a, b, truth, number)
    found[PERCENTILE] = held(np.quantile(1 - b.draws / a.draws, bootstrap._TAILS), truth)
    _, low, high = pairs.hodges_lehmann(np.log(a.values), np.log(b.values))
    if not math.isnan(low):
        found[SHIFT] = held((1 - math.exp(high), 1 - math.exp(low)), truth)
    return found


def saving_of_means(rng, number, shape, cv, n):
    centre = (2 - GAMMA_MEDIAN) / math.sqrt(2) if shape == "skewed" else 0.0
    truth = 1 - CHEAP * (1 + cv[1] * centre) / (DEAR * (1 + cv[0] * centre))
    return by_both_methods(*two_conditions(rng, number, shape, cv, n, "mean"), truth, number)


def two_conditions(rng, number, shape, cv, n, statistic):
    # The project's random numbers come from a condition's name: each simulation has its own.
    runs = table(
        {
            f"dear {number}": DEAR * (1 + cv[0] * errors(rng, shape, n)),
            f"cheap {number}": CHEAP * (1 + cv[1] * errors(rng, shape, n)),
        }
    )
    return savings._groups(runs, "condition", VALUE, statistic, F1)


def errors(rng, shape, n):
    """Errors of standard deviation 1 and median 0."""
    if shape == "normal":
        return rng.normal(size=n)
    return (rng.gamma(2.0, size=n) - GAMMA_MEDIAN) / math.sqrt(2)


def by_both_methods(dear, cheap, truth, number):
    """What the project says, and what it would with the limit between its two methods moved."""
    used = savings._between(dear, cheap)
    if number % CHECKED == 0:  # what is called here, for its draws to be shared, is what it says
        runs, conditions = pd.concat([dear.runs, cheap.runs]), (dear.condition, cheap.condition)
        assert used == savings.saving(runs, *conditions, statistic=dear.statistic)
    limit = 0 if used.method == "t" else math.inf
    with mock.patch.object(savings, "FEWEST_FOR_BOOTSTRAP", limit):
        other = savings._between(dear, cheap)
    found = {METHODS[s.method]: held((s.ci_low, s.ci_high), truth) for s in (used, other)}
    return {**found, USED: found[METHODS[used.method]]}


def picked_maximum(rng, number, medians, n):
    spread = rng.permutation(np.linspace(0.02, 0.08, len(medians)))
    runs = table(
        {
            f"{i} {number}": median * (1 + cv * rng.normal(size=n))
            for i, (median, cv) in enumerate(zip(medians, spread, strict=True))
        }
    )
    truth = 1 - min(medians) / max(medians)
    groups = savings._groups(runs, "condition", VALUE, "median", F1)
    with mock.patch.object(savings, "_groups", return_value=groups):  # to share their draws
        best = savings.best_against_worst(runs, "condition")
    by_name = {group.name: group for group in groups}
    alone = savings._between(by_name[best.dear], by_name[best.cheap])
    draws = np.array([group.draws for group in groups])
    largest = 1 - draws.min(axis=0) / draws.max(axis=0)
    return {
        USED: held((best.ci_low, best.ci_high), truth),
        ALONE: held((alone.ci_low, alone.ci_high), truth),
        RESELECTED: held(np.quantile(largest, bootstrap._TAILS), truth),
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


# The simulations, over all cores.


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
            yield saving_of_means, name, 2_000, {**given, "n": n}
        for name, medians in MEDIANS.items():
            yield picked_maximum, name, 2_000, {"medians": medians, "n": n}
        for name, stray in STRAY.items():
            yield break_even, name, 2_000, {"stray": stray, "n": n}


def simulated():
    """Return (hits, simulations, mean width) by kind, what was asked, scenario and n."""
    tasks = []
    for simulate, scenario, count, given in settings():
        key = (simulate.__name__, scenario, given["n"])
        starts = np.linspace(0, count, CHUNKS + 1).astype(int)
        for first, last in itertools.pairwise(starts):
            tasks.append((simulate, key, int(first), int(last), given))
    np.random.default_rng(SEED).shuffle(tasks)  # so that the rest takes as long as what is done
    cores = cpu_count()
    parallel = Parallel(cores, return_as="generator_unordered", batch_size=1)
    sums, begun_s = {}, time.perf_counter()
    for done, (key, found) in enumerate(parallel(delayed(chunk)(*task) for task in tasks), 1):
        for asked, counted in found.items():
            kind, scenario, n = key
            place = (kind, asked, scenario, n)
            sums[place] = sums.get(place, 0) + np.array(counted)
        left_s = (time.perf_counter() - begun_s) / done * (len(tasks) - done)
        told(f"simulations: {done} of {len(tasks)} parts, {left_s:.0f} s left")
    counts = {}
    for simulate, _, count, _ in settings():
        counts.setdefault(simulate.__name__, count)  # of the scenario that stands in the JSON
    rates = {place: (h, int(total), w / total) for place, (h, total, w) in sums.items()}
    return rates, counts


def chunk(simulate, key, first, last, given):
    rng = np.random.default_rng([SEED, zlib.crc32(repr(key).encode()), first])
    sums = {}
    for number in range(first, last):
        for asked, answer in simulate(rng, number, **given).items():
            hit, width = answer if isinstance(answer, tuple) else (answer, math.nan)
            hits, count, widths = sums.get(asked, (0, 0, 0.0))
            sums[asked] = (hits + bool(hit), count + 1, widths + width)
    return key, sums


# The whole analysis, timed.


def analyse(every):
    """Ask of the runs all that the analysis can, but for what needs epochs or seeds in common."""
    from greencv_core.analysis import attempt
    from greencv_core.published.seaa2023.reanalysis import CORRECTED, CORRECTNESS, VARIANTS

    runs = every[~every["removed_by_hand"]].reset_index(drop=True)
    runs = runs.assign(**{VALUE: runs[CORRECTED]})
    headline = partial(analysis.best_against_worst, correctness=CORRECTNESS)
    answers = []
    for name in runs["environment"].unique():
        part = analysis.filter_by(runs, "environment", name)
        for value in (VALUE, CORRECTNESS):
            answers.append(attempt(analysis.compare, part, value, "architecture"))
    energies = {name: every.assign(**{VALUE: every[name]}) for name in list(VARIANTS)[1:]}
    in_both = runs[runs["environment"] != "Local N"]
    answers += [
        attempt(analysis.compare_each, runs, VALUE, "environment", "architecture"),
        attempt(analysis.savings_table, runs, correctness=CORRECTNESS),
        attempt(headline, runs),
        attempt(headline, runs, statistic="mean"),
        attempt(analysis.savings_without_loss, runs, correctness=CORRECTNESS),
        attempt(analysis.energy_regression, runs),
        attempt(analysis.nested_models, runs),
        attempt(analysis.mixed_model, runs),
        attempt(analysis.architecture_by_environment, runs),
        attempt(analysis.architecture_by_environment, in_both),
        attempt(analysis.break_evens, runs),
        attempt(analysis.pareto_front, runs, correctness=CORRECTNESS),
        attempt(analysis.leave_one_repetition_out, runs, headline),
        attempt(analysis.repetitions_needed, runs),
        attempt(analysis.specification_curve, energies, correctness=CORRECTNESS),
        attempt(analysis.outliers_sentence, runs, headline),
        attempt(analysis.fastest_environment, runs),
        analysis.select_runs(runs),
        analysis.summarise(runs, values=(VALUE, CORRECTNESS)),
        analysis.weakest_provenance(runs),
    ]
    missing = [a.reason for a in answers if isinstance(a, analysis.Unavailable)]
    if missing:
        sys.exit(f"error: the analysis has no answer: {'; '.join(missing)}")


def timed(function, *args):
    begun_s = time.perf_counter()
    function(*args)
    return time.perf_counter() - begun_s


def in_a_process(every):
    told(f"{LARGE} rows drawn from the published runs")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.pkl"
        every.to_pickle(path)
        done = subprocess.run(
            [sys.executable, __file__, path], capture_output=True, text=True, check=False
        )
    if done.returncode:
        sys.exit(f"error: the large table failed: {done.stderr[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def large_table(path):
    from greencv_core.published.seaa2023.reanalysis import VARIANTS

    every = pd.read_pickle(path)
    rng = np.random.default_rng(SEED)
    every = every.iloc[rng.integers(0, len(every), LARGE)].reset_index(drop=True)
    apart = 1 + 1e-3 * rng.normal(size=LARGE)  # so that the same run, drawn twice, does not tie
    changed = {name: every[name] * apart for name in ("energy_j", VALUE, *VARIANTS)}
    every = every.assign(run_id=np.arange(LARGE).astype(str), **changed)
    seconds = timed(analyse, every)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": len(every), "seconds": seconds, "peak_rss_mb": peak_mb}


# What is told.

TESTS = {
    "welch": "Welch's ANOVA",
    "games_howell": "Games-Howell, any pair",
    "primary_of_compare": "the rule of compare",
    "welch_james_interaction": "Welch-James, interaction",
    "welch_james_environment": "Welch-James, environment",
    "non_inferiority_welch": "non-inferiority, Welch",
}
OTHERS = {
    "kruskal": "Kruskal-Wallis",
    "dunn_holm": "Dunn with Holm, any pair",
    "classical_f_interaction": "classical F, interaction",
    "classical_f_environment": "classical F, environment",
    "aligned_ranks_interaction": "aligned ranks, interaction",
    "aligned_ranks_environment": "aligned ranks, environment",
    "non_inferiority_ranks": "non-inferiority, Brunner-Munzel",
}
QUANTITIES = {
    "saving": "saving, of medians",
    "saving_of_means": "saving, of means",
    "picked_maximum": "largest saving, picked",
    "break_even": "break-even",
}


def report(rates, simulations, published_s, large, seconds):
    by_test, coverage = {}, {}
    for (kind, asked, scenario, n), found in rates.items():
        if kind in QUANTITIES:
            coverage.setdefault((kind, asked), {}).setdefault(scenario, {})[n] = found
        else:
            by_test.setdefault(asked, {}).setdefault(scenario, {})[n] = found
    show_tests("Type I error at 5 %, of the tests that answer", by_test, TESTS)
    show_tests("The same of the tests that stand beside them", by_test, OTHERS)
    console.print(
        "* outside 4 to 6 % (10 runs and more) or 3 to 7 % (fewer). SE: the simulation's standard "
        "error, of 5 %. Under 5 runs a group, compare answers by Kruskal-Wallis.\n"
    )
    show_coverage(coverage)
    show_methods(coverage)
    console.print(f"The whole analysis of the published runs: {published_s:.1f} s.")
    console.print(
        f"Of {large['rows']:,} rows drawn from them: {large['seconds']:.0f} s, at most "
        f"{large['peak_rss_mb']:.0f} MB. All of this: {seconds / 60:.1f} min."
    )
    figures = {
        "type1_error": {test: agreed(by_test[test], USUAL) for test in TESTS},
        "coverage": {q: averaged(coverage[q, USED], (10, 30)) for q in QUANTITIES},
        "published_analysis_s": published_s,
        "coverage_few": {
            q: {m: averaged(found, (3, 5)) for (of, m), found in coverage.items()
                if of == q and m != BOUNDED}
            for q in QUANTITIES
        },
        "type1_error_of_others": {
            **{test: agreed(by_test[test], USUAL) for test in OTHERS},
            "welch_of_few": agreed(by_test["welch"], FEW),
            "kruskal_of_few": agreed(by_test["kruskal"], FEW),
        },
        "coverage_by_scenario": {
            q: {s: {str(n): rate(found) for n, found in sorted(of_n.items())}
                for s, of_n in sorted(coverage[q, USED].items())}
            for q in QUANTITIES
        },
        "break_even_bounded": {
            s: {str(n): rate(found) for n, found in sorted(of_n.items())}
            for s, of_n in coverage["break_even", BOUNDED].items()
        },
        "simulations": simulations,
        "seconds": seconds,
        "large_table": large,
    }  # fmt: skip
    console.print(json.dumps(figures), soft_wrap=True, highlight=False)


def rate(found):
    return round(found[0] / found[1], 4)


def agreed(by_scenario, ns):
    scenario = next(s for s in (*SPREADS, *CELLS, *SCORES) if s in by_scenario)
    return {str(n): rate(by_scenario[scenario][n]) for n in ns}


def averaged(by_scenario, ns):
    """Rates over the scenarios, none where there is no interval."""
    known = {n: [rate(of_n[n]) for of_n in by_scenario.values() if n in of_n] for n in ns}
    return {str(n): round(float(np.mean(v)), 4) if v else None for n, v in known.items()}


def show_tests(title, by_test, names):
    shown = Table(title=title, title_justify="left")
    for heading in ("Test", "Groups' sd"):
        shown.add_column(heading)
    for n in (*FEW, *USUAL):
        shown.add_column(f"n = {n}", justify="right")
    for heading in ("Simulations", "SE"):
        shown.add_column(heading, justify="right")
    for test, name in names.items():
        for scenario in (*SPREADS, *CELLS, *SCORES):
            of_n = by_test[test].get(scenario, {})
            if not of_n:
                continue
            total = of_n[USUAL[0]][1]
            cells = [error_rate(of_n[n], n) if n in of_n else "" for n in (*FEW, *USUAL)]
            error = math.sqrt(LEVEL * (1 - LEVEL) / total)
            shown.add_row(name, scenario, *cells, f"{total:,}", f"{100 * error:.2f} %")
    console.print(shown)


def error_rate(found, n):
    off = abs(found[0] / found[1] - LEVEL) > (0.01 if n >= 10 else 0.02)
    return f"{100 * found[0] / found[1]:.2f} %{'*' if off else ' '}"


def show_coverage(coverage):
    shown = Table(title="Coverage of 95 % intervals as the project gives them, by scenario",
                  title_justify="left")  # fmt: skip
    for heading in ("Quantity", "Scenario", *(f"n = {n}" for n in COVERED), "Simulations"):
        shown.add_column(heading, justify="left" if len(shown.columns) < 2 else "right")
    for quantity, name in QUANTITIES.items():
        for scenario in (*ERRORS, *MEDIANS, *STRAY):
            of_n = coverage[quantity, USED].get(scenario)
            if of_n is None:
                continue
            cells = [covered(of_n[n][0] / of_n[n][1], n) for n in COVERED]
            shown.add_row(name, scenario, *cells, f"{of_n[10][1]:,}")
    for scenario in STRAY:
        of_n = coverage["break_even", BOUNDED][scenario]
        cells = [f"{100 * of_n[n][0] / of_n[n][1]:.1f} % " for n in COVERED]
        shown.add_row("break-even: share bounded", scenario, *cells, f"{of_n[10][1]:,}")
    console.print(shown)
    console.print(
        "* outside 93 to 97 % at 30 runs, or under 90 % at 10. The simulation's standard error is "
        "0.5 points. An unbounded break-even holds the truth.\n"
    )


def covered(share, n):
    off = not 0.93 <= share <= 0.97 if n == 30 else n == 10 and share < 0.9
    return f"{100 * share:.1f} %{'*' if off else ' '}"


def show_methods(coverage):
    shown = Table(title="Ways to an interval: coverage, mean and lowest of the scenarios, and mean "
                  "width in points of the saving", title_justify="left")  # fmt: skip
    for heading in ("Quantity", "Method", "Used for"):
        shown.add_column(heading)
    for n in COVERED:
        shown.add_column(f"n = {n}", justify="right")
    ways = [
        *(("saving", method) for method in (T, BCA, PERCENTILE, SHIFT)),
        *(("saving_of_means", method) for method in (T, STUDENTISED)),
        *(("picked_maximum", method) for method in (USED, ALONE, RESELECTED)),
    ]
    used = {T: "n < 10", BCA: "n >= 10", STUDENTISED: "n >= 10", USED: "all"}
    for quantity, method in ways:
        by_scenario = coverage[quantity, method]
        cells = []
        for n in COVERED:
            found = [of_n[n] for of_n in by_scenario.values() if n in of_n]
            share = np.mean([f[0] / f[1] for f in found]) if found else math.nan
            width = 100 * np.mean([f[2] for f in found]) if found else math.nan
            wide = f"{width:.1f}" if width < 1000 else "over 1000"
            lowest = min((f[0] / f[1] for f in found), default=math.nan)
            cell = f"{100 * share:.1f} %, {100 * lowest:.1f} % ({wide})"
            cells.append(cell if found else "none")
        name = "allowing for the pick" if method == USED else method
        shown.add_row(QUANTITIES[quantity], name, used.get(method, ""), *cells)
    console.print(shown)


if __name__ == "__main__":
    main()
