"""Figures of the page on estimation; None where there are no scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from greencv_core.estimation.evaluate import EARLY, OURS, OracleMode, Scores
from greencv_core.report.exhibits.exhibit import Exhibit, figure_exhibit, skip_unavailable
from greencv_core.report.exhibits.labels import people_name
from greencv_core.report.exhibits.theme import (
    DASHES,
    MARKERS,
    architecture_palette,
    legend_above,
    subplots,
)
from greencv_core.report.pages.estimation import (
    NOVELTY_LABELS,
    ORACLE_LABELS,
    SHORT_ORACLE_LABELS,
    held_out_kinds,
    scored_runs,
)
from greencv_core.utils.text import as_opening, percent

_COMPARED = ("TDP x time", "TDP x utilisation x time", "STEP, power", OURS)
_LEAST_SHOWN = 0.001
"""Smallest relative error that the figure distinguishes from zero."""


@skip_unavailable
def errors_figure(scores: Scores, oracle: OracleMode) -> Exhibit | None:
    """Show the error of each method against the share of the training observed."""
    if not held_out_kinds(scores):
        return None
    caption = (
        "Mean absolute error (%, logarithmic axis) of each method's estimate of a run's "
        "energy, against the share of its time that has passed (%), by what is new to the method; "
        f"{ORACLE_LABELS[oracle]}"
    )
    return figure_exhibit(partial(_draw_errors, scores, oracle), caption, scored_runs(scores))


def _draw_errors(scores: Scores, oracle: OracleMode) -> Figure:
    kinds = held_out_kinds(scores)
    columns = min(2, len(kinds))
    rows = math.ceil(len(kinds) / columns)
    methods = list(dict.fromkeys(scores.table["method"]))
    looks = _looks(methods)
    figure, panels = subplots(
        rows, columns, sharex=True, sharey=True, squeeze=False, figsize=(7.5, 1.2 + 2.5 * rows)
    )
    for axes, kind in zip(panels.flat, kinds, strict=False):
        errors = scores.by_share(kind, oracle)
        for method in errors.index:
            values = 100 * errors.loc[method].clip(lower=_LEAST_SHOWN)
            axes.plot(100 * errors.columns.to_numpy(float), values.to_numpy(float), **looks[method])
        axes.set(yscale="log", title=NOVELTY_LABELS[kind])
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    for axes in panels.flat[len(kinds) :]:
        axes.set_visible(False)
    figure.supylabel(f"Mean absolute error (%), {SHORT_ORACLE_LABELS[oracle]}", fontsize=10)
    figure.supxlabel("Share of the run that has passed (%)", fontsize=10)
    handles = [Line2D([], [], **looks[method]) for method in methods]
    legend_above(figure, handles, 3)
    return figure


def _looks(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return how each method's line looks: ours black and bold, others in colour and dashed."""
    colours = sns.color_palette("colorblind", len(methods))
    looks: dict[str, dict[str, Any]] = {}
    for i, method in enumerate(methods):
        looks[method] = {
            "color": colours[i], "marker": MARKERS[i % len(MARKERS)], "markersize": 4,
            "linestyle": DASHES[1 + i % (len(DASHES) - 1)], "linewidth": 1.0, "label": method,
        }  # fmt: skip
    if OURS in looks:
        looks[OURS] |= {"color": "black", "linestyle": "-", "linewidth": 2.2}
    return looks


@skip_unavailable
def calibration_figure(scores: Scores) -> Exhibit | None:
    """Show the observed against the nominal coverage of intervals."""
    oracles: list[OracleMode] = [
        one for one in ("known", "withheld") if not scores.calibration(one).empty
    ]
    if not oracles:
        return None
    caption = (
        f"Share of the true energies inside the intervals of the {OURS} (%), against the share "
        "that they should contain (%), by what is new. Dotted line: ideal; above it, intervals are "
        "wider than necessary. Grey: other methods"
    )
    return figure_exhibit(partial(_draw_calibration, scores, oracles), caption, scored_runs(scores))


def _draw_calibration(scores: Scores, oracles: Sequence[OracleMode]) -> Figure:
    figure, panels = subplots(
        1, len(oracles), sharey=True, squeeze=False, figsize=(3.75 * len(oracles) + 0.2, 4.0)
    )
    kinds = held_out_kinds(scores)
    colours = dict(zip(kinds, sns.color_palette("colorblind", len(kinds)), strict=True))
    for axes, one in zip(panels.flat, oracles, strict=True):
        calibration = scores.calibration(one)
        for _, part in calibration[calibration["method"] != OURS].groupby(["held_out", "method"]):
            axes.plot(100 * part["nominal"], 100 * part["observed"], color="0.8", linewidth=0.8)
        ours = calibration[calibration["method"] == OURS]
        for i, kind in enumerate(kinds):
            part = ours[ours["held_out"] == kind]
            axes.plot(
                100 * part["nominal"], 100 * part["observed"],
                color=colours[kind], marker=MARKERS[i], markersize=5, label=NOVELTY_LABELS[kind],
            )  # fmt: skip
        axes.plot([45, 100], [45, 100], color="0.3", linewidth=1, linestyle=":")
        axes.set(xlabel="Nominal coverage (%)", xlim=(45, 101), ylim=(0, 102))
        axes.set_title(as_opening(SHORT_ORACLE_LABELS[one]))
    panels.flat[0].set_ylabel("Observed coverage (%)")
    handles, _ = panels.flat[0].get_legend_handles_labels()
    handles.append(Line2D([], [], color="0.8", linewidth=0.8, label="other methods"))
    legend_above(figure, handles, 3)
    return figure


@skip_unavailable
def estimates_figure(scores: Scores, share: float = EARLY) -> Exhibit | None:
    """Show estimates against true energies of unseen architectures, with the end known."""
    if "architecture" not in held_out_kinds(scores):
        return None
    caption = (
        f"Energy estimated after {percent(share, 0)} of the time (kJ) against the true energy "
        "(kJ), both axes logarithmic, by method, with the architecture new to it and the duration "
        "known; dotted line: estimate equals truth"
    )
    return figure_exhibit(partial(_draw_estimates, scores, share), caption, scored_runs(scores))


def _draw_estimates(scores: Scores, share: float) -> Figure:
    answers = scores.answers
    some = answers[
        (answers["held_out"] == "architecture")
        & (answers["oracle"] == "known")
        & (answers["share"] == share)
    ]
    figure, panels = subplots(
        1, len(_COMPARED), sharex=True, sharey=True, squeeze=False, figsize=(7.5, 3.4)
    )
    colours = architecture_palette(some)
    names = list(colours)
    ends = some["energy_j"].min() / 1e3, some["energy_j"].max() / 1e3
    for axes, method in zip(panels.flat, _COMPARED, strict=True):
        estimates = some[some["method"] == method]
        for i, name in enumerate(names):
            part = estimates[estimates["architecture"] == name]
            axes.scatter(
                part["energy_j"] / 1e3, part["estimate_j"] / 1e3,
                color=colours[name], marker=MARKERS[i % len(MARKERS)], s=12, alpha=0.6,
                label=people_name(name),
            )  # fmt: skip
        axes.plot(ends, ends, color="0.3", linewidth=1, linestyle=":")
        axes.set(xscale="log", yscale="log")
        axes.set_title(method, fontsize=9)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
    figure.supylabel(f"Estimated at {percent(share, 0)} of the time (kJ)", fontsize=10)
    figure.supxlabel("True energy (kJ)", fontsize=10)
    handles, _ = panels.flat[0].get_legend_handles_labels()
    legend_above(figure, handles, 3)
    return figure
