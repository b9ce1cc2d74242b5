"""Energy and complexity: exponents, terms and break-evens, of architectures that stray."""

import numpy as np
import pandas as pd

from benchmarks.verdict_cases.case import COVERAGE, FALSE_YES, Case
from benchmarks.verdict_cases.studies import runs_table
from greencv_core import analysis

EXPONENT = 0.5
BREAK_EVEN = 0.3
SPREAD = 0.03
"""Of the logarithms of an architecture's runs."""


def study(
    rng, architectures, n, environments=2, stray=0.0, ratio=1.0, sessions=1, between=0.0, slope=0.0
):
    """Return runs of which each environment's exponent is larger by ``slope`` than the last one's.

    ``stray`` and ``between`` are the relative standard deviations of architectures, and of the
    sessions of an environment; the most complex architecture varies ``ratio`` times as much from
    run to run as the simplest. GFLOPs are unevenly spaced.
    """
    x = np.sort(rng.uniform(-1, 1, architectures))
    sd = SPREAD * ratio ** np.linspace(-0.5, 0.5, architectures)
    session_of = np.arange(n) * sessions // n
    own = rng.normal(0, stray, architectures) / np.sqrt(2)
    parts = []
    for e in range(environments):
        level = own + rng.normal(0, stray, architectures) / np.sqrt(2)
        level += np.log(10) * (EXPONENT * x + e * slope * (x - np.log10(BREAK_EVEN)))
        day = rng.normal(0, between, sessions)[session_of]
        logs = level[:, None] + day + rng.normal(0, sd[:, None], (architectures, n))
        names = [f"net{i}" for i in range(architectures)]
        parts.append(
            runs_table(
                dict(zip(names, np.exp(logs), strict=True)),
                environment=f"env{e}",
                gflops=dict(zip(names, 10**x, strict=True)),
                session_of=session_of,
            )
        )
    return pd.concat(parts, ignore_index=True)


def exponent(rng, **given):
    """Return whether the last environment's interval holds the exponent."""
    result = analysis.attempt(analysis.energy_regression, study(rng, **given))
    if not result:
        return None
    row = (result.lines if hasattr(result, "lines") else result.slopes).iloc[-1]
    return row["ci_low"] <= EXPONENT <= row["ci_high"]


def term(rng, name, **given):
    """Return whether a term that is none is told to add something."""
    runs = study(rng, **given)
    if name == "log10(GFLOPs)":
        runs["energy_j_per_image"] /= runs["gflops_per_image"] ** EXPONENT
    result = analysis.attempt(analysis.nested_models, runs)
    if not result:
        return None
    models = result.models.set_index(result.models["model"].str.removeprefix("+ "))
    p = models["added_p"].get(name, np.nan)
    return None if np.isnan(p) else p < 0.05


def break_even(rng, **given):
    """Return whether the set of possible break-evens holds the true one."""
    runs = study(rng, slope=-0.3, **given)
    result = analysis.attempt(analysis.break_even, runs, "env0", "env1")
    if not result:
        return None
    return bool(np.isnan(result.low) or result.low <= BREAK_EVEN <= result.high)


def ruled_out(rng, **given):
    """Return whether a break-even within the range is ruled out although there is one."""
    runs = study(rng, slope=-0.3, **given)
    result = analysis.attempt(analysis.break_even, runs, "env0", "env1")
    if not result or not result.lowest <= BREAK_EVEN <= result.highest:
        return None
    return result.excluded


def _setting(given):
    parts = [f"{given['architectures']} architectures, n = {given['n']}"]
    if given.get("environments", 2) != 2:
        parts.append(f"{given['environments']} environments")
    parts += [f"stray {100 * given['stray']:g} %"] if "stray" in given else []
    parts += [f"sd 1 to {given['ratio']:g}"] if "ratio" in given else []
    if "sessions" in given:
        parts.append(f"{given['sessions']} sessions that differ by {100 * given['between']:g} %")
    return ", ".join(parts)


def _cases(topic, kind, simulate, settings, simulations, **more):
    label = f"{more['name']}: " if more else ""
    return [
        Case(topic, kind, label + _setting(given), simulate, {**given, **more}, simulations)
        for given in settings
    ]


CASES = [
    *_cases("exponent of GFLOPs", COVERAGE, exponent, [
        {"architectures": 3, "n": 5, "stray": 0.1},
        {"architectures": 4, "n": 3, "stray": 0.3, "ratio": 10},
        {"architectures": 5, "n": 30, "ratio": 3},
        {"architectures": 5, "n": 30, "stray": 0.1},
        {"architectures": 5, "n": 6, "environments": 3, "stray": 0.3},
        {"architectures": 8, "n": 3, "stray": 0.03, "ratio": 10},
        {"architectures": 12, "n": 10, "stray": 0.1, "sessions": 3, "between": 0.1},
    ], 200),
    *_cases("term of the regression", FALSE_YES, term, [
        {"architectures": 3, "n": 5, "stray": 0.1},
        {"architectures": 5, "n": 30, "stray": 0.1},
    ], 600, name="log10(GFLOPs)"),
    *_cases("term of the regression", FALSE_YES, term, [
        {"architectures": 3, "n": 5, "environments": 3, "stray": 0.1},
        {"architectures": 5, "n": 30, "stray": 0.1},
        {"architectures": 8, "n": 5, "environments": 3, "stray": 0.1, "ratio": 10},
    ], 600, name="log10(GFLOPs) x environment"),
    *_cases("term of the regression", FALSE_YES, term, [
        {"architectures": 5, "n": 30, "stray": 0.1},
        {"architectures": 5, "n": 6, "stray": 0.02, "sessions": 2, "between": 0.1},
        {"architectures": 8, "n": 9, "environments": 3, "sessions": 3, "between": 0.1},
    ], 600, name="environment"),
    *_cases("break-even", COVERAGE, break_even, [
        {"architectures": 4, "n": 3, "stray": 0.1},
        {"architectures": 5, "n": 30, "stray": 0.1},
        {"architectures": 8, "n": 3, "stray": 0.03, "ratio": 10},
        {"architectures": 12, "n": 10, "stray": 0.1, "ratio": 10},
        {"architectures": 4, "n": 6, "stray": 0.02, "sessions": 2, "between": 0.02},
        {"architectures": 5, "n": 6, "stray": 0.02, "sessions": 2, "between": 0.1},
        {"architectures": 8, "n": 9, "stray": 0.1, "sessions": 3, "between": 0.1},
        {"architectures": 12, "n": 12, "stray": 0.02, "sessions": 4, "between": 0.02},
        {"architectures": 8, "n": 8, "stray": 0.02, "sessions": 4, "between": 0},
    ], 200),
    *_cases("break-even ruled out", FALSE_YES, ruled_out, [
        {"architectures": 5, "n": 30, "stray": 0.1},
        {"architectures": 8, "n": 9, "stray": 0.02, "sessions": 3, "between": 0.1},
    ], 200),
]  # fmt: skip
