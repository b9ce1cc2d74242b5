"""The pages of the book in the order of its table of contents, ``_toc.yml``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

SETTINGS = ("_config.yml", "_toc.yml", "CITATION.cff")
"""Files of the project's folder that Sphinx reads."""
EXECUTED = "notebooks"
"""Folder of the book with the executed notebooks, and among the sources with their pages."""
BESIDE = "beside"
"""Folder among the sources that the settings have copied into the HTML unchanged."""


class Listed(NamedTuple):
    """A page in the table of contents."""

    file: str
    """Path in the project, without suffix."""
    part: str
    """Caption of its part; empty for the front page."""


def listed_pages(root: Path) -> list[Listed]:
    """Return all pages, with those that are folded below another one."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    pages = [Listed(toc["root"], "")]
    for part in toc["parts"]:
        for chapter in part["chapters"]:
            pages += (Listed(file, part["caption"]) for file in _files(chapter))
    return pages


def _files(entry: Mapping[str, Any]) -> Iterator[str]:
    yield entry["file"]
    for section in entry.get("sections", ()):
        yield from _files(section)
