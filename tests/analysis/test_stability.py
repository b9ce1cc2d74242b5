"""Drift, jumps, sessions and groups are named with their size; what varies by chance is not."""

import numpy as np
import pandas as pd
import pytest

from greencv_core.analysis import NotEnoughDataError
from greencv_core.analysis.stability import stability

ENERGY = "energy_j_per_image"
N = 12


def runs_of(logs_by_architecture, **columns):
    """Return runs from the logarithms of each architecture's energies, in the order of time."""
    frames = [
        pd.DataFrame(
            {
                "architecture": name, "environment": "e", ENERGY: np.exp(logs),
                "repetition": range(len(logs)), "order": range(len(logs)),
            }
        )
        for name, logs in logs_by_architecture.items()
    ]  # fmt: skip
    return pd.concat(frames, ignore_index=True).assign(**columns)


def noise(seed=0, n=N):
    return 0.01 * np.random.default_rng(seed).normal(size=n)


SHIFTS = {
    "drift": (np.linspace(0, np.log(1.10), N), 0.10, "rises by 10"),
    "jump": (np.log(0.9) * (np.arange(N) >= 4), -0.10, "after run 4 of 12"),
    "two groups": (np.log(1.2) * (np.arange(N) * 5 % 12 < 6), 0.20, "two groups 19.7"),
}


@pytest.mark.parametrize("kind", SHIFTS)
def test_a_condition_that_changes_is_named_with_the_size(kind):
    shift, size, words = SHIFTS[kind]
    found = stability(runs_of({"steady": noise(1), "changing": noise(2) + shift}))
    named = found.unstable.to_dict("records")
    assert named[0]["architecture"] == "changing"
    assert named[0]["kind"] == kind
    assert named[0]["size"] == pytest.approx(size, abs=0.015)
    assert words in found.sentence()
    assert "steady" not in found.sentence()


def test_the_order_of_the_starts_counts_and_not_that_of_the_rows():
    starts = [f"2026-01-01T{hour:02d}:00:00Z" for hour in range(N)]
    runs = runs_of({"a": noise(2) + SHIFTS["drift"][0]}, started_at=starts)
    mixed = runs.sample(frac=1, random_state=3).assign(order=range(N))
    assert stability(mixed).unstable["kind"].tolist() == ["drift"]


def test_sessions_that_differ_are_named():
    sessions = ["s1", "s2", "s3"] * 4
    shift = np.tile([0.0, 0.03, 0.06], 4)
    found = stability(runs_of({"a": noise(5) + shift}, session=sessions))
    assert found.unstable["kind"].tolist() == ["sessions"]
    assert found.unstable["size"].tolist() == [pytest.approx(0.062, abs=0.02)]


def test_a_drift_that_all_conditions_share_is_found_where_none_alone_shows_it():
    drift = np.linspace(0, 0.02, 6)
    found = stability(runs_of({f"a{k}": noise(k, 6) + drift for k in range(20)}))
    [named] = found.unstable.to_dict("records")
    assert pd.isna(named["architecture"])
    assert named["size"] == pytest.approx(0.02, abs=0.01)
    assert found.sentence().startswith("Energy per image: the mean of all conditions rises by")
    assert found.summary().startswith(
        "In 0 of 20 conditions, energy per image drifts or falls into "
    )
    # Made twice, or on two computers, the same numbers are other blocks.
    logs = {f"a{k}": np.tile(noise(k, 3), 2) + drift for k in range(20)}
    twice = runs_of(logs, study="s", machine="m").assign(
        repetition=lambda runs: runs["order"] % 3, order=lambda runs: runs["order"] + 0.5
    )
    assert stability(twice).unstable["architecture"].isna().all()
    assert len(stability(twice).unstable) == 1
    other = runs_of({f"b{k}": noise(k + 20, 6) for k in range(15)}, machine="n")
    both = pd.concat([runs_of(logs, machine="m"), other], ignore_index=True)
    assert stability(both).unstable["size"].tolist() == [pytest.approx(0.02, abs=0.01)]


def test_few_studies_without_any_change_are_named():
    alarms = [
        len(stability(runs_of({f"a{k}": noise([seed, k], 6) for k in range(4)})).unstable)
        for seed in range(60)
    ]
    assert np.count_nonzero(alarms) <= 8  # P(more) = 0.5 % where 5 % are named


def test_outliers_and_equal_values_are_no_groups():
    outlier = noise(4)
    outlier[3] += 1.0
    found = stability(runs_of({"one outlier": outlier, "constant": np.zeros(N)}))
    assert found.unstable.empty
    assert found.sentence().startswith("The data show no drift and no groups among the runs of 2")


def test_too_few_runs_and_energies_of_zero_are_named():
    found = stability(runs_of({"few": noise(0, 4), "enough": noise(1)}))
    assert found.left_out == ("few @ e",)
    with pytest.raises(NotEnoughDataError, match="no condition has 5 runs"):
        stability(runs_of({"few": noise(0, 4)}))
    with pytest.raises(NotEnoughDataError, match="energy per image is not above 0"):
        stability(runs_of({"a": noise(1)}).assign(**{ENERGY: 0.0}))
