"""Evaluate the original study's claims on other runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd

from greencv_core.analysis import (
    Comparison,
    NonInferiority,
    Saving,
    Unavailable,
    attempt,
    best_against_worst,
    compare,
    compare_each,
    fastest_environment,
    filter_by,
    non_inferiority,
    weakest_provenance,
)
from greencv_core.analysis.comparison.correlation import RankCorrelation, rank_correlations
from greencv_core.analysis.comparison.noninferiority import DEFAULT_MARGIN
from greencv_core.analysis.regression.crossings import powerful_against_each
from greencv_core.published.seaa2023.claims import (
    CORRELATED,
    printed,
    quote_correlation,
    quote_test,
)
from greencv_core.published.seaa2023.runs import signed_percent
from greencv_core.utils.text import (
    count,
    left_out_clause,
    listed,
    number,
    p_value,
    percent,
    quantity,
)

Standing = Literal["holds", "in part", "does not hold", "not shown", "cannot be asked"]
"""Status of a claim. It does not hold if these runs show the opposite; it is not shown if they show
neither, since no evidence of an effect is not evidence of none."""

GFLOPS_SPAN = (0.0640282, 10.0288)
"""GFLOPs per image of the original's smallest and largest architecture."""
_ENERGY, _UTILISATION, _GFLOPS = "energy_j_per_image", "device_utilization_pct", "gflops_per_image"
_COUNTED: tuple[tuple[Standing, str, str], ...] = (
    ("holds", "holds", "hold"),
    ("in part", "holds in part", "hold in part"),
    ("does not hold", "does not hold", "do not hold"),
    ("not shown", "is not shown", "are not shown"),
    ("cannot be asked", "cannot be asked", "cannot be asked"),
)
"""Each status in a sentence, of one claim and of several."""


@dataclass(frozen=True)
class Claim:
    """One claim of the original study, and what other runs show."""

    claim: str
    original: str
    here: str
    """Estimates with their 95 % intervals, or tests; empty if the claim cannot be evaluated."""
    n: int
    """Number of runs behind the verdict."""
    standing: Standing
    verdict: str


@dataclass(frozen=True)
class Replication:
    """The original study's claims, evaluated on other runs."""

    runs: pd.DataFrame
    claims: pd.DataFrame
    """One row per claim: claim, original (what del Rey et al. found, and corrected where that
    differs), here (what these runs show), n, standing (see :data:`Standing`) and verdict."""

    def sentence(self) -> str:
        """Say how many claims hold, on which device, and the provenance of the runs' energy."""
        if self.runs.empty:
            return "There are no runs of which the original's claims could be asked."
        counts = self.claims["standing"].value_counts()
        parts = [
            f"{counts[standing]} {one if counts[standing] == 1 else many}"
            for standing, one, many in _COUNTED
            if standing in counts
        ]
        devices = listed(sorted(map(str, self.runs["device_name"].unique())))
        return (
            f"Of the original's {len(self.claims)} claims, {listed(parts)}. They are put to "
            f"{count(len(self.runs), 'run')} on {devices}, energy {weakest_provenance(self.runs)}."
        )


def evaluate_claims(
    runs: pd.DataFrame, margin: float = DEFAULT_MARGIN, *, correctness: str = "f1_macro"
) -> Replication:
    """Evaluate the original study's claims on other runs.

    Parameters
    ----------
    margin
        Largest negligible loss of correctness, from 0 to 1.
    correctness
        Column of F1.
    """
    questions = _questions(margin, correctness)
    return Replication(runs, pd.DataFrame([asdict(question(runs)) for question in questions]))


def _questions(margin: float, correctness: str) -> list[Callable[[pd.DataFrame], Claim]]:
    """Return a function of a runs table per claim."""
    utilisation = "differ in device utilisation"
    return [
        partial(_architectures, "Architectures differ in energy", _ENERGY, "rq1_energy"),
        partial(
            _architectures, f"Architectures {utilisation}", _UTILISATION, "rq1_gpu_utilization"
        ),
        partial(_architectures, "Architectures differ in F1", correctness, "rq1_f1"),
        partial(_environments, "Environments differ in energy", _ENERGY, "rq2_energy"),
        partial(_environments, f"Environments {utilisation}", _UTILISATION, "rq2_gpu_utilization"),
        partial(_largest_saving, correctness),
        partial(_without_loss, margin, correctness),
        partial(_correlation, "Energy rises with GFLOPs", _GFLOPS, _ENERGY),
        partial(_correlation, "Device utilisation rises with GFLOPs", _GFLOPS, _UTILISATION),
        partial(_correlation, "Energy rises with device utilisation", _UTILISATION, _ENERGY),
        _matching,
    ]


def _architectures(claim: str, value: str, test: str, runs: pd.DataFrame) -> Claim:
    original = _quote(partial(quote_test, test), "Within Cloud, ")
    reason = _missing(runs, "architecture", value)
    if reason:
        return _unanswered(claim, original, reason)
    environment = fastest_environment(runs)
    within = filter_by(runs, "environment", environment)
    result = attempt(compare, within, value, "architecture")
    if isinstance(result, Unavailable):
        return _unanswered(claim, original, result.reason)
    pairs = f"{result.pairs_differing} of {count(len(result.pairs), 'pair')} told apart"
    here = f"Within {environment}, {_test(result)}"
    if result.significant:
        return Claim(claim, original, here, _n(result), "holds", f"Holds: {pairs}.")
    verdict = "Not shown: no difference is found, which does not show that there is none."
    return Claim(claim, original, here, _n(result), "not shown", verdict)


def _test(result: Comparison) -> str:
    test = (
        f"Welch's F = {number(result.welch_f)}"
        if result.primary == "welch"
        else f"Kruskal-Wallis H = {number(result.kruskal_h)}"
    )
    return f"{test}, {p_value(result.p)}; eta squared {_eta(result):.3f}"


def _eta(result: Comparison) -> float:
    return max(0.0, result.eta_squared)


def _n(result: Comparison) -> int:
    return int(result.groups["n"].sum())


def _environments(claim: str, value: str, test: str, runs: pd.DataFrame) -> Claim:
    original = _quote(partial(quote_test, test), "MobileNetV2 alone, ")
    reason = _missing(runs, "environment", value)
    if reason:
        return _unanswered(claim, original, reason)
    every = compare_each(runs, value, "environment", "architecture")
    known = {name: result for name, result in every.items() if isinstance(result, Comparison)}
    if not known:
        return _unanswered(claim, original, _first_reason(every))
    differing = [name for name, result in known.items() if result.significant]
    etas = [_eta(result) for result in known.values()]
    span = " to ".join(dict.fromkeys(f"{eta:.3f}" for eta in (min(etas), max(etas))))
    adjusted = " by Holm's method" if len(known) > 1 else ""
    highest = max(result.p for result in known.values())
    here = (
        f"{len(differing)} of {count(len(known), 'architecture')} at 5 %{adjusted}, highest "
        f"{p_value(highest)}; eta squared {span}"
    ) + _left_out(every, known)
    standing, verdict = _k_of_n(len(differing), len(known), "architecture")
    if standing == "in part":
        verdict += f" Not shown for {listed([name for name in known if name not in differing])}."
    return Claim(claim, original, here, sum(map(_n, known.values())), standing, verdict)


def _largest_saving(correctness: str, runs: pd.DataFrame) -> Claim:
    theirs, corrected = (printed("savings", "max", c) for c in ("published", "corrected"))
    claim = f"Architecture and environment save up to {percent(theirs)}"
    original = (
        f"{percent(theirs, 2)}; corrected: {percent(corrected, 2)}. MobileNetV2 against VGG16, "
        f"both in Local ML; {_gflops(*GFLOPS_SPAN)}"
    )
    largest = _largest(runs, correctness)
    if isinstance(largest, Unavailable):
        return _unanswered(claim, original, largest.reason)
    own = runs[_GFLOPS].dropna()
    here = (
        f"{signed_percent(largest.saving)} ({signed_percent(largest.ci_low)} to "
        f"{signed_percent(largest.ci_high)}), {largest.cheap} against {largest.dear}"
    )
    if len(own) and own.min() > 0:
        here += f"; {_gflops(float(own.min()), float(own.max()))}"
    n = largest.n_from + largest.n_to
    standing: Standing
    if largest.ci_low <= 0:
        standing, verdict = "not shown", "Not shown: the interval includes no saving."
    elif largest.ci_low > theirs:
        standing, verdict = "holds", "Holds; the largest saving is larger here."
    elif largest.ci_high < theirs:
        standing, verdict = "in part", "Holds in part: a saving is shown, but a smaller one."
    else:
        standing, verdict = "holds", "Holds: not told apart from the original's figure."
    return Claim(claim, original, here, n, standing, verdict)


def _gflops(fewest: float, most: float) -> str:
    if fewest == most:
        return f"one architecture of {number(most)} GFLOPs"
    return f"{number(fewest)} to {number(most)} GFLOPs, a factor of {number(most / fewest)}"


def _largest(runs: pd.DataFrame, correctness: str) -> Saving | Unavailable:
    if runs.empty:
        return Unavailable("there are none")
    return attempt(best_against_worst, runs, correctness=correctness)


def _without_loss(margin: float, correctness: str, runs: pd.DataFrame) -> Claim:
    claim = "The largest saving costs a negligible loss of F1"
    original = "Median F1 0.975 instead of 0.986; no margin stated, no test"
    name, largest = quantity(correctness), _largest(runs, correctness)
    if isinstance(largest, Unavailable):
        return _unanswered(claim, original, largest.reason)
    if largest.ci_low <= 0:
        return _unanswered(claim, original, "no saving is shown")
    dear, cheap = (
        _chosen(runs, condition)[correctness].dropna().to_numpy(dtype=float)
        for condition in (largest.from_condition, largest.to_condition)
    )
    if not len(dear) or not len(cheap):
        return _unanswered(claim, original, f"no run of one of the two has {name}")
    if np.median(dear) <= 0:
        nothing = f"{largest.dear} learned nothing, so nothing can be lost"
        return _unanswered(claim, original, nothing)
    test = attempt(non_inferiority, dear, cheap, margin)
    if isinstance(test, Unavailable):
        return _unanswered(claim, original, test.reason)
    points = f"{100 * margin:g} points"
    here = (
        f"{largest.cheap} against {largest.dear}: mean {name} {_change(test)} (95 %; "
        f"non-inferiority by Welch, {p_value(test.p)})"
    )
    standing: Standing
    if test.passes:
        standing, verdict = "holds", f"Holds: the loss is shown to be below {points}."
    elif test.loss_low > margin:
        standing, verdict = "does not hold", f"Does not hold: the loss is shown to exceed {points}."
    else:
        standing, verdict = "not shown", f"Not shown: the loss may be below {points} or above."
    return Claim(claim, original, here, len(dear) + len(cheap), standing, verdict)


def _chosen(runs: pd.DataFrame, condition: Mapping[str, object]) -> pd.DataFrame:
    for column, level in condition.items():
        runs = runs[runs[column] == level]
    return runs


def _correlation(claim: str, x: str, y: str, runs: pd.DataFrame) -> Claim:
    names = {column: name for name, column in CORRELATED.items()}
    original = _quote(partial(quote_correlation, names[y], names[x]), "Rank correlation: ")
    reason = _missing(runs, "architecture", *(c for c in (x, y) if c == _UTILISATION))
    if reason:
        return _unanswered(claim, original, reason)
    every = rank_correlations(runs, x, y)
    known = {name: r for name, r in every.items() if isinstance(r, RankCorrelation)}
    if not known:
        return _unanswered(claim, original, _first_reason(every))
    here = "\n".join(f"{name}: {r.estimate()}" for name, r in known.items())
    here += _left_out(every, known)
    rising = sum(result.rises for result in known.values())
    falling = sum(result.falls for result in known.values())
    standing, verdict = _k_of_n(rising, len(known), "environment")
    if falling and not rising:
        standing = "does not hold"
        verdict = f"Does not hold: it falls in {falling} of {count(len(known), 'environment')}."
    elif falling:
        verdict += f" It falls in {falling} of them."
    return Claim(claim, original, here, sum(r.n for r in known.values()), standing, verdict)


def _matching(runs: pd.DataFrame) -> Claim:
    claim = (
        "Hardware should match the model: simple architectures take less in the less powerful "
        "environment, complex ones in the more powerful"
    )
    original = "No figure; Cloud took less than Local ML for VGG16 alone, corrected as well"
    reason = _missing(runs, "environment", _ENERGY) or _missing(runs, "architecture", _ENERGY)
    if reason:
        return _unanswered(claim, original, reason)
    pairs = attempt(powerful_against_each, runs)
    if isinstance(pairs, Unavailable):
        return _unanswered(claim, original, pairs.reason)
    standing, verdict = _k_of_n(sum(pair.turns for pair in pairs), len(pairs), "pair")
    if all(pair.opposed for pair in pairs):
        cheaper = {pair.cheaper_for_all for pair in pairs}
        best = cheaper.pop() if len(cheaper) == 1 else None
        standing = "does not hold"
        verdict = (
            "Does not hold: complexity does not turn the order of the environments this way."
            if best is None
            else f"Does not hold: {best} takes less for every architecture."
        )
    here = "\n".join(pair.sentence().removesuffix(".") for pair in pairs)
    taken = pd.Series(data=False, index=runs.index)
    for pair in pairs:
        of_pair = runs["environment"].isin((pair.powerful, pair.other))
        taken |= of_pair & runs["architecture"].isin(pair.architectures)
    return Claim(claim, original, here, int(taken.sum()), standing, verdict)


def _quote(quote: Callable[..., str], prefix: str) -> str:
    """Return the original's figures, and the corrected ones if they differ."""
    published, corrected = quote(), quote(column="corrected")
    text = prefix + published
    return text if published == corrected else f"{text}; corrected: {corrected}"


def _unanswered(claim: str, original: str, reason: str) -> Claim:
    verdict = f"Cannot be asked of these runs: {reason}."
    return Claim(claim, original, "", 0, "cannot be asked", verdict)


def _missing(runs: pd.DataFrame, factor: str, *values: str) -> str:
    """Return why a question cannot be answered from these runs, or an empty text."""
    if runs.empty:
        return "there are none"
    for value in values:
        if value not in runs or runs[value].isna().all():
            return f"none of them has a {quantity(value)}"
    if runs[factor].nunique() < 2:
        return f"they are of one {factor} alone"
    return ""


def _first_reason(every: Mapping[str, object]) -> str:
    return next(r.reason for r in every.values() if isinstance(r, Unavailable))


def _left_out(every: Mapping[str, object], known: Mapping[str, object]) -> str:
    return left_out_clause([n for n in every if n not in known], "too few runs or architectures")


def _k_of_n(k: int, n: int, unit: str) -> tuple[Standing, str]:
    if k == n:
        every = f"both {unit}s" if n == 2 else f"all {n} {unit}s"
        return "holds", "Holds." if n == 1 else f"Holds for {every}."
    if k:
        return "in part", f"Holds in part ({k} of {count(n, unit)})."
    return "not shown", "Not shown." if n == 1 else f"Not shown for any of {n} {unit}s."


def _change(test: NonInferiority) -> str:
    """Say by how much the mean changes, with its worst case."""
    mean, worst = f"{abs(test.loss):.3f}", f"{abs(test.loss_high):.3f}"
    if test.loss >= 0:
        return f"lower by {mean}, and by at most {worst}"
    return f"higher by {mean}, and " + (
        f"lower by at most {worst}" if test.loss_high >= 0 else f"by at least {worst}"
    )
