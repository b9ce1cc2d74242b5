"""Figures and tables as a page shows them: caption, data to take along, and the runs behind them.

A notebook shows an exhibit as it is. The book numbers it, keeps its files beside the page, and
links the code and the runs (:mod:`greencv_core.report.book.number_exhibits`).
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import textwrap
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, cast

import pandas as pd
from matplotlib.figure import Figure

from greencv_core.analysis.result import Unavailable
from greencv_core.report.exhibits.markdown import NO_FORMULAS, run_ids
from greencv_core.report.exhibits.svg import dark_mode_css, inline_svg, to_png, to_svg
from greencv_core.report.exhibits.theme import narrow_layout
from greencv_core.utils.text import count

MIME = "application/vnd.greencv.exhibit+json"
"""Of what the book needs to know of an exhibit; Jupyter shows the HTML beside it."""

_LONGEST_LABEL = 28
"""Characters of a line beside the axes of a narrow figure."""

Kind = Literal["figure", "table"]
Shown = TypeVar("Shown")
Value = TypeVar("Value")
Rest = ParamSpec("Rest")


@dataclass(frozen=True, repr=False)
class Exhibit:
    """A figure or a table of a page."""

    kind: Kind
    caption: str
    """Plain text: what it shows, in which unit, of what provenance."""
    body: str
    """HTML, inert: whatever came from records and studies has been escaped."""
    files: Mapping[str, bytes]
    """What can be taken along, by the ending of its name: ``csv``; ``svg`` and ``png``."""
    run_ids: tuple[str, ...] = ()
    """The runs behind it; empty where they are the page's."""
    notes: tuple[str, ...] = ()
    """Of the caption: its n, say."""

    def __repr__(self) -> str:
        return f"{self.kind.capitalize()}: {self.full_caption}."

    def with_runs(self, runs: pd.DataFrame) -> Exhibit:
        """Return the exhibit with the runs behind it."""
        return replace(self, run_ids=run_ids(runs), notes=(n_runs(runs),))

    @property
    def full_caption(self) -> str:
        """The caption with its notes, as plain text."""
        return caption_with_notes(self.caption, self.notes)

    def to_html(self) -> str:
        """Return what a notebook shows."""
        return render_exhibit(self.kind, self.body, caption=f"{html.escape(self.full_caption)}.")

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        about = {
            "kind": self.kind,
            "caption": self.caption,
            "notes": list(self.notes),
            "body": self.body,
            "files": {
                suffix: base64.b64encode(content).decode("ascii")
                for suffix, content in self.files.items()
            },
            "run_ids": list(self.run_ids),
        }
        return {"text/html": self.to_html(), MIME: about}


def figure_exhibit(
    draw: Callable[[], Figure], caption: str, runs: pd.DataFrame | None = None
) -> Exhibit:
    """Return a figure as an exhibit, drawn once for wide screens and print and once for narrow.

    Parameters
    ----------
    draw
        Draws it with :func:`greencv_core.report.exhibits.theme.subplots`.
    caption
        Plain text, without its n and its full stop.
    runs
        Those it is drawn from: their number goes into the caption.
    """
    wide = draw()
    with narrow_layout():
        slim = draw()
    for axes in slim.axes:
        axes.set_xlabel(textwrap.fill(axes.get_xlabel(), _LONGEST_LABEL))
        axes.set_ylabel(textwrap.fill(axes.get_ylabel(), _LONGEST_LABEL))
    svg = to_svg(wide)
    name = hashlib.sha256((caption + svg).encode()).hexdigest()[:8]
    shown = [
        inline_svg(svg, prefix=f"w{name}-", label=caption, style="gcv-wide"),
        inline_svg(to_svg(slim), prefix=f"n{name}-", label=caption, style="gcv-narrow"),
    ]
    # What a reader takes along has a white ground, in whatever mode the page was.
    files = {"svg": to_svg(wide, background="white").encode(), "png": to_png(wide)}
    colours = dark_mode_css(*shown)
    body = (
        f'<style>html[data-theme="dark"] .gcv-{name}{{{colours}}}</style>'
        f'<div class="gcv-figure gcv-{name} {NO_FORMULAS}">{"".join(shown)}</div>'
    )
    made = Exhibit("figure", caption, body, files)
    return made if runs is None else made.with_runs(runs)


def table_exhibit(caption: str, body: str, frame: pd.DataFrame) -> Exhibit:
    """Return a table as an exhibit.

    Parameters
    ----------
    body
        Its HTML.
    frame
        Its content, with the headings that are to stand in the file.
    """
    # A table that is wider than the page scrolls by itself, with the keyboard as well.
    framed = (
        f'<div class="gcv-table" tabindex="0" role="region" aria-label="{html.escape(caption)}">'
        f"{body}</div>"
    )
    return Exhibit("table", caption, framed, {"csv": frame.to_csv(index=False).encode()})


def attach_runs(runs: pd.DataFrame | Unavailable, exhibit: Exhibit | None) -> Exhibit | None:
    """Return an exhibit with the runs behind it, where there are both."""
    if exhibit is None or isinstance(runs, Unavailable):
        return exhibit
    return exhibit.with_runs(runs)


def render_exhibit(kind: Kind, body: str, *, caption: str, anchor: str = "", more: str = "") -> str:
    """Return an exhibit's HTML.

    Parameters
    ----------
    caption, more
        HTML: the caption, and what stands below it.
    anchor
        By which others link to it.
    """
    named = f' id="{anchor}"' if anchor else ""
    told = f'<figcaption class="{NO_FORMULAS}"><p>{caption}</p>{more}</figcaption>'
    # A table is read from its heading down; a figure is looked at first.
    inside = f"{told}{body}" if kind == "table" else f"{body}{told}"
    return f'<figure class="gcv-exhibit gcv-{kind}-exhibit"{named}>{inside}</figure>'


def caption_with_notes(caption: str, notes: Sequence[str]) -> str:
    """Return a caption with its notes."""
    return "; ".join([caption, *(note for note in notes if note)])


def n_runs(runs: Sized) -> str:
    """Say of how many runs an exhibit is."""
    return f"n = {count(len(runs), 'run')}"


def skip_unavailable(
    show: Callable[Concatenate[Value, Rest], Shown],
) -> Callable[Concatenate[Value | Unavailable, Rest], Shown | None]:
    """Make a function return None if its first argument is unavailable."""

    @functools.wraps(show)
    def either(value: Value | Unavailable, *args: Rest.args, **kwargs: Rest.kwargs) -> Shown | None:
        return None if isinstance(value, Unavailable) else show(value, *args, **kwargs)

    # The type of what wraps() returns no longer says how arguments are passed.
    return cast("Callable[Concatenate[Value | Unavailable, Rest], Shown | None]", either)
