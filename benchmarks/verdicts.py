"""Whether the answers in words are true as often as they claim.

    .venv/bin/python benchmarks/verdicts.py [--quick] [--topic TEXT] [--package CHECKOUT]

Draws studies whose truth is known, asks the project's functions for their verdicts, and counts how
often a verdict is wrong: a "yes" where there is nothing, an interval that misses the truth, a
recommendation that another condition beats. ``--package`` asks the functions of another checkout
and writes the rates to ``verdicts_before.json``, which are shown beside those of this one. Seeds
are fixed, and the rates do not depend on the number of cores. The last line is JSON.
"""

import search_path  # noqa: F401

# isort: split
import argparse
import importlib
import itertools
import json
import os
import pkgutil
import subprocess
import sys
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
from joblib import Parallel, cpu_count, delayed
from rich.console import Console

from benchmarks import verdict_cases
from benchmarks.output import new_table, show_progress
from benchmarks.verdict_cases.case import BANDS

SEED = 2029
CHUNKS = 20  # into which the simulations of a case are cut
QUICK = 40  # simulations of a case
BEFORE = Path(__file__).with_name("verdicts_before.json")
console = Console(width=132)


def main():
    options = parsed()
    if options.package:
        sys.path.insert(0, str(options.package.resolve()))
        os.environ["PYTHONPATH"] = str(options.package.resolve())  # for the workers
    cases = [case for case in all_cases() if (options.topic or "") in case.topic]
    if not cases:
        sys.exit(f"error: no topic has {options.topic!r} in its name")
    rates = simulated(cases, options.quick)
    if options.package:
        write_before(options.package, rates)
    before = json.loads(BEFORE.read_text())["rates"] if BEFORE.exists() else {}
    report(cases, rates, before)


def parsed():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} simulations of each case")
    parser.add_argument("--topic", help="only topics whose name contains this")
    parser.add_argument("--package", type=Path, help="checkout whose greencv_core is asked")
    return parser.parse_args()


def all_cases():
    """Return the cases of every module in ``verdict_cases``, in the order of their names."""
    names = sorted(module.name for module in pkgutil.iter_modules(verdict_cases.__path__))
    modules = [importlib.import_module(f"{verdict_cases.__name__}.{name}") for name in names]
    return [case for module in modules for case in getattr(module, "CASES", ())]


def key_of(case):
    return f"{case.topic} | {case.kind} | {case.setting}"


def simulated(cases, quick):
    """Return (hits, answered, simulations) by case."""
    tasks = []
    for number, case in enumerate(cases):
        count = min(QUICK, case.simulations) if quick else case.simulations
        starts = np.linspace(0, count, CHUNKS + 1).astype(int)
        tasks += [(number, case, int(a), int(b)) for a, b in itertools.pairwise(starts) if a < b]
    np.random.default_rng(SEED).shuffle(tasks)  # so that the rest takes as long as what is done
    os.environ["PYTHONSAFEPATH"] = "1"  # for the workers: see search_path
    parallel = Parallel(cpu_count(), return_as="generator_unordered", batch_size=1)
    sums, started_s = np.zeros((len(cases), 3), int), time.perf_counter()
    for done, (number, found) in enumerate(parallel(delayed(chunk)(*task) for task in tasks), 1):
        sums[number] += found
        left_s = (time.perf_counter() - started_s) / done * (len(tasks) - done)
        show_progress(f"simulations: {done} of {len(tasks)} parts, {left_s:.0f} s left")
    show_progress("")
    return {key_of(case): tuple(map(int, found)) for case, found in zip(cases, sums, strict=True)}


def chunk(number, case, first, last):
    rng = np.random.default_rng([SEED, zlib.crc32(key_of(case).encode()), first])
    with warnings.catch_warnings(action="ignore"):
        answers = [case.simulate(rng, **case.given) for _ in range(first, last)]
    given = [bool(answer) for answer in answers if answer is not None]
    return number, (sum(given), len(given), len(answers))


def write_before(package, rates):
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=package,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    known = json.loads(BEFORE.read_text())["rates"] if BEFORE.exists() else {}
    text = json.dumps({"commit": commit, "rates": known | rates}, indent=1, sort_keys=True)
    BEFORE.write_text(text + "\n")


def report(cases, rates, before):
    table = new_table(
        "Verdicts on simulated studies of known truth",
        ["Topic", "Counted", "Setting"],
        ["Before", "Now", "Answered", "Allowed", ""],
    )
    missed = 0
    for case in cases:
        hits, answered, simulations = rates[key_of(case)]
        rate = hits / answered if answered else None
        low, high = BANDS[case.kind]
        # Two standard errors of a rate at the band's edge.
        errors = [2 * (edge * (1 - edge) / max(1, answered)) ** 0.5 for edge in (low, high)]
        fits = rate is None or low - errors[0] <= rate <= high + errors[1]
        missed += not fits
        was = before.get(key_of(case))
        table.add_row(
            case.topic, case.kind, case.setting,
            f"{100 * was[0] / was[1]:.1f} %" if was and was[1] else "",
            "no answer" if rate is None else f"{100 * rate:.1f} %",
            f"{answered} of {simulations}", f"{100 * low:g} to {100 * high:g} %",
            "" if fits else "outside",
        )  # fmt: skip
    console.print(table)
    found = {
        key: hits / answered if answered else None for key, (hits, answered, _) in rates.items()
    }
    print(json.dumps({"outside": missed, "cases": len(cases), "rates": found}))


if __name__ == "__main__":
    main()
