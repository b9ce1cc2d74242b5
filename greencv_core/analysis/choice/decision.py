"""Which condition to train with, for every loss of correctness that somebody may accept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from greencv_core.analysis.choice.savings import Saving, pick_largest, saving
from greencv_core.analysis.result import ALPHA, NotEnoughDataError
from greencv_core.analysis.selection import CONDITION, condition_name, weakest_provenance
from greencv_core.utils.text import (
    F1_DECIMALS,
    count,
    left_out_clause,
    number,
    percent,
    quantity,
)

Values = NDArray[np.float64]

ENERGY = "energy_j_per_image"
RUNNERS_UP = 4
"""Named after the choice, at most."""
GRID = 10_000
"""Losses are told, and compared, as whole parts of this: hundredths of a point."""
_NOISE = 6
"""Decimals of such a part that floating-point arithmetic leaves intact."""


@dataclass(frozen=True)
class Candidate:
    """One condition: what it takes, what it learns, and how much worse than the best it may be."""

    levels: tuple[object, ...]
    n: int
    energy_j_per_image: float
    """Median, as are time and power; in joules."""
    duration_s_per_image: float
    power_w: float
    correctness: float
    """Mean over runs."""
    loss_high: float
    """At most so much is its mean below that of the best condition: a 95 % bound for all
    conditions at once, rounded up to four decimals."""
    varies: bool
    """Whether its runs differ in correctness."""
    provenance: str
    """Of its energy: the weakest of its runs."""
    saving: Saving | None
    """Against the reference, with the interval of this pair alone; None for the reference."""

    @property
    def name(self) -> str:
        """The condition's name."""
        return condition_name(self.levels)


@dataclass(frozen=True)
class Step:
    """The answer for all accepted losses from ``from_loss`` on, until the next step's.

    Candidates are told by their place in :attr:`Decision.candidates`.
    """

    from_loss: float
    choice: int | None
    """None where no condition is shown to lose so little."""
    saving: Saving | None
    """Of the choice against the reference; its interval allows for the choice being picked. None
    where there is no choice, or where it is the reference."""
    runners_up: tuple[int, ...]
    """The next in order of energy, of those that are shown to lose so little."""
    admissible: int
    """Conditions that are shown to lose so little."""


@dataclass(frozen=True)
class Decision:
    """The greenest condition for every loss of mean correctness that may be accepted.

    The bounds of the loss hold for all conditions at once, so a choice by them loses no more than
    was accepted in 95 % of all studies, even if the accepted loss was settled after a look at the
    answers. A saving's interval holds 95 % for the answer at one accepted loss: it allows for the
    choice being the largest saving among the conditions that are admitted there.
    """

    candidates: tuple[Candidate, ...]
    """From the least median energy per image to the most."""
    reference: int
    """The place of the condition of the highest mean correctness: what is saved against."""
    steps: tuple[Step, ...]
    """From a loss of 0 on; complete: one for every loss at which the answer changes."""
    left_out: tuple[str, ...]
    """Conditions with fewer than two runs that tell both energy and correctness."""
    provenance: str
    """Of the energies: the weakest of all."""
    correctness: str = "f1_macro"

    def step(self, accepted_loss: float) -> Step:
        """Return the answer for an accepted loss, a share as F1 is (0.02 is two points)."""
        within = [step for step in self.steps if _parts(step.from_loss) <= _parts(accepted_loss)]
        return within[-1] if within else self.steps[0]

    def choice(self, accepted_loss: float) -> Candidate | None:
        """Return the condition to train with, or None where none is shown to lose so little."""
        place = self.step(accepted_loss).choice
        return None if place is None else self.candidates[place]

    @property
    def answers(self) -> tuple[Step, ...]:
        """The steps at which the choice changes; between them only its competitors do."""
        return tuple(
            step
            for before, step in zip((None, *self.steps), self.steps, strict=False)
            if before is None or before.choice != step.choice
        )

    def headline(self, step: Step) -> str:
        """Say what to train with."""
        if step.choice is None:
            return "These runs show of no condition that it loses so little."
        return f"Train {self.candidates[step.choice].name}."

    def details(self, step: Step) -> str:
        """Say what the choice takes, what it saves, and what it may lose."""
        reference = self.candidates[self.reference]
        told = quantity(self.correctness)
        if step.choice is None:
            closest = min(self.candidates, key=lambda candidate: candidate.loss_high)
            return (
                f"The least that they show is a loss of at most {points(closest.loss_high)} "
                f"({closest.name}). Failing that, {reference.name} has the highest mean {told}, "
                f"{_three(reference.correctness)}, and takes {_energy(reference)}."
            )
        chosen = self.candidates[step.choice]
        if step.saving is None:
            also = (
                f"takes the least energy of the {step.admissible} shown to lose so little"
                if step.admissible > 1
                else "is the only one shown to lose so little"
            )
            return (
                f"It has the highest mean {told}, {_three(chosen.correctness)}, and {also}: "
                f"{_energy(chosen)}; n = {chosen.n}. {_at_most(chosen)}"
            )
        return (
            f"It takes {_energy(chosen)}: {_share(step.saving)} {reference.name}, which has the "
            f"highest mean {told} ({step.saving.interval()}; n = {step.saving.n_to} and "
            f"{step.saving.n_from}).{_meters(chosen, reference)} Its mean {told} is "
            f"{_three(chosen.correctness)}, that of the other {_three(reference.correctness)}. "
            f"{_at_most(chosen)}"
        )

    def summary(self) -> str:
        """Say what was compared, what energy is, and which conditions were left out."""
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
        """Return all of it as plain values that JSON knows; what is not known is None.

        Returns
        -------
        dict
            ``correctness`` (the column), ``provenance``, ``summary``, ``reference`` (a place in
            ``candidates``), ``left_out`` (names);

            ``candidates``: from the least energy to the most, each with ``name``, ``levels``,
            ``n``, ``energy_j_per_image``, ``duration_s_per_image``, ``power_w``, ``correctness``,
            ``loss_high``, ``varies``, ``provenance`` and ``saving``;

            ``steps``: by ``from_loss``, each with ``from_hundredths`` (the same loss in hundredths
            of a point, whole, to compare with), ``choice`` and ``runners_up`` (places in
            ``candidates``), ``admissible``, ``saving``, ``headline`` and
            ``details`` (sentences).

            A ``saving`` is None or has ``saving``, ``ci_low``, ``ci_high`` (shares), ``method``,
            ``n_from``, ``n_to`` and ``picked_from``.
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
                    "levels": [str(level) for level in candidate.levels],
                    "n": candidate.n,
                    "energy_j_per_image": candidate.energy_j_per_image,
                    "duration_s_per_image": _known(candidate.duration_s_per_image),
                    "power_w": _known(candidate.power_w),
                    "correctness": candidate.correctness,
                    "loss_high": candidate.loss_high,
                    "varies": candidate.varies,
                    "provenance": candidate.provenance,
                    "saving": _plain(candidate.saving),
                }
                for candidate in self.candidates
            ],
            "steps": [
                {
                    "from_loss": step.from_loss,
                    "from_hundredths": _parts(step.from_loss),
                    "choice": step.choice,
                    "runners_up": list(step.runners_up),
                    "admissible": step.admissible,
                    "saving": _plain(step.saving),
                    "headline": self.headline(step),
                    "details": self.details(step),
                }
                for step in self.steps
            ],
        }


def decide(runs: pd.DataFrame, correctness: str = "f1_macro") -> Decision:
    """Find, for every loss that may be accepted, the condition that takes the least energy.

    A condition is a choice at an accepted loss if :func:`loss_bounds` shows that its mean
    correctness is no further below that of the best condition. Savings are of median energies per
    image, against the condition of the highest mean correctness. That this one was picked for its
    correctness is not allowed for; it matters only where a condition's runs that learned more by
    chance also took more energy by chance.

    Parameters
    ----------
    runs
        The runs table; runs without energy or correctness take no part.
    correctness
        The column that may lose, from 0 to 1.

    Raises
    ------
    NotEnoughDataError
        There are fewer than two conditions of at least two runs, none learned anything, or the
        reference takes nothing.
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
    reference = int(np.argmax(means))  # of equals the first: the one of less energy
    if not means[reference] > 0:
        raise NotEnoughDataError(f"no condition has a {quantity(correctness)} above 0")
    levels = [dict(zip(CONDITION, key, strict=True)) for key, _ in groups]
    savings = [
        None
        if place == reference
        else saving(known, levels[reference], levels[place], correctness=correctness)
        for place in range(len(groups))
    ]
    candidates = tuple(
        Candidate(
            levels=tuple(key),
            n=len(part),
            energy_j_per_image=float(part[ENERGY].median()),
            duration_s_per_image=float(part["duration_s_per_image"].median()),
            power_w=float(part["power_w"].median()),
            correctness=mean,
            loss_high=math.ceil(round(GRID * high, _NOISE)) / GRID,
            varies=bool(np.ptp(part[correctness]) > 0),
            provenance=weakest_provenance(part),
            saving=saved,
        )
        for (key, part), mean, high, saved in zip(
            groups, means, loss_bounds(scores), savings, strict=True
        )
    )
    in_play = {candidate.name for candidate in candidates}
    return Decision(
        candidates=candidates,
        reference=reference,
        steps=_steps(known, candidates),
        left_out=tuple(name for name in names if name not in in_play),
        provenance=weakest_provenance(pd.concat([part for _, part in groups])),
        correctness=correctness,
    )


def loss_bounds(scores: Sequence[Values]) -> Values:
    r"""Return by how much each group's mean is at most below that of the best, at 95 % for all.

    Hsu's multiple comparisons with the best (Hsu 1984), constrained to losses of 0 and more, with
    Welch's standard errors and degrees of freedom and Bonferroni's adjustment:

    .. math::
        u_i = \max\bigl(0,\ \max_{j \ne i}\ \bar y_j - \bar y_i
            + t_{1 - \alpha/(k - 1),\,\nu_{ij}}\, s_{ij}\bigr)

    Why the bounds hold at once, although nobody knows which group is the best: call it :math:`b`.
    Each of the :math:`k - 1` differences :math:`\mu_b - \mu_i` is above its one-sided bound
    :math:`\bar y_b - \bar y_i + t s_{ib}` with probability :math:`\alpha/(k - 1)`, so with
    probability :math:`1 - \alpha` or more none of them is. Then
    :math:`u_i`, a maximum over all :math:`j` and so over :math:`b` too, is no smaller than the loss
    of :math:`i`; and the best itself loses 0, which no :math:`u_i` is below. Comparisons between
    other groups only raise :math:`u_i`: they need no adjustment, which is why there are
    :math:`k - 1` and not :math:`k(k - 1)/2`.

    A pair of which neither group varies is bounded by its difference.

    Parameters
    ----------
    scores
        For each of at least two groups its values, at least two of them.

    Returns
    -------
    ndarray, shape (groups,)
        In the unit of the scores; not below 0.
    """
    means = np.array([values.mean() for values in scores])
    n = np.array([len(values) for values in scores])
    # Equal values have no spread, whatever the rounding of their mean.
    spread = [0.0 if np.ptp(values) == 0 else values.var(ddof=1) for values in scores]
    variances = np.array(spread) / n
    both = variances[:, None] + variances
    parts = variances**2 / (n - 1)
    with np.errstate(all="ignore"):
        df = both**2 / (parts[:, None] + parts)
    t = stats.t.ppf(1 - ALPHA / (len(scores) - 1), np.where(both > 0, df, np.inf))
    bounds = means[None, :] - means[:, None] + t * np.sqrt(both)
    np.fill_diagonal(bounds, 0.0)
    highest: Values = bounds.max(axis=1)
    return highest


def points(loss: float) -> str:
    """Return a loss of F1 in points, to a hundredth: 0.0185 is 1.85 points."""
    return f"{100 * loss:.2f} points"


def _steps(runs: pd.DataFrame, candidates: Sequence[Candidate]) -> tuple[Step, ...]:
    losses = sorted({0.0, *(candidate.loss_high for candidate in candidates)})
    admitted = [
        [place for place, candidate in enumerate(candidates) if candidate.loss_high <= loss]
        for loss in losses
    ]
    steps = []
    for loss, places in zip(losses, admitted, strict=True):
        choice = places[0] if places else None
        found = None
        if choice is not None and candidates[choice].saving is not None:
            # All that the choice is greenest of before a greener one is admitted: its interval then
            # does not change with conditions that are admitted after it.
            largest = max((p for p in admitted if p and p[0] == choice), key=len)
            found = pick_largest(
                runs, [s for place in largest if (s := candidates[place].saving) is not None]
            )
        step = Step(loss, choice, found, tuple(places[1 : 1 + RUNNERS_UP]), len(places))
        steps.append(step)
    return tuple(steps)


def _by_condition(runs: pd.DataFrame) -> list[tuple[tuple[object, ...], pd.DataFrame]]:
    groups = runs.groupby(list(CONDITION), sort=False, observed=True)
    return [(tuple(key), part) for key, part in groups]


def _parts(loss: float) -> int:
    """Return a loss in whole hundredths of a point, what is beyond the last one cut off."""
    return math.floor(round(GRID * loss, _NOISE))


def _three(correctness: float) -> str:
    return f"{correctness:.{F1_DECIMALS}f}"


def _energy(candidate: Candidate) -> str:
    return f"{number(candidate.energy_j_per_image)} J per image ({candidate.provenance})"


def _at_most(candidate: Candidate) -> str:
    if candidate.loss_high == 0:
        return "It is shown to lose nothing against the best (95 %, for all conditions at once)."
    return (
        f"It loses at most {points(candidate.loss_high)} against the best (95 %, for all "
        "conditions at once)."
    )


def _share(result: Saving) -> str:
    told = percent(abs(result.saving))
    if told == percent(0):
        return "as much energy as"
    return f"{told} {'less' if result.saving > 0 else 'more'} energy than"


def _meters(chosen: Candidate, reference: Candidate) -> str:
    if chosen.provenance == reference.provenance:
        return ""
    return f" The energy of the other is {reference.provenance}: meters are part of the difference."


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain(result: Saving | None) -> dict[str, float | int | str] | None:
    if result is None:
        return None
    return {
        "saving": result.saving,
        "ci_low": result.ci_low,
        "ci_high": result.ci_high,
        "method": result.method,
        "n_from": result.n_from,
        "n_to": result.n_to,
        "picked_from": result.picked_from,
    }
