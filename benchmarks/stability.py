"""How often runs without drift and groups are named, and how often those with them are.

    .venv/bin/python benchmarks/stability.py [--studies 1000]

Simulated studies of known truth; a study counts if any of its conditions is named. False alarms are
to stay at 5 % for each shape of the runs' distribution. The last line is JSON.
"""

import search_path  # noqa: F401

# isort: split
import argparse
import json

import numpy as np
import pandas as pd
from rich.console import Console

from benchmarks.output import new_table, show_progress
from greencv_core.analysis.stability import stability

SEED = 2031
SD = 0.02
DRAWS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "skewed": lambda rng, n: rng.gamma(4.0, size=n) / 2 - 2,
    "heavy tails": lambda rng, n: rng.standard_t(5, size=n) / np.sqrt(5 / 3),
    "uniform": lambda rng, n: rng.uniform(-1, 1, size=n) * np.sqrt(3),
}
SIZES = ((10, 5), (10, 10), (4, 30), (40, 5), (1, 5))
"""Conditions, and runs of each, in two sessions."""
EFFECTS = {
    "drift of 2 sd in one condition": (0, lambda n: np.linspace(-1, 1, n)),
    "drift of 6 sd in one condition": (0, lambda n: np.linspace(-3, 3, n)),
    "two groups 8 sd apart in one": (0, lambda n: 8.0 * (np.arange(n) * 7 % 5 < 2)),
    "jump of 4 sd in one": (0, lambda n: 4.0 * (np.arange(n) >= n // 2)),
    "drift of 2 sd in all conditions": (None, lambda n: np.linspace(-1, 1, n)),
}


def study(rng, conditions, n, draw, effect=None):
    """Return the runs of a study; only some conditions, or all, have the effect."""
    rows = []
    for condition in range(conditions):
        logs = SD * draw(rng, n)
        if effect is not None and effect[0] in (None, condition):
            logs = logs + SD * effect[1](n)
        rows += [
            {"architecture": f"a{condition}", "environment": "e", "repetition": k, "order": k,
             "session": f"s{2 * k // n}", "energy_j_per_image": np.exp(log)}
            for k, log in enumerate(logs)
        ]  # fmt: skip
    return pd.DataFrame(rows)


def rate(studies, *setting):
    """Return the share of studies that name something."""
    rng = np.random.default_rng([SEED, studies])
    return float(
        np.mean([not stability(study(rng, *setting)).unstable.empty for _ in range(studies)])
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=1000)
    studies = parser.parse_args().studies
    console = Console(width=120)
    sizes = [f"{c} x {n}" for c, n in SIZES]
    found = {"false_alarms": {}, "detected": {}}
    settings = [("false_alarms", name, draw, None) for name, draw in DRAWS.items()]
    settings += [("detected", name, DRAWS["normal"], effect) for name, effect in EFFECTS.items()]
    for part, name, draw, effect in settings:
        found[part][name] = {}
        for size, label in zip(SIZES, sizes, strict=True):
            show_progress(f"{name}, {label}")
            found[part][name][label] = rate(studies, *size, draw, effect)
    show_progress("")
    for part, title in (
        ("false_alarms", "Studies that name something where nothing is (%), conditions x runs"),
        ("detected", "Studies that name something (%)"),
    ):
        table = new_table(title, ["Runs"], sizes)
        for name, rates in found[part].items():
            table.add_row(name, *(f"{100 * value:.1f}" for value in rates.values()))
        console.print(table)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
