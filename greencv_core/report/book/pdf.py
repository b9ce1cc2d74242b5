"""Print the built report as one PDF: a browser puts the pages together and prints them.

Sphinx could make one long page itself, but its pages name their sections alike (each has a
"Method"), and it would build the whole report a second time. The built pages are printed as a
reader sees them, in the order of the table of contents.
"""

from __future__ import annotations

import io
import mimetypes
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import yaml

from greencv_core.report.book.contents import listed_pages
from greencv_core.utils.errors import GreencvError

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

Log = Callable[[str], None]

BROWSER = "GREENCV_BROWSER"
"""Environment variable that names the browser's program."""

_PROGRAMS = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)  # fmt: skip
_HOST = "http://report.invalid/"
"""Address of the pages in the browser; they are read from disk, and all else is refused."""
_COLUMN_PX = 657
"""The width between the margins of print.css, 174 mm, at the 96 pixels an inch of CSS."""
_TIMEOUT_MS = 300_000


def find_browser() -> str | None:
    """Return the path of the browser that ``GREENCV_BROWSER`` names, or else of a Chromium."""
    named = os.environ.get(BROWSER)
    if named:
        return shutil.which(named)
    found = map(shutil.which, _PROGRAMS)
    return next((path for path in found if path), None)


def browser_arguments() -> list[str]:
    """Return the arguments that keep Chromium off the network."""
    quiet = ["--disable-background-networking", "--disable-component-update", "--no-first-run"]
    # Chromium refuses to start its sandbox as root, as in a container.
    return [*quiet, *(["--no-sandbox"] if sys.platform == "linux" and os.geteuid() == 0 else [])]


def load_browser() -> tuple[Any, Any, str]:
    """Return the modules playwright and pypdf, and the browser's path.

    If one of them is missing, it raises :class:`GreencvError`.
    """
    try:
        import playwright.sync_api as playwright
        import pypdf
    except ImportError as error:
        raise GreencvError(
            f"the PDF needs the Python package {error.name}: pip install 'greencv[pdf]'"
        ) from error
    browser = find_browser()
    if browser is None:
        raise GreencvError(
            "found no browser to print the PDF: install Chromium (apt-get install chromium) or "
            f"Google Chrome, or set {BROWSER} to the path of one"
        )
    return playwright, pypdf, browser


def build_pdf(root: Path, log: Log) -> Path:
    """Print the report in a project's ``_build/html/``: A4, with contents, outline and links.

    Without a report, a browser or Playwright, or if the browser fails, it raises
    :class:`GreencvError`.
    """
    html = root / "_build" / "html"
    if not (html / "index.html").is_file():
        raise GreencvError(f"there is no report in {html}: build it first (make html)")
    playwright, pypdf, browser = load_browser()
    log("printing the PDF")
    authors = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["author"]
    try:
        with _blank_page(playwright, browser, html) as page:
            printed = _print(page, pypdf, _pages(root), authors)
    except playwright.Error as error:
        first = str(error).splitlines()[0]
        raise GreencvError(f"the browser did not print the report: {first}") from error
    target = root / "_build" / "greencv.pdf"
    partial = target.with_suffix(".pdf.part")
    partial.write_bytes(printed)
    partial.replace(target)
    return target


@contextmanager
def _blank_page(playwright: Any, browser: str, html: Path) -> Iterator[Page]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser, args=browser_arguments())
        page = chromium.new_page(
            viewport={"width": _COLUMN_PX, "height": 1000}, color_scheme="light"
        )
        page.set_default_timeout(_TIMEOUT_MS)
        page.route("**/*", lambda route: _serve(route, html))
        try:
            yield page
        finally:
            chromium.close()


def _serve(route: Route, html: Path) -> None:
    """Serve files of the report, without the pages' scripts, and refuse everything else."""
    address = urlsplit(route.request.url)
    path = (html / unquote(address.path).lstrip("/")).resolve()
    ours = route.request.url.startswith(_HOST) and path.is_relative_to(html.resolve())
    script = route.request.resource_type == "script" and "mathjax" not in path.parts
    if ours and path.is_file() and not script:
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        route.fulfill(body=path.read_bytes(), content_type=kind)
    else:
        route.abort()


def _print(page: Page, pypdf: Any, pages: Sequence[dict[str, str]], authors: str) -> bytes:
    script = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    page.goto(_HOST + pages[0]["path"])
    page.emulate_media(media="print")
    maker = page.evaluate_handle(script)
    chapters = page.evaluate(
        "([maker, what]) => maker.assemble(what)", [maker, {"pages": pages, "authors": authors}]
    )
    page.evaluate("maker => maker.fit()", maker)

    def as_pdf() -> bytes:
        return page.pdf(prefer_css_page_size=True, print_background=True, outline=True, tagged=True)

    # The contents' page numbers are known once it is printed; they take no space.
    first = pypdf.PdfReader(io.BytesIO(as_pdf()))
    starts = first.named_destinations
    numbers = [
        first.get_destination_page_number(starts[f"/{chapter['key']}"]) + 1 for chapter in chapters
    ]
    page.evaluate("([maker, numbers]) => maker.number(numbers)", [maker, numbers])
    headings = page.locator("h1, h2, h3, h4, h5, h6").all_text_contents()
    return _restore_spaces(pypdf.PdfWriter(clone_from=io.BytesIO(as_pdf())), headings)


def _restore_spaces(document: Any, headings: Sequence[str]) -> bytes:
    """Restore the spaces in outline titles that Chromium drops where a heading wraps."""
    from pypdf.generic import NameObject, TextStringObject

    whole = {"".join(heading.split()): " ".join(heading.split()) for heading in headings}
    below = [document.root_object["/Outlines"]]
    while below:
        entry = below.pop()
        below += [entry[key].get_object() for key in ("/First", "/Next") if key in entry]
        title = whole.get("".join(entry.get("/Title", "").split()))
        if title:
            entry[NameObject("/Title")] = TextStringObject(title)
    written = io.BytesIO()
    document.write(written)
    return written.getvalue()


def _pages(root: Path) -> list[dict[str, str]]:
    """Return the pages in the order of the table of contents, each with its part's caption.

    The reference of the programming interface is left out.
    """
    return [
        {"path": f"{page.file}.html", "part": page.part}
        for page in listed_pages(root)
        if not page.file.startswith("book/api/")
    ]
