"""The figure of the front page: the savings of all sources, measured ones first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from greencv_core.analysis.headlines import ALL, LARGEST, RECOMMENDED
from greencv_core.analysis.study_results import StudyResults
from greencv_core.published.evidence_results import EvidenceResults
from greencv_core.report.exhibits.exhibit import Exhibit, figure_exhibit
from greencv_core.report.exhibits.sources import short_source
from greencv_core.report.exhibits.theme import INK, is_narrow, subplots
from greencv_core.utils.text import count, percent

_WITHIN = "#0072b2"
_LARGEST_LOOK: dict[str, Any] = {"markerfacecolor": "none", "color": "0.45", "marker": "o"}
_WITHIN_LOOK: dict[str, Any] = {"color": _WITHIN, "marker": "D"}


@dataclass(frozen=True)
class _Source:
    """A row: the savings of a source, as shares."""

    label: str
    largest: tuple[float, ...]
    within: tuple[float, ...]


def savings_by_source(evidence: EvidenceResults, results: StudyResults) -> Exhibit:
    """Show the largest saving and that at a small loss, of published data sets and this study."""
    runs = pd.concat([t[["run_id"]] for t in (*evidence.counted.values(), results.runs)])
    rows = [*_published(evidence), _own(results)]
    margin = f"{100 * evidence.margin:g} points"
    caption = (
        "Energy per image saved (%) by data set. Blue: the configuration of lowest energy among "
        f"those that lose at most {margin} of correctness, against the most correct one. Hollow: "
        "lowest against highest energy, whatever the loss. Published (measured): a mark for each "
        f"environment. This study: all configurations, {results.provenance}"
    )
    return figure_exhibit(partial(_draw, rows, margin), caption, runs)


def _published(evidence: EvidenceResults) -> list[_Source]:
    rows = []
    for name in dict.fromkeys(saving.source for saving in evidence.largest):
        largest = tuple(s.saving for s in evidence.largest if s.source == name)
        within = tuple(s.saving for s in evidence.savings if s.source == name)
        places = f"{short_source(name)} ({count(len(largest), 'environment')})"
        rows.append(_Source(places, largest, within))
    return rows


def _own(results: StudyResults) -> _Source:
    table = results.headlines.set_index(["number", "among"])["saving"].dropna()
    largest, within = (
        (float(table[name, ALL]),) if (name, ALL) in table else ()
        for name in (LARGEST, RECOMMENDED)
    )
    return _Source(f"This study ({results.provenance})", largest, within)


def _draw(rows: Sequence[_Source], margin: str) -> Figure:
    narrow = is_narrow()
    figure, axes = subplots(figsize=(7.5, (0.62 if narrow else 0.3) * len(rows) + 0.9))
    for place, row in enumerate(rows):
        for values, look in ((row.largest, _LARGEST_LOOK), (row.within, _WITHIN_LOOK)):
            axes.plot(
                [100 * value for value in values], [place] * len(values), linestyle="",
                markersize=7, zorder=3, clip_on=False, **look,
            )  # fmt: skip
        if row.within:
            best = max(row.within)
            # In a narrow figure the row's name is above its marks.
            axes.annotate(
                percent(best, 0), (100 * best, place), xytext=(0, -6 if narrow else 6),
                textcoords="offset points", ha="center", va="top" if narrow else "bottom",
                color=_WITHIN, fontsize=10,
            )  # fmt: skip
        if narrow:
            axes.text(
                0, place - 0.2, row.label, transform=axes.get_yaxis_transform(), fontsize=10,
                va="bottom",
            )  # fmt: skip
    axes.set_yticks([] if narrow else range(len(rows)), [] if narrow else [r.label for r in rows])
    axes.axhline(len(rows) - 1.5, color="0.6", linewidth=0.8)
    axes.set_ylim(len(rows) - 0.5, -0.9)
    axes.set_xlim(-3, 100)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("Energy saved (%)")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    handles = [
        Line2D([], [], linestyle="", label=label, **look)
        for label, look in (
            (f"at most {margin} below the best", _WITHIN_LOOK),
            ("whatever the loss", _LARGEST_LOOK),
        )
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=1 if narrow else 2)
    axes.tick_params(colors=INK)
    return figure
