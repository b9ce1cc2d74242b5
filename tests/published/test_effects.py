"""Effects of evidence tables: made-up ones of known truth, and the published ones."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from greencv_core.analysis import NotEnoughDataError
from greencv_core.published import DataUnavailableError, load_published
from greencv_core.published.batch_choice import (
    batch_choices,
    load_batch_choices,
)
from greencv_core.published.effects import (
    batch_scaling,
    energy_gflops_correlations,
    hardware_scaling,
    largest_savings,
    savings_at_margin,
)
from greencv_core.published.pooling import pool
from greencv_core.published.seaa2023.reanalysis import CORRECTED
from greencv_core.published.seaa2023.sessions import session_headline

GFLOPS = {"a": 0.1, "b": 1.0, "c": 10.0, "d": 100.0}
NOISE = {"a": 1.02, "b": 0.99, "c": 1.01, "d": 0.98}
EXPONENT = -0.25


def hardware(name, factor, exponent=0.0, noisy=False, **columns):
    """Return a run of each architecture; energy grows with GFLOPs ** (1 + exponent)."""
    return pd.DataFrame(
        [
            {
                "source": "mine", "architecture": architecture, "environment": f"{name}, PyTorch",
                "dataset": "images", "framework": "PyTorch", "hardware": name, "batch_size": 32,
                "provenance": "measured", "gflops_per_image": gflops, "images_processed": 1000,
                "energy_j": 1000 * factor * gflops ** (1 + exponent)
                * (NOISE[architecture] if noisy else 1),
                "duration_s": 100 * factor * gflops,
                **columns,
            }
            for architecture, gflops in GFLOPS.items()
        ]
    )  # fmt: skip


SMALL, LARGE = hardware("small", 2.0), hardware("large", 1.0, EXPONENT, noisy=True)


def published(name):
    try:
        return load_published(name)
    except DataUnavailableError as error:
        pytest.skip(str(error))


def test_the_exponent_is_the_slope_of_the_ratio_on_gflops():
    [effect] = hardware_scaling(pd.concat([SMALL, LARGE]))
    x = np.log10(list(GFLOPS.values()))
    line = stats.linregress(x, EXPONENT * x + np.log10(list(NOISE.values())))
    assert (effect.source, effect.laboratory, effect.pair) == ("mine", "mine", "large/small")
    assert (effect.estimate, effect.se) == pytest.approx((line.slope, line.stderr))
    assert (effect.architectures, effect.df) == (4, 2)


def test_the_larger_hardware_is_the_faster_one_at_the_most_complex_architecture():
    slower = LARGE.assign(
        duration_s=np.where(LARGE["architecture"] == "d", 1e6, 1.0)  # faster at all but the last
    )
    [effect] = hardware_scaling(pd.concat([SMALL, slower]))
    assert effect.pair == "small/large"
    assert effect.estimate > 0


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "others"},
        {"framework": "TensorFlow"},
        {"batch_size": 64},
        {"hardware": "small"},
        {"left_out": "a reason"},
        {"gflops_per_image": None},
        {"duration_s": None},
        {"images_processed": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_not_comparable_is_not_compared(change):
    assert hardware_scaling(pd.concat([SMALL, LARGE.assign(**change)])) == []


def test_three_architectures_are_too_few():
    some = pd.concat([SMALL, LARGE[LARGE["architecture"] != "a"]])
    assert hardware_scaling(some) == []


def test_the_batch_of_each_device_is_compared():
    eight = LARGE.assign(hardware="8x A100", batch_size=256)
    [effect] = hardware_scaling(pd.concat([SMALL, eight]))
    assert effect.pair == "8x A100/small"
    assert hardware_scaling(pd.concat([SMALL, eight.assign(batch_size=32)])) == []


def test_each_hardware_enters_at_its_largest_power_limit():
    capped = LARGE.assign(power_limit_w=100.0, energy_j=1.0)
    every = pd.concat([SMALL, capped, LARGE.assign(power_limit_w=250.0)])
    assert hardware_scaling(every) == hardware_scaling(pd.concat([SMALL, LARGE]))


def test_several_settings_are_named():
    both = [SMALL, LARGE]
    other = [part.assign(framework="TensorFlow") for part in both]
    found = hardware_scaling(pd.concat(both + other))
    assert [e.pair for e in found] == ["large/small (PyTorch)", "large/small (TensorFlow)"]


def test_a_varied_batch_gives_the_exponent_of_gflops_times_batch():
    def varied(part, exponent):
        batches = [8, 16, 32]
        return pd.concat(
            [
                part.assign(batch_size=batch, energy_j=part["energy_j"] * batch**exponent)
                for batch in batches
            ]
        )

    plain = hardware("large", 1.0, EXPONENT)
    [effect] = batch_scaling(pd.concat([varied(SMALL, 0), varied(plain, EXPONENT)]))
    assert effect.estimate == pytest.approx(EXPONENT)
    assert (effect.architectures, effect.df) == (4, 10)
    assert batch_scaling(pd.concat([SMALL, LARGE])) == []


def correct(values, runs=3):
    """Return runs of one environment: correctness by architecture, energy from its GFLOPs."""
    some = hardware("small", 1.0)
    some["correctness"] = some["architecture"].map(values)
    return pd.concat([some.assign(energy_j=some["energy_j"] * (1 + 0.01 * n)) for n in range(runs)])


def test_the_saving_at_the_margin_is_that_of_the_cheapest_architecture_near_the_best():
    runs = correct({"a": 0.70, "b": 0.73, "c": 0.75, "d": 0.60})
    [found] = savings_at_margin(runs)
    assert (found.dear, found.cheap, found.architectures) == ("c", "b", 2)  # at exactly 0.02
    assert found.saving == pytest.approx(0.9)
    assert found.ci_low < 0.9 < found.ci_high
    assert found.effect.estimate == pytest.approx(-1)
    assert found.correctness_loss == pytest.approx(0.02)
    [none] = savings_at_margin(runs, margin=0.01)
    assert "no other architecture qualifies than c" in none.sentence()
    [cheapest] = savings_at_margin(correct({"a": 0.75, "b": 0.74, "c": 0.1, "d": 0.1}))
    assert (cheapest.saving, cheapest.dear) == (0, "a")
    assert math.isnan(cheapest.effect.se)
    assert savings_at_margin(runs.assign(correctness_left_out="did not learn")) == []


def test_one_run_a_condition_has_no_interval_and_says_so():
    [found] = largest_savings(correct({}, runs=1))
    assert (found.dear, found.cheap, found.gflops_span) == ("d", "a", pytest.approx(1000))
    assert found.saving == pytest.approx(0.999)
    assert math.isnan(found.ci_low)
    assert math.isnan(found.effect.se)
    assert "one run a condition, so no interval" in found.sentence()
    with pytest.raises(NotEnoughDataError, match="there are none"):
        pool([found.effect] * 3)


def test_the_rank_correlation_is_fishers_z():
    runs = correct({}, runs=1)
    runs["energy_j"] = [1.0, 3.0, 2.0, 4.0]
    [effect] = energy_gflops_correlations(runs)
    assert math.tanh(effect.estimate) == pytest.approx(0.8)
    [perfect] = energy_gflops_correlations(correct({}, runs=1))
    assert math.isfinite(perfect.estimate)
    assert perfect.estimate > effect.estimate


def test_larger_hardware_is_relatively_cheaper_for_complex_architectures(reanalysis):
    seaa = reanalysis.corrected().assign(
        source="seaa2023", hardware=lambda runs: runs["device_name"], dataset="shapes"
    )
    effects = hardware_scaling(seaa) + hardware_scaling(published("fischer2022"))
    assert [round(effect.estimate, 3) for effect in effects] == [-0.124, -0.119, -0.174]
    assert [round(effect.se, 3) for effect in effects] == [0.034, 0.031, 0.039]
    assert [effect.architectures for effect in effects] == [5, 10, 12]
    pooled = pool(effects)
    assert pooled.mean == pytest.approx(-0.135, abs=5e-4)
    assert pooled.ci_high < 0
    assert pooled.tau_squared == 0
    assert set(pooled.shared_laboratories.values()) == {2}


def test_newer_cards_contradict_larger_ones():
    effects = batch_scaling(published("zeus2023"))
    volta = [e for e in effects if e.pair.startswith("V100/")]
    assert len(effects) == 6
    assert len(volta) == 3
    assert all(0.06 < e.estimate < 0.08 and e.p < 0.002 for e in volta)
    others = [e for e in effects if e not in volta]
    assert all(-0.03 < e.estimate < 0.01 and e.p > 0.2 for e in others)
    assert hardware_scaling(published("zeus2023")) == []  # one architecture in each data set


def test_the_best_batch_for_an_accuracy_is_a_middle_one():
    published("zeus2023")  # skips without the files
    choices = load_batch_choices()
    shuffle = [c for c in choices if c.architecture == "shufflenet_v2"]
    assert sorted(c.batch_to_target for c in shuffle) == [128, 128, 128, 256]
    assert all(c.batch_per_image >= 1024 and c.excess > 1 for c in shuffle)
    assert all(c.differs for c in shuffle)


def test_a_batch_that_does_not_reach_the_accuracy_has_no_excess():
    reached = pd.DataFrame(
        {
            "dataset": "images", "architecture": "a", "hardware": "h", "target": 0.6,
            "batch_size": [8, 16, 32], "energy_j": [3.0, 2.0, 1.0],
            "energy_j_to_target": [30.0, 24.0, None],
        }
    )  # fmt: skip
    [choice] = batch_choices(reached)
    assert (choice.batch_per_image, choice.batch_to_target, choice.excess) == (32, 16, None)
    assert choice.differs
    with pytest.raises(NotEnoughDataError, match=r"an accuracy of 0\.9"):
        batch_choices(reached, target=0.9)


def test_the_headline_is_stated_by_runs_and_by_sessions(reanalysis):
    headline = session_headline(reanalysis)
    sessions = headline.by_sessions
    assert round(100 * sessions.saving, 1) == 83.0
    assert (round(100 * sessions.ci_low, 1), round(100 * sessions.ci_high, 1)) == (77.4, 87.2)
    assert (sessions.sessions_to, sessions.sessions_from) == (4, 3)
    text = headline.sentence()
    assert "81.2% less" in text
    assert "all runs give 83.0% (77.4% to 87.2%; 4 and 3 sessions)" in text
    assert "the runs that the original kept give 81.4%" in text
    spread = headline.spread.conditions.set_index(["architecture", "environment"])
    row = spread.loc[("mobilenet_v2", "Local ML")]
    assert row["icc"] == pytest.approx(0.95, abs=0.005)
    assert (row["sd_between"], row["sd_within"]) == pytest.approx((0.177, 0.042), abs=1e-3)
    assert spread.loc[("nasnet_mobile", "Cloud"), "icc"] == pytest.approx(0.99, abs=0.005)


def test_the_removed_runs_are_whole_sessions(reanalysis):
    runs = reanalysis.runs(CORRECTED, "none")
    by_session = runs.groupby(["environment", "architecture", "session"])["removed_by_hand"]
    assert int(by_session.sum()[by_session.all()].sum()) == 16
    assert runs.loc[runs["environment"] == "Local N", "session"].isna().all()
