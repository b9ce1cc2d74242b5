"""The results of a study: each computed once, from the runs that are analysed."""

import pandas as pd
import pytest

from greencv_core import StudyResults, analyse
from greencv_core.analysis import (
    NotEnoughDataError,
    best_against_worst,
    compare,
    decide,
    energy_to_target,
    savings_without_loss,
)
from tests.support.tables import ENERGY, F1, made_up_runs


def epochs_of(runs):
    epoch = runs[["run_id", "architecture", "environment", "energy_j", F1]]
    return pd.concat([epoch.assign(epoch=1, f1_macro=0.1), epoch.assign(epoch=2)])


def test_architectures_are_compared_in_the_fastest_environment_by_usable_runs():
    runs = made_up_runs()
    runs.loc[0, "status"] = "failed"
    results = analyse(runs, epochs_of(runs), margin=0.05)
    usable = runs.iloc[1:].reset_index(drop=True)
    within = usable[usable["environment"] == "env0"]
    assert isinstance(results, StudyResults)
    assert len(results.runs) == len(runs) - 1
    assert results.provenance == "estimated"
    assert results.rq1.environment == "env0"
    assert results.rq1.energy.welch_f == compare(within, ENERGY, "architecture").welch_f
    assert results.rq1.largest_saving == best_against_worst(within, "architecture")
    epochs = epochs_of(runs)
    target = energy_to_target(epochs[epochs["run_id"].isin(within["run_id"])])
    assert results.rq1.energy_to_target.sentence() == target.sentence()
    assert results.rq2.savings_without_loss.best == savings_without_loss(usable, 0.05).best
    assert results.decision.steps == decide(usable).steps


def test_environment_and_value_are_the_callers():
    runs = made_up_runs()
    runs["power_w"] *= 1 + runs["device_utilization_pct"] / 100 + runs["repetition"] / 10
    results = analyse(runs, epochs_of(runs), environment="env1", value="power_w")
    assert set(results.rq1.within["environment"]) == {"env1"}
    assert results.rq1.energy.value == "power_w"
    assert results.rq2.robustness.repetitions_needed.value == "power_w"
    assert results.rq2.largest_saving.value == ENERGY


def test_a_result_is_computed_once():
    runs = made_up_runs()
    results = analyse(runs, epochs_of(runs))
    assert results.rq1.regression is results.rq1.regression
    assert results.rq2.robustness.specification_curve is results.rq2.robustness.specification_curve


def test_without_usable_runs_there_are_no_results():
    runs = made_up_runs().assign(status="failed")
    results = analyse(runs, epochs_of(runs))
    with pytest.raises(NotEnoughDataError, match="none to analyse"):
        _ = results.rq1
    assert not results.rq2.interaction
    assert not results.decision
