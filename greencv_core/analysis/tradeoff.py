"""Energy against correctness: which conditions no other beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from greencv_core.analysis.runs import CONDITION, summarise
from greencv_core.analysis.wording import F1_DECIMALS, count, listed


@dataclass(frozen=True)
class TradeOff:
    """Every condition's medians, and whether it is on the Pareto front."""

    conditions: pd.DataFrame
    """The condition's columns, n, energy_j_per_image and f1_macro with quartiles, on_front."""
    by: tuple[str, ...]

    @property
    def front(self) -> pd.DataFrame:
        """The conditions on the front, from the least energy to the most."""
        return self.conditions[self.conditions["on_front"]].sort_values("energy_j_per_image")

    def sentence(self) -> str:
        """Name the conditions that nothing beats in both energy and F1."""
        names = [" @ ".join(row) for row in self.front[list(self.by)].astype(str).to_numpy()]
        if not names:
            return "No condition has both an energy and a macro F1."
        verb = "is" if len(names) == 1 else "are"
        return (
            f"Of {count(len(self.conditions), 'condition')}, {listed(names)} {verb} on the Pareto "
            "front: no other condition has less energy per image at no lower macro F1, or a higher "
            "F1 for no more energy (medians; the front does not know how far they may vary)."
        )


def pareto_front(runs: pd.DataFrame, by: Sequence[str] = CONDITION) -> TradeOff:
    """Find the conditions that no other dominates (less or equal energy, higher or equal F1).

    F1 is compared to three decimals: to differ by less is to be equally right.
    A condition without a median of either is shown, and is not on the front.
    """
    table = summarise(runs, by, values=("energy_j_per_image", "f1_macro"))
    energy, f1 = table["energy_j_per_image"], table["f1_macro"].round(F1_DECIMALS)
    table["on_front"] = [
        bool(e == e and f == f)  # NaN equals nothing, itself included
        and not ((energy <= e) & (f1 >= f) & ((energy < e) | (f1 > f))).any()
        for e, f in zip(energy, f1, strict=True)
    ]
    return TradeOff(table, tuple(by))
