"""What may not change an answer: names, the order of rows, units, and conditions that are worse."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greencv_core import analyse, runs_table
from greencv_core.analysis.result import Unavailable
from greencv_core.records.store import Store
from greencv_core.utils.errors import BadInputError
from tests.conftest import ROOT
from tests.support.tables import made_up_runs

ACCEPTED = (0.0, 0.01, 0.02, 0.05)
"""Losses of correctness at which the decision is asked."""
LARGE = 0.5
"""A loss that every condition stays below which learned something."""
OF_ENERGY = ("energy_j", "energy_j_per_image", "net_energy_j", "train_energy_j", "power_w",
             "cpu_energy_j", "ram_energy_j", "energy_uncertainty_j", "emissions_gco2e")  # fmt: skip
OF_TIME = ("duration_s", "duration_s_per_image")
studies = st.builds(
    made_up_runs,
    n=st.integers(3, 6),
    architectures=st.integers(3, 5),
    environments=st.integers(1, 3),
    seed=st.integers(0, 10_000),
)
few = settings(max_examples=3, deadline=None)


@pytest.fixture(scope="module")
def bundled():
    """Return the runs of the bundle, of which two architectures are enough."""
    runs = runs_table(list(Store(ROOT / "bundles" / "reference.parquet").records()))
    return runs[runs["architecture"].isin(sorted(runs["architecture"].unique())[:3])]


def results_of(runs):
    return analyse(runs.reset_index(drop=True), pd.DataFrame(columns=["run_id"]), margin=0.02)


def unless_unavailable(part):
    """Return what a function tells of an answer; of none, that there is none."""
    return lambda answer: None if isinstance(answer, Unavailable) else part(answer)


@unless_unavailable
def of_saving(saving):
    ends = (saving.from_condition, saving.to_condition)
    names = [tuple(condition.values()) for condition in ends]
    return {
        "from": names[0], "to": names[1], "saving": saving.saving,
        "low": saving.ci_low, "high": saving.ci_high,
    }  # fmt: skip


@unless_unavailable
def of_harmless(harmless):
    return None if harmless.best is None else of_saving(harmless.best)


@unless_unavailable
def of_decision(decision):
    choices = [decision.choice(loss) for loss in ACCEPTED]
    return {
        "reference": decision.candidates[decision.reference].levels,
        "choices": [None if choice is None else choice.levels for choice in choices],
    }


@unless_unavailable
def of_regression(regression):
    return {
        row.environment: (row.exponent, row.ci_low, row.ci_high)
        for row in regression.lines.itertuples()
    }


@unless_unavailable
def of_comparison(comparison):
    return {"p": comparison.p, "differing": comparison.pairs_differing}


@unless_unavailable
def of_interaction(interaction):
    return {"p": interaction.p, "environment": interaction.environment_p}


@unless_unavailable
def of_break_even(even):
    return {"gflops": even.gflops, "low": even.low, "high": even.high}


def of_front(front):
    return sorted(tuple(row) for row in front.front[list(front.by)].itertuples(index=False))


PARTS = {
    "largest saving of architectures": lambda results: of_saving(results.rq1.largest_saving),
    "largest saving": lambda results: of_saving(results.rq2.largest_saving),
    "saving without loss": lambda results: of_harmless(results.rq2.savings_without_loss),
    "decision": lambda results: of_decision(results.decision),
    "regression": lambda results: of_regression(results.rq1.regression),
    "comparison of architectures": lambda results: of_comparison(results.rq1.energy),
    "comparisons of environments": lambda results: {
        name: of_comparison(answer) for name, answer in results.rq2.energy_by_architecture.items()
    },
    "interaction": lambda results: of_interaction(results.rq2.interaction),
    "break-evens": lambda results: {
        frozenset(name.split(" and ")): of_break_even(answer)
        for name, answer in results.rq2.break_evens.items()
    },
    "Pareto front": lambda results: of_front(results.rq2.pareto_front),
}
ANSWERS = tuple(PARTS)
RESAMPLED = 0.02
"""Share by which the ends of an interval may move where others are resampled."""


def told(runs, parts=ANSWERS, without=()):
    """Return what the analysis tells of runs: names and figures, by part."""
    results = results_of(runs)
    return {part: plain(PARTS[part](results), without) for part in parts}


def plain(answer, without=()):
    """Return an answer without some of its keys."""
    if isinstance(answer, Mapping):
        return {key: plain(value, without) for key, value in answer.items() if key not in without}
    return answer


def check_same(before, after, where=""):
    """Check that two answers have the same names, and the same figures but for rounding errors."""
    if isinstance(before, Mapping):
        assert before.keys() == after.keys(), where
        for key, value in before.items():
            check_same(value, after[key], f"{where} {key}")
    elif isinstance(before, float):
        near = RESAMPLED if where.endswith((" low", " high")) else None
        assert after == pytest.approx(before, rel=1e-6, abs=near, nan_ok=True), where
    elif isinstance(before, list | tuple):
        assert len(before) == len(after), where
        for one, other in zip(before, after, strict=True):
            check_same(one, other, where)
    else:
        assert after == before, where


def renamed(answer, names):
    """Return an answer in which conditions have other names."""
    if isinstance(answer, Mapping):
        return {renamed(key, names): renamed(value, names) for key, value in answer.items()}
    if isinstance(answer, list | tuple | frozenset):
        return type(answer)(renamed(part, names) for part in answer)
    return names.get(answer, answer) if isinstance(answer, str) else answer


def check_renaming(runs, seed):
    old = [*runs["architecture"].unique(), *runs["environment"].unique()]
    new = [f"{letter}{i}" for i, letter in enumerate("zyxwvutsrq"[: len(old)])]
    names = dict(zip(old, np.random.default_rng(seed).permutation(new).tolist(), strict=True))
    columns = {c: runs[c].map(names) for c in ("architecture", "environment")}
    before, after = renamed(told(runs), names), told(runs.assign(**columns))
    before["Pareto front"].sort()
    check_same(before, after)


def check_reordering(runs, seed):
    check_same(told(runs), told(runs.sample(frac=1, random_state=seed)))


def check_units(runs, factor):
    scaled = {c: runs[c] * factor for c in (*OF_ENERGY, *OF_TIME) if c in runs}
    check_same(told(runs), told(runs.assign(**scaled)))


def with_another(runs, energy, correctness):
    """Return the runs, and those of another architecture made from the second in energy."""
    medians = runs.groupby("architecture")["energy_j_per_image"].median().sort_values()
    like = runs[runs["architecture"] == medians.index[1]]
    columns = {c: like[c] * energy for c in (*OF_ENERGY, *OF_TIME) if c in like}
    another = like.assign(
        architecture="another", run_id="another-" + like["run_id"], **columns,
        f1_macro=correctness(like["f1_macro"]),
    )  # fmt: skip
    return pd.concat([runs, another], ignore_index=True)


def check_dominated(runs):
    dominated = with_another(runs, 1.01, lambda f1: f1 - 0.1)
    parts, bounds = ("largest saving", "Pareto front"), ("low", "high")
    check_same(told(runs, parts, bounds), told(dominated, parts, bounds))
    check_choices(results_of(runs), results_of(dominated))


def check_failed(runs, energy):
    check_choices(
        results_of(runs), results_of(with_another(runs, energy, lambda f1: 0.018 + 0 * f1))
    )


def check_choices(before, after):
    """Check that another condition, which is worse, is not named, and changes nothing named.

    Bounds that hold for more conditions at once are wider: fewer conditions may be shown to lose
    little, and then a smaller saving is named.
    """
    answers = [results.rq2.savings_without_loss for results in (before, after)]
    if isinstance(answers[0], Unavailable) or isinstance(answers[1], Unavailable):
        assert isinstance(answers[1], Unavailable)
    else:
        shown = [set(a.conditions.loc[a.conditions["passes"], "condition"]) for a in answers]
        assert shown[1] <= shown[0]
        if shown[1] == shown[0]:
            pairs = [plain(of_harmless(answer), ("low", "high")) for answer in answers]
            check_same(*pairs, "saving without loss")
        elif answers[1].best is not None:
            assert {answers[1].best.cheap, answers[1].best.dear} <= shown[1]
            assert answers[1].best.saving <= answers[0].best.saving * (1 + 1e-9)
    if isinstance(before.decision, Unavailable):
        return
    first, second = before.decision, after.decision
    levels = first.candidates[first.reference].levels
    assert second.candidates[second.reference].levels == levels
    chosen = [second.choice(loss) for loss in (*ACCEPTED, LARGE)]
    assert "another" not in {choice.levels[0] for choice in chosen if choice is not None}
    assert first.choice(LARGE).levels == chosen[-1].levels


@pytest.mark.slow
@few
@given(studies, st.integers(0, 100))
def test_names_change_nothing(runs, seed):
    check_renaming(runs, seed)


@pytest.mark.slow
@few
@given(studies, st.integers(0, 100))
def test_the_order_of_rows_changes_nothing(runs, seed):
    check_reordering(runs, seed)


@pytest.mark.slow
@few
@given(studies, st.sampled_from([1e-3, 1 / 3.6, 1e3]))
def test_units_change_nothing(runs, factor):
    check_units(runs, factor)


@few
@given(studies)
def test_a_dominated_condition_changes_no_choice(runs):
    check_dominated(runs)


@few
@given(studies, st.sampled_from([0.1, 10.0]))
def test_a_training_that_learned_nothing_changes_no_choice(runs, energy):
    check_failed(runs, energy)


@pytest.mark.slow
def test_nothing_of_it_changes_the_answers_of_the_bundle(bundled):
    check_renaming(bundled, 0)
    check_reordering(bundled, 0)
    check_units(bundled, 1e3)
    check_dominated(bundled)
    check_failed(bundled, 10.0)


@given(studies, st.integers(0, 100))
@settings(max_examples=10, deadline=None)
def test_a_run_that_is_there_twice_is_refused(runs, seed):
    twice = runs.sample(1, random_state=seed)
    with pytest.raises(BadInputError, match=str(twice["run_id"].iloc[0])):
        _ = results_of(pd.concat([runs, twice])).rq1
