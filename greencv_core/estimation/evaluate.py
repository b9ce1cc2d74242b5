"""Cross-validated scores of all methods: how well energy is known before and early in training.

Each method of :data:`METHODS` is fitted on some trainings and predicts others, at several moments
of each. :data:`HELD_OUT` names what is new to the method in the others.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Literal

import joblib
import numpy as np
import pandas as pd

from greencv_core.analysis.result import CONFIDENCE, NotEnoughDataError
from greencv_core.analysis.selection import CONDITION, condition_name
from greencv_core.estimation.base import QUANTILES, Estimator
from greencv_core.estimation.baselines import FirstEpoch, Operations, PowerLimit, PowerLimitUsed
from greencv_core.estimation.bayesian.early_stopping import EpochCountModel, fit_epoch_counts
from greencv_core.estimation.bayesian.projection import Projection
from greencv_core.estimation.coverage import Coverage, ratio_sentence
from greencv_core.estimation.pre import PreEpochs, PrePower
from greencv_core.estimation.step import StepEpochs, StepPower
from greencv_core.estimation.trajectory import (
    NO_ORACLE,
    Integers,
    Observed,
    Oracle,
    Trajectory,
)
from greencv_core.utils.answers import Hashed, ask_each, remembered
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.interpreters import children_isolated
from greencv_core.utils.text import listed, number, percent

METHODS: Mapping[str, Callable[[], Estimator]] = MappingProxyType(
    {
        method.name: method
        for method in (
            PowerLimit, PowerLimitUsed, Operations, FirstEpoch, StepPower, StepEpochs, PrePower,
            PreEpochs, Projection,
        )
    }
)  # fmt: skip
"""Methods by name; ours is the last."""
OURS = Projection.name
PROJECTING = (FirstEpoch.name, StepEpochs.name, Projection.name)
"""Methods that extrapolate the energy of observed epochs."""
HeldOut = Literal["run", "condition", "architecture", "environment"]
HELD_OUT: Mapping[HeldOut, str] = MappingProxyType(
    {
        "run": "single runs, drawn at random, are new",
        "condition": "a condition is new",
        "architecture": "an architecture is new",
        "environment": "an environment is new",
    }
)
"""What is new to a method, in words."""
OracleMode = Literal["known", "withheld", "believed"]
"""Oracle of all methods: the true epochs and duration; nothing, so that methods count on the
planned epochs; or our median of the number of epochs."""
SHARES = (0.0, 0.05, 0.1, 0.25, 0.5)  # shares of the training's time at which methods predict
EARLY = 0.1  # share of the time at which a sentence compares the methods
SMALLEST_SHARE = 0.05  # share of the time before which almost nothing is measured
NOMINAL = (0.5, 0.8, 0.9, 0.95, 0.99)  # nominal coverages of intervals
GROUPS = ["held_out", "oracle", "share", "method"]
RANDOM_FOLDS = 3
CONDITION_FOLDS = 5  # folds of conditions; architectures and environments are left out one by one
SEED = 2022
PARALLEL_FROM = 1000  # number of trainings from which a process per processor is worth its start
_TOGETHER: tuple[OracleMode, ...] = ("known", "withheld")
"""Oracles that are answered together: what methods learn from the other trainings is the same."""
_MOST_UNANSWERED = 0.5
"""A method that leaves more than this share of the trainings without an answer has no score."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Predictions of all methods, and their errors."""

    answers: pd.DataFrame
    """held_out, oracle, share, method, run_id, architecture, environment, gflops_per_image,
    epochs_seen, energy_j, estimate_j, low_j, high_j, cdf (predicted probability of an energy below
    energy_j), reason (why there is no prediction)."""

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each group of :data:`GROUPS`.

        n, unanswered, mape (mean absolute error, a share of the true energy), median_ape, rmse_j,
        coverage (share of the true energies inside the 95% interval), width (median, a share of
        the true energy).
        """
        answers = self.answers
        error_j = answers["estimate_j"] - answers["energy_j"]
        inside = answers["energy_j"].between(answers["low_j"], answers["high_j"])
        figures = answers.assign(
            answered=answers["estimate_j"].notna(),
            ape=(error_j / answers["energy_j"]).abs(),
            squared_j2=error_j**2,
            inside=inside.where(answers["low_j"].notna()).astype(float),
            width=(answers["high_j"] - answers["low_j"]) / answers["energy_j"],
        )
        groups = figures.groupby(GROUPS, sort=False)
        table = groups.agg(
            n=("answered", "sum"), unanswered=("answered", lambda some: int((~some).sum())),
            mape=("ape", "mean"), median_ape=("ape", "median"),
            rmse_j=("squared_j2", lambda some: float(np.sqrt(some.mean()))),
            coverage=("inside", "mean"), width=("width", "median"),
        ).reset_index()  # fmt: skip
        few = table["unanswered"] > _MOST_UNANSWERED * (table["n"] + table["unanswered"])
        table.loc[few, ["mape", "median_ape", "rmse_j", "coverage", "width"]] = np.nan
        return table

    def by_share(self, held_out: str, oracle: str, figure: str = "mape") -> pd.DataFrame:
        """Return one figure: a row per method, a column per share of the time."""
        some = self._select(held_out, oracle)
        wide = some.pivot(index="method", columns="share", values=figure)
        return wide.reindex(list(dict.fromkeys(some["method"])))

    def compare_with_best(self, held_out: str, oracle: str) -> pd.DataFrame:
        """Return ours and the other method with the smallest mean error at each share.

        Columns are share, mape, best, best_mape, ratio and coverage.
        """
        some = self._select(held_out, oracle)
        ours = some.loc[some["method"] == OURS, ["share", "mape", "coverage"]]
        others = some[some["method"] != OURS].dropna(subset="mape")
        best = others.loc[others.groupby("share")["mape"].idxmin(), ["share", "method", "mape"]]
        best = best.rename(columns={"method": "best", "mape": "best_mape"})
        rows = ours.merge(best, on="share", how="left").fillna({"best": ""})
        ratio = rows["mape"] / rows["best_mape"]
        rows["ratio"] = ratio.where(rows["best_mape"] != 0, np.inf)
        return rows[["share", "mape", "best", "best_mape", "ratio", "coverage"]]

    def calibration(self, oracle: str) -> pd.DataFrame:
        """Return how often intervals contain the truth: held_out, method, nominal, observed, n.

        Over all moments from :data:`SMALLEST_SHARE` of the time on.
        """
        answers = self.answers.dropna(subset="cdf")
        some = answers[(answers["oracle"] == oracle) & (answers["share"] >= SMALLEST_SHARE)]
        rows = []
        for (held_out, method), part in some.groupby(["held_out", "method"], sort=False):
            off = (part["cdf"] - 0.5).abs()
            for nominal in NOMINAL:
                observed = float((off <= nominal / 2 + 1e-9).mean())
                rows.append((held_out, method, nominal, observed, len(part)))
        return pd.DataFrame(rows, columns=["held_out", "method", "nominal", "observed", "n"])

    def sentence(self, held_out: str, oracle: str, new: str) -> str:
        """Say how our method compares with the best baseline, where ``new``.

        These words are as in :data:`HELD_OUT`: ``an architecture is new``.
        """
        rows = self.compare_with_best(held_out, oracle)
        later = rows[rows["share"] >= SMALLEST_SHARE].dropna(subset=["mape", "best_mape"])
        if later.empty:
            return f"Where {new}, no method has an answer."
        lost = [percent(share, 0) for share in later.loc[later["ratio"] >= 1, "share"]]
        verdict = (
            f"the {OURS} is not the most accurate at {listed(lost)} of the time"
            if lost
            else f"the {OURS} is the most accurate from {percent(later['share'].min(), 0)} of the "
            "time on"
        )
        for row in later[later["share"] == EARLY].itertuples():
            verdict += (
                f". At {percent(EARLY, 0)} it is off by {percent(row.mape, 1)}, the best other "
                f"({row.best}) by {percent(row.best_mape, 1)}, a ratio of {number(row.ratio)}"
                + self._by_condition(held_out, oracle, str(row.best))
            )
        ours = self._ours(oracle)
        coverage = Coverage.of(ours[ours["held_out"] == held_out])
        return (
            f"Where {new}, {verdict}. Its {percent(CONFIDENCE, 0)} intervals contain the true "
            f"energy in {coverage.sentence()}, at single moments in "
            f"{percent(later['coverage'].min(), 1)} to {percent(later['coverage'].max(), 1)}."
        )

    def coverage_sentence(self, oracle: str, in_words: str) -> str:
        """Say how often our 95% intervals contain the truth, over all held-out trainings.

        Counts all moments from :data:`SMALLEST_SHARE` of the time on, and the misses in conditions
        where most runs were missed at the same moment. ``in_words`` is the oracle.
        """
        ours = self._ours(oracle)
        if ours.empty:
            return f"With the {in_words}, no answer of the {OURS} has an interval."
        missed = ~ours["energy_j"].between(ours["low_j"], ours["high_j"])
        text = (
            f"With the {in_words}, the {percent(CONFIDENCE, 0)} intervals of the {OURS} contain "
            f"the true energy in {Coverage.of(ours).sentence()} (all held-out runs, from "
            f"{percent(SMALLEST_SHARE, 0)} of the time on)."
        )
        missed_share = missed.groupby(
            [ours[column] for column in ("held_out", "share", "architecture", "environment")]
        ).transform("mean")
        together = int((missed & (missed_share > 0.5)).sum())
        if not together:
            return text
        return (
            f"{text} Runs of a condition miss together: {together:,} of {int(missed.sum()):,} "
            "misses occur where most runs of the condition are missed."
        )

    def _ours(self, oracle: str) -> pd.DataFrame:
        """Return our answers with an interval, from :data:`SMALLEST_SHARE` of the time on."""
        answers = self.answers.dropna(subset=["low_j", "high_j"])
        ours = answers[(answers["method"] == OURS) & (answers["oracle"] == oracle)]
        return ours[ours["share"] >= SMALLEST_SHARE]

    def _by_condition(self, held_out: str, oracle: str, other: str) -> str:
        """Return the ratio of our errors to another method's early on, by condition."""
        some = self.answers[
            (self.answers["held_out"] == held_out)
            & (self.answers["oracle"] == oracle)
            & (self.answers["share"] == EARLY)
        ]
        return ratio_sentence(some, OURS, other)

    def _select(self, held_out: str, oracle: str) -> pd.DataFrame:
        return self.table[(self.table["held_out"] == held_out) & (self.table["oracle"] == oracle)]


def worst_condition(scores: Scores, oracle: str, share: float) -> tuple[float, str]:
    """Return our largest mean absolute error of a condition, and where, for all that is new."""
    some = scores.answers
    some = some[(some["method"] == OURS) & (some["oracle"] == oracle) & (some["share"] == share)]
    error = (some["estimate_j"] / some["energy_j"] - 1).abs()
    means = error.groupby([some[name] for name in ["held_out", *CONDITION]]).mean()
    held_out, *condition = means.idxmax()
    return float(means.max()), f"{condition_name(condition)}, where {HELD_OUT[held_out]}"


def score(
    trajectories: Sequence[Trajectory],
    *,
    held_out: Sequence[HeldOut] = tuple(HELD_OUT),
    oracle: Sequence[OracleMode] = ("known", "withheld", "believed"),
    shares: Sequence[float] = SHARES,
    methods: Mapping[str, Callable[[], Estimator]] = METHODS,
) -> Scores:
    """Let every method predict trainings that it was not fitted on.

    Raises
    ------
    BadInputError
        ``held_out`` is no list of :data:`HELD_OUT`'s keys.
    NotEnoughDataError
        There are fewer than two trainings, or they do not differ in what is held out.
    """
    unknown = [kind for kind in held_out if kind not in HELD_OUT]
    if unknown or isinstance(held_out, str):
        raise BadInputError(f"held_out: {held_out!r} is not a list of some of {list(HELD_OUT)}")
    if len(trajectories) < 2:
        raise NotEnoughDataError(
            f"methods are fitted on some trainings and asked about others, and there are "
            f"{len(trajectories)}"
        )
    ours = all(method in METHODS.values() for method in methods.values())
    # Other methods may change without a change of this package.
    answer = _answers if ours else inspect.unwrap(_answers)
    together = _TOGETHER if ours and set(oracle) <= set(_TOGETHER) else tuple(oracle)
    hashed = Hashed(trajectories)
    questions = [(hashed, kind, together, tuple(shares), dict(methods)) for kind in held_out]
    parts = ask_each(answer, questions)
    parts = [part[part["oracle"].isin(oracle)] for part in parts if len(part)]
    if not parts:
        raise NotEnoughDataError("all trainings are alike in what would be held out")
    return Scores(pd.concat(parts, ignore_index=True))


@remembered
def _answers(
    hashed: Hashed[Sequence[Trajectory]],
    kind: HeldOut,
    modes: Sequence[OracleMode],
    shares: Sequence[float],
    methods: Mapping[str, Callable[[], Estimator]],
) -> pd.DataFrame:
    """Return the answers of :class:`Scores` about trainings in which ``kind`` is new."""
    trajectories, score_fold = hashed.value, joblib.delayed(_score_fold)
    with children_isolated():
        parts = joblib.Parallel(n_jobs=-1 if len(trajectories) >= PARALLEL_FROM else 1)(
            score_fold(trajectories, fold, kind, modes, shares, methods)
            for fold in _folds(trajectories, kind)
        )
    return pd.DataFrame([row for part in parts for row in part])


def _folds(trajectories: Sequence[Trajectory], kind: HeldOut) -> Iterator[Integers]:
    """Yield the indices of the trainings that are left out together."""
    if kind == "run":
        order = np.random.default_rng(SEED).permutation(len(trajectories))
        yield from (part for part in np.array_split(order, RANDOM_FOLDS) if len(part))
        return
    fields = ("architecture", "environment", "setting") if kind == "condition" else (kind,)
    names = [tuple(getattr(each.task, name) for name in fields) for each in trajectories]
    levels = list(dict.fromkeys(names))
    if len(levels) < 2:
        return
    most = CONDITION_FOLDS if kind == "condition" else len(levels)
    order = np.random.default_rng(SEED).permutation(len(levels))
    for part in np.array_split(order, min(most, len(levels))):
        left_out = {levels[i] for i in part}
        yield np.array([i for i, name in enumerate(names) if name in left_out])


def _score_fold(
    trajectories: Sequence[Trajectory],
    fold: Integers,
    kind: HeldOut,
    modes: Sequence[OracleMode],
    shares: Sequence[float],
    methods: Mapping[str, Callable[[], Estimator]],
) -> list[dict[str, object]]:
    left_out = set(fold.tolist())
    known = [trajectory for i, trajectory in enumerate(trajectories) if i not in left_out]
    epoch_counts = fit_epoch_counts(known)
    rows: list[dict[str, object]] = []
    fitted = {name: _fit(method, known) for name, method in methods.items()}
    for trajectory in (trajectories[i] for i in fold):
        for share in shares:
            observed = trajectory.observe(share)
            oracles = {mode: _oracle(mode, trajectory, observed, epoch_counts) for mode in modes}
            for name, estimator in fitted.items():
                answers: dict[Oracle, dict[str, object]] = {}
                for mode, oracle in oracles.items():
                    # Ours has this belief anyway.
                    own = NO_ORACLE if name == OURS and mode == "believed" else oracle
                    if own not in answers:
                        answers[own] = _predict(estimator, trajectory, observed, own)
                    row = {
                        "held_out": kind,
                        "oracle": mode,
                        "share": share,
                        "method": name,
                        "run_id": trajectory.run_id,
                        "architecture": trajectory.task.architecture,
                        "environment": trajectory.task.environment,
                        "gflops_per_image": trajectory.task.gflops_per_image,
                        "epochs_seen": len(observed.epochs),
                        "energy_j": trajectory.energy_j,
                    }
                    rows.append(row | answers[own])
    return rows


def _fit(method: Callable[[], Estimator], known: Sequence[Trajectory]) -> Estimator | str:
    """Return the fitted method, or why it cannot be fitted."""
    estimator = method()
    try:
        estimator.fit(known)
    except NotEnoughDataError as error:
        return str(error)
    return estimator


def _oracle(
    mode: OracleMode, trajectory: Trajectory, observed: Observed, epoch_counts: EpochCountModel
) -> Oracle:
    if mode == "known":
        return trajectory.oracle
    if mode == "withheld":
        return NO_ORACLE
    return Oracle(epochs=epoch_counts.median(trajectory.task, len(observed.epochs)))


def _predict(
    estimator: Estimator | str, trajectory: Trajectory, observed: Observed, oracle: Oracle
) -> dict[str, object]:
    """Return a method's prediction, or why it has none."""
    unknown = dict.fromkeys(("estimate_j", "low_j", "high_j", "cdf"), float("nan"))
    if isinstance(estimator, str):
        return {**unknown, "reason": estimator}
    try:
        estimate = estimator.predict(trajectory.task, observed, oracle)
    except NotEnoughDataError as error:
        return {**unknown, "reason": str(error)}
    quantiles_j, energy_j = estimate.quantiles_j, trajectory.energy_j
    cdf = np.interp(energy_j, quantiles_j, QUANTILES, 0.0, 1.0) if quantiles_j else float("nan")
    return {
        "estimate_j": estimate.energy_j,
        "low_j": estimate.low_j,
        "high_j": estimate.high_j,
        "cdf": cdf,
        "reason": "",
    }
