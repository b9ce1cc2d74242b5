"""The PDF that the browser prints."""

import re
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from html import unescape

import pypdf
import pytest

from greencv_core.report.book.pdf import BROWSER, build_pdf
from greencv_core.utils.errors import GreencvError
from tests.conftest import REPORT
from tests.support.browser import PAGES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pdf(browser, smoke_report):
    html, made = (smoke_report / "_build" / name for name in ("html", "greencv.pdf"))
    if REPORT and made.is_file() and made.stat().st_mtime > (html / "index.html").stat().st_mtime:
        return pypdf.PdfReader(made)  # printed from this report already: what is published
    with ThreadPoolExecutor(1) as elsewhere:  # Playwright runs once a thread
        return pypdf.PdfReader(elsewhere.submit(build_pdf, smoke_report, print).result())


def _titles(outline):
    for entry in outline:
        yield from _titles(entry) if isinstance(entry, list) else [entry]


def _without_ligatures(text):
    """Return a text with two letters for each sign that a font has for two, as in "figures"."""
    return unicodedata.normalize("NFKC", text)


def test_the_pdf_has_every_chapter_where_its_contents_say(pdf, smoke_report):
    chapters = [p for p in PAGES if p.startswith("book/") and not p.startswith("book/api/")]
    html = smoke_report / "_build" / "html"
    titles = [
        unescape(re.search(r"<title>(.*?) &#8212;", (html / path).read_text())[1])
        for path in chapters
    ]
    starts = {(e.title, pdf.get_destination_page_number(e) + 1) for e in _titles(pdf.outline)}
    first = min(number for title, number in starts if title in titles)
    # The title page comes before the contents, and the first chapter after them.
    printed = " ".join(page.extract_text() for page in pdf.pages[1 : first - 1])
    contents = " ".join(_without_ligatures(printed).split())
    for title in titles:
        listed = re.search(re.escape(_without_ligatures(title)) + r" (\d+)", contents)
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
    with pytest.raises(GreencvError, match=r"^found no browser to print the PDF: .*\bapt-get\b.*$"):
        build_pdf(tmp_path, print)
