"""Non-inferiority of correctness, against a margin that was set beforehand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from greencv_core.analysis.chance import learned_nothing
from greencv_core.analysis.choice.savings import Saving, savings_table
from greencv_core.analysis.comparison.best import loss_bounds, rounded_up
from greencv_core.analysis.images import image_error_sentence, image_variances
from greencv_core.analysis.result import ALPHA, NotEnoughDataError
from greencv_core.analysis.selection import CONDITION, condition_name, groups_but
from greencv_core.analysis.units import contrast, mark_units, run_units
from greencv_core.utils.text import count, decimals, left_out_clause, listed, p_value, quantity

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
    """90% interval of the loss, for two one-sided tests at 5%."""
    p: float
    """P value of the one-sided t test of a loss of the margin or more; NaN without spread."""

    @property
    def passes(self) -> bool:
        """Whether the loss is shown to be below the margin, unadjusted."""
        return self.loss < self.margin if math.isnan(self.p) else self.p < ALPHA

    def sentence(self) -> str:
        """Describe whether the loss is negligible."""
        verdict = "The loss is" if self.passes else "The data do not show that the loss is"
        return (
            f"{verdict} below {self.margin:g} ({decimals(self.loss, 3)} on average, 90% interval "
            f"{decimals(self.loss_low, 3)} to {decimals(self.loss_high, 3)}; {p_value(self.p)})."
        )


def non_inferiority(
    a: pd.Series, b: pd.Series, margin: float, extra_variance: float = 0.0
) -> NonInferiority:
    """Test whether ``b`` loses less than ``margin`` against ``a``, at 5%, one-sided.

    By the t test of the conditions' :func:`~greencv_core.analysis.units.run_units` (Schuirmann
    1987).
    ``extra_variance`` is that of an error of the loss that no spread of the units contains.
    """
    found = contrast(a, b, extra_variance)
    low, high = found.interval(1 - 2 * ALPHA)
    return NonInferiority(margin, -found.estimate, -high, -low, found.p_above(-margin))


@dataclass(frozen=True)
class SavingsWithoutLoss:
    """The conditions that lose little against the best, and the largest saving between them."""

    value: str
    correctness: str
    margin: float
    conditions: pd.DataFrame
    """condition, n, the mean of the correctness, loss_high (upper bound of its loss against the
    best, 95% for all conditions at once) and passes; in order of loss_high."""
    pairs: pd.DataFrame
    """from, to, saving, ci_low, ci_high (as of one pair) and correctness_loss (of medians) of each
    pair of conditions that pass, the largest saving first."""
    best: Saving | None
    """The largest of these savings; its interval allows for the choice among all pairs."""
    left_out: tuple[str, ...] = ()
    """Conditions with fewer than two runs with correctness, or with a value of zero or below."""
    failed: tuple[str, ...] = ()
    """Conditions that learned nothing, which take no part (:mod:`..chance`)."""
    image_error: str = ""
    """That the error from the number of validation images is not included, if it is not."""

    @property
    def shown(self) -> bool:
        """Whether the interval of the largest saving lies above zero."""
        return self.best is not None and self.best.ci_low > 0

    def sentence(self) -> str:
        """Name the largest saving without loss, and count the conditions."""
        failed = ""
        if self.failed:
            verb = "is" if len(self.failed) == 1 else "are"
            failed = f"{listed(self.failed)} learned nothing and {verb} excluded."
        return " ".join(part for part in (self._answer(), failed, self.image_error) if part)

    def _answer(self) -> str:
        passing = self.conditions[self.conditions["passes"]]
        text = (
            f"{len(passing)} of {count(len(self.conditions), 'condition')} "
            f"{'loses' if len(passing) == 1 else 'lose'} less than {100 * self.margin:g} points of "
            f"mean {quantity(self.correctness)} against the best (95% confidence, all conditions "
            "at once)"
        )
        why = f"fewer than 2 runs with {quantity(self.correctness)}"
        why += f", or {quantity(self.value)} of zero or below"
        text += left_out_clause(self.left_out, why)
        if self.best is None:
            return f"{text}. So no saving without a loss of correctness can be shown."
        if not self.shown:
            return f"{text}. The data show no saving between them: {self.best.sentence()}"
        row = passing.loc[passing["condition"] == self.best.cheap].iloc[0]
        lost = (
            f"loses at most {100 * rounded_up(row['loss_high']):.2f} points against the best"
            if row["loss_high"] > 0
            else "loses nothing against the best"
        )
        return (
            f"{text}. The largest saving among these: {self.best.sentence()} "
            f"With 95% confidence it {lost}."
        )


def savings_without_loss(
    runs: pd.DataFrame,
    margin: float = DEFAULT_MARGIN,
    by: str | Sequence[str] = CONDITION,
    value: str = "energy_j_per_image",
    *,
    correctness: str = "f1_macro",
) -> SavingsWithoutLoss:
    """Find the largest saving between conditions that are shown to lose little against the best.

    Both conditions must be: against one that failed, any other seems to lose nothing. The bounds of
    the loss are those of the decision (:func:`loss_bounds`), with the error from the number of
    validation images where it is known. Conditions that learned nothing take no part.
    """
    known = mark_units(runs).dropna(subset=[value, correctness])
    columns = [by] if isinstance(by, str) else list(by)
    groups = known.groupby(columns, sort=False, observed=True)
    failed = [condition_name(key) for key, part in groups if learned_nothing(part, correctness)]
    if failed and groups.ngroups - len(failed) < 2:
        raise NotEnoughDataError(f"{listed(failed)} learned nothing, so fewer than 2 are left")
    known = groups.filter(lambda part: not learned_nothing(part, correctness))
    every = savings_table(known, by, value, correctness=correctness)
    compared = {name for result in every for name in (result.dear, result.cheap)}
    parts = {
        condition_name(key): part
        for key, part in known.groupby(columns, sort=False, observed=True)
        if condition_name(key) in compared
    }
    scores = [run_units(part, correctness) for part in parts.values()]
    bounds = loss_bounds(scores, np.nan_to_num(image_variances(list(parts.values()), correctness)))
    means = [float(values.mean()) for values in scores]
    passes = {name: bool(bound < margin) for name, bound in zip(parts, bounds, strict=True)}
    passing = [result for result in every if passes[result.dear] and passes[result.cheap]]
    table = pd.DataFrame(
        {
            "condition": list(parts),
            "n": [len(part) for part in parts.values()],
            correctness: means,
            "loss_high": bounds,
            "passes": list(passes.values()),
        }
    )
    keys = ("saving", "ci_low", "ci_high", "correctness_loss")
    rows = [
        {"from": s.dear, "to": s.cheap, **{key: getattr(s, key) for key in keys}} for s in passing
    ]
    return SavingsWithoutLoss(
        value=value,
        correctness=correctness,
        margin=margin,
        conditions=table.sort_values("loss_high", kind="stable", ignore_index=True),
        pairs=pd.DataFrame(rows, columns=["from", "to", *keys]),
        best=passing[0].picked(len(parts), len(every)) if passing else None,
        left_out=groups_but(runs, by, [*parts, *failed]),
        failed=tuple(failed),
        image_error=image_error_sentence(known, correctness),
    )
