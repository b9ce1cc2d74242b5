"""The page on all published measurements: made-up sources of known truth, and offline."""

import json
import math
import os
import re
from contextlib import nullcontext

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient

from greencv_core.analysis import Unavailable
from greencv_core.published import DATA_SETS, METER_COMPARISONS
from greencv_core.published.batch_choice import BatchChoice
from greencv_core.published.claims import claim_texts
from greencv_core.published.evidence import load_evidence
from greencv_core.published.evidence_results import EvidenceResults, saves
from greencv_core.published.pooling import Pooled
from greencv_core.report.book.build import download_published
from greencv_core.report.exhibits.exhibit import MIME
from greencv_core.report.exhibits.theme import apply_theme
from greencv_core.report.figures.evidence import savings_forest, scaling_forest, short_pair
from greencv_core.report.pages import evidence as page
from greencv_core.report.pages import evidence_claims
from tests.conftest import NOBODY, ROOT
from tests.published.test_claims_on_evidence import TEN, evidence
from tests.report.reader import Reader
from tests.support.known_truth import truth

EXPONENT = -0.15


def source(seed, exponent=EXPONENT, f1=lambda g, e: 0.95, n=1, **columns):
    """Return a table whose environment env1 gains with complexity by an exponent."""
    runs = truth(lambda g, e: g ** (0.5 + exponent * e), f1=f1, n=n, gflops=TEN, seed=seed)
    filled = {"source": f"lab{seed}", "hardware": runs["environment"], "left_out": "",
              "dataset": "images", **columns}  # fmt: skip
    return evidence(runs, **filled)


@pytest.fixture(scope="module")
def results():
    apply_theme()
    # Of lab 3, correctness rises with GFLOPs, so that the cheapest is far below the best.
    rising = source(3, f1=lambda g, e: 0.5 + 0.2 * g, n=4)
    tables = {"lab1": source(1), "lab2": source(2), "lab3": rising}
    tables["lab1"].loc[0, "left_out"] = "broken"
    return EvidenceResults(tables)


def test_the_answer_has_the_figures_of_the_truth(results):
    assert isinstance(results.pooled_scaling, Pooled)
    text = page.answer(results).data
    first = [saving.saving for saving in results.largest]
    low, high = min(first), max(first)
    assert 0 < low < high < 1
    assert re.search(rf"to {100 * high:.0f}% of the energy between the extremes", text)
    assert "better in 3 of 3 comparable pairs" in text
    none = [saving for saving in results.savings if not saves(saving)]
    assert len(none) == 2
    assert {saving.source for saving in none} == {"lab3"}
    assert "no saving in 2 of 6 environments" in text
    change = 100 * (1 - 10**EXPONENT)
    text = page.pooled_sentence(results.pooled_scaling).data
    stated = int(re.search(r"hardware by (\d+)%", text)[1])
    assert stated == pytest.approx(change, abs=3)
    assert "1 of 3 data sets repeat" in page.savings_note(results).data


def test_the_summary_of_the_published_data_is_short(reanalysis_data):
    results = EvidenceResults(load_evidence())
    answer = page.answer(results).data
    assert len(answer.split()) <= 100
    sentences = re.split(r"(?<=[a-z])\. ", answer)
    assert len(sentences) == 3
    assert all(len(sentence.split()) <= 25 for sentence in sentences)


@pytest.fixture
def reanalysis_data(monkeypatch, tmp_path):
    """Have the tables that come with the project, which need no network."""
    monkeypatch.setenv("GREENCV_DATA", NOBODY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_a_source_that_says_nothing_is_no_error():
    empty = EvidenceResults(
        {"lab": source(1).query("architecture == 'net0'").assign(gflops_per_image=np.nan)}
    )
    text = page.answer(empty).data
    assert "No data set compares architectures." in text
    assert "No data set allows a comparison of hardware." in text
    assert scaling_forest(empty, page.all_runs(empty)) is None
    assert savings_forest(empty, page.all_runs(empty)) is None


def test_forests_show_every_effect_with_its_interval(results):
    runs = page.all_runs(results)
    assert len(runs) == sum(map(len, results.tables.values())) - 1
    scaling, savings = scaling_forest(results, runs), savings_forest(results, runs)
    text = Reader(scaling.body).text
    for effect in results.scaling:
        assert f"{effect.estimate:.3f}".replace("-", "\N{MINUS SIGN}") in text
    assert "Mean of 3 pairs" in text
    text = Reader(savings.body).text
    assert text.count("one cheaper") + text.count("qualify") + text.count("the only one") == 12
    for saving in results.savings:
        assert f"{100 * saving.saving:.0f}%" in text
        # One run a condition has no interval.
        assert math.isnan(saving.ci_low) == (saving.source != "lab3" or saving.cheap == saving.dear)
    assert {"svg", "png"} == set(scaling.files) == set(savings.files)


def test_each_verdict_leads_to_its_details(results):
    matrix = Reader(evidence_claims.claims_matrix(results).to_html())
    details = Reader(evidence_claims.claim_details(results).to_html())
    links = [a["href"] for tag, a in matrix.elements if tag == "a" and "claim" in a["href"]]
    ids = [a["id"] for _, a in details.elements if "id" in a]
    assert len(links) == len(set(links)) == 3 * len(claim_texts())
    assert [link.removeprefix("#") for link in links] == [
        f"claim-{claim}-lab{n}".replace("_", "-") for claim in claim_texts() for n in (1, 2, 3)
    ]
    assert set(ids) == {link.removeprefix("#") for link in links}
    counts = evidence_claims.verdict_counts_sentence(results)
    asked, of = map(int, re.match(r"(\d+) of (\d+)", counts).groups())
    assert asked + matrix.words.count("cannot be tested") == of == len(links)


def test_names_from_a_table_are_words_in_matrix_and_details():
    hostile = '<b onclick="x">'
    results = EvidenceResults({hostile: source(1, source=hostile)})
    for shown in (evidence_claims.claims_matrix(results), evidence_claims.claim_details(results)):
        read = Reader(shown.to_html())
        assert "b" not in read.tags
        assert "onclick" not in read.attributes
        assert hostile in read.text


def test_pairs_that_contradict_are_named():
    against = EvidenceResults({"lab1": source(1, exponent=0.2), "lab2": source(2, exponent=0.0)})
    text = page.contradictions(against).data
    assert "0 of 2 comparable pairs" in page.answer(against).data
    assert f"above zero for env1/env0 ({against.scaling[0].estimate:.3f})" in text
    assert "no dependence on complexity for env1/env0." in text


def test_batches_are_compared_case_by_case():
    choices = [BatchChoice("images", "net", "A", 0.6, 1024, 128, 1.5),
               BatchChoice("images", "net", "B", 0.6, 128, 128, 0.0)]  # fmt: skip
    assert "needs 150% to 150% more energy" in page.batch_sentence(choices).data
    assert "(1 of 2 cases)" in page.batch_sentence(choices).data
    assert "same batch" in Reader(page.batch_table(choices).to_html()).text
    assert page.batch_table(Unavailable("none")) is None
    assert "offline" in page.batch_sentence(Unavailable("no response")).data


def test_hardware_has_short_names():
    pair = "1x NVIDIA GeForce RTX 3090/1x NVIDIA GeForce RTX 3070"
    assert short_pair(pair) == "RTX 3090 / RTX 3070"
    assert (
        short_pair("8x A100-SXM4-40GB/Quadro RTX 5000 (PyTorch)") == "8x A100 / RTX 5000 (PyTorch)"
    )


def test_a_card_counts_the_runs_that_each_rule_leaves_out(reanalysis_data):
    table = load_evidence(["pepr2024"])["pepr2024"]
    shown = Reader(page.data_card("pepr2024", table).data)
    kept = int((table["left_out"] == "").sum())
    assert f"{kept:,} of {len(table):,} count" in shown.text
    for reason, n in table.loc[table["left_out"] != "", "left_out"].value_counts().items():
        assert f"left out: {n:,} of {len(table):,}" in shown.text, reason
    card = {"class": "gcv-card tex2jax_ignore mathjax_ignore", "id": "data-pepr2024"}
    assert ("details", card) in shown.elements


def test_without_a_network_one_line_names_the_data_sets(monkeypatch, tmp_path):
    monkeypatch.setenv("GREENCV_DATA", NOBODY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lines = []
    described = download_published(lines.append, lambda name: nullcontext())
    (line,) = lines
    assert all(name in line and name in described for name in (*DATA_SETS, *METER_COMPARISONS))
    assert line.count("no response from") == 1


@pytest.mark.slow
def test_the_page_without_a_network_uses_the_tables_of_the_project(tmp_path):
    path = ROOT / "notebooks" / "evidence.ipynb"
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": path.parent}})
    executed = client.execute(
        env={**os.environ, "GREENCV_DATA": NOBODY, "XDG_CACHE_HOME": str(tmp_path)}
    )
    outputs = [o for c in executed.cells for o in c.get("outputs", [])]
    assert not any(o.output_type == "error" or o.get("name") == "stderr" for o in outputs)
    text = json.dumps([o.get("data", {}).get("text/markdown", "") for o in outputs])
    assert "5 data sets could not be downloaded" in text
    assert "published.parquet" in text
    assert "not available offline" in text
    assert sum(MIME in o.get("data", {}) for o in outputs) == 6


def test_the_front_page_says_what_all_measurements_say_with_links(results):
    shown = Reader(page.front_page_note(results).data)
    links = [a["href"] for tag, a in shown.elements if tag == "a"]
    assert links == ["evidence.ipynb", "reanalysis.ipynb"]
    assert "no saving in 2 of 6 environments" in shown.text
    assert "98.83%" in shown.text
    assert "80.68%" in shown.text
    assert isinstance(page.all_runs(results), pd.DataFrame)
