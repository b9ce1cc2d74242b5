"""Pareto front and energy to a target."""

import math

import numpy as np
import pandas as pd
import pytest

from greencv_core.analysis import attempt, energy_to_target, pareto_front
from tests.support.tables import ENERGY, F1, check_sentences, lognormal, made_up_runs, runs_of


def test_membership_of_the_front_is_sure_where_far_apart_and_open_where_close():
    rng = np.random.default_rng(0)
    runs = runs_of(
        {"good": lognormal(1, 9, 5.0), "one": lognormal(2, 9, 1.0), "other": lognormal(3, 9, 1.02),
         "bad": lognormal(4, 9, 9.0)},
        {"good": 0.9 + rng.normal(0, 0.002, 9), "one": np.full(9, 0.8), "other": np.full(9, 0.8),
         "bad": 0.7 + rng.normal(0, 0.002, 9)},
    )  # fmt: skip
    result = pareto_front(runs)
    p = result.conditions.set_index("architecture")["front_probability"]
    assert p["good"] == 1
    assert p["bad"] == 0
    assert 0.05 < p["one"] < 0.95
    # Of two with the same F1 one is beaten, but where both drew the same energy.
    assert p["one"] + p["other"] == pytest.approx(1, abs=0.001)
    assert result.conditions["on_front"].sum() == 2
    text = result.sentence()
    assert f"one @ env0 is on the front in {100 * p['one']:.0f}% of cases" in text
    assert "When the runs are resampled" in text


def test_membership_of_the_front_is_the_share_of_resamples_of_whole_runs():
    # Energy and F1 rise together within a condition: whole runs are resampled, not columns.
    energy = np.array([1.0, 2.0, 3.0])
    runs = runs_of({"a": energy, "b": np.full(3, 2.0)},
                      {"a": 0.5 + energy / 10, "b": np.full(3, 0.7)})  # fmt: skip
    p = pareto_front(runs).conditions.set_index("architecture")["front_probability"]
    # Whatever is drawn, a has less energy, or more F1, or the same of both.
    assert p.tolist() == [1, 1]


def test_correctness_for_a_kilojoule_is_the_median_over_runs():
    runs = runs_of({"a": np.array([1.0, 2.0, 4.0]), "b": np.array([10.0, 10.0, 10.0])},
                      {"a": np.array([0.5, 0.8, 0.8]), "b": np.full(3, 0.9)})  # fmt: skip
    result = pareto_front(runs)
    assert result.conditions["correctness_per_kj"].tolist() == pytest.approx([0.4, 0.09])
    text = result.efficiency_sentence()
    assert "a @ env0 has the most macro F1 per kilojoule of training (0.400)" in text
    assert "b @ env0 the least (0.0900)" in text
    unmetered = pareto_front(runs.assign(energy_j=0.0))
    assert unmetered.conditions["correctness_per_kj"].isna().all()
    assert unmetered.efficiency_sentence() == ""


@pytest.mark.filterwarnings("error")
def test_a_condition_that_learned_nothing_is_not_on_the_front():
    result = pareto_front(made_up_runs().assign(f1_macro=0.0))
    assert result.front.empty
    assert result.sentence() == "No condition has both an energy and a macro F1 above chance."
    runs = made_up_runs().assign(classes=10, validation_images=300)
    failed = runs[runs["architecture"] == "net0"].assign(
        architecture="fails", f1_macro=0.018, energy_j_per_image=1e-4
    )
    front = pareto_front(pd.concat([runs, failed], ignore_index=True))
    assert front.front.equals(pareto_front(runs).front)
    assert "fails @ env0 and fails @ env1 learned nothing." in front.sentence()
    check_sentences(result)


def epochs_table():
    rows = []
    for name, scores in {
        "quick": ([0.5, 0.8, 0.9], [0.6, 0.7, 0.85], [0.8, 0.6, 0.9]),
        "slow": ([0.1, 0.4, 0.7], [0.2, 0.5, 0.6], [0.1, 0.2, 0.3]),
    }.items():
        for r, run in enumerate(scores):
            rows += [
                {"architecture": name, "environment": "e", "run_id": f"{name}{r}", "epoch": i,
                 "energy_j": (10.0 + r) * (2 if name == "slow" else 1), F1: score}
                for i, score in enumerate(run, start=1)
            ]  # fmt: skip
    return pd.DataFrame(rows)


def test_energy_to_a_target_is_that_of_the_epochs_until_it_was_reached():
    epochs = epochs_table()
    result = energy_to_target(epochs.sample(frac=1, random_state=0), 0.6)
    table = result.conditions.set_index("architecture")
    # quick: 2 epochs of 10 J, 1 of 11 J, 1 of 12 J; slow: 3 of 20 J, 3 of 22 J, never.
    assert table.loc["quick", ["n", "reached", "energy_j"]].tolist() == [3, 3, 12]
    assert table.loc["slow", ["n", "reached", "energy_j"]].tolist() == [3, 2, 66]
    assert "least energy, 12.0 J; slow @ e needed 5.50 times as much, 66.0 J" in result.sentence()


def test_runs_that_never_reach_the_target_count_as_more_than_any():
    result = energy_to_target(epochs_table(), 0.7)
    table = result.conditions.set_index("architecture")
    assert table.loc["slow", "reached"] == 1
    assert math.isnan(table.loc["slow", "energy_j"])
    assert "not reached in most runs: slow @ e" in result.sentence()
    assert "nan" not in result.sentence()
    nowhere = energy_to_target(epochs_table(), 0.99).sentence()
    assert nowhere == "No condition reached a macro F1 of 0.99 in most of its runs."
    epochs = epochs_table()  # half of the runs are not most
    two = epochs[epochs["run_id"].isin(["quick0", "slow0", "quick2", "slow2"])]
    table = energy_to_target(two, 0.6).conditions.set_index("architecture")
    assert table.loc["slow", "reached"] == 1
    assert math.isnan(table.loc["slow", "energy_j"])


def test_the_default_target_is_one_that_half_of_every_conditions_runs_reach():
    epochs = epochs_table()
    result = energy_to_target(epochs.assign(f1_macro=epochs[F1] + 0.007))
    assert result.target == pytest.approx(0.60)  # the median of slow's 0.707, 0.607, 0.307
    assert (result.conditions["reached"] >= 2).all()
    assert "a macro F1 of 0.60" in result.sentence()
    for score in (0.29, 0.57, 0.58, 0.9):  # where every run has just it
        assert energy_to_target(epochs.assign(f1_macro=score)).target == pytest.approx(score)


@pytest.mark.filterwarnings("error")
def test_an_epoch_without_a_reading_leaves_its_run_out_and_nothing_learnt_has_a_target_of_0():
    epochs = epochs_table()
    epochs.loc[0, "energy_j"] = np.nan
    assert energy_to_target(epochs, 0.6).conditions["n"].tolist() == [2, 3]
    nothing = energy_to_target(epochs_table().assign(f1_macro=0.0))
    assert nothing.target == 0
    check_sentences(nothing)
    answer = attempt(energy_to_target, epochs.assign(energy_j=np.nan))
    assert "no epoch has both an energy and a correctness" in answer.sentence()


def test_an_epoch_that_was_not_validated_still_took_energy():
    epochs = epochs_table()
    epochs.loc[epochs["epoch"] == 1, F1] = np.nan
    table = energy_to_target(epochs, 0.6).conditions.set_index("architecture")
    # quick: 2 epochs of 10, 11 and 12 J.
    assert table.loc["quick", "energy_j"] == 22


@pytest.mark.filterwarnings("error")
def test_energies_and_scores_of_different_runs_make_no_front():
    runs = runs_of({"a": lognormal(1, 4, 1.0), "b": lognormal(2, 4, 2.0)})
    runs.loc[:1, ENERGY] = np.nan
    runs.loc[2:3, F1] = np.nan
    check_sentences(attempt(pareto_front, runs))


def test_pareto_front_holds_what_nothing_beats():
    runs = pd.DataFrame(
        {
            "architecture": ["a", "b", "c", "d", "unmetered", "unscored"],
            "environment": "e",
            "energy_j_per_image": [1.0, 2.0, 3.0, 3.0, np.nan, 0.5],
            "f1_macro": [0.8, 0.9, 0.85, 0.95, 0.99, np.nan],
            "energy_j": [10.0, 20.0, 30.0, 30.0, np.nan, 5.0],
        }
    )
    result = pareto_front(runs)
    assert list(result.front["architecture"]) == ["a", "b", "d"]
    assert "a @ e; b @ e; and d @ e are on the Pareto front" in result.sentence()
    # To differ by less than a thousandth is to be equally right.
    runs.loc[1, "f1_macro"] = 0.8004
    assert list(pareto_front(runs).front["architecture"]) == ["a", "d"]
    assert "No condition" in pareto_front(runs.assign(f1_macro=np.nan)).sentence()
