"""Rank correlations as a table: a line for each environment."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from greencv_core.analysis import Unavailable
from greencv_core.analysis.comparison.correlation import RankCorrelation
from greencv_core.report.exhibits.exhibit import Exhibit
from greencv_core.report.exhibits.tables import show_table

Correlations = Mapping[str, RankCorrelation | Unavailable]


def correlations_table(asked: Mapping[str, Correlations], provenance: str) -> Exhibit | None:
    """Return rank correlations with their intervals, an environment in each line.

    None where none has an answer. ``asked`` holds, by the heading, the correlations of a pair of
    columns by environment; ``provenance`` is that of the energies among them.
    """
    rows, data = [], []
    for environment in next(iter(asked.values()), {}):
        known = {
            heading: result
            for heading, results in asked.items()
            if isinstance(result := results[environment], RankCorrelation)
        }
        if not known:
            continue
        cells = {heading: result.estimate() for heading, result in known.items()}
        n = max(result.n for result in known.values())
        rows.append({"environment": environment, **cells, "n": n})
        data += [
            {
                "environment": environment,
                "x": result.x,
                "y": result.y,
                "rho": result.rho,
                "ci_low": result.low,
                "ci_high": result.high,
                "n": result.n,
                "architectures": result.architectures,
            }
            for result in known.values()
        ]
    if not rows:
        return None
    caption = (
        "Spearman's rank correlations within each environment, with 95% intervals for other runs "
        f"of these architectures; energy {provenance}"
    )
    frame = pd.DataFrame(rows)
    frame.insert(len(frame.columns) - 1, "n", frame.pop("n"))
    return show_table(frame, caption, data=pd.DataFrame(data))
