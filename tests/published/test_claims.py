"""Evaluation of the original's claims on other runs: each verdict, on known truths."""

import re
from dataclasses import asdict

import numpy as np
import pytest

from greencv_core import runs_table
from greencv_core.analysis import BreakEven, Unavailable, break_evens, select_runs
from greencv_core.published.claim_answers import Terms
from greencv_core.published.claims import (
    GFLOPS_SPAN,
    Replication,
    _questions,
    evaluate_claims,
)
from greencv_core.published.seaa2023.claims import (
    CORRELATED,
    printed,
    quote_correlation,
    quote_test,
)
from greencv_core.published.seaa2023.reanalysis import (
    CORRECTED,
    CORRECTNESS,
    RQ1_ENVIRONMENT,
    SMALLER_GPU,
)
from greencv_core.report.pages.claims import claims_table, other_claims_table, verdicts_matrix
from greencv_core.report.pages.decision import corrected_runs
from tests.support.known_truth import crossing, truth
from tests.support.made_up_records import made_up_records

ARCHITECTURES = (
    "Architectures differ in energy",
    "Architectures differ in device utilisation",
    "Architectures differ in F1",
)
ENVIRONMENTS = ("Environments differ in energy", "Environments differ in device utilisation")
SAVING = "Architecture and environment save up to 81.4%"
LOSS = "The largest saving costs a negligible loss of F1"
RISES = (
    "Energy rises with GFLOPs",
    "Device utilisation rises with GFLOPs",
    "Energy rises with device utilisation",
)
MATCHING = (
    "Hardware should match the model: simple architectures use less energy in the less powerful "
    "environment, complex ones in the more powerful"
)
CLAIMS = (*ARCHITECTURES, *ENVIRONMENTS, SAVING, LOSS, *RISES, MATCHING)
MARGIN = 0.02


def evaluate(runs, claim, margin=MARGIN):
    """Return the row of one claim."""
    question = _questions("F1")[CLAIMS.index(claim)]
    answer = question.ask(Terms(margin, "f1_macro", "F1"), runs)
    return {**asdict(answer), "original": question.original}


def flat(value):
    return lambda gflops, e: value


def test_each_claim_is_evaluated_once():
    claims = evaluate_claims(truth(), MARGIN).claims
    assert tuple(claims["claim"]) == CLAIMS
    assert list(claims["id"]) == [
        "architectures_energy", "architectures_utilisation", "architectures_correctness",
        "environments_energy", "environments_utilisation", "largest_saving",
        "saving_without_loss", "energy_gflops", "utilisation_gflops", "energy_utilisation",
        "matching",
    ]  # fmt: skip
    assert claims["figure"].notna().all()
    assert (claims["original"].str.len() > 0).all()
    answered = claims["standing"] != "cannot be tested"
    assert answered.all()
    assert (claims["here"].str.len() > 0).all()
    assert (claims["n"] > 0).all()


def test_the_answers_do_not_depend_on_the_order_of_the_runs():
    runs = truth(n=4)
    shuffled = runs.sample(frac=1, random_state=3)
    first, other = evaluate_claims(runs, MARGIN).claims, evaluate_claims(shuffled, MARGIN).claims
    assert list(other["standing"]) == list(first["standing"])
    rising = first["claim"].isin(RISES)
    lines = [set(text.split("\n")) for text in first.loc[rising, "here"]]
    assert [set(text.split("\n")) for text in other.loc[rising, "here"]] == lines


@pytest.mark.parametrize(
    ("runs", "lacking", "why"),
    [
        (truth().iloc[:0], [c for c in CLAIMS if c != LOSS], "there are none"),
        (truth(environments=1), (*ENVIRONMENTS, MATCHING), "they have only one environment"),
        (
            truth(gflops=(0.1,)),
            (*ARCHITECTURES, *RISES, MATCHING),
            "they have only one architecture",
        ),
        (
            truth().assign(device_utilization_pct=np.nan),
            (ARCHITECTURES[1], ENVIRONMENTS[1], *RISES[1:]),
            "none of them has a device utilisation",
        ),
        (truth().assign(f1_macro=np.nan), (ARCHITECTURES[2],), "none of them has a macro F1"),
        (truth().assign(f1_macro=np.nan), (LOSS,), "none of them has macro F1"),
        (truth(gflops=(0.1, 1.0)), RISES, "at least 5 that have both"),
        (truth(gflops=(0.1, 0.3, 1.0), n=2), (MATCHING,), "at least 4 architectures"),
        (truth(n=1), ARCHITECTURES, "there is one run a condition"),
        (
            truth().assign(device_utilization_pct=40.0),
            (ARCHITECTURES[1], ENVIRONMENTS[1], *RISES[1:]),
            "device utilisation is the same in all of them",
        ),
        (
            truth().assign(device="cpu", threads=lambda t: t["environment"].eq("env0") + 1),
            (ENVIRONMENTS[1],),
            "a CPU's utilisation is set by its threads",
        ),
    ],
    ids=["none", "one environment", "one architecture", "no utilisation", "no F1", "no F1 to lose",
         "two architectures", "two runs each", "one run each", "constant", "threads"],
)  # fmt: skip
def test_a_claim_that_cannot_be_evaluated_says_why(runs, lacking, why):
    for claim in lacking:
        row = evaluate(runs, claim)
        assert row["standing"] == "cannot be tested"
        assert row["verdict"].startswith("Cannot be tested with these runs: ")
        assert why in row["verdict"]
        assert (row["here"], row["n"]) == ("", 0)


def test_other_claims_are_still_evaluated():
    runs = truth(environments=1)
    for claim in (*ARCHITECTURES[:2], *RISES):
        assert evaluate(runs, claim)["standing"] == "holds"


@pytest.mark.parametrize(
    ("claim", "apart", "alike"),
    [
        (ARCHITECTURES[0], {}, {"energy": flat(1.0)}),
        (ARCHITECTURES[1], {}, {"utilisation": flat(50.0)}),
        (ARCHITECTURES[2], {"f1": lambda g, e: 0.95 + 0.02 * np.log10(g)}, {"f1": flat(0.95)}),
    ],
)
def test_architectures_differ_only_if_they_do(claim, apart, alike):
    shown, open_one = evaluate(truth(**apart), claim), evaluate(truth(**alike), claim)
    assert shown["standing"] == "holds"
    assert re.fullmatch(r"Holds: \d+ of 10 pairs differ significantly\.", shown["verdict"])
    assert shown["n"] == 40
    assert "Within env1" in shown["here"]  # the fastest
    assert "eta squared" in shown["here"]
    assert open_one["standing"] == "not shown"
    assert "does not prove that there is none" in open_one["verdict"]


@pytest.mark.parametrize(
    ("claim", "by", "base"),
    [(ENVIRONMENTS[0], "energy", 1.0), (ENVIRONMENTS[1], "utilisation", 50.0)],
)
def test_environments_differ_for_the_right_architectures(claim, by, base):
    def step(above):
        return lambda g, e: base * (1 + 0.3 * e * (g > above))

    every, some, none = (evaluate(truth(**{by: step(above)}), claim) for above in (0, 0.05, 9))
    assert (every["standing"], every["verdict"]) == ("holds", "Holds for all 5 architectures.")
    assert some["standing"] == "holds in part"
    assert some["verdict"] == ("Holds in part (3 of 5 architectures). Not shown for net0 and net1.")
    assert none["standing"] == "not shown"
    assert every["n"] == some["n"] == none["n"] == 80


@pytest.mark.parametrize(
    ("most", "standing", "word"),
    [
        (1 / (1 - 0.95), "holds", "the saving is larger"),
        (1 / (1 - printed("savings", "max")), "holds", "within the margin of agreement"),
        (1 / (1 - 0.5), "holds in part", "a smaller one"),
        (1.0, "not shown", "the interval includes 0"),
    ],
)
def test_the_largest_saving_is_compared_with_the_originals(most, standing, word):
    row = evaluate(
        truth(lambda g, e: most ** (g == 1.0), gflops=(0.01, 1.0), environments=1, n=12), SAVING
    )
    assert row["standing"] == standing
    assert word in row["verdict"]
    assert "0.0100 to 1.00 GFLOPs, a factor of 100" in row["here"]
    assert "a factor of 157" in row["original"]


@pytest.mark.parametrize(
    ("loss", "standing", "dear"),
    [
        (0.0, "holds", "net4 @ env1"),
        (-0.03, "holds", "net0 @ env1"),  # of the others, none is as good as the best
        (0.05, "does not hold", "net4 @ env1"),
    ],
)
def test_a_loss_of_f1_is_negligible_only_if_a_test_shows_it(loss, standing, dear):
    row = evaluate(truth(f1=lambda g, e: 0.9 - loss * (g == 0.01)), LOSS)
    assert row["standing"] == standing
    assert f"net0 @ env0 against {dear}" in row["here"]


def test_a_loss_that_may_be_above_or_below_the_margin_is_not_shown():
    runs = truth(f1=lambda g, e: 0.9 - MARGIN * (g == 0.01))
    assert evaluate(runs, LOSS)["standing"] == "not shown"
    assert evaluate(runs, LOSS, margin=0.05)["standing"] == "holds"
    assert evaluate(runs, LOSS, margin=0.005)["standing"] == "does not hold"


def test_no_f1_can_be_lost_against_an_untrained_network():
    runs = truth()
    runs.loc[runs["architecture"] == "net4", "f1_macro"] = 0.0
    assert "net0 @ env0 against net3 @ env1" in evaluate(runs, LOSS)["here"]
    row = evaluate(runs.assign(f1_macro=0.0), LOSS)
    assert row["standing"] == "cannot be tested"
    assert "no condition learned anything" in row["verdict"]


def test_without_a_saving_there_is_no_loss_to_ask_about():
    assert "no saving is shown" in evaluate(truth(flat(1.0)), LOSS)["verdict"]


@pytest.mark.parametrize(
    ("claim", "by"),
    [(RISES[0], "energy"), (RISES[1], "utilisation")],
)
def test_a_quantity_rises_falls_or_is_not_shown_to(claim, by):
    def power(*exponents):
        return lambda g, e: 10 * g ** exponents[e]

    def standing(*exponents):
        row = evaluate(truth(**{by: power(*exponents)}), claim)
        return row["standing"], row["verdict"]

    assert standing(0.5, 0.4) == ("holds", "Holds for both environments.")
    assert standing(0.5, -0.5) == (
        "holds in part", "Holds in part: it rises in 1 of 2 environments and falls in 1.",
    )  # fmt: skip
    assert standing(-0.5, -0.4)[0] == "does not hold"
    assert standing(0.0, 0.0)[0] == "not shown"


def test_energy_with_utilisation_is_of_the_two_and_not_of_gflops():
    def bowl(g, e):
        return 1 + np.log10(g / 0.1) ** 2

    gflops = 10 ** np.linspace(-2, 0.1, 7)
    runs = truth(energy=bowl, utilisation=lambda g, e: 20 * bowl(g, e), gflops=gflops)
    assert evaluate(runs, RISES[0])["standing"] == "not shown"
    assert evaluate(runs, RISES[1])["standing"] == "not shown"
    assert evaluate(runs, RISES[2])["standing"] == "holds"
    against = truth(bowl, utilisation=lambda g, e: 90 - 20 * bowl(g, e), gflops=gflops)
    assert evaluate(against, RISES[2])["standing"] == "does not hold"


def test_hardware_matches_where_the_cheaper_environment_turns_with_complexity():
    row = evaluate(truth(crossing(0.1)), MATCHING)
    assert (row["standing"], row["verdict"], row["n"]) == ("holds", "Holds.", 80)
    assert "env0 uses less below, env1 above" in row["here"]


@pytest.mark.parametrize(
    ("energy", "word"),
    [
        (lambda g, e: g**0.5 * (1 - 0.3 * e), "env1 uses less energy for all architectures"),
        (lambda g, e: g**0.5 * (1 + 0.3 * e), "env0 uses less energy for all architectures"),
        (lambda g, e: g ** (0.5 + 0.2 * e) * 0.1 ** (-0.2 * e), "does not change"),
    ],
    ids=["the powerful for all", "the other for all", "turned the other way"],
)
def test_hardware_does_not_match_where_the_opposite_is_shown(energy, word):
    row = evaluate(truth(energy), MATCHING)
    assert row["standing"] == "does not hold"
    assert word in row["verdict"]


def test_hardware_is_not_shown_to_match_without_differences():
    row = evaluate(truth(lambda g, e: g**0.5), MATCHING)
    assert row["standing"] == "not shown"
    assert "The data show no change of the ratio with GFLOPs" in row["here"]


def test_hardware_matches_in_part_where_one_pair_of_two_turns():
    def energy(g, e):
        return crossing(0.1)(g, 1) if e == 1 else g**0.5 * (1 + e)

    runs = truth(energy, environments=3, duration=lambda g, e: g**0.5 / (2 if e == 1 else 1))
    row = evaluate(runs, MATCHING)
    assert (row["standing"], row["verdict"]) == ("holds in part", "Holds in part (1 of 2 pairs).")


def test_the_sentence_counts_verdicts_and_says_how_energy_is_known():
    runs = truth(environments=1)
    replication = evaluate_claims(runs, MARGIN)
    counts = replication.claims["standing"].value_counts()
    assert counts["cannot be tested"] == 3
    sentence = replication.sentence()
    assert sentence.startswith(f"{counts['holds']} of 11 claims hold, ")
    assert "3 cannot be tested" in sentence
    assert "8 claims are tested, each at 5%" in sentence
    assert "up to 0.4 would hold by chance" in sentence
    assert (
        "The tests use 40 runs on a GPU; energy is measured and gross, because no idle power is "
        "known."
    ) in sentence
    estimated = Replication(runs.assign(provenance="estimated"), replication.claims).sentence()
    assert "energy is estimated and gross" in estimated
    mixed = runs.assign(provenance=["measured", "estimated"] * (len(runs) // 2))
    assert "energy is estimated and gross" in Replication(mixed, replication.claims).sentence()
    assert "no runs" in evaluate_claims(runs.iloc[:0], MARGIN).sentence()


def test_claims_are_evaluated_on_a_studys_records():
    runs = select_runs(runs_table(made_up_records())).runs
    replication = evaluate_claims(runs, MARGIN)
    claims = replication.claims.set_index("claim")
    assert claims.loc[RISES[0], "standing"] == "holds"
    assert claims.loc[ENVIRONMENTS[0], "verdict"] == (
        "Holds for all 5 architectures. Gross and net."
    )
    assert claims.loc[MATCHING, "standing"] == "does not hold"  # env0 takes less throughout
    assert "energy is estimated" in replication.sentence()


def test_the_table_shows_every_claim_and_no_markup_of_names():
    runs = truth(n=4).assign(architecture=lambda t: "<b>" + t["architecture"])
    made = claims_table(evaluate_claims(runs, MARGIN))
    assert made.body.count("<tr>") == 2 * (len(CLAIMS) + 1)  # verdicts; to open: estimates
    assert made.body.count("<details>") == 1
    assert "<b>" not in made.body
    assert "energy measured" in made.caption
    assert "n = 40 runs" in made.full_caption
    assert made.files["csv"].decode().startswith("id,claim,original,here,figure,ci_low,ci_high,n,")


def test_the_matrix_has_a_verdict_of_each_source_with_an_answer():
    replication = evaluate_claims(truth(n=4), MARGIN)
    made = verdicts_matrix(replication, {"<b>": replication, "lost": Unavailable("not here")})
    assert made.body.count("<tr>") == len(CLAIMS) + 1
    assert made.body.count('class="gcv-verdict-') == 2 * len(CLAIMS)
    standing = replication.claims["standing"]
    assert made.body.count("gcv-verdict-yes") == 2 * int((standing == "holds").sum()) > 0
    assert "lost" not in made.body
    assert "<b>" not in made.body
    assert made.files["csv"].decode().startswith("claim,These runs,<b>")


def test_other_runs_unfold_each_under_its_name():
    replication = evaluate_claims(truth(n=4), MARGIN)
    made = other_claims_table(
        {"theirs": replication, "lost": Unavailable("not here"), "ours": replication}
    )
    assert made.body.count("<details>") == 2
    assert "theirs" in made.body
    assert "lost" not in made.body
    assert made.run_ids == (*replication.runs["run_id"],) * 2
    assert other_claims_table({"lost": Unavailable("not here")}) is None


def test_quoted_figures_of_the_original_are_those_of_its_data(reanalysis):
    variants = {"published": "published", "corrected": CORRECTED}
    for column, variant in variants.items():
        for name, test in reanalysis.tests(variant).items():
            figures = f"H = {test.kruskal_h:.2f}, eta squared {test.eta_squared:.3f}"
            assert quote_test(name, column) == figures
        saving = reanalysis.headline()[variant].of_medians
        assert saving == pytest.approx(printed("savings", "max", column), abs=1e-6)
        for a, b in (("energy", "gflops"), ("utilization", "gflops"), ("energy", "utilization")):
            x, y = CORRELATED[a], CORRELATED[b]
            each = {
                name: part[[x, y]].corr("spearman").iloc[0, 1]
                for name, part in reanalysis.runs(variant)
                .dropna(subset=[x, y])
                .groupby("environment")
            }
            assert quote_correlation(a, b, column) == ", ".join(
                f"{name} {each[name]:.3f}" for name in (SMALLER_GPU, RQ1_ENVIRONMENT)
            )
    gflops = reanalysis.table["gflops_per_image"]
    assert (gflops.min(), gflops.max()) == pytest.approx(GFLOPS_SPAN, rel=1e-5)


def test_the_originals_own_runs_confirm_what_does_not_rest_on_five_architectures(reanalysis):
    claims = evaluate_claims(corrected_runs(reanalysis), MARGIN, correctness=CORRECTNESS).claims
    standing = claims.set_index("claim")["standing"]
    assert set(standing[[LOSS, MATCHING]]) == {"not shown"}
    in_part = ["Environments differ in energy", *RISES]
    assert set(standing[in_part]) == {"holds in part"}
    assert set(standing.drop([LOSS, MATCHING, *in_part])) == {"holds"}
    assert isinstance(break_evens(corrected_runs(reanalysis))["Cloud and Local ML"], BreakEven)
