"""Comparison of the most powerful environment with others by complexity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from greencv_core.analysis.comparison.pairwise import holm
from greencv_core.analysis.regression.breakeven import BreakEven, break_even
from greencv_core.analysis.regression.interaction import Interaction, architecture_by_environment
from greencv_core.analysis.result import ALPHA, NotEnoughDataError, Unavailable, attempt
from greencv_core.utils.text import listed, number


@dataclass(frozen=True)
class Matching:
    """The most powerful environment compared with another, by architecture."""

    powerful: str
    other: str
    architectures: tuple[str, ...]
    """Architectures trained in both, in order of GFLOPs."""
    less_in_powerful: tuple[str, ...]
    """Architectures shown to take less energy per image in the most powerful environment."""
    less_in_other: tuple[str, ...]
    line: BreakEven | Unavailable

    @property
    def turns(self) -> bool:
        """Whether the other environment takes less for simple, the powerful for complex ones.

        Shown by architectures of both kinds, or by a break-even whose interval is within range.
        """
        line = self.line
        crosses = isinstance(line, BreakEven) and line.within_range and line.above == self.powerful
        return crosses or self._rank_difference() > 0

    @property
    def opposed(self) -> bool:
        """Whether the opposite is shown."""
        return not self.turns and (self.cheaper_for_all is not None or self._rank_difference() < 0)

    @property
    def cheaper_for_all(self) -> str | None:
        """Environment shown to take less for every architecture, or None."""
        if len(self.less_in_powerful) == len(self.architectures):
            return self.powerful
        return self.other if len(self.less_in_other) == len(self.architectures) else None

    def sentence(self) -> str:
        """Describe which takes less for which architectures, and the break-even."""
        everywhere = f"all {len(self.architectures)} architectures"
        of_each = {self.other: self.less_in_other, self.powerful: self.less_in_powerful}
        parts = [
            f"{name} takes less for {everywhere if name == self.cheaper_for_all else listed(less)}"
            for name, less in of_each.items()
            if less
        ]
        text = f"{self.powerful} against {self.other}: {'; '.join(parts) or 'none is told apart'}"
        if isinstance(self.line, BreakEven) and self.line.bounded:
            text += (
                f"; break-even at {number(self.line.gflops)} GFLOPs ({number(self.line.low)} to "
                f"{number(self.line.high)})"
            )
        return f"{text}."

    def _rank_difference(self) -> float:
        """Return the difference of mean complexity ranks; 0 if one of them takes less nowhere."""
        if not self.less_in_powerful or not self.less_in_other:
            return 0.0
        powerful, other = (
            float(np.mean([self.architectures.index(name) for name in less]))
            for less in (self.less_in_powerful, self.less_in_other)
        )
        return powerful - other


def most_powerful(runs: pd.DataFrame) -> str:
    """Return the environment that trains the most complex architecture fastest, by medians.

    Only architectures trained in at least two environments count. Simple ones are no criterion:
    they may leave a large GPU idle.
    """
    timed = runs.dropna(subset=["gflops_per_image", "duration_s_per_image"])
    environments = timed.groupby("architecture", observed=True)["environment"].nunique()
    shared = timed[timed["architecture"].isin(environments.index[environments > 1])]
    if shared.empty:
        raise NotEnoughDataError("no architecture was trained in two environments")
    complexity = shared.groupby("architecture", observed=True)["gflops_per_image"].median()
    hardest = shared[shared["architecture"] == complexity.idxmax()]
    return str(hardest.groupby("environment")["duration_s_per_image"].median().idxmin())


def powerful_against_each(runs: pd.DataFrame) -> list[Matching]:
    """Compare the most powerful environment with each other one.

    By Welch's t test of logarithms for each architecture, with Holm's correction over all
    architectures and pairs. Pairs of too few runs are left out.
    """
    powerful = most_powerful(runs)
    crossed: dict[str, Interaction] = {}
    reason = ""
    for other in (str(name) for name in runs["environment"].unique() if name != powerful):
        both = pd.concat([runs[runs["environment"] == name] for name in (other, powerful)])
        result = attempt(architecture_by_environment, both)
        if isinstance(result, Interaction):
            crossed[other] = result
        else:
            reason = result.reason
    if not crossed:
        raise NotEnoughDataError(reason)
    adjusted = iter(holm(np.concatenate([result.effects["p"] for result in crossed.values()])))
    found = []
    for other, result in crossed.items():
        effects = result.effects
        sure = np.array([next(adjusted) for _ in effects.index]) < ALPHA
        found.append(
            Matching(
                powerful,
                other,
                architectures=tuple(effects["architecture"]),
                less_in_powerful=tuple(effects.loc[sure & (effects["ratio"] < 1), "architecture"]),
                less_in_other=tuple(effects.loc[sure & (effects["ratio"] > 1), "architecture"]),
                line=attempt(break_even, runs, other, powerful),
            )
        )
    return found
