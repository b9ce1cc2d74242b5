"""Tables, figures and sentences of the page on estimation.

Each takes scores or, where there are none, the reason, and then shows nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd
import seaborn as sns
from IPython.display import Markdown
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from greencv_core.analysis.result import Unavailable
from greencv_core.estimation.evaluate import EARLY, HELD_OUT, OURS, HeldOut, OracleMode, Scores
from greencv_core.estimation.trajectory import Trajectory
from greencv_core.published.seaa2023.followup import PUBLISHED_PRE_RMSE_KJ
from greencv_core.report.exhibits.exhibit import (
    Exhibit,
    figure_exhibit,
    skip_unavailable,
    table_exhibit,
)
from greencv_core.report.exhibits.markdown import admonition, bullet_list, paragraph
from greencv_core.report.exhibits.tables import collapsible_tables, show_table, to_csv_frame
from greencv_core.report.exhibits.theme import (
    DASHES,
    MARKERS,
    architecture_palette,
    legend_above,
    subplots,
)
from greencv_core.utils.downloads import VARIABLE
from greencv_core.utils.text import as_opening, count, listed, number, percent

TOLD: dict[OracleMode, str] = {
    "known": "the true epochs and duration told to every method",
    "withheld": "the end withheld from every method",
    "believed": "every method told the epochs that ours believes in",
}
NEW: dict[HeldOut, str] = {
    "run": "Single runs new",
    "condition": "Conditions new",
    "architecture": "Architecture new",
    "environment": "Environment new",
}
TOLD_SHORTLY: dict[OracleMode, str] = {
    "known": "end told",
    "withheld": "end withheld",
    "believed": "our belief of epochs told",
}
_SHOWN: tuple[HeldOut, ...] = ("architecture", "environment")
_REGRESSIONS = ("PRE, power", "PRE, epoch energy", OURS)
_COMPARED = ("TDP x time", "TDP x utilisation x time", "STEP, power", OURS)
_NONE = "\N{EN DASH}"
KNOWN_WITHIN = 0.1
"""A mean error after a tenth of the time from which energy is no longer called known."""
_LEAST_SHOWN = 0.001
"""The smallest error that the figure tells from none."""


@skip_unavailable
def errors_table(scores: Scores, held_out: HeldOut, told: OracleMode) -> Exhibit | None:
    """Return each method's mean absolute percentage error by the share of the training seen.

    None where nothing of that kind could be held out.
    """
    if held_out not in _kinds(scores):
        return None
    caption = (
        "Mean absolute percentage error of the energy by the share of the time that has passed; "
        f"{HELD_OUT[held_out]}, {TOLD[told]}. An asterisk: the least"
    )
    return show_table(_errors(scores, held_out, told), caption, runs=_trainings(scores))


def _errors(scores: Scores, held_out: HeldOut, told: OracleMode) -> pd.DataFrame:
    errors = scores.by_share(held_out, told)
    coverage = scores.by_share(held_out, told, "coverage").loc[OURS]
    frame = pd.DataFrame({"Method": errors.index})
    for share in errors.columns:
        best = errors[share].min()
        frame[_moment(share)] = [
            _error(value, best=value == best) for value in errors[share].to_numpy()
        ]
    frame.loc[len(frame)] = [
        "Our 95 % intervals held", *(_share(value) for value in coverage.to_numpy())
    ]  # fmt: skip
    return frame


@skip_unavailable
def further_tables(scores: Scores, *told: OracleMode) -> Exhibit | None:
    """Return the tables of the other kinds of novelty, each under a line that opens it."""
    shown = {(kind, one) for kind in _SHOWN for one in ("known", "withheld")}
    parts = {
        f"{NEW[kind]}, {TOLD_SHORTLY[one]}": _errors(scores, kind, one)
        for kind in _kinds(scores)
        for one in told
        if (kind, one) not in shown
    }
    if not parts:
        return None
    caption = (
        "Mean absolute percentage error of the energy by the share of the time that has passed, "
        "for what else was new"
    )
    whole = pd.concat([part.assign(new=line) for line, part in parts.items()])
    made = table_exhibit(caption, collapsible_tables(parts), to_csv_frame(whole))
    return made.with_runs(_trainings(scores))


def _trainings(scores: Scores) -> pd.DataFrame:
    return scores.answers.drop_duplicates("run_id")


@skip_unavailable
def held_out_table(scores: Scores) -> Exhibit:
    """Return what regressions' errors become when more than single runs is new to them."""
    table = scores.table
    some = table[(table["oracle"] == "known") & (table["share"] == 0)]
    frame = pd.DataFrame({"Method, before training": [*_REGRESSIONS]})
    for kind in _kinds(scores):
        rows = some[some["held_out"] == kind].set_index("method").reindex([*_REGRESSIONS])
        frame[NEW[kind]] = [
            f"{_share(row.mape)}\n{_kilojoules(row.rmse_j)}" for row in rows.itertuples()
        ]
    frame["Follow-up, runs at random"] = [
        f"{_NONE}\n{number(PUBLISHED_PRE_RMSE_KJ[method])} kJ"
        if method in PUBLISHED_PRE_RMSE_KJ
        else _NONE
        for method in _REGRESSIONS
    ]
    return show_table(
        frame,
        "The true epochs and duration told: mean absolute percentage error and, below, root mean "
        "square error",
    )


@skip_unavailable
def follow_up_table(errors: pd.DataFrame) -> Exhibit:
    """Return the follow-up's errors beside those on the public logs."""
    frame = pd.DataFrame(
        {
            "Method": errors["method"],
            "RMSE (kJ), follow-up": errors["published_rmse_kj"].map(number),
            "RMSE (kJ), public logs": errors["rmse_kj"].map(number),
            "Mean absolute error": errors["mape"].map(_share),
            "Mean signed error": errors["bias"].map(lambda value: f"{100 * value:+.1f} %"),
        }
    )
    return show_table(
        frame,
        "Told the true duration and epochs, and the whole training's utilisation, as in the "
        "follow-up",
    )


@skip_unavailable
def errors_figure(scores: Scores, told: OracleMode) -> Exhibit | None:
    """Show each method's error against the share of the training seen, by what is new to it."""
    if not _kinds(scores):
        return None
    caption = (
        "Mean absolute error (%, logarithmic axis) of each method's estimate of a training's "
        "energy, against the share of its time that has passed (%), by what is new to the method; "
        f"{TOLD[told]}"
    )
    return figure_exhibit(partial(_errors_figure, scores, told), caption, _trainings(scores))


def _errors_figure(scores: Scores, told: OracleMode) -> Figure:
    kinds = _kinds(scores)
    columns = min(2, len(kinds))
    rows = math.ceil(len(kinds) / columns)
    methods = list(dict.fromkeys(scores.table["method"]))
    looks = _looks(methods)
    figure, panels = subplots(
        rows, columns, sharex=True, sharey=True, squeeze=False, figsize=(7.5, 1.2 + 2.5 * rows)
    )
    for axes, kind in zip(panels.flat, kinds, strict=False):
        errors = scores.by_share(kind, told)
        for method in errors.index:
            values = 100 * errors.loc[method].clip(lower=_LEAST_SHOWN)
            axes.plot(100 * errors.columns.to_numpy(float), values.to_numpy(float), **looks[method])
        axes.set(yscale="log", title=NEW[kind])
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    for axes in panels.flat[len(kinds) :]:
        axes.set_visible(False)
    figure.supylabel(f"Mean absolute error (%), {TOLD_SHORTLY[told]}", fontsize=10)
    figure.supxlabel("Share of the training's time that has passed (%)", fontsize=10)
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
    """Show how often intervals held the truth against how often they claim to."""
    told: list[OracleMode] = [
        one for one in ("known", "withheld") if not scores.calibration(one).empty
    ]
    if not told:
        return None
    caption = (
        f"Share of the true energies inside the intervals of the {OURS} (%), against the share "
        "that the intervals claim to hold (%), by what is new; on the dotted line the claim is "
        "true, above it the intervals are wider than need be"
    )
    return figure_exhibit(partial(_calibration_figure, scores, told), caption, _trainings(scores))


def _calibration_figure(scores: Scores, told: Sequence[OracleMode]) -> Figure:
    figure, panels = subplots(
        1, len(told), sharey=True, squeeze=False, figsize=(3.75 * len(told) + 0.2, 4.0)
    )
    kinds = _kinds(scores)
    colours = dict(zip(kinds, sns.color_palette("colorblind", len(kinds)), strict=True))
    for axes, one in zip(panels.flat, told, strict=True):
        calibration = scores.calibration(one)
        for _, part in calibration[calibration["method"] != OURS].groupby(["held_out", "method"]):
            axes.plot(100 * part["nominal"], 100 * part["observed"], color="0.8", linewidth=0.8)
        ours = calibration[calibration["method"] == OURS]
        for i, kind in enumerate(kinds):
            part = ours[ours["held_out"] == kind]
            axes.plot(
                100 * part["nominal"], 100 * part["observed"],
                color=colours[kind], marker=MARKERS[i], markersize=5, label=NEW[kind],
            )  # fmt: skip
        axes.plot([45, 100], [45, 100], color="0.3", linewidth=1, linestyle=":")
        axes.set(xlabel="Interval claims to hold (%)", xlim=(45, 101), ylim=(0, 102))
        axes.set_title(as_opening(TOLD_SHORTLY[one]))
    panels.flat[0].set_ylabel("True energy lay inside (%)")
    handles, _ = panels.flat[0].get_legend_handles_labels()
    handles.append(Line2D([], [], color="0.8", linewidth=0.8, label="other methods"))
    legend_above(figure, handles, 3)
    return figure


@skip_unavailable
def coverage_sentences(scores: Scores) -> Markdown:
    """Say how often our intervals held the truth, with the end told and withheld."""
    told: tuple[OracleMode, ...] = ("known", "withheld")
    return bullet_list(scores.coverage_sentence(one, f"the {TOLD_SHORTLY[one]}") for one in told)


@skip_unavailable
def practice_sentence(errors: pd.DataFrame, scores: Scores | Unavailable) -> Markdown:
    """Say whether estimates from the power limit and from operations mislead here, too."""
    by_method = errors.set_index("method")
    limit, used = by_method.loc["TDP x time"], by_method.loc["TDP x utilisation x time"]
    step = by_method.loc["STEP, epoch energy"]
    flops = math.nan
    if isinstance(scores, Scores) and "architecture" in _kinds(scores):
        flops = scores.by_share("architecture", "known").loc["FLOPs"].iloc[0]
    text = (
        f"The power limit times the time errs by {percent(limit['mape'], 1)} on average, although "
        f"it is told the time, and nearly always too high ({100 * limit['bias']:+.1f} %): few "
        f"trainings draw what the limit allows. Times the utilisation it errs by "
        f"{percent(used['mape'], 1)}, in both directions: a device draws power when it is idle, "
        f"and utilisation counts a kernel that uses a part of it as the whole. Their root mean "
        f"square errors are {number(limit['rmse_kj'] / step['rmse_kj'])} and "
        f"{number(used['rmse_kj'] / step['rmse_kj'])} times that of STEP, in the follow-up "
        f"{number(limit['published_rmse_kj'] / step['published_rmse_kj'])} and "
        f"{number(used['published_rmse_kj'] / step['published_rmse_kj'])} times."
    )
    if not math.isnan(flops):
        text += (
            f" Operations alone, at the joules that others took for one, miss an architecture by "
            f"{percent(flops, 0)}: how many an architecture gets out of a joule varies more than "
            "their number."
        )
    return paragraph(text)


@skip_unavailable
def estimates_figure(scores: Scores, share: float = EARLY) -> Exhibit | None:
    """Show estimates against true energies, told the end, with an architecture new."""
    if "architecture" not in _kinds(scores):
        return None
    caption = (
        f"Energy estimated after {percent(share, 0)} of the time (kJ) against the true energy "
        "(kJ), both axes logarithmic, by method, with the architecture new to it and the end told; "
        "on the dotted line the estimate is true"
    )
    return figure_exhibit(partial(_estimates_figure, scores, share), caption, _trainings(scores))


def _estimates_figure(scores: Scores, share: float) -> Figure:
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
        told = some[some["method"] == method]
        for i, name in enumerate(names):
            part = told[told["architecture"] == name]
            axes.scatter(
                part["energy_j"] / 1e3, part["estimate_j"] / 1e3,
                color=colours[name], marker=MARKERS[i % len(MARKERS)], s=12, alpha=0.6, label=name,
            )  # fmt: skip
        axes.plot(ends, ends, color="0.3", linewidth=1, linestyle=":")
        axes.set(xscale="log", yscale="log")
        axes.set_title(method, fontsize=8.5)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
    figure.supylabel(f"Estimated at {percent(share, 0)} of the time (kJ)", fontsize=10)
    figure.supxlabel("True energy (kJ)", fontsize=10)
    handles, _ = panels.flat[0].get_legend_handles_labels()
    legend_above(figure, handles, 3)
    return figure


def conclusions(scores: Scores | Unavailable, told: OracleMode) -> Markdown:
    """Return a sentence for each kind of novelty, or why there is no score."""
    if isinstance(scores, Unavailable):
        return paragraph(scores.sentence())
    return bullet_list(scores.sentence(kind, told, HELD_OUT[kind]) for kind in _kinds(scores))


@skip_unavailable
def verdict(scores: Scores) -> Markdown:
    """Say whether energy can be known before, and early in, training."""
    table = scores.table
    ours = table[(table["method"] == OURS) & (table["oracle"] == "known")]
    errors = ours.pivot(index="held_out", columns="share", values="mape")
    parts = [
        f"{percent(errors.loc[kind, 0.0], 1)} before it begins and "
        f"{percent(errors.loc[kind, EARLY], 1)} after a tenth of it where {HELD_OUT[kind]}"
        for kind in _kinds(scores)
    ]
    worst = max(float(errors.loc[kind, EARLY]) for kind in _kinds(scores))
    answer = "Yes" if worst < KNOWN_WITHIN else "In part"
    return paragraph(
        f"{answer}, as far as it is known how long the training lasts: the mean absolute error of "
        f"the {OURS} is {listed(parts)}. How long a training lasts that may stop early remains "
        "unknown for longer."
    )


def published_note(trajectories: Sequence[Trajectory] | Unavailable) -> Markdown:
    """Return a box that says what the page's first part rests on, or why there is none."""
    if isinstance(trajectories, Unavailable):
        return admonition(
            "warning",
            "The published measurements are not here, and that part of the page has no figures",
            "To get them, build the book again with a network, which downloads them once; or set "
            f"<code>{VARIABLE}</code> to a folder that holds them or to a mirror's URL.",
            [trajectories.reason],
        )
    tasks = [trajectory.task for trajectory in trajectories]
    return admonition(
        "note",
        "Energy in the first part is published",
        f"{count(len(trajectories), 'training')} of {len({task.architecture for task in tasks})} "
        f"architectures in {len({task.environment for task in tasks})} environments, whose power "
        "was logged once a second; energy is that of the GPU's board.",
    )


def _kinds(scores: Scores) -> list[HeldOut]:
    known = set(scores.table["held_out"])
    return [kind for kind in NEW if kind in known]


def _moment(share: float) -> str:
    return "before" if share == 0 else percent(share, 0)


def _error(value: float, *, best: bool) -> str:
    return _NONE if math.isnan(value) else _share(value) + (" *" if best else "")


def _share(value: float) -> str:
    if math.isnan(value):
        return _NONE
    return percent(value, 1 if value < 10 else 0)


def _kilojoules(value_j: float) -> str:
    return _NONE if math.isnan(value_j) else f"{number(value_j / 1e3)} kJ"
