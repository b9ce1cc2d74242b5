"""Whether the analysis keeps the error rates that it states, and how long it takes.

    GREENCV_DATA=folder .venv/bin/python benchmarks/statistics.py

Draws runs of known truth, analyses them with the project's functions, and counts how often a test
at 5 % rejects a true hypothesis and how often a 95 % interval contains the truth. Groups differ in
variance, as measured energies do. Alternatives to the project's methods are shown for comparison.
Then times the whole analysis of the published runs (download them first by ``greencv
reanalyse``, or name their folder), and of 100,000 runs drawn from them. Seeds are fixed, and the
figures do not depend on the number of cores. Takes about forty minutes on two cores. The last
line is JSON.
"""

import search_path  # noqa: F401

# isort: split
import json
import resource
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.output import answer_of, show_progress
from benchmarks.statistics_report import report
from benchmarks.statistics_simulations import SEED, VALUE, simulated
from greencv_core import analysis

LARGE = 100_000
ROUNDS = 3


def main():
    if len(sys.argv) > 1:
        print(json.dumps(large_table(sys.argv[1])))
        return
    started_s = time.perf_counter()
    every = published()
    show_progress("the published runs")
    seconds = [timed(analyse, every) for _ in range(ROUNDS)]
    large = in_a_process(every)
    rates, simulations = simulated()
    show_progress("")
    report(rates, simulations, float(np.median(seconds)), large, time.perf_counter() - started_s)


def published():
    from greencv_core.published.seaa2023.reanalysis import load_reanalysis
    from greencv_core.utils.errors import GreencvError

    try:
        return load_reanalysis().every_run
    except GreencvError as error:
        sys.exit(f"error: {' '.join(str(error).split())}")


def analyse(every):
    """Ask of the runs all that the analysis can, but for what needs epochs or seeds in common."""
    from greencv_core.analysis import attempt
    from greencv_core.published.seaa2023.reanalysis import CORRECTED, CORRECTNESS, VARIANTS

    runs = every[~every["removed_by_hand"]].reset_index(drop=True)
    runs = runs.assign(**{VALUE: runs[CORRECTED]})
    headline = partial(analysis.best_against_worst, correctness=CORRECTNESS)
    answers = []
    for name in runs["environment"].unique():
        part = analysis.filter_by(runs, "environment", name)
        for value in (VALUE, CORRECTNESS):
            answers.append(attempt(analysis.compare, part, value, "architecture"))
    energies = {name: every.assign(**{VALUE: every[name]}) for name in list(VARIANTS)[1:]}
    in_both = runs[runs["environment"] != "Local N"]
    answers += [
        attempt(analysis.compare_each, runs, VALUE, "environment", "architecture"),
        attempt(analysis.savings_table, runs, correctness=CORRECTNESS),
        attempt(headline, runs),
        attempt(analysis.savings_without_loss, runs, correctness=CORRECTNESS),
        attempt(analysis.energy_regression, runs),
        attempt(analysis.nested_models, runs),
        attempt(analysis.architecture_by_environment, runs),
        attempt(analysis.architecture_by_environment, in_both),
        attempt(analysis.break_evens, runs),
        attempt(analysis.pareto_front, runs, correctness=CORRECTNESS),
        attempt(analysis.leave_one_repetition_out, runs, headline),
        attempt(analysis.repetitions_needed, runs),
        attempt(analysis.specification_curve, energies, correctness=CORRECTNESS),
        attempt(analysis.outliers_sentence, runs, headline),
        attempt(analysis.fastest_environment, runs),
        analysis.select_runs(runs),
        analysis.summarise(runs, values=(VALUE, CORRECTNESS)),
        analysis.weakest_provenance(runs),
    ]
    missing = [a.reason for a in answers if isinstance(a, analysis.Unavailable)]
    if missing:
        sys.exit(f"error: the analysis has no answer: {'; '.join(missing)}")


def timed(function, *args):
    started_s = time.perf_counter()
    function(*args)
    return time.perf_counter() - started_s


def in_a_process(every):
    show_progress(f"{LARGE} rows drawn from the published runs")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.pkl"
        every.to_pickle(path)
        return answer_of("the large table", [sys.executable, __file__, path])


def large_table(path):
    from greencv_core.published.seaa2023.reanalysis import VARIANTS

    every = pd.read_pickle(path)
    rng = np.random.default_rng(SEED)
    every = every.iloc[rng.integers(0, len(every), LARGE)].reset_index(drop=True)
    apart = 1 + 1e-3 * rng.normal(size=LARGE)  # so that the same run, drawn twice, does not tie
    changed = {name: every[name] * apart for name in ("energy_j", VALUE, *VARIANTS)}
    every = every.assign(run_id=np.arange(LARGE).astype(str), **changed)
    seconds = timed(analyse, every)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": len(every), "seconds": seconds, "peak_rss_mb": peak_mb}


if __name__ == "__main__":
    main()
