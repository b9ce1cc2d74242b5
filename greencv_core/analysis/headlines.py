"""The headline numbers of a study in one table, which every page that states them agrees with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from greencv_core.analysis.choice.decision import Decision
from greencv_core.analysis.choice.savings import Saving
from greencv_core.analysis.result import Unavailable

if TYPE_CHECKING:
    from greencv_core.analysis.study_results import StudyResults

LARGEST, WITHOUT_LOSS, RECOMMENDED = (
    "largest saving", "largest saving without loss", "saving of the recommendation",
)  # fmt: skip
ALL = "all conditions"
_FIGURES = ("saving", "ci_low", "ci_high", "n_to", "n_from")
_COLUMNS = ["number", "among", "saves", "against", *_FIGURES]


def headlines(results: StudyResults) -> pd.DataFrame:
    """Return each saving that a front page may name, with its pair, interval and number of runs.

    Columns: ``number``; ``among`` (all conditions, or the environment of RQ1); ``saves`` and
    ``against``; ``saving``, ``ci_low`` and ``ci_high``; ``n_to`` and ``n_from``. The recommendation
    is that of the decision at the study's margin, against the condition of the highest mean
    correctness. A number that the runs do not allow has no values.
    """
    found: list[tuple[str, str, Saving | Unavailable | None]] = []
    for among, part in ((ALL, results.rq2), (results.rq1.environment, results.rq1)):
        harmless = part.savings_without_loss
        best = None if isinstance(harmless, Unavailable) else harmless.best
        found += [(LARGEST, among, part.largest_saving), (WITHOUT_LOSS, among, best)]
    decision = results.decision
    if isinstance(decision, Decision):
        found.append((RECOMMENDED, ALL, decision.step(results.margin).saving))
    return pd.DataFrame([_row(*row) for row in found], columns=_COLUMNS)


def _row(name: str, among: str, saving: Saving | Unavailable | None) -> dict[str, object]:
    row: dict[str, object] = {"number": name, "among": among}
    if isinstance(saving, Saving):
        row |= {
            "saves": saving.cheap,
            "against": saving.dear,
            **{key: getattr(saving, key) for key in _FIGURES},
        }
    return row
