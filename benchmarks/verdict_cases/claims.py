"""Verdicts on the original's claims, on tables of which no claim is true, or whose truth is known.

In the null study all conditions take the same; in the other, architectures differ by chance (sd 0.3
of logarithms, anew in each environment), whatever their GFLOPs.
"""

from functools import partial

import numpy as np
import pandas as pd

from benchmarks.verdict_cases.case import COVERAGE, FALSE_YES, ONE_OF_MANY, Case
from greencv_core.published.claim_answers import ENERGY, GFLOPS, UTILISATION, Terms
from greencv_core.published.claim_differences import (
    ask_architectures,
    ask_correlation,
    ask_environments,
)
from greencv_core.published.claim_matching import ask_matching
from greencv_core.published.claim_savings import ask_largest_saving, ask_saving_without_loss
from greencv_core.published.claims import evaluate_claims, evaluate_evidence

TERMS = Terms(0.02, "f1_macro", "F1")
THEIRS = 0.8138
YES = ("holds", "holds in part")


def study(rng, architectures, environments, n, *, stray=0.0, sd=0.05):
    """Return a runs table in which nothing depends on complexity."""
    parts = []
    gflops = np.geomspace(0.05, 10, architectures)
    for e in range(environments):
        own = rng.normal(0, stray, architectures) if stray else np.zeros(architectures)
        busy = rng.normal(0, stray, architectures) if stray else np.zeros(architectures)
        for a in range(architectures):
            parts.append(
                pd.DataFrame(
                    {
                        "run_id": [f"{e}-{a}-{i}" for i in range(n)],
                        "architecture": f"net{a}",
                        "environment": f"env{e}",
                        "gflops_per_image": gflops[a],
                        ENERGY: np.exp(own[a] + rng.normal(0, sd, n)),
                        UTILISATION: 50 * np.exp(0.3 * busy[a] + rng.normal(0, sd, n)),
                        "f1_macro": 0.9 + rng.normal(0, 0.01, n),
                        "duration_s_per_image": np.exp(rng.normal(0, sd, n)) * (1 + e),
                        "provenance": "measured",
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def is_yes(answer):
    return None if answer.standing == "cannot be tested" else answer.standing in YES


def architectures_differ(rng, **sizes):
    return is_yes(ask_architectures(ENERGY, study(rng, **sizes)))


def environments_differ(rng, **sizes):
    return is_yes(ask_environments(ENERGY, study(rng, **sizes)))


def rises(rng, **sizes):
    return is_yes(ask_correlation(GFLOPS, ENERGY, study(rng, **sizes)))


def matches(rng, **sizes):
    return is_yes(ask_matching(study(rng, **sizes)))


def two_conditions(rng, n, remaining, sd):
    runs = study(rng, 2, 1, n, sd=sd)
    runs.loc[runs["architecture"] == "net0", ENERGY] *= remaining
    return runs


def as_large(rng, n, remaining, sd):
    """Say whether a saving that is too small by more than the margin is called as large."""
    return ask_largest_saving(THEIRS, TERMS, two_conditions(rng, n, remaining, sd)).standing == (
        "holds"
    )


def saving_covered(rng, n, remaining, sd):
    found = ask_largest_saving(THEIRS, TERMS, two_conditions(rng, n, remaining, sd))
    return found.ci_low <= 1 - remaining <= found.ci_high


def negligible(rng, n, sd):
    """Say whether a loss of exactly the margin is called negligible."""
    runs = two_conditions(rng, n, 0.5, 0.02)
    loss = 0.02 * (runs["architecture"] == "net0")
    runs["f1_macro"] = 0.9 - loss + rng.normal(0, sd, len(runs))
    return is_yes(ask_saving_without_loss(TERMS, runs))


def gross_alone(rng, n):
    """Say whether hardware is said to match where it does by its idle energy alone."""
    runs = study(rng, 8, 2, n)
    g, powerful = runs["gflops_per_image"], runs["environment"] == "env1"
    noise = np.exp(rng.normal(0, 0.02, len(runs)))
    runs["duration_s"] = 1e3 * g ** np.where(powerful, 0.4, 0.6)
    runs["energy_j"] = 5e4 * g**0.5 * noise + 150 * runs["duration_s"]
    table = runs.assign(
        source="lab", images_processed=1000, idle_power_w=150.0, correctness=runs["f1_macro"]
    ).drop(columns=[ENERGY, "duration_s_per_image", "f1_macro"])
    claims = evaluate_evidence(table).claims.set_index("id")
    return claims.loc["matching", "standing"] == "holds"


def any_holds(rng, **sizes):
    """Say whether any of the eleven claims is said to hold."""
    return bool(evaluate_claims(study(rng, **sizes)).claims["standing"].isin(YES).any())


def of_nulls(topic, what, simulate, sizes, simulations, kind=FALSE_YES):
    return [
        Case(
            f"claims{topic}", kind,
            f"{what}: {a} architectures, {e} environments, n = {n}", simulate,
            {"architectures": a, "environments": e, "n": n, **more}, simulations,
        )
        for a, e, n, more in sizes
    ]  # fmt: skip


FEW = [(5, 2, 5, {}), (20, 3, 3, {})]
of_complexity = partial(of_nulls, " on complexity")
SINGLE = [(5, 3, 1, {}), (20, 3, 1, {})]
STRAYS = [(a, e, n, {"stray": 0.3}) for a, e, n in ((5, 1, 30), (5, 3, 5), (8, 3, 3), (20, 3, 1))]
CASES = [
    *of_nulls(", single runs", "architectures differ", architectures_differ, SINGLE, 200),
    *of_nulls(", single runs", "environments differ", environments_differ, SINGLE, 200),
    *of_complexity("rises, no differences", rises, [*FEW, *SINGLE], 100),
    *of_complexity("rises, architectures stray", rises, STRAYS, 100),
    *of_complexity("hardware matches, no differences", matches, [*FEW, *SINGLE], 100),
    *of_complexity("hardware matches, architectures stray", matches, STRAYS, 100),
    *of_nulls(", all eleven", "any of eleven, no differences", any_holds,
             [*FEW[:1], (5, 3, 10, {})], 40, ONE_OF_MANY),
    *(
        Case(
            "claims on savings", FALSE_YES,
            f"as large as 81.4 %: {100 * (1 - left):.0f} % saved, n = {n}, sd {sd}",
            as_large, {"n": n, "remaining": left, "sd": sd}, 400,
        )
        for left, n, sd in ((0.25, 3, 0.3), (0.25, 10, 0.3), (0.233, 30, 0.1), (0.4, 3, 1.0))
    ),
    *(
        Case(
            "claims on savings", COVERAGE, f"largest saving: 2 conditions, n = {n}, sd {sd}",
            saving_covered, {"n": n, "remaining": 0.2, "sd": sd}, 300,
        )
        for n, sd in ((3, 0.1), (10, 0.3), (30, 0.05))
    ),
    *(
        Case(
            "claims on savings", FALSE_YES, f"negligible loss: a loss of the margin, n = {n}",
            negligible, {"n": n, "sd": 0.02}, 400,
        )
        for n in (3, 10, 30)
    ),
    Case(
        "claims, gross and net", FALSE_YES, "hardware matches, by idle energy alone", gross_alone,
        {"n": 3}, 60,
    ),
]  # fmt: skip
