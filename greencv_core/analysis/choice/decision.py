"""The condition of least energy for every accepted loss of correctness."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from greencv_core.analysis.choice.savings import Saving, pick_largest, saving
from greencv_core.analysis.comparison.best import loss_bounds
from greencv_core.analysis.result import NotEnoughDataError
from greencv_core.analysis.selection import CONDITION, condition_name, weakest_provenance
from greencv_core.utils.text import F1_DECIMALS, count, left_out_clause, number, percent, quantity

ENERGY = "energy_j_per_image"
RUNNERS_UP = 4
"""Most conditions listed after the choice."""
GRID = 10_000
"""Losses are compared as whole hundredths of a point."""
_NOISE = 6
"""Decimals of a hundredth that are not rounding errors."""


@dataclass(frozen=True)
class Candidate:
    """A condition with its energy, time and correctness."""

    levels: tuple[object, ...]
    n: int
    energy_j_per_image: float
    """Median over runs, as are time and power."""
    duration_s_per_image: float
    power_w: float
    correctness: float
    """Mean over runs."""
    loss_high: float
    """Upper bound of the loss of mean correctness against the best condition, 95 % for all
    conditions at once, rounded up to four decimals."""
    varies: bool
    """Whether its runs differ in correctness."""
    provenance: str
    """Provenance of its energy (the weakest of its runs)."""
    saving: Saving | None
    """Saving against the reference, as a single pair; None for the reference."""

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
    """Index of the choice; None if no condition is shown to lose so little."""
    saving: Saving | None
    """Saving of the choice against the reference; the interval allows for the choice. None if
    there is no choice or it is the reference."""
    runners_up: tuple[int, ...]
    """Indices of the next admissible conditions by energy."""
    admissible: int
    """Number of conditions that are shown to lose so little."""


@dataclass(frozen=True)
class Decision:
    """The condition of least energy for every accepted loss of mean correctness.

    The bounds of the loss hold for all conditions at once, so in 95 % of all studies the choice
    loses no more than accepted, even if somebody looks at the answers before choosing the loss.
    A saving's interval allows for the choice among the conditions admitted at one accepted loss.
    """

    candidates: tuple[Candidate, ...]
    """In order of median energy per image."""
    reference: int
    """Index of the condition of the highest mean correctness."""
    steps: tuple[Step, ...]
    """One for every accepted loss at which the answer changes, from 0 on."""
    left_out: tuple[str, ...]
    """Conditions with fewer than two runs that have both energy and correctness."""
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
        if step.choice is None:
            return "These runs show of no condition that it loses so little."
        return f"Train {self.candidates[step.choice].name}."

    def details(self, step: Step) -> str:
        """Describe the energy, saving and possible loss of the choice."""
        reference = self.candidates[self.reference]
        name = quantity(self.correctness)
        if step.choice is None:
            closest = min(self.candidates, key=lambda candidate: candidate.loss_high)
            return (
                f"The least that they show is a loss of at most {points(closest.loss_high)} "
                f"({closest.name}). Failing that, {reference.name} has the highest mean {name}, "
                f"{_f1(reference.correctness)}, and takes {_energy_phrase(reference)}."
            )
        chosen = self.candidates[step.choice]
        if step.saving is None:
            also = (
                f"takes the least energy of the {step.admissible} shown to lose so little"
                if step.admissible > 1
                else "is the only one shown to lose so little"
            )
            return (
                f"It has the highest mean {name}, {_f1(chosen.correctness)}, and {also}: "
                f"{_energy_phrase(chosen)}; n = {chosen.n}. {_loss_sentence(chosen)}"
            )
        return (
            f"It takes {_energy_phrase(chosen)}: {_saving_phrase(step.saving)} {reference.name}, "
            f"which has the highest mean {name} ({step.saving.interval()}; n = {step.saving.n_to} "
            f"and {step.saving.n_from}).{_provenance_sentence(chosen, reference)} Its mean {name} "
            f"is {_f1(chosen.correctness)}, that of the other {_f1(reference.correctness)}. "
            f"{_loss_sentence(chosen)}"
        )

    def summary(self) -> str:
        """Describe the data: conditions, runs, provenance, and what was left out."""
        runs = sum(candidate.n for candidate in self.candidates)
        left_out = left_out_clause(
            self.left_out, f"fewer than 2 runs with energy and {quantity(self.correctness)}"
        )
        mixed = len({candidate.provenance for candidate in self.candidates}) > 1
        text = (
            f"{count(len(self.candidates), 'condition')}, {count(runs, 'run')}; energy is "
            f"{'in part ' if mixed else ''}{self.provenance}{left_out}."
        )
        alike = sum(not candidate.varies for candidate in self.candidates)
        if alike > 1:
            text += (
                f" In {alike} conditions all runs have the same {quantity(self.correctness)}: what "
                "is said of losses between these rests on no spread, and may be too sure."
            )
        return text

    def to_json(self) -> dict[str, Any]:
        """Return the decision as JSON values; unknown values are None.

        Keys are the names of the attributes. A candidate also has its ``name``; a step its
        ``headline``, its ``details`` and ``from_hundredths``, the accepted loss in whole hundredths
        of a point; the whole its ``summary``. A saving is None or an object of ``saving``,
        ``ci_low``, ``ci_high``, ``method``, ``n_from``, ``n_to`` and ``picked_from``.
        """
        return {
            "correctness": self.correctness,
            "provenance": self.provenance,
            "summary": self.summary(),
            "reference": self.reference,
            "left_out": list(self.left_out),
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
    correctness is no further below that of the best condition. Savings of the median energy per
    image are against the condition of the highest mean correctness. The intervals do not allow for
    its having been picked. Runs without energy or correctness (from 0 to 1) are left out.
    """
    names = [condition_name(key) for key, _ in _by_condition(runs)]
    known = runs.dropna(subset=[ENERGY, correctness])
    if known.empty:
        raise NotEnoughDataError(f"no run has both an energy and a {quantity(correctness)}")
    groups = [(key, part) for key, part in _by_condition(known) if len(part) >= 2]
    if len(groups) < 2:
        raise NotEnoughDataError(
            "there is nothing to choose from: a choice needs at least 2 conditions with at least 2 "
            f"runs each that tell both energy and {quantity(correctness)}"
        )
    groups.sort(key=lambda group: (group[1][ENERGY].median(), condition_name(group[0])))
    scores = [part[correctness].to_numpy(dtype=float) for _, part in groups]
    means = [float(values.mean()) for values in scores]
    reference = int(np.argmax(means))  # the one of less energy among equals
    if not means[reference] > 0:
        raise NotEnoughDataError(f"no condition has a {quantity(correctness)} above 0")
    levels = [dict(zip(CONDITION, key, strict=True)) for key, _ in groups]
    savings = [
        None if own is levels[reference]
        else saving(known, levels[reference], own, correctness=correctness)
        for own in levels
    ]  # fmt: skip
    candidates = tuple(
        Candidate(
            levels=key,
            n=len(part),
            energy_j_per_image=float(part[ENERGY].median()),
            duration_s_per_image=float(part["duration_s_per_image"].median()),
            power_w=float(part["power_w"].median()),
            correctness=mean,
            loss_high=math.ceil(round(GRID * bound, _NOISE)) / GRID,
            varies=bool(np.ptp(part[correctness]) > 0),
            provenance=weakest_provenance(part),
            saving=saved,
        )
        for (key, part), mean, bound, saved in zip(
            groups, means, loss_bounds(scores), savings, strict=True
        )
    )
    compared = {candidate.name for candidate in candidates}
    return Decision(
        candidates=candidates,
        reference=reference,
        steps=_steps(known, candidates),
        left_out=tuple(name for name in names if name not in compared),
        provenance=weakest_provenance(pd.concat([part for _, part in groups])),
        correctness=correctness,
    )


def points(loss: float) -> str:
    """Return a loss of F1 in points: 0.0185 is 1.85 points."""
    return f"{100 * loss:.2f} points"


def _steps(runs: pd.DataFrame, candidates: Sequence[Candidate]) -> tuple[Step, ...]:
    losses = sorted({0.0, *(candidate.loss_high for candidate in candidates)})
    admitted = [
        [i for i, candidate in enumerate(candidates) if candidate.loss_high <= loss]
        for loss in losses
    ]
    steps = []
    for loss, indices in zip(losses, admitted, strict=True):
        choice = indices[0] if indices else None
        found = None
        if choice is not None and candidates[choice].saving is not None:
            # The largest set of which this is the choice, so that the interval of a choice is the
            # same at every loss.
            largest = max((group for group in admitted if group and group[0] == choice), key=len)
            found = pick_largest(
                runs, [saved for i in largest if (saved := candidates[i].saving) is not None]
            )
        runners_up = tuple(indices[1 : 1 + RUNNERS_UP])
        steps.append(Step(loss, choice, found, runners_up, len(indices)))
    return tuple(steps)


def _by_condition(runs: pd.DataFrame) -> list[tuple[tuple[object, ...], pd.DataFrame]]:
    groups = runs.groupby(list(CONDITION), sort=False, observed=True)
    return [(tuple(key), part) for key, part in groups]


def _hundredths(loss: float) -> int:
    """Return a loss in whole hundredths of a point, rounded down."""
    return math.floor(round(GRID * loss, _NOISE))


def _f1(correctness: float) -> str:
    return f"{correctness:.{F1_DECIMALS}f}"


def _energy_phrase(candidate: Candidate) -> str:
    return f"{number(candidate.energy_j_per_image)} J per image ({candidate.provenance})"


def _loss_sentence(candidate: Candidate) -> str:
    if candidate.loss_high == 0:
        return "It is shown to lose nothing against the best (95 %, for all conditions at once)."
    return (
        f"It loses at most {points(candidate.loss_high)} against the best (95 %, for all "
        "conditions at once)."
    )


def _saving_phrase(result: Saving) -> str:
    share = percent(abs(result.saving))
    if share == percent(0):
        return "as much energy as"
    return f"{share} {'less' if result.saving > 0 else 'more'} energy than"


def _provenance_sentence(chosen: Candidate, reference: Candidate) -> str:
    if chosen.provenance == reference.provenance:
        return ""
    return f" The energy of the other is {reference.provenance}: meters are part of the difference."


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _saving_json(result: Saving | None) -> dict[str, float | int | str] | None:
    keys = ("saving", "ci_low", "ci_high", "method", "n_from", "n_to", "picked_from")
    return None if result is None else {key: getattr(result, key) for key in keys}
