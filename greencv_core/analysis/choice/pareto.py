"""Pareto front of energy and correctness; energy to reach a target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from greencv_core.analysis.bootstrap import generator, parts
from greencv_core.analysis.chance import learned_nothing
from greencv_core.analysis.result import NotEnoughDataError, Values
from greencv_core.analysis.selection import CONDITION, condition_name, groups_but, summarise
from greencv_core.utils.text import (
    F1_DECIMALS,
    count,
    left_out_clause,
    listed,
    number,
    percent,
    quantity,
)

RESAMPLES = 2_000
"""Bootstrap samples; the front probability is then known to about 0.01."""
FEWEST_RESAMPLES, MOST_RESAMPLED = 500, 20_000_000
"""Fewest bootstrap samples, and most runs in all of them: more than 10,000 runs get fewer."""
SURE = 0.95
MOST_NAMED = 4
"""Most conditions that a sentence names."""
_ENERGY, _F1 = "energy_j_per_image", "f1_macro"


@dataclass(frozen=True)
class TradeOff:
    """Medians of each condition, and whether it is on the Pareto front."""

    conditions: pd.DataFrame
    """The condition's columns, n, energy_j_per_image and the correctness with quartiles,
    correctness_per_kj (median over runs, of the whole training), learned_nothing, on_front,
    front_probability (share of bootstrap resamples in which the condition is on the front)."""
    by: tuple[str, ...]
    correctness: str = "f1_macro"

    @property
    def front(self) -> pd.DataFrame:
        """Conditions on the front in order of energy."""
        return self.conditions[self.conditions["on_front"]].sort_values(_ENERGY)

    @property
    def _unknown(self) -> pd.DataFrame:
        both = self.conditions[[_ENERGY, self.correctness]]
        return self.conditions[both.isna().any(axis=1)]

    def sentence(self) -> str:
        """Name the conditions on the front, and those that resampling or a gap leaves open."""
        name = quantity(self.correctness)
        names = self._names(self.front)
        if not names:
            return f"No condition has both an energy and a {name} above chance."
        on_front = listed(names) if len(names) <= MOST_NAMED else f"{len(names)} conditions"
        verb = "is" if len(names) == 1 else "are"
        text = (
            f"{on_front} {verb} on the Pareto front: no other of the "
            f"{count(len(self.conditions), 'condition')} has both lower energy and equal or higher "
            f"{name} (medians)"
        )
        text += f"{left_out_clause(self._names(self._unknown), f'no median of energy and {name}')}."
        open_ones = self.conditions[
            self.conditions["front_probability"].between(1 - SURE, SURE, inclusive="neither")
        ]
        if 0 < len(open_ones) <= MOST_NAMED:
            chances = zip(self._names(open_ones), open_ones["front_probability"], strict=True)
            texts = [f"{name} is on the front in {percent(p, 0)} of cases" for name, p in chances]
            text += f" When the runs are resampled, {listed(texts)}."
        elif len(open_ones):
            text += f" Resampled, the runs leave open {len(open_ones)} conditions."
        failed = self._names(self.conditions[self.conditions["learned_nothing"]])
        return f"{text} {listed(failed)} learned nothing." if failed else text

    def efficiency_sentence(self) -> str:
        """Name the conditions of the highest and lowest correctness per kilojoule."""
        known = self.conditions.dropna(subset=["correctness_per_kj"])
        if known.empty:
            return ""
        per_kj = known["correctness_per_kj"]
        most, least = self._names(known.loc[[per_kj.idxmax(), per_kj.idxmin()]])
        name = quantity(self.correctness)
        text = f"{most} has the most {name} per kilojoule of training ({number(per_kj.max())})"
        if most != least:
            text += f", {least} the least ({number(per_kj.min())})"
        without = self._names(self.conditions.drop(known.index))
        return f"{text}{left_out_clause(without, f'no run with both energy and {name}')}."

    def _names(self, rows: pd.DataFrame) -> list[str]:
        return [condition_name(row) for row in rows[list(self.by)].to_numpy()]


@dataclass(frozen=True)
class EnergyToTarget:
    """Energy of training until a correctness was first reached."""

    target: float
    correctness: str
    conditions: pd.DataFrame
    """The condition's columns, n, reached (number of runs), energy_j: median over all runs of the
    energy until the end of the first epoch that reached the target; NaN if half or more of the runs
    never did."""
    by: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    """Conditions of which no run has an energy for every epoch and a correctness."""

    def sentence(self) -> str:
        """Name the conditions of least and most energy, and those that missed the target."""
        why = f"no run with an energy for every epoch and a {quantity(self.correctness)}"
        return f"{self._answer()}{left_out_clause(self.left_out, why)}."

    def _answer(self) -> str:
        known = self.conditions.dropna(subset=["energy_j"]).sort_values("energy_j")
        target = f"a {quantity(self.correctness)} of {self.target:.2f}"
        if known.empty:
            return f"No condition reached {target} in most of its runs"
        first, last = known.iloc[0], known.iloc[-1]
        text = (
            f"{self._name(first)} reached {target} with the least energy, "
            f"{number(first['energy_j'])} J"
        )
        if len(known) > 1:
            times = last["energy_j"] / first["energy_j"]
            text += (
                f"; {self._name(last)} needed {number(times)} times as much, "
                f"{number(last['energy_j'])} J (medians)"
            )
        never = self.conditions[self.conditions["energy_j"].isna()]
        if len(never):
            names = listed([self._name(row) for _, row in never.iterrows()])
            text += f"; not reached in most runs: {names}"
        return text

    def _name(self, row: pd.Series) -> str:
        return condition_name(row[list(self.by)])


def pareto_front(runs: pd.DataFrame, correctness: str = "f1_macro") -> TradeOff:
    """Find the conditions that no other dominates in both energy and F1.

    F1 is compared to three decimals. A condition without a median of either is not on the front,
    nor is one that learned nothing.
    """
    table = summarise(runs, values=(_ENERGY, correctness))
    by_condition = runs.groupby(list(CONDITION), sort=False, observed=True)
    table["learned_nothing"] = [learned_nothing(part, correctness) for _, part in by_condition]
    medians = table[[_ENERGY, correctness]].to_numpy(dtype=float).T[:, None, :]
    medians[1, 0, table["learned_nothing"]] = np.nan
    table["on_front"] = _on_front(*medians)[0]
    probability = np.full(len(table), np.nan)
    together = runs[_ENERGY].notna() & runs[correctness].notna()
    columns = [runs[column] for column in CONDITION]
    of_both = together.groupby(columns, sort=False, observed=True).any()
    known = np.isfinite(medians[:, 0, :]).all(axis=0) & of_both.to_numpy(dtype=bool)
    if known.any():
        drawn = _joint_draws(runs, correctness, table[known])
        probability[known] = _on_front(*drawn).mean(axis=0)
    table["front_probability"] = probability
    per_kj = runs[correctness] / (runs["energy_j"].where(runs["energy_j"] > 0) / 1e3)
    groups = per_kj.groupby(columns, sort=False, observed=True)
    table["correctness_per_kj"] = groups.median().to_numpy()
    return TradeOff(table, CONDITION, correctness)


def energy_to_target(epochs: pd.DataFrame, target: float | None = None) -> EnergyToTarget:
    """Compute the energy of each condition until a macro F1 was reached, from the epochs table.

    The default target is the highest, to two decimals, that half of the runs of every condition
    reach.
    """
    complete = epochs.groupby("run_id")["energy_j"].transform(lambda e: e.notna().all())
    scored = epochs.groupby("run_id")[_F1].transform("count") > 0
    every, epochs = epochs, epochs[complete.astype(bool) & scored]
    if epochs.empty:
        raise NotEnoughDataError("no epoch has both an energy and a correctness")
    epochs = epochs.sort_values(["run_id", "epoch"])
    spent = epochs.astype({"energy_j": float}).groupby("run_id")["energy_j"].cumsum()
    epochs = epochs.assign(spent=spent)
    runs = epochs.groupby("run_id", sort=False).agg(
        {**dict.fromkeys(CONDITION, "first"), _F1: "max"}
    )
    if target is None:
        # The lower median is reached by most of an even number of runs.
        scores = runs.groupby(list(CONDITION), sort=False)[_F1]
        lowest = scores.quantile(0.5, interpolation="lower").min()
        target = float(np.floor(round(100 * lowest, 9)) / 100)
    first = epochs[epochs[_F1] >= target].groupby("run_id")["spent"].first()
    runs["spent"] = first.reindex(runs.index).fillna(np.inf)
    groups = runs.groupby(list(CONDITION), sort=False, observed=True)["spent"]
    table = pd.DataFrame(
        {
            "n": groups.size(),
            "reached": groups.agg(lambda energy: int(np.isfinite(energy).sum())),
            "energy_j": groups.median().replace(np.inf, np.nan),
        }
    ).reset_index()
    known = {condition_name(key) for key in groups.groups}
    return EnergyToTarget(target, _F1, table, CONDITION, groups_but(every, CONDITION, known))


def _on_front(energy: Values, score: Values) -> NDArray[np.bool_]:
    """Return which conditions are on the front in each draw; shapes (draws, conditions)."""
    score = score.round(F1_DECIMALS)
    on_front = np.isfinite(energy) & np.isfinite(score)
    for part in parts(len(energy), energy.shape[1] ** 2):
        e, s = energy[part], score[part]
        no_more, no_less = e[:, :, None] <= e[:, None, :], s[:, :, None] >= s[:, None, :]
        better = (e[:, :, None] < e[:, None, :]) | (s[:, :, None] > s[:, None, :])
        on_front[part] &= ~(no_more & no_less & better).any(axis=1)
    return on_front


def _joint_draws(
    runs: pd.DataFrame, correctness: str, conditions: pd.DataFrame
) -> tuple[Values, Values]:
    """Return medians of both values in resamples of whole runs; shapes (draws, conditions)."""
    groups = runs.groupby(list(CONDITION), sort=False, observed=True)
    keys = list(conditions[list(CONDITION)].itertuples(index=False, name=None))
    resamples = int(np.clip(MOST_RESAMPLED // len(runs), FEWEST_RESAMPLES, RESAMPLES))
    drawn = np.empty((2, resamples, len(keys)))
    for k, key in enumerate(keys):
        values = groups.get_group(key)[[_ENERGY, correctness]].dropna().to_numpy(dtype=float)
        rng = generator(condition_name(key))
        for part in parts(resamples, len(values)):
            taken = rng.integers(0, len(values), (part.stop - part.start, len(values)))
            drawn[:, part, k] = np.median(values[taken], axis=1).T
    return drawn[0], drawn[1]
