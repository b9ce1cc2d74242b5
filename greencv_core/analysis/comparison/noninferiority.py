"""Non-inferiority of correctness, against a margin that was set beforehand."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from greencv_core.analysis.choice.savings import Saving, pick_largest, savings_table
from greencv_core.analysis.comparison.pairwise import holm
from greencv_core.analysis.result import ALPHA, NotEnoughDataError, Values
from greencv_core.analysis.selection import CONDITION, condition_name
from greencv_core.utils.text import F1_DECIMALS, count, p_value, quantity

DEFAULT_MARGIN = 0.02
"""Loss of F1 (two points) that counts as negligible by default."""


@dataclass(frozen=True)
class NonInferiority:
    """Test of whether ``b`` loses less than the margin against ``a``."""

    margin: float
    loss: float
    """Mean of ``a`` minus mean of ``b``."""
    loss_low: float
    loss_high: float
    """90 % interval of the loss, for two one-sided tests at 5 %."""
    p: float
    """P value of Welch's one-sided test of a loss of the margin or more; NaN without spread."""
    p_equivalence: float
    """P value of equivalence by two one-sided tests (TOST)."""
    p_ranks: float
    """P value of Brunner and Munzel's one-sided test of ``b`` plus the margin against ``a``."""

    @property
    def passes(self) -> bool:
        """Whether the loss is shown to be below the margin, unadjusted."""
        return self.loss < self.margin if math.isnan(self.p) else self.p < ALPHA

    def sentence(self) -> str:
        """Describe whether the loss is negligible."""
        verdict = "is shown to be" if self.passes else "is not shown to be"
        return (
            f"The loss {verdict} below {self.margin:g} ({self.loss:.3f} on average, 90 % "
            f"interval {self.loss_low:.3f} to {self.loss_high:.3f}; Welch, {p_value(self.p)}; by "
            f"ranks, {p_value(self.p_ranks)})."
        )


def non_inferiority(a: Values, b: Values, margin: float) -> NonInferiority:
    """Test whether ``b`` loses less than ``margin`` against ``a``, at 5 %, one-sided.

    By Welch's t (Schuirmann 1987) and by ranks (Brunner and Munzel 2000).
    """
    if min(len(a), len(b)) < 2:
        raise NotEnoughDataError("whether a loss is negligible needs at least 2 runs on each side")
    loss = float(a.mean() - b.mean())
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return NonInferiority(margin, loss, loss, loss, math.nan, math.nan, math.nan)
    both = CompareMeans(DescrStatsW(b), DescrStatsW(a))
    equivalence, (lower, *_) = both.ttost_ind(-margin, margin, usevar="unequal")
    low, high = both.tconfint_diff(alpha=2 * ALPHA, usevar="unequal")
    return NonInferiority(
        margin=margin,
        loss=loss,
        loss_low=float(-high),
        loss_high=float(-low),
        p=float(lower[1]),
        p_equivalence=float(equivalence),
        p_ranks=_by_ranks(a, b + margin),
    )


@dataclass(frozen=True)
class SavingsWithoutLoss:
    """Pairs of conditions of which one saves, and whether the loss of correctness is negligible."""

    value: str
    correctness: str
    margin: float
    pairs: pd.DataFrame
    """from, to, saving, ci_low, ci_high, correctness_loss (of medians), loss_high (upper 95 %
    bound, of means), non_inferiority_p, non_inferiority_p_holm (over all rows),
    non_inferiority_p_ranks, passes; one row for each pair whose saving is surely above zero."""
    compared: int
    """Number of all pairs of conditions."""
    learned_nothing: int
    """Number of pairs whose dearer condition has a median correctness of 0; none passes."""
    best: Saving | None
    """Largest saving of the pairs that pass; its interval allows for the choice."""

    def sentence(self) -> str:
        """Name the largest saving without loss, and count the pairs."""
        points = f"{100 * self.margin:g} points of {quantity(self.correctness)}"
        text = (
            f"Of {count(self.compared, 'pair')} of conditions, {len(self.pairs)} "
            f"{'saves' if len(self.pairs) == 1 else 'save'} {quantity(self.value)} (95 % interval "
            "above zero)"
        )
        if self.pairs.empty:
            return f"{text}."
        passing = int(self.pairs["passes"].sum())
        text += (
            f"; {passing} of these {'is' if passing == 1 else 'are'} shown to lose less than "
            f"{points} (Welch's one-sided test, Holm's correction)"
        )
        if self.learned_nothing:
            text += (
                f"; {self.learned_nothing} "
                f"{'saves' if self.learned_nothing == 1 else 'save'} against a condition that "
                "learned nothing, which is no saving"
            )
        if self.best is not None:
            chosen = (self.pairs["from"] == self.best.dear) & (self.pairs["to"] == self.best.cheap)
            row = self.pairs[chosen].iloc[0]
            return (
                f"{text}. The largest saving among them: {self.best.sentence()} "
                f"{_loss_sentence(row['loss_high'], row['non_inferiority_p_holm'])}"
            )
        if not self.learned_nothing:
            alone = int((self.pairs["non_inferiority_p"] < ALPHA).sum())
            text += f", {alone} if each were tested alone"
        return f"{text}. No saving can be called free of a loss of correctness."


def savings_without_loss(
    runs: pd.DataFrame,
    margin: float = DEFAULT_MARGIN,
    by: str | Sequence[str] = CONDITION,
    value: str = "energy_j_per_image",
    *,
    correctness: str = "f1_macro",
) -> SavingsWithoutLoss:
    """Test every pair of conditions of which one saves for a loss of correctness."""
    runs = runs.dropna(subset=[value, correctness])
    every = savings_table(runs, by, value, correctness=correctness)
    saving = [result for result in every if result.ci_low > 0]
    columns = [by] if isinstance(by, str) else list(by)
    scores = {
        condition_name(key): part[correctness].to_numpy(dtype=float)
        for key, part in runs.groupby(columns, sort=False, observed=True)
    }
    tests = [non_inferiority(scores[s.dear], scores[s.cheap], margin) for s in saving]
    adjusted = holm([test.p for test in tests])
    # A condition that learned nothing has nothing to lose.
    learned = [bool(np.median(scores[result.dear]) > 0) for result in saving]
    passes = [
        taught and (p < ALPHA if math.isfinite(p) else test.passes)
        for taught, test, p in zip(learned, tests, adjusted, strict=True)
    ]
    pairs = pd.DataFrame(
        {
            "from": [result.dear for result in saving],
            "to": [result.cheap for result in saving],
            "saving": [result.saving for result in saving],
            "ci_low": [result.ci_low for result in saving],
            "ci_high": [result.ci_high for result in saving],
            "correctness_loss": [result.correctness_loss for result in saving],
            "loss_high": [test.loss_high for test in tests],
            "non_inferiority_p": [test.p for test in tests],
            "non_inferiority_p_holm": adjusted,
            "non_inferiority_p_ranks": [test.p_ranks for test in tests],
            "passes": passes,
        }
    )
    passing = [result for result, ok in zip(saving, passes, strict=True) if ok]
    return SavingsWithoutLoss(
        value=value,
        correctness=correctness,
        margin=margin,
        pairs=pairs,
        compared=len(every),
        learned_nothing=learned.count(False),
        best=pick_largest(runs, passing) if passing else None,
    )


def _loss_sentence(highest: float, p: float) -> str:
    if math.isnan(p):
        return "Neither condition's runs differ in correctness: there is nothing to test."
    text = (
        f"Its loss is at most {highest:.{F1_DECIMALS}f}"
        if highest > 0.5 * 10**-F1_DECIMALS
        else "It is shown to lose nothing"
    )
    return f"{text} (95 %, of means; {p_value(p)})."


def _by_ranks(a: Values, raised: Values) -> float:
    """Return the p value of Brunner and Munzel's test that ``raised`` is not higher than ``a``."""
    if raised.min() > a.max():
        return 0.0
    if raised.max() < a.min():
        return 1.0
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        return float(stats.brunnermunzel(raised, a, alternative="greater").pvalue)
