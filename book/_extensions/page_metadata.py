"""A Sphinx extension: what others cite, share and find a page by.

It adds the tags that reference managers and social networks read, "Cite" below each figure and
table, and entries of the index, which the search shows first. Names, version, DOI and public
address are those of ``CITATION.cff``.
"""

from __future__ import annotations

import functools
import html
import json
import re
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

_BEFORE_CORRECTIONS = 800
"""Priority of the handler of pages: before report_pages, which looks at the whole body."""
_LONGEST_DESCRIPTION = 200
PREVIEW = "_static/preview.png"
"""Picture that social networks show."""
INDEX = {
    "book/notebooks/decision": (
        "how much energy can I save", "which architecture should I train with", "save energy",
    ),
    "book/notebooks/rq1_architecture": ("architecture", "GFLOPs and energy"),
    "book/notebooks/rq2_environment": ("threads", "mixed precision"),
    "book/notebooks/rq3_estimation": ("predict energy", "forecast"),
    "book/notebooks/claims": ("del Rey", "claims"),
    "book/notebooks/metering": ("uncertainty of energy", "idle power"),
    "book/notebooks/provenance": ("versions", "seeds"),
}  # fmt: skip
"""Words by which a page made of a notebook is found; other pages name theirs in the text."""
_EXHIBIT = re.compile(
    r'(<figure class="gcv-exhibit[^>]* id="([\w-]+)">.*?<div class="gcv-more"><span>.*?</span>)',
    re.DOTALL,
)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the handlers with Sphinx."""
    app.connect("config-inited", _set_scorer)
    app.connect("source-read", _add_to_source)
    app.connect("html-page-context", _complete_page, priority=_BEFORE_CORRECTIONS)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _set_scorer(app: Sphinx, config: Config) -> None:
    config.html_search_scorer = str(Path(__file__).with_name("search_scorer.js"))


def _read(app: Sphinx, name: str) -> Any:
    """Return the content of a file in the source folder; empty if there is none."""
    path = Path(app.srcdir, name)
    return _parsed(path, path.stat().st_mtime_ns) if path.is_file() else {}


@functools.cache
def _parsed(path: Path, mtime_ns: int) -> Any:
    # Each page asks for each file, and YAML takes seconds for a long one.
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)


def _add_to_source(app: Sphinx, docname: str, source: list[str]) -> None:
    work = _read(app, "CITATION.cff")
    if docname in INDEX:
        notebook = json.loads(source[0])
        first = next(cell for cell in notebook["cells"] if cell["cell_type"] == "markdown")
        entries = ", ".join(f"! {entry}" for entry in INDEX[docname])
        first["source"] = f"{''.join(first['source'])}\n\n```{{index}} {entries}\n```\n"
        source[0] = json.dumps(notebook)
    elif docname == "book/cite":
        licence = f"  license = {{{work.get('license')}}}"
        known = [f"  {key:7} = {{{work[key]}}}" for key in ("doi", "url") if key in work]
        source[0] = source[0].replace(licence, ",\n".join([licence, *known]))
    elif "repository-code" in work:
        source[0] = source[0].replace("ADDRESS-OF-THE-REPOSITORY", work["repository-code"])


def _complete_page(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    work = _read(app, "CITATION.cff")
    if not work:
        return
    tags = _tags(app, pagename, context, work, doctree)
    # The theme has a viewport tag.
    written = re.sub(r'<meta name="viewport"[^>]*>\s*', "", context.get("metatags", ""))
    context["metatags"] = written + "".join(f"\n    <meta {tag} />" for tag in tags)
    exhibits = {
        exhibit["page"].partition("#")[2]: exhibit
        for exhibit in _read(app, "beside/exhibits/index.json").get("exhibits", ())
        if exhibit["page"].startswith(f"{pagename}.html#")
    }
    if exhibits:
        context["body"] = _EXHIBIT.sub(
            lambda found: (
                found[1] + _cite(exhibits[found[2]], work, app.config.copyright)
                if found[2] in exhibits
                else found[0]
            ),
            context["body"],
        )


def _tags(
    app: Sphinx, pagename: str, context: dict[str, Any], work: dict[str, Any], doctree: object
) -> list[str]:
    """Return the attributes of the page's meta tags."""
    title = html.unescape(re.sub("<[^>]*>", "", context.get("title", "")))
    front = pagename in ("index", app.config.root_doc)
    description = work["abstract"] if front else _first_paragraph(doctree) or work["abstract"]
    named = {"description": description, "citation_title": work["title"] if front else title}
    if not front:
        named["citation_inbook_title"] = work["title"]
    named |= {
        "citation_publication_date": str(work.get("date-released", app.config.copyright)),
        "citation_language": "en",
    }
    shared = {
        "og:type": "article",
        "og:site_name": work["title"].partition(":")[0],
        "og:title": named["citation_title"],
    }
    shared["og:description"] = description
    picture = context["pathto"](PREVIEW, resource=True)
    if "doi" in work:
        named["citation_doi"] = work["doi"]
    if "url" in work:
        address = f"{work['url'].rstrip('/')}/"
        picture = address + PREVIEW
        named["citation_public_url"] = shared["og:url"] = f"{address}{pagename}.html"
    shared |= {"og:image": picture, "og:image:alt": "Energy and F1 of each configuration"}
    return [
        *(f'name="{key}" content="{html.escape(text)}"' for key, text in named.items()),
        *(f'name="citation_author" content="{html.escape(_name(a))}"' for a in work["authors"]),
        *(f'property="{key}" content="{html.escape(text)}"' for key, text in shared.items()),
        'name="twitter:card" content="summary_large_image"',
    ]


def _name(author: dict[str, str]) -> str:
    return author.get("name") or f"{author['family-names']}, {author['given-names']}"


def _first_paragraph(doctree: object) -> str:
    """Return the first paragraph of a page, shortened; empty if it has none."""
    if not isinstance(doctree, nodes.document):
        return ""
    for paragraph in doctree.findall(nodes.paragraph):
        text = " ".join(paragraph.astext().split())
        if len(text) >= 40:
            short = text[:_LONGEST_DESCRIPTION]
            return text if short == text else f"{short.rsplit(' ', 1)[0]}..."
    return ""


def _cite(exhibit: dict[str, Any], work: dict[str, Any], year: str) -> str:
    """Return how to cite an exhibit, folded: a sentence and BibTeX."""
    name = f"{exhibit['kind'].capitalize()} {exhibit['number']}"
    file, digest = next(iter(sorted(exhibit["files"].items(), reverse=True)), ("", ""))
    title, anchor = exhibit["caption"].partition(";")[0], exhibit["page"].partition("#")[2]
    place = f"{name} in {work['title']}, version {work['version']}"
    note = f"commit {exhibit['commit']}" + (f"; {file} has SHA-256 {digest}" if file else "")
    fields = {"title": f"{{{title}}}", "howpublished": place, "year": year, "note": note}
    if "doi" in work:
        fields["doi"] = work["doi"]
    if "url" in work:
        fields["url"] = f"{work['url'].rstrip('/')}/{exhibit['page']}"
    authors = " and ".join(_name(author) for author in work["authors"])
    known = "".join(f" {fields[key]}" for key in ("doi", "url") if key in fields)
    sentence = f"{authors} ({year}). {title}. {place}, {note}.{known}"
    entries = ["author = {{" + authors + "}}", *(f"{k} = {{{v}}}" for k, v in fields.items())]
    bibtex = "@misc{greencv-" + anchor + ",\n  " + ",\n  ".join(entries) + "\n}"
    return (
        f'<details class="gcv-cite"><summary>Cite<span class="gcv-unseen"> {name}</span></summary>'
        f"<p>{html.escape(sentence)}</p>"
        f'<div class="highlight"><pre tabindex="0">{html.escape(bibtex)}</pre></div></details>'
    )
