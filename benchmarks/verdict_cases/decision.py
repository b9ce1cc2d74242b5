"""Recommendations of the decision page: dominance, ties, failed trainings, and their savings."""

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.verdict_cases.case import CHANGED, COVERAGE, DOMINATED, FALSE_YES, Case
from benchmarks.verdict_cases.studies import runs_table
from greencv_core.analysis import attempt, decide

TOPIC = "decision"
MARGINS = (0.0, 0.01, 0.02, 0.05, 0.1)
CLASSES, IMAGES = 10, 300


def table(energies, scores):
    runs = runs_table(energies, scores)
    return runs.assign(classes=CLASSES, validation_images=IMAGES)


def drawn(rng, n, medians, means, energy_sd, score_sds):
    """Return a runs table with these true medians of energy and means of F1."""
    names = [f"net{k}" for k in range(len(medians))]
    energies = {name: rng.lognormal(np.log(m), energy_sd, n)
                for name, m in zip(names, medians, strict=True)}  # fmt: skip
    scores = {
        name: np.clip(rng.normal(m, sd, n), 0, 1)
        for name, m, sd in zip(names, means, score_sds, strict=True)
    }
    return table(energies, scores)


def chosen(decision):
    return [(step, decision.candidates[step.choice]) for step in decision.steps
            if step.choice is not None]  # fmt: skip


def dominated(rng, conditions, n, ratio):
    """Return whether any answer is beaten by the runs of another condition in both."""
    means = 0.9 + 0.05 * rng.random(conditions)
    sds = 0.005 * ratio ** rng.random(conditions)
    runs = drawn(rng, n, 1 + 9 * rng.random(conditions), means, 0.05, sds)
    decision = attempt(decide, runs)
    if not decision:
        return None
    groups = runs.groupby("architecture")
    energy = groups["energy_j_per_image"].agg(["median", stats.gmean])
    score = groups["f1_macro"].mean()
    names = {candidate.levels[0] for _, candidate in chosen(decision)}
    return any(
        bool(((energy < energy.loc[a]).all(axis=1) & (score > score[a])).any()) for a in names
    )


def saves_falsely(rng, conditions, n, energy_sd):
    """Return whether equal energies make the recommended condition save."""
    means = 0.9 + 0.01 * rng.random(conditions)
    runs = drawn(rng, n, np.ones(conditions), means, energy_sd, [0.002] * conditions)
    decision = attempt(decide, runs)
    step = decision.step(0.1) if decision else None
    if step is None or step.choice is None:
        return None
    return step.saving is not None and step.saving.ci_low > 0


def covered(rng, conditions, n, spread, energy_sd):
    """Return whether the interval of the recommended saving holds the truth."""
    medians = spread ** rng.random(conditions)
    means = 0.9 + 0.01 * rng.random(conditions)
    runs = drawn(rng, n, medians, means, energy_sd, [0.002] * conditions)
    decision = attempt(decide, runs)
    step = decision.step(0.1) if decision else None
    if step is None or step.saving is None:
        return None
    truth = dict(zip(dict.fromkeys(runs["architecture"]), medians, strict=True))
    best = decision.candidates[decision.reference].levels[0]
    true = 1 - truth[decision.candidates[step.choice].levels[0]] / truth[best]
    return step.saving.ci_low <= true <= step.saving.ci_high


def changed_by_failed(rng, conditions, n, failed):
    """Return whether conditions that learned nothing change an answer at a usual margin."""
    means = 0.9 + 0.05 * rng.random(conditions)
    medians = 1 + 9 * rng.random(conditions)
    runs = drawn(rng, n, medians, means, 0.05, [0.005] * conditions)
    energies = {f"fail{k}": rng.lognormal(-1, 0.05, n) for k in range(failed)}
    # Half of them always name one class, the others guess.
    scores = {
        name: np.full(n, 2 / (CLASSES * (CLASSES + 1))) if k % 2
        else rng.binomial(IMAGES, 1 / CLASSES, n) / IMAGES
        for k, name in enumerate(energies)
    }  # fmt: skip
    both = pd.concat([runs, table(energies, scores)], ignore_index=True)
    before, after = attempt(decide, runs), attempt(decide, both)
    if not before:
        return None
    return not after or any(
        getattr(before.choice(margin), "name", "") != getattr(after.choice(margin), "name", "")
        for margin in MARGINS
    )


CASES = [
    *(
        Case(TOPIC, DOMINATED, f"{k} conditions, n = {n}, F1's spread 1 to {ratio}", dominated,
             {"conditions": k, "n": n, "ratio": ratio}, simulations)
        for k, n, ratio, simulations in ((5, 3, 100, 60), (10, 3, 100, 40), (30, 30, 30, 10))
    ),
    *(
        Case(TOPIC, FALSE_YES, f"{k} conditions of equal energy, n = {n}, {sd:.0%} spread",
             saves_falsely, {"conditions": k, "n": n, "energy_sd": sd}, simulations)
        for k, n, sd, simulations in (
            (2, 5, 0.05, 150), (10, 3, 0.05, 50), (10, 12, 0.2, 50), (30, 12, 0.05, 15),
        )
    ),
    *(
        Case(TOPIC, COVERAGE, f"{k} conditions, energies 1 to {spread:g}, n = {n}", covered,
             {"conditions": k, "n": n, "spread": spread, "energy_sd": 0.05}, simulations)
        for k, spread, n, simulations in (
            (2, 2, 3, 150), (2, 2, 30, 150), (5, 1.05, 5, 80), (10, 3, 5, 50),
        )
    ),
    *(
        Case(TOPIC, CHANGED, f"{failed} failed conditions beside {k}, n = {n}", changed_by_failed,
             {"conditions": k, "n": n, "failed": failed}, simulations)
        for k, n, failed, simulations in ((2, 3, 1, 50), (5, 5, 4, 30), (10, 12, 4, 15))
    ),
]  # fmt: skip
