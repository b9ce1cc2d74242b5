"""Sessions from pauses, and their spread."""

import math

import pandas as pd
import pytest

from greencv_core.analysis import NotEnoughDataError
from greencv_core.analysis.sessions import find_sessions, session_spread

ENERGY = "energy_j_per_image"


def table(rows, **columns):
    """Return runs from (architecture, session, energy per image)."""
    frame = pd.DataFrame(rows, columns=["architecture", "session", ENERGY])
    return frame.assign(environment="e", **columns)


def started(minutes, duration_s, environment="e", architecture="a"):
    begin = pd.Timestamp("2026-01-01T12:00:00Z")
    return pd.DataFrame(
        {
            "architecture": architecture,
            "environment": environment,
            "started_at": [str(begin + pd.Timedelta(minutes=m)) for m in minutes],
            "duration_s": duration_s,
        }
    )


def test_a_pause_of_more_than_an_hour_after_the_end_of_a_run_separates_sessions():
    # Runs of 50 min: the third starts 60 min after the end of the second, the fourth 61 min after.
    runs = started([0, 50, 160, 271], 3000.0)
    sessions = find_sessions(runs)
    assert sessions.tolist() == [sessions[0]] * 3 + [sessions[3]]
    assert sessions[0] != sessions[3]
    shuffled = runs.sample(frac=1, random_state=1)
    assert find_sessions(shuffled).sort_index().equals(sessions)


def test_a_pause_of_one_architecture_in_which_another_trained_is_none():
    runs = pd.concat(
        [started([0, 180], 600.0), started([60, 120], 3000.0, architecture="b")],
        ignore_index=True,
    )
    assert find_sessions(runs).nunique() == 1
    assert find_sessions(runs[runs["architecture"] == "a"]).nunique() == 2
    elsewhere = runs.assign(environment=["e", "e", "f", "f"])
    assert find_sessions(elsewhere).nunique() == 3  # an environment has its own sessions


def test_a_named_session_counts_and_unknown_ones_stay_missing():
    runs = started([0, 1, 2], 10.0).assign(session=["mine", None, ""])
    runs.loc[3] = {"architecture": "a", "environment": "e", "started_at": None}
    found = find_sessions(runs)
    assert found[0] == "mine"
    assert found[1] == found[2] != "mine"
    assert pd.isna(found[3])
    assert find_sessions(runs[["architecture", "environment"]]).isna().all()


def test_the_intraclass_correlation_is_shrout_and_fleiss():
    # Psychological Bulletin 86 (1979), table 2: ICC(1, 1) = 0.17, BMS 11.24, WMS 6.26.
    ratings = [(9, 2, 5, 8), (6, 1, 3, 2), (8, 4, 6, 8), (7, 1, 2, 6), (10, 5, 6, 9), (6, 2, 4, 7)]
    rows = [("a", f"s{n}", math.exp(x)) for n, row in enumerate(ratings) for x in row]
    spread = session_spread(table(rows))
    [row] = spread.conditions.to_dict("records")
    assert (row["n"], row["sessions"]) == (24, 6)
    assert row["icc"] == pytest.approx(0.17, abs=0.005)
    assert row["sd_within"] ** 2 == pytest.approx(6.26, abs=0.005)
    assert row["sd_between"] ** 2 == pytest.approx((11.24 - 6.26) / 4, abs=0.005)
    assert "17% of the variance of log energy per image lies between" in spread.sentence()


def test_with_one_session_a_sentence_limits_the_interval_to_it():
    spread = session_spread(table([("a", "s", 1.0), ("a", "s", 1.1), ("b", "s", 2.0)]))
    assert spread.conditions["icc"].isna().all()
    assert "one session, so every interval holds for that session" in spread.sentence()


def test_runs_without_sessions_have_no_answer():
    runs = table([("a", None, 1.0), ("b", None, 2.0)])
    with pytest.raises(NotEnoughDataError, match="no run has a session"):
        session_spread(runs)
    runs.loc[0, "session"] = "s"
    with pytest.raises(NotEnoughDataError, match="not above 0"):
        session_spread(runs.assign(energy_j_per_image=0.0))
