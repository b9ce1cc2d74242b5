"""The report in a real browser: a server on this computer, and what a look at a page finds."""

import functools
import http.server
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import axe_playwright_python
from playwright.sync_api import sync_playwright

from greencv_core.report.book.contents import listed_pages
from greencv_core.report.book.pdf import browser_arguments, find_browser
from tests.conftest import REPORT, ROOT

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
WIDE = {"width": 1280, "height": 900}
NARROW = {"width": 400, "height": 800}


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections that stay: a page has some thirty files

    def log_message(self, *_):
        pass


@contextmanager
def served(folder):
    """Serve a folder on this computer, and give its address."""
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextmanager
def chromium():
    """Start the system's browser."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=find_browser(), args=browser_arguments(), timeout=120_000
        )
        yield browser
        browser.close()


@dataclass
class Tab:
    """One page of the browser, with what went wrong on it."""

    page: object
    address: str
    problems: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._response)
        self.page.route(lambda url: not url.startswith(self.address), self._refuse)

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.problems.append(f"{message.type}: {message.text}")

    def _failed(self, request):
        # A page that is left stops what it was still loading.
        if request.url.startswith(self.address) and request.failure != "net::ERR_ABORTED":
            self.problems.append(f"failed: {request.url}: {request.failure}")

    def _response(self, response):
        if response.status >= 400:
            self.problems.append(f"{response.status}: {response.url}")

    def _refuse(self, route):
        if route.request.url.startswith(("data:", "blob:")):
            route.continue_()
            return
        self.foreign.append(route.request.url)
        route.abort()

    def open(self, path, ready="load"):
        self.page.goto(urljoin(self.address, path), wait_until=ready)
        self.page.wait_for_load_state("networkidle")
        # Pictures further down are loaded when they are scrolled to.
        self.page.evaluate(
            """() => Promise.all([...document.images].map((image) => {
                 image.loading = "eager";
                 return image.decode().catch(() => null);
               }))"""
        )


@contextmanager
def tab(browser, address, *, viewport=None, scheme="light", **more):
    context = browser.new_context(
        viewport=viewport or WIDE, color_scheme=scheme, reduced_motion="reduce", **more
    )
    try:
        yield Tab(context.new_page(), address)
    finally:
        context.close()


def violations(page, *, only=(), without=()):
    """Return what axe-core holds for serious or critical: rule, what it says, where."""
    if not page.evaluate("() => 'axe' in window"):
        page.add_script_tag(path=AXE)
    options = {
        "resultTypes": ["violations"],
        # Style sheets are not fetched once more: axe looks in the wrong place for their imports.
        "preload": False,
        "rules": {rule: {"enabled": False} for rule in without},
        **({"runOnly": {"type": "rule", "values": list(only)}} if only else {}),
    }
    found = page.evaluate("(options) => axe.run(document, options)", options)["violations"]
    return [
        f"{rule['impact']} {rule['id']}: {node['target']} {node['html'][:200]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


CUT_OFF = """() => {
  const scrolls = (element) => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
  const within = (element) => {
    let e = element;
    while (e && e !== document.body && !scrolls(e)) e = e.parentElement;
    return e && e !== document.body;
  };
  return [...document.querySelectorAll("article *")]
    .filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1)
    .filter((e) => !e.closest("svg") && !e.closest(".MathJax") && !within(e))
    .map((e) => `${e.tagName}.${e.className}: ${e.textContent.trim().slice(0, 40)}`);
}"""
"""Of an article: what reaches beyond the window, and cannot be scrolled to."""

UNREADABLE = """() => {
  const shade = (colour) => {
    const parts = (colour.match(/[\\d.]+/g) ?? []).map(Number);
    if (parts.length < 3 || parts[3] === 0) return null;
    const [r, g, b] = parts.map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const page = shade(getComputedStyle(document.body).backgroundColor) ?? 1;
  const behind = (text) => {
    const { left, top, width, height } = text.getBoundingClientRect();
    const stack = document.elementsFromPoint(left + width / 2, top + height / 2);
    for (const e of stack.slice(stack.indexOf(text) + 1)) {
      const style = getComputedStyle(e);
      const opaque = Number(style.fillOpacity) * Number(style.opacity) > 0.9;
      const drawn = e.closest("svg") && /^(path|rect|circle|polygon)$/.test(e.tagName) && opaque;
      const found = shade(drawn ? style.fill : style.backgroundColor);
      if (found !== null) return found;
    }
    return page;
  };
  const poor = [];
  for (const text of document.querySelectorAll("article svg text")) {
    if (!text.checkVisibility() || !text.textContent.trim()) continue;
    text.scrollIntoView({ block: "center" });
    const ink = shade(getComputedStyle(text).fill);
    const [low, high] = [ink, behind(text)].sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < 4.5) poor.push(`${text.textContent.trim()}: ${contrast.toFixed(1)}`);
  }
  return poor;
}"""
"""Words in drawings whose contrast with what is behind them is under 4.5."""

BROKEN_DRAWINGS = """() => {
  const named = (id) => document.getElementById(id) !== null;
  const lost = [];
  for (const element of document.querySelectorAll("svg *")) {
    for (const { name, value } of element.attributes) {
      const of_url = [...value.matchAll(/url\\(#([^)]+)\\)/g)].map((match) => match[1]);
      const of_use = /^(xlink:)?href$/.test(name) && value[0] === "#" ? [value.slice(1)] : [];
      lost.push(...[...of_url, ...of_use].filter((id) => !named(id)));
    }
  }
  return lost;
}"""
"""Parts that drawings refer to and that are not there."""


class _References(HTMLParser):
    """What a page names, and what it refers to."""

    def __init__(self):
        super().__init__()
        self.names: list[str] = []
        self.links: list[str] = []
        self.redirect: str | None = None

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.names += [given["id"]] if given.get("id") else []
        for key in ("href", "src", "poster", "data"):
            # A drawing's own parts are BROKEN_DRAWINGS' business.
            if given.get(key) and tag not in ("use", "object") and not key.startswith("data-"):
                self.links.append(given[key])
        for place in (given.get("srcset") or "").split(","):
            if place.strip():
                self.links.append(place.split()[0])
        if tag == "meta" and (given.get("http-equiv") or "").lower() == "refresh":
            self.redirect = re.search(r"url=(.+)", given["content"])[1]
            self.links.append(self.redirect)


@functools.cache
def references(path: Path) -> _References:
    parser = _References()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser


def dead_links(html: Path, path: str) -> list[str]:
    """Return the links of a page that lead to no file of the report, or to no place in it."""
    dead = []
    for link in references(html / path).links:
        target = urlsplit(urljoin(f"http://report/{path}", link))
        if target.scheme in ("data", "mailto") or target.netloc != "report":
            continue
        file = html / unquote(target.path).lstrip("/")
        file = file / "index.html" if file.is_dir() else file
        anchor = unquote(target.fragment)
        if not file.is_file():
            dead.append(link)
        elif anchor and "=" not in anchor and file.suffix == ".html":  # else a script reads it
            there = references(file)
            if there.redirect:
                there = references((file.parent / there.redirect).resolve())
            if anchor not in there.names:
                dead.append(link)
    return dead


def built_pages(html):
    """Return the paths of a built report's pages.

    The theme's own templates are none, and the pages of runs are alike: a test looks at one.
    """
    found = (path.relative_to(html).as_posix() for path in Path(html).rglob("*.html"))
    return sorted(path for path in found if not path.startswith(("_static/", "runs/")))


def report_pages():
    """Return the paths of the report's pages: those of the built report, or of the contents."""
    if REPORT:
        return built_pages(REPORT)
    files = [f"{page.file}.html" for page in listed_pages(ROOT)]
    return sorted([*files, "index.html", "search.html"])


PAGES = report_pages()
