"""Does the largest saving depend on choices of the analysis or on single runs; power analysis."""

from __future__ import annotations

import bisect
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from statsmodels.stats.power import TTestIndPower

from greencv_core.analysis.choice.savings import Saving, best_against_worst
from greencv_core.analysis.result import ALPHA, NotEnoughDataError, attempt
from greencv_core.analysis.selection import CONDITION, condition_name, find_outliers
from greencv_core.analysis.units import mark_units, marked_columns
from greencv_core.utils.energy import COMPONENTS
from greencv_core.utils.text import count, left_out_clause, percent, quantity

DIFFERENCE = 0.05
POWER = 0.80
MOST_REPETITIONS = 100_000
Headline = Callable[[pd.DataFrame], Saving]
ROUNDING = 1e-9
"""Largest relative difference of equal sums."""


@dataclass(frozen=True)
class LeaveOneOut:
    """Largest saving without each repetition in turn."""

    whole: Saving
    without: pd.DataFrame
    """left_out (repetition), saving, ci_low, ci_high, from, to."""

    def sentence(self) -> str:
        """Describe how far the saving moves, and whether its conditions change."""
        low, high = self.without["saving"].min(), self.without["saving"].max()
        other = (self.without["from"] != self.whole.dear) | (self.without["to"] != self.whole.cheap)
        text = (
            f"Without any one of {count(len(self.without), 'repetition')}, the saving of "
            f"{percent(self.whole.saving)} becomes {percent(low)} to {percent(high)}"
        )
        if other.any():
            return f"{text}; in {int(other.sum())} of these cases the pair of conditions changes."
        return f"{text}, always between the same two conditions."


@dataclass(frozen=True)
class Power:
    """Repetitions needed to detect a difference."""

    value: str
    difference: float
    conditions: pd.DataFrame
    """The condition's columns, n, variation (standard deviation of logarithms, about the
    coefficient of variation), repetitions_needed, smallest_difference (detectable with n)."""
    by: tuple[str, ...]

    def sentence(self) -> str:
        """Describe for how many conditions the repetitions were enough."""
        known = self.conditions.dropna(subset=["repetitions_needed"])
        if known.empty:
            return "No condition has the runs and the spread that a power analysis needs."
        enough = known["n"] >= known["repetitions_needed"]
        worst = known.loc[known["repetitions_needed"].idxmax()]
        name = condition_name(worst[list(self.by)])
        rest = self.conditions.drop(known.index)[list(self.by)]
        without = [condition_name(row) for row in rest.itertuples(index=False)]
        why = f"fewer than 2 runs, no spread, or more than {MOST_REPETITIONS:,} repetitions needed"
        return (
            f"{int(enough.sum())} of {count(len(known), 'condition')} have enough repetitions to "
            f"detect a {percent(self.difference, 0)} difference in {quantity(self.value)} "
            f"({percent(POWER, 0)} power at {percent(ALPHA, 0)}). {name} varies most "
            f"({percent(worst['variation'])}) and needs {int(worst['repetitions_needed'])}"
            f"{left_out_clause(without, why)}."
        )


@dataclass(frozen=True)
class SpecificationCurve:
    """Largest saving under every combination of reasonable choices of the analysis."""

    specifications: pd.DataFrame
    """One column a choice, then saving, ci_low, ci_high, from, to; sorted by saving."""
    choices: tuple[str, ...]
    unanswered: int
    """Number of combinations without a result."""
    left_out: tuple[str, ...] = ()
    """Conditions that not every combination compares."""

    def sentence(self) -> str:
        """Describe how far the choices move the saving, and which moves it most."""
        table = self.specifications
        low, high = table.iloc[0], table.iloc[-1]
        kept = int((table["ci_low"] > 0).sum())
        pairs = table.groupby(["from", "to"]).ngroups
        text = (
            f"In {count(len(table), 'reasonable analysis', 'reasonable analyses')}, the saving is "
            f"{percent(low['saving'])} to {percent(high['saving'])} (median "
            f"{percent(table['saving'].median())}); the interval lies above zero in {kept} of them"
        )
        text += (
            ", between the same two conditions in all"
            if pairs == 1
            else f", between {pairs} pairs of conditions"
        )
        if self.unanswered:
            text += f"; {count(self.unanswered, 'further one has', 'further ones have')} no answer"
        moved = {
            choice: float(np.ptp(table.groupby(choice, sort=False)["saving"].median()))
            for choice in self.choices
            if table[choice].nunique() > 1
        }
        if moved and max(moved.values()) > 0:
            most = max(moved, key=lambda choice: moved[choice])
            text += (
                f". Most depends on the choice of {most.replace('_', ' ')}, whose medians lie "
                f"{100 * moved[most]:.1f} points apart"
            )
        why = "in some of them: fewer than 2 runs, or an energy of zero or below"
        return f"{text}{left_out_clause(self.left_out, why)}."


def leave_one_repetition_out(
    runs: pd.DataFrame, headline: Headline = best_against_worst
) -> LeaveOneOut:
    """Compute the largest saving without each repetition in turn."""
    repetitions = sorted(runs["repetition"].unique())
    if len(repetitions) < 2:
        raise NotEnoughDataError("with one repetition none can be left out")
    runs = mark_units(runs)  # without a repetition, sessions would seem to end in its place
    whole = headline(runs)
    rows = []
    for repetition in repetitions:
        try:
            result = headline(runs[runs["repetition"] != repetition])
        except NotEnoughDataError as error:
            raise NotEnoughDataError(f"without repetition {repetition}, {error}") from error
        rows.append({"left_out": repetition, **_saving_row(result)})
    return LeaveOneOut(whole, pd.DataFrame(rows))


def repetitions_needed(runs: pd.DataFrame, value: str = "energy_j_per_image") -> Power:
    """Compute the repetitions that detect a difference of 5% with 80% power.

    For a two-sided t test of logarithms at 5% of two conditions that vary as this one does.
    """
    rows = []
    for key, values in runs.groupby(list(CONDITION), sort=False, observed=True)[value]:
        logs = np.log(values[values > 0].to_numpy(dtype=float))
        varied = len(logs) > 1 and np.ptp(logs) > 0
        spread = float(logs.std(ddof=1)) if varied else math.nan
        rows.append(
            {
                **dict(zip(CONDITION, key, strict=True)),
                "n": len(logs),
                "variation": spread,
                "repetitions_needed": _needed(spread),
                "smallest_difference": _smallest(spread, len(logs)),
            }
        )
    if not any(row["n"] > 1 for row in rows):
        raise NotEnoughDataError("a power analysis needs a condition of at least 2 runs")
    return Power(value, DIFFERENCE, pd.DataFrame(rows), CONDITION)


def specification_curve(
    energies: Mapping[str, pd.DataFrame],
    *,
    by: str | Sequence[str] = CONDITION,
    correctness: str = "f1_macro",
) -> SpecificationCurve:
    """Compute the largest saving under every combination of reasonable choices.

    Choices are the definition of energy (``energies`` as :func:`energy_definitions` returns them)
    and the runs (all, without outliers, or without disturbed ones).
    """
    columns = [by] if isinstance(by, str) else by
    rows: list[dict[str, object]] = []
    left_out: dict[str, None] = {}
    unanswered = 0
    for energy, table in energies.items():
        # Without some runs, sessions would seem to end in their place.
        marked = marked_columns(table, ["energy_j_per_image", correctness, "disturbed", *columns])
        known = marked.dropna(subset=["energy_j_per_image"])
        selections = {
            "all": known,
            "without outliers": find_outliers(known).kept,
            "without disturbed": known[~known["disturbed"].eq(True)],
        }
        for selection, kept in selections.items():
            if selection != "all" and len(kept) == len(known):
                continue  # the same runs as "all"
            result = attempt(best_against_worst, kept, by, correctness=correctness)
            if isinstance(result, Saving):
                rows.append({"energy": energy, "runs": selection, **_saving_row(result)})
                left_out |= dict.fromkeys(result.left_out)
            else:
                unanswered += 1
    if not rows:
        raise NotEnoughDataError("no combination of choices has an answer")
    table = pd.DataFrame(rows).sort_values("saving", kind="stable", ignore_index=True)
    return SpecificationCurve(table, ("energy", "runs"), unanswered, tuple(left_out))


def energy_definitions(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the runs table once for each definition of energy per image.

    The definitions are gross, net of idle power, without validation, and, if the study counts only
    some of the metered components, all components. One that no run has is left out.
    """
    images = runs["images_processed"].astype(float)
    columns = runs.reindex(columns=[f"{name}_energy_j" for name in COMPONENTS]).astype(float)
    known = columns.dropna(axis="columns", how="all")
    every_j = known.sum(axis="columns", min_count=max(1, known.shape[1]))
    definitions = {
        "gross": runs["energy_j_per_image"],
        "net": runs["net_energy_j"] / images,
        "training alone": runs["train_energy_j"] / images,
    }
    if (every_j > runs["energy_j"] * (1 + ROUNDING)).any():
        definitions["all components"] = every_j / images
    return {
        name: runs.assign(energy_j_per_image=energy)
        for name, energy in definitions.items()
        if energy.notna().any()
    }


def outliers_sentence(runs: pd.DataFrame, headline: Headline = best_against_worst) -> str:
    """Describe what the outlier rule excludes, and the largest saving with and without it."""
    rule = find_outliers(runs)
    if rule.left_out.empty:
        return rule.sentence()
    with_all, without = (attempt(headline, table) for table in (runs, rule.kept))
    if not isinstance(with_all, Saving) or not isinstance(without, Saving):
        return rule.sentence()
    same = (with_all.dear, with_all.cheap) == (without.dear, without.cheap)
    pair = "the same pair" if same else f"{without.cheap} against {without.dear}"
    return (
        f"{rule.sentence()} The largest saving is {percent(with_all.saving)} with all runs "
        f"and {percent(without.saving)} without those ({pair})."
    )


def _saving_row(result: Saving) -> dict[str, object]:
    return {
        "saving": result.saving,
        "ci_low": result.ci_low,
        "ci_high": result.ci_high,
        "from": result.dear,
        "to": result.cheap,
    }


def _needed(spread: float) -> float:
    if math.isnan(spread):
        return math.nan
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        power = TTestIndPower()
        effect = math.log1p(DIFFERENCE) / spread
        # The solver fails between two and three repetitions. NaN is a power near 1.
        enough = bisect.bisect_left(
            range(MOST_REPETITIONS + 1),
            True,
            lo=2,
            key=lambda n: not power.power(effect, n, ALPHA) < POWER,
        )
    return float(enough) if enough <= MOST_REPETITIONS else math.nan


def _smallest(spread: float, n: int) -> float:
    if math.isnan(spread) or n < 2:
        return math.nan
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        effect = TTestIndPower().solve_power(nobs1=n, alpha=ALPHA, power=POWER)
    return math.expm1(float(np.ravel(effect)[0]) * spread)
