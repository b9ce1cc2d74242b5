"""The headline numbers: one table, and the same numbers on every page that states them."""

import ast
import html
import re

import nbformat
import numpy as np
import pandas as pd
import pytest

from greencv_core import analyse, collect, epochs_table, runs_table
from greencv_core.analysis.headlines import ALL, LARGEST, RECOMMENDED, WITHOUT_LOSS
from greencv_core.published.claims import evaluate_claims
from greencv_core.records.backends.bundle import shipped_bundles
from greencv_core.report.exhibits.labels import people_name
from greencv_core.report.pages import index
from greencv_core.report.pages.savings import headlines_table
from greencv_core.utils.text import percent
from tests.conftest import ROOT
from tests.support.tables import made_up_runs

PAGES = {
    "index": "savings_by_loss",
    "rq1_architecture": "largest_saving.sentence|savings_without_loss.sentence",
    "rq2_environment": "savings_without_loss.sentence",
    "decision": "decision_answer|decision_panel|decisions_table|headlines_table",
    "claims": r"claims_table\(replication",
}
"""The cells of each page that name a saving."""
STATED = {
    LARGEST: ("rq1_architecture", "claims"),
    WITHOUT_LOSS: ("rq1_architecture", "rq2_environment"),
    RECOMMENDED: ("decision", "decision"),
}
"""Where each number is stated: that of one environment, and that of all conditions."""


def study_of(runs, margin=0.05):
    epochs = runs[["run_id", "architecture", "environment", "energy_j", "f1_macro"]].assign(epoch=1)
    return analyse(runs, epochs, margin=margin)


def with_failed_condition():
    runs = made_up_runs(n=6, seed=4).assign(classes=10, validation_images=300)
    failed = runs["architecture"] == "net1"
    return runs.assign(f1_macro=np.where(failed, 2 / 110, runs["f1_macro"]))


@pytest.fixture(
    scope="module",
    params=[
        "few runs",
        "many runs",
        "a failed condition",
        pytest.param("reference", marks=pytest.mark.slow),
    ],
)
def results(request):
    if request.param == "reference":
        path = next(iter(shipped_bundles().values()))
        records = collect(path, store=path, train=False)
        return analyse(runs_table(records), epochs_table(records), margin=0.02)
    if request.param == "a failed condition":
        return study_of(with_failed_condition())
    return study_of(made_up_runs(n=3 if request.param == "few runs" else 12))


@pytest.fixture(scope="module")
def replication(results):
    return evaluate_claims(results.runs, results.margin)


def said(page, results, replication):
    """Return what the cells of a page say that name a saving."""
    cells = nbformat.read(ROOT / "notebooks" / f"{page}.ipynb", 4).cells
    sources = [cell.source for cell in cells if cell.cell_type == "code"]
    space = {}
    for source in sources:
        imports = [node for node in ast.parse(source).body if isinstance(node, ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), page, "exec"), space)
    space |= {
        "results": results, "rq1": results.rq1, "rq2": results.rq2, "runs": results.runs,
        "margin": results.margin, "harmless": results.rq2.savings_without_loss,
        "decisions": {"Runs of this report": results.decision},
        "replication": replication,
    }  # fmt: skip
    texts = []
    for source in sources:
        if re.search(PAGES[page], source) and not re.search("^from ", source, re.MULTILINE):
            *statements, last = ast.parse(source).body
            exec(compile(ast.Module(statements, []), page, "exec"), space)
            shown = eval(compile(ast.Expression(last.value), page, "eval"), space)
            texts.append(shown.to_html() if hasattr(shown, "to_html") else shown.data)
    return "\n".join(texts).replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")


def test_every_page_states_the_headline_numbers(results, replication):
    texts = {page: said(page, results, replication) for page in PAGES}
    table = results.headlines
    assert not table[table["saving"].notna()].empty
    for row in table[table["saving"].notna()].itertuples():
        pages = {"decision", STATED[row.number][row.among == ALL]}
        for page in pages:
            for figure in (row.saving, row.ci_low, row.ci_high):
                assert (
                    percent(figure).removesuffix("%").replace("\N{MINUS SIGN}", "-") in texts[page]
                ), (row.number, page)
            assert people_name(row.saves.partition(" @ ")[0]) in texts[page].replace("\\_", "_")


def test_the_headline_numbers_agree_with_each_other(results, replication):
    table = results.headlines.set_index(["number", "among"])
    decision = results.decision
    reference = decision.candidates[decision.reference].name
    if (RECOMMENDED, ALL) in table.index and pd.notna(table.loc[(RECOMMENDED, ALL), "saving"]):
        recommended = table.loc[(RECOMMENDED, ALL)]
        assert recommended["against"] == reference
        harmless = table.loc[(WITHOUT_LOSS, ALL)]
        assert recommended["saves"] == harmless["saves"]
        assert recommended["saving"] <= harmless["saving"] <= table.loc[(LARGEST, ALL), "saving"]
    bound = re.search(
        r"among these: (\S+ @ \S+) uses .* it loses at most ([\d.]+)",
        results.rq2.savings_without_loss.sentence(),
    )
    if bound:
        loss_high = {candidate.name: candidate.loss_high for candidate in decision.candidates}
        assert float(bound[2]) == pytest.approx(100 * loss_high[bound[1]])
    claims = replication.claims.set_index("id")
    assert claims.loc["largest_saving", "figure"] == table.loc[(LARGEST, ALL), "saving"]


def test_rq2_and_the_claims_page_name_one_break_even(results, replication):
    claimed = replication.claims.set_index("id").loc["matching", "here"]
    (found,) = results.rq2.break_evens.values()
    # The claims page may name the two environments the other way round.
    interval = r"interval ([\d.,]+ [MG]FLOPs to [\d.,]+ [MG]FLOPs)"
    exponent = "exponent \N{MINUS SIGN}?([\\d.]+), (p [=<] [\\d.]+)"
    figures = re.compile(f"{interval}|{exponent}")
    stated = figures.findall(found.sentence())
    throughout = re.findall(r"(\S+) uses less throughout", found.sentence())
    assert stated or throughout
    assert figures.findall(claimed)[: len(stated)] == stated
    assert re.findall(r"(\S+) uses less throughout", claimed)[: len(throughout)] == throughout


def test_a_failed_condition_is_in_no_saving_without_loss():
    table = study_of(with_failed_condition()).headlines
    named = table[table["number"] != LARGEST][["saves", "against"]].to_numpy().ravel()
    assert not any("net1" in str(name) for name in named)


def test_the_front_page_saves_what_the_decision_page_saves(results):
    """Every accepted loss of the front page has the choice and the saving of the decision."""
    decision, shown = results.decision, index.savings_by_loss(results)
    for loss in index.LOSSES:
        chosen, saving = decision.choice(loss), decision.step(loss).saving
        if chosen is None:
            assert "none can be shown to qualify" in shown.body
            continue
        assert html.escape(people_name(chosen.name)) in shown.body
        if saving is not None:
            assert f">{percent(saving.saving)} (" in shown.body
    step = decision.step(results.margin)
    if step.saving is not None:
        assert percent(step.saving.saving, 0) in index.own_saving(results)


def test_the_front_page_has_the_answer_with_all_runs_beside_that_without_disturbed_ones():
    runs = made_up_runs(n=6, seed=4)
    assert index._disturbed(study_of(runs)) == "No run was disturbed by other programs."
    # Disturbed runs of the net that takes most would make it the one that takes least.
    runs.loc[runs["architecture"].eq("net4") & runs["repetition"].lt(3), "disturbed"] = True
    runs.loc[runs["disturbed"], ["energy_j", "energy_j_per_image"]] /= 1000
    results = study_of(runs)
    assert index._disturbed(results).startswith("With the disturbed runs: ")
    assert "With all runs" in headlines_table(results).to_html()
    runs["disturbed"] = True
    assert index._disturbed(study_of(runs)) == ""


def test_links_of_the_front_page_land_on_sections():
    for page, anchor in (
        index.SAVINGS_AT_A_MARGIN, index.HARDWARE, index.DECISION, index.REANALYSIS,
    ):  # fmt: skip
        cells = nbformat.read(ROOT / "notebooks" / f"{page}.ipynb", 4).cells
        headings = [
            re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-")
            for cell in cells
            if cell.cell_type == "markdown"
            for line in cell.source.splitlines()
            if line.startswith("#")
        ]
        assert anchor in headings, page
