"""Units of a condition, and contrasts of two against scipy."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from greencv_core.analysis import NotEnoughDataError
from greencv_core.analysis.units import contrast, log_units, mark_units, units

ENERGY = "energy_j_per_image"


def runs(values, sessions=None, architecture="a", **columns):
    return pd.DataFrame(
        {
            "architecture": architecture,
            "environment": "e",
            ENERGY: values,
            "session": sessions or ["s"] * len(values),
            **columns,
        }
    )


def blocks(order="blocks", n=6, seed=0):
    """Return a study of two conditions whose runs drift from block to block."""
    rng = np.random.default_rng(seed)
    rows = []
    for repetition in range(n):
        for place, name in enumerate(rng.permutation(["a", "b"])):
            position = {"blocks": 2 * repetition + place,
                        "listed": repetition + n * (name == "b")}[order]  # fmt: skip
            energy = math.exp(0.3 * repetition + 0.1 * (name == "b") + rng.normal(0, 0.01))
            rows.append((name, "e", repetition, position, energy, "s"))
    columns = ["architecture", "environment", "repetition", "order", ENERGY, "session"]
    return pd.DataFrame(rows, columns=columns).sample(frac=1, random_state=seed, ignore_index=True)


def both(table):
    marked = mark_units(table)
    return (log_units(marked[marked["architecture"] == name], ENERGY) for name in "ab")


def test_with_one_session_runs_are_units_with_more_the_sessions():
    assert units(runs([1.0, 2.0, 4.0]), ENERGY).tolist() == [1, 2, 4]
    several = runs([1.0, 3.0, 4.0], ["s", "s", "t"])
    assert units(several, ENERGY).to_dict() == {"s": 2, "t": 4}
    assert log_units(several, ENERGY).to_dict() == pytest.approx(
        {"s": math.log(3) / 2, "t": math.log(4)}
    )
    partly = runs([1.0, 3.0, 4.0, np.nan], ["s", None, None, "t"])
    assert units(partly, ENERGY).tolist() == [1, 3.5]  # runs of unknown sessions count as one
    with pytest.raises(NotEnoughDataError, match="a @ e has energy per image of zero or below"):
        log_units(runs([1.0, 0.0]), ENERGY)


def test_a_pause_in_which_another_condition_was_trained_ends_no_session():
    table = runs([1.0, 2.0, 3.0, 4.0], [None] * 4, duration_s=2400.0)
    table["architecture"] = ["a", "b", "b", "a"]
    table["started_at"] = [f"2026-01-01T{hour}" for hour in ("10:00", "11:00", "12:00", "13:00")]
    marked = mark_units(table)
    assert mark_units(marked) is marked
    assert len(units(marked[marked["architecture"] == "a"], ENERGY)) == 2
    assert units(marked[marked["architecture"] == "a"], ENERGY).index.name == "block"


def test_blocks_of_the_plan_are_compared_in_pairs():
    a, b = both(blocks())
    found = contrast(a, b)
    theirs = stats.ttest_rel(b.sort_index(), a.sort_index())
    assert found.paired
    assert found.df == 5
    assert found.interval() == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    lost = contrast(a.iloc[1:], b)  # one lost run costs its pair
    assert (lost.paired, lost.df) == (True, 4)
    assert found.interval()[1] - found.interval()[0] < 0.1  # free of the drift


@pytest.mark.parametrize("table", [blocks("listed"), blocks(n=4), blocks().assign(order=None)])
def test_runs_without_blocks_or_with_few_are_compared_by_welch(table):
    a, b = both(table)
    found, theirs = contrast(a, b), stats.ttest_ind(b, a, equal_var=False)
    assert not found.paired
    assert found.df == pytest.approx(theirs.df)
    assert found.interval(0.9) == pytest.approx(tuple(theirs.confidence_interval(0.9)))
    assert found.p_above(-1) == pytest.approx(
        stats.ttest_ind(b + 1, a, equal_var=False, alternative="greater").pvalue
    )


def test_the_same_sessions_are_pairs_however_few():
    sessions = ["s", "s", "t", "t"]
    a, b = (units(runs(v, sessions), ENERGY) for v in ([1.0, 2.0, 5.0, 6.0], [2.0, 3.0, 7.0, 8.0]))
    found = contrast(a, b)
    assert (found.paired, found.df, found.estimate) == (True, 1, 1.5)
    assert found.se == pytest.approx(0.5)
    other = contrast(a, b.rename({"t": "u"}))
    assert not other.paired
    with pytest.raises(NotEnoughDataError, match="at least 2 runs, or sessions, on each side"):
        contrast(a, b[:1])


def test_intervals_for_several_comparisons_and_with_a_further_error():
    a, b = units(runs([1.0, 2.0, 3.0]), ENERGY), units(runs([4.0, 4.5, 6.0]), ENERGY)
    alone = contrast(a, b)
    many = alone.interval(comparisons=10)
    tail = (1 - 0.95**0.1) / 2
    assert many == pytest.approx(alone.around(stats.t.isf(tail, alone.df)))
    more = contrast(a, b, extra_variance=1.0)
    assert more.se == pytest.approx(math.hypot(alone.se, 1))
    assert more.df == pytest.approx(alone.df * (more.se / alone.se) ** 4)
    alike = contrast(a * 0, b * 0 + 1)
    assert (alike.interval(), alike.se, alike.df) == ((1, 1), 0, math.inf)
    assert math.isnan(alike.p_above(0))
