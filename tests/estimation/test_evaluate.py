"""Every method predicts trainings that it was not fitted on."""

import inspect
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from greencv_core.analysis.result import NotEnoughDataError
from greencv_core.estimation import evaluate
from greencv_core.estimation.base import QUANTILES, Estimate
from greencv_core.estimation.baselines import FirstEpoch
from greencv_core.estimation.bayesian.early_stopping import fit_epoch_counts
from greencv_core.estimation.bayesian.projection import Projection
from greencv_core.estimation.evaluate import HELD_OUT, METHODS, OURS, SHARES, score
from greencv_core.estimation.step import StepEpochs
from greencv_core.estimation.trajectory import NO_ORACLE, NOTHING_OBSERVED, Oracle
from greencv_core.utils import answers
from tests.support.trajectories import simulated


@pytest.fixture(scope="module")
def trajectories():
    """Three architectures in two environments, four runs of each; the tasks tell which run."""
    rng = np.random.default_rng(3)
    some = simulated(rng, architectures=3, runs=4, epochs=(3, 12), fewest=6)
    return [
        replace(trajectory, task=replace(trajectory.task, features={"run": float(i)}))
        for i, trajectory in enumerate(some)
    ]


class Spy:
    """Writes down what it was fitted on and asked, and answers 100 J."""

    name = "spy"

    def __init__(self):
        self.fitted, self.asked = [], []

    def fit(self, trajectories):
        self.fitted.append([int(trajectory.task.features["run"]) for trajectory in trajectories])

    def predict(self, task, observed, oracle):
        self.asked.append((int(task.features["run"]), observed, oracle))
        quantiles = tuple(100 * q for q in QUANTILES)
        return Estimate(100.0, 50.0, 150.0, quantiles_j=quantiles)


def spied(trajectories, name="spy", **asked):
    """Return the answers, and the spies, one for each fold."""
    spies = []

    def spy():
        spies.append(Spy())
        return spies[-1]

    return score(trajectories, methods={name: spy}, **asked).answers, spies


WHAT_IS_NEW = {
    "run": lambda trajectory: trajectory.run_id,
    "condition": lambda trajectory: (
        trajectory.task.architecture,
        trajectory.task.environment,
        trajectory.task.setting,
    ),
    "architecture": lambda trajectory: trajectory.task.architecture,
    "environment": lambda trajectory: trajectory.task.environment,
}


@pytest.mark.parametrize(
    ("kind", "folds", "at_once"),
    [("run", 3, 8), ("condition", 5, 2), ("architecture", 3, 1), ("environment", 2, 1)],
)
def test_what_is_held_out_is_what_a_method_was_not_fitted_on(trajectories, kind, folds, at_once):
    table, spies = spied(trajectories, held_out=[kind], oracle=["known"], shares=[0.1, 0.5])
    assert len(spies) == folds
    everyone = set(range(len(trajectories)))
    of = [WHAT_IS_NEW[kind](trajectory) for trajectory in trajectories]
    times_asked = []
    for spy in spies:
        (fitted,) = spy.fitted
        asked = {run for run, _, _ in spy.asked}
        assert not asked & set(fitted)
        new = {of[i] for i in asked}
        assert not new & {of[i] for i in fitted}
        assert 1 <= len(new) <= at_once
        # Nothing else is withheld from it.
        assert asked | set(fitted) == everyone
        assert len(fitted) == len(everyone) - len(asked)
        times_asked += [run for run, _, _ in spy.asked]
    assert sorted(times_asked) == sorted([*everyone, *everyone])
    assert set(table["held_out"]) == {kind}
    assert table.groupby("share").size().tolist() == [len(trajectories)] * 2


def test_another_setting_is_another_condition(trajectories):
    mixed = [
        replace(trajectory, task=replace(trajectory.task, setting=f"s{i % 2}"))
        for i, trajectory in enumerate(trajectories)
    ]
    _, spies = spied(mixed, held_out=["condition"], oracle=["known"], shares=[0.1])
    elsewhere = 0
    for spy in spies:
        new, known = (
            {WHAT_IS_NEW["condition"](mixed[run]) for run in runs}
            for runs in ([run for run, _, _ in spy.asked], spy.fitted[0])
        )
        assert not new & known
        elsewhere += len({names[:2] for names in new} & {names[:2] for names in known})
    assert elsewhere


def test_every_kind_is_held_out_by_default_and_every_moment_asked(trajectories):
    table, _ = spied(trajectories)
    assert list(dict.fromkeys(table["held_out"])) == list(HELD_OUT) == list(WHAT_IS_NEW)
    assert set(table["oracle"]) == {"known", "withheld", "believed"}
    assert tuple(dict.fromkeys(table["share"])) == SHARES
    assert len(table) == 4 * 3 * len(SHARES) * len(trajectories)


def test_what_was_seen_is_of_the_moment_and_what_was_taken_of_the_whole(trajectories):
    table, spies = spied(
        trajectories, held_out=["architecture"], oracle=["known"], shares=[0.0, 0.25]
    )
    asked = [one for spy in spies for one in spy.asked]
    for (run, observed, _), row in zip(asked, table.itertuples(), strict=True):
        trajectory = trajectories[run]
        assert row.run_id == trajectory.run_id
        assert row.energy_j == trajectory.energy_j
        assert (row.architecture, row.environment) == (
            trajectory.task.architecture,
            trajectory.task.environment,
        )
        assert observed.duration_s == pytest.approx(row.share * trajectory.duration_s)
        assert row.epochs_seen == len(observed.epochs)
        if not row.share:
            assert observed is NOTHING_OBSERVED
    assert (table["estimate_j"] == 100).all()
    assert (table["low_j"] == 50).all()
    assert (table["high_j"] == 150).all()


def test_all_are_told_the_end_nothing_or_the_epochs_that_ours_believes_in(trajectories):
    for oracle in "known", "withheld", "believed":
        _, spies = spied(
            trajectories, held_out=["architecture"], oracle=[oracle], shares=[0.0, 0.97]
        )
        for spy in spies:
            epoch_counts = fit_epoch_counts([trajectories[i] for i in spy.fitted[0]])
            for run, observed, what in spy.asked:
                trajectory = trajectories[run]
                expected = {
                    "known": Oracle(len(trajectory.epochs), trajectory.duration_s),
                    "withheld": NO_ORACLE,
                    "believed": Oracle(
                        epoch_counts.median(trajectory.task, len(observed.epochs)), None
                    ),
                }[oracle]
                assert what == expected


def test_ours_is_not_told_what_it_believes_itself(trajectories):
    for oracle, nothing in (("known", False), ("withheld", True), ("believed", True)):
        _, spies = spied(
            trajectories, OURS, held_out=["architecture"], oracle=[oracle], shares=[0.25]
        )
        for spy in spies:
            assert all((what == NO_ORACLE) is nothing for _, _, what in spy.asked)


def test_place_is_the_probability_given_to_less(trajectories):
    energies_j = [25.0, 60.0, 0.1, 1000.0]

    def scaled(trajectory, energy_j):
        so_far_j = trajectory.energy_so_far_j * (energy_j / trajectory.energy_j)
        return replace(trajectory, energy_so_far_j=so_far_j)

    some = [scaled(*both) for both in zip(trajectories, energies_j, strict=False)]
    table, _ = spied(some, held_out=["run"], oracle=["known"], shares=[0.1])
    values = table.set_index("run_id")["cdf"]
    assert [values[trajectory.run_id] for trajectory in some] == pytest.approx([0.25, 0.6, 0, 1])


def test_a_method_that_cannot_be_fitted_says_why(trajectories):
    class Unable(Spy):
        def fit(self, trajectories):
            raise NotEnoughDataError("too few")

    of = score(trajectories, held_out=["run"], oracle=["known"], methods={"m": Unable})
    assert (of.answers["reason"] == "too few").all()
    assert of.answers["estimate_j"].isna().all()
    assert math.isnan(of.table["mape"].iloc[0])


def test_a_method_without_an_answer_says_why_and_a_defect_is_raised(trajectories):
    asked = {"held_out": ["run"], "oracle": ["known"], "shares": [0.0, 0.5]}
    table = score(trajectories, **asked, methods={"m": FirstEpoch}).answers
    nothing = table["share"] == 0
    assert (table.loc[nothing, "reason"] == "no epoch is complete").all()
    assert (table.loc[~nothing, "reason"] == "").all()
    assert (table["estimate_j"].isna() == nothing).all()

    class Broken(Spy):
        def predict(self, task, observed, oracle):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        score(trajectories, **asked, methods={"m": Broken})


def test_fewer_than_two_trainings_leave_none_to_ask_about(trajectories):
    for few in [], trajectories[:1]:
        with pytest.raises(NotEnoughDataError, match=f"there are {len(few)}"):
            score(few, methods={"m": FirstEpoch})
    two = score(trajectories[:2], held_out=["run"], oracle=["known"], methods={"m": FirstEpoch})
    assert set(two.answers["run_id"]) == {trajectory.run_id for trajectory in trajectories[:2]}


def test_what_all_trainings_have_in_common_cannot_be_held_out(trajectories):
    alike = [trajectory for trajectory in trajectories if trajectory.task.architecture == "a1"]
    with pytest.raises(NotEnoughDataError, match="all trainings are alike"):
        spied(alike, held_out=["architecture"])
    table, _ = spied(alike, held_out=["architecture", "environment"], oracle=["known"])
    assert set(table["held_out"]) == {"environment"}


def test_ours_is_the_last_of_the_methods_and_each_has_its_own_name():
    assert list(METHODS)[-1] == OURS == Projection.name
    assert [method().name for method in METHODS.values()] == list(METHODS)


def test_cheap_methods_are_scored(trajectories, monkeypatch):
    methods = {method.name: method for method in (FirstEpoch, StepEpochs, Projection)}
    asked = {"held_out": ["architecture"], "oracle": ["known"], "shares": [0.1, 0.5]}
    of = score(trajectories, **asked, methods=methods)
    assert of.table["method"].tolist() == list(methods) * 2
    late = of.by_share("architecture", "known")[0.5]
    assert late[OURS] < 0.05
    # Most of the training is of another stage than its first epoch was.
    assert late[FirstEpoch.name] > 0.3
    # Asked again, and not the answers that were kept.
    monkeypatch.setattr(evaluate, "_answers", inspect.unwrap(evaluate._answers))
    again = score(trajectories, **asked, methods=methods)
    pd.testing.assert_frame_equal(of.answers, again.answers)


def test_scores_of_our_methods_are_kept_for_the_same_trainings(trajectories, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    answers._folder.cache_clear()
    methods = {FirstEpoch.name: FirstEpoch}
    asked = {"held_out": ["architecture"], "shares": [0.1], "methods": methods}
    one = score(trajectories, oracle=["known"], **asked).answers

    def refuse(*_):
        raise AssertionError("asked again")

    monkeypatch.setattr(evaluate, "_score_fold", refuse)
    # What is known of a training's end is answered with what is withheld: the fits are the same.
    both = score(trajectories, oracle=["known", "withheld"], **asked).answers
    pd.testing.assert_frame_equal(both[both["oracle"] == "known"].reset_index(drop=True), one)
    changed = [
        *trajectories[:-1],
        replace(trajectories[-1], before_j=trajectories[-1].before_j + 1),
    ]
    for other in (trajectories[:-1], changed):
        with pytest.raises(AssertionError, match="asked again"):
            score(other, oracle=["known"], **asked)
    answers._folder.cache_clear()
