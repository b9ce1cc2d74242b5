"""Errors and coverage with conditions as units."""

import numpy as np
import pandas as pd
import pytest

from greencv_core.estimation.coverage import Coverage, ratio_of_errors, ratio_sentence


def answers(held, errors=None):
    """Return answers by condition: whether an interval held the truth, and errors by method."""
    rows = []
    for i, one in enumerate(held):
        for hit in one:
            for method, error in (errors[i] if errors else {"ours": 0.1}).items():
                rows.append(
                    {
                        "architecture": f"net{i}", "environment": "gpu", "method": method,
                        "energy_j": 100.0, "estimate_j": 100 * (1 + error),
                        "low_j": 90.0 if hit else 120.0, "high_j": 130.0,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def test_runs_that_are_missed_together_count_as_one():
    together = Coverage.of(answers([[True] * 10] * 8 + [[False] * 10] * 2))
    apart = Coverage.of(answers([[True] * 8 + [False] * 2] * 10))
    assert together.share == apart.share == pytest.approx(0.8)
    assert together.high - together.low > 0.4
    assert (together.lowest, together.conditions) == (0, 10)
    assert (apart.lowest, apart.lowest_in) == (pytest.approx(0.8), "net0 @ gpu")


def test_intervals_that_always_held_have_a_bound_by_the_number_of_conditions():
    always = Coverage.of(answers([[True] * 30] * 10))
    assert always.high == 1
    assert 0.6 < always.low < 0.8
    assert "60%" not in Coverage.of(answers([[True] * 30])).sentence()


def test_the_sentence_names_the_worst_condition():
    said = Coverage.of(answers([[True] * 3, [True, False, False]])).sentence()
    assert said.startswith("66.7% of the cases (")
    assert said.endswith("in the worst, net1 @ gpu, 33%)")


def test_a_ratio_of_errors_is_over_conditions():
    errors = [
        {"ours": 0.05, "other": 0.1},
        {"ours": 0.1, "other": 0.1},
        {"ours": 0.02, "other": 0.08},
    ]
    at, low, high, n = ratio_of_errors(answers([[True] * 5] * 3, errors), "ours", "other")
    assert at == pytest.approx(np.cbrt(0.5 * 1 * 0.25))
    assert low < at < high
    assert n == 3
    assert "Over 3 conditions as units the ratio is 0.500" in ratio_sentence(
        answers([[True] * 5] * 3, errors), "ours", "other"
    )
    assert ratio_sentence(answers([[True]], errors), "ours", "other") == ""
