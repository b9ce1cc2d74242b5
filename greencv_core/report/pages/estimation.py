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
from greencv_core.report.exhibits.markdown import bullet_list, paragraph
from greencv_core.report.exhibits.tables import collapsible_tables, show_table, to_csv_frame
from greencv_core.report.pages.reanalysis import missing_note
from greencv_core.utils.text import count, decimals, number, percent

ORACLE_LABELS: dict[OracleMode, str] = {
    "known": "every method is given the true epochs and duration",
    "withheld": "no method knows the final duration",
    "believed": "every method is given the epochs that ours expects",
}
NOVELTY_LABELS: dict[HeldOut, str] = {
    "run": "Random runs are new",
    "condition": "A condition is new",
    "architecture": "An architecture is new",
    "environment": "An environment is new",
}
SHORT_ORACLE_LABELS: dict[OracleMode, str] = {
    "known": "duration known",
    "withheld": "duration unknown",
    "believed": "our expected epochs",
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
        f"{HELD_OUT[held_out]}, {ORACLE_LABELS[oracle]}. * = lowest error in the column"
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
        "Coverage of our 95% intervals", *(_share(value) for value in coverage.to_numpy())
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
        "Every method is given the true epochs and duration: mean absolute percentage error and, "
        "below, root mean square error",
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
            "Mean signed error": errors["bias"].map(
                lambda value: f"{decimals(100 * value, 1, signed=True)}%"
            ),
        }
    )
    return show_table(
        frame,
        "Errors if a method is given the true duration, epochs and utilisation of the whole run, "
        "as in the follow-up",
    )


@skip_unavailable
def coverage_sentences(scores: Scores) -> Markdown:
    """State the coverage of our intervals, with the end known and withheld."""
    oracles: tuple[OracleMode, ...] = ("known", "withheld")
    return bullet_list(
        scores.coverage_sentence(one, SHORT_ORACLE_LABELS[one])
        for one in oracles
        if not scores.calibration(one).empty
    )


@skip_unavailable
def practice_sentence(errors: pd.DataFrame, scores: Scores | Unavailable) -> Markdown:
    """State the errors of estimates from the power limit and from operations."""
    by_method = errors.set_index("method")
    limit, used = by_method.loc["TDP x time"], by_method.loc["TDP x utilisation x time"]
    step = by_method.loc["STEP, epoch energy"]
    text = (
        f"Power limit times duration is off by {percent(limit['mape'], 1)} on average, nearly "
        f"always too high (bias {decimals(100 * limit['bias'], 1, signed=True)}%), because few "
        "runs draw the full limit. Multiplied by the utilisation, it is off by "
        f"{percent(used['mape'], 1)} in both directions: an idle device draws power, and "
        "utilisation counts a partly used device as busy. Their root mean square "
        f"errors are {number(limit['rmse_kj'] / step['rmse_kj'])} and "
        f"{number(used['rmse_kj'] / step['rmse_kj'])} times that of STEP, in the follow-up "
        f"{number(limit['published_rmse_kj'] / step['published_rmse_kj'])} and "
        f"{number(used['published_rmse_kj'] / step['published_rmse_kj'])} times."
    )
    if isinstance(scores, Scores) and "architecture" in held_out_kinds(scores):
        flops = scores.by_share("architecture", "known").loc["FLOPs"].iloc[0]
        text += (
            f" Operations alone, at the joules per operation of other runs, are off by "
            f"{percent(flops, 0)} for a new architecture: operations per joule vary more than "
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
    worst, where = worst_condition(scores, "known", EARLY)
    answer = "Yes" if worst < KNOWN_WITHIN else "Partly"
    return paragraph(
        f"{answer}, if the duration is known: after {percent(EARLY, 0)} of the time, our "
        f"{OURS} is off by at most {percent(worst, 1)} on average in any condition ({where}).",
        "How long a run with early stopping lasts stays uncertain for longer.",
    )


@skip_unavailable
def verdict_table(scores: Scores) -> Exhibit:
    """Return our mean error before training and early in it, by what is new."""
    table = scores.table
    ours = table[(table["method"] == OURS) & (table["oracle"] == "known")]
    errors = ours.pivot(index="held_out", columns="share", values="mape")
    kinds = held_out_kinds(scores)
    frame = pd.DataFrame(
        {
            "What is new": [NOVELTY_LABELS[kind] for kind in kinds],
            "Before training": [percent(errors.loc[kind, 0.0], 1) for kind in kinds],
            f"After {percent(EARLY, 0)} of the time": [
                percent(errors.loc[kind, EARLY], 1) for kind in kinds
            ],
        }
    )
    caption = (
        f"Mean absolute error of the energy predicted by the {OURS}, with the duration known, by "
        "what is new to it"
    )
    return show_table(frame, caption, runs=scored_runs(scores))


def published_note(trajectories: Sequence[Trajectory] | Unavailable) -> Markdown:
    """Return a line on the published runs that the page uses, or on how to get them."""
    if isinstance(trajectories, Unavailable):
        return missing_note(trajectories, "This part of the page is empty without them.")
    tasks = [trajectory.task for trajectory in trajectories]
    return paragraph(
        f"Energy in these scores is published (GPU board, logged once a second): "
        f"{count(len(trajectories), 'run')} of {len({task.architecture for task in tasks})} "
        f"architectures in {len({task.environment for task in tasks})} environments."
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
