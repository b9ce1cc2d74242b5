"""What the built report is cited, shared and found by."""

import json
import re
from html import unescape

import pytest
import yaml

from tests.conftest import ROOT
from tests.support.browser import served, tab

pytestmark = pytest.mark.slow

WANTED = {
    "Mac": "install.html",
    "GPU": "gpu_server.html",
    "install": "install.html",
    "RAPL permission": "install.html",
    "batch size": "extend.html",
    "p-value": "how_to_read.html",
    "how much energy can I save": "decision.html",
}
"""Searches, and the page that a person wants."""


@pytest.fixture(scope="module")
def html(smoke_report):
    return smoke_report / "_build" / "html"


def tags(page):
    found = re.findall(r'<meta (?:name|property)="([^"]+)" content="([^"]*)"', page.read_text())
    return [(key, unescape(text)) for key, text in found]


def test_a_search_shows_the_page_that_a_person_wants(browser, html):
    with served(html) as address, tab(browser, address) as opened:
        for words, page in WANTED.items():
            opened.open(f"search.html?q={words.replace(' ', '+')}")
            opened.page.wait_for_selector("#search-results li a")
            hits = opened.page.eval_on_selector_all(
                "#search-results li > a", "links => links.slice(0, 3).map((a) => a.pathname)"
            )
            assert any(hit.endswith(f"/{page}") for hit in hits), (words, hits)
            assert len(set(hits)) == len(hits)
            assert not any("/api/" in hit for hit in hits)
        assert opened.problems == []


def test_names_of_the_interface_are_found_after_the_pages(browser, html):
    with served(html) as address, tab(browser, address) as opened:
        opened.open("search.html?q=EnergyMeter")
        opened.page.wait_for_selector("#search-results li a[href*='/api/']")
        hits = opened.page.eval_on_selector_all(
            "#search-results li > a", "links => links.map((a) => a.pathname.includes('/api/'))"
        )
        assert hits == sorted(hits)


def test_few_entries_of_the_contents_are_open(html):
    page = (html / "book" / "notebooks" / "index.html").read_text()
    entries = re.findall(r'<li class="toctree-l1[^"]*">', page)
    assert 10 <= len(entries) <= 15
    folded = page.partition('toctree-l2"')[0].rpartition("<details")[2]
    assert folded.startswith('><summary aria-label="More: ')


def test_every_page_has_tags_to_cite_and_to_share(html):
    work = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    for page in (html / "book").rglob("*.html"):
        found = tags(page)
        names = [key for key, _ in found]
        assert names.count("viewport") == 1
        assert names.count("citation_author") == len(work["authors"])
        for key in ("description", "citation_title", "og:title", "og:description", "og:image"):
            assert names.count(key) == 1, (page, key)
        known = dict(found)
        assert known["citation_title"] == known["og:title"]
        assert 20 <= len(known["description"]) <= 300
        assert (page.parent / known["og:image"]).resolve().is_file() or "url" in work


def test_each_exhibit_says_how_to_cite_it(html):
    for exhibit in json.loads((html / "exhibits" / "index.json").read_text())["exhibits"]:
        page, _, anchor = exhibit["page"].partition("#")
        after = (html / page).read_text().partition(f'id="{anchor}"')[2].partition("</figcaption>")
        shown = unescape(after[0])
        assert f"@misc{{greencv-{anchor}," in shown
        assert f"{exhibit['kind'].capitalize()} {exhibit['number']} in greencv" in shown
        assert any(digest in shown for digest in exhibit["files"].values())
