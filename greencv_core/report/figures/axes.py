"""Axes and labels that several figures share."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from greencv_core.report.exhibits.theme import is_narrow

_NAME_PT = 10
"""Font size of point labels, in points."""
_RATIOS = (0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10)
"""Ticks of ratios."""
_FEW_RATIOS = (0.1, 0.2, 0.5, 0.7, 1, 1.5, 2, 5, 10)
"""Those for which a narrow figure has room from left to right."""


def list_environments(runs: pd.DataFrame) -> list[str]:
    """Return the environments in the study's order."""
    return list(runs["environment"].unique())


def name_ticks(axes: Axes, names: list[str]) -> None:
    """Write names along the x axis, tilted where they would overlap."""
    characters = sum(map(len, names))
    # Names are equally spaced: the longest decides whether two of them meet.
    widest = len(names) * max(map(len, names), default=0)
    long = characters > 24 if is_narrow() else characters > 55 or widest > 62
    axes.set_xticks(
        range(len(names)),
        names,
        rotation=(40 if is_narrow() else 20) if long else 0,
        ha="right" if long else "center",
    )
    axes.set_xlabel("")


def spans_decades(values: NDArray[np.float64]) -> bool:
    """Return whether values are better shown on a logarithmic axis."""
    values = values[np.isfinite(values)]
    return bool(len(values)) and values.min() > 0 and values.max() / values.min() > 8


def log_scale(axes: Axes, which: str) -> None:
    """Make an axis logarithmic with plain numbers: 0.02, not 2 x 10^-2."""
    getattr(axes, f"set_{which}scale")("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    if high / low < 4:
        axis.set_major_locator(MaxNLocator(5))
    elif high / low <= 30:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    else:
        axis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 3000 else (1.0, 3.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _with_prefix(value)))
    axis.set_minor_formatter(NullFormatter())


def mark_one(axes: Axes, which: str) -> None:
    """Put 1, at which a ratio changes sides, among the ticks of a logarithmic axis."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    ratios = _FEW_RATIOS if which == "x" and is_narrow() else _RATIOS
    axis.set_major_locator(FixedLocator([tick for tick in ratios if low <= tick <= high]))


def name_lines(figure: Figure, axes: Axes) -> None:
    """Write each line's name at its right end, instead of a legend.

    A stroke in the line's colour joins them: a name in that colour may be hard to read.
    """
    figure.draw_without_rendering()
    lines = axes.get_lines()
    ends = [(float(x[-1]), float(y[-1])) for x, y in (_numbers(line) for line in lines)]
    heights = axes.transData.transform(ends)[:, 1] * 72 / figure.dpi
    lowest = -np.inf
    for place in np.argsort(heights):
        height = max(heights[place], lowest + 1.3 * _NAME_PT)
        lowest = height
        axes.annotate(
            str(lines[place].get_label()), ends[place], xytext=(20, height - heights[place]),
            textcoords="offset points", va="center", fontsize=_NAME_PT,
            arrowprops={
                "arrowstyle": "-", "color": lines[place].get_color(), "linewidth": 1,
                "relpos": (0, 0.5), "shrinkB": 4,
            },
        )  # fmt: skip


def _numbers(line: Line2D) -> NDArray[np.float64]:
    return np.asarray(line.get_xydata(), dtype=float).T


def _with_prefix(value: float) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g} {unit}"
    return f"{value:g}"


def label_points(figure: Figure, axes: Axes, names: list[str], points: NDArray[np.float64]) -> None:
    """Write names next to points, above and below in turn, or where there is space."""
    figure.draw_without_rendering()  # lays out the axes, which fixes positions on paper
    to_pt = 72 / figure.dpi
    places = axes.transData.transform(points) * to_pt
    left, bottom, right, top = (to_pt * edge for edge in axes.bbox.extents)
    occupied: list[tuple[float, ...]] = [(x - 3, y - 3, x + 3, y + 3) for x, y in places]
    for i, (name, (x, y)) in enumerate(zip(names, places, strict=True)):
        width = to_pt * _text_width(axes, name)
        near = (5, -11) if i % 2 else (-11, 5)
        heights = [*near, *(dy for far in range(15, 100, 10) for dy in (far, -far - 6))]
        offsets = [(dx, dy) for dy in heights for dx in (4, -4 - width, -width / 2)]
        boxes = {
            (dx, dy): (x + dx, y + dy - 1, x + dx + width, y + dy + _NAME_PT) for dx, dy in offsets
        }
        free = [
            offset
            for offset, box in boxes.items()
            if left <= box[0] and box[2] <= right + _NAME_PT
            and bottom <= box[1] and box[3] <= top + _NAME_PT
            and not any(_overlap(box, o) for o in occupied)
        ]  # fmt: skip
        chosen = free[0] if free else offsets[0]
        occupied.append(boxes[chosen])
        far = chosen[1] not in near
        axes.annotate(
            name, points[i], xytext=chosen, textcoords="offset points", fontsize=_NAME_PT,
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.6} if far else None,
        )  # fmt: skip


def _text_width(axes: Axes, text: str) -> float:
    """Return the width of a point label in pixels."""
    label = axes.text(0, 0, text, transform=axes.transAxes, fontsize=_NAME_PT)
    width = label.get_window_extent().width
    label.remove()
    return float(width)


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    # Of boxes: left, bottom, right, top.
    apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    return not apart
