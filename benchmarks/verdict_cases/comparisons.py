"""Whether equal conditions are said to differ, or the environment to matter."""

import numpy as np
import pandas as pd

from benchmarks.verdict_cases.case import COVERAGE, FALSE_YES, Case
from benchmarks.verdict_cases.studies import runs_table
from greencv_core.analysis import (
    Comparison,
    Interaction,
    PairedComparison,
    architecture_by_environment,
    attempt,
    compare,
    compare_each,
    paired_by_environment,
)
from greencv_core.analysis.result import ALPHA

VALUE = "energy_j_per_image"
LEVEL_J = 10.0


def equal_conditions(rng, sizes, sd, sessions=1, session_sd=0.0, block_sd=0.0, name="gpu"):
    """Return runs of conditions of equal mean; spreads are relative, one for each condition.

    A session moves each condition by itself; a block (every condition once) moves all alike.
    """
    most = max(sizes)
    session_of = [i * sessions // most for i in range(most)]
    block = rng.normal(0, block_sd, most)
    energies = {}
    for number, (n, spread) in enumerate(zip(sizes, sd, strict=True)):
        of_session = rng.normal(0, session_sd, sessions)[np.array(session_of[:n])]
        noise = rng.normal(0, spread, n) + of_session + block[:n]
        energies[f"net{number:02d}"] = LEVEL_J * (1 + noise)
    return runs_table(energies, environment=name, session_of=session_of if sessions > 1 else None)


def differs(rng, **setting):
    result = attempt(compare, equal_conditions(rng, **setting), VALUE, "architecture", pairs=False)
    return result.significant if isinstance(result, Comparison) else None


def tells_apart(rng, **setting):
    result = attempt(compare, equal_conditions(rng, **setting), VALUE, "architecture")
    return result.pairs_differing > 0 if isinstance(result, Comparison) else None


def both_environments(rng, **setting):
    """Return runs of equal means in two environments, in blocks of all conditions."""
    parts = [equal_conditions(rng, **setting, name=name) for name in ("one", "two")]
    return pd.concat(parts, ignore_index=True)


def environment_matters(rng, **setting):
    crossed = attempt(architecture_by_environment, both_environments(rng, **setting))
    if not isinstance(crossed, Interaction):
        return None
    return not crossed.sure.empty  # which decides what the page says


def environment_depends(rng, **setting):
    crossed = attempt(architecture_by_environment, both_environments(rng, **setting))
    return crossed.p < ALPHA if isinstance(crossed, Interaction) else None


def some_architecture_differs(rng, **setting):
    runs = both_environments(rng, **setting)
    every = compare_each(runs, VALUE, "environment", "architecture", pairs=False)
    known = [result for result in every.values() if isinstance(result, Comparison)]
    return any(result.significant for result in known) if known else None


def ratios_are_held(rng, **setting):
    """Return whether all intervals of an environment's effect hold the true ratio, which is 1."""
    crossed = attempt(architecture_by_environment, both_environments(rng, **setting))
    if not isinstance(crossed, Interaction):
        return None
    effects = crossed.effects
    return bool(((effects["ci_low"] <= 1) & (effects["ci_high"] >= 1)).all())


def constant_correctness(rng, k, n):
    """Ask of a correctness without any spread, of which nothing can be tested."""
    runs = equal_conditions(rng, [n] * k, [0.02] * k)
    levels = dict(zip(runs["architecture"].unique(), rng.choice([0.9, 0.91], k), strict=True))
    runs["f1_macro"] = runs["architecture"].map(levels)
    result = attempt(compare, runs, "f1_macro", "architecture")
    return isinstance(result, Comparison) and (result.significant or result.pairs_differing > 0)


def correctness_moves(rng, k, n):
    """Ask whether correctness differs between environments, of runs of equal correctness."""
    runs = both_environments(rng, sizes=[n] * k, sd=[0.02] * k)
    runs["f1_macro"] = rng.binomial(300, 0.9, len(runs)) / 300
    result = attempt(paired_by_environment, runs, "f1_macro")
    return result.p < ALPHA if isinstance(result, PairedComparison) else None


def spreads(k, ratio):
    """Return standard deviations from 1 % to ``ratio`` %."""
    return np.geomspace(0.01, 0.01 * ratio, k)


def _case(topic, simulate, setting, simulations, **given):
    return Case(topic, FALSE_YES, setting, simulate, given, simulations)


def _of_groups(topic, simulate, simulations):
    settings = [
        ("2 equal conditions, n = 3, equal spread", 200, [3] * 2, [0.02] * 2),
        ("2 equal conditions, n = 3, spread 1 to 10", 200, [3] * 2, [0.01, 0.1]),
        ("2 equal conditions, n = 3 and 50, equal spread", 600, [3, 50], [0.02] * 2),
        ("2 equal conditions, n = 3 and 50, spread 3 to 1", 600, [3, 50], [0.06, 0.02]),
        ("2 equal conditions, n = 3 and 50, spread 1 to 10", 600, [3, 50], [0.01, 0.1]),
        ("5 equal conditions, one of n = 4, n = 5, spread 1 to 10", 100, [4, 5, 5, 5, 5],
         spreads(5, 10)),
        ("5 equal conditions, n = 3, 3, 50, 50, 50, spread 10, 5, 1, 1, 1", 100,
         [3, 3, 50, 50, 50], [0.1, 0.05, 0.01, 0.01, 0.01]),
        ("10 equal conditions, n = 3, spread 1 to 10", 100, [3] * 10, spreads(10, 10)),
        ("10 equal conditions, n = 30, spread 1 to 10", 60, [30] * 10, spreads(10, 10)),
        ("20 equal conditions, half n = 3, half n = 50, equal spread", 60, [3] * 10 + [50] * 10,
         [0.02] * 20),
        ("30 equal conditions, n = 3, equal spread", 60, [3] * 30, [0.02] * 30),
        ("30 equal conditions, n = 5, spread 1 to 10", 60, [5] * 30, spreads(30, 10)),
    ]  # fmt: skip
    return [
        _case(topic, simulate, setting, min(count, simulations), sizes=sizes, sd=sd)
        for setting, count, sizes, sd in settings
    ]


def _of_sessions(topic, simulate, count):
    return [
        _case(topic, simulate, f"{k} equal conditions, n = {n}, {sessions} sessions of {percent} %",
              count, sizes=[n] * k, sd=[0.02] * k, sessions=sessions, session_sd=percent / 100)
        for k, n, sessions, percent in ((2, 12, 2, 2), (5, 12, 2, 10), (5, 12, 3, 5), (5, 20, 4, 5))
    ]  # fmt: skip


_ENVIRONMENTS = [
    ("5 architectures in 2 equal environments, n = 3", [3] * 5, [0.02] * 5),
    ("5 architectures in 2 equal environments, n = 5, spread 1 to 10", [5] * 5, spreads(5, 10)),
    ("20 architectures in 2 equal environments, n = 3", [3] * 20, [0.02] * 20),
]

CASES = [
    *_of_groups("comparison: differs", differs, 200),
    *_of_sessions("comparison: differs", differs, 60),
    *[
        case
        for case in _of_groups("comparison: pairs told apart", tells_apart, 40)
        if case.setting.startswith(("2 ", "5 ")) and "50, 50" not in case.setting
    ],
    *_of_sessions("comparison: pairs told apart", tells_apart, 40)[:1],
    *[
        _case(topic, simulate, setting, 50, sizes=sizes, sd=sd)
        for topic, simulate in (
            ("comparison: the environment matters", environment_matters),
            ("comparison: the environment's effect depends", environment_depends),
            ("comparison: an architecture differs between environments", some_architecture_differs),
        )
        for setting, sizes, sd in _ENVIRONMENTS
    ],
    *[
        Case("comparison: ratios of environments, all at once", COVERAGE, setting, ratios_are_held,
             {"sizes": sizes, "sd": sd}, 50)
        for setting, sizes, sd in _ENVIRONMENTS
    ],
    _case("comparison: constant correctness", constant_correctness,
          "10 conditions, F1 0.90 or 0.91 in all runs", 20, k=10, n=12),
    _case("comparison: correctness between environments", correctness_moves,
          "5 architectures, n = 5, equal correctness", 100, k=5, n=5),
]  # fmt: skip
