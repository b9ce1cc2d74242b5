"""A Sphinx extension for the report: lighter pages, right ARIA roles, attributes as prose."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from pybtex.plugin import find_plugin, register_plugin
from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.environment import BuildEnvironment
from sphinx.util.parallel import ParallelTasks, SerialTasks

from greencv_core.report.book.renderer import load_api

_ExtraPage: TypeAlias = tuple[str, dict[str, Any], str]
"""Name, context and template of a page that has no source."""
_BEFORE_NAPOLEON = _BEFORE_THE_THEME = 100
_AFTER_OTHERS = 900
"""Priorities of event handlers; the default is 500."""
_UNUSED = (
    "scripts/*.map", "styles/*.map", "scripts/fontawesome.js",
    "mathjax/*-svg*.js", "mathjax/*-full*.js", "mathjax/*mml-*.js",
)  # fmt: skip
"""Large files in ``_static`` that no page loads; pages load MathJax as ``tex-chtml.js``."""
_TARGETS = (("std", "labels"), ("std", "anonlabels"), ("std", "objects"), ("py", "objects"))
"""Domains of Sphinx, and what each has that pages link to."""
_SAFE = ("sphinx-mathjax-offline", "sphinx_jupyterbook_latex", "sphinx_multitoc_numbering")
"""Extensions that keep nothing while pages are read: they copy files, or number the whole book."""
_BACKENDS = ("docutils", "plaintext")
"""Plug-ins that write the text of a citation."""
_ICON_SCRIPT = re.compile(r'\s*<script defer src="[^"]*/fontawesome\.js[^"]*"></script>')
_SEARCH_SCRIPTS = re.compile(
    r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>'
)
_SECOND_VIEWPORT = re.compile(
    r'(<meta name="viewport"[^>]*>)(.*?)\s*<meta name="viewport"[^>]*>', re.S
)
_FOLDED = re.compile(r">([^<>]*)</a><details([^>]*)><summary>(?=<span class=\"toctree-toggle)")
_PARTS = {
    'id="gcv-explore"': (
        "explore.css", "tables.css", "vega.js", "run_sets.js", "explore_files.js", "explore.js",
    ),
    "gcv-sortable": ("tables.css", "tables.js"),
}  # fmt: skip
"""Files of the static folder that only pages with such a part load."""
_PARAMETERS = re.compile(r'<dl>\s*((?:<dd><em class="sig-param">.*</dd>\s*)+)</dl>')


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the handlers with Sphinx, and let it work with all processors."""
    if sys.platform == "linux":  # Apple's frameworks do not survive a fork
        app.parallel = 2 * (os.cpu_count() or 1)
    for name in _BACKENDS:  # or each citation would look through all installed packages
        register_plugin("pybtex.backends", name, find_plugin("pybtex.backends", name), force=True)
    app.connect("builder-inited", _declare_safe)
    app.connect("env-get-outdated", _front_page_at_least)
    app.connect("env-before-read-docs", _share_out)
    app.connect("autodoc-process-docstring", _mark_as_prose, priority=_BEFORE_NAPOLEON)
    app.connect("env-updated", _pages_with_links)
    app.connect("html-collect-pages", _add_run_pages)
    app.connect("html-page-context", _share_contents, priority=_BEFORE_THE_THEME)
    app.connect("html-page-context", _correct_page, priority=_AFTER_OTHERS)
    app.connect("build-finished", _remove_unused, priority=_AFTER_OTHERS)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _declare_safe(app: Sphinx) -> None:
    """Declare extensions safe to run in several processes that do not say whether they are."""
    for name in _SAFE:
        if name in app.extensions:
            app.extensions[name].parallel_read_safe = True


def _front_page_at_least(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> list[str]:
    """Return a page to make again if no other is: Sphinx would leave out files and runs, too."""
    return [] if added or changed else [app.config.root_doc]


def _share_out(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    """Put pages of one kind apart: consecutive ones go to one process.

    Those of the API reference take ten times as long as others, and what they import is loaded
    before the processes are forked.
    """
    step = app.parallel
    docnames[:] = [name for start in range(step) for name in docnames[start::step]]
    if step > 1 and any(name.startswith("book/api/") for name in docnames):
        load_api()


def _mark_as_prose(
    app: Sphinx, what: str, name: str, member: object, options: object, lines: list[str]
) -> None:
    # Napoleon reads the text before a colon in an attribute's first line as its type: put an
    # empty comment before that line.
    if what in ("attribute", "data", "property") and lines:
        lines[:0] = ["..", ""]


def _add_run_pages(app: Sphinx) -> Iterator[_ExtraPage]:
    """Add a page for each run, from the file that :mod:`greencv_core.report.book` wrote.

    Pages that are as they were are left out: Sphinx would render all of them each time.
    """
    path = Path(app.srcdir, "run_pages.json")
    pages = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    last, links = _last_build(app), _links(app.env)
    changed = [
        (f"runs/{run_id}", context, "page.html")
        for run_id, context in pages.items()
        if last["links"] != links
        or last["pages"].get(run_id) != context
        or not Path(app.outdir, f"runs/{run_id}.html").is_file()
    ]
    yield from changed[:1]  # Sphinx makes it, and the contents that the others share
    tasks = ParallelTasks(app.parallel) if app.parallel > 1 else SerialTasks()
    for start in range(1, app.parallel + 1):
        if share := changed[start :: app.parallel]:
            tasks.add_task(partial(_make_pages, app), share)
    tasks.join()
    built = json.dumps({"links": links, "pages": pages})
    _file_of_last_build(app).write_text(built, encoding="utf-8")


def _make_pages(app: Sphinx, pages: list[_ExtraPage]) -> None:
    builder = app.builder
    assert isinstance(builder, StandaloneHTMLBuilder)
    for page in pages:
        builder.handle_page(*page)


def _pages_with_links(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Return all pages if a title or a target of links changed: any page may show it."""
    return [] if _last_build(app)["links"] == _links(env) else sorted(env.found_docs)


def _links(env: BuildEnvironment) -> str:
    """Return a digest of the titles and of what pages link to."""
    titles = {name: title.astext() for name, title in env.titles.items()}
    targets = [
        sorted((repr(key), repr(target)) for key, target in env.domaindata[domain][kind].items())
        for domain, kind in _TARGETS
    ]
    return hashlib.sha256(repr([sorted(titles.items()), *targets]).encode()).hexdigest()


def _last_build(app: Sphinx) -> dict[str, Any]:
    path = _file_of_last_build(app)
    nothing = {"links": "", "pages": {}}
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else nothing


def _file_of_last_build(app: Sphinx) -> Path:
    """Return the file with what the last build wrote; greencv deletes it with the rest."""
    return Path(app.doctreedir, "last_build.json")


def _correct_page(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    body = context.get("body", "")
    for part, names in _PARTS.items():
        for name in names if part in body else ():
            (app.add_css_file if name.endswith(".css") else app.add_js_file)(name)
    if 'class="math' not in body:
        # Sphinx decides by a page's source, but formulas may be in the notebooks' results.
        context["script_files"] = [
            script for script in context["script_files"] if "mathjax" not in str(script.filename)
        ]
    # A list with links between its entries, a deprecated role, a term list without terms.
    body = body.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
    body = body.replace(' role="doc-biblioentry"', "")
    context["body"] = _PARAMETERS.sub(_as_lines, body)


def _share_contents(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    """Let the contents beside a page be made once for all pages of runs, which have the same."""
    if pagename.startswith("runs/"):
        made = app.__dict__.setdefault("greencv_contents", {})
        make = context["toctree"]

        def toctree(**options: Any) -> str:
            key = repr(options)
            if key not in made:
                made[key] = make(**options)
            return str(made[key])

        context["toctree"] = toctree


def _as_lines(parameters: re.Match[str]) -> str:
    lines = parameters[1].replace("<dd>", "<span>").replace("</dd>", "</span>")
    return f'<span class="sig-lines">{lines}</span>'


def _remove_unused(app: Sphinx, exception: Exception | None) -> None:
    """Delete large unused files and the script tags of a search that only one page offers."""
    if exception is not None or app.builder.format != "html":
        return
    html = Path(app.outdir)
    for pattern in _UNUSED:
        for path in (html / "_static").glob(pattern):
            path.unlink()
    for page in html.rglob("*.html"):
        written = page.read_text(encoding="utf-8")
        head, end, body = written.partition("</head>")
        head = _ICON_SCRIPT.sub("", head)
        head = _SECOND_VIEWPORT.sub(r"\1\2", head)
        if page.name != "search.html":
            head = _SEARCH_SCRIPTS.sub("", head)
        body = _FOLDED.sub(r'>\1</a><details\2><summary aria-label="More: \1">', body)
        text = head + end + body
        if text != written:
            page.write_text(text, encoding="utf-8")
