"""Figures of runs: by architecture, by environment, over epochs, over time."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from scipy import stats

from greencv_core.report.exhibits.exhibit import Exhibit, figure_exhibit
from greencv_core.report.exhibits.labels import (
    axis_label,
    heading,
    in_display_unit,
    order_by_complexity,
    people_name,
)
from greencv_core.report.exhibits.theme import (
    MARKERS,
    architecture_palette,
    environment_markers,
    environment_palette,
    legend,
    subplots,
)
from greencv_core.report.figures.axes import list_environments, log_scale, name_ticks, spans_decades
from greencv_core.utils.text import as_opening, listed, quantity


def by_architecture(runs: pd.DataFrame, column: str) -> Exhibit:
    """Show every run of every architecture, from the fewest GFLOPs to the most."""
    order = order_by_complexity(runs)
    return figure_exhibit(
        partial(_draw_every_run, runs, column, "architecture", order, "environment"),
        f"{axis_label(runs, column)} by architecture, from the fewest GFLOPs to the most; every "
        "mark is a run, every line a median",
        runs,
    )


def by_environment(runs: pd.DataFrame, column: str) -> Exhibit:
    """Show every run of every environment, the architectures side by side."""
    order = list_environments(runs)
    return figure_exhibit(
        partial(_draw_every_run, runs, column, "environment", order, "architecture"),
        f"{axis_label(runs, column)} by training environment; every mark is a run, every line a "
        "median",
        runs,
    )


def _draw_every_run(runs: pd.DataFrame, column: str, by: str, order: list[str], hue: str) -> Figure:
    figure, axes = subplots()
    label = axis_label(runs, column)
    runs = runs.assign(**{column: in_display_unit(runs, column)})
    if hue == "environment":
        names = list_environments(runs)
        colours, markers = environment_palette(names), environment_markers(names)
    else:
        names = order_by_complexity(runs)
        colours = architecture_palette(runs)
        # Colour alone distinguishes a few architectures.
        cycle = MARKERS if len(names) > 6 else "o"
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
    if spans_decades(runs[column].to_numpy(dtype=float)):
        log_scale(axes, "y")
    name_ticks(axes, list(map(people_name, order)))
    handles = [
        Line2D([], [], color=colours[n], marker=markers[n], linestyle="", label=people_name(n))
        for n in names
    ]
    handles.append(Line2D([], [], color="black", label="median"))
    legend(axes, handles)
    return figure


def group_quantiles(runs: pd.DataFrame, value: str, by: str) -> Exhibit:
    """Show each group's values, in its own standard deviations, against normal quantiles."""
    return figure_exhibit(
        partial(_draw_group_quantiles, runs, value, by),
        f"{axis_label(runs, value)} of each {by}'s runs, in its own standard deviations, against "
        "the quantiles of a normal distribution",
        runs,
    )


def _draw_group_quantiles(runs: pd.DataFrame, value: str, by: str) -> Figure:
    figure, axes = subplots(figsize=(7.5, 3.6))
    names = order_by_complexity(runs) if by == "architecture" else list_environments(runs)
    colours = architecture_palette(runs) if by == "architecture" else environment_palette(names)
    for i, name in enumerate(names):
        values = runs.loc[runs[by] == name, value].dropna().to_numpy(dtype=float)
        if len(values) < 3 or np.ptp(values) == 0:
            continue
        theory, ordered = stats.probplot(values, fit=False)
        axes.plot(
            theory, (ordered - values.mean()) / values.std(ddof=1), color=colours[name],
            marker=MARKERS[i % len(MARKERS)], markersize=4, linewidth=0.8, label=people_name(name),
        )  # fmt: skip
    ends = np.array(axes.get_xlim())
    axes.plot(ends, ends, color="0.4", linewidth=1, linestyle="--", label="normal")
    axes.set(xlabel="Normal quantile", ylabel=f"{as_opening(quantity(value))}\n(standardised)")
    legend(axes)
    return figure


def learning_curves(epochs: pd.DataFrame, runs: pd.DataFrame) -> Exhibit:
    """Show macro F1 by epoch: each run faintly, each architecture's median strongly."""
    return figure_exhibit(
        partial(_draw_learning_curves, epochs, runs),
        "Macro F1 (0 to 1) on the validation images by epoch; faint: runs, strong: medians of "
        "architectures",
        runs,
    )


def _draw_learning_curves(epochs: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    figure, axes = subplots(figsize=(7.5, 3.6))
    colours = architecture_palette(runs)
    markers = dict(zip(colours, itertools.cycle(MARKERS), strict=False))
    epochs = epochs[epochs["run_id"].isin(runs["run_id"])]
    for (architecture, _), part in epochs.groupby(["architecture", "run_id"]):
        style = {"color": colours[architecture], "alpha": 0.2, "linewidth": 1}
        axes.plot(part["epoch"], part["f1_macro"], **style)
    shown = sorted(epochs["epoch"].unique())
    every = 1 + len(shown) // 12  # of so many epochs, some are marked and numbered
    for architecture, part in epochs.groupby("architecture"):
        median = part.groupby("epoch")["f1_macro"].median()
        style = {"color": colours[architecture], "marker": markers[architecture]}
        axes.plot(median, markevery=every, **style)
    axes.set(xlabel="Epoch", ylabel=heading("f1_macro"), ylim=(0, 1.02))
    if every == 1:
        axes.set_xticks(shown)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    handles = [
        Line2D([], [], color=colour, marker=markers[name], label=people_name(name))
        for name, colour in colours.items()
    ]
    legend(axes, handles, "median")
    return figure


def power_trace(trace: pd.DataFrame, phases: pd.DataFrame, run: pd.DataFrame) -> Exhibit:
    """Show a run's power by component over time, the training phases shaded.

    ``run`` is its row of the runs table.
    """
    return figure_exhibit(
        partial(_draw_power_trace, trace, phases),
        f"Gross power (W, {listed(list(trace['provenance'].unique()))}) by component over one run; "
        "shaded: training, else validation",
        run,
    )


def _draw_power_trace(trace: pd.DataFrame, phases: pd.DataFrame) -> Figure:
    figure, axes = subplots(figsize=(7.5, 3.6))
    blue, orange, green = sns.color_palette("colorblind", 3)
    looks = {"gpu": (blue, "-"), "cpu": (orange, "--"), "ram": (green, ":")}
    words = list(trace["provenance"].unique())
    for (component, word), part in trace.groupby(["component", "provenance"], sort=False):
        colour, dashes = looks[component]
        label = f"{str(component).upper()} ({word})"
        style = {"color": colour, "linestyle": dashes, "marker": "."}
        axes.plot(part["time_s"], part["power_w"], label=label, **style)
    training = phases[phases["name"].str.endswith("training")]
    for row in training.itertuples():
        axes.axvspan(row.start_s, row.end_s, color="0.93", zorder=0)
    axes.set_ylim(bottom=0)
    axes.set(xlabel="Time (s); training phases shaded", ylabel=f"Power (W, {listed(words)})")
    legend(axes)
    return figure
