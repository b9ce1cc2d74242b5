"""Runs table or result in, figure out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray
from scipy import stats

from greencv_core.analysis.breakeven import BreakEven
from greencv_core.analysis.interaction import Interaction
from greencv_core.analysis.regression import EnergyRegression
from greencv_core.analysis.robustness import SpecificationCurve
from greencv_core.analysis.tradeoff import TradeOff
from greencv_core.analysis.wording import as_opening, listed, quantity
from greencv_core.report.labels import axis_label, heading
from greencv_core.report.theme import (
    MARKERS,
    architecture_palette,
    by_complexity,
    environment_dashes,
    environment_markers,
    environment_palette,
    subplots,
)


def by_architecture(runs: pd.DataFrame, column: str) -> Figure:
    """Show every run of every architecture, from the fewest GFLOPs to the most."""
    return _every_run(runs, column, "architecture", by_complexity(runs), "environment")


def by_environment(runs: pd.DataFrame, column: str) -> Figure:
    """Show every run of every environment, the architectures side by side."""
    return _every_run(runs, column, "environment", _environments(runs), "architecture")


def trade_off(runs: pd.DataFrame, result: TradeOff) -> Figure | None:
    """Show energy per image against correctness: runs, medians with quartiles, Pareto front.

    None where no condition has both.
    """
    score = result.correctness
    if result.conditions[["energy_j_per_image", score]].isna().any(axis="columns").all():
        return None
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
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def energy_against_complexity(runs: pd.DataFrame) -> Figure:
    """Show energy per image against GFLOPs and against parameters, on log scales."""
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
    panels[0].set_ylabel(axis_label(runs, "energy_j_per_image"))
    handles = [
        Line2D([], [], color=colours[n], marker=markers[n], ls=dashes[n], linewidth=1, label=n)
        for n in environments
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(4, len(handles)))
    return figure


def regression_diagnostics(result: EnergyRegression, provenance: str) -> Figure:
    """Show residuals against fitted values, their Q-Q plot, and leverage."""
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


def group_quantiles(runs: pd.DataFrame, value: str, by: str) -> Figure:
    """Show each group's values, in its own standard deviations, against normal quantiles."""
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
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def simple_effects(result: Interaction) -> Figure:
    """Show what each environment takes against the reference, by architecture, with intervals."""
    effects = result.effects
    environments = list(effects["environment"].unique())
    architectures = list(effects["architecture"].unique())
    colours, markers = environment_palette(environments), environment_markers(environments)
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
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def break_even(result: BreakEven) -> Figure:
    """Show the ratio of two environments over complexity, the line through it and where it is 1."""
    points = result.points
    figure, axes = subplots(figsize=(7.5, 3.8))
    axes.fill_between(
        points["gflops_per_image"], points["low"], points["high"], color="0.9", label="95 % of line"
    )
    axes.plot(points["gflops_per_image"], points["fitted"], color="0.3", linewidth=1, label="line")
    axes.scatter(points["gflops_per_image"], points["ratio"], s=36, zorder=3)
    for row in points.itertuples():
        axes.annotate(
            row.architecture, (row.gflops_per_image, row.ratio), xytext=(4, 5),
            textcoords="offset points", fontsize=8,
        )  # fmt: skip
    axes.axhline(1, color="0.4", linewidth=1, linestyle="--")
    if result.inside:
        axes.axvline(result.gflops, color="0.2", linewidth=1, linestyle=":", label="break-even")
    _plain_log(axes, "x")
    _plain_log(axes, "y")
    axes.set(
        xlabel=heading("gflops_per_image"), ylabel=f"Energy per image\n{result.b} / {result.a}"
    )
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def specification_curve(result: SpecificationCurve) -> Figure:
    """Show the saving by every analysis, the smallest first, and the choices made below."""
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


def interaction(runs: pd.DataFrame) -> Figure:
    """Show the median energy per image of each architecture, one line an environment."""
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
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def learning_curves(epochs: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Show macro F1 by epoch: each run faintly, each architecture's median strongly."""
    figure, axes = subplots(figsize=(7.5, 3.6))
    colours = architecture_palette(runs)
    markers = dict(zip(colours, itertools.cycle(MARKERS), strict=False))
    epochs = epochs[epochs["run_id"].isin(runs["run_id"])]
    for (architecture, _), part in epochs.groupby(["architecture", "run_id"]):
        style = {"color": colours[architecture], "alpha": 0.2, "linewidth": 1}
        axes.plot(part["epoch"], part["f1_macro"], **style)
    for architecture, part in epochs.groupby("architecture"):
        median = part.groupby("epoch")["f1_macro"].median()
        axes.plot(median, color=colours[architecture], marker=markers[architecture])
    axes.set(xlabel="Epoch", ylabel=heading("f1_macro"), ylim=(0, 1.02))
    axes.set_xticks(sorted(epochs["epoch"].unique()))
    handles = [
        Line2D([], [], color=colour, marker=markers[name], label=name)
        for name, colour in colours.items()
    ]
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5), title="median")
    return figure


def power_trace(trace: pd.DataFrame, phases: pd.DataFrame) -> Figure:
    """Show a run's power by component over time, the training phases shaded."""
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
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _every_run(runs: pd.DataFrame, column: str, by: str, order: list[str], hue: str) -> Figure:
    figure, axes = subplots()
    if hue == "environment":
        names = _environments(runs)
        colours, markers = environment_palette(names), environment_markers(names)
    else:
        names = by_complexity(runs)
        colours = architecture_palette(runs)
        markers = dict.fromkeys(names, "o")
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
    axes.set_ylabel(axis_label(runs, column))
    axes.grid(visible=False, axis="x")
    if _spans_decades(runs[column].to_numpy(dtype=float)):
        _plain_log(axes, "y")
    _tilt(axes, order)
    handles = [
        Line2D([], [], color=colours[n], marker=markers[n], linestyle="", label=n) for n in names
    ]
    handles.append(Line2D([], [], color="black", label="median"))
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _environments(runs: pd.DataFrame) -> list[str]:
    return list(runs["environment"].unique())  # in the study's order


def _dots(colours: Iterable[tuple[str, tuple[float, float, float]]], marker: str) -> list[Line2D]:
    return [
        Line2D([], [], color=colour, marker=marker, linestyle="", label=name)
        for name, colour in colours
    ]


def _tilt(axes: Axes, names: list[str]) -> None:
    long = sum(map(len, names)) > 55
    axes.set_xticks(
        range(len(names)), names, rotation=20 if long else 0, ha="right" if long else "center"
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
