"""The decision panel answers in a real browser as the analysis does in Python."""

import json

import pandas as pd
import pytest

from greencv_core.analysis import decide, select_runs
from tests.support.browser import (
    tab,
)

pytestmark = pytest.mark.slow

DECISION = "book/notebooks/decision.html"


@pytest.fixture
def panel(browser, address):
    with tab(browser, address) as visited:
        visited.open(DECISION)
        yield visited.page.locator(".gcv-decision")
        assert visited.problems == []


def _ask(panel, points):
    panel.locator("input[type=number]").fill(f"{points:g}")
    return panel.locator("[data-headline]").text_content()


def test_the_decision_control_answers_as_python_does(panel, html):
    # The runs lie beside the pages, for whoever computes again.
    decision = decide(select_runs(pd.read_parquet(html / "runs.parquet")).runs)
    headlines = [step["headline"] for step in decision.to_json()["steps"]]
    panel.locator("input[type=radio]").first.check()
    for tenths in range(101):
        expected = headlines[decision.steps.index(decision.step(tenths / 1000))]
        assert _ask(panel, tenths / 10) == expected


def test_the_decision_control_changes_the_answer_at_each_step(panel):
    sources = json.loads(panel.locator("script").text_content())["sources"]
    for place, source in enumerate(sources):
        panel.locator("input[type=radio]").nth(place).check()
        assert source["name"] in panel.locator("[data-asked]").text_content()
        for before, step in zip([None, *source["steps"]], source["steps"], strict=False):
            at = step["from_hundredths"] / 100
            if at > 10:
                break
            assert _ask(panel, at) == step["headline"]
            if before:
                assert _ask(panel, round(at - 0.01, 2)) == before["headline"]
    answer = panel.locator("[aria-live=polite]")
    assert answer.count() == 1


def test_the_decision_can_be_linked_to(browser, address, panel):
    panel.locator("input[type=number]").fill("3.5")
    panel.locator("input[type=number]").blur()
    fragment = panel.page.url.split("#")[1]
    told = panel.locator("[data-asked]").text_content()
    with tab(browser, address) as visited:
        visited.open(f"{DECISION}#{fragment}")
        assert visited.page.locator(".gcv-decision [data-asked]").text_content() == told
        assert "3.5" in told


def test_the_decision_is_told_without_scripts(browser, address):
    with tab(browser, address, java_script_enabled=False) as visited:
        visited.page.goto(address + DECISION)
        assert not visited.page.locator(".gcv-decision-controls").is_visible()
        assert visited.page.locator("table", has_text="Accepted loss").first.is_visible()
