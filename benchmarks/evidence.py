"""Whether intervals over several studies, and over several sessions, hold what they promise.

    .venv/bin/python benchmarks/evidence.py [SIMULATIONS]

Draws studies of known truth (a slope over 5 to 12 architectures each, with a standard error from
these architectures) without heterogeneity, with moderate and with strong one, pools them with the
project's function, and counts how often the 95 % interval holds the true mean. Then draws sessions
of runs and counts how often the interval of a saving with sessions as units holds the true one.
Alternatives to the project's methods are shown for comparison. Seeds are fixed. Takes about three
minutes on one core. The last line is JSON.
"""

import search_path  # noqa: F401

# isort: split
import json
import sys

from rich.console import Console

from benchmarks import evidence_simulations as sims
from benchmarks.evidence_speed import measure_claims
from benchmarks.output import new_table, show_progress

SIMULATIONS = 2_000
SESSIONS_FOR_EACH = 5
"""Simulations of sessions for each of pooling: they cost less; some settings are near an edge."""
console = Console(width=132)


def main():
    simulations = int(sys.argv[1]) if sys.argv[1:] else SIMULATIONS
    pooled, sessions = {}, {}
    for name, spread in sims.HETEROGENEITY.items():
        for k in sims.STUDIES:
            show_progress(f"{k} studies, heterogeneity: {name}")
            pooled[name, k] = sims.pooled_coverage(k, spread, simulations)
    for case in sims.BETWEEN:
        for number in sims.SESSIONS:
            show_progress(f"{number} sessions, spread between them: {case}")
            sessions[case, number] = sims.session_coverage(
                number, case, SESSIONS_FOR_EACH * simulations
            )
    show_progress("")
    of_sessions = SESSIONS_FOR_EACH * simulations
    show("Pooled mean", simulations, ["heterogeneity", "studies"], pooled)
    show("Saving by sessions", of_sessions, ["between sessions", "sessions"], sessions)
    answer = {
        "pooled_coverage": nested(pooled, sims.USED),
        "prediction_coverage": nested(pooled, sims.PREDICTION),
        "session_coverage": nested(sessions, sims.WELCH),
    }
    show_progress("claims on a million runs")
    answer |= measure_claims()
    show_progress("")
    print(json.dumps(answer))


def show(title, simulations, settings, rates):
    methods = list(next(iter(rates.values())))
    error = 100 * (0.95 * 0.05 / simulations) ** 0.5
    title += f": coverage of 95 % intervals ({simulations} simulations each: +- {error:.1f} points)"
    table = new_table(title, settings[:1], [settings[1], *methods])
    for (name, n), found in rates.items():
        table.add_row(name, str(n), *(f"{100 * found[method]:.1f} %" for method in methods))
    console.print(table)


def nested(rates, method):
    """Return the rates of one method by setting and number."""
    found = {}
    for (name, n), by_method in rates.items():
        found.setdefault(name, {})[str(n)] = round(by_method[method], 4)
    return found


if __name__ == "__main__":
    main()
