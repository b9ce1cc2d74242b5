"""Scores of predictions: figures by hand, comparison with the best baseline, calibration."""

import math

import numpy as np
import pandas as pd
import pytest

from greencv_core.estimation.evaluate import OURS, Scores

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


def test_ours_against_the_best_with_a_score_at_each_share():
    rows = BOTH.compare_with_best("architecture", "known")
    assert rows["share"].tolist() == [0.0, 0.1, 0.25]
    assert rows["mape"].tolist() == pytest.approx([0.30, 0.04, 0.02])
    assert rows["best"].tolist() == ["good", "good", "bad"]
    assert rows["best_mape"].tolist() == pytest.approx([0.20, 0.08, 0.03])
    assert rows["ratio"].tolist() == pytest.approx([1.5, 0.5, 2 / 3])
    assert rows["coverage"].tolist() == pytest.approx([1, 1, 0.5])
    assert BOTH.compare_with_best("run", "known").empty
    alone = scores(answers(OURS, off(1))).compare_with_best("architecture", "known")
    assert alone[["best"]].assign(lacks=alone["best_mape"].isna()).to_numpy().tolist() == [
        ["", True]
    ]


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
        "Where an architecture is new, the Bayesian projection is the most "
        "accurate from 10% of the time "
        "on. At 10% it is off by 4.0%, the best other (good) by 8.0%, a ratio of 0.500. Its 95% "
        "intervals contain the true energy in 75.0% of the cases, at single moments in 50.0% to "
        "100.0%."
    )


def test_the_sentence_tells_where_ours_does_not_err_least():
    assert BOTH.sentence("architecture", "withheld", "it is new") == (
        "Where it is new, the Bayesian projection is not the most accurate at "
        "10% of the time. At 10% "
        "it is off by 50.0%, the best other (good) by 10.0%, a ratio of 5.00. Its 95% intervals "
        "contain the true energy in 100.0% of the cases, at single moments in 100.0% to 100.0%."
    )


def test_who_errs_as_much_as_another_does_not_err_least():
    tie = scores(answers(OURS, off(10)), answers("other", off(10)))
    assert "not the most accurate at 10%" in tie.sentence("architecture", "known", "it is new")


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
    assert first.coverage_sentence("known", "duration known") == (
        "With the duration known, the 95% intervals of the Bayesian projection contain the true "
        "energy in 85.0% of the cases (all held-out runs, from 5% of the time on). Runs of a "
        "condition miss together: 2 of 3 misses occur where most runs of the condition are missed."
    )
    alone = scores(answers(OURS, inside, inside, outside))
    assert alone.coverage_sentence("known", "duration known").endswith(
        "in 66.7% of the cases (all held-out runs, from 5% of the time on)."
    )
    nobody = scores(answers("other", inside))
    assert nobody.coverage_sentence("known", "duration known") == (
        "With the duration known, no answer of the Bayesian projection has an interval."
    )


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
