"""A DOI and addresses in CITATION.cff are shown where people cite and clone."""

import importlib.util
from types import SimpleNamespace

import pytest
import yaml

from tests.conftest import ROOT

SPEC = importlib.util.spec_from_file_location(
    "page_metadata", ROOT / "book" / "_extensions" / "page_metadata.py"
)
page_metadata = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(page_metadata)

KNOWN = {
    "doi": "10.5281/zenodo.1",
    "url": "https://example.org/greencv",
    "repository-code": "https://example.org/greencv.git",
}
EXHIBIT = {
    "kind": "figure",
    "number": "S.1",
    "caption": "F1 & energy; faint: runs",
    "page": "book/notebooks/index.html#figure-s-1",
    "files": {"figure-s-1.png": "aa", "figure-s-1.svg": "bb"},
}


@pytest.fixture(params=[{}, KNOWN], ids=["unset", "set"])
def work(request):
    return yaml.safe_load((ROOT / "CITATION.cff").read_text()) | request.param


def sphinx(folder, work):
    (folder / "CITATION.cff").write_text(yaml.safe_dump(work))
    config = SimpleNamespace(root_doc="book/notebooks/index", copyright="2026")
    return SimpleNamespace(srcdir=folder, config=config)


def test_the_pages_show_what_is_set(work, tmp_path):
    app = sphinx(tmp_path, work)
    for page, known in {"cite": ("doi", "url"), "install": ("repository-code",)}.items():
        source = [(ROOT / "book" / f"{page}.md").read_text()]
        page_metadata._add_to_source(app, f"book/{page}", source)
        for key in known:
            assert (KNOWN[key] in source[0]) == (key in work)


def test_an_exhibit_is_cited_with_its_number_version_commit_and_hash(work):
    shown = page_metadata._cite({**EXHIBIT, "commit": "0123abc"}, work, "2026")
    place = f"Figure S.1 in {work['title']}, version {work['version']}"
    assert shown.count(place) == 2
    assert "commit 0123abc; figure-s-1.svg has SHA-256 bb" in shown
    assert "F1 &amp; energy. " in shown
    assert "faint" not in shown
    address = "https://example.org/greencv/book/notebooks/index.html#figure-s-1"
    assert (address in shown) == (KNOWN["doi"] in shown) == ("doi" in work)


def test_addresses_of_tags_are_absolute_if_the_public_address_is_known(work, tmp_path):
    context = {"title": "A <em>page</em>", "pathto": lambda name, resource: f"../{name}"}
    tags = page_metadata._tags(sphinx(tmp_path, work), "book/page", context, work, None)
    picture = next(tag for tag in tags if tag.startswith('property="og:image"'))
    assert ("https://example.org/greencv/_static/" in picture) == ("url" in work)
    assert 'name="citation_title" content="A page"' in tags
    assert any("citation_doi" in tag for tag in tags) == ("doi" in work)
