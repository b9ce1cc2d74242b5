"""The condition of least energy for every accepted loss of correctness."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from greencv_core.analysis.chance import chance_sentence, learned_nothing
from greencv_core.analysis.choice import decision_text
from greencv_core.analysis.choice.savings import Saving, saving
from greencv_core.analysis.comparison.best import GRID, NOISE, loss_bounds, rounded_up
from greencv_core.analysis.images import image_error_sentence, image_variances
from greencv_core.analysis.result import ALPHA, NotEnoughDataError
from greencv_core.analysis.selection import CONDITION, condition_name, weakest_provenance
from greencv_core.analysis.units import contrast, log_units, mark_units, run_units
from greencv_core.utils.text import quantity

ENERGY = "energy_j_per_image"
RUNNERS_UP = 4
"""Most conditions listed after the choice."""


@dataclass(frozen=True)
class Candidate:
    """A condition with its energy, time and correctness."""

    levels: tuple[object, ...]
    n: int
    energy_j_per_image: float
    """Geometric mean over the condition's units (:mod:`..units`), as in savings."""
    duration_s_per_image: float
    """Median over runs, as is power."""
    power_w: float
    correctness: float
    """Mean over runs."""
    loss_high: float
    """Upper bound of the loss of mean correctness against the best condition, 95% for all
    conditions at once, rounded up to four decimals."""
    varies: bool
    """Whether its runs differ in correctness."""
    provenance: str
    """Provenance of its energy (the weakest of its runs)."""
    saving: Saving | None
    """Saving against the reference, as a single pair; None for the reference."""
    beaten_by: int | None
    """Index of a condition with no higher mean energy and no lower mean correctness, one of them
    better; such a condition is never chosen. None if there is none."""

    @property
    def name(self) -> str:
        """The condition's name."""
        return condition_name(self.levels)


@dataclass(frozen=True)
class Step:
    """The answer for accepted losses from ``from_loss`` up to the next step's.

    Numbers of candidates are indices of :attr:`Decision.candidates`.
    """

    from_loss: float
    choice: int | None
    """Index of the choice; None if no condition is shown to lose so little, or another condition
    beats each of those in both energy and correctness."""
    saving: Saving | None
    """Saving of the choice against the reference; the interval allows for the choice of both. None
    if there is no choice or it is the reference."""
    runners_up: tuple[int, ...]
    """Indices of the next admissible conditions by energy."""
    admissible: int
    """Number of conditions that are shown to lose so little."""
    tied: tuple[int, ...] = ()
    """Indices of those that are not shown to take more energy than the choice."""
    passed_over: tuple[int, ...] = ()
    """Indices of conditions that are shown to lose so little and take no more energy than the
    choice, but are beaten by one that is not shown to."""


@dataclass(frozen=True)
class Decision:
    """The condition of least energy for every accepted loss of mean correctness.

    A condition is never the choice if another has no higher mean energy and no lower mean
    correctness, even if that one's loss is not shown to be small. The bounds of the loss hold for
    all conditions at once, so in 95% of all studies the choice loses no more than accepted, even
    if somebody looks at the answers before choosing the loss. The saving's interval allows for the
    choice of both conditions.
    """

    candidates: tuple[Candidate, ...]
    """In order of mean energy per image."""
    reference: int
    """Index of the condition of the highest mean correctness."""
    steps: tuple[Step, ...]
    """One for every accepted loss at which the answer changes, from 0 on."""
    left_out: tuple[str, ...]
    """Conditions with fewer than two runs that have both energy and correctness, or with an energy
    that is not above 0."""
    failed: tuple[str, ...]
    """Conditions that learned nothing; neither reference nor choice."""
    chance: str
    """What counts as having learned nothing, in words."""
    image_error: str
    """That the bounds lack the error from the number of validation images, if they do."""
    provenance: str
    """Weakest provenance of the energies."""
    correctness: str = "f1_macro"

    def step(self, accepted_loss: float) -> Step:
        """Return the answer for an accepted loss (0.02 is two points of F1)."""
        accepted = _hundredths(accepted_loss)
        within = [step for step in self.steps if _hundredths(step.from_loss) <= accepted]
        return within[-1] if within else self.steps[0]

    def choice(self, accepted_loss: float) -> Candidate | None:
        """Return the condition to train with, or None if none is shown to lose so little."""
        index = self.step(accepted_loss).choice
        return None if index is None else self.candidates[index]

    @property
    def answers(self) -> tuple[Step, ...]:
        """The steps at which the choice changes."""
        groups = itertools.groupby(self.steps, key=lambda step: step.choice)
        return tuple(next(steps) for _, steps in groups)

    def headline(self, step: Step) -> str:
        """Return the recommendation."""
        return decision_text.headline(self, step)

    def details(self, step: Step) -> str:
        """Describe the energy, saving and possible loss of the choice, and what decided."""
        return decision_text.details(self, step)

    def summary(self) -> str:
        """Describe the data: conditions, runs, provenance, and what was left out."""
        return decision_text.summary(self)

    def to_json(self) -> dict[str, Any]:
        """Return the decision as JSON values; unknown values are None.

        Keys are the names of the attributes. A candidate also has its ``name``; a step its
        ``headline``, its ``details`` and ``from_hundredths``, the accepted loss in whole hundredths
        of a point; the whole its ``summary``. A saving is None or an object of ``saving``,
        ``ci_low``, ``ci_high``, ``n_from``, ``n_to`` and ``picked_from``.
        """
        return {
            "correctness": self.correctness,
            "provenance": self.provenance,
            "summary": self.summary(),
            "reference": self.reference,
            "left_out": list(self.left_out),
            "failed": list(self.failed),
            "candidates": [
                {
                    "name": candidate.name,
                    **vars(candidate),
                    "levels": [str(level) for level in candidate.levels],
                    "duration_s_per_image": _finite(candidate.duration_s_per_image),
                    "power_w": _finite(candidate.power_w),
                    "saving": _saving_json(candidate.saving),
                }
                for candidate in self.candidates
            ],
            "steps": [
                {
                    "from_loss": step.from_loss,
                    "from_hundredths": _hundredths(step.from_loss),
                    "choice": step.choice,
                    "runners_up": list(step.runners_up),
                    "admissible": step.admissible,
                    "tied": list(step.tied),
                    "passed_over": list(step.passed_over),
                    "saving": _saving_json(step.saving),
                    "headline": self.headline(step),
                    "details": self.details(step),
                }
                for step in self.steps
            ],
        }


def decide(runs: pd.DataFrame, correctness: str = "f1_macro") -> Decision:
    """Find, for every accepted loss, the condition that takes the least energy.

    A condition is admissible at an accepted loss if :func:`loss_bounds` shows that its mean
    correctness is no further below that of the best condition. Savings are against the condition of
    the highest mean correctness. Runs without energy or correctness (from 0 to 1) are left out, and
    conditions that learned nothing (:mod:`..chance`).
    """
    runs = mark_units(runs)
    known = runs.dropna(subset=[ENERGY, correctness])
    if known.empty:
        raise NotEnoughDataError(f"no run has both an energy and a {quantity(correctness)}")
    usable = [
        (key, part)
        for key, part in _by_condition(known)
        if (part[ENERGY] > 0).all() and len(part) >= 2
    ]
    groups = [
        (key, part, log_units(part, ENERGY))
        for key, part in usable
        if not learned_nothing(part, correctness)
    ]
    if len(groups) < 2:
        raise NotEnoughDataError(
            "there is nothing to choose from: a choice needs at least 2 conditions that learned "
            f"something, with at least 2 runs each that tell both energy and "
            f"{quantity(correctness)}"
        )
    groups.sort(key=lambda group: (group[2].mean(), condition_name(group[0])))
    candidates, reference = _candidates(known, groups, correctness)
    kept = {condition_name(key) for key, _ in usable}
    learned = {candidate.name for candidate in candidates}
    return Decision(
        candidates=candidates,
        reference=reference,
        steps=_steps(candidates, [logs for *_, logs in groups]),
        left_out=tuple(
            name for key, _ in _by_condition(runs) if (name := condition_name(key)) not in kept
        ),
        failed=tuple(name for key, _ in usable if (name := condition_name(key)) not in learned),
        chance=chance_sentence(known, correctness),
        image_error=image_error_sentence(known, correctness),
        provenance=weakest_provenance(pd.concat([part for _, part, _ in groups])),
        correctness=correctness,
    )


def _candidates(
    known: pd.DataFrame,
    groups: Sequence[tuple[tuple[object, ...], pd.DataFrame, pd.Series]],
    correctness: str,
) -> tuple[tuple[Candidate, ...], int]:
    """Return the candidates, and the index of the one of the highest mean correctness."""
    scores = [run_units(part, correctness) for _, part, _ in groups]
    images = image_variances([part for _, part, _ in groups], correctness)
    bounds = loss_bounds(scores, np.nan_to_num(images))
    means = [float(values.mean()) for values in scores]
    energies = [math.exp(logs.mean()) for *_, logs in groups]
    reference = int(np.argmax(means))  # the one of less energy among equals
    levels = [dict(zip(CONDITION, key, strict=True)) for key, *_ in groups]
    candidates = tuple(
        Candidate(
            levels=key,
            n=len(part),
            energy_j_per_image=energies[k],
            duration_s_per_image=float(part["duration_s_per_image"].median()),
            power_w=float(part["power_w"].median()),
            correctness=means[k],
            loss_high=rounded_up(bound),
            varies=bool(np.ptp(part[correctness]) > 0),
            provenance=weakest_provenance(part),
            saving=None
            if k == reference
            else saving(known, levels[reference], levels[k], correctness=correctness),
            beaten_by=_beaten_by(k, energies, means),
        )
        for k, ((key, part, _), bound) in enumerate(zip(groups, bounds, strict=True))
    )
    return candidates, reference


def _beaten_by(k: int, energies: Sequence[float], means: Sequence[float]) -> int | None:
    """Return the condition of the highest mean among those that beat this one in both."""
    better = [
        j
        for j, (energy, mean) in enumerate(zip(energies, means, strict=True))
        if energy <= energies[k] and mean >= means[k] and (energy, mean) != (energies[k], means[k])
    ]
    return max(better, key=lambda j: (means[j], -energies[j]), default=None)


def _steps(candidates: Sequence[Candidate], logs: Sequence[pd.Series]) -> tuple[Step, ...]:
    losses = sorted({0.0, *(candidate.loss_high for candidate in candidates)})
    pairs = math.comb(len(candidates), 2)
    steps = []
    for loss in losses:
        admitted = [k for k, candidate in enumerate(candidates) if candidate.loss_high <= loss]
        indices = [k for k in admitted if candidates[k].beaten_by is None]
        choice = indices[0] if indices else None
        alone = None if choice is None else candidates[choice].saving
        steps.append(
            Step(
                from_loss=loss,
                choice=choice,
                # Any of the conditions could have become the choice, and any the reference.
                saving=None if alone is None else alone.picked(len(candidates), pairs),
                runners_up=tuple(indices[1 : 1 + RUNNERS_UP]),
                admissible=len(admitted),
                tied=tuple(k for k in indices[1:] if not _takes_more(logs, k, indices)),
                passed_over=tuple(
                    k
                    for k in admitted
                    if (choice is None or k < choice)
                    and candidates[k].beaten_by not in (None, choice)
                ),
            )
        )
    return tuple(steps)


def _takes_more(logs: Sequence[pd.Series], k: int, indices: Sequence[int]) -> bool:
    """Return whether a condition is shown to take more energy than the first of those admitted."""
    try:
        compared = contrast(logs[indices[0]], logs[k])
    except NotEnoughDataError:
        return False
    p = compared.p_above(0.0)
    return compared.estimate > 0 if math.isnan(p) else p < ALPHA / (len(indices) - 1)


def _by_condition(runs: pd.DataFrame) -> list[tuple[tuple[object, ...], pd.DataFrame]]:
    groups = runs.groupby(list(CONDITION), sort=False, observed=True)
    return [(tuple(key), part) for key, part in groups]


def _hundredths(loss: float) -> int:
    """Return a loss in whole hundredths of a point, rounded down."""
    return math.floor(round(GRID * loss, NOISE))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _saving_json(result: Saving | None) -> dict[str, float | int | str] | None:
    keys = ("saving", "ci_low", "ci_high", "n_from", "n_to", "picked_from")
    return None if result is None else {key: getattr(result, key) for key in keys}
