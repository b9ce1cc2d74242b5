"""Selection of runs and summaries."""

import numpy as np
import pandas as pd
import pytest

from greencv_core.analysis import (
    best_against_worst,
    fastest_environment,
    filter_by,
    pareto_front,
    select_runs,
    summarise,
    weakest_provenance,
)
from greencv_core.analysis.describe import correctness_sentence
from greencv_core.utils.errors import BadInputError
from tests.support.tables import made_up_runs


def test_a_level_that_no_run_has_is_one_clear_line():
    runs = made_up_runs()
    assert set(filter_by(runs, "environment", "env1")["environment"]) == {"env1"}
    with pytest.raises(BadInputError, match=r"environment gpu: no run has it; .* env0, env1"):
        filter_by(runs, "environment", "gpu")


def test_an_environment_is_not_fast_for_want_of_large_architectures():
    runs = made_up_runs()
    in_env1 = runs["environment"] == "env1"
    slow_survivor = in_env1 & runs["architecture"].isin(["net3", "net4"])
    assert fastest_environment(runs[~slow_survivor]) == "env0"
    runs.loc[in_env1, "duration_s_per_image"] *= 0.1
    assert fastest_environment(runs) == "env1"


def test_selection_leaves_out_and_says_so():
    runs = made_up_runs(n=2)
    runs.loc[0, "status"] = "failed"
    runs = runs.astype({"complete": object})
    runs.loc[1, "complete"] = False
    runs.loc[3, "complete"] = np.nan
    runs.loc[2, "disturbed"] = True
    chosen = select_runs(runs)
    assert len(chosen.runs) == len(runs) - 3
    text = chosen.sentence()
    assert "1 failed" in text
    assert "2 with an incomplete energy reading" in text
    assert "1 run was disturbed" in text
    assert chosen.sentence(planned=30).startswith(f"{len(runs) - 3} of 30 planned runs are")


def test_disturbed_runs_are_left_out_where_three_others_are_left():
    runs = made_up_runs(n=5, architectures=2, environments=1)
    runs.loc[[0, 1, 5, 6, 7], "disturbed"] = True  # 2 of net0, 3 of net1
    chosen = select_runs(runs)
    assert chosen.left_out_as_disturbed == 2
    assert list(chosen.disturbed["run_id"]) == ["100", "101", "102"]
    assert "Left out: 2 disturbed by other work on the machine" in chosen.sentence()
    assert "fewer than 3 undisturbed runs are left of net1 @ env0" in chosen.sentence()
    every = select_runs(runs, keep_disturbed=True)
    assert len(every.runs) == 10
    assert "5 runs were disturbed by other work" in every.sentence()
    assert "fewer than 3" not in every.sentence()


def test_a_sums_provenance_is_its_weakest():
    runs = made_up_runs(n=1)
    runs["provenance"] = ["measured"] * 9 + ["sampled"]
    assert weakest_provenance(runs) == "sampled"


def test_summary_has_medians_and_quartiles():
    runs = made_up_runs()
    row = summarise(runs, ["architecture"]).iloc[0]
    values = runs[runs["architecture"] == row["architecture"]]["energy_j_per_image"]
    assert row["energy_j_per_image"] == pytest.approx(np.median(values))
    assert row["energy_j_per_image_q1"] == pytest.approx(np.quantile(values, 0.25))


@pytest.mark.parametrize("energy", [0.0, -0.05])
def test_a_run_without_energy_is_left_out_by_the_name_of_its_condition(energy):
    runs = made_up_runs(n=3)
    runs.loc[0, "energy_j_per_image"] = energy
    chosen = select_runs(runs)
    assert set(runs["run_id"]) - set(chosen.runs["run_id"]) == {"000"}
    assert "Left out: 1 of net0 @ env0 with an energy of zero or below." in chosen.sentence()
    assert best_against_worst(chosen.runs).saving < 1


def test_a_run_that_is_there_twice_is_refused_by_its_name():
    runs = made_up_runs(n=3)
    twice = pd.concat([runs, runs.iloc[[4]]], ignore_index=True)
    with pytest.raises(BadInputError, match=r"twice \(the same run_id\): 011; keep each once"):
        select_runs(twice)
    of_moments = runs.assign(
        started_at=[f"2026-01-01T00:{i:02d}:00+00:00" for i in range(len(runs))],
        validation_loss=0.5,
    )
    assert len(select_runs(of_moments).runs) == len(runs)
    renamed = of_moments.iloc[[4]].assign(run_id="another", architecture="another")
    with pytest.raises(
        BadInputError, match=r"\(the same start, energy and last loss\): 011, another"
    ):
        select_runs(pd.concat([of_moments, renamed], ignore_index=True))


def test_an_architecture_without_correctness_is_named():
    runs = made_up_runs(n=2)
    runs.loc[runs["architecture"] == "net1", "f1_macro"] = np.nan
    assert correctness_sentence(runs).endswith("(net4); left out: net1 (no macro F1).")
    front = pareto_front(runs).sentence()
    assert "left out: net1 @ env0 and net1 @ env1 (no median of energy and macro F1)." in front
