"""Every result of runs that lack something: a result or a reason, in whole sentences."""

import warnings
from operator import attrgetter

import numpy as np
import pandas as pd
import pytest

from greencv_core.analysis import (
    analyse,
    architecture_by_environment,
    attempt,
    best_against_worst,
    break_even,
    compare,
    energy_regression,
    energy_to_target,
    pareto_front,
    repetitions_needed,
    select_runs,
)
from greencv_core.analysis.comparison.correlation import rank_correlation
from greencv_core.analysis.comparison.paired import paired_by_environment
from greencv_core.analysis.sessions import session_spread
from tests.support.tables import ENERGY, F1, check_sentences, made_up_runs

RESULTS = (
    "selection", "decision", "stability",
    "rq1.energy", "rq1.correctness", "rq1.utilisation", "rq1.regression", "rq1.nested_models",
    "rq1.pareto_front", "rq1.largest_saving", "rq1.sessions",
    "rq2.energy_by_architecture", "rq2.interaction", "rq2.break_evens", "rq2.correctness",
    "rq2.largest_savings_by_architecture", "rq2.savings_without_loss",
    "rq2.robustness.outliers", "rq2.robustness.outliers_sentence",
    "rq2.robustness.leave_one_repetition_out", "rq2.robustness.specification_curve",
    "rq2.robustness.repetitions_needed",
)  # fmt: skip

OF_ENERGY = ["energy_j", ENERGY, "net_energy_j", "train_energy_j", "duration_s_per_image"]


def two_equal_groups():
    runs = made_up_runs(n=5)
    values = [*OF_ENERGY, F1]
    runs.loc[runs["environment"] == "env1", values] = runs.loc[
        runs["environment"] == "env0", values
    ].to_numpy()
    return runs


def constant_conditions():
    runs = made_up_runs(n=5)
    columns = [*OF_ENERGY, F1]
    groups = runs.groupby(["architecture", "environment"])[columns]
    runs[columns] = groups.transform("first")
    return runs


def one_run_in_an_environment():
    runs = made_up_runs(n=4, environments=3)
    return runs[(runs["environment"] != "env2") | (runs["run_id"] == "220")]


RUNS = {
    "one repetition": lambda: made_up_runs(n=1),
    "one run": lambda: made_up_runs(n=1, architectures=1, environments=1),
    "two repetitions": lambda: made_up_runs(n=2),
    "one architecture": lambda: made_up_runs(n=5, architectures=1),
    "two architectures": lambda: made_up_runs(n=5, architectures=2),
    "one environment": lambda: made_up_runs(n=5, environments=1),
    "two equal groups": two_equal_groups,
    "all energies equal": lambda: made_up_runs(n=5).assign(**dict.fromkeys(OF_ENERGY, 2.0)),
    "constant conditions": constant_conditions,
    "a constant condition": lambda: pd.concat(
        [constant_conditions().head(5), made_up_runs(n=5).iloc[5:]], ignore_index=True
    ),
    "two sessions": lambda: made_up_runs(n=4).assign(
        session=lambda runs: [f"session {number % 2}" for number in range(len(runs))]
    ),
    "no run at all": lambda: select_runs(made_up_runs(n=3).assign(status="failed")).runs,
    "F1 of 0": lambda: made_up_runs(n=5).assign(f1_macro=0.0),
    "F1 unknown": lambda: made_up_runs(n=5).assign(f1_macro=np.nan),
    "energy unknown": lambda: made_up_runs(n=5).assign(**dict.fromkeys(OF_ENERGY[:-1], np.nan)),
    "energy of 0": lambda: made_up_runs(n=5).assign(**dict.fromkeys(OF_ENERGY, 0.0)),
    "parameters unknown": lambda: made_up_runs(n=5).assign(parameters=np.nan),
    "GFLOPs unknown": lambda: made_up_runs(n=5).assign(gflops_per_image=np.nan),
    "one run in an environment": one_run_in_an_environment,
}


def results_of(runs):
    return analyse(runs, pd.DataFrame(), margin=0.02)


@pytest.mark.parametrize("what", RUNS)
@pytest.mark.parametrize("name", RESULTS)
def test_every_result_is_a_whole_sentence_whatever_the_runs_lack(name, what):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_sentences(attempt(attrgetter(name), results_of(RUNS[what]())))


def test_no_analysis_changes_the_runs():
    runs = RUNS["two architectures"]()
    before = runs.copy(deep=True)
    for name in RESULTS:
        attempt(attrgetter(name), results_of(runs))
    pd.testing.assert_frame_equal(runs, before)


def test_an_analysis_without_data_answers_with_a_sentence():
    runs = made_up_runs(n=3)
    one_architecture = runs[runs["architecture"] == "net0"]
    one_environment = runs[runs["environment"] == "env0"]
    each_its_own = one_environment.drop_duplicates("architecture").head(3)
    each_its_own = each_its_own.assign(environment=["env0", "env1", "env2"])
    unanswered = [
        attempt(compare, one_architecture, "energy_j", "architecture"),
        attempt(architecture_by_environment, one_environment),
        attempt(architecture_by_environment, runs.drop_duplicates(["architecture", "environment"])),
        attempt(energy_regression, one_architecture),
        attempt(energy_regression, each_its_own),
        attempt(best_against_worst, one_architecture, "architecture"),
    ]
    for result in unanswered:
        assert not result
        assert result.sentence().startswith("No answer from these runs: ")
        assert "nan" not in result.sentence()
    with pytest.raises(KeyError):  # a defect is not missing data
        attempt(compare, runs, "no_such_column", "architecture")


def epochs_of(runs):
    return pd.concat([runs.assign(epoch=epoch) for epoch in (1, 2)], ignore_index=True)


SILENT = {
    "energy to a target": (F1, "net0 @ env0", lambda runs: energy_to_target(epochs_of(runs))),
    "rank correlation": (
        ENERGY,
        "net0",
        lambda runs: rank_correlation(
            runs[runs["environment"] == "env0"], "gflops_per_image", ENERGY
        ),
    ),
    "paired comparison": (F1, "net0 @ env0", lambda runs: paired_by_environment(runs, F1)),
    "break-even": (ENERGY, "net0", lambda runs: break_even(runs, "env0", "env1")),
    "sessions": ("session", "net0 @ env0", session_spread),
    "power": (ENERGY, "net0 @ env0", repetitions_needed),
    "regression": (ENERGY, "net0 @ env0", energy_regression),
    "interaction": (ENERGY, "net0", architecture_by_environment),
}


@pytest.mark.parametrize("what", list(SILENT))
def test_a_condition_without_a_value_is_named(what):
    column, name, answer = SILENT[what]
    runs = made_up_runs(n=6, architectures=7).assign(session="one")
    assert "left out" not in answer(runs).sentence()
    runs[column] = runs[column].mask(
        (runs["architecture"] == "net0") & (runs["environment"] == "env0")
    )
    found = answer(runs)
    assert f"; left out: {name}" in found.sentence()
    check_sentences(found)


def test_a_condition_without_energy_has_no_efficiency_and_is_named():
    runs = made_up_runs()
    runs["energy_j"] = runs["energy_j"].mask(runs["architecture"] == "net0")
    sentence = pareto_front(runs).efficiency_sentence()
    assert "; left out: net0 @ env0 and net0 @ env1 (no run with both" in sentence


def test_every_condition_is_left_out_of_a_paired_comparison_if_its_environment_has_no_value():
    runs = made_up_runs(n=6, environments=3, architectures=2)
    runs[F1] = runs[F1].mask(runs["environment"] == "env2")
    sentence = paired_by_environment(runs, F1).sentence()
    assert "left out: net0 @ env2 and net1 @ env2 (no run with macro F1" in sentence
