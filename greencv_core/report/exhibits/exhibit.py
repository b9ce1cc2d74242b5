"""Exhibits: figures and tables with a caption, files to download and the runs behind them.

A notebook shows an exhibit as it is. The book numbers it, stores its files and links its code and
its runs (:mod:`greencv_core.report.book.number_exhibits`).
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import textwrap
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, cast

import pandas as pd

from greencv_core.analysis.result import Unavailable
from greencv_core.report.exhibits.labels import with_names
from greencv_core.report.exhibits.markdown import NO_FORMULAS, run_ids
from greencv_core.report.exhibits.svg import dark_mode_css, inline_svg, on_white, to_png, to_svg
from greencv_core.utils.answers import remembered
from greencv_core.utils.text import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIME = "application/vnd.greencv.exhibit+json"
"""MIME type of an exhibit's data for the book; Jupyter shows the HTML."""

OURS = "greencv_core."

Kind = Literal["figure", "table"]
Shown = TypeVar("Shown")
Value = TypeVar("Value")
Rest = ParamSpec("Rest")


@dataclass(frozen=True, repr=False)
class Exhibit:
    """A figure or a table of a page."""

    kind: Kind
    caption: str
    """Plain text: quantity, unit and provenance."""
    body: str
    """HTML; text from records and studies is escaped."""
    files: Mapping[str, bytes]
    """Files to download, keyed by extension: ``csv``, or ``svg`` and ``png``."""
    run_ids: tuple[str, ...] = ()
    """Ids of the runs behind it; empty if they are those of the page."""
    notes: tuple[str, ...] = ()
    """Additions to the caption, such as n."""

    def __repr__(self) -> str:
        return f"{self.kind.capitalize()}: {self.full_caption}."

    def with_runs(self, runs: pd.DataFrame) -> Exhibit:
        """Return a copy with the runs behind it."""
        return replace(self, run_ids=run_ids(runs), notes=(n_runs(runs),))

    @property
    def full_caption(self) -> str:
        """Caption and notes as plain text."""
        return caption_with_notes(self.caption, self.notes)

    def to_html(self) -> str:
        """Return the HTML that a notebook shows."""
        return render_exhibit(self.kind, self.body, caption=f"{html.escape(self.full_caption)}.")

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        about = {
            "kind": self.kind,
            "caption": self.caption,
            "notes": list(self.notes),
            "body": self.body,
            "files": {
                name: base64.b64encode(data).decode("ascii") for name, data in self.files.items()
            },
            "run_ids": list(self.run_ids),
        }
        return {"text/html": self.to_html(), MIME: about}


def figure_exhibit(
    draw: Callable[[], Figure], caption: str, runs: pd.DataFrame | None = None
) -> Exhibit:
    """Return a figure as an exhibit, drawn for wide screens and print and again for narrow screens.

    ``draw`` uses :func:`greencv_core.report.exhibits.theme.subplots`. The caption is plain text
    without full stop, and without the number of the runs, which is added.
    """
    from matplotlib import rcParams  # slow to import

    caption = with_names(caption)
    # Only the code of this package is part of an answer's key.
    is_ours = isinstance(draw, functools.partial) and draw.func.__module__.startswith(OURS)
    # The backend is no style, and matplotlib chooses it only when it first draws.
    no_style = ("backend", "interactive")
    style = str({name: value for name, value in rcParams.items() if name not in no_style})
    body, files = _kept(draw, caption, style) if is_ours else _drawn(draw, caption)
    exhibit = Exhibit("figure", caption, body, files)
    return exhibit if runs is None else exhibit.with_runs(runs)


@remembered
def _kept(draw: Callable[[], Figure], caption: str, style: str) -> tuple[str, dict[str, bytes]]:
    return _drawn(draw, caption)


def _drawn(draw: Callable[[], Figure], caption: str) -> tuple[str, dict[str, bytes]]:
    """Return a figure's HTML, and its files to download."""
    from greencv_core.report.exhibits.theme import narrow_layout

    wide = draw()
    with narrow_layout():
        slim = draw()
    for axes in slim.axes:
        axes.set_xlabel(textwrap.fill(axes.get_xlabel(), 28))
        axes.set_ylabel(textwrap.fill(axes.get_ylabel(), 28))
    svg = to_svg(wide)
    name = hashlib.sha256((caption + svg).encode()).hexdigest()[:8]
    shown = [
        inline_svg(svg, prefix=f"w{name}-", label=caption, style="gcv-wide"),
        inline_svg(to_svg(slim), prefix=f"n{name}-", label=caption, style="gcv-narrow"),
    ]
    # Downloads have a white background, whatever the mode of the page.
    files = {"svg": on_white(svg).encode(), "png": to_png(wide)}
    colours = dark_mode_css(*shown)
    body = (
        f'<style>html[data-theme="dark"] .gcv-{name}{{{colours}}}</style>'
        f'<div class="gcv-figure gcv-{name} {NO_FORMULAS}">{"".join(shown)}</div>'
    )
    return body, files


def table_exhibit(caption: str, body: str, frame: pd.DataFrame) -> Exhibit:
    """Return a table's HTML as an exhibit, with a frame as its CSV file."""
    caption = with_names(caption)
    # A table wider than the page scrolls, also with the keyboard.
    framed = (
        f'<div class="gcv-table" tabindex="0" role="region" aria-label="{html.escape(caption)}">'
        f"{body}</div>"
    )
    return Exhibit("table", caption, framed, {"csv": frame.to_csv(index=False).encode()})


def attach_runs(runs: pd.DataFrame | Unavailable, exhibit: Exhibit | None) -> Exhibit | None:
    """Attach runs to an exhibit, if there are both."""
    if exhibit is None or isinstance(runs, Unavailable):
        return exhibit
    return exhibit.with_runs(runs)


def render_exhibit(kind: Kind, body: str, *, caption: str, anchor: str = "", more: str = "") -> str:
    """Return an exhibit's HTML; ``more`` is HTML below its caption, ``anchor`` is for links."""
    named = f' id="{anchor}"' if anchor else ""
    figcaption = f'<figcaption class="{NO_FORMULAS}"><p>{caption}</p>{more}</figcaption>'
    # Captions of tables are above them, captions of figures below.
    inside = f"{figcaption}{body}" if kind == "table" else f"{body}{figcaption}"
    return f'<figure class="gcv-exhibit gcv-{kind}-exhibit"{named}>{inside}</figure>'


def caption_with_notes(caption: str, notes: Sequence[str]) -> str:
    """Return a caption with its notes."""
    return "; ".join([caption, *(note for note in notes if note)])


def n_runs(runs: Sized) -> str:
    """Return the note on the number of runs."""
    return f"n = {count(len(runs), 'run')}"


def skip_unavailable(
    show: Callable[Concatenate[Value, Rest], Shown],
) -> Callable[Concatenate[Value | Unavailable, Rest], Shown | None]:
    """Make a function return None if its first argument is unavailable."""

    @functools.wraps(show)
    def either(value: Value | Unavailable, *args: Rest.args, **kwargs: Rest.kwargs) -> Shown | None:
        return None if isinstance(value, Unavailable) else show(value, *args, **kwargs)

    # The return type of wraps() loses the parameters.
    return cast("Callable[Concatenate[Value | Unavailable, Rest], Shown | None]", either)
