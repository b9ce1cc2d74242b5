"""The style of all figures: colours readable in grey, markers readable without colour."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from greencv_core.report.exhibits.labels import order_by_complexity

# Markers and line styles distinguish environments where colour cannot (print, colour blindness).
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":")
INK, FAINT = "#262626", "#e6e6e6"
"""Colours of lines and text, and of grids."""

_WIDE_IN, _NARROW_IN = 7.5, 3.6
_LEGEND_ROW_IN = 0.2
_CHARACTER_IN, _KEY_IN = 0.068, 0.5
"""Widths in a legend: of a character, and of an entry's mark and spacing."""
_narrow: ContextVar[bool] = ContextVar("narrow", default=False)

Colour = tuple[float, float, float]


def apply_theme() -> None:
    """Set the style of all later figures, whatever a user's matplotlibrc says."""
    mpl.rcdefaults()
    sns.set_theme(
        context="notebook",
        style="ticks",
        rc={
            "figure.figsize": (_WIDE_IN, 4.2), "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "savefig.facecolor": "white", "axes.facecolor": "none",
            # Comes with matplotlib, so that layouts are equal on every machine.
            "font.sans-serif": ["DejaVu Sans"],
            "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK,
            "xtick.color": INK, "ytick.color": INK,
            "axes.grid": True, "axes.grid.axis": "both", "grid.color": FAINT,
            "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
            "font.size": 10, "axes.labelsize": 10, "legend.fontsize": 10,
            "xtick.labelsize": 10, "ytick.labelsize": 10,
            "axes.titlesize": 11, "axes.titlelocation": "left", "legend.frameon": False,
            # Names come from study files and records: a dollar sign must not start a formula.
            "text.parse_math": False,
            # Keep text as text: it can be searched, copied and read aloud.
            "svg.fonttype": "none",
        },
    )  # fmt: skip
    mpl.rcParams["svg.hashsalt"] = "greencv"


@contextlib.contextmanager
def narrow_layout() -> Iterator[None]:
    """Draw figures for a phone's screen: panels and legends below one another."""
    token = _narrow.set(True)
    try:
        yield
    finally:
        _narrow.reset(token)


def is_narrow() -> bool:
    """Return whether figures are drawn for a narrow screen."""
    return _narrow.get()


def subplots(rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """Return a figure and its axes, as pyplot's function of this name does.

    On a narrow screen, panels in one row are drawn below one another.
    """
    if is_narrow():
        _, height = options.pop("figsize", (_WIDE_IN, 4.2))
        if columns > 1:
            panels_per_row = 2 if columns > 3 else 1
            height *= 0.72 * columns / panels_per_row
            rows, columns = rows * columns // panels_per_row, panels_per_row
        options["figsize"] = (_NARROW_IN, height)
    figure, axes = plt.subplots(rows, columns, **options)
    # A notebook would show an open figure again at the end of the cell.
    plt.close(figure)
    return figure, axes


def legend(axes: Axes, handles: Sequence[Artist] | None = None, title: str | None = None) -> None:
    """Put the legend of a figure's only axes next to them or, on a narrow screen, below them."""
    if handles is None:
        handles = axes.get_legend_handles_labels()[0]
    if is_narrow():
        _below_or_above(axes.figure, handles, "outside lower center", title)
    else:
        axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5), title=title)


def legend_above(figure: Figure, handles: Sequence[Artist], columns: int) -> None:
    """Put the legend of several panels above them."""
    if is_narrow():
        _below_or_above(figure, handles, "outside upper center", None)
    else:
        figure.legend(handles=handles, loc="outside upper center", ncols=columns)


def _below_or_above(figure: Any, handles: Sequence[Artist], place: str, title: str | None) -> None:
    longest = max((len(str(handle.get_label())) for handle in handles), default=0)
    columns = max(1, int((_NARROW_IN - 0.1) / (_KEY_IN + longest * _CHARACTER_IN)))
    columns = min(columns, len(handles) or 1)
    rows = math.ceil(len(handles) / columns) + (title is not None)
    figure.set_figheight(figure.get_figheight() + rows * _LEGEND_ROW_IN)
    figure.legend(handles=handles, loc=place, ncols=columns, title=title)


def architecture_palette(runs: pd.DataFrame) -> dict[str, Colour]:
    """Return a colour for each architecture: the more GFLOPs, the darker."""
    names = order_by_complexity(runs)
    colours = sns.color_palette("viridis_r", n_colors=len(names) + 1)[1:]
    return dict(zip(names, colours, strict=True))


def environment_markers(names: Sequence[str]) -> dict[str, str]:
    """Return a marker for each environment, in the order given."""
    return {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(names)}


def environment_looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return colour, marker and line style of each environment, for matplotlib."""
    colours, markers = environment_palette(names), environment_markers(names)
    return {
        name: {
            "color": colours[name],
            "marker": markers[name],
            "linestyle": DASHES[i % len(DASHES)],
        }
        for i, name in enumerate(names)
    }


def environment_palette(names: Sequence[str]) -> dict[str, Colour]:
    """Return a colour for each environment; markers and dashes repeat the distinction."""
    return dict(zip(names, sns.color_palette("colorblind", n_colors=len(names)), strict=True))
