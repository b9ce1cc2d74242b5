"""What of the original's claims holds on other runs: each verdict both ways, on known truths."""

import re
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from greencv_core import runs_table
from greencv_core.analysis import (
    BreakEven,
    NotEnoughDataError,
    Unavailable,
    attempt,
    break_even,
    break_evens,
    select_runs,
)
from greencv_core.analysis.comparison.correlation import rank_correlation, rank_correlations
from greencv_core.analysis.regression.breakeven import most_precise
from greencv_core.analysis.regression.crossings import most_powerful, powerful_against_each
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
    load_reanalysis,
)
from greencv_core.published.seaa2023.replication import (
    GFLOPS_SPAN,
    Replication,
    _questions,
    evaluate_claims,
)
from greencv_core.report.pages.claims import claims_table, other_claims_table
from greencv_core.report.pages.correlations import correlations_table
from greencv_core.report.pages.decision import corrected_runs
from greencv_core.report.pages.research_questions import break_even_sentences, break_even_table
from tests.support.made_up_records import made_up_records

ARCHITECTURES = (
    "Architectures differ in energy",
    "Architectures differ in device utilisation",
    "Architectures differ in F1",
)
ENVIRONMENTS = ("Environments differ in energy", "Environments differ in device utilisation")
SAVING = "Architecture and environment save up to 81.4 %"
LOSS = "The largest saving costs a negligible loss of F1"
RISES = (
    "Energy rises with GFLOPs",
    "Device utilisation rises with GFLOPs",
    "Energy rises with device utilisation",
)
MATCHING = (
    "Hardware should match the model: simple architectures take less in the less powerful "
    "environment, complex ones in the more powerful"
)
CLAIMS = (*ARCHITECTURES, *ENVIRONMENTS, SAVING, LOSS, *RISES, MATCHING)
MARGIN = 0.02


def truth(
    energy=lambda gflops, e: gflops**0.5 * (1 + e),
    utilisation=lambda gflops, e: 50 + 10 * np.log10(gflops) + 20 * e,
    f1=lambda gflops, e: 0.95,
    duration=lambda gflops, e: gflops**0.5 / (1 + e),
    gflops=(0.01, 0.03, 0.1, 0.3, 1.0),
    environments=2,
    n=8,
    seed=0,
):
    """Return a runs table of known truth: each figure by GFLOPs and environment, and noise."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "run_id": f"{a}{e}{r}",
            "architecture": f"net{a}",
            "environment": f"env{e}",
            "gflops_per_image": g,
            "energy_j_per_image": energy(g, e) * rng.lognormal(0, 0.02),
            "device_utilization_pct": utilisation(g, e) + rng.normal(0, 0.5),
            "f1_macro": f1(g, e) + rng.normal(0, 0.002),
            "duration_s_per_image": duration(g, e) * rng.lognormal(0, 0.02),
            "device_name": "a GPU",
            "provenance": "measured",
        }
        for a, g in enumerate(gflops)
        for e in range(environments)
        for r in range(n)
    ]
    return pd.DataFrame(rows)


def told(runs, claim, margin=MARGIN):
    """Return the row of a claim, replication alone."""
    return asdict(_questions(margin, "f1_macro")[CLAIMS.index(claim)](runs))


def flat(value):
    return lambda gflops, e: value


# Which claims can be evaluated


def test_each_claim_is_asked_once_and_every_row_is_whole():
    claims = evaluate_claims(truth(), MARGIN).claims
    assert tuple(claims["claim"]) == CLAIMS
    assert list(claims.columns) == ["claim", "original", "here", "n", "standing", "verdict"]
    assert (claims["original"].str.len() > 0).all()
    answered = claims["standing"] != "cannot be asked"
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
        (truth().iloc[:0], CLAIMS, "there are none"),
        (truth(environments=1), (*ENVIRONMENTS, MATCHING), "they are of one environment alone"),
        (
            truth(gflops=(0.1,)),
            (*ARCHITECTURES, *RISES, MATCHING),
            "they are of one architecture alone",
        ),
        (
            truth().assign(device_utilization_pct=np.nan),
            (ARCHITECTURES[1], ENVIRONMENTS[1], *RISES[1:]),
            "none of them has a device utilisation",
        ),
        (truth().assign(f1_macro=np.nan), (ARCHITECTURES[2],), "none of them has a macro F1"),
        (truth().assign(f1_macro=np.nan), (LOSS,), "no run of one of the two has macro F1"),
        (truth(gflops=(0.1, 1.0)), RISES, "at least 3 architectures"),
        (truth(n=2), (*RISES, MATCHING), "at least 3"),
        (truth(n=1), CLAIMS, "needs"),
    ],
    ids=["none", "one environment", "one architecture", "no utilisation", "no F1", "no F1 to lose",
         "two architectures", "two runs each", "one run each"],
)  # fmt: skip
def test_a_claim_that_runs_cannot_answer_says_what_they_lack(runs, lacking, why):
    for claim in lacking:
        row = told(runs, claim)
        assert row["standing"] == "cannot be asked"
        assert row["verdict"].startswith("Cannot be asked of these runs: ")
        assert why in row["verdict"]
        assert (row["here"], row["n"]) == ("", 0)


def test_what_the_others_can_answer_is_still_answered():
    runs = truth(environments=1)
    assert {told(runs, claim)["standing"] for claim in (*ARCHITECTURES[:2], *RISES)} == {"holds"}


# Architectures and environments


@pytest.mark.parametrize(
    ("claim", "apart", "alike"),
    [
        (ARCHITECTURES[0], {}, {"energy": flat(1.0)}),
        (ARCHITECTURES[1], {}, {"utilisation": flat(50.0)}),
        (ARCHITECTURES[2], {"f1": lambda g, e: 0.95 + 0.02 * np.log10(g)}, {"f1": flat(0.95)}),
    ],
)
def test_architectures_differ_where_they_do_and_are_not_shown_to_elsewhere(claim, apart, alike):
    shown, open_one = told(truth(**apart), claim), told(truth(**alike), claim)
    assert shown["standing"] == "holds"
    assert re.fullmatch(r"Holds: \d+ of 10 pairs told apart\.", shown["verdict"])
    assert shown["n"] == 40
    assert "Within env1" in shown["here"]  # the fastest
    assert "eta squared" in shown["here"]
    assert open_one["standing"] == "not shown"
    assert "does not show that there is none" in open_one["verdict"]


@pytest.mark.parametrize(
    ("claim", "by", "base"),
    [(ENVIRONMENTS[0], "energy", 1.0), (ENVIRONMENTS[1], "utilisation", 50.0)],
)
def test_environments_differ_for_so_many_architectures_as_they_do(claim, by, base):
    def step(above):
        return lambda g, e: base * (1 + 0.3 * e * (g > above))

    every, some, none = (told(truth(**{by: step(above)}), claim) for above in (0, 0.05, 9))
    assert (every["standing"], every["verdict"]) == ("holds", "Holds for all 5 architectures.")
    assert some["standing"] == "in part"
    assert some["verdict"] == ("Holds in part (3 of 5 architectures). Not shown for net0 and net1.")
    assert none["standing"] == "not shown"
    assert every["n"] == some["n"] == none["n"] == 80


# The largest saving and what it costs


@pytest.mark.parametrize(
    ("most", "standing", "word"),
    [
        (1 / (1 - 0.95), "holds", "larger here"),
        (1 / (1 - printed("savings", "max")), "holds", "not told apart"),
        (1 / (1 - 0.5), "in part", "a smaller one"),
        (1.0, "not shown", "includes no saving"),
    ],
)
def test_the_largest_saving_is_held_against_the_originals(most, standing, word):
    row = told(
        truth(lambda g, e: most ** (g == 1.0), gflops=(0.01, 1.0), environments=1, n=12), SAVING
    )
    assert row["standing"] == standing
    assert word in row["verdict"]
    assert "0.0100 to 1.00 GFLOPs, a factor of 100" in row["here"]
    assert "a factor of 157" in row["original"]


@pytest.mark.parametrize(
    ("loss", "standing"), [(0.0, "holds"), (-0.03, "holds"), (0.05, "does not hold")]
)
def test_a_loss_of_f1_is_negligible_only_where_a_test_shows_it(loss, standing):
    row = told(truth(f1=lambda g, e: 0.9 - loss * (g == 0.01)), LOSS)
    assert row["standing"] == standing
    assert "net0 @ env0 against net4 @ env1" in row["here"]


def test_a_loss_that_may_be_above_or_below_the_margin_is_not_shown():
    runs = truth(f1=lambda g, e: 0.9 - MARGIN * (g == 0.01))
    assert told(runs, LOSS)["standing"] == "not shown"
    assert told(runs, LOSS, margin=0.05)["standing"] == "holds"
    assert told(runs, LOSS, margin=0.005)["standing"] == "does not hold"


def test_against_what_learned_nothing_nothing_can_be_lost():
    runs = truth()
    runs.loc[runs["architecture"] == "net4", "f1_macro"] = 0.0
    row = told(runs, LOSS)
    assert row["standing"] == "cannot be asked"
    assert "net4 @ env1 learned nothing" in row["verdict"]


def test_without_a_saving_there_is_no_loss_to_ask_about():
    assert "no saving is shown" in told(truth(flat(1.0)), LOSS)["verdict"]


# What rises with what


@pytest.mark.parametrize(
    ("claim", "by"),
    [(RISES[0], "energy"), (RISES[1], "utilisation")],
)
def test_a_quantity_rises_falls_or_is_not_shown_to(claim, by):
    def power(*exponents):
        return lambda g, e: 10 * g ** exponents[e]

    def standing(*exponents):
        row = told(truth(**{by: power(*exponents)}), claim)
        return row["standing"], row["verdict"]

    assert standing(0.5, 0.4) == ("holds", "Holds for both environments.")
    assert standing(0.5, -0.5) == (
        "in part", "Holds in part (1 of 2 environments). It falls in 1 of them.",
    )  # fmt: skip
    assert standing(-0.5, -0.4)[0] == "does not hold"
    assert standing(0.0, 0.0)[0] == "not shown"


def test_energy_with_utilisation_is_of_the_two_and_not_of_gflops():
    def bowl(g, e):
        return 1 + np.log10(g / 0.1) ** 2

    gflops = 10 ** np.linspace(-2, 0, 5)
    runs = truth(energy=bowl, utilisation=lambda g, e: 20 * bowl(g, e), gflops=gflops)
    assert told(runs, RISES[0])["standing"] == "not shown"
    assert told(runs, RISES[1])["standing"] == "not shown"
    assert told(runs, RISES[2])["standing"] == "holds"
    against = truth(bowl, utilisation=lambda g, e: 90 - 20 * bowl(g, e), gflops=gflops)
    assert told(against, RISES[2])["standing"] == "does not hold"


# Hardware that matches the model


def crossing(at):
    """Return an energy by which env1, the more powerful, takes less above so many GFLOPs."""
    return lambda g, e: g ** (0.5 - 0.2 * e) * at ** (0.2 * e)


def test_hardware_matches_where_the_cheaper_environment_turns_with_complexity():
    row = told(truth(crossing(0.1)), MATCHING)
    assert (row["standing"], row["verdict"], row["n"]) == ("holds", "Holds.", 80)
    assert (
        "env1 against env0: env0 takes less for net0 and net1; env1 takes less for net3 and "
        in (row["here"])
    )
    assert re.search(r"break-even at 0\.\d+ GFLOPs \(", row["here"])


@pytest.mark.parametrize(
    ("energy", "word"),
    [
        (lambda g, e: g**0.5 * (1 - 0.3 * e), "env1 takes less for every architecture"),
        (lambda g, e: g**0.5 * (1 + 0.3 * e), "env0 takes less for every architecture"),
        (lambda g, e: g ** (0.5 + 0.2 * e) * 0.1 ** (-0.2 * e), "does not turn"),
    ],
    ids=["the powerful for all", "the other for all", "turned the other way"],
)
def test_hardware_does_not_match_where_the_opposite_is_shown(energy, word):
    row = told(truth(energy), MATCHING)
    assert row["standing"] == "does not hold"
    assert word in row["verdict"]


def test_hardware_is_not_shown_to_match_where_nothing_is_told_apart():
    row = told(truth(lambda g, e: g**0.5), MATCHING)
    assert row["standing"] == "not shown"
    assert "none is told apart" in row["here"]


def test_hardware_matches_in_part_where_one_pair_of_two_turns():
    def energy(g, e):
        return crossing(0.1)(g, 1) if e == 1 else g**0.5 * (1 + e)

    runs = truth(energy, environments=3, duration=lambda g, e: g**0.5 / (2 if e == 1 else 1))
    row = told(runs, MATCHING)
    assert (row["standing"], row["verdict"]) == ("in part", "Holds in part (1 of 2 pairs).")


def test_the_most_powerful_is_the_fastest_for_what_is_complex():
    runs = truth(duration=lambda g, e: 1.0 if e == 0 else 0.2 + g)
    assert most_powerful(runs[runs["gflops_per_image"] < 0.5]) == "env1"
    assert most_powerful(runs) == "env0"
    with pytest.raises(NotEnoughDataError, match="no architecture was trained in two"):
        most_powerful(runs[runs["environment"] == "env0"])


def test_every_pair_with_the_most_powerful_is_adjusted_together():
    runs = truth(lambda g, e: g**0.5 * (1 - 0.03 * (e > 0)), seed=5)
    alone = powerful_against_each(runs)[0]
    many = [runs, *(
        truth(lambda g, e: g**0.5, environments=1, n=8, seed=s).assign(environment=f"more{s}")
        for s in range(8)
    )]  # fmt: skip
    together = powerful_against_each(pd.concat(many, ignore_index=True))
    same = next(pair for pair in together if pair.other == alone.other)
    assert len(together) == 9
    assert len(same.less_in_powerful) < len(alone.less_in_powerful)


# The rank correlation


def test_rho_is_that_of_scipy_and_its_interval_holds_it():
    from scipy import stats

    runs = truth(energy=lambda g, e: g**0.02, environments=1, n=6)
    result = rank_correlation(runs, "gflops_per_image", "energy_j_per_image")
    by_scipy = stats.spearmanr(runs["gflops_per_image"], runs["energy_j_per_image"]).statistic
    assert result.rho == pytest.approx(by_scipy, abs=1e-12)
    assert result.low < result.rho < result.high
    assert (result.n, result.architectures) == (30, 5)


def test_runs_of_architectures_that_do_not_overlap_have_no_interval_worth_telling():
    result = rank_correlation(truth(environments=1), "gflops_per_image", "energy_j_per_image")
    assert result.rises
    assert result.estimate() == "0.980, the same in all resamples"


@pytest.mark.parametrize("n", [3, 8])
def test_the_interval_of_rho_holds_the_truth_as_often_as_it_says(n, monkeypatch):
    monkeypatch.setattr("greencv_core.analysis.comparison.correlation.RESAMPLES", 400)
    rng = np.random.default_rng(11)
    gflops = np.arange(1.0, 6.0)
    means = np.array([0.0, 0.8, 0.5, 1.6, 2.0])

    def study(size):
        return pd.DataFrame(
            {
                "architecture": np.repeat(list("abcde"), size),
                "x": np.repeat(gflops, size),
                "y": rng.normal(np.repeat(means, size)),
            }
        )

    true = study(20_000)[["x", "y"]].corr("spearman").iloc[0, 1]
    found = [rank_correlation(study(n), "x", "y") for _ in range(250)]
    held = np.mean([result.low <= true <= result.high for result in found])
    assert 0.90 <= held <= 0.99


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"device_utilization_pct": 50.0}, "device utilisation is the same in all runs"),
        ({"device_utilization_pct": np.nan}, "needs at least 3 architectures"),
    ],
)
def test_a_correlation_that_is_not_defined_says_why(changed, message):
    with pytest.raises(NotEnoughDataError, match=message):
        rank_correlation(truth().assign(**changed), "gflops_per_image", "device_utilization_pct")


def test_missing_utilisation_leaves_runs_out_and_not_architectures():
    runs = truth(environments=1, n=5)
    runs.loc[runs.index % 5 == 0, "device_utilization_pct"] = np.nan
    result = rank_correlation(runs, "gflops_per_image", "device_utilization_pct")
    assert (result.n, result.architectures) == (20, 5)


# What the page shows


def test_the_sentence_counts_verdicts_and_says_how_energy_is_known():
    runs = truth(environments=1)
    replication = evaluate_claims(runs, MARGIN)
    counts = replication.claims["standing"].value_counts()
    assert counts["cannot be asked"] == 3
    sentence = replication.sentence()
    assert sentence.startswith(f"Of the original's 11 claims, {counts['holds']} hold, ")
    assert "3 cannot be asked" in sentence
    assert sentence.endswith("They are put to 40 runs on a GPU, energy measured.")
    estimated = Replication(runs.assign(provenance="estimated"), replication.claims).sentence()
    assert estimated.endswith("energy estimated.")
    mixed = runs.assign(provenance=["measured", "estimated"] * (len(runs) // 2))
    assert Replication(mixed, replication.claims).sentence().endswith("energy estimated.")


def test_without_runs_the_sentence_says_so():
    assert "no runs" in evaluate_claims(truth().iloc[:0], MARGIN).sentence()


def test_records_of_a_study_are_asked_as_their_table_is():
    runs = select_runs(runs_table(made_up_records())).runs
    replication = evaluate_claims(runs, MARGIN)
    claims = replication.claims.set_index("claim")
    assert claims.loc[RISES[0], "standing"] == "holds"
    assert claims.loc[ENVIRONMENTS[0], "verdict"] == "Holds for all 5 architectures."
    assert claims.loc[MATCHING, "standing"] == "does not hold"  # env0 takes less throughout
    assert "energy estimated" in replication.sentence()


def test_the_table_shows_every_claim_and_no_markup_of_names():
    runs = truth(n=4).assign(architecture=lambda t: "<b>" + t["architecture"])
    made = claims_table(evaluate_claims(runs, MARGIN))
    assert made.body.count("<tr>") == len(CLAIMS) + 1
    assert "<b>" not in made.body
    assert "energy measured" in made.caption
    assert "n = 40 runs" in made.told
    assert made.files["csv"].decode().startswith("claim,original,here,n,standing,verdict")


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


def test_correlations_stand_in_a_line_for_each_environment():
    runs = truth(n=4)
    runs.loc[runs["environment"] == "env1", "device_utilization_pct"] = 50.0
    by_utilisation = rank_correlations(runs, "gflops_per_image", "device_utilization_pct")
    by_energy = rank_correlations(runs, "gflops_per_image", "energy_j_per_image")
    made = correlations_table({"Busy": by_utilisation, "Joules": by_energy}, "measured")
    assert made.body.count("<tr>") == 3
    assert by_utilisation["env0"].estimate() in made.body
    assert len(made.files["csv"].decode().splitlines()) == 4
    assert correlations_table({"Busy": {"env1": by_utilisation["env1"]}}, "measured") is None


# Break-evens of many pairs


def test_every_pair_of_five_environments_has_its_line():
    exponents = (0.5, 0.3, 0.4, 0.5, 0.5)
    factors = (1.0, 0.1**0.2, 0.3**0.1, 1.5, 0.5)
    runs = truth(lambda g, e: g ** exponents[e] * factors[e], environments=5, n=4)
    found = break_evens(runs)
    made = break_even_table(found, "measured")
    data = pd.read_csv(pd.io.common.BytesIO(made.files["csv"])).set_index("environments")
    assert made.body.count("<tr>") == len(data) + 1 == 11
    assert (data["architectures"] == 5).all()
    crossing_pair = data.loc["env0 and env1"]
    assert crossing_pair["ci_low"] < 0.1 < crossing_pair["ci_high"]
    assert (crossing_pair["less_below"], crossing_pair["less_above"]) == ("env0", "env1")
    parallel = data.loc["env0 and env3"]
    assert parallel["ruled_out"]
    assert np.isnan(parallel["break_even_gflops"])
    assert (parallel["less_below"], parallel["less_above"]) == ("env0", "env0")
    assert "of 10 pairs of environments".capitalize() in break_even_sentences(found).data


def test_a_pair_without_an_answer_keeps_its_line():
    runs = truth(crossing(0.1), environments=2, n=4)
    third = truth(environments=1, n=4, gflops=(0.01, 0.03)).assign(environment="small")
    made = break_even_table(break_evens(pd.concat([runs, third])), "measured")
    assert made.body.count("no answer from these runs") == 2
    one_pair = break_evens(runs)
    assert break_even_table(one_pair, "measured") is None
    assert "cost the same energy per image" in break_even_sentences(one_pair).data


def test_the_surest_break_even_is_that_of_the_narrowest_interval_within_the_range():
    rng = np.random.default_rng(1)

    def noisy(runs, spread):
        stray = {name: rng.normal(0, spread) for name in runs["architecture"].unique()}
        by_stray = np.exp(runs["architecture"].map(stray) * (runs["environment"] == "env1"))
        return runs.assign(energy_j_per_image=runs["energy_j_per_image"] * by_stray)

    sharp, blurred, none = (
        attempt(break_even, runs, "env0", "env1")
        for runs in (
            truth(crossing(0.1)),
            noisy(truth(crossing(0.1)), 0.1),
            truth(lambda g, e: g**0.5 * (1 + e)),
        )
    )
    assert sharp.within_range
    assert none.excluded
    assert blurred.high / blurred.low > sharp.high / sharp.low
    for results in ((none, blurred, sharp), (sharp, none, blurred), (blurred, sharp, none)):
        assert most_precise({str(i): result for i, result in enumerate(results)}) is sharp
    assert most_precise({"a": Unavailable("few"), "b": none}) is none
    assert most_precise({"a": Unavailable("few")}) is None


# The original's own figures, and its own runs


@pytest.fixture(scope="module")
def reanalysis():
    found = attempt(load_reanalysis)
    if isinstance(found, Unavailable):
        pytest.skip(f"the published data are not at hand: {found.reason}")
    return found


def test_quoted_figures_of_the_original_are_those_of_its_data(reanalysis):
    variants = {"published": "published", "corrected": CORRECTED}
    for column, variant in variants.items():
        for name, test in reanalysis.tests(variant).items():
            figures = f"H = {test.kruskal_h:.2f}, eta squared {test.eta_squared:.3f}"
            assert quote_test(name, column) == figures
        saving = reanalysis.headline()[variant].saving
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


def test_the_originals_own_runs_bear_out_its_claims_but_for_the_loss_of_f1(reanalysis):
    claims = evaluate_claims(corrected_runs(reanalysis), MARGIN, correctness=CORRECTNESS).claims
    standing = claims.set_index("claim")["standing"]
    assert standing[LOSS] == "not shown"
    assert set(standing.drop(LOSS)) == {"holds"}
    matching = claims.set_index("claim").loc[MATCHING, "here"]
    assert "Cloud takes less for vgg16" in matching
    assert isinstance(break_evens(corrected_runs(reanalysis))["Cloud and Local ML"], BreakEven)
