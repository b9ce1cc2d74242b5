"""The report as its readers meet it, in a real browser."""

import io
import json
import time

import pytest
from PIL import Image

from tests.support.browser import (
    BROKEN_DRAWINGS,
    CUT_OFF,
    NARROW,
    PAGES,
    UNREADABLE,
    built_pages,
    dead_links,
    references,
    tab,
    violations,
)

pytestmark = pytest.mark.slow

LANDING = "index.html"
LANDING_BYTES = 1_000_000
REPORT_BYTES = 40_000_000
RESIZED_MS = 500
"""After which the theme has made what scrolls now reachable by keyboard."""
DARK, LIGHT = 60, 200
"""Of 255: darker and lighter than any shade that both themes have."""


FROM_SPHINX = {"genindex.html", "py-modindex.html"}


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
    assert set(built_pages(html)) - FROM_SPHINX == set(PAGES) - FROM_SPHINX


@pytest.mark.parametrize("path", [*PAGES, "runs/"])
def test_a_page_is_whole_and_legible_in_light_dark_and_narrow(path, browser, address, html):
    if path == "runs/":
        path = next(one.relative_to(html).as_posix() for one in html.glob("runs/*.html"))
    with tab(browser, address) as visited:
        page = visited.page
        visited.open(path)
        pictures = page.evaluate(
            "() => [...document.images].filter((i) => !i.naturalWidth).map((i) => i.src)"
        )
        assert pictures == []
        assert page.evaluate(BROKEN_DRAWINGS) == []
        assert page.locator(".output.stderr").count() == 0
        assert violations(page) == []
        assert page.evaluate(UNREADABLE) == []
        _turn_dark(page)
        # Nothing but colours changes with the theme, and nothing of them with the width. Pages of
        # the reference and its index are long and alike: what is looked at once there is not again.
        alike = path.startswith("book/api/") or path in FROM_SPHINX
        assert alike or violations(page, only=["color-contrast"]) == []
        assert page.evaluate(UNREADABLE) == []
        page.set_viewport_size(NARROW)
        # Meanwhile, what needs no browser.
        resized_s = time.monotonic() + RESIZED_MS / 1000
        assert dead_links(html, path) == []
        names = references(html / path).names
        assert sorted({name for name in names if names.count(name) > 1}) == []
        page.wait_for_timeout(max(0, 1000 * (resized_s - time.monotonic())))
        page.evaluate("scrollTo(0, 0)")
        assert page.evaluate("document.scrollingElement.scrollWidth") <= NARROW["width"]
        assert alike or violations(page, without=["color-contrast"]) == []
        assert page.evaluate(CUT_OFF) == []
    assert visited.problems == []
    assert visited.foreign == []


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


def test_three_clicks_lead_from_the_front_page_to_a_runs_record(browser, address):
    with tab(browser, address) as visited:
        page = visited.page
        visited.open("book/notebooks/index.html")
        page.locator("article").get_by_role("link", name="runs").first.click()
        page.locator(".gcv-explore table tbody a").first.click()
        page.wait_for_url("**/runs/*.html")
        with page.expect_download() as downloading:
            page.get_by_text("Download the record").click()
        record = json.loads(downloading.value.path().read_text())
        assert record["run_id"] in page.url
        assert record["epochs"]
    assert visited.problems == []


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
