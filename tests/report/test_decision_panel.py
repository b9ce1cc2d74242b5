"""The panel and the table of the decision page."""

import json
import re
from html import unescape

import pandas as pd
import pytest

from greencv_core.analysis import Unavailable, attempt, decide, select_runs
from greencv_core.published.seaa2023.reanalysis import CORRECTNESS, load_reanalysis
from greencv_core.report.exhibits.labels import with_names
from greencv_core.report.pages.decision import corrected_runs, decision_panel, decisions_table
from tests.conftest import ROOT
from tests.report.reader import Reader
from tests.support.browser import tab
from tests.support.tables import made_up_runs

STATIC = ROOT / "book" / "_static"
HOSTILE = ("</script><script>alert(1)</script>", "$x$", "<!--", '"><img src=x onerror=alert(1)>',
           "<b>&amp;", r"\(y\)", "$&", '<small class="gcv-id">')  # fmt: skip


def decided(**names):
    return decide(made_up_runs(n=3).replace(names))


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_words_in_panel_and_table(name):
    decision = decided(net4=name)
    decisions = {name: decision, "other": Unavailable(name)}
    pages = decision_panel(decisions).data, decisions_table(decisions).to_html()
    panel, table = map(Reader, pages)
    tags = {"div", "p", "script", "fieldset", "legend", "label", "input", "span", "table", "thead",
            "tbody", "tr", "th", "td", "figure", "figcaption", "strong", "small"}  # fmt: skip
    configurations = {candidate.name for candidate in decision.candidates}
    for shown, page in zip((panel, table), pages, strict=True):
        assert {tag for tag, _ in shown.elements} <= tags
        # Small print is only a configuration's id below its name.
        ids = re.findall(r'<small class="gcv-id">([^<]*)</small>', page)
        assert len(ids) == page.count("<small")
        assert {unescape(one) for one in ids} <= configurations
        assert not any(a.startswith("on") for _, attributes in shown.elements for a in attributes)
        assert name in shown.text
    assert [attributes for tag, attributes in panel.elements if tag == "script"] == [
        {"type": "application/json"}
    ]
    assert "tex2jax_ignore mathjax_ignore" in panel.elements[0][1]["class"]
    (script,) = panel.scripts
    assert json.loads(script)["sources"][0]["name"] == name
    assert not set("<>&") & set(script)


def test_without_its_script_the_panel_answers_at_the_margin_and_hides_its_controls():
    decision = decide(made_up_runs(n=3))
    shown = Reader(decision_panel({"ours": decision}, 0.05).data)
    (controls,) = [a for t, a in shown.elements if a.get("class") == "gcv-decision-controls"]
    assert "hidden" in controls
    step = decision.step(0.05)
    assert with_names(decision.headline(step)) in shown.text
    assert with_names(decision.details(step)) in shown.text
    assert "at an accepted loss of up to 5 points of F1" in shown.text


def test_the_table_holds_every_choice_without_a_script():
    decision = decide(made_up_runs(n=3))
    exhibit = decisions_table({"ours": decision, "theirs": Unavailable("they are not here")})
    shown = Reader(exhibit.to_html())
    assert "No answer from these runs: they are not here." in shown.text
    rows = re.findall(r"<tr>\s*<td>(.*?)</tr>", exhibit.body.replace("\n", " "))
    assert len(rows) == len(decision.answers)
    for row, step in zip(rows, decision.answers, strict=True):
        assert f"{100 * step.from_loss:.2f}" in row or step.from_loss == 0
        none = "none can be recommended"
        name = none if step.choice is None else decision.candidates[step.choice].name
        assert with_names(name) in row
        if step.saving:
            assert f"{100 * step.saving.saving:.1f}" in row
    taken = pd.read_csv(pd.io.common.BytesIO(exhibit.files["csv"]))
    assert list(taken["accepted_loss_from"]) == [step.from_loss for step in decision.answers]


def test_a_panel_of_unanswered_runs_says_why_and_offers_those_that_answer():
    shown = Reader(decision_panel({"a": Unavailable("nothing here"), "b": decided()}).data)
    radios = [a for _, a in shown.elements if a.get("type") == "radio"]
    assert ["checked" in radio for radio in radios] == [False, True]
    none = Reader(decision_panel({"a": Unavailable("nothing here")}).data)
    assert "No answer from these runs: nothing here." in none.text
    with pytest.raises(ValueError, match="at least one decision"):
        decision_panel({})


def test_a_margin_beyond_the_slider_extends_it():
    shown = Reader(decision_panel({"a": decided()}, 0.125).data)
    limits = {attributes["max"] for _, attributes in shown.elements if "max" in attributes}
    assert limits == {"12.5"}


@pytest.fixture
def decisions():
    hostile = decided(net4=HOSTILE[0], net3=HOSTILE[3])
    return {"Ours": decide(made_up_runs(n=5)), HOSTILE[0]: hostile, "Theirs": Unavailable("gone")}


@pytest.fixture
def page(browser, decisions, tmp_path):
    """The panel in a page of its own, with what goes wrong in ``page.problems``."""
    style, script = (
        (STATIC / f"decision.{suffix}").read_text(encoding="utf-8") for suffix in ("css", "js")
    )
    file = tmp_path / "page.html"
    file.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>t</title><style>{style}</style>"
        f"<body>{decision_panel(decisions).data}<script>{script}</script></body></html>",
        encoding="utf-8",
    )
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.problems = []
    opened.on("pageerror", lambda error: opened.problems.append(str(error)))
    opened.on("dialog", lambda dialog: (opened.problems.append("dialog"), dialog.dismiss()))
    opened.on("request", lambda request: opened.problems.append(request.url)
              if not request.url.startswith("file:") else None)  # fmt: skip
    opened.url_of_file = file.as_uri()
    opened.goto(opened.url_of_file)
    yield opened
    assert opened.problems == []
    opened.close()


def answer_of(page):
    return page.inner_text("[data-headline]"), page.inner_text("[data-details]")


def said(decision, step):
    """Return headline and details of an answer, with the names for people."""
    return with_names(decision.headline(step)), with_names(decision.details(step))


def test_the_panel_tells_what_the_analysis_chooses(page, decisions):
    for index, decision in enumerate(list(decisions.values())[:2]):
        page.check(f"input[type=radio][value='{index}']")
        for points in (0, 0.8, 0.9, *range(1, 11), 3.7, 4.4, 6.63, 9.95):
            page.fill("input[type=number]", f"{points:g}")
            step = decision.step(points / 100)
            assert answer_of(page) == said(decision, step), points
            assert page.locator("tbody tr").count() == (
                0 if step.choice is None else 1 + len(step.runners_up)
            )
            assert float(page.input_value("input[type=range]")) == pytest.approx(points, abs=0.051)


def test_at_the_bound_of_a_choice_the_panel_has_it(page, decisions):
    for step in decisions["Ours"].steps:
        if step.from_loss <= 0.1:
            page.fill("input[type=number]", f"{100 * step.from_loss:.2f}")
            assert answer_of(page) == said(decisions["Ours"], step)
            if step.from_loss > 0:
                page.fill("input[type=number]", f"{100 * step.from_loss - 0.01:.2f}")
                before = decisions["Ours"].step(step.from_loss - 1e-4)
                assert answer_of(page)[0] == said(decisions["Ours"], before)[0]


def test_the_slider_is_moved_by_keyboard_and_moves_the_number(page):
    page.focus("input[type=range]")
    page.keyboard.press("ArrowRight")
    assert page.input_value("input[type=number]") == "2.1"
    assert "of up to 2.1 points of F1" in page.inner_text("[data-asked]")
    page.keyboard.press("End")
    assert page.input_value("input[type=number]") == "10"


def test_what_is_no_loss_changes_nothing_and_what_is_too_much_is_the_most(page):
    before = answer_of(page)
    page.fill("input[type=number]", "")
    assert answer_of(page) == before
    page.fill("input[type=number]", "300")
    page.keyboard.press("Tab")
    assert page.input_value("input[type=number]") == "10"
    page.fill("input[type=number]", "-5")
    page.keyboard.press("Tab")
    assert page.input_value("input[type=number]") == "0"


def test_runs_without_an_answer_show_why_and_no_table(page):
    page.get_by_label("Theirs").check()
    assert page.inner_text("[data-about]") == "No answer from these runs: gone."
    assert not page.locator(".gcv-decision-table").is_visible()
    assert answer_of(page) == ("", "")


def test_an_answer_can_be_linked(page, decisions):
    page.get_by_label(HOSTILE[0]).check()
    page.fill("input[type=number]", "7.3")
    page.keyboard.press("Tab")
    link, answer = page.evaluate("location.href"), answer_of(page)
    page.goto("about:blank")
    page.goto(link)
    assert page.input_value("input[type=number]") == "7.3"
    assert page.get_by_label(HOSTILE[0]).is_checked()
    assert answer_of(page) == answer
    page.goto("about:blank")
    page.goto(f"{page.url_of_file}#loss=x&runs=nobody")
    assert page.input_value("input[type=number]") == "2"


def test_only_a_changed_answer_is_announced(page):
    live = page.locator("[aria-live=polite]")
    assert live.count() == 1
    live.evaluate(
        "node => { window.changes = 0; const count = (all) => { window.changes += all.length };"
        "const parts = { childList: true, subtree: true, characterData: true };"
        "new MutationObserver(count).observe(node, parts) }"
    )
    page.fill("input[type=number]", "2.1")
    page.fill("input[type=number]", "2.2")
    assert page.evaluate("window.changes") == 0
    page.fill("input[type=number]", "9.9")
    assert page.evaluate("window.changes") > 0


def test_print_shows_the_answer_without_the_controls(page):
    assert page.locator(".gcv-decision-controls").is_visible()
    page.emulate_media(media="print")
    assert not page.locator(".gcv-decision-controls").is_visible()
    assert page.locator("[data-headline]").is_visible()


def test_a_phone_shows_the_panel_without_scrolling_sideways(page):
    page.set_viewport_size({"width": 400, "height": 800})
    page.add_style_tag(content=(STATIC / "greencv.css").read_text(encoding="utf-8"))
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


DECISION = "book/notebooks/decision.html"


@pytest.mark.slow
def test_the_panel_of_the_report_answers_as_python_does(browser, address, html):
    # The runs are beside the pages, so that anybody can compute again.
    runs = select_runs(pd.read_parquet(html / "runs.parquet")).runs
    decision = attempt(lambda: decide(runs))
    if isinstance(decision, Unavailable):
        pytest.skip(f"this report's own runs decide nothing: {decision.reason}")
    with tab(browser, address) as visited:
        visited.open(DECISION)
        panel = visited.page.locator(".gcv-decision")
        panel.locator("input[type=radio]").first.check()
        for tenths in range(101):
            panel.locator("input[type=number]").fill(f"{tenths / 10:g}")
            headline = panel.locator("[data-headline]").text_content()
            assert headline == said(decision, decision.step(tenths / 1000))[0]
        panel.locator("input[type=number]").fill("3.5")
        panel.locator("input[type=number]").blur()
        asked, link = panel.locator("[data-asked]").text_content(), visited.page.url
        assert "3.5" in asked
        visited.page.goto("about:blank")
        visited.page.goto(link)
        assert panel.locator("[data-asked]").text_content() == asked
        assert visited.problems == []


@pytest.mark.slow
def test_the_report_shows_every_choice_without_scripts(browser, address):
    with tab(browser, address, java_script_enabled=False) as visited:
        visited.page.goto(address + DECISION)
        assert not visited.page.locator(".gcv-decision-controls").is_visible()
        assert visited.page.locator("table", has_text="Accepted loss").first.is_visible()


def test_time_and_power_of_the_corrected_runs_make_their_energy():
    reanalysis = attempt(load_reanalysis)
    if isinstance(reanalysis, Unavailable):
        pytest.skip(reanalysis.reason)
    runs = corrected_runs(reanalysis)
    product = runs["power_w"] * runs["duration_s_per_image"]
    # Published power is cut to whole watts, of some 28 W at least.
    assert (product / runs["energy_j_per_image"]).between(0.95, 1.02).all()
    decision = decide(runs, CORRECTNESS)
    assert decision.provenance == "published"
    assert decision.candidates[decision.reference].name == "vgg16 @ Cloud"
