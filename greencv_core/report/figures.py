"""Runs table or result in, figure out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from functools import partial

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray
from scipy import stats

from greencv_core.analysis.choice.pareto import TradeOff
from greencv_core.analysis.choice.robustness import SpecificationCurve
from greencv_core.analysis.choice.savings import Saving
from greencv_core.analysis.regression.breakeven import BreakEven
from greencv_core.analysis.regression.interaction import Interaction
from greencv_core.analysis.regression.ols import EnergyRegression
from greencv_core.analysis.selection import weakest_provenance
from greencv_core.report.exhibits import exhibit
from greencv_core.report.exhibits.exhibit import Exhibit
from greencv_core.report.exhibits.labels import axis_label, heading, in_unit, within
from greencv_core.report.exhibits.theme import (
    INK,
    MARKERS,
    architecture_palette,
    by_complexity,
    environment_dashes,
    environment_markers,
    environment_palette,
    is_narrow,
    legend,
    legend_above,
    subplots,
)
from greencv_core.utils.energy import COMPONENTS
from greencv_core.utils.text import as_opening, listed, percent, quantity

_ALL_COMPONENTS = "all components"
"""Key of :func:`greencv_core.analysis.energy_definitions` that includes uncounted components."""
_FEW_COLOURS = 6
"""Architectures that colour alone tells apart."""
_NAME_PT = 8
"""Size of names beside points."""
_NAME_WIDTH = 0.62
"""Of a character, in sizes."""
_MOST_EPOCHS = 12
"""Of a figure in which every epoch has a mark and a number."""


def by_architecture(runs: pd.DataFrame, column: str) -> Exhibit:
    """Show every run of every architecture, from the fewest GFLOPs to the most."""
    return exhibit.figure(
        partial(_every_run, runs, column, "architecture", by_complexity(runs), "environment"),
        f"{axis_label(runs, column)} by architecture, from the fewest GFLOPs to the most; every "
        "mark is a run, every line a median",
        runs,
    )


def by_environment(runs: pd.DataFrame, column: str) -> Exhibit:
    """Show every run of every environment, the architectures side by side."""
    return exhibit.figure(
        partial(_every_run, runs, column, "environment", _environments(runs), "architecture"),
        f"{axis_label(runs, column)} by training environment; every mark is a run, every line a "
        "median",
        runs,
    )


def trade_off(runs: pd.DataFrame, result: TradeOff, best: Saving | None = None) -> Exhibit | None:
    """Show energy per image against correctness: runs, medians with quartiles, Pareto front.

    None where no condition has both.

    Parameters
    ----------
    best
        A saving whose two conditions are named in the figure.
    """
    score = result.correctness
    if result.conditions[["energy_j_per_image", score]].isna().any(axis="columns").all():
        return None
    caption = (
        f"{as_opening(quantity(score))} (0 to 1) against "
        f"{within(axis_label(runs, 'energy_j_per_image'))}; faint: runs, strong: medians of "
        "conditions with quartiles; black edge and dashed line: the Pareto front; further left and "
        "up is better"
    )
    return exhibit.figure(partial(_trade_off, runs, result, best), caption, runs)


def energy_against_complexity(runs: pd.DataFrame) -> Exhibit:
    """Show energy per image against GFLOPs and against parameters, on log scales."""
    return exhibit.figure(
        partial(_energy_against_complexity, runs),
        f"{axis_label(runs, 'energy_j_per_image')} against GFLOPs per image and against "
        "parameters, all axes logarithmic; every mark is a run, every line a power law fitted to "
        "an environment",
        runs,
    )


def regression_diagnostics(
    result: EnergyRegression, provenance: str, runs: pd.DataFrame | None = None
) -> Exhibit:
    """Show residuals against fitted values, their Q-Q plot, and leverage."""
    return exhibit.figure(
        partial(_regression_diagnostics, result, provenance),
        "Residuals of the regression of log10 energy per image "
        f"(J, {provenance}): against fitted values, against normal quantiles, against leverage",
        runs,
    )


def group_quantiles(runs: pd.DataFrame, value: str, by: str) -> Exhibit:
    """Show each group's values, in its own standard deviations, against normal quantiles."""
    return exhibit.figure(
        partial(_group_quantiles, runs, value, by),
        f"{axis_label(runs, value)} of each {by}'s runs, in its own standard deviations, against "
        "the quantiles of a normal distribution",
        runs,
    )


def simple_effects(result: Interaction, runs: pd.DataFrame) -> Exhibit:
    """Show what each environment takes against the reference, by architecture, with intervals."""
    return exhibit.figure(
        partial(_simple_effects, result),
        f"Energy per image ({weakest_provenance(runs)}) as a multiple of that in "
        f"{result.effects['reference'].iloc[0]}, by architecture: ratios of geometric means with "
        "95 % intervals",
        runs,
    )


def break_even(result: BreakEven, runs: pd.DataFrame) -> Exhibit:
    """Show the ratio of two environments over complexity, the line through it and where it is 1."""
    return exhibit.figure(
        partial(_break_even, result),
        f"Energy per image ({weakest_provenance(runs)}) in {result.b} as a multiple of that in "
        f"{result.a}, against GFLOPs per image; every point is an architecture; below 1, "
        f"{result.b} takes less",
        runs,
    )


def specification_curve(result: SpecificationCurve, runs: pd.DataFrame) -> Exhibit:
    """Show the saving by every analysis, the smallest first, and the choices made below."""
    word = weakest_provenance(runs)
    if _ALL_COMPONENTS in set(result.specifications["energy"]):
        columns = [f"{component}_provenance" for component in COMPONENTS]
        of_all = weakest_provenance(runs[columns].melt(value_name="provenance"))
        word += f"; {_ALL_COMPONENTS}: {of_all}" if of_all != word else ""
    return exhibit.figure(
        partial(_specification_curve, result),
        f"Largest saving of energy per image (%, {word}) with its 95 % "
        f"interval, by each of {len(result.specifications)} analyses, whose choices are marked "
        "below",
        runs,
    )


def interaction(runs: pd.DataFrame) -> Exhibit:
    """Show the median energy per image of each architecture, one line an environment."""
    return exhibit.figure(
        partial(_interaction, runs),
        f"{axis_label(runs, 'energy_j_per_image')}, medians, by architecture from the fewest "
        "GFLOPs to the most, one line an environment, logarithmic axis",
        runs,
    )


def learning_curves(epochs: pd.DataFrame, runs: pd.DataFrame) -> Exhibit:
    """Show macro F1 by epoch: each run faintly, each architecture's median strongly."""
    return exhibit.figure(
        partial(_learning_curves, epochs, runs),
        "Macro F1 (0 to 1) on the validation images by epoch; faint: runs, strong: medians of "
        "architectures",
        runs,
    )


def power_trace(trace: pd.DataFrame, phases: pd.DataFrame, run: pd.DataFrame) -> Exhibit:
    """Show a run's power by component over time, the training phases shaded.

    Parameters
    ----------
    run
        The run's row of the runs table.
    """
    return exhibit.figure(
        partial(_power_trace, trace, phases),
        f"Gross power (W, {listed(list(trace['provenance'].unique()))}) by component over one run; "
        "shaded: training, else validation",
        run,
    )


def _trade_off(runs: pd.DataFrame, result: TradeOff, named: Saving | None) -> Figure:
    score = result.correctness
    figure, axes = subplots(figsize=(7.5, 4.8))
    colours, markers = architecture_palette(runs), environment_markers(_environments(runs))
    for (architecture, environment), part in runs.groupby(["architecture", "environment"]):
        axes.scatter(
            part["energy_j_per_image"],
            part[score],
            color=colours[architecture],
            marker=markers[environment],
            s=18,
            alpha=0.35,
            linewidths=0,
        )
    for row in result.conditions.itertuples():
        x, y = row.energy_j_per_image, getattr(row, score)
        axes.errorbar(
            x,
            y,
            xerr=[[x - row.energy_j_per_image_q1], [row.energy_j_per_image_q3 - x]],
            yerr=[[y - getattr(row, f"{score}_q1")], [getattr(row, f"{score}_q3") - y]],
            color=colours[row.architecture],
            marker=markers[row.environment],
            markersize=9,
            markeredgecolor="black" if row.on_front else "white",
            markeredgewidth=1.2,
            elinewidth=1.2,
            capsize=0,
            zorder=4,
        )
    front = result.front
    axes.plot(
        front["energy_j_per_image"],
        front[score],
        color="black",
        linewidth=1,
        linestyle="--",
        zorder=3,
        label="Pareto front",
    )
    _plain_log(axes, "x")
    if named is not None:
        _point_out(axes, result, named)
    axes.set_xlabel(axis_label(runs, "energy_j_per_image"))
    axes.set_ylabel(as_opening(quantity(score)))
    handles = [
        *_dots(colours.items(), "o"),
        *(
            Line2D([], [], color="0.4", marker=m, linestyle="", label=name)
            for name, m in markers.items()
        ),
        Line2D([], [], color="black", linestyle="--", linewidth=1, label="Pareto front"),
    ]
    legend(axes, handles)
    return figure


def _point_out(axes: Axes, result: TradeOff, named: Saving) -> None:
    """Draw an arrow from the condition that is saved against to the one that saves."""
    conditions = result.conditions.set_index(list(result.by))
    columns = ["energy_j_per_image", result.correctness]
    ends = [
        conditions.loc[tuple(end[column] for column in result.by), columns].astype(float).tolist()
        for end in (named.from_condition, named.to_condition)
    ]
    axes.annotate(
        "", xy=ends[1], xytext=ends[0], zorder=5,
        arrowprops={
            "arrowstyle": "-|>", "color": INK, "linewidth": 1.4, "shrinkA": 8, "shrinkB": 8,
            "connectionstyle": "arc3,rad=0.25",
        },
    )  # fmt: skip
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.12 * (high - low))
    axes.text(
        0.5, 0.985, f"\N{MINUS SIGN}{percent(named.saving)} energy", transform=axes.transAxes,
        ha="center", va="top", fontsize=12, fontweight="bold", color=INK,
    )  # fmt: skip


def _energy_against_complexity(runs: pd.DataFrame) -> Figure:
    figure, panels = subplots(1, 2, sharey=True, figsize=(7.5, 3.9))
    environments = _environments(runs)
    colours, markers = environment_palette(environments), environment_markers(environments)
    dashes = environment_dashes(environments)
    for axes, column in zip(panels, ("gflops_per_image", "parameters"), strict=True):
        for name in environments:
            part = runs[runs["environment"] == name]
            x, y = part[column].astype(float), part["energy_j_per_image"]
            axes.scatter(x, y, color=colours[name], marker=markers[name], s=22, alpha=0.7)
            if x.nunique() > 1:
                slope, intercept = np.polyfit(np.log10(x), np.log10(y), 1)
                ends = np.array([x.min(), x.max()])
                fit = 10**intercept * ends**slope
                axes.plot(ends, fit, color=colours[name], linestyle=dashes[name], linewidth=1)
        axes.set_xlabel(heading(column))
        _plain_log(axes, "x")
        _plain_log(axes, "y")
    for axes in panels if is_narrow() else panels[:1]:
        axes.set_ylabel(axis_label(runs, "energy_j_per_image"))
    handles = [
        Line2D([], [], color=colours[n], marker=markers[n], ls=dashes[n], linewidth=1, label=n)
        for n in environments
    ]
    legend_above(figure, handles, min(4, len(handles)))
    return figure


def _regression_diagnostics(result: EnergyRegression, provenance: str) -> Figure:
    figure, panels = subplots(1, 3, figsize=(7.5, 2.9))
    residuals = result.residuals
    panels[0].scatter(result.fitted, residuals, s=14, alpha=0.7)
    panels[0].axhline(0, color="0.4", linewidth=1)
    fitted = f"Fitted log10 of\n{heading('energy_j_per_image', provenance)}"
    panels[0].set(xlabel=fitted, ylabel="Residual (log10)", title="Residuals")
    (theory, ordered), (slope, intercept, _) = stats.probplot(residuals)
    panels[1].scatter(theory, ordered, s=14, alpha=0.7)
    ends = np.array([theory.min(), theory.max()])
    panels[1].plot(ends, intercept + slope * ends, color="0.4", linewidth=1)
    panels[1].set(xlabel="Normal quantile", ylabel="Residual (log10)", title="Q-Q")
    panels[2].scatter(result.leverage, residuals, s=14, alpha=0.7)
    panels[2].axhline(0, color="0.4", linewidth=1)
    panels[2].set(xlabel="Leverage", ylabel="Residual (log10)", title="Leverage")
    return figure


def _group_quantiles(runs: pd.DataFrame, value: str, by: str) -> Figure:
    figure, axes = subplots(figsize=(7.5, 3.6))
    names = by_complexity(runs) if by == "architecture" else _environments(runs)
    colours = architecture_palette(runs) if by == "architecture" else environment_palette(names)
    for i, name in enumerate(names):
        values = runs.loc[runs[by] == name, value].dropna().to_numpy(dtype=float)
        if len(values) < 3 or np.ptp(values) == 0:
            continue
        theory, ordered = stats.probplot(values, fit=False)
        axes.plot(
            theory, (ordered - values.mean()) / values.std(ddof=1), color=colours[name],
            marker=MARKERS[i % len(MARKERS)], markersize=4, linewidth=0.8, label=name,
        )  # fmt: skip
    ends = np.array(axes.get_xlim())
    axes.plot(ends, ends, color="0.4", linewidth=1, linestyle="--", label="normal")
    axes.set(xlabel="Normal quantile", ylabel=f"{as_opening(quantity(value))}\n(standardised)")
    legend(axes)
    return figure


def _simple_effects(result: Interaction) -> Figure:
    effects = result.effects
    environments = list(effects["environment"].unique())
    architectures = list(effects["architecture"].unique())
    # As in the other figures, which show the reference as well.
    every = [effects["reference"].iloc[0], *environments]
    colours, markers = environment_palette(every), environment_markers(every)
    figure, axes = subplots(figsize=(7.5, 1.2 + 0.45 * len(architectures)))
    width = 0.6 / len(environments)
    for i, name in enumerate(environments):
        part = effects[effects["environment"] == name]
        rows = [
            architectures.index(a) + (i - (len(environments) - 1) / 2) * width
            for a in part["architecture"]
        ]
        axes.errorbar(
            part["ratio"], rows,
            xerr=[part["ratio"] - part["ci_low"], part["ci_high"] - part["ratio"]],
            color=colours[name], marker=markers[name], linestyle="", capsize=2, label=name,
        )  # fmt: skip
    axes.axvline(1, color="0.4", linewidth=1)
    axes.set_yticks(range(len(architectures)), architectures)
    axes.invert_yaxis()
    _plain_log(axes, "x")
    axes.set_xlabel(f"Energy per image, times that in {effects['reference'].iloc[0]} (95 %)")
    legend(axes)
    return figure


def _break_even(result: BreakEven) -> Figure:
    points = result.points
    figure, axes = subplots(figsize=(7.5, 3.8))
    axes.fill_between(
        points["gflops_per_image"], points["low"], points["high"], color="0.9", label="95 % of line"
    )
    axes.plot(points["gflops_per_image"], points["fitted"], color="0.3", linewidth=1, label="line")
    axes.scatter(points["gflops_per_image"], points["ratio"], s=36, zorder=3)
    axes.axhline(1, color="0.4", linewidth=1, linestyle="--")
    if result.inside:
        axes.axvline(result.gflops, color="0.2", linewidth=1, linestyle=":", label="break-even")
    _plain_log(axes, "x")
    _plain_log(axes, "y")
    axes.set(
        xlabel=heading("gflops_per_image"), ylabel=f"Energy per image\n{result.b} / {result.a}"
    )
    legend(axes)
    ordered = points.sort_values("gflops_per_image")
    _name_points(
        figure,
        axes,
        list(ordered["architecture"]),
        ordered[["gflops_per_image", "ratio"]].to_numpy(),
    )
    return figure


def _name_points(figure: Figure, axes: Axes, names: list[str], points: NDArray[np.float64]) -> None:
    """Write names beside points, above and below in turn, or where no other name stands."""
    figure.draw_without_rendering()  # lays the axes out: places on paper are known then
    to_pt = 72 / figure.dpi
    places = axes.transData.transform(points) * to_pt
    left, right = axes.bbox.x0 * to_pt, axes.bbox.x1 * to_pt + _NAME_PT
    taken: list[tuple[float, ...]] = [(x - 3, y - 3, x + 3, y + 3) for x, y in places]
    for i, (name, (x, y)) in enumerate(zip(names, places, strict=True)):
        width = _NAME_PT * _NAME_WIDTH * len(name)
        heights = [*((5, -11) if i % 2 else (-11, 5)), 15, -21, 25, -31, 35, -41]
        offsets = [(dx, dy) for dx in (4, -4 - width) for dy in heights]
        boxes = {
            (dx, dy): (x + dx, y + dy - 1, x + dx + width, y + dy + _NAME_PT) for dx, dy in offsets
        }
        free = [
            offset
            for offset, box in boxes.items()
            if left <= box[0] and box[2] <= right and not any(_overlap(box, o) for o in taken)
        ]
        chosen = free[0] if free else offsets[0]
        taken.append(boxes[chosen])
        far = chosen[1] not in heights[:2]
        axes.annotate(
            name, points[i], xytext=chosen, textcoords="offset points", fontsize=_NAME_PT,
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.6} if far else None,
        )  # fmt: skip


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Return whether two boxes (left, bottom, right, top) have a common part."""
    apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    return not apart


def _specification_curve(result: SpecificationCurve) -> Figure:
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
    upper.set_ylabel("Largest saving\n(%, 95 %)")
    for row, (choice, level) in enumerate(levels):
        made = (table[choice] == level).to_numpy()
        lower.scatter(x[made], np.full(made.sum(), row), color="0.2", marker="|", s=40)
    lower.set_yticks(range(len(levels)), [level for _, level in levels], fontsize=8)
    lower.invert_yaxis()
    lower.set_xticks([])
    lower.set_xlabel(f"Each column is one of {len(table)} analyses")
    return figure


def _interaction(runs: pd.DataFrame) -> Figure:
    figure, axes = subplots()
    environments = _environments(runs)
    colours, markers = environment_palette(environments), environment_markers(environments)
    dashes = environment_dashes(environments)
    medians = (
        runs.groupby(["architecture", "environment"])["energy_j_per_image"].median().unstack()
    ).reindex(by_complexity(runs))
    for name in environments:
        axes.plot(
            medians.index,
            medians[name],
            color=colours[name],
            marker=markers[name],
            linestyle=dashes[name],
            label=name,
        )
    _plain_log(axes, "y")
    _tilt(axes, list(medians.index))
    axes.set_ylabel(axis_label(runs, "energy_j_per_image"))
    legend(axes)
    return figure


def _learning_curves(epochs: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    figure, axes = subplots(figsize=(7.5, 3.6))
    colours = architecture_palette(runs)
    markers = dict(zip(colours, itertools.cycle(MARKERS), strict=False))
    epochs = epochs[epochs["run_id"].isin(runs["run_id"])]
    for (architecture, _), part in epochs.groupby(["architecture", "run_id"]):
        style = {"color": colours[architecture], "alpha": 0.2, "linewidth": 1}
        axes.plot(part["epoch"], part["f1_macro"], **style)
    shown = sorted(epochs["epoch"].unique())
    every = 1 + len(shown) // _MOST_EPOCHS
    for architecture, part in epochs.groupby("architecture"):
        median = part.groupby("epoch")["f1_macro"].median()
        axes.plot(
            median, color=colours[architecture], marker=markers[architecture], markevery=every
        )
    axes.set(xlabel="Epoch", ylabel=heading("f1_macro"), ylim=(0, 1.02))
    if every == 1:
        axes.set_xticks(shown)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    handles = [
        Line2D([], [], color=colour, marker=markers[name], label=name)
        for name, colour in colours.items()
    ]
    legend(axes, handles, "median")
    return figure


def _power_trace(trace: pd.DataFrame, phases: pd.DataFrame) -> Figure:
    figure, axes = subplots(figsize=(7.5, 3.6))
    palette = dict(zip(("gpu", "cpu", "ram"), sns.color_palette("colorblind", 3), strict=True))
    dashes = {"gpu": "-", "cpu": "--", "ram": ":"}
    words = list(trace["provenance"].unique())
    for (component, word), part in trace.groupby(["component", "provenance"], sort=False):
        axes.plot(
            part["time_s"],
            part["power_w"],
            color=palette[component],
            linestyle=dashes[component],
            label=f"{str(component).upper()} ({word})",
            marker=".",
        )
    training = phases[phases["name"].str.endswith("training")]
    for row in training.itertuples():
        axes.axvspan(row.start_s, row.end_s, color="0.93", zorder=0)
    axes.set_ylim(bottom=0)
    axes.set(xlabel="Time (s); training phases shaded", ylabel=f"Power (W, {listed(words)})")
    legend(axes)
    return figure


def _every_run(runs: pd.DataFrame, column: str, by: str, order: list[str], hue: str) -> Figure:
    figure, axes = subplots()
    label = axis_label(runs, column)
    runs = runs.assign(**{column: in_unit(runs, column)[0]})
    if hue == "environment":
        names = _environments(runs)
        colours, markers = environment_palette(names), environment_markers(names)
    else:
        names = by_complexity(runs)
        colours = architecture_palette(runs)
        # Few colours are told apart by themselves.
        cycle = MARKERS if len(names) > _FEW_COLOURS else "o"
        markers = dict(zip(names, itertools.cycle(cycle), strict=False))
    width = 0.7 / len(names)
    rng = np.random.default_rng(0)
    for i, name in enumerate(names):
        for j, group in enumerate(order):
            part = runs[(runs[by] == group) & (runs[hue] == name)]
            values = part[column].dropna().to_numpy(dtype=float)
            if not len(values):
                continue
            centre = j + (i - (len(names) - 1) / 2) * width
            jitter = rng.uniform(-0.25, 0.25, len(values)) * width
            axes.scatter(
                centre + jitter, values, color=colours[name], marker=markers[name], s=20, alpha=0.7
            )
            axes.hlines(np.median(values), centre - width * 0.42, centre + width * 0.42, "black")
    axes.set_ylabel(label)
    axes.grid(visible=False, axis="x")
    if _spans_decades(runs[column].to_numpy(dtype=float)):
        _plain_log(axes, "y")
    _tilt(axes, order)
    handles = [
        Line2D([], [], color=colours[n], marker=markers[n], linestyle="", label=n) for n in names
    ]
    handles.append(Line2D([], [], color="black", label="median"))
    legend(axes, handles)
    return figure


def _environments(runs: pd.DataFrame) -> list[str]:
    return list(runs["environment"].unique())  # in the study's order


def _dots(colours: Iterable[tuple[str, tuple[float, float, float]]], marker: str) -> list[Line2D]:
    return [
        Line2D([], [], color=colour, marker=marker, linestyle="", label=name)
        for name, colour in colours
    ]


def _tilt(axes: Axes, names: list[str]) -> None:
    characters = sum(map(len, names))
    # Names stand at equal distances: the longest decides whether two of them meet.
    widest = len(names) * max(map(len, names), default=0)
    long = characters > 24 if is_narrow() else characters > 55 or widest > 62
    axes.set_xticks(
        range(len(names)),
        names,
        rotation=(40 if is_narrow() else 20) if long else 0,
        ha="right" if long else "center",
    )
    axes.set_xlabel("")


def _spans_decades(values: NDArray[np.float64]) -> bool:
    values = values[np.isfinite(values)]
    return bool(len(values)) and values.min() > 0 and values.max() / values.min() > 8


def _plain_log(axes: Axes, which: str) -> None:
    """Make an axis logarithmic with numbers a person reads: 0.02, not 2 x 10^-2."""
    getattr(axes, f"set_{which}scale")("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    wide = high / low > 30
    axis.set_major_locator(
        MaxNLocator(5)
        if high / low < 4
        else LogLocator(
            subs=(1.0,) if high / low > 3000 else (1.0, 3.0) if wide else (1.0, 2.0, 5.0)
        )
    )
    axis.set_major_formatter(FuncFormatter(lambda value, _: _readable(value)))
    axis.set_minor_formatter(NullFormatter())


def _readable(value: float) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g} {unit}"
    return f"{value:g}"
