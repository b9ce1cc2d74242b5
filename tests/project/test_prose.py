"""The pages of prose hold together: contents, citations, references to code."""

import importlib
import inspect
import re

import pytest
import yaml

import greencv_core
from greencv_core import analysis, metering, published
from greencv_core.report.book.contents import listed_pages
from tests.conftest import ROOT
from tests.support import prose

BOOK = ROOT / "book"
PAGES = sorted(BOOK.glob("*.md")) + sorted(BOOK.glob("[!_n]*/*.md"))
API = "\n".join(page.read_text() for page in sorted((BOOK / "api").glob("*.md")))
BIBLIOGRAPHY = (BOOK / "references.bib").read_text()
DIRECTIVE = re.compile(r"^\.\. auto(\w+):: ([\w.]+)(.*(?:\n   .+)*)", re.MULTILINE)


def braced(text, start):
    """Return the text from a place within braces to the brace that closes them."""
    depth, end = 1, start
    while depth:
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        end += 1
    return text[start : end - 1]


def entry(text, key):
    """Return a BibTeX entry's fields, whatever its layout."""
    start = re.search(r"@\w+\{" + key + ",", text)
    assert start, key
    body = braced(text, start.end())
    fields = re.finditer(r"(?:^|,)\s*(\w+)\s*=\s*\{", body)
    return {name[1]: braced(body, name.end()) for name in fields}


def test_every_page_is_in_the_contents_once():
    named = [page.file for page in listed_pages(ROOT)]
    assert len(set(named)) == len(named)
    prose = {name for name in named if not name.startswith("book/notebooks/")}
    assert prose == {str(page.relative_to(ROOT).with_suffix("")) for page in PAGES}


def test_every_citation_is_in_the_bibliography_and_every_entry_is_whole():
    notebooks = [path.read_text() for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    text = "\n".join([*(page.read_text() for page in PAGES), *notebooks])
    cited = {
        key.strip() for keys in re.findall(r"\{cite\}`([^`]+)`", text) for key in keys.split(",")
    }
    keys = re.findall(r"^@\w+\{(\w+),", BIBLIOGRAPHY, re.MULTILINE)
    assert len(set(keys)) == len(keys)
    assert cited == set(keys)
    for key in keys:
        fields = entry(BIBLIOGRAPHY, key)
        assert {"author", "title", "year"} <= set(fields), key
        assert {"journal", "booktitle", "publisher", "howpublished", "institution", "note"} & set(
            fields
        ), key


def test_how_to_cite_is_what_the_citation_file_says():
    told = (BOOK / "cite.md").read_text()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    fields = entry(told, "greencv")
    assert fields["title"] == citation["title"]
    assert fields["version"] == citation["version"] == greencv_core.__version__
    assert fields["license"] == citation["license"]
    assert fields["author"].strip("{}") == citation["authors"][0]["name"]
    assert fields["year"] == yaml.safe_load((ROOT / "_config.yml").read_text())["copyright"]
    for key, reference in zip(("delrey2023", "delrey2027"), citation["references"], strict=True):
        shown, known = entry(told, key), entry(BIBLIOGRAPHY, key)
        assert shown == {name: known[name] for name in shown}
        assert shown["title"].replace("{DL}", "DL") == reference["title"]
        assert shown["year"] == str(reference["year"])
        assert shown.get("doi") == reference.get("doi")
        families = [person["family-names"] for person in reference["authors"]]
        plain = shown["author"].replace("{\\'i}", "í").replace("{\\'a}", "á")
        assert [name.split(",")[0] for name in plain.split(" and ")] == families


def test_changes_of_results_begin_with_this_version():
    versions = re.findall(r"^## ([\d.]+)", (BOOK / "results_changes.md").read_text(), re.MULTILINE)
    assert versions[0] == greencv_core.__version__


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_file_that_a_page_names_is_there(page):
    for name in re.findall(r"`((?:[a-z_]+/)+\w+\.(?:py|yaml))`", page.read_text()):
        homes = (ROOT, ROOT / "greencv_core")
        assert any((home / name).is_file() for home in homes), name


def test_every_quantitys_home_is_there():
    table = (BOOK / "method.md").read_text().partition("(all-quantities)=")[2]
    cells = [line.rsplit("|", 2)[1] for line in table.splitlines() if "`" in line and "|" in line]
    assert len(cells) > 20
    for cell in cells:
        first, *others = re.findall(r"`([\w/]+\.py)`", cell)
        folder = (ROOT / "greencv_core" / first).parent
        assert (ROOT / "greencv_core" / first).is_file(), first
        for other in others:
            assert (folder / other).is_file() or (ROOT / "greencv_core" / other).is_file(), other


def test_the_reference_names_what_exists():
    directives = DIRECTIVE.findall(API)
    assert len(directives) > 100
    for kind, name, options in directives:
        if kind == "module":
            module = importlib.import_module(name)
            listed = re.search(r":members: (.+)", options)
            for member in listed[1].split(", ") if listed else ():
                assert getattr(module, member) is not None, member
            continue
        home, _, last = name.rpartition(".")
        found = getattr(importlib.import_module(home), last)
        assert (kind in ("class", "exception")) == inspect.isclass(found), name


@pytest.mark.parametrize("room", [analysis, metering], ids=lambda room: room.__name__)
def test_the_reference_has_every_public_name_of_a_room(room):
    told = {name for _, name, _ in DIRECTIVE.findall(API)}
    assert {f"{room.__name__}.{name}" for name in room.__all__} <= told


def test_the_reference_has_every_name_of_the_front_door():
    told = {name.rpartition(".")[2] for _, name, _ in DIRECTIVE.findall(API)}
    assert {name for name in greencv_core.__all__ if name != "__version__"} <= told


def test_what_the_reference_names_has_a_docstring():
    for kind, name, _ in DIRECTIVE.findall(API):
        if kind in ("function", "class", "exception"):
            home, _, last = name.rpartition(".")
            assert inspect.getdoc(getattr(importlib.import_module(home), last)), name


def test_published_data_sets_have_their_part_of_the_reference():
    assert all(f"automodule:: greencv_core.published.{name}" in API for name in published.DATA_SETS)


def found(page):
    return [(f.line, f.kind) for text in prose.markdown("page", page) for f in prose.faults(text)]


def test_words_to_avoid_and_long_sentences_are_found_with_their_lines():
    short = "One sentence has few words. " * 9
    long = "word " * (prose.MOST_WORDS + 1)
    assert found(f"# Title\n\n{short}\n\nIt is told.\n\n- {long}\n- 33 %\n") == [
        (5, "word"), (7, "sentence"), (8, "word"),
    ]  # fmt: skip
    assert found(f"```{{glossary}}\nrun\n  {long}\n```\n") == [(3, "sentence")]
    assert found(f"```bash\n{long}\n```\n\n    {long}\n\n$$\n{long}\n$$\n") == []
    assert found(f"It is `told` and [so](told.md), with {long[5:-50]}(95% CI 1 to 2).\n") == []


def test_strings_docstrings_and_comments_are_checked():
    source = (
        '"""A note.\n\nIt is told.\n"""\nx = f"the meter {y} tells nothing"  # anew\nz = "tells"\n'
    )
    lines = [f.line for text in prose.python("module", source) for f in prose.faults(text)]
    assert sorted(lines) == [3, 5, 5]
