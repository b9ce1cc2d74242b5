"""Nothing from a study file or a record is HTML, Markdown, a link or a formula in the report."""

import re

import nbformat
import pandas as pd
import pytest
from markdown_it import MarkdownIt
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser
from nbconvert import HTMLExporter

from greencv_core import runs_table
from greencv_core.analysis import Unavailable, describe
from greencv_core.records.record import WallRecord
from greencv_core.report import figures
from greencv_core.report.exhibits import markdown, tables
from greencv_core.report.exhibits.theme import apply_theme
from greencv_core.report.pages import provenance, research_questions, wall
from greencv_core.report.pages.estimation import published_note
from greencv_core.report.pages.reanalysis import data_note
from tests.report.reader import Reader

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</td></table><iframe src=//evil>",
    "<!-- ", "-->", "<![CDATA[", "&lt;script&gt;alert(1)&lt;/script&gt;", "&#60;b&#62;",
    "```{raw} html\n<script>alert(1)</script>\n```",
    "\n\n```{raw} html\n<script>alert(1)</script>\n```\n\n",
    "\n\n:::{raw} html\n<script>alert(1)</script>\n:::\n",
    "\n\n~~~{raw} html\n<b>bold</b>\n~~~\n",
    "{raw:html}`<b>bold</b>`", "{{ name }}", "{eval-rst}", "[x](javascript:alert(1))",
    "![x](javascript:alert(1))", "[x]: javascript:alert(1)\n\n[x]", "<javascript:alert(1)>",
    "<https://evil.example>", "[^1]\n\n[^1]: note", "# heading", "x\n===", "x\n---", "- list",
    "1. list", "2) list", "+ list", "> quote", "    code", "\n\n    code", "\tcode", "---", "+++",
    "% comment", "(target)=", ": definition", "=", "**bold**", "_under_", "~~gone~~", "`code`",
    "$x$", "$$x$$", r"\(\href{javascript:alert(1)}{x}\)", r"\[x\]", r"\begin{align}x\end{align}",
    "|a|b|\n|-|-|\n|c|d|", "line\\\nbreak", "line  \nbreak", "a\0b\x1b[31mc\x85d\u2028e", "\\",
]  # fmt: skip


def plain(text):
    return " ".join(re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", " ", text).split())


RENDERERS = {
    "jupyter": MarkdownIt("gfm-like", {"html": True, "linkify": False}),
    "book": create_md_parser(
        MdParserConfig(
            enable_extensions={
                "colon_fence", "dollarmath", "substitution", "tasklist", "amsmath", "deflist",
                "html_image", "fieldlist", "attrs_inline", "attrs_block", "strikethrough",
            }
        ),
        # The tokens are what matters: a role or a directive is one of its own.
        lambda _: __import__("markdown_it").renderer.RendererHTML(),
    ),
}  # fmt: skip
PLAIN_TOKENS = {"paragraph_open", "paragraph_close", "inline", "text", "text_special"}
LIST_TOKENS = {"bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close"}


def kinds(tokens):
    return {token.type for token in tokens} | {
        child.type for token in tokens for child in token.children or ()
    }


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("text", HOSTILE)
def test_sentences_items_and_code_are_plain_words(renderer, text):
    parser = RENDERERS[renderer]
    for given in (text, f"Trained on {text} and more."):
        tokens = parser.parse(markdown.paragraph(given).data)
        if plain(given):
            assert kinds(tokens) <= PLAIN_TOKENS
            words = "".join(c.content for t in tokens for c in t.children or ())
            assert plain(words) == plain(given)
    items = parser.parse(markdown.bullet_list([text, f"{text}: and more", "the last"]).data)
    assert kinds(items) <= PLAIN_TOKENS | LIST_TOKENS
    tokens = parser.parse(markdown.code_block(f"description: {text}\nlast").data)
    assert [token.type for token in tokens] == ["code_block"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_box_holds_words(text):
    for shown in (
        markdown.admonition("note", text, "words", [text, "two"]),
        data_note(Unavailable(text)),
        published_note(Unavailable(text)),
    ):
        tokens = RENDERERS["book"].parse(shown.data)
        assert [token.type for token in tokens] == ["html_block"], shown.data
        shown = Reader(tokens[0].content)
        assert shown.tags <= {"div", "p", "ul", "li", "code"}
        assert shown.attributes <= {"class"}
        assert "tex2jax_ignore mathjax_ignore" in shown.elements[0][1]["class"]
        assert plain(text) in plain("".join(shown.words))


TABLE_TAGS = {
    "figure", "figcaption", "p", "div", "table", "thead", "tbody", "tr", "th", "td", "details",
    "summary", "code",
}  # fmt: skip
DRAWN_TAGS = {
    "figure", "figcaption", "p", "div", "style", "svg", "g", "path", "use", "defs", "text", "tspan",
    "clippath", "rect",
}  # fmt: skip
DRAWN_ATTRIBUTES = {
    "class", "xmlns", "xmlns:xlink", "viewbox", "role", "aria-label", "d", "style", "id",
    "xlink:href", "x", "y", "clip-path", "transform", "width", "height",
}  # fmt: skip


def check_table(exhibit):
    """Return the words of a table that holds nothing else."""
    shown = Reader(exhibit.to_html())
    assert shown.tags <= TABLE_TAGS
    assert shown.attributes <= {"class", "scope", "tabindex", "role", "aria-label", "data-rows"}
    for tag, attributes in shown.elements:
        if tag == "table":
            assert "mathjax_ignore" in attributes["class"]
    return " ".join("".join(shown.words).split())


@pytest.mark.parametrize("text", HOSTILE)
def test_a_table_holds_words(text):
    frame = pd.DataFrame({"run_id": ["a"], text: [1.5], "problems": [text], "machine": [text]})
    words = check_table(tables.show_table(frame, text, text))
    assert " ".join(text.split()) in words or "\0" in text or text.startswith("<![")
    check_table(tables.show_if_any(frame, text))
    assert tables.show_if_any(frame.iloc[:0], text) is None


def test_a_long_table_holds_words():
    text = HOSTILE[1]
    shown = research_questions._opening(pd.DataFrame({"a": [text] * 60}), text, "row")
    check_table(shown)
    assert 'data-rows="60 rows"' in shown.to_html()


def hostile(record, text):
    """Return a run whose every word that is free is hostile."""
    environment = record.environment | {"name": f"{text} {record.environment['name']}"}
    machine = dict.fromkeys(record.machine, text) | {
        "accelerators": [{"name": text}, text, 3], "fingerprint": text, "memory_bytes": text,
    }  # fmt: skip
    total = record.total.model_copy(
        update={
            "components": {
                name: part.model_copy(update={"source": text})
                for name, part in record.total.components.items()
            }
        }
    )
    return record.model_copy(
        update={
            "architecture": f"{text} {record.architecture}", "environment": environment,
            "machine": machine, "versions": {text: text}, "git_commit": text, "device_name": text,
            "problems": [text], "reason": text, "host": text, "started_at": text, "study": text,
            "gpu_slowed_share": {text: 1.0}, "gpu": {"power_limit_w": 1.0}, "total": total,
            "wall": WallRecord(
                energy=total.components["cpu"], explained_share=0.5, problem=text
            ),
        }
    )  # fmt: skip


@pytest.fixture(scope="module", params=[0, 1, 10, 17, 47], ids=lambda n: plain(HOSTILE[n])[:16])
def theirs(request, smoke_records):
    text = HOSTILE[request.param]
    return text, [hostile(record, text) for record in smoke_records]


def test_pages_of_hostile_records_hold_words(theirs):
    text, records = theirs
    runs = runs_table(records)
    for make in (
        provenance.machines_table, provenance.environments_table, provenance.meters_table,
        provenance.versions_table, provenance.idle_table, provenance.gpu_states_table,
        provenance.comparisons_table, wall.wall_table,
    ):  # fmt: skip
        check_table(tables.show_table(make(records), text))
    for frame in (provenance.runs_listing(runs), provenance.problem_runs(runs)):
        check_table(tables.show_table(frame, text))
    check_table(tables.conditions_table(runs))
    check_table(tables.show_table(provenance.uncertainty_table(records[0]), text))
    for said in (
        describe.environments_sentence(runs), describe.correctness_sentence(runs),
        provenance.dates_sentence(records), describe.study_cost_sentence(runs),
        wall.wall_sentence(records),
    ):  # fmt: skip
        tokens = RENDERERS["book"].parse(markdown.paragraph(said).data)
        assert kinds(tokens) <= PLAIN_TOKENS
    note = RENDERERS["book"].parse(markdown.provenance_note(runs).data)
    assert [token.type for token in note] == ["html_block"]


def test_figures_of_hostile_records_are_drawn(theirs):
    _, records = theirs
    runs = runs_table(records)
    apply_theme()
    for shown in (
        figures.by_architecture(runs, "energy_j_per_image"),
        figures.by_environment(runs, "energy_j_per_image"),
        figures.energy_against_complexity(runs),
        figures.interaction(runs),
    ):
        drawing = Reader(shown.to_html())
        assert drawing.tags <= DRAWN_TAGS
        assert drawing.attributes <= DRAWN_ATTRIBUTES
        for _, attributes in drawing.elements:
            for name in ("xlink:href", "href"):
                assert attributes.get(name, "#").startswith("#")
            assert "url(" not in attributes.get("style", "").replace("url(#", "")


def test_a_rendered_notebook_runs_nothing(theirs):
    """The outputs, as a notebook keeps them, in the HTML that Jupyter makes of it."""
    text, records = theirs
    runs = runs_table(records)
    outputs = [
        {"text/markdown": markdown.paragraph(f"Trained on {text}.", text).data},
        {"text/markdown": markdown.bullet_list([text, text]).data},
        {"text/markdown": markdown.code_block(text).data},
        {"text/markdown": markdown.provenance_note(runs).data},
        {"text/markdown": markdown.admonition("note", text, "words", [text]).data},
        {"text/html": tables.show_table(provenance.machines_table(records), text).to_html()},
        {"text/html": tables.show_table(provenance.problem_runs(runs), text).to_html()},
    ]
    outputs = [nbformat.v4.new_output("display_data", data) for data in outputs]
    cell = nbformat.v4.new_code_cell("", outputs=outputs)
    exporter = HTMLExporter(template_name="basic")
    body, _ = exporter.from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    shown = Reader(body)
    assert not shown.tags & {"script", "img", "iframe", "h1", "b", "comment", "svg", "object"}
    links = {attributes.get("href") for tag, attributes in shown.elements if tag == "a"}
    assert links <= {"index.ipynb#can-i-believe-it", "explore.ipynb#runs"}
    assert not any(name.startswith("on") for name in shown.attributes)
    # Labels for screen readers are plain text and may hold anything.
    followed = [v for _, has in shown.elements for name, v in has.items() if name != "aria-label"]
    assert "javascript:" not in str(followed)
