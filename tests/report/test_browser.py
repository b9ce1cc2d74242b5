"""The report as its readers meet it, in a real browser; and the PDF that the browser prints."""

import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from html import unescape
from pathlib import Path

import pandas as pd
import pypdf
import pytest
import yaml
from PIL import Image

from greencv_core.analysis import decide, select_runs
from greencv_core.report.book.pdf import BROWSER, build_pdf
from greencv_core.utils.errors import GreencvError
from tests.conftest import REPORT, ROOT
from tests.support.browser import (
    BROKEN_DRAWINGS,
    CUT_OFF,
    NARROW,
    UNREADABLE,
    dead_links,
    references,
    served,
    tab,
    violations,
)

LANDING = "index.html"
LANDING_BYTES = 1_000_000
REPORT_BYTES = 30_000_000
DECISION = "book/notebooks/decision.html"
RESIZED_MS = 500
"""After which the theme has made what scrolls now reachable by keyboard."""
DARK, LIGHT = 60, 200
"""Of 255: darker and lighter than any shade that both themes have."""


def _pages():
    if REPORT:
        found = (path.relative_to(REPORT).as_posix() for path in Path(REPORT).rglob("*.html"))
        return sorted(found)
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    files = [toc["root"], *(c["file"] for part in toc["parts"] for c in part["chapters"])]
    return sorted([f"{file}.html" for file in files] + ["index.html", "search.html"])


PAGES = _pages()
FROM_SPHINX = {"genindex.html", "py-modindex.html"}
# The scope makes a page's tests follow each other, so that one process looks at it once for all.
each_page = pytest.mark.parametrize("path", PAGES, scope="session")


@pytest.fixture(scope="session")
def html(smoke_report):
    return smoke_report / "_build" / "html"


@pytest.fixture(scope="session")
def address(html):
    with served(html) as where:
        yield where


@dataclass
class Seen:
    """What one visit to a page found."""

    problems: list[str]
    foreign: list[str]
    unresolved: list[str]
    stderr: int
    broken_drawings: list[str]
    violations: dict[str, list[str]]
    unreadable: dict[str, list[str]]
    narrow_px: int
    cut_off: list[str]


@pytest.fixture(scope="module")
def look(browser, address):
    """Visit a page once, for all that is asked of it: light, dark and narrow."""

    @cache
    def visit(path):
        with tab(browser, address) as visited:
            page = visited.page
            visited.open(path)
            unresolved = page.evaluate(
                "() => [...document.images].filter((i) => !i.naturalWidth).map((i) => i.src)"
            )
            stderr = page.locator(".output.stderr").count()
            broken = page.evaluate(BROKEN_DRAWINGS)
            found, unreadable = {"light": violations(page)}, {"light": page.evaluate(UNREADABLE)}
            _turn_dark(page)
            # Nothing but colours changes with the theme, and nothing of them with the width.
            found["dark"] = violations(page, only=["color-contrast"])
            unreadable["dark"] = page.evaluate(UNREADABLE)
            page.set_viewport_size(NARROW)
            page.wait_for_timeout(RESIZED_MS)
            page.evaluate("scrollTo(0, 0)")
            narrow_px = page.evaluate("document.scrollingElement.scrollWidth")
            found["narrow"] = violations(page, without=["color-contrast"])
            cut_off = page.evaluate(CUT_OFF)
            return Seen(
                visited.problems,
                visited.foreign,
                unresolved,
                stderr,
                broken,
                found,
                unreadable,
                narrow_px,
                cut_off,
            )

    return visit


def _turn_dark(page):
    """Press the button until the page is dark, as a reader would."""
    button = page.locator("button.theme-switch-button").first
    for _ in range(3):
        if page.evaluate("document.documentElement.dataset.theme") == "dark":
            return
        button.click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def _picture(page):
    return Image.open(io.BytesIO(page.screenshot())).convert("L")


def test_every_page_is_looked_at(html):
    built = {path.relative_to(html).as_posix() for path in html.rglob("*.html")}
    assert built - FROM_SPHINX == set(PAGES) - FROM_SPHINX


@each_page
def test_a_page_loads_without_an_error_or_a_foreign_request(path, look):
    seen = look(path)
    assert seen.problems == []
    assert seen.foreign == []


@each_page
def test_every_link_and_picture_resolves(path, look, html):
    assert dead_links(html, path) == []
    seen = look(path)
    assert seen.unresolved == []
    assert seen.broken_drawings == []


@each_page
def test_names_of_places_are_given_once(path, html):
    names = references(html / path).names
    assert sorted({name for name in names if names.count(name) > 1}) == []


@each_page
def test_a_page_has_no_serious_accessibility_violation(path, look):
    assert look(path).violations == {"light": [], "dark": [], "narrow": []}


@each_page
def test_words_in_drawings_can_be_read_in_both_themes(path, look):
    assert look(path).unreadable == {"light": [], "dark": []}


@each_page
def test_a_narrow_window_shows_the_whole_page(path, look):
    seen = look(path)
    assert seen.narrow_px <= NARROW["width"]
    assert seen.cut_off == []


@each_page
def test_no_page_shows_what_a_program_complained_of(path, look):
    assert look(path).stderr == 0


def test_the_landing_page_is_light(browser, address):
    with tab(browser, address) as visited:
        protocol = visited.page.context.new_cdp_session(visited.page)
        protocol.send("Network.enable")
        protocol.send("Network.setCacheDisabled", {"cacheDisabled": True})
        loaded = []
        protocol.on("Network.loadingFinished", lambda e: loaded.append(e["encodedDataLength"]))
        visited.open(LANDING)
        assert len(loaded) > 10
        assert sum(loaded) < LANDING_BYTES


def test_the_whole_report_is_light(html):
    sizes = [path.stat().st_size for path in html.rglob("*") if path.is_file()]
    assert sum(sizes) < REPORT_BYTES


def test_formulas_are_set_where_there_are_any(browser, address, html):
    with_formulas = [p for p in PAGES if 'class="math' in (html / p).read_text()]
    assert "book/method.html" in with_formulas
    for path in with_formulas:
        with tab(browser, address) as visited:
            visited.open(path)
            visited.page.wait_for_function("() => window.MathJax?.startup?.promise")
            visited.page.evaluate("() => MathJax.startup.promise")
            formulas = visited.page.locator(".math").count()
            assert visited.page.locator(".math mjx-container").count() >= formulas > 0
            assert visited.page.locator("mjx-merror").count() == 0
            assert visited.problems == []
    without = next(p for p in PAGES if p not in with_formulas and p != "index.html")
    assert "mathjax/tex" not in (html / without).read_text()


def test_icons_are_drawn_from_the_font_that_is_there(browser, address):
    with tab(browser, address) as visited:
        visited.open("book/method.html")
        widths = visited.page.evaluate(
            """async () => {
              await document.fonts.ready;
              const icons = [...document.querySelectorAll("i, span")].filter(
                (e) => /\\bfa-(solid|brands|regular)\\b/.test(e.className) && e.checkVisibility());
              return icons.map((e) => [getComputedStyle(e, "::before").content,
                                       e.getBoundingClientRect().width]);
            }"""
        )
    assert len(widths) >= 5
    assert all(content not in ("none", "normal", '""') for content, _ in widths)
    assert all(width > 5 for _, width in widths)


def test_search_finds(browser, address):
    with tab(browser, address) as visited:
        page = visited.page
        visited.open("search.html?q=provenance")
        results = page.locator("#search-results ul.search li a")
        results.first.wait_for()
        page.wait_for_function(
            "() => !document.querySelector('#search-results h2')?.textContent.endsWith('...')"
        )
        targets = results.evaluate_all("links => links.map((link) => link.href)")
        assert any("provenance" in target for target in targets)
        # A result's marked words are in the part of the address that the page reads itself.
        paths = {target.removeprefix(address).split("#")[0].split("?")[0] for target in targets}
        assert paths <= set(PAGES) | FROM_SPHINX
        results.first.click()
        page.wait_for_load_state("load")
        assert page.locator("article h1").count() == 1
        visited.open("search.html?q=qqxzvjk")
        page.wait_for_function(
            "() => document.querySelector('#search-results')?.textContent.includes('did not match')"
        )
        assert results.count() == 0
        # Sphinx shows no excerpt of a place whose name has a dot, and says so.
        assert [p for p in visited.problems if "Anchored content block" not in p] == []


@pytest.mark.parametrize("path", ["index.html", "book/notebooks/rq1_architecture.html"])
def test_dark_mode_is_dark_all_over(path, browser, address):
    with tab(browser, address) as visited:
        page = visited.page
        visited.open(path)
        assert _picture(page).resize((1, 1)).getpixel((0, 0)) > LIGHT
        _turn_dark(page)
        page.mouse.move(0, 0)
        shots = [_picture(page)]
        for figure in page.locator("article figure, article img").all():
            if figure.is_visible():
                figure.scroll_into_view_if_needed()
                shots.append(Image.open(io.BytesIO(figure.screenshot())).convert("L"))
        for shot in shots:
            histogram = shot.histogram()
            assert sum(histogram[:DARK]) / sum(histogram) > 0.6
            assert sum(histogram[LIGHT:]) / sum(histogram) < 0.2
        # The choice is kept on the next page.
        visited.open("book/method.html")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"


@pytest.mark.parametrize("path", ["index.html", "book/notebooks/rq1_architecture.html"])
def test_a_narrow_window_shows_figures_at_a_size_to_read(path, browser, address):
    with tab(browser, address, viewport=NARROW) as visited:
        visited.open(path)
        page = visited.page
        assert len(set(_picture(page).tobytes())) > 20
        drawn = page.evaluate(
            """() => [...document.querySelectorAll("article figure svg, article img")]
                 .filter((e) => e.checkVisibility())
                 .map((e) => e.getBoundingClientRect())
                 .map(({ left, right, width, height }) => [left, right, width, height])"""
        )
        assert drawn
        for left, right, width, height in drawn:
            assert 0 <= left < right <= NARROW["width"]
            assert width > 250
            assert height > 80


def test_a_dark_page_is_printed_light(browser, address):
    with tab(browser, address, scheme="dark") as visited:
        page = visited.page
        visited.open("book/method.html")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        assert _picture(page).resize((1, 1)).getpixel((0, 0)) > LIGHT
        assert not page.locator(".bd-sidebar-primary").first.is_visible()
        page.evaluate("() => dispatchEvent(new Event('afterprint'))")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"


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


@pytest.fixture(scope="module")
def pdf(browser, smoke_report):
    with ThreadPoolExecutor(1) as elsewhere:  # Playwright runs once a thread
        return pypdf.PdfReader(elsewhere.submit(build_pdf, smoke_report, print).result())


def _titles(outline):
    for entry in outline:
        yield from _titles(entry) if isinstance(entry, list) else [entry]


def test_the_pdf_has_every_chapter_where_its_contents_say(pdf, smoke_report):
    chapters = [p for p in PAGES if p.startswith("book/") and not p.startswith("book/api/")]
    contents = " ".join(" ".join(page.extract_text() for page in pdf.pages[1:3]).split())
    starts = {(e.title, pdf.get_destination_page_number(e) + 1) for e in _titles(pdf.outline)}
    for path in chapters:
        text = (smoke_report / "_build" / "html" / path).read_text()
        title = unescape(re.search(r"<title>(.*?) &#8212;", text)[1])
        listed = re.search(re.escape(title) + r" (\d+)", contents)
        assert listed, title
        assert (title, int(listed[1])) in starts
    assert pdf.trailer["/Root"]["/MarkInfo"]["/Marked"]


def test_links_of_the_pdf_lead_somewhere(pdf):
    internal, external = 0, 0
    for page in pdf.pages:
        for reference in page.get("/Annots") or []:
            link = reference.get_object()
            action = link.get("/A", {})
            if "/URI" in action:
                external += 1
                assert re.match(r"https?://(?!report\.invalid|127\.)|mailto:", action["/URI"])
            else:
                internal += 1
                target = link.get("/Dest") or action.get("/D")
                assert target in pdf.named_destinations
    assert internal > 50
    assert external > 5


def test_the_pdf_sets_formulas_and_keeps_to_its_margins(pdf):
    text, beyond = [], []
    for number, page in enumerate(pdf.pages, 1):
        width = float(page.mediabox.width)

        def keep(words, drawing, line, *_, number=number, width=width):
            x = line[4] * drawing[0] + line[5] * drawing[2] + drawing[4]
            stretched = re.search("[\ue000-\uf8ff]", words)  # a brace, from outside its clip
            if words.strip() and not stretched and not 40 < x < width - 45:
                beyond.append((number, words))

        text.append(page.extract_text(visitor_text=keep))
    whole = "\n".join(text)
    assert beyond == []
    assert not re.search(r"\\\(|\\\[|\\frac|\\text", whole)
    assert "Show the code" not in whole
    images = sum(len(page.images) for page in pdf.pages)
    assert images == 0  # figures are drawings still


def test_a_pdf_without_a_report_or_a_browser_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(GreencvError, match=r"^there is no report in .*: build it first"):
        build_pdf(tmp_path, print)
    (tmp_path / "_build" / "html").mkdir(parents=True)
    (tmp_path / "_build" / "html" / "index.html").write_text("")
    monkeypatch.setenv(BROWSER, str(tmp_path / "none"))
    with pytest.raises(GreencvError, match=r"^the PDF is printed by a browser, .*\bapt-get\b.*$"):
        build_pdf(tmp_path, print)
