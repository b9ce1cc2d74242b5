"""Values that cannot be: net energies of zero or below, and runs that are counted twice."""

import pandas as pd

from benchmarks.verdict_cases.case import FALSE_YES, Case
from benchmarks.verdict_cases.studies import runs_table
from greencv_core.analysis import attempt, best_against_worst, savings_without_loss, select_runs
from greencv_core.utils.errors import BadInputError

IDLE, CONDITIONS = 2, 6


def net_of_idle(rng, n):
    """Return a study of which the first conditions take no more than an idle machine does."""
    energies = {f"net{i}": rng.normal(0.0 if i < IDLE else i, 0.1, n) for i in range(CONDITIONS)}
    scores = {name: rng.normal(0.9, 0.002, n) for name in energies}
    return runs_table(energies, scores)


def saves_more_than_all(rng, n):
    """Say whether the largest saving is above 100 %."""
    return bool(best_against_worst(net_of_idle(rng, n)).saving > 1)


def has_no_answer(rng, n):
    """Say whether conditions at idle take away the answer of those that are not."""
    return not attempt(savings_without_loss, net_of_idle(rng, n))


def accepts_a_copy(rng, n):
    """Say whether a table is analysed in which a run is there twice, the second by another id."""
    runs = runs_table({f"net{i}": rng.normal(1.0, 0.1, n) for i in range(CONDITIONS)})
    runs = runs.assign(
        status="finished", complete=True, disturbed=False, validation_loss=0.3,
        energy_j=1000 * runs["energy_j_per_image"],
        started_at=[f"2026-01-01T00:00:{i:02d}" for i in rng.permutation(len(runs)) % 60],
    )  # fmt: skip
    copy = runs.sample(1, random_state=int(rng.integers(2**31))).assign(run_id="another")
    try:
        select_runs(pd.concat([runs, copy], ignore_index=True))
    except BadInputError:
        return False
    return True


CASES = [
    Case("values: above 100 %", FALSE_YES, f"{IDLE} of {CONDITIONS} at idle, n = {n}",
         saves_more_than_all, {"n": n}, 200)
    for n in (5, 12)
] + [
    Case("values: no answer", FALSE_YES, f"{IDLE} of {CONDITIONS} at idle, n = 5",
         has_no_answer, {"n": 5}, 60),
    Case("values: a run twice", FALSE_YES, f"{CONDITIONS} conditions, n = 5", accepts_a_copy,
         {"n": 5}, 100),
]  # fmt: skip
