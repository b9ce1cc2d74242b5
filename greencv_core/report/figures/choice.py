"""Figures of what to choose: the trade-off of energy and correctness, the largest saving."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from greencv_core.analysis.choice.pareto import TradeOff
from greencv_core.analysis.choice.robustness import SpecificationCurve
from greencv_core.analysis.selection import weakest_provenance
from greencv_core.report.exhibits.exhibit import Exhibit, figure_exhibit
from greencv_core.report.exhibits.labels import axis_label, display_unit, lower_first, people_name
from greencv_core.report.exhibits.theme import (
    architecture_palette,
    environment_markers,
    legend,
    subplots,
)
from greencv_core.report.figures.axes import list_environments, log_scale
from greencv_core.utils.energy import COMPONENTS
from greencv_core.utils.text import as_opening, quantity

_ALL_COMPONENTS = "all components"
"""Key of :func:`greencv_core.analysis.energy_definitions` that includes uncounted components."""


def trade_off(runs: pd.DataFrame, result: TradeOff) -> Exhibit | None:
    """Show energy per image against correctness: runs, medians with quartiles, Pareto front.

    None where no condition has both.
    """
    score = result.correctness
    if result.conditions[["energy_j_per_image", score]].isna().any(axis="columns").all():
        return None
    caption = (
        f"{as_opening(quantity(score))} (0 to 1) against "
        f"{lower_first(axis_label(runs, 'energy_j_per_image'))}. Faint: runs; strong: medians with "
        "quartiles; black edge and dashed line: Pareto front. Up and left is better"
    )
    return figure_exhibit(partial(_draw_trade_off, runs, result), caption, runs)


def _draw_trade_off(runs: pd.DataFrame, result: TradeOff) -> Figure:
    score = result.correctness
    label = axis_label(runs, "energy_j_per_image")
    factor, _ = display_unit(runs, "energy_j_per_image")
    runs = runs.assign(energy_j_per_image=factor * runs["energy_j_per_image"])
    energies = result.conditions.filter(regex="^energy_j_per_image").columns
    conditions = result.conditions.assign(**factor * result.conditions[energies])
    result = replace(result, conditions=conditions)
    figure, axes = subplots(figsize=(7.5, 4.8))
    colours, markers = architecture_palette(runs), environment_markers(list_environments(runs))
    for (architecture, environment), part in runs.groupby(["architecture", "environment"]):
        axes.scatter(
            part["energy_j_per_image"], part[score], s=18, alpha=0.35, linewidths=0,
            color=colours[architecture], marker=markers[environment],
        )  # fmt: skip
    for row in result.conditions.itertuples():
        x, y = row.energy_j_per_image, getattr(row, score)
        axes.errorbar(
            x, y,
            xerr=[[x - row.energy_j_per_image_q1], [row.energy_j_per_image_q3 - x]],
            yerr=[[y - getattr(row, f"{score}_q1")], [getattr(row, f"{score}_q3") - y]],
            color=colours[row.architecture], marker=markers[row.environment], markersize=9,
            markeredgecolor="black" if row.on_front else "white", markeredgewidth=1.2,
            elinewidth=1.2, capsize=0, zorder=4,
        )  # fmt: skip
    front = result.front
    dashed: dict[str, Any] = {"color": "black", "linestyle": "--", "linewidth": 1}
    axes.plot(front["energy_j_per_image"], front[score], zorder=3, **dashed)
    log_scale(axes, "x")
    axes.set_xlabel(label)
    axes.set_ylabel(as_opening(quantity(score)))
    handles = [
        *(
            Line2D([], [], color=colour, marker="o", linestyle="", label=people_name(name))
            for name, colour in colours.items()
        ),
        *(
            Line2D([], [], color="0.4", marker=marker, linestyle="", label=people_name(name))
            for name, marker in markers.items()
        ),
        Line2D([], [], **dashed, label="Pareto front"),
    ]
    legend(axes, handles)
    return figure


def specification_curve(result: SpecificationCurve, runs: pd.DataFrame) -> Exhibit:
    """Show the saving by every analysis, the smallest first, above the choices of each."""
    word = weakest_provenance(runs)
    if _ALL_COMPONENTS in set(result.specifications["energy"]):
        columns = [f"{component}_provenance" for component in COMPONENTS]
        of_all = weakest_provenance(runs[columns].melt(value_name="provenance"))
        word += f"; {_ALL_COMPONENTS}: {of_all}" if of_all != word else ""
    return figure_exhibit(
        partial(_draw_specification_curve, result),
        f"Largest saving of energy per image (%, {word}) with its 95% "
        f"interval, by each of {len(result.specifications)} analyses, whose choices are marked "
        "below",
        runs,
    )


def _draw_specification_curve(result: SpecificationCurve) -> Figure:
    table = result.specifications
    levels = [
        (choice, level) for choice in result.choices for level in dict.fromkeys(table[choice])
    ]
    figure, (upper, lower) = subplots(
        2, 1, sharex=True, figsize=(7.5, 2.6 + 0.2 * len(levels)),
        height_ratios=[2.2, 0.2 * len(levels) + 0.2],
    )  # fmt: skip
    x = np.arange(len(table))
    saving = 100 * table["saving"]
    upper.errorbar(
        x, saving, yerr=[saving - 100 * table["ci_low"], 100 * table["ci_high"] - saving],
        color="0.3", marker="o", markersize=4, linestyle="", elinewidth=0.8,
    )  # fmt: skip
    upper.set_ylabel("Largest saving\n(%, 95%)")
    for row, (choice, level) in enumerate(levels):
        chosen = (table[choice] == level).to_numpy()
        lower.scatter(x[chosen], np.full(chosen.sum(), row), color="0.2", marker="|", s=40)
    lower.set_yticks(range(len(levels)), [level for _, level in levels], fontsize=10)
    lower.invert_yaxis()
    lower.set_xticks([])
    lower.set_xlabel(f"Each column is one of {len(table)} analyses")
    return figure
