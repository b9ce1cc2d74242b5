"""Tables and figures of the benchmark of the statistics."""

import json
import math

import numpy as np
from rich.console import Console

from benchmarks import statistics_simulations as sims
from benchmarks.output import new_table

console = Console(width=132)
TESTS = {
    "welch": "Welch's ANOVA",
    "games_howell": "Games-Howell, any pair",
    "primary_of_compare": "the rule of compare",
    "welch_james_interaction": "Welch-James, interaction",
    "welch_james_environment": "Welch-James, environment",
    "non_inferiority_welch": "non-inferiority, Welch",
}
OTHERS = {
    "kruskal": "Kruskal-Wallis",
    "dunn_holm": "Dunn with Holm, any pair",
    "classical_f_interaction": "classical F, interaction",
    "classical_f_environment": "classical F, environment",
    "aligned_ranks_interaction": "aligned ranks, interaction",
    "aligned_ranks_environment": "aligned ranks, environment",
}
QUANTITIES = {
    "saving": "saving",
    "picked_maximum": "largest saving, picked",
    "break_even": "break-even",
}


def report(rates, simulations, published_s, large, seconds):
    by_test, coverage = {}, {}
    for (kind, question, scenario, n), found in rates.items():
        if kind in QUANTITIES:
            coverage.setdefault((kind, question), {}).setdefault(scenario, {})[n] = found
        else:
            by_test.setdefault(question, {}).setdefault(scenario, {})[n] = found
    show_tests("Type I error at 5 %, of the tests that answer", by_test, TESTS)
    show_tests("The same for alternative tests", by_test, OTHERS)
    console.print(
        "* outside 4 to 6 % (10 runs and more) or 3 to 7 % (fewer). SE: the simulation's standard "
        "error, of 5 %. Only the rule of compare decides; Holm's correction lets it reject less.\n"
    )
    show_coverage(coverage)
    show_methods(coverage)
    console.print(f"The whole analysis of the published runs: {published_s:.1f} s.")
    console.print(
        f"Of {large['rows']:,} rows drawn from them: {large['seconds']:.0f} s, at most "
        f"{large['peak_rss_mb']:.0f} MB. All of this: {seconds / 60:.1f} min."
    )
    figures = {
        "type1_error": {test: agreed(by_test[test], sims.USUAL) for test in TESTS},
        "coverage": {q: averaged(coverage[q, sims.USED], (10, 30)) for q in QUANTITIES},
        "published_analysis_s": published_s,
        "coverage_few": {
            q: {m: averaged(found, (3, 5)) for (of, m), found in coverage.items()
                if of == q and m != sims.BOUNDED}
            for q in QUANTITIES
        },
        "type1_error_of_others": {
            **{test: agreed(by_test[test], sims.USUAL) for test in OTHERS},
            "welch_of_few": agreed(by_test["welch"], sims.FEW),
            "kruskal_of_few": agreed(by_test["kruskal"], sims.FEW),
        },
        "coverage_by_scenario": {
            q: {s: {str(n): rate(found) for n, found in sorted(of_n.items())}
                for s, of_n in sorted(coverage[q, sims.USED].items())}
            for q in QUANTITIES
        },
        "break_even_bounded": {
            s: {str(n): rate(found) for n, found in sorted(of_n.items())}
            for s, of_n in coverage["break_even", sims.BOUNDED].items()
        },
        "simulations": simulations,
        "seconds": seconds,
        "large_table": large,
    }  # fmt: skip
    console.print(json.dumps(figures), soft_wrap=True, highlight=False)


def rate(found):
    return round(found[0] / found[1], 4)


def agreed(by_scenario, ns):
    scenario = next(s for s in (*sims.SPREADS, *sims.CELLS, *sims.SCORES) if s in by_scenario)
    return {str(n): rate(by_scenario[scenario][n]) for n in ns}


def averaged(by_scenario, ns):
    """Rates over the scenarios, none where there is no interval."""
    known = {n: [rate(of_n[n]) for of_n in by_scenario.values() if n in of_n] for n in ns}
    return {str(n): round(float(np.mean(v)), 4) if v else None for n, v in known.items()}


def show_tests(title, by_test, names):
    sizes = [f"n = {n}" for n in (*sims.FEW, *sims.USUAL)]
    shown = new_table(title, ["Test", "Groups' sd"], [*sizes, "Simulations", "SE"])
    for test, name in names.items():
        for scenario in (*sims.SPREADS, *sims.CELLS, *sims.SCORES):
            of_n = by_test[test].get(scenario, {})
            if not of_n:
                continue
            total = of_n[sims.USUAL[0]][1]
            cells = [error_rate(of_n[n], n) if n in of_n else "" for n in (*sims.FEW, *sims.USUAL)]
            error = math.sqrt(sims.LEVEL * (1 - sims.LEVEL) / total)
            shown.add_row(name, scenario, *cells, f"{total:,}", f"{100 * error:.2f} %")
    console.print(shown)


def error_rate(found, n):
    off = abs(found[0] / found[1] - sims.LEVEL) > (0.01 if n >= 10 else 0.02)
    return f"{100 * found[0] / found[1]:.2f} %{'*' if off else ' '}"


def show_coverage(coverage):
    title = "Coverage of 95 % intervals as the project gives them, by scenario"
    sizes = [f"n = {n}" for n in sims.COVERED]
    shown = new_table(title, ["Quantity", "Scenario"], [*sizes, "Simulations"])
    for quantity, name in QUANTITIES.items():
        for scenario in (*sims.ERRORS, *sims.MEDIANS, *sims.STRAY):
            of_n = coverage[quantity, sims.USED].get(scenario)
            if of_n is None:
                continue
            most = 1.0 if quantity == "picked_maximum" else 0.97
            cells = [covered(of_n[n][0] / of_n[n][1], n, most) for n in sims.COVERED]
            shown.add_row(name, scenario, *cells, f"{of_n[10][1]:,}")
    for scenario in sims.STRAY:
        of_n = coverage["break_even", sims.BOUNDED][scenario]
        cells = [f"{100 * of_n[n][0] / of_n[n][1]:.1f} % " for n in sims.COVERED]
        shown.add_row("break-even: share bounded", scenario, *cells, f"{of_n[10][1]:,}")
    console.print(shown)
    console.print(
        "* outside 93 to 97 % at 30 runs, or under 90 % at 10. The simulation's standard error is "
        "0.5 points. An unbounded break-even holds the truth. The interval of a picked saving is "
        "one for all that could have been picked, so that 95 % is the least.\n"
    )


def covered(share, n, most):
    off = not 0.93 <= share <= most if n == 30 else n == 10 and share < 0.9
    return f"{100 * share:.1f} %{'*' if off else ' '}"


def show_methods(coverage):
    shown = new_table(
        "Ways to an interval: coverage, mean and lowest of the scenarios, and mean width in points "
        "of the saving",
        ["Quantity", "Method"],
        [f"n = {n}" for n in sims.COVERED],
    )
    ways = [
        ("saving", sims.USED),
        *(("picked_maximum", method) for method in (sims.USED, sims.ALONE)),
    ]
    for quantity, method in ways:
        by_scenario = coverage[quantity, method]
        cells = []
        for n in sims.COVERED:
            found = [of_n[n] for of_n in by_scenario.values() if n in of_n]
            share = np.mean([f[0] / f[1] for f in found]) if found else math.nan
            width = 100 * np.mean([f[2] for f in found]) if found else math.nan
            wide = f"{width:.1f}" if width < 1000 else "over 1000"
            lowest = min((f[0] / f[1] for f in found), default=math.nan)
            cell = f"{100 * share:.1f} %, {100 * lowest:.1f} % ({wide})"
            cells.append(cell if found else "none")
        shown.add_row(QUANTITIES[quantity], method, *cells)
    console.print(shown)
