"""What the report's pages change of what Sphinx and its theme make of them; a Sphinx extension.

Less weight: a page loads MathJax where it has formulas, the icons come from a font with those that
are used, and what no page loads is not in the folder. And right roles for the list of references.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from sphinx.application import Sphinx

_AFTER_OTHERS = 900
"""Priority of what works on other extensions' work; theirs is 500."""

_UNUSED = (
    "scripts/*.map",
    "styles/*.map",
    "scripts/fontawesome.js",
    "vendor/fontawesome/webfonts/fa-brands-400.*",
    "vendor/fontawesome/webfonts/fa-regular-400.*",
    "*webpack-macros.html",
    "locales/**/*.po",
    # MathJax as one file is enough; beside it stays what that file asks for on demand.
    "mathjax/*-svg*.js",
    "mathjax/*-full*.js",
    "mathjax/*mml-*.js",
    "mathjax/node-main.js",
    "mathjax/core.js",
    "mathjax/loader.js",
    "mathjax/startup.js",
    "mathjax/input/*.js",
    "mathjax/input/mml/**/*",
    "mathjax/output/*.js",
    "mathjax/output/svg/**/*",
    "mathjax/output/chtml/fonts/tex.js",
    "mathjax/sre/mathmaps/[!be]*.json",
    "mathjax/sre/mathmaps/es.json",
)
"""Files in ``_static`` that no page loads."""

_ICON_SCRIPT = re.compile(r'\s*<script defer src="[^"]*/fontawesome\.js[^"]*"></script>')
_SEARCH_SCRIPTS = re.compile(
    r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>'
)
"""Of the page that searches; the theme has them on all, for results while one types."""
_ICON_NAME = re.compile(r"\bfa-[a-z0-9-]+")
_ICON_RULE = re.compile(r'((?:\.fa-[a-z0-9-]+:{1,2}before,?)+)\{content:"\\([0-9a-f]+)"\}')
_CODE_POINT = re.compile(r'"\\([ef][0-9a-f]{3})"|([\ue000-\uf8ff])')
_PARAMETERS = re.compile(r'<dl>\s*((?:<dd><em class="sig-param">.*</dd>\s*)+)</dl>')


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx (named under ``extensions`` in ``_config.yml``).

    Parameters
    ----------
    app
        The application that builds the report.

    Returns
    -------
    dict
        What Sphinx wants to know of an extension.
    """
    app.connect("html-page-context", _correct_page, priority=_AFTER_OTHERS)
    app.connect("build-finished", _lighten_build, priority=_AFTER_OTHERS)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _correct_page(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    body = context.get("body", "")
    if 'class="math' not in body:
        # Sphinx looks at what a page's source holds, where notebooks' results may hold formulas.
        context["script_files"] = [
            script for script in context["script_files"] if "mathjax" not in str(script.filename)
        ]
    # A list with links between its entries, a role that ARIA gave up, a list of terms without any.
    body = body.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
    body = body.replace(' role="doc-biblioentry"', "")
    context["body"] = _PARAMETERS.sub(_as_lines, body)


def _as_lines(parameters: re.Match[str]) -> str:
    lines = parameters[1].replace("<dd>", "<span>").replace("</dd>", "</span>")
    return f'<span class="sig-lines">{lines}</span>'


def _lighten_build(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        lighten(Path(app.outdir))


def lighten(html: Path) -> None:
    """Take out of a built report what no page needs.

    Parameters
    ----------
    html
        The folder of the built report; changed in place.
    """
    static = html / "_static"
    for pattern in _UNUSED:
        for path in static.glob(pattern):
            if path.is_file():
                path.unlink()
    used: set[str] = set()
    for page in html.rglob("*.html"):
        text = _ICON_SCRIPT.sub("", page.read_text(encoding="utf-8"))
        if page.name != "search.html":
            text = _SEARCH_SCRIPTS.sub("", text)
        page.write_text(text, encoding="utf-8")
        used.update(_ICON_NAME.findall(text))
    for script in static.rglob("*.js"):
        if "mathjax" not in script.parts:
            used.update(_ICON_NAME.findall(script.read_text(encoding="utf-8")))
    _keep_icons(static, used)


def _keep_icons(static: Path, used: set[str]) -> None:
    """Leave only the used icons in the theme's style sheet and in its icon font."""
    sheet = static / "styles" / "pydata-sphinx-theme.css"

    def kept(rule: re.Match[str]) -> str:
        return rule[0] if used & set(_ICON_NAME.findall(rule[1])) else ""

    css = _ICON_RULE.sub(kept, sheet.read_text(encoding="utf-8"))
    css = css.replace('url(../vendor/fontawesome/webfonts/fa-solid-900.woff2) format("woff2"),', "")
    sheet.write_text(css, encoding="utf-8")
    sheets = [path.read_text(encoding="utf-8") for path in static.rglob("*.css")]
    fonts = static / "vendor" / "fontawesome" / "webfonts"
    (fonts / "fa-solid-900.woff2").unlink(missing_ok=True)
    named = _CODE_POINT.findall("".join(sheets))
    _subset(
        fonts / "fa-solid-900.ttf", (int(code, 16) if code else ord(sign) for code, sign in named)
    )


def _subset(font_file: Path, code_points: Iterable[int]) -> None:
    font = TTFont(io.BytesIO(font_file.read_bytes()))
    subsetter = Subsetter(Options(notdef_outline=True))
    subsetter.populate(unicodes=code_points)
    subsetter.subset(font)
    font.save(font_file)
