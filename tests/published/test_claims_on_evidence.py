"""The claims on evidence tables: single runs, several data sets, correctness by its name."""

import math

import numpy as np
import pandas as pd
import pytest

from greencv_core.published.claim_answers import Answer, combine
from greencv_core.published.claim_differences import (
    compare_over_blocks,
    correlate_architectures,
)
from greencv_core.published.claims import claim_texts, evaluate_claims, evaluate_evidence
from tests.support.known_truth import crossing, truth

TEN = tuple(10 ** np.linspace(-2, 0, 10))


def evidence(runs=None, images=1000, **columns):
    """Return an evidence table of a known truth; one run a condition without ``runs``."""
    runs = truth(n=1, gflops=TEN, environments=3) if runs is None else runs
    return runs.assign(
        **{
            "run_id": [f"lab/{number}" for number in range(len(runs))],
            "source": "lab",
            "energy_j": runs["energy_j_per_image"] * images,
            "duration_s": runs["duration_s_per_image"] * images,
            "images_processed": images,
            "correctness": runs["f1_macro"],
            "correctness_name": "accuracy",
            **columns,
        }
    ).drop(columns=["f1_macro", "duration_s_per_image", "energy_j_per_image"])


def verdicts(table):
    return evaluate_evidence(table).claims.set_index("id")


def test_one_run_a_condition_gives_figures_and_only_what_units_allow():
    table = evidence()
    claims = verdicts(table)
    saving = claims.loc["largest_saving"]
    per_condition = table.groupby(["architecture", "environment"])["energy_j"].sum()
    assert saving["figure"] == pytest.approx(1 - per_condition.min() / per_condition.max())
    assert (saving["standing"], saving["n"]) == ("not shown", 2)
    assert np.isnan(saving["ci_low"])
    assert "one run a condition, so no interval" in saving["here"]
    assert claims.loc["saving_without_loss", "standing"] == "not shown"
    assert claims.loc["architectures_energy", "standing"] == "holds"
    assert claims.loc["environments_energy", "standing"] == "holds"
    assert "Friedman's test" in claims.loc["environments_energy", "here"]
    rising = claims.loc["energy_gflops"]
    assert rising["standing"] == "holds"
    assert rising["figure"] > 0.9


def test_single_runs_without_an_effect_show_nothing():
    claims = verdicts(evidence(truth(lambda g, e: 1.0, n=1, gflops=TEN, environments=3)))
    of_energy = ["architectures_energy", "environments_energy", "energy_gflops", "largest_saving"]
    assert set(claims.loc[of_energy, "standing"]) == {"not shown"}


@pytest.mark.parametrize(
    ("energy", "standing"),
    [
        (crossing(0.1), "holds"),
        (lambda g, e: g**0.5 * (1 - 0.3 * e), "does not hold"),
        (lambda g, e: g ** (0.5 + 0.2 * e) * 0.1 ** (-0.2 * e), "does not hold"),
        (lambda g, e: g**0.5, "not shown"),
    ],
    ids=["turns", "one is cheaper throughout", "turns the other way", "no difference"],
)
def test_hardware_matches_by_a_line_where_there_is_one_run_a_condition(energy, standing):
    matching = verdicts(evidence(truth(energy, n=1, gflops=TEN))).loc["matching"]
    assert matching["standing"] == standing
    assert matching["n"] == 20
    assert matching["ci_low"] < matching["figure"] < matching["ci_high"]


def test_the_exponent_of_matching_is_that_of_the_truth():
    matching = verdicts(evidence(truth(crossing(0.1), n=1, gflops=TEN))).loc["matching"]
    assert matching["ci_low"] < -0.2 < matching["ci_high"]
    assert matching["ci_high"] - matching["ci_low"] < 0.1


def test_environments_of_another_framework_or_batch_are_not_compared():
    runs = truth(crossing(0.1), n=1, gflops=TEN)
    powerful = runs["environment"].eq("env1")
    other = {"framework": powerful.map({True: "JAX", False: "PyTorch"})}
    assert "framework" in verdicts(evidence(runs, **other)).loc["matching", "verdict"]
    # Eight devices with 256 images in all have 32 each, as one with 32 has.
    hardware = powerful.map({True: "8x A100", False: "RTX 5000"})
    batches = {"hardware": hardware, "batch_size": powerful.map({True: 256, False: 32})}
    assert verdicts(evidence(runs, **batches)).loc["matching", "standing"] == "holds"
    batches["batch_size"] = 32
    assert verdicts(evidence(runs, **batches)).loc["matching", "standing"] == "cannot be tested"


def test_data_sets_are_asked_one_by_one_and_never_across():
    small = truth(lambda g, e: g**-0.5, gflops=TEN).assign(dataset="digits")
    large = truth(lambda g, e: 1e4 * g**-0.5, gflops=tuple(100 * g for g in TEN), seed=1)
    large["architecture"] = "large " + large["architecture"]
    table = evidence(pd.concat([small, large.assign(dataset="photographs")]))
    across = verdicts(table.drop(columns="dataset")).loc["energy_gflops", "standing"]
    assert across == "holds"  # what a comparison across data sets would say
    claims = verdicts(table)
    assert claims.loc["energy_gflops", "standing"] == "does not hold"
    assert claims.loc["largest_saving", "figure"] < 0.96  # across, it is above 0.999
    assert "digits: " in claims.loc["largest_saving", "here"]
    assert claims.loc["largest_saving", "n"] == 32


def test_a_data_set_that_cannot_be_asked_is_named():
    one = truth(gflops=(0.1,)).assign(dataset="small")
    table = evidence(pd.concat([truth(gflops=TEN).assign(dataset="large"), one]))
    claim = verdicts(table).loc["energy_gflops"]
    assert claim["standing"] == "holds"
    assert "Cannot be tested with small: they have only one architecture." in claim["verdict"]


@pytest.mark.parametrize(
    ("standings", "together"),
    [
        (("holds", "holds"), "holds"),
        (("holds", "not shown"), "holds in part"),
        (("holds", "does not hold"), "holds in part"),
        (("holds in part", "not shown"), "holds in part"),
        (("not shown", "does not hold"), "does not hold"),
        (("not shown", "not shown"), "not shown"),
        (("holds", "cannot be tested"), "holds"),
        (("cannot be tested", "cannot be tested"), "cannot be tested"),
    ],
)
def test_verdicts_of_data_sets_together(standings, together):
    answers = {str(i): Answer(s, f"Verdict: {s}.") for i, s in enumerate(standings)}
    assert combine(answers, min).standing == together


def test_the_figure_of_several_data_sets_is_the_one_that_supports_the_claim_least():
    answers = {
        "a": Answer("holds", "Holds.", "x", 3, 0.9, 0.8, 0.95),
        "b": Answer("holds", "Holds.", "y", 4, 0.4, 0.3, 0.5),
    }
    least = combine(answers, min)
    assert (least.figure, least.ci_low, least.ci_high, least.n) == (0.4, 0.3, 0.5, 7)
    assert combine(answers, max).figure == 0.9


def test_correctness_goes_by_its_name_and_not_by_two():
    table = evidence(truth(gflops=TEN))
    claims = verdicts(table)
    assert claims.loc["saving_without_loss", "claim"].endswith("negligible loss of accuracy")
    assert "mean accuracy" in claims.loc["saving_without_loss", "here"]
    mixed = table.assign(correctness_name=np.where(table.index % 2, "accuracy", "macro F1"))
    assert verdicts(mixed).loc["saving_without_loss", "standing"] == "cannot be tested"


def test_runs_and_correctness_that_are_left_out_do_not_count():
    table = evidence(truth(gflops=TEN))
    dear = table["architecture"].eq("net9")
    without = verdicts(table.assign(left_out=np.where(dear, "broken", "")))
    direct = verdicts(table[~dear])
    pd.testing.assert_frame_equal(without, direct)
    untaught = verdicts(table.assign(correctness_left_out=np.where(dear, "did not learn", "")))
    assert "net9" in untaught.loc["largest_saving", "here"]
    assert "net9" not in untaught.loc["saving_without_loss", "here"]


def test_without_images_energy_is_that_of_whole_runs():
    table = evidence(truth(gflops=TEN))
    known = verdicts(table)
    unknown = verdicts(table.drop(columns="images_processed"))
    assert list(unknown["standing"]) == list(known["standing"])
    assert unknown.loc["largest_saving", "here"].startswith("Energy of whole runs. ")
    assert not unknown.loc["architectures_correctness", "here"].startswith("Energy")


def test_required_columns_suffice():
    table = evidence()[["source", "architecture", "environment", "energy_j", "provenance"]]
    claims = verdicts(table)
    assert claims.loc["architectures_energy", "standing"] == "holds"
    assert claims.loc["energy_gflops", "standing"] == "cannot be tested"
    assert set(claims.index) == set(claim_texts())


def test_evidence_and_runs_tables_get_the_same_verdicts():
    runs = truth()
    own = evaluate_claims(runs).claims.set_index("id")
    other = verdicts(evidence(runs))
    assert list(own["standing"]) == list(other["standing"])
    assert other["figure"].to_numpy() == pytest.approx(own["figure"].to_numpy(), rel=1e-9)


@pytest.mark.parametrize("n", [5, 8, 9])
def test_the_test_over_architectures_is_that_of_all_orders(n):
    runs = truth(n=3, environments=1, gflops=tuple(10 ** np.linspace(-2, 1, n)))
    found = correlate_architectures(runs, "gflops_per_image", "energy_j_per_image")
    assert (found.rho, found.architectures, found.n) == (pytest.approx(1), n, 3 * n)
    exact = 2 / math.factorial(n)
    assert found.p == pytest.approx(exact) if n < 9 else found.p < 1e-6


def test_more_runs_of_the_same_architectures_show_no_rise():
    """With five architectures whose order is not that of their GFLOPs, runs decide nothing."""
    levels = iter([1.0, 3.0, 2.0, 5.0, 4.0] * 2)
    energy = {g: next(levels) for g in (0.01, 0.03, 0.1, 0.3, 1.0)}
    many = truth(lambda g, e: energy[g], n=50)
    row = evaluate_claims(many).claims.set_index("id").loc["energy_gflops"]
    assert row["standing"] == "not shown"
    assert row["figure"] == pytest.approx(0.8)


def test_blocks_keep_the_level_of_the_test():
    rng = np.random.default_rng(5)
    table = truth(n=1, gflops=TEN, environments=4)
    p = [
        compare_over_blocks(
            table.assign(energy_j_per_image=rng.lognormal(size=len(table))),
            "energy_j_per_image", "architecture", "environment",
        )[0]
        for _ in range(300)
    ]  # fmt: skip
    assert np.mean(np.array(p) < 0.05) < 0.08
    assert np.mean(np.array(p) < 0.5) > 0.35


def test_incomplete_blocks_are_left_out():
    table = truth(n=1, gflops=TEN, environments=4)
    gap = table["architecture"].eq("net0") & table["environment"].eq("env3")
    _, _, levels, blocks, n = compare_over_blocks(
        table[~gap], "energy_j_per_image", "environment", "architecture"
    )
    assert (levels, blocks, n) == (4, 9, 36)


def test_a_few_repetitions_among_many_single_runs_do_not_decide():
    single = truth(n=1, gflops=TEN, environments=3)
    twice = pd.concat([single, single[single["architecture"].isin(["net0", "net1"])]])
    assert verdicts(evidence(twice)).loc["largest_saving", "standing"] == "not shown"


def metered(energy_j, duration_s, **columns):
    """Return an evidence table with an idle power of 100 W, and so much energy besides."""
    table = evidence(truth(gflops=TEN))
    powerful, g = table["environment"].eq("env1"), table["gflops_per_image"]
    noise = table["energy_j"] / (g**0.5 * (1 + powerful)) / 1000
    seconds = duration_s(g, powerful)
    return table.assign(
        duration_s=seconds,
        idle_power_w=100.0,
        energy_j=(energy_j(g, powerful) + 100 * seconds) * noise,
        **columns,
    )


def test_a_claim_that_idle_energy_alone_makes_true_does_not_hold():
    turning = metered(
        lambda g, powerful: 1e5 * g**0.5,
        lambda g, powerful: 1e3 * g**0.5 * (g / 0.1) ** np.where(powerful, -0.1, 0.1),
    )
    assert verdicts(turning.drop(columns="idle_power_w")).loc["matching", "standing"] == "holds"
    matching = verdicts(turning).loc["matching"]
    assert matching["standing"] == "holds in part"
    assert "Gross: holds. Net of the idle power: not shown." in matching["verdict"]


def test_gross_and_net_answers_that_agree_are_one():
    table = metered(lambda g, powerful: 1e5 * g * (1 + powerful), lambda g, powerful: 1e3 * g)
    low = verdicts(table.assign(low_power_w=20.0))
    rising = low.loc["energy_gflops"]
    assert rising["standing"] == "holds"
    assert rising["verdict"] == "Holds for both environments. Gross and net."
    assert "Net of the low-power state: env0: rank correlation" in rising["here"]
    assert "gross, because no idle power" not in evaluate_evidence(table).sentence()
    assert "gross, because no idle power" in evaluate_evidence(evidence()).sentence()


def test_runs_that_take_no_more_than_idling_have_no_net_energy():
    table = metered(lambda g, powerful: 1e5 * g * (1 + powerful), lambda g, powerful: 1e3 * g)
    idle = table["architecture"].eq("net0")
    row = verdicts(table.assign(idle_power_w=np.where(idle, 1e6, 100.0))).loc["largest_saving"]
    assert "Net of the idle power (144 of 160 runs): " in row["here"]
    assert "net0" not in row["here"].partition("Net of")[2]
