"""Can a training's energy be known before, or early in, training: the methods, and their scores.

Every method of :data:`METHODS` is fitted on some trainings and asked about others, at several
moments of each. Which others is the question: :data:`HELD_OUT` names what is new to the method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import joblib
import numpy as np
import pandas as pd

from greencv_core.analysis.result import NotEnoughDataError
from greencv_core.estimation.base import QUANTILES, Estimate, Estimator
from greencv_core.estimation.baselines import FirstEpoch, Operations, PowerLimit, PowerLimitUsed
from greencv_core.estimation.bayesian.early_stopping import EpochsBelief, epochs_belief
from greencv_core.estimation.bayesian.projection import Projection
from greencv_core.estimation.pre import PreEpochs, PrePower
from greencv_core.estimation.scores import OURS, Scores
from greencv_core.estimation.step import StepEpochs, StepPower
from greencv_core.estimation.trajectory import NOTHING_TOLD, Course, Integers, Seen, Task, Told

METHODS: Mapping[str, Callable[[], Estimator]] = MappingProxyType(
    {
        method.name: method
        for method in (
            PowerLimit, PowerLimitUsed, Operations, FirstEpoch, StepPower, StepEpochs, PrePower,
            PreEpochs, Projection,
        )
    }
)  # fmt: skip
"""By name; ours is the last."""

PROJECTING = (FirstEpoch.name, StepEpochs.name, Projection.name)
"""Methods that project what an epoch took over those that remain."""
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
SHARES = (0.0, 0.05, 0.1, 0.25, 0.5)
"""Of the training's time, at which a method is asked."""
RANDOM_FOLDS = 3
CONDITION_FOLDS = 5
"""Conditions are left out by the part, architectures and environments one by one."""
SEED = 2022
WORTH_PROCESSES = 100
"""Trainings from which it is worth while to start a process for each processor."""

Telling = Literal["known", "withheld", "believed"]
"""What every method is told of the end: epochs and duration; nothing, so that it counts on the
epochs planned; or nothing but the number of epochs that ours believes in."""


def score(
    courses: Sequence[Course],
    *,
    held_out: Sequence[HeldOut] = tuple(HELD_OUT),
    told: Sequence[Telling] = ("known", "withheld", "believed"),
    shares: Sequence[float] = SHARES,
    methods: Mapping[str, Callable[[], Estimator]] = METHODS,
) -> Scores:
    """Ask every method about trainings that it was not fitted on.

    Raises
    ------
    NotEnoughDataError
        There are fewer than two trainings that a method could be asked about.
    """
    if len(courses) < 2:
        raise NotEnoughDataError(
            f"methods are fitted on some trainings and asked about others, and there are "
            f"{len(courses)}"
        )
    folds = [(kind, fold) for kind in held_out for fold in _folds(courses, kind)]
    ask = joblib.delayed(_asked)
    beside = -1 if len(courses) >= WORTH_PROCESSES else 1
    parts = joblib.Parallel(n_jobs=beside)(
        ask(courses, fold, kind, told, shares, methods) for kind, fold in folds
    )
    rows = [row for part in parts for row in part]
    if not rows:
        raise NotEnoughDataError("all trainings are alike in what would be held out")
    return Scores(pd.DataFrame(rows))


def _folds(courses: Sequence[Course], kind: HeldOut) -> Iterator[Integers]:
    """Yield the places of the trainings that are left out together."""
    if kind == "run":
        order = np.random.default_rng(SEED).permutation(len(courses))
        yield from (part for part in np.array_split(order, RANDOM_FOLDS) if len(part))
        return
    names = [_name(course.task, kind) for course in courses]
    levels = list(dict.fromkeys(names))
    if len(levels) < 2:
        return
    most = CONDITION_FOLDS if kind == "condition" else len(levels)
    order = np.random.default_rng(SEED).permutation(len(levels))
    for part in np.array_split(order, min(most, len(levels))):
        left_out = {levels[i] for i in part}
        yield np.array([i for i, name in enumerate(names) if name in left_out])


def _name(task: Task, kind: HeldOut) -> tuple[str, ...]:
    return {
        "architecture": (task.architecture,),
        "environment": (task.environment,),
    }.get(kind, (task.architecture, task.environment, task.setting))


def _asked(
    courses: Sequence[Course],
    fold: Integers,
    kind: HeldOut,
    told: Sequence[Telling],
    shares: Sequence[float],
    methods: Mapping[str, Callable[[], Estimator]],
) -> list[dict[str, object]]:
    left_out = set(fold.tolist())
    known = [course for i, course in enumerate(courses) if i not in left_out]
    belief = epochs_belief(known)
    rows: list[dict[str, object]] = []
    fitted = {name: _fitted(method, known) for name, method in methods.items()}
    for course in (courses[i] for i in fold):
        for share in shares:
            seen = course.seen(share)
            telling = {one: _telling(one, course, seen, belief) for one in told}
            for name, estimator in fitted.items():
                for one, what in telling.items():
                    # Ours needs not be told what it believes itself.
                    mine = NOTHING_TOLD if name == OURS and one == "believed" else what
                    row = {
                        "held_out": kind,
                        "told": one,
                        "share": share,
                        "method": name,
                        "run_id": course.run_id,
                        "architecture": course.task.architecture,
                        "environment": course.task.environment,
                        "gflops_per_image": course.task.gflops_per_image,
                        "epochs_seen": len(seen.epochs),
                        "energy_j": course.energy_j,
                    }
                    rows.append(row | _answer(estimator, course, seen, mine))
    return rows


def _fitted(method: Callable[[], Estimator], known: Sequence[Course]) -> Estimator | str:
    """Return the method, fitted, or why it cannot be."""
    estimator = method()
    try:
        estimator.fit(known)
    except NotEnoughDataError as error:
        return str(error)
    return estimator


def _telling(telling: Telling, course: Course, seen: Seen, belief: EpochsBelief) -> Told:
    if telling == "known":
        return course.told
    if telling == "withheld":
        return NOTHING_TOLD
    return Told(epochs=belief.middle(course.task, len(seen.epochs)))


def _answer(
    estimator: Estimator | str, course: Course, seen: Seen, told: Told
) -> dict[str, object]:
    """Return a method's answer, or why it has none."""
    unknown = dict.fromkeys(("estimate_j", "low_j", "high_j", "place"), float("nan"))
    if isinstance(estimator, str):
        return {**unknown, "reason": estimator}
    try:
        estimate = estimator.predict(course.task, seen, told)
    except NotEnoughDataError as error:
        return {**unknown, "reason": str(error)}
    return {
        "estimate_j": estimate.energy_j,
        "low_j": estimate.low_j,
        "high_j": estimate.high_j,
        "place": _place(estimate, course.energy_j),
        "reason": "",
    }


def _place(estimate: Estimate, energy_j: float) -> float:
    """Return the probability that an estimate gave to less energy than was taken."""
    if not estimate.quantiles_j:
        return float("nan")
    return float(np.interp(energy_j, estimate.quantiles_j, QUANTILES, left=0.0, right=1.0))
