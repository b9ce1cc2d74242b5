"""The decision: bounds of the loss, steps and sentences."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from greencv_core.analysis import NotEnoughDataError, attempt, decide, saving
from greencv_core.analysis.choice.decision import GRID, RUNNERS_UP
from greencv_core.analysis.comparison import best
from greencv_core.report.pages.decision import decision_panel
from tests.support import tables
from tests.support.tables import made_up_runs


def loss_bounds(groups):
    return best.loss_bounds([pd.Series(values) for values in groups])


def runs_of(conditions):
    """Return a runs table: name to energies and F1s."""
    energies, scores = ({name: two[i] for name, two in conditions.items()} for i in range(2))
    runs = tables.runs_of(energies, scores)
    runs["duration_s_per_image"] = runs["energy_j_per_image"] / 100
    return runs.assign(environment="gpu", power_w=100.0, provenance="measured")


def test_a_bound_is_that_of_a_sum_done_by_hand():
    a, b = np.array([0.90, 0.92]), np.array([0.80, 0.84])
    # Means differ by 0.09; their variances are 0.0002/2 and 0.0008/2.
    degrees = 0.0005**2 / (0.0001**2 + 0.0004**2)
    by_hand = 0.09 + stats.t.ppf(0.95, degrees) * math.sqrt(0.0005)
    assert loss_bounds([a, b])[1] == pytest.approx(by_hand, rel=1e-12)


def test_bounds_are_the_largest_of_one_sided_welch_intervals():
    rng = np.random.default_rng(5)
    groups = [rng.normal(0.9 - 0.01 * k, 0.005 * (1 + k), 5) for k in range(5)]
    confidence = 1 - 2 * 0.05 / 4  # two-sided, for an upper bound at Bonferroni's level
    for i, bound in enumerate(loss_bounds(groups)):
        highest = max(
            stats.ttest_ind(other, groups[i], equal_var=False).confidence_interval(confidence).high
            for j, other in enumerate(groups)
            if j != i
        )
        assert bound == pytest.approx(max(0.0, highest), rel=1e-9)


def test_groups_without_spread_are_bounded_by_their_difference():
    same, lower = np.array([0.9, 0.9, 0.9]), np.array([0.8, 0.8])
    assert loss_bounds([same, lower]) == pytest.approx([0.0, 0.1])
    assert loss_bounds([same, same]) == pytest.approx([0.0, 0.0])
    with_spread = loss_bounds([same, np.array([0.80, 0.84])])[1]
    assert with_spread == pytest.approx(0.08 + stats.t.ppf(0.95, 1) * 0.02)


def covered(means, deviations, n, studies=2000):
    """Return in which share of studies no group loses more than its bound."""
    rng = np.random.default_rng(11)
    loss = np.max(means) - np.array(means)
    held = 0
    for _ in range(studies):
        groups = [rng.normal(m, d, k) for m, d, k in zip(means, deviations, n, strict=True)]
        held += bool((loss_bounds(groups) >= loss).all())
    return held / studies


@pytest.mark.parametrize(
    ("means", "deviations", "n"),
    [
        ([0.90, 0.90, 0.90, 0.90], [0.01, 0.01, 0.01, 0.01], [3, 3, 3, 3]),
        ([0.90, 0.89, 0.89, 0.85], [0.02, 0.005, 0.01, 0.04], [3, 3, 3, 3]),
        ([0.90, 0.80, 0.80, 0.80], [0.01, 0.01, 0.02, 0.03], [5, 5, 5, 5]),
        ([0.90, 0.80, 0.80, 0.80], [0.001, 0.03, 0.02, 0.01], [4, 8, 5, 3]),
        pytest.param([0.90, *[0.899] * 9], [0.01] * 10, [5] * 10, marks=pytest.mark.slow),
    ],
)
def test_bounds_hold_for_all_conditions_at_once(means, deviations, n):
    tolerance = 3 * math.sqrt(0.95 * 0.05 / 2000)
    assert covered(means, deviations, n) > 0.95 - tolerance


def test_bounds_are_no_wider_than_they_must_be():
    tolerance = 3 * math.sqrt(0.95 * 0.05 / 2000)
    assert covered([0.9, 0.8], [0.01, 0.01], [8, 8]) == pytest.approx(0.95, abs=tolerance)


@pytest.mark.parametrize(("n", "seed"), [(2, 0), (3, 1), (5, 2), (12, 3)])
def test_the_choice_is_the_least_energy_among_those_that_qualify_and_are_not_beaten(n, seed):
    decision = decide(made_up_runs(n=n, seed=seed))
    bounds = [candidate.loss_high for candidate in decision.candidates]
    near = [bound + shift for bound in bounds for shift in (-1e-4, 0, 1e-4) if bound + shift >= 0]
    for loss in (*near, *np.linspace(0, 0.2, 201)):
        allowed = math.floor(round(GRID * loss, 6))
        admitted = [c for c in decision.candidates if round(GRID * c.loss_high) <= allowed]
        fit = [c for c in admitted if c.beaten_by is None]
        chosen = decision.choice(loss)
        assert chosen == (min(fit, key=lambda c: c.energy_j_per_image) if fit else None)
        step = decision.step(loss)
        assert step.admissible == len(admitted)
        assert [decision.candidates[k] for k in step.runners_up] == fit[1 : 1 + RUNNERS_UP]


def test_a_loss_equal_to_the_bound_is_enough_and_a_hundredth_of_a_point_less_is_not():
    decision = decide(made_up_runs(n=3))
    step = next(step for step in decision.answers if step.choice is not None and step.saving)
    chosen = decision.candidates[step.choice]
    assert step.from_loss == chosen.loss_high
    assert decision.choice(step.from_loss) == chosen
    assert decision.choice(100 * step.from_loss / 100) == chosen
    assert decision.choice(step.from_loss - 1e-4) != chosen


def test_bounds_are_rounded_up_to_a_hundredth_of_a_point():
    runs = made_up_runs(n=4, seed=8)
    candidates = decide(runs).candidates
    groups = runs.groupby(["architecture", "environment"])["f1_macro"]
    exact = loss_bounds([groups.get_group(c.levels).to_numpy() for c in candidates])
    for candidate, bound in zip(candidates, exact, strict=True):
        assert 0 <= candidate.loss_high - bound < 1 / GRID
        assert (GRID * candidate.loss_high) == pytest.approx(round(GRID * candidate.loss_high))


def test_the_reference_has_the_highest_mean_and_savings_are_against_it():
    runs = made_up_runs(n=5)
    decision = decide(runs)
    reference = decision.candidates[decision.reference]
    means = runs.groupby(["architecture", "environment"])["f1_macro"].mean()
    assert reference.levels == means.idxmax()
    assert reference.saving is None
    for candidate in decision.candidates:
        if candidate is not reference:
            levels = [
                dict(zip(("architecture", "environment"), c.levels, strict=True))
                for c in (reference, candidate)
            ]
            assert candidate.saving == saving(runs, *levels)


def test_a_picked_saving_reaches_further_down_and_says_so():
    conditions = {
        f"net{k}": ([1.0 + k / 10, 1.2 + k / 10, 0.9 + k / 10], [0.9 + k / 1e4] * 3)
        for k in range(6)
    }
    decision = decide(runs_of(conditions))
    step = decision.step(0.01)
    alone = decision.candidates[step.choice].saving
    assert step.saving.saving == alone.saving
    assert step.saving.ci_low < alone.ci_low
    assert step.saving.ci_high == alone.ci_high
    assert step.saving.picked_from == math.comb(6, 2)
    assert "corrected for selection from 15 pairs" in decision.details(step)


def test_a_choice_has_one_interval_whatever_else_is_admitted_while_it_holds():
    decision = decide(made_up_runs(n=3))
    told = {}
    for step in decision.steps:
        if step.saving:
            told.setdefault(step.choice, set()).add((step.saving.ci_low, step.saving.picked_from))
    assert all(len(intervals) == 1 for intervals in told.values())
    assert len(told) < sum(step.saving is not None for step in decision.steps)


@pytest.mark.slow
def test_the_interval_of_the_picked_saving_holds_the_truth():
    studies, held = 120, 0
    rng = np.random.default_rng(17)
    for _ in range(studies):
        conditions = {"best": (rng.lognormal(math.log(2), 0.05, 5), [0.91] * 5)}
        for k in range(5):
            conditions[f"net{k}"] = (rng.lognormal(0, 0.05, 5), rng.normal(0.90, 0.001, 5))
        picked = decide(runs_of(conditions)).step(0.05).saving
        held += picked.ci_low <= 0.5 <= picked.ci_high
    assert held / studies > 0.95 - 3 * math.sqrt(0.95 * 0.05 / studies)


def test_equal_conditions_choose_the_cheapest_at_no_loss():
    decision = decide(runs_of({"a": ([2.0, 2.0], [0.9, 0.9]), "b": ([1.0, 1.0], [0.9, 0.9])}))
    assert decision.choice(0.0).name == "b @ gpu"
    assert decision.candidates[decision.reference].name == "b @ gpu"
    told = decision.details(decision.step(0.0))
    assert "it loses nothing" in told
    assert "2 configurations stay within this loss; it uses the least energy" in told
    assert "In 2 configurations all runs have the same macro F1" in decision.summary()
    assert "no spread" not in decide(made_up_runs(n=3)).summary()


def test_of_conditions_with_the_same_energy_the_one_of_higher_f1_is_chosen():
    energies = [1.0, 1.1, 0.9, 1.0]
    decision = decide(
        runs_of({"a": (energies, [0.9, 0.91, 0.9, 0.9]), "b": (energies, [0.91, 0.9, 0.92, 0.91])})
    )
    assert decision.candidates[decision.reference].name == "b @ gpu"
    assert decision.choice(0.1).name == "b @ gpu"


def test_where_nothing_qualifies_the_reference_is_named_and_the_least_bound():
    decision = decide(made_up_runs(n=3))
    step = decision.step(0.0)
    assert step.choice is None
    assert step.saving is None
    assert step.runners_up == step.tied == ()
    assert decision.choice(0.0) is None
    assert (
        decision.headline(step)
        == "With these runs, no configuration can be shown to lose this little F1."
    )
    least = min(c.loss_high for c in decision.candidates)
    assert (
        f"The smallest loss that they show is at most {100 * least:.2f} points"
        in decision.details(step)
    )
    reference = decision.candidates[decision.reference].name
    assert f"{reference} has the highest mean macro F1" in decision.details(step)


def test_a_condition_that_another_beats_is_never_recommended():
    runs = runs_of(
        {
            "wild": ([1.0, 1.1, 0.9, 1.0] * 2, [0.82, 1.0] * 4),
            "calm": ([2.0, 2.1, 1.9, 2.0] * 2, [0.904, 0.905] * 4),
            "wild too": ([3.0, 3.1, 2.9, 3.0] * 2, [0.819, 0.999] * 4),
        }
    )
    decision = decide(runs)
    by_name = {c.name: c for c in decision.candidates}
    assert decision.candidates[decision.reference].name == "wild @ gpu"
    assert decision.candidates[by_name["calm @ gpu"].beaten_by].name == "wild @ gpu"
    step = decision.step(by_name["calm @ gpu"].loss_high)
    assert step.choice is None
    assert decision.headline(step) == "No configuration can be recommended at this loss."
    told = decision.details(step)
    assert "calm @ gpu stays within this loss at 2.00 J per image, but is not" in told
    assert "wild @ gpu uses 0.997 J and has a mean macro F1 of 0.910 against 0.90" in told
    last = decision.step(by_name["wild @ gpu"].loss_high)
    assert decision.candidates[last.choice].name == "wild @ gpu"
    assert "calm" not in decision.details(last)


@pytest.mark.parametrize("seed", range(5))
def test_no_answer_is_beaten_by_the_runs_of_another_condition(seed):
    rng = np.random.default_rng(seed)
    conditions = {
        f"net{k}": (
            rng.lognormal(rng.normal(0, 0.5), 0.05, 4),
            np.clip(rng.normal(0.9 + 0.05 * rng.random(), 0.1 ** rng.uniform(1, 3), 4), 0, 1),
        )
        for k in range(8)
    }
    decision = decide(runs_of(conditions))
    energy, score = ({name: np.mean(f(two[i])) for name, two in conditions.items()}
                     for i, f in enumerate((np.log, np.asarray)))  # fmt: skip
    for step in decision.steps:
        if step.choice is not None:
            own = decision.candidates[step.choice].levels[0]
            assert not any(energy[a] < energy[own] and score[a] > score[own] for a in energy)


def test_energies_that_are_not_told_apart_are_named_and_what_decides():
    conditions = {
        "a": ([1.0, 1.1, 0.9, 1.0], [0.90, 0.901, 0.90, 0.899]),
        "b": ([1.02, 1.1, 0.91, 1.0], [0.905, 0.906, 0.905, 0.904]),
        "c": ([2.0, 2.1, 1.9, 2.0], [0.91, 0.911, 0.91, 0.909]),
    }
    decision = decide(runs_of(conditions))
    step = decision.step(0.05)
    assert [decision.candidates[k].name for k in (step.choice, *step.tied)] == [
        "a @ gpu",
        "b @ gpu",
    ]
    told = decision.details(step)
    assert "Its energy does not differ significantly from that of b @ gpu" in told
    assert "the lower mean decides. b @ gpu has a mean macro F1 of 0.905." in told
    assert "lower mean decides" not in decision.details(decision.step(0.0))


def test_conditions_that_learned_nothing_change_no_answer_and_are_named():
    runs = made_up_runs(n=5).assign(classes=10, validation_images=300)
    failed = runs[runs["architecture"] == "net0"].assign(
        architecture="fails", f1_macro=2 / 110, energy_j_per_image=1e-4
    )
    best = runs[runs["architecture"] == "net4"].assign(architecture="chance", f1_macro=0.12)
    decision, alone = decide(pd.concat([runs, failed, best])), decide(runs)
    assert decision.steps == alone.steps
    assert decision.candidates == alone.candidates
    assert set(decision.failed) == {f"{a} @ env{e}" for a in ("fails", "chance") for e in (0, 1)}
    assert "learned nothing if its macro F1 is at most 0.130" in decision.summary()
    assert "fails @ env0" in decision.summary()
    assert "The number of classes is unknown" in decide(made_up_runs()).summary()
    with pytest.raises(NotEnoughDataError, match="at least 2 conditions that learned something"):
        decide(pd.concat([failed, best]))


def test_an_energy_of_zero_or_less_takes_no_part_and_is_named():
    runs = made_up_runs(n=3)
    runs.loc[0, "energy_j_per_image"] = -1.0
    decision = decide(runs)
    assert decision.left_out == ("net0 @ env0",)
    assert (
        "net0 @ env0 (fewer than 2 runs with energy and macro F1, or an energy of 0 or less)"
        in (decision.summary())
    )


def test_energies_of_another_provenance_are_told_apart():
    runs = runs_of({"best": ([2.0, 2.1, 1.9], [0.950, 0.951, 0.952]),
                    "less": ([1.0, 1.1, 0.9], [0.940, 0.941, 0.942])})  # fmt: skip
    runs.loc[runs["architecture"] == "less", "provenance"] = "estimated"
    decision = decide(runs)
    told = decision.details(decision.step(0.1))
    assert "0.997 J per image (estimated)" in told
    assert "The other's energy is measured" in told
    assert decision.provenance == "estimated"
    shown = decision_panel({"runs": decision}, 0.1).data
    assert "0.997\nestimated" in shown
    assert "2.00\nmeasured" in shown
    assert "(J, measured)" not in shown


def test_a_single_run_takes_no_part_and_is_named():
    runs = runs_of({"a": ([2.0, 2.1], [0.9, 0.91]), "b": ([1.0, 1.1], [0.9, 0.9]),
                    "c": ([0.1], [0.99]), "d": ([0.1, 0.1], [0.99, math.nan])})  # fmt: skip
    decision = decide(runs)
    assert decision.left_out == ("c @ gpu", "d @ gpu")
    assert {c.name for c in decision.candidates} == {"a @ gpu", "b @ gpu"}
    assert "left out: c @ gpu and d @ gpu (fewer than 2 runs" in decision.summary()


def test_runs_without_an_answer_say_what_is_missing():
    one = runs_of({"a": ([1.0, 1.1], [0.9, 0.91])})
    with pytest.raises(NotEnoughDataError, match="at least 2 conditions that learned something"):
        decide(one)
    made_up = runs_of({"a": ([1, 2], [math.nan] * 2), "b": ([1, 2], [math.nan] * 2)})
    with pytest.raises(NotEnoughDataError, match="no run has both an energy and a macro F1"):
        decide(made_up)
    nothing = runs_of({"a": ([1.0, 2.0], [0.0, 0.0]), "b": ([1.0, 2.0], [0.0, 0.0])})
    with pytest.raises(NotEnoughDataError, match="that learned something"):
        decide(nothing)
    assert not attempt(decide, made_up_runs().iloc[:0])


def test_a_decision_is_json_and_back():
    runs = made_up_runs(n=3)
    runs.loc[runs["architecture"] == "net0", "power_w"] = math.nan
    told = decide(runs).to_json()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert [step["from_hundredths"] for step in told["steps"]] == [
        round(GRID * step["from_loss"]) for step in told["steps"]
    ]
    assert {c["power_w"] for c in told["candidates"]} == {None, 10.0}
    places = range(len(told["candidates"]))
    assert all(step["choice"] in places for step in told["steps"] if step["choice"] is not None)
