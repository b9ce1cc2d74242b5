"""Tables and sentences of the page on estimation; None where there are no scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from IPython.display import Markdown

from greencv_core.analysis.result import Unavailable
from greencv_core.estimation.evaluate import (
    EARLY,
    HELD_OUT,
    OURS,
    HeldOut,
    OracleMode,
    Scores,
    worst_condition,
)
from greencv_core.estimation.trajectory import Trajectory
from greencv_core.published.seaa2023.followup import PUBLISHED_PRE_RMSE_KJ
from greencv_core.report.exhibits.exhibit import Exhibit, skip_unavailable, table_exhibit
from greencv_core.report.exhibits.markdown import admonition, bullet_list, paragraph
from greencv_core.report.exhibits.tables import collapsible_tables, show_table, to_csv_frame
from greencv_core.report.pages.reanalysis import missing_note
from greencv_core.utils.text import count, listed, number, percent

ORACLE_LABELS: dict[OracleMode, str] = {
    "known": "the true epochs and duration told to every method",
    "withheld": "the end withheld from every method",
    "believed": "every method told the epochs that ours believes in",
}
NOVELTY_LABELS: dict[HeldOut, str] = {
    "run": "Single runs new",
    "condition": "Conditions new",
    "architecture": "Architecture new",
    "environment": "Environment new",
}
SHORT_ORACLE_LABELS: dict[OracleMode, str] = {
    "known": "end told",
    "withheld": "end withheld",
    "believed": "our belief of epochs told",
}
_SHOWN: tuple[HeldOut, ...] = ("architecture", "environment")
_REGRESSIONS = ("PRE, power", "PRE, epoch energy", OURS)
_NONE = "\N{EN DASH}"
KNOWN_WITHIN = 0.1
"""Largest mean error of any condition after a tenth of the time at which energy counts as known."""


@skip_unavailable
def errors_table(scores: Scores, held_out: HeldOut, oracle: OracleMode) -> Exhibit | None:
    """Return the mean absolute percentage error of each method by the share observed.

    None if nothing of that kind could be held out.
    """
    if held_out not in held_out_kinds(scores):
        return None
    caption = (
        "Mean absolute percentage error of the energy by the share of the time that has passed; "
        f"{HELD_OUT[held_out]}, {ORACLE_LABELS[oracle]}. An asterisk: the least"
    )
    return show_table(_errors(scores, held_out, oracle), caption, runs=scored_runs(scores))


def _errors(scores: Scores, held_out: HeldOut, oracle: OracleMode) -> pd.DataFrame:
    errors = scores.by_share(held_out, oracle)
    coverage = scores.by_share(held_out, oracle, "coverage").loc[OURS]
    frame = pd.DataFrame({"Method": errors.index})
    for share in errors.columns:
        best = errors[share].min()
        moment = "before" if share == 0 else percent(share, 0)
        frame[moment] = [_share(e) + (" *" if e == best else "") for e in errors[share].to_numpy()]
    frame.loc[len(frame)] = [
        "Our 95% intervals held", *(_share(value) for value in coverage.to_numpy())
    ]  # fmt: skip
    return frame


@skip_unavailable
def further_tables(scores: Scores, *oracles: OracleMode) -> Exhibit | None:
    """Return the tables of the other kinds of novelty, each folded under a line."""
    shown = {(kind, one) for kind in _SHOWN for one in ("known", "withheld")}
    parts = {
        f"{NOVELTY_LABELS[kind]}, {SHORT_ORACLE_LABELS[one]}": _errors(scores, kind, one)
        for kind in held_out_kinds(scores)
        for one in oracles
        if (kind, one) not in shown
    }
    if not parts:
        return None
    caption = (
        "Mean absolute percentage error of the energy by the share of the time that has passed, "
        "for what else was new"
    )
    whole = pd.concat([part.assign(new=line) for line, part in parts.items()])
    exhibit = table_exhibit(caption, collapsible_tables(parts), to_csv_frame(whole))
    return exhibit.with_runs(scored_runs(scores))


def scored_runs(scores: Scores) -> pd.DataFrame:
    """Return one row for each run that was estimated."""
    return scores.answers.drop_duplicates("run_id")


@skip_unavailable
def held_out_table(scores: Scores) -> Exhibit:
    """Return the errors of regressions by what was held out."""
    table = scores.table
    some = table[(table["oracle"] == "known") & (table["share"] == 0)]
    frame = pd.DataFrame({"Method, before training": [*_REGRESSIONS]})
    for kind in held_out_kinds(scores):
        rows = some[some["held_out"] == kind].set_index("method").reindex([*_REGRESSIONS])
        frame[NOVELTY_LABELS[kind]] = [
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
    """Return the errors of the follow-up study next to those on the public logs."""
    frame = pd.DataFrame(
        {
            "Method": errors["method"],
            "RMSE (kJ), follow-up": errors["published_rmse_kj"].map(number),
            "RMSE (kJ), public logs": errors["rmse_kj"].map(number),
            "Mean absolute error": errors["mape"].map(_share),
            "Mean signed error": errors["bias"].map(lambda value: f"{100 * value:+.1f}%"),
        }
    )
    return show_table(
        frame,
        "Told the true duration and epochs, and the whole training's utilisation, as in the "
        "follow-up",
    )


@skip_unavailable
def coverage_sentences(scores: Scores) -> Markdown:
    """State the coverage of our intervals, with the end known and withheld."""
    oracles: tuple[OracleMode, ...] = ("known", "withheld")
    return bullet_list(
        scores.coverage_sentence(one, f"the {SHORT_ORACLE_LABELS[one]}") for one in oracles
    )


@skip_unavailable
def practice_sentence(errors: pd.DataFrame, scores: Scores | Unavailable) -> Markdown:
    """State the errors of estimates from the power limit and from operations."""
    by_method = errors.set_index("method")
    limit, used = by_method.loc["TDP x time"], by_method.loc["TDP x utilisation x time"]
    step = by_method.loc["STEP, epoch energy"]
    text = (
        f"The power limit times the time errs by {percent(limit['mape'], 1)} on average, although "
        f"it is told the time, and nearly always too high ({100 * limit['bias']:+.1f}%): few "
        f"trainings draw what the limit allows. Times the utilisation it errs by "
        f"{percent(used['mape'], 1)}, in both directions: a device draws power when it is idle, "
        f"and utilisation counts a kernel that uses a part of it as the whole. Their root mean "
        f"square errors are {number(limit['rmse_kj'] / step['rmse_kj'])} and "
        f"{number(used['rmse_kj'] / step['rmse_kj'])} times that of STEP, in the follow-up "
        f"{number(limit['published_rmse_kj'] / step['published_rmse_kj'])} and "
        f"{number(used['published_rmse_kj'] / step['published_rmse_kj'])} times."
    )
    if isinstance(scores, Scores) and "architecture" in held_out_kinds(scores):
        flops = scores.by_share("architecture", "known").loc["FLOPs"].iloc[0]
        text += (
            f" Operations alone, at the joules that others took for one, miss an architecture by "
            f"{percent(flops, 0)}: how many an architecture gets out of a joule varies more than "
            "their number."
        )
    return paragraph(text)


def conclusions(scores: Scores | Unavailable, oracle: OracleMode) -> Markdown:
    """Return a sentence for each kind of novelty, or why there is no score."""
    if isinstance(scores, Unavailable):
        return paragraph(scores.sentence())
    return bullet_list(
        scores.sentence(kind, oracle, HELD_OUT[kind]) for kind in held_out_kinds(scores)
    )


@skip_unavailable
def verdict(scores: Scores) -> Markdown:
    """State whether energy can be predicted before training and early in it."""
    table = scores.table
    ours = table[(table["method"] == OURS) & (table["oracle"] == "known")]
    errors = ours.pivot(index="held_out", columns="share", values="mape")
    parts = [
        f"{percent(errors.loc[kind, 0.0], 1)} before it begins and "
        f"{percent(errors.loc[kind, EARLY], 1)} after a tenth of it where {HELD_OUT[kind]}"
        for kind in held_out_kinds(scores)
    ]
    worst, where = worst_condition(scores, "known", EARLY)
    answer = "Yes" if worst < KNOWN_WITHIN else "In part"
    return paragraph(
        f"{answer}, as far as it is known how long the training lasts: the mean absolute error of "
        f"the {OURS} is {listed(parts)}. After a tenth of it, it is {percent(worst, 1)} in the "
        f"worst condition, {where}. How long a training lasts that may stop early remains unknown "
        "for longer."
    )


def published_note(trajectories: Sequence[Trajectory] | Unavailable) -> Markdown:
    """Return a box on the data of the page's first part, or on how to get them."""
    if isinstance(trajectories, Unavailable):
        return missing_note(trajectories, "that part of the page")
    tasks = [trajectory.task for trajectory in trajectories]
    return admonition(
        "note",
        "Energy in the first part is published",
        f"{count(len(trajectories), 'training')} of {len({task.architecture for task in tasks})} "
        f"architectures in {len({task.environment for task in tasks})} environments, whose power "
        "was logged once a second; energy is that of the GPU's board.",
    )


def held_out_kinds(scores: Scores) -> list[HeldOut]:
    """Return the kinds of novelty that the scores hold, in order."""
    known = set(scores.table["held_out"])
    return [kind for kind in NOVELTY_LABELS if kind in known]


def _share(value: float) -> str:
    if math.isnan(value):
        return _NONE
    return percent(value, 1 if value < 10 else 0)


def _kilojoules(value_j: float) -> str:
    return _NONE if math.isnan(value_j) else f"{number(value_j / 1e3)} kJ"
