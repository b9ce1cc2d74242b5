"""Runs that lie apart from their like, by a rule that is declared before it is applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from greencv_core.analysis.selection import CONDITION
from greencv_core.utils.text import count, number, quantity

LIMIT = 3.5
"""Of the modified z, as Iglewicz and Hoaglin (1993) advise."""
_TO_SIGMA = 0.6745
"""The third quartile of the standard normal distribution: a normal sample's MAD over its sigma."""


@dataclass(frozen=True)
class Outliers:
    """What a rule leaves out, and what it keeps."""

    kept: pd.DataFrame
    left_out: pd.DataFrame
    """The runs left out, with their ``modified_z``."""
    value: str
    limit: float

    def sentence(self) -> str:
        """State the rule and how many runs it leaves out."""
        n = len(self.kept) + len(self.left_out)
        return (
            f"The rule: a run is left out if its {quantity(self.value)} lies further than "
            f"{number(self.limit)} from its condition's median, in modified z (0.6745 times the "
            f"distance over the median absolute deviation). It leaves out {len(self.left_out)} of "
            f"{count(n, 'run')}."
        )


def outliers(
    runs: pd.DataFrame,
    value: str = "energy_j_per_image",
    by: Sequence[str] = CONDITION,
    limit: float = LIMIT,
) -> Outliers:
    """Leave out runs whose value lies far from the median of their group.

    The modified z is 0.6745 (x - median) / MAD (Iglewicz and Hoaglin 1993). It rests on medians, so
    that a few outliers cannot hide themselves as they do in a standard deviation. A group whose
    values are mostly the same has no MAD, and keeps all of them; so does a run without the value.
    """
    groups = runs.groupby(list(by), sort=False, observed=True)[value]
    distance = runs[value] - groups.transform("median")
    spread = distance.abs().groupby([runs[c] for c in by], sort=False, observed=True)
    mad = spread.transform("median").replace(0.0, np.nan)
    z = _TO_SIGMA * distance / mad
    apart = z.abs() > limit
    return Outliers(
        kept=runs[~apart].reset_index(drop=True),
        left_out=runs[apart].assign(modified_z=z[apart]).reset_index(drop=True),
        value=value,
        limit=limit,
    )
