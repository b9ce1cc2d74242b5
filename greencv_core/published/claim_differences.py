"""Claims that architectures or environments differ, and that one quantity rises with another."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

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
from greencv_core.analysis.comparison.pairwise import holm
from greencv_core.analysis.result import ALPHA
from greencv_core.published.claim_answers import (
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

FEWEST_UNITS = 5
"""Architectures for a correlation: no order of four would be shown at 5%."""
MOST_PERMUTED = 8
"""Architectures whose orders are all counted; for more, Student's t is close."""
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
    result = attempt(compare, within, value, "architecture", pairs=False)
    if isinstance(result, Unavailable):
        return cannot(result.reason)
    here = f"Within {environment}, {result.statistics()}; eta squared {_eta(result):.3f}"
    pairs = count(len(result.pairs), "pair")
    holds = f"Holds: {result.pairs_differing} of {pairs} differ significantly."
    return _difference(result.significant, holds, here, _n(result), _eta(result))


def _difference(shown: bool, holds: str, here: str, n: int, figure: float) -> Answer:
    if shown:
        return Answer("holds", holds, here, n, rounded(figure))
    verdict = "Not shown: the runs show no difference, which does not prove that there is none."
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
        f"{len(differing)} of {count(len(known), 'architecture')} at 5%{adjusted}, highest "
        f"{p_value(highest)}; eta squared {span}"
    ) + without_result(every, known)
    standing, verdict = k_of_n(len(differing), len(known), "architecture")
    if standing == "holds in part":
        verdict += f" Not shown for {listed([name for name in known if name not in differing])}."
    n = sum(map(_n, known.values()))
    return Answer(standing, verdict, here, n, rounded(min(etas)))


def ask_correlation(x: str, y: str, runs: pd.DataFrame) -> Answer:
    """Ask whether ``y`` rises with ``x``, in each environment, with architectures as units.

    Runs of an architecture say nothing of what another one takes, so that each counts once
    (:func:`correlate_architectures`). It holds if it is shown in every environment, each at 5%;
    for some of them, tests are adjusted by Holm's method. The figure is the lowest correlation.
    """
    reason = missing(runs, "architecture", x, y)
    if reason:
        return cannot(reason)
    every = {
        str(name): attempt(correlate_architectures, part, x, y)
        for name, part in runs.groupby("environment", sort=False, observed=True)
    }
    known = {name: r for name, r in every.items() if isinstance(r, RankTest)}
    if not known:
        return cannot(first_reason(every))
    p = np.array([r.p for r in known.values()])
    every_one = bool((p < ALPHA).all())
    sure = dict(zip(known, (p if every_one else np.array(holm(p))) < ALPHA, strict=True))
    here = "\n".join(
        f"{name}: rank correlation {number(r.rho)} of {count(r.architectures, 'architecture')}, "
        f"{p_value(r.p)}"
        for name, r in known.items()
    )
    here += without_result(every, known)
    shown = [r.rho for name, r in known.items() if sure[name]]
    rising, falling = sum(rho > 0 for rho in shown), sum(rho < 0 for rho in shown)
    standing, verdict = k_of_n(rising, len(known), "environment")
    if falling and not rising:
        standing = "does not hold"
        verdict = f"Does not hold: it falls in {falling} of {count(len(known), 'environment')}."
    elif falling:
        verdict = (
            f"Holds in part: it rises in {rising} of {count(len(known), 'environment')} and falls "
            f"in {falling}."
        )
    n = sum(r.n for r in known.values())
    return Answer(standing, verdict, here, n, min(r.rho for r in known.values()))


@dataclass(frozen=True)
class RankTest:
    """Spearman's correlation over architectures, and its two-sided test."""

    rho: float
    p: float
    architectures: int
    n: int
    """Number of runs behind the architectures' medians."""


def correlate_architectures(runs: pd.DataFrame, x: str, y: str) -> RankTest:
    """Correlate the ranks of architectures' medians.

    With up to :data:`MOST_PERMUTED` architectures, p is exact: the share of all orders with a
    correlation at least as far from 0.
    """
    known = runs.dropna(subset=[x, y])
    medians = known.groupby("architecture", observed=True)[[x, y]].median()
    n = len(medians)
    if n < FEWEST_UNITS:
        raise NotEnoughDataError(
            f"a correlation over architectures needs at least {FEWEST_UNITS} that have both "
            f"figures, and there {'is' if n == 1 else 'are'} {n}"
        )
    for column in (x, y):
        if medians[column].nunique() == 1:
            raise NotEnoughDataError(f"{quantity(column)} is the same for all architectures")
    a, b = (stats.rankdata(medians[column]) for column in (x, y))
    found = stats.spearmanr(a, b)
    p = float(found.pvalue)
    if n <= MOST_PERMUTED:
        orders = np.array(list(itertools.permutations(b - b.mean())))
        products = np.abs(orders @ (a - a.mean()))
        p = float(np.mean(products >= products[0] - 1e-9))
    return RankTest(float(found.statistic), p, n, len(known))


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
