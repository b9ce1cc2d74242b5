"""Savings: the largest of many, those without loss, and pairs in sessions and blocks."""

import numpy as np

from benchmarks.verdict_cases.case import COVERAGE, DOMINATED, FALSE_YES, Case
from benchmarks.verdict_cases.studies import runs_table
from greencv_core.analysis import attempt, best_against_worst, saving, savings_without_loss

TOPIC = "savings"
SD = 0.05


def log_energies(rng, means, n, ratio):
    """Return logarithms of energies; standard deviations differ by a factor of ``ratio``."""
    spread = SD * rng.permutation(np.geomspace(ratio**-0.5, ratio**0.5, len(means)))
    return np.asarray(means)[:, None] + spread[:, None] * rng.normal(size=(len(means), n))


def study(logs, scores=None):
    names = [f"net{k}" for k in range(len(logs))]
    scores = None if scores is None else dict(zip(names, scores, strict=True))
    return runs_table(dict(zip(names, np.exp(logs), strict=True)), scores)


def true_saving(means, found):
    dear, cheap = (
        means[int(end["architecture"].removeprefix("net"))]
        for end in (found.from_condition, found.to_condition)
    )
    return 1 - np.exp(cheap - dear)


def largest_of_equals(rng, k, n, ratio):
    return (
        best_against_worst(study(log_energies(rng, np.zeros(k), n, ratio)), "architecture").ci_low
        > 0
    )


def largest_misses(rng, means, n, ratio):
    found = best_against_worst(study(log_energies(rng, means, n, ratio)), "architecture")
    return not found.ci_low <= true_saving(means, found) <= found.ci_high


def without_loss_of_equals(rng, k, n, ratio):
    scores = 0.95 + 0.004 * rng.normal(size=(k, n))
    runs = study(log_energies(rng, np.zeros(k), n, ratio), scores)
    best = savings_without_loss(runs, 0.02, "architecture").best
    return best is not None and best.ci_low > 0


def against_one_that_failed(rng, k, n):
    scores = 0.95 - 0.01 * rng.random((k, 1)) + 0.004 * rng.normal(size=(k, n))
    scores[-1] -= 0.2
    runs = study(log_energies(rng, np.linspace(0, 1, k), n, 2), scores)
    best = savings_without_loss(runs, 0.02, "architecture").best
    return best is not None and best.dear == f"net{k - 1}"


def in_sessions(rng, sessions, between, shared, apart):
    """Whether the interval of a saving of half holds it; five runs in each session."""
    effects = between * rng.normal(size=(2, sessions))
    if shared:
        effects[1] = effects[0] + 0.3 * between * rng.normal(size=sessions)
    logs = np.array([[0.0], [np.log(0.5)]]) + effects.repeat(5, axis=1)
    runs = study(logs + 0.02 * rng.normal(size=logs.shape))
    runs["session"] = [f"s{i // 5 % sessions}" for i in range(len(runs))]
    if apart:
        runs["session"] += runs["architecture"]
    return holds_half(runs)


def in_blocks(rng, n, drift):
    levels = drift * np.cumsum(rng.normal(size=n))
    logs = np.array([[0.0], [np.log(0.5)]]) + levels + 0.02 * rng.normal(size=(2, n))
    runs = study(logs)
    first = rng.permuted(np.tile([0, 1], (n, 1)), axis=1)
    runs["order"] = [2 * i + first[i, k] for k in range(2) for i in range(n)]
    return holds_half(runs)


def holds_half(runs):
    found = attempt(saving, runs, {"architecture": "net0"}, {"architecture": "net1"})
    return found.ci_low <= 0.5 <= found.ci_high if found else None


def cases():
    for k, n, ratio, count in (
        (2, 3, 10, 300), (2, 30, 1, 300), (10, 3, 1, 150), (10, 5, 10, 150), (10, 12, 1, 150),
        (10, 30, 1, 150), (50, 3, 10, 40), (50, 5, 1, 40), (50, 12, 1, 40), (50, 30, 1, 40),
        (100, 3, 1, 20), (100, 12, 10, 20), (100, 30, 1, 20),
    ):  # fmt: skip
        yield Case(
            TOPIC, FALSE_YES, f"largest of {k} equal conditions, n = {n}, sd 1 to {ratio}",
            largest_of_equals, {"k": k, "n": n, "ratio": ratio}, count,
        )  # fmt: skip
    truths = {
        "one saves half": [0.0, np.log(0.5)],
        "one of 10 saves half, rest equal": [*[0.0] * 9, np.log(0.5)],
        "10 evenly, 0 to 63 %": np.linspace(-1, 0, 10),
        "50 evenly, 0 to 63 %": np.linspace(-1, 0, 50),
    }
    for name, means in truths.items():
        for n, ratio in ((3, 10), (5, 1), (12, 10), (30, 1)):
            yield Case(
                TOPIC, FALSE_YES, f"misses: {name}, n = {n}, sd 1 to {ratio}", largest_misses,
                {"means": means, "n": n, "ratio": ratio}, 40 if len(means) > 10 else 100,
            )  # fmt: skip
    for k, n, count in ((2, 5, 200), (10, 3, 60), (10, 5, 40), (10, 12, 40), (10, 30, 40),
                        (50, 5, 20)):  # fmt: skip
        yield Case(
            TOPIC, FALSE_YES, f"without loss: {k} equal conditions, n = {n}",
            without_loss_of_equals, {"k": k, "n": n, "ratio": 3}, count,
        )  # fmt: skip
    yield Case(
        TOPIC, DOMINATED, "without loss, against one that failed", against_one_that_failed,
        {"k": 6, "n": 10}, 100,
    )  # fmt: skip
    for sessions in (1, 2, 3, 4):
        for between, shared, apart in (
            (0.0, False, False), (0.0, False, True), (0.02, False, False), (0.1, False, True),
            (0.1, True, False),
        ):  # fmt: skip
            if sessions == 1 and between:
                continue  # the interval holds for that session
            where = "sessions apart" if apart else "the same sessions"
            yield Case(
                TOPIC, COVERAGE,
                f"{sessions} x 5 runs, session sd {100 * between:g} %, {where}"
                f"{', in part shared' if shared else ''}",
                in_sessions,
                {"sessions": sessions, "between": between, "shared": shared, "apart": apart}, 300,
            )  # fmt: skip
    for n, drift in ((5, 0.03), (12, 0.03), (30, 0.03), (12, 0.0)):
        yield Case(
            TOPIC, COVERAGE, f"{n} blocks of a plan, drift {100 * drift:g} % a block", in_blocks,
            {"n": n, "drift": drift}, 300,
        )  # fmt: skip


CASES = list(cases())
