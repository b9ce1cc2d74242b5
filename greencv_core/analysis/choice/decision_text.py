"""What a decision says, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greencv_core.analysis.choice.savings import Saving
from greencv_core.utils.text import (
    F1_DECIMALS,
    count,
    left_out_clause,
    listed,
    percent,
    quantity,
    with_unit,
)

if TYPE_CHECKING:
    from greencv_core.analysis.choice.decision import Candidate, Decision, Step


def headline(decision: Decision, step: Step) -> str:
    """Return the recommendation."""
    if step.choice is not None:
        return f"Train {decision.candidates[step.choice].name}."
    if step.passed_over:
        return "No configuration can be recommended at this loss."
    return "With these runs, no configuration can be shown to lose this little F1."


def details(decision: Decision, step: Step) -> str:
    """Describe the energy, saving and possible loss of the choice, and what decided."""
    if step.choice is None:
        text = _without_choice(decision, step)
    elif step.saving is None:
        text = _of_reference(decision, step, decision.candidates[step.choice])
    else:
        text = _of_saving(decision, decision.candidates[step.choice], step.saving)
    passed_over = [_passed_over(decision, decision.candidates[k]) for k in step.passed_over]
    return " ".join(part for part in (text, _tie(decision, step), *passed_over) if part)


def summary(decision: Decision) -> str:
    """Describe the data: conditions, runs, provenance, and what was left out."""
    name, candidates = quantity(decision.correctness), decision.candidates
    runs = sum(candidate.n for candidate in candidates)
    left_out = left_out_clause(
        decision.left_out, f"fewer than 2 runs with energy and {name}, or an energy of 0 or less"
    )
    mixed = len({candidate.provenance for candidate in candidates}) > 1
    text = (
        f"{count(len(candidates), 'condition')}, {count(runs, 'run')}; energy is "
        f"{'in part ' if mixed else ''}{decision.provenance}{left_out}. {decision.chance}"
    )
    if decision.failed:
        text += (
            f" At least half of the runs of {listed(decision.failed)} did. Such a configuration is "
            "neither recommended nor compared with."
        )
    if decision.image_error:
        text += f" {decision.image_error}"
    alike = sum(not candidate.varies for candidate in candidates)
    if alike > 1:
        text += (
            f" In {alike} configurations all runs have the same {name}, so losses between them "
            "have no interval and may be too certain."
        )
    return text


def points(loss: float) -> str:
    """Return a loss of F1 in points: 0.0185 is 1.85 points."""
    return f"{100 * loss:.2f} points"


def _without_choice(decision: Decision, step: Step) -> str:
    reference = decision.candidates[decision.reference]
    closest = min(decision.candidates, key=lambda candidate: candidate.loss_high)
    text = (
        f"{reference.name} has the highest mean {quantity(decision.correctness)}, "
        f"{_f1(reference.correctness)}, and uses {_energy_phrase(reference)}."
    )
    if step.passed_over:
        return text
    return (
        f"The smallest loss that they show is at most {points(closest.loss_high)} "
        f"({closest.name}). {text}"
    )


def _of_reference(decision: Decision, step: Step, chosen: Candidate) -> str:
    if step.admissible == 1:
        also = "It is the only one that stays within this loss"
    elif step.passed_over:
        also = "It uses the least energy of those that no other configuration beats"
    else:
        also = f"{step.admissible} configurations stay within this loss; it uses the least energy"
    return (
        f"It has the highest mean {quantity(decision.correctness)} ({_f1(chosen.correctness)}). "
        f"{also}: {_energy_phrase(chosen)}; n = {chosen.n}. {_loss_sentence(chosen)}"
    )


def _of_saving(decision: Decision, chosen: Candidate, saved: Saving) -> str:
    reference, name = decision.candidates[decision.reference], quantity(decision.correctness)
    return (
        f"It uses {_energy_phrase(chosen)}: {_saving_phrase(saved)} {reference.name}, which has "
        f"the highest mean {name} ({saved.interval()}; {saved.sizes()})."
        f"{_provenance_sentence(chosen, reference)} Its mean {name} is {_f1(chosen.correctness)}, "
        f"against {_f1(reference.correctness)}. {_loss_sentence(chosen)}"
    )


def _tie(decision: Decision, step: Step) -> str:
    """Name the conditions whose energy is not shown to be higher, and what decided."""
    others = [decision.candidates[k] for k in step.tied]
    if not others:
        return ""
    best = max(others, key=lambda candidate: candidate.correctness)
    return (
        f"Its energy does not differ significantly from that of {listed([c.name for c in others])} "
        "(t tests of log energy at 5%, adjusted for all candidates); the lower mean decides. "
        f"{best.name} has a mean {quantity(decision.correctness)} of "
        f"{_f1(best.correctness)}{', the highest of these' if len(others) > 1 else ''}."
    )


def _passed_over(decision: Decision, candidate: Candidate) -> str:
    assert candidate.beaten_by is not None
    better = decision.candidates[candidate.beaten_by]
    return (
        f"{candidate.name} stays within this loss at "
        f"{with_unit(candidate.energy_j_per_image, 'J')} per image, but is not recommended: "
        f"{better.name} uses {with_unit(better.energy_j_per_image, 'J')} and has a mean "
        f"{quantity(decision.correctness)} of "
        f"{_f1(better.correctness)} against {_f1(candidate.correctness)}. Its own F1 varies too "
        "much to show so small a loss."
    )


def _f1(correctness: float) -> str:
    return f"{correctness:.{F1_DECIMALS}f}"


def _energy_phrase(candidate: Candidate) -> str:
    return f"{with_unit(candidate.energy_j_per_image, 'J')} per image ({candidate.provenance})"


def _loss_sentence(candidate: Candidate) -> str:
    if candidate.loss_high == 0:
        return "With 95% confidence it loses nothing against the best."
    return (
        f"With 95% confidence (all configurations at once) it loses at most "
        f"{points(candidate.loss_high)} against the best."
    )


def _saving_phrase(result: Saving) -> str:
    share = percent(abs(result.saving))
    if share == percent(0):
        return "as much energy as"
    more = f"{share} {'less' if result.saving > 0 else 'more'} energy than"
    return f"in these runs {more}" if result.ci_low <= 0 <= result.ci_high else more


def _provenance_sentence(chosen: Candidate, reference: Candidate) -> str:
    if chosen.provenance == reference.provenance:
        return ""
    return (
        f" The other's energy is {reference.provenance}, so the meters explain part of the "
        "difference."
    )
