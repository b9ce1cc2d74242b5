"""What Sphinx needs to be told of our docstrings, to make the reference of them.

A Sphinx extension: ``_config.yml`` names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_OF_VALUES = ("attribute", "data", "property")
_BEFORE_NAPOLEON = 100


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what this module does; Sphinx calls it."""
    app.add_css_file("api.css")
    app.connect("autodoc-process-docstring", _as_prose, priority=_BEFORE_NAPOLEON)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _as_prose(
    app: Sphinx, what: str, name: str, member: object, options: object, lines: list[str]
) -> None:
    # Napoleon takes what is before a colon in an attribute's first line for its type: an empty
    # comment is such a line without one.
    if what in _OF_VALUES and lines:
        lines[:0] = ["..", ""]
