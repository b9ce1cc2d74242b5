"""Non-inferiority and savings without loss against scipy."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from greencv_core.analysis import (
    NotEnoughDataError,
    best_against_worst,
    non_inferiority,
    savings_without_loss,
)
from greencv_core.analysis.comparison.best import loss_bounds
from tests.support.tables import ENERGY, F1, lognormal, runs_of


@pytest.mark.parametrize("loss", [-0.03, 0.0, 0.015, 0.05])
def test_non_inferiority_is_welchs_one_sided_test(loss):
    rng = np.random.default_rng(3)
    a, b = 0.9 + rng.normal(0, 0.01, 7), 0.9 - loss + rng.normal(0, 0.03, 7)
    result = non_inferiority(pd.Series(a), pd.Series(b), 0.02)
    lower = stats.ttest_ind(b + 0.02, a, alternative="greater", equal_var=False)
    assert result.p == pytest.approx(lower.pvalue, rel=1e-9)
    assert result.loss == pytest.approx(a.mean() - b.mean())
    interval = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.90)
    assert (result.loss_low, result.loss_high) == pytest.approx(tuple(interval))
    assert result.passes == (result.loss_high < 0.02)


@pytest.mark.filterwarnings("error")
def test_a_better_score_is_no_loss_and_a_worse_one_is_shown_for_none():
    a = 0.8 + pd.Series([0.0, 0.01, 0.02, 0.03, 0.04, 0.05])
    with pytest.raises(NotEnoughDataError, match="at least 2 runs, or sessions, on each side"):
        non_inferiority(a[:1], a, 0.02)
    for far in (0.03, 0.3):  # overlapping, and far apart
        better, worse = non_inferiority(a, a + far, 0.01), non_inferiority(a, a - far, 0.01)
        assert better.p < 0.02
        assert worse.p > 0.75
        assert better.passes
        assert not worse.passes
        assert "The loss is below 0.01" in better.sentence()
        assert "do not show that the loss is below 0.01" in worse.sentence()


@pytest.mark.parametrize(("score", "passes"), [(0.9, True), (0.89, True), (0.87, False)])
@pytest.mark.filterwarnings("error")
def test_without_any_spread_a_loss_is_judged_by_its_value(score, passes):
    result = non_inferiority(pd.Series([0.9] * 3), pd.Series([score] * 4), 0.02)
    assert math.isnan(result.p)
    assert result.passes == passes
    assert "p not defined" in result.sentence()
    assert "nan" not in result.sentence()


def runs_with_losses(losses, n=8, sigma=0.005):
    """Return runs whose architectures differ in energy surely, and in F1 by these losses."""
    energies = {f"net{i}": lognormal(i, n, 2.0**-i, 0.02) for i in range(len(losses))}
    scores = {
        f"net{i}": 0.9 - loss + np.random.default_rng(50 + i).normal(0, sigma, n)
        for i, loss in enumerate(losses)
    }
    return runs_of(energies, scores)


def test_savings_without_loss_are_between_conditions_near_the_best():
    runs = runs_with_losses([0.0, 0.002, 0.05, 0.08])
    result = savings_without_loss(runs, 0.02, "architecture")
    scores = [part[F1].reset_index(drop=True) for _, part in runs.groupby("architecture")]
    table = result.conditions.set_index("condition")
    assert table["loss_high"].to_dict() == pytest.approx(
        dict(zip(["net0", "net1", "net2", "net3"], loss_bounds(scores), strict=True))
    )
    assert table.index[table["passes"]].tolist() == ["net0", "net1"]
    assert result.pairs[["from", "to"]].to_numpy().tolist() == [["net0", "net1"]]
    picked = best_against_worst(runs, "architecture").picked_from
    assert (result.best.dear, result.best.cheap, result.best.picked_from) == (
        "net0", "net1", picked
    )  # fmt: skip
    assert "2 of 4 conditions lose less than 2 points of mean macro F1 against" in (
        result.sentence()
    )
    assert "With 95% confidence it loses at most" in result.sentence()
    assert "net2" not in result.sentence()


def test_a_condition_that_failed_is_nothing_to_save_against():
    runs = runs_with_losses([0.0, 0.6, 0.6])
    dearest = runs["architecture"] == "net0"
    runs.loc[dearest, "architecture"] = "good"
    runs.loc[dearest, ENERGY] /= 10  # the best takes least
    result = savings_without_loss(runs, 0.02, "architecture")
    assert result.best is None
    assert result.pairs.empty
    assert result.conditions.loc[result.conditions["passes"], "condition"].tolist() == ["good"]


def test_a_saving_that_is_not_shown_is_not_called_one():
    alike = runs_of({"a": lognormal(1, 5, 1.0), "b": lognormal(2, 5, 1.0)})
    result = savings_without_loss(alike, 0.02, "architecture")
    assert result.best is not None
    assert not result.shown
    assert "The data show no saving between them" in result.sentence()


def test_no_saving_is_called_free_where_none_is():
    result = savings_without_loss(runs_with_losses([0.0, 0.05, 0.1]), 0.02, "architecture")
    assert result.best is None
    assert not result.shown
    assert "1 of 3 conditions loses less" in result.sentence()
    assert "So no saving without a loss of correctness can be shown." in result.sentence()


def test_the_margin_decides():
    runs = runs_with_losses([0.0, 0.05])
    strict = savings_without_loss(runs, 0.02, "architecture")
    wide = savings_without_loss(runs, 0.1, "architecture")
    assert strict.best is None
    assert wide.conditions["passes"].all()
    assert "10 points of mean macro F1" in wide.sentence()


def test_a_further_error_widens_the_loss():
    runs = runs_with_losses([0.0, 0.002])
    with_error = runs.assign(f1_macro_image_error=0.02, validation_images=300)
    assert savings_without_loss(runs, 0.02, "architecture").shown
    assert savings_without_loss(with_error, 0.02, "architecture").best is None
    a, b = (part[F1] for _, part in runs.groupby("architecture"))
    assert non_inferiority(a, b, 0.02).passes
    assert not non_inferiority(a, b, 0.02, extra_variance=0.02**2).passes


@pytest.mark.filterwarnings("error")
def test_conditions_that_learned_nothing_take_no_part_and_are_named():
    runs = runs_with_losses([0.0, 0.0, 0.0])
    with pytest.raises(NotEnoughDataError, match="net0, net1 and net2 learned nothing"):
        savings_without_loss(runs.assign(f1_macro=0.0), 0.02, "architecture")
    failed = runs["architecture"] == "net2"
    result = savings_without_loss(
        runs.assign(f1_macro=runs[F1].where(~failed, 0.0)), 0.02, "architecture"
    )
    alone = savings_without_loss(runs[~failed], 0.02, "architecture")
    assert result.best == alone.best
    assert "net2 learned nothing and is excluded." in result.sentence()
    assert result.conditions.equals(alone.conditions)
