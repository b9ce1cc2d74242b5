"""Non-inferiority and savings without loss against scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from greencv_core.analysis import NotEnoughDataError, non_inferiority, savings_without_loss
from tests.support.tables import F1, lognormal, runs_of


@pytest.mark.parametrize("loss", [-0.03, 0.0, 0.015, 0.05])
def test_non_inferiority_is_welchs_one_sided_test(loss):
    rng = np.random.default_rng(3)
    a, b = 0.9 + rng.normal(0, 0.01, 7), 0.9 - loss + rng.normal(0, 0.03, 10)
    result = non_inferiority(a, b, 0.02)
    lower = stats.ttest_ind(b + 0.02, a, alternative="greater", equal_var=False)
    upper = stats.ttest_ind(b - 0.02, a, alternative="less", equal_var=False)
    assert result.p == pytest.approx(lower.pvalue, rel=1e-9)
    assert result.p_equivalence == pytest.approx(max(lower.pvalue, upper.pvalue), rel=1e-9)
    assert result.loss == pytest.approx(a.mean() - b.mean())
    interval = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.90)
    assert (result.loss_low, result.loss_high) == pytest.approx(tuple(interval))
    assert result.passes == (result.loss_high < 0.02)
    assert result.p_ranks == pytest.approx(
        stats.brunnermunzel(b + 0.02, a, alternative="greater").pvalue
    )


@pytest.mark.filterwarnings("error")
def test_a_better_score_is_no_loss_and_a_worse_one_is_by_every_test():
    a = 0.8 + np.array([0.0, 0.01, 0.02, 0.03, 0.04, 0.05])
    with pytest.raises(NotEnoughDataError, match="at least 2 runs on each side"):
        non_inferiority(a[:1], a, 0.02)
    for far in (0.03, 0.3):  # overlapping, and far apart
        better, worse = non_inferiority(a, a + far, 0.01), non_inferiority(a, a - far, 0.01)
        assert max(better.p, better.p_ranks) < 0.02
        assert min(worse.p, worse.p_ranks) > 0.75
        assert better.passes
        assert not worse.passes
        assert "is shown to be below 0.01" in better.sentence()
        assert "is not shown to be below 0.01" in worse.sentence()


@pytest.mark.parametrize(("score", "passes"), [(0.9, True), (0.89, True), (0.87, False)])
@pytest.mark.filterwarnings("error")
def test_without_any_spread_a_loss_is_judged_by_its_value(score, passes):
    result = non_inferiority(np.full(3, 0.9), np.full(4, score), 0.02)
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


def test_savings_without_loss_adjusts_over_all_pairs_that_save_and_names_those_that_pass():
    runs = runs_with_losses([0.0, 0.002, 0.05, 0.08])
    result = savings_without_loss(runs, 0.02, "architecture")
    assert result.compared == len(result.pairs) == 6
    f1 = {name: part[F1].to_numpy() for name, part in runs.groupby("architecture")}
    by_hand = [
        stats.ttest_ind(
            f1[cheap] + 0.02, f1[dear], alternative="greater", equal_var=False
        ).pvalue
        for dear, cheap in zip(result.pairs["from"], result.pairs["to"], strict=True)
    ]  # fmt: skip
    assert result.pairs["non_inferiority_p"].tolist() == pytest.approx(by_hand)
    order = np.argsort(by_hand)
    adjusted = np.empty(6)
    adjusted[order] = np.minimum(
        1, np.maximum.accumulate([(6 - i) * by_hand[k] for i, k in enumerate(order)])
    )
    assert result.pairs["non_inferiority_p_holm"].tolist() == pytest.approx(adjusted.tolist())
    assert (result.pairs["passes"] == (adjusted < 0.05)).all()
    passing = result.pairs[result.pairs["passes"]]
    assert list(zip(passing["from"], passing["to"], strict=True)) == [("net0", "net1")]
    assert (result.best.dear, result.best.cheap) == ("net0", "net1")
    assert "1 of these is shown to lose less than 2 points of macro F1" in result.sentence()
    assert "net1 takes" in result.sentence()
    assert "net2" not in result.sentence()
    assert "net3" not in result.sentence()


def test_savings_without_loss_leaves_out_pairs_that_do_not_surely_save():
    runs = runs_of({"dear": lognormal(1, 8, 9.0), "one": lognormal(2, 8, 1.0),
                       "other": lognormal(3, 8, 1.0)})  # fmt: skip
    result = savings_without_loss(runs, 0.02, "architecture")
    assert result.compared == 3
    assert list(result.pairs["from"]) == ["dear", "dear"]
    assert result.best.picked_from == 2


def test_no_saving_is_called_free_where_none_is():
    result = savings_without_loss(runs_with_losses([0.0, 0.05, 0.1]), 0.02, "architecture")
    assert result.best is None
    assert not result.pairs["passes"].any()
    assert "0 of these are shown" in result.sentence()
    assert "No saving can be called free of a loss of correctness." in result.sentence()
    alike = runs_of({"a": lognormal(1, 5, 1.0), "b": lognormal(2, 5, 1.0)})
    none = savings_without_loss(alike, 0.02, "architecture")
    assert none.sentence() == (
        "Of 1 pair of conditions, 0 save energy per image (95 % interval above zero)."
    )


def test_the_margin_decides():
    runs = runs_with_losses([0.0, 0.05])
    strict = savings_without_loss(runs, 0.02, "architecture")
    wide = savings_without_loss(runs, 0.1, "architecture")
    assert not strict.pairs["passes"].any()
    assert wide.pairs["passes"].all()
    assert "10 points of macro F1" in wide.sentence()


@pytest.mark.filterwarnings("error")
def test_a_condition_that_learns_nothing_loses_everything():
    runs = runs_with_losses([0.0, 0.0])
    runs.loc[runs["architecture"] == "net1", F1] = 0.0
    result = savings_without_loss(runs, 0.02, "architecture")
    assert result.best is None
    assert result.pairs["loss_high"].item() == pytest.approx(0.9, abs=0.02)
    both = savings_without_loss(runs.assign(f1_macro=0.0), 0.02, "architecture")
    assert both.best is None
    assert "1 saves against a condition that learned nothing" in both.sentence()
    assert "nan" not in both.sentence()
