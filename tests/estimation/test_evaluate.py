"""Methods are asked about trainings they were not fitted on, and scored as one does by hand."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from greencv_core.analysis.result import NotEnoughDataError
from greencv_core.estimation.base import QUANTILES, Estimate
from greencv_core.estimation.baselines import FirstEpoch
from greencv_core.estimation.bayesian.early_stopping import fit_epoch_counts
from greencv_core.estimation.bayesian.projection import Projection
from greencv_core.estimation.evaluate import HELD_OUT, METHODS, OURS, SHARES, Scores, score
from greencv_core.estimation.step import StepEpochs
from greencv_core.estimation.trajectory import NO_ORACLE, NOTHING_OBSERVED, Oracle
from tests.support.simulated_trajectories import simulated

# --- figures by hand --------------------------------------------------------------------------

NOT_ANSWERED = (math.nan, math.nan, math.nan)


def answers(method, *triples, share=0.1, held_out="architecture", oracle="known", energy_j=100.0):
    """Return rows from estimates, with their intervals' ends, of trainings of 100 J."""
    return [
        {
            "held_out": held_out,
            "oracle": oracle,
            "share": share,
            "method": method,
            "run_id": f"run {i}",
            "architecture": "a",
            "environment": "e",
            "epochs_seen": 1,
            "energy_j": energy_j,
            "estimate_j": estimate_j,
            "low_j": low_j,
            "high_j": high_j,
            "cdf": math.nan,
            "reason": "none" if math.isnan(estimate_j) else "",
        }
        for i, (estimate_j, low_j, high_j) in enumerate(triples)
    ]


def scores(*rows):
    return Scores(pd.DataFrame([row for some in rows for row in some]))


def row_of(table, method):
    (row,) = table[table["method"] == method].to_dict("records")
    return row


def test_figures_are_as_by_hand():
    table = scores(answers("m", (90, 80, 100), (100, 100, 130), (140, 90, 150), (120, 101, 250)))
    row = row_of(table.table, "m")
    assert (row["n"], row["unanswered"]) == (4, 0)
    assert row["mape"] == pytest.approx((0.1 + 0 + 0.4 + 0.2) / 4)
    assert row["median_ape"] == pytest.approx(0.15)
    assert row["rmse_j"] == pytest.approx(math.sqrt((100 + 0 + 1600 + 400) / 4))
    # The first two hold 100 at their very ends, the third amidst; widths are 20, 30, 60 and 149 %.
    assert row["coverage"] == pytest.approx(3 / 4)
    assert row["width"] == pytest.approx((0.3 + 0.6) / 2)


def test_errors_are_shares_of_what_was_taken():
    rows = [*answers("m", (150, 0, 200)), *answers("m", (150, 100, 200), energy_j=200.0)]
    row = row_of(scores(rows).table, "m")
    assert row["mape"] == pytest.approx((0.5 + 0.25) / 2)
    assert row["width"] == pytest.approx((2 + 0.5) / 2)


def test_trainings_without_an_answer_count_as_such_and_nowhere_else():
    row = row_of(scores(answers("m", (90, 80, 99), NOT_ANSWERED, (120, 90, 150))).table, "m")
    assert (row["n"], row["unanswered"]) == (2, 1)
    assert row["mape"] == pytest.approx(0.15)
    assert row["coverage"] == pytest.approx(0.5)


@pytest.mark.parametrize(("left", "scored"), [(1, True), (2, True), (3, False), (4, False)])
def test_a_method_without_most_of_the_answers_has_no_score(left, scored):
    given = [(90, 80, 110)] * (4 - left) + [NOT_ANSWERED] * left
    row = row_of(scores(answers("m", *given)).table, "m")
    assert (row["n"], row["unanswered"]) == (4 - left, left)
    for figure in "mape", "median_ape", "rmse_j", "coverage", "width":
        assert math.isnan(row[figure]) is not scored


def test_a_method_without_intervals_has_errors_and_no_coverage():
    row = row_of(scores(answers("m", (90, math.nan, math.nan))).table, "m")
    assert row["mape"] == pytest.approx(0.1)
    assert math.isnan(row["coverage"])
    assert math.isnan(row["width"])


def test_every_question_has_a_row_of_its_own():
    right, wrong = (100, 90, 110), (150, 140, 160)
    of = scores(
        answers("m", right),
        answers("m", wrong, share=0.25),
        answers("m", wrong, oracle="withheld"),
        answers("m", wrong, held_out="run"),
        answers("n", wrong),
    )
    assert len(of.table) == 5
    assert of.table["mape"].tolist() == pytest.approx([0, 0.5, 0.5, 0.5, 0.5])


# --- ours against the others ------------------------------------------------------------------


def off(percent):
    """Return an estimate so many percent too high, whose interval holds the truth."""
    return 100.0 + percent, 90.0, 200.0


BOTH = scores(
    answers(OURS, off(30), share=0.0),
    answers("good", off(20), share=0.0),
    answers("bad", off(60), share=0.0),
    answers(OURS, off(4), off(4), share=0.1),
    answers("good", off(8), off(8), share=0.1),
    answers("bad", off(60), off(60), share=0.1),
    answers("cannot", off(1), NOT_ANSWERED, NOT_ANSWERED, share=0.1),
    answers(OURS, off(2), (98.0, 95.0, 99.0), share=0.25),
    answers("good", off(7), off(7), share=0.25),
    answers("bad", off(3), off(3), share=0.25),
    answers(OURS, off(50), share=0.1, oracle="withheld"),
    answers("good", off(10), share=0.1, oracle="withheld"),
    answers(OURS, off(50), share=0.25, oracle="withheld"),
    answers("good", off(100), share=0.25, oracle="withheld"),
)


def test_the_best_other_is_the_one_that_errs_least_of_those_with_a_score():
    name, error = BOTH.best_baseline("architecture", "known", 0.1)
    assert (name, error) == ("good", pytest.approx(0.08))
    name, error = BOTH.best_baseline("architecture", "known", 0.25)
    assert (name, error) == ("bad", pytest.approx(0.03))
    assert BOTH.best_baseline("architecture", "known", 0.5) is None
    assert BOTH.best_baseline("run", "known", 0.1) is None
    assert scores(answers(OURS, off(1))).best_baseline("architecture", "known", 0.1) is None


def test_ours_against_the_best_at_each_share():
    rows = BOTH.compare_with_best("architecture", "known")
    assert rows["share"].tolist() == [0.0, 0.1, 0.25]
    assert rows["mape"].tolist() == pytest.approx([0.30, 0.04, 0.02])
    assert rows["best"].tolist() == ["good", "good", "bad"]
    assert rows["best_mape"].tolist() == pytest.approx([0.20, 0.08, 0.03])
    assert rows["ratio"].tolist() == pytest.approx([1.5, 0.5, 2 / 3])
    assert rows["coverage"].tolist() == pytest.approx([1, 1, 0.5])


def test_one_figure_by_share():
    wide = BOTH.by_share("architecture", "known")
    assert wide.index.tolist() == [OURS, "good", "bad", "cannot"]
    assert wide.columns.tolist() == [0.0, 0.1, 0.25]
    assert wide.loc["bad"].tolist() == pytest.approx([0.6, 0.6, 0.03])
    assert wide.loc["cannot"].isna().all()
    assert BOTH.by_share("architecture", "known", "n").loc["cannot", 0.1] == 1


def test_the_sentence_tells_that_ours_errs_least():
    """That another does better before anything is measured is no matter."""
    assert BOTH.sentence("architecture", "known", "an architecture is new") == (
        "Where an architecture is new, the Bayesian projection errs least from 10 % of the time "
        "on; at 10 % it errs by 4.0 %, the best other (good) by 8.0 %, a ratio of 0.500. Its 95 % "
        "intervals held the true energy in 75.0 % of the cases, at single moments in 50.0 % to "
        "100.0 %."
    )


def test_the_sentence_tells_where_ours_does_not_err_least():
    assert BOTH.sentence("architecture", "withheld", "it is new") == (
        "Where it is new, the Bayesian projection does not err least at 10 % of the time; at 10 % "
        "it errs by 50.0 %, the best other (good) by 10.0 %, a ratio of 5.00. Its 95 % intervals "
        "held the true energy in 100.0 % of the cases, at single moments in 100.0 % to 100.0 %."
    )


def test_who_errs_as_much_as_another_does_not_err_least():
    tie = scores(answers(OURS, off(10)), answers("other", off(10)))
    assert "does not err least at 10 %" in tie.sentence("architecture", "known", "it is new")


NOBODY_WINS = {
    "none was asked": [answers(OURS, off(10), held_out="run")],
    "none but ours answers": [answers(OURS, off(10)), answers("other", NOT_ANSWERED)],
    "ours does not answer": [answers(OURS, NOT_ANSWERED), answers("other", off(10))],
    "none was asked after the begin": [
        answers(OURS, off(10), share=0.0),
        answers("other", off(20), share=0.0),
    ],
}


@pytest.mark.parametrize("rows", NOBODY_WINS.values(), ids=NOBODY_WINS.keys())
def test_where_there_is_nothing_to_compare_nobody_is_said_to_win_or_lose(rows):
    said = scores(*rows).sentence("architecture", "known", "it is new")
    assert said.startswith("Where it is new, no ")
    assert "least" not in said
    assert "nan" not in said


def test_coverage_over_all_tells_what_was_missed_together():
    inside, outside = (100, 90, 110), (150, 140, 160)
    first = scores(
        answers(OURS, inside, inside, outside),
        answers(OURS, outside, outside, inside, share=0.25),
        answers(OURS, *[inside] * 14, held_out="run"),
        # Neither another method, nor before a training, nor without an answer, nor otherwise told.
        answers("other", outside),
        answers(OURS, outside, share=0.0),
        answers(OURS, NOT_ANSWERED),
        answers(OURS, outside, oracle="withheld"),
    )
    assert first.coverage_sentence("known", "the end told") == (
        "With the end told, over all that was held out and all moments from 5 % of the time on, "
        "the 95 % intervals of the Bayesian projection held the true energy in 85.0 % of the "
        "cases. Runs of a condition err together: 2 of the 3 misses are where most runs of a "
        "condition were missed."
    )
    alone = scores(answers(OURS, inside, inside, outside))
    assert alone.coverage_sentence("known", "the end told").endswith("in 66.7 % of the cases.")
    nobody = scores(answers("other", inside))
    assert nobody.coverage_sentence("known", "the end told") == (
        "With the end told, no answer of the Bayesian projection has an interval."
    )


# --- calibration ------------------------------------------------------------------------------


def test_calibration_counts_how_often_intervals_of_each_width_held_the_truth():
    values = [0.5, 0.3, 0.26, 0.74, 0.24, 0.05, 0.96, 0.99, 0.0, math.nan]
    frame = pd.DataFrame(answers(OURS, *[off(1)] * len(values))).assign(cdf=values)
    early = frame.assign(share=0.0, cdf=0.5)
    withheld = frame.assign(oracle="withheld", cdf=0.5)
    table = Scores(pd.concat([frame, early, withheld])).calibration("known")
    assert table["nominal"].tolist() == [0.5, 0.8, 0.9, 0.95, 0.99]
    assert (table["n"] == 9).all()
    # Within 0.25 to 0.75; 0.1 to 0.9; 0.05 to 0.95, its ends too; 0.025 to 0.975; 0.005 to 0.995.
    expected = np.array([4, 5, 6, 7, 8]) / 9
    assert table["observed"].tolist() == pytest.approx(expected)
    assert (table["method"] == OURS).all()


# --- who is asked what ------------------------------------------------------------------------


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


# --- methods that cannot ----------------------------------------------------------------------


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


# --- the methods ------------------------------------------------------------------------------


def test_ours_is_the_last_of_the_methods_and_each_has_its_own_name():
    assert list(METHODS)[-1] == OURS == Projection.name
    assert [method().name for method in METHODS.values()] == list(METHODS)


def test_cheap_methods_are_scored(trajectories):
    methods = {method.name: method for method in (FirstEpoch, StepEpochs, Projection)}
    asked = {"held_out": ["architecture"], "oracle": ["known"], "shares": [0.1, 0.5]}
    of = score(trajectories, **asked, methods=methods)
    assert of.table["method"].tolist() == list(methods) * 2
    late = of.by_share("architecture", "known")[0.5]
    assert late[OURS] < 0.05
    # Most of the training is of another stage than its first epoch was.
    assert late[FirstEpoch.name] > 0.3
    again = score(trajectories, **asked, methods=methods)
    pd.testing.assert_frame_equal(of.answers, again.answers)
