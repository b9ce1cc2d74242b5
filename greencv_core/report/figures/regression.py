"""Figures of energy against complexity and of the models fitted to it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from greencv_core.analysis.regression.breakeven import BreakEven
from greencv_core.analysis.regression.interaction import Interaction
from greencv_core.analysis.regression.ols import EnergyRegression
from greencv_core.analysis.selection import weakest_provenance
from greencv_core.report.exhibits.exhibit import Exhibit, figure_exhibit
from greencv_core.report.exhibits.labels import (
    axis_label,
    display_unit,
    heading,
    in_display_unit,
    order_by_complexity,
    people_name,
)
from greencv_core.report.exhibits.theme import (
    environment_looks,
    is_narrow,
    legend,
    legend_above,
    subplots,
)
from greencv_core.report.figures.axes import (
    label_points,
    list_environments,
    log_scale,
    mark_one,
    name_lines,
    name_ticks,
)
from greencv_core.utils.text import as_opening


def energy_against_complexity(runs: pd.DataFrame) -> Exhibit:
    """Show energy per image against GFLOPs and against parameters, on log scales."""
    return figure_exhibit(
        partial(_draw_energy_against_complexity, runs),
        f"{axis_label(runs, 'energy_j_per_image')} against GFLOPs per image and against "
        "parameters, all axes logarithmic; every mark is a run, every line a power law fitted to "
        "the architectures' means in an environment",
        runs,
    )


def _draw_energy_against_complexity(runs: pd.DataFrame) -> Figure:
    figure, panels = subplots(1, 2, sharey=True, figsize=(7.5, 3.9))
    label = axis_label(runs, "energy_j_per_image")
    complexity = axis_label(runs, "gflops_per_image")
    columns = ("energy_j_per_image", "gflops_per_image")
    runs = runs.assign(**{column: in_display_unit(runs, column) for column in columns})
    looks = environment_looks(list_environments(runs))
    for axes, column in zip(panels, ("gflops_per_image", "parameters"), strict=True):
        for name, look in looks.items():
            part = runs[runs["environment"] == name]
            x, y = part[column].astype(float), part["energy_j_per_image"]
            axes.scatter(x, y, color=look["color"], marker=look["marker"], s=22, alpha=0.7)
            if x.nunique() > 1:
                logs = pd.DataFrame({"x": np.log10(x), "y": np.log10(y)})
                means = logs.groupby(part["architecture"]).mean()
                slope, intercept = np.polyfit(means["x"], means["y"], 1)
                ends = np.array([x.min(), x.max()])
                fit = 10**intercept * ends**slope
                axes.plot(ends, fit, linewidth=1, **look | {"marker": None})
        axes.set_xlabel(complexity if column == "gflops_per_image" else heading(column))
        log_scale(axes, "x")
        log_scale(axes, "y")
    for axes in panels if is_narrow() else panels[:1]:
        axes.set_ylabel(label)
    handles = [
        Line2D([], [], linewidth=1, label=people_name(name), **look) for name, look in looks.items()
    ]
    legend_above(figure, handles, min(4, len(handles)))
    return figure


def regression_diagnostics(
    result: EnergyRegression, provenance: str, runs: pd.DataFrame | None = None
) -> Exhibit:
    """Show residuals against fitted values, their Q-Q plot, and leverage."""
    return figure_exhibit(
        partial(_draw_regression_diagnostics, result, provenance),
        "Residuals of the regression of log10 energy per image "
        f"(J, {provenance}), a point for each condition: against fitted values, against normal "
        "quantiles, against leverage",
        runs,
    )


def _draw_regression_diagnostics(result: EnergyRegression, provenance: str) -> Figure:
    figure, panels = subplots(1, 3, figsize=(7.5, 2.9))
    points = result.conditions
    residuals = points["residual"].to_numpy()
    panels[0].scatter(points["fitted"], residuals, s=14, alpha=0.7)
    panels[0].axhline(0, color="0.4", linewidth=1)
    fitted = f"Fitted log10 of\n{heading('energy_j_per_image', provenance)}"
    panels[0].set(xlabel=fitted, ylabel="Residual (log10)", title="Residuals")
    (theory, ordered), (slope, intercept, _) = stats.probplot(residuals)
    panels[1].scatter(theory, ordered, s=14, alpha=0.7)
    ends = np.array([theory.min(), theory.max()])
    panels[1].plot(ends, intercept + slope * ends, color="0.4", linewidth=1)
    panels[1].set(xlabel="Normal quantile", ylabel="Residual (log10)", title="Q-Q")
    panels[2].scatter(points["leverage"], residuals, s=14, alpha=0.7)
    panels[2].axhline(0, color="0.4", linewidth=1)
    panels[2].set(xlabel="Leverage", ylabel="Residual (log10)", title="Leverage")
    return figure


def interaction(runs: pd.DataFrame) -> Exhibit:
    """Show the median energy per image of each architecture, one line an environment."""
    return figure_exhibit(
        partial(_draw_interaction, runs),
        f"{axis_label(runs, 'energy_j_per_image')}, medians, by architecture from the fewest "
        "GFLOPs to the most, one line an environment, logarithmic axis",
        runs,
    )


def _draw_interaction(runs: pd.DataFrame) -> Figure:
    figure, axes = subplots()
    medians = (
        runs.groupby(["architecture", "environment"])["energy_j_per_image"].median().unstack()
        * display_unit(runs, "energy_j_per_image")[0]
    ).reindex(order_by_complexity(runs))
    for name, look in environment_looks(list_environments(runs)).items():
        axes.plot(medians.index, medians[name], label=people_name(name), **look)
    log_scale(axes, "y")
    name_ticks(axes, list(map(people_name, medians.index)))
    axes.set_ylabel(axis_label(runs, "energy_j_per_image"))
    if is_narrow():
        legend(axes)
    else:
        name_lines(figure, axes)
    return figure


def simple_effects(result: Interaction, runs: pd.DataFrame) -> Exhibit:
    """Show what each environment takes against the reference, by architecture, with intervals."""
    return figure_exhibit(
        partial(_draw_simple_effects, result),
        f"Energy per image ({weakest_provenance(runs)}) as a multiple of that on "
        f"{result.effects['reference'].iloc[0]}, by architecture: ratios of geometric means with "
        "simultaneous 95% intervals; left of the line at 1, less energy",
        runs,
    )


def _draw_simple_effects(result: Interaction) -> Figure:
    effects = result.effects
    effects = effects[effects["reference"] == effects["reference"].iloc[0]]
    environments = list(effects["environment"].unique())
    architectures = list(effects["architecture"].unique())
    # As in the other figures, which show the reference as well.
    every = [effects["reference"].iloc[0], *environments]
    looks = environment_looks(every)
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
            **looks[name] | {"linestyle": ""}, capsize=2, label=people_name(name),
        )  # fmt: skip
    axes.axvline(1, color="0.4", linewidth=1)
    axes.set_yticks(range(len(architectures)), list(map(people_name, architectures)))
    axes.invert_yaxis()
    log_scale(axes, "x")
    mark_one(axes, "x")
    one = people_name(environments[0]) if len(environments) == 1 else "Energy per image"
    axes.set_xlabel(
        f"{as_opening(one)}: energy, times that on {people_name(every[0])} (95% intervals)"
    )
    if len(environments) > 1:
        legend(axes)
    return figure


def break_even(result: BreakEven, runs: pd.DataFrame) -> Exhibit:
    """Show the ratio of two environments over complexity, the line through it and where it is 1."""
    return figure_exhibit(
        partial(_draw_break_even, result),
        f"Energy per image ({weakest_provenance(runs)}) on {result.b} as a multiple of that on "
        f"{result.a}, against the complexity of the architecture; below 1, energy is lower on "
        f"{result.b}. Grey: 95% interval of the line; dotted: break-even",
        runs,
    )


def _draw_break_even(result: BreakEven) -> Figure:
    factor, _ = display_unit(result.points, "gflops_per_image")
    unit = axis_label(result.points, "gflops_per_image")
    points = result.points.assign(gflops_per_image=factor * result.points["gflops_per_image"])
    figure, axes = subplots(figsize=(7.5, 3.8))
    axes.fill_between(
        points["gflops_per_image"], points["low"], points["high"], color="0.9", label="95% of line"
    )
    axes.plot(points["gflops_per_image"], points["fitted"], color="0.3", linewidth=1, label="line")
    axes.scatter(points["gflops_per_image"], points["ratio"], s=36, zorder=3)
    axes.axhline(1, color="0.4", linewidth=1, linestyle="--")
    if result.inside:
        axes.axvline(
            factor * result.gflops, color="0.2", linewidth=1, linestyle=":", label="break-even"
        )
    log_scale(axes, "x")
    log_scale(axes, "y")
    mark_one(axes, "y")
    ends = people_name(result.b), people_name(result.a)
    axes.set(xlabel=unit, ylabel=f"Energy per image\n{ends[0]} / {ends[1]}")
    ordered = points.sort_values("gflops_per_image")
    places = ordered[["gflops_per_image", "ratio"]].to_numpy()
    label_points(figure, axes, list(map(people_name, ordered["architecture"])), places)
    return figure
