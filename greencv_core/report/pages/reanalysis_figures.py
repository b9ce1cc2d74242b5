"""Figures of the page on the published measurements; None if the data are unavailable."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from greencv_core.analysis import Saving
from greencv_core.published.seaa2023.evidence import counted_epochs
from greencv_core.published.seaa2023.nvidia_smi import Log, read_log
from greencv_core.published.seaa2023.reanalysis import IDLE, VARIANTS, Reanalysis
from greencv_core.published.seaa2023.runs import NAME
from greencv_core.report.exhibits.exhibit import Exhibit, figure_exhibit, skip_unavailable
from greencv_core.report.exhibits.labels import heading
from greencv_core.report.exhibits.theme import (
    MARKERS,
    environment_palette,
    legend_above,
    order_by_complexity,
    subplots,
)
from greencv_core.report.pages.reanalysis import REMOVALS
from greencv_core.utils.errors import BadInputError


@skip_unavailable
def headline_figure(reanalysis: Reanalysis) -> Exhibit:
    """Show the largest saving by each energy, with and without removals."""
    caption = (
        "Largest saving of energy per image (%, published) between two conditions, by each way to "
        "work out the energy, with and without removals; bars are 95 % intervals"
    )
    return figure_exhibit(partial(_headline_figure, reanalysis), caption, reanalysis.every_run)


def _headline_figure(reanalysis: Reanalysis) -> Figure:
    figure, axes = subplots(figsize=(7.5, 4.0))
    colours = sns.color_palette("colorblind", len(REMOVALS))
    for i, (removals, label) in enumerate(REMOVALS.items()):
        for row, result in enumerate(reanalysis.headline(removals).values()):
            if not isinstance(result, Saving):
                continue
            low, high = result.saving - result.ci_low, result.ci_high - result.saving
            axes.errorbar(
                100 * result.saving,
                row + 0.22 * (i - 1),
                xerr=[[100 * low], [100 * high]],
                color=colours[i],
                marker=MARKERS[i],
                capsize=2,
                label=label if row == 0 else None,
            )
    axes.set_yticks(range(len(VARIANTS)), VARIANTS.values())
    axes.invert_yaxis()
    axes.set_xlabel("Largest saving between two conditions (%), 95 % interval")
    legend_above(figure, axes.get_legend_handles_labels()[0], 3)
    return figure


@skip_unavailable
def epochs_figure(reanalysis: Reanalysis) -> Exhibit | None:
    """Show, for each log, how far both counts of epochs are from what the log shows."""
    counted = counted_epochs(reanalysis)
    if counted.empty:
        return None
    caption = (
        "Epochs of the published and of the corrected count, less those that the run's log shows; "
        "every mark is a log; zero is agreement"
    )
    return figure_exhibit(partial(_epochs_figure, counted), caption, counted)


def _epochs_figure(counted: pd.DataFrame) -> Figure:
    conditions = counted["architecture"] + ", " + counted["environment"]
    names = list(dict.fromkeys(conditions))
    figure, axes = subplots(figsize=(7.5, 4.4))
    rng = np.random.default_rng(0)
    colours = sns.color_palette("colorblind", 2)
    for i, (column, label) in enumerate(
        (("published_off", "published count"), ("corrected_off", "corrected count"))
    ):
        rows = conditions.map(names.index) + rng.uniform(-0.25, 0.25, len(counted))
        axes.scatter(
            counted[column], rows, color=colours[i], marker=MARKERS[i], s=16, alpha=0.6, label=label
        )
    axes.axvline(0, color="0.3", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    far = int((counted[["published_off", "corrected_off"]].abs() > 14).any(axis=1).sum())
    beyond = f"; {far} of {len(counted)} logs lie outside" if far else ""
    axes.set(xlim=(-14, 14), xlabel=f"Count less the epochs that the log shows{beyond}")
    legend_above(figure, axes.get_legend_handles_labels()[0], 2)
    return figure


@skip_unavailable
def beginning_figure(
    reanalysis: Reanalysis, environment: str, architecture: str, repetition: int
) -> Exhibit | None:
    """Show the first minutes of a run's GPU log, and the environment's power before it."""
    run_id = f"{NAME}/{environment}/{architecture}/{repetition}"
    if run_id not in set(reanalysis.every_run["run_id"]):
        raise BadInputError(f"environment, architecture, repetition: no published run is {run_id}")
    path = reanalysis.log_path(run_id)
    if path is None:
        return None
    title = f"{architecture}, {environment}, run {repetition}"
    caption = (
        "Power (W, published) and utilisation (%) of the GPU in the first "
        f"7 minutes of one run ({title}); dashed: power without work"
    )
    runs = reanalysis.every_run
    draw = partial(_beginning_figure, read_log(path), reanalysis.idle_power.loc[environment], title)
    return figure_exhibit(draw, caption, runs[runs["run_id"] == run_id])


def _beginning_figure(log: Log, idle: pd.Series[float], title: str) -> Figure:
    time_s = log.time_s - log.time_s[0]
    shown = time_s <= 7 * 60
    figure, panels = subplots(2, 1, sharex=True, figsize=(7.5, 4.2))
    panels[0].plot(time_s[shown], log.power_w[shown], linewidth=0.8)
    panels[1].plot(time_s[shown], log.utilization_pct[shown], linewidth=0.8, color="0.3")
    for column, label in (("low_power_w", "first line"), ("before_power_w", "before work")):
        panels[0].axhline(idle[column], color="0.5", linewidth=0.8, linestyle="--")
        panels[0].annotate(
            label, (1.0, idle[column]), xycoords=("axes fraction", "data"), fontsize=8,
            xytext=(3, 0), textcoords="offset points", va="center",
        )  # fmt: skip
    panels[0].set(ylabel="Power (W, published)", ylim=(0, None))
    panels[1].set(ylabel=heading("utilization_pct"), xlabel="Time (s)", ylim=(0, 100))
    panels[0].set_title(title)
    return figure


@skip_unavailable
def corrections_figure(reanalysis: Reanalysis) -> Exhibit:
    """Show the median energy per image of each condition: published, corrected, net."""
    runs = reanalysis.runs("published")
    caption = (
        "Median energy per image (J, published) of each condition: as published, corrected, and "
        "net of each power without work"
    )
    return figure_exhibit(partial(_corrections_figure, runs), caption, runs)


def _corrections_figure(runs: pd.DataFrame) -> Figure:
    environments = list(runs["environment"].unique())
    colours = environment_palette(environments)
    architectures = order_by_complexity(runs)
    shown = {"published": "|", "ends_restored": "o", **dict(zip(IDLE, "s^v", strict=True))}
    medians = runs.groupby(["architecture", "environment"])[list(shown)].median()
    figure, axes = subplots(figsize=(7.5, 4.6))
    labels: list[str] = []
    for architecture in architectures:
        for environment in environments:
            if (architecture, environment) not in medians.index:
                continue
            row = medians.loc[(architecture, environment)]
            y = len(labels)
            axes.plot([row.min(), row.max()], [y, y], color="0.75", linewidth=1, zorder=1)
            for variant, marker in shown.items():
                axes.scatter(
                    row[variant], y, color=colours[environment], marker=marker, s=36, zorder=2
                )
            labels.append(f"{architecture}, {environment}")
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set(xlabel=heading("energy_j_per_image", "published, medians"), xlim=(0, None))
    handles = [
        Line2D([], [], color="0.3", marker=marker, linestyle="", label=VARIANTS[variant])
        for variant, marker in shown.items()
    ]
    legend_above(figure, handles, 2)
    return figure
