"""Claims that architectures or environments differ, and that one quantity rises with another."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import stats

from greencv_core.analysis import (
    Comparison,
    NotEnoughDataError,
    Unavailable,
    attempt,
    compare,
    compare_each,
    fastest_environment,
    filter_by,
)
from greencv_core.analysis.comparison.correlation import RankCorrelation, rank_correlations
from greencv_core.analysis.result import ALPHA, CONFIDENCE
from greencv_core.published.claim_answers import (
    CONDITIONS,
    UTILISATION,
    Answer,
    cannot,
    first_reason,
    has_repetitions,
    k_of_n,
    missing,
    rounded,
    without_result,
)
from greencv_core.utils.text import count, listed, number, p_value, quantity

MOST_PAIRED = 20
"""Architectures whose pairs are compared, too."""
MOST_RUNS, MOST_CONDITIONS = 5000, 200
"""Largest data set whose intervals come from its runs. Of more runs, as many of each condition are
taken at equal steps; of more conditions, architectures are the units instead."""
FEWEST_UNITS = 5
"""Architectures for an interval with architectures as units."""
FEWEST_BLOCKS = 3
"""Blocks of a comparison without repetitions."""


def ask_architectures(value: str, runs: pd.DataFrame) -> Answer:
    """Ask whether a value differs between architectures.

    With repetitions, within the fastest environment. With one run a condition, over environments as
    blocks (:func:`compare_over_blocks`).
    """
    reason = missing(runs, "architecture", value)
    if reason:
        return cannot(reason)
    if not has_repetitions(runs, value):
        return _over_blocks(runs, value, "architecture", "environment")
    environment = reference_environment(runs)
    within = filter_by(runs, "environment", environment)
    pairs = within["architecture"].nunique() <= MOST_PAIRED
    result = attempt(compare, within, value, "architecture", pairs=pairs)
    if isinstance(result, Unavailable):
        return cannot(result.reason)
    test = (
        f"Welch's F = {number(result.welch_f)}"
        if result.primary == "welch"
        else f"Kruskal-Wallis H = {number(result.kruskal_h)}"
    )
    here = f"Within {environment}, {test}, {p_value(result.p)}; eta squared {_eta(result):.3f}"
    apart = "."
    if pairs:
        apart = f": {result.pairs_differing} of {count(len(result.pairs), 'pair')} told apart."
    return _difference(result.significant, f"Holds{apart}", here, _n(result), _eta(result))


def _difference(shown: bool, holds: str, here: str, n: int, figure: float) -> Answer:
    if shown:
        return Answer("holds", holds, here, n, rounded(figure))
    verdict = "Not shown: no difference is found, which does not show that there is none."
    return Answer("not shown", verdict, here, n, rounded(figure))


def ask_environments(value: str, runs: pd.DataFrame) -> Answer:
    """Ask whether a value differs between environments.

    With repetitions, for each architecture, corrected by Holm's method; the figure is that of the
    architecture that differs least. With one run a condition, over architectures as blocks.
    """
    reason = missing(runs, "environment", value)
    if not reason and value == UTILISATION and _set_by_threads(runs):
        reason = "a CPU's utilisation is set by its threads, which differ between environments"
    if reason:
        return cannot(reason)
    if not has_repetitions(runs, value):
        return _over_blocks(runs, value, "environment", "architecture")
    every = compare_each(runs, value, "environment", "architecture", pairs=False)
    known = {name: result for name, result in every.items() if isinstance(result, Comparison)}
    if not known:
        return cannot(first_reason(every))
    differing = [name for name, result in known.items() if result.significant]
    etas = [_eta(result) for result in known.values()]
    span = " to ".join(dict.fromkeys(f"{eta:.3f}" for eta in (min(etas), max(etas))))
    adjusted = " by Holm's method" if len(known) > 1 else ""
    highest = max(result.p for result in known.values())
    here = (
        f"{len(differing)} of {count(len(known), 'architecture')} at 5 %{adjusted}, highest "
        f"{p_value(highest)}; eta squared {span}"
    ) + without_result(every, known)
    standing, verdict = k_of_n(len(differing), len(known), "architecture")
    if standing == "holds in part":
        verdict += f" Not shown for {listed([name for name in known if name not in differing])}."
    n = sum(map(_n, known.values()))
    return Answer(standing, verdict, here, n, rounded(min(etas)))


def ask_correlation(x: str, y: str, runs: pd.DataFrame) -> Answer:
    """Ask whether ``y`` rises with ``x``, in each environment.

    The interval is over runs where architectures have repetitions, else over architectures. The
    figure is that of the environment with the lowest lower bound.
    """
    reason = missing(runs, "architecture", x, y)
    if reason:
        return cannot(reason)
    every = _correlations(runs, x, y)
    known = {name: r for name, r in every.items() if isinstance(r, RankCorrelation)}
    if not known:
        return cannot(first_reason(every))
    here = "\n".join(f"{name}: {r.estimate()}" for name, r in known.items())
    here += without_result(every, known)
    rising = sum(result.rises for result in known.values())
    falling = sum(result.falls for result in known.values())
    standing, verdict = k_of_n(rising, len(known), "environment")
    if falling and not rising:
        standing = "does not hold"
        verdict = f"Does not hold: it falls in {falling} of {count(len(known), 'environment')}."
    elif falling:
        verdict += f" It falls in {falling} of them."
    weakest = min(known.values(), key=lambda result: result.low)
    n = sum(r.n for r in known.values())
    return Answer(standing, verdict, here, n, weakest.rho, weakest.low, weakest.high)


def _correlations(runs: pd.DataFrame, x: str, y: str) -> dict[str, RankCorrelation | Unavailable]:
    known = runs.dropna(subset=[x, y])
    medians = known.groupby(["environment", "architecture"], observed=True)[[x, y]].median()
    sizes = known["environment"].value_counts()
    parts = dict(list(medians.groupby(level="environment", sort=False)))
    by_units = {
        str(name): attempt(_of_medians, parts.get(name, medians[:0]), int(sizes.get(name, 0)))
        for name in runs["environment"].unique()
    }
    conditions = runs.groupby(CONDITIONS, observed=True).ngroups
    if conditions > MOST_CONDITIONS or not has_repetitions(runs, y):
        return by_units
    by_runs = rank_correlations(thin(runs), x, y)
    return {name: result or by_units[name] or result for name, result in by_runs.items()}


def correlate_architectures(runs: pd.DataFrame, x: str, y: str) -> RankCorrelation:
    """Correlate the ranks of architectures' medians; the interval holds for other architectures.

    The interval is symmetrical about artanh(rho), with the standard error of Bonett and Wright
    (2000). A perfect order, whose error would be 0, is taken as one swap short of it.
    """
    known = runs.dropna(subset=[x, y])
    return _of_medians(known.groupby("architecture", observed=True)[[x, y]].median(), len(known))


def _of_medians(medians: pd.DataFrame, runs: int) -> RankCorrelation:
    n, (x, y) = len(medians), medians.columns
    if n < FEWEST_UNITS:
        raise NotEnoughDataError(
            f"with fewer than 3 runs each, a correlation needs at least {FEWEST_UNITS} "
            f"architectures that have both figures, and there {'is' if n == 1 else 'are'} {n}"
        )
    for column in (x, y):
        if medians[column].nunique() == 1:
            raise NotEnoughDataError(f"{quantity(column)} is the same for all architectures")
    rho = float(stats.spearmanr(medians[x], medians[y]).statistic)
    almost = 1 - 12 / (n * (n**2 - 1))
    kept = min(max(rho, -almost), almost)
    error = math.sqrt((1 + kept**2 / 2) / (n - 3))
    half = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * error
    low, high = math.tanh(math.atanh(kept) - half), math.tanh(math.atanh(kept) + half)
    return RankCorrelation(x, y, rho, min(low, rho), max(high, rho), runs, n)


def compare_over_blocks(
    runs: pd.DataFrame, value: str, by: str, block: str
) -> tuple[float, float, int, int, int]:
    """Compare the levels of one factor with those of the other as blocks (Friedman's test).

    It needs no repetitions. Two levels are compared by Wilcoxon's signed ranks of log ratios.

    Returns
    -------
    tuple
        p value, Kendall's W, levels, blocks and runs.
    """
    known = runs.dropna(subset=[value])
    cells = known.groupby([block, by], observed=True)[value].agg(["median", "size"])
    table = _complete_part(cells["median"].unstack(by))
    blocks, levels = table.shape
    if blocks < FEWEST_BLOCKS or levels < 2:
        raise NotEnoughDataError(
            "there is one run a condition: a comparison needs repetitions, or at least "
            f"{FEWEST_BLOCKS} {block}s with the same {by}s, and there "
            f"{'is' if blocks == 1 else 'are'} {blocks}"
        )
    n = int(cells["size"].unstack(by).loc[table.index, table.columns].to_numpy().sum())
    values = table.to_numpy(dtype=float)
    ranks = stats.rankdata(values, axis=1)
    squares = float(((ranks.sum(axis=0) - blocks * (levels + 1) / 2) ** 2).sum())
    w = 12 * squares / (blocks**2 * (levels**3 - levels))
    if np.ptp(ranks) == 0:
        return 1.0, 0.0, levels, blocks, n
    if levels == 2:
        p = float(stats.wilcoxon(values[:, 0], values[:, 1]).pvalue)
    else:
        p = float(stats.friedmanchisquare(*values.T).pvalue)
    return p, w, levels, blocks, n


def _over_blocks(runs: pd.DataFrame, value: str, by: str, block: str) -> Answer:
    result = attempt(compare_over_blocks, runs, value, by, block)
    if isinstance(result, Unavailable):
        return cannot(result.reason)
    p, w, levels, blocks, n = result
    test = "Friedman's test" if levels > 2 else "Wilcoxon's signed ranks"
    here = (
        f"One run a condition: {levels} {by}s over {count(blocks, block)} as blocks, {test}, "
        f"{p_value(p)}; Kendall's W {w:.3f}, no interval"
    )
    return _difference(p < ALPHA, "Holds.", here, n, w)


def _complete_part(table: pd.DataFrame) -> pd.DataFrame:
    """Return a part of a table without gaps: rows or columns are left out, whichever loses less."""
    candidates = [table.dropna(axis="index"), table.dropna(axis="columns")]
    halved = table.loc[:, table.notna().mean() >= 0.5].dropna(axis="index")
    return max([*candidates, halved], key=lambda part: part.size if min(part.shape) > 1 else 0)


def thin(runs: pd.DataFrame) -> pd.DataFrame:
    """Return at most :data:`MOST_RUNS` runs: as many of each condition, at equal steps."""
    if len(runs) <= MOST_RUNS:
        return runs
    groups = runs.groupby(CONDITIONS, observed=True, sort=False)
    share = max(3, MOST_RUNS // groups.ngroups)
    place, size = groups.cumcount(), groups["environment"].transform("size")
    steps = np.floor(place * share / size) != np.floor((place - 1) * share / size)
    return runs[steps | (size <= share)]


def reference_environment(runs: pd.DataFrame) -> str:
    """Return the fastest environment; without times, the one with the most architectures."""
    if "duration_s_per_image" in runs and runs["duration_s_per_image"].notna().any():
        return fastest_environment(runs)
    return str(runs.groupby("environment", observed=True)["architecture"].nunique().idxmax())


def _set_by_threads(runs: pd.DataFrame) -> bool:
    """Return whether the runs are on a CPU, and differ in its threads."""
    if "device" not in runs or "threads" not in runs:
        return False
    return bool(runs["device"].eq("cpu").all()) and runs["threads"].nunique() > 1


def _eta(result: Comparison) -> float:
    return max(0.0, result.eta_squared)


def _n(result: Comparison) -> int:
    return int(result.groups["n"].sum())
