"""Intervals of a coverage and of a ratio of errors, for trainings that err together."""

import numpy as np
import pandas as pd

from benchmarks.verdict_cases.case import AT_LEAST, COVERAGE, Case

try:
    from greencv_core.estimation import coverage
except ImportError:
    coverage = None  # a checkout from before: no interval

RUNS = 30  # of a condition


def answers(rng, conditions, spread):
    """Return answers of two methods, whose errors differ between conditions."""
    shared = rng.normal(0, spread, conditions)
    truth = np.repeat(100.0, conditions * RUNS)
    names = np.repeat([f"net{c}" for c in range(conditions)], RUNS)
    held = rng.random(len(truth)) < np.repeat(1 / (1 + np.exp(-(2.5 + shared))), RUNS)
    parts = []
    for method, error in (("ours", 0.05), ("other", 0.1)):
        own = np.repeat(np.exp(rng.normal(0, spread / 2, conditions)), RUNS)
        off = error * own * np.abs(rng.normal(0, 1, len(truth)))
        parts.append(
            pd.DataFrame(
                {
                    "architecture": names, "environment": "gpu", "method": method,
                    "energy_j": truth, "estimate_j": truth * (1 + off),
                    "low_j": np.where(held, 90.0, 110.0), "high_j": 130.0,
                }
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def coverage_covered(rng, conditions, spread):
    if coverage is None:
        return None
    some = answers(rng, conditions, spread)
    found = coverage.Coverage.of(some[some["method"] == "ours"])
    shared = np.random.default_rng(1).normal(0, spread, 200_000)
    truth = float(np.mean(1 / (1 + np.exp(-(2.5 + shared)))))
    return found.low <= truth <= found.high


def ratio_covered(rng, conditions, spread):
    if coverage is None:
        return None
    _, low, high, _ = coverage.ratio_of_errors(answers(rng, conditions, spread), "ours", "other")
    return low <= 0.5 <= high


CASES = [
    Case(
        "estimation", kind, f"{name}: {k} conditions, spread {spread}", simulate,
        {"conditions": k, "spread": spread}, 400,
    )
    for name, kind, simulate in (
        ("coverage", AT_LEAST, coverage_covered), ("ratio of errors", COVERAGE, ratio_covered)
    )
    for k in (5, 10, 20)
    for spread in (0.6, 1.6)
]  # fmt: skip
