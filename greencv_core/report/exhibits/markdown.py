"""Sentences for a page, every number in them computed."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from IPython.display import Markdown

from greencv_core.analysis.describe import counted_components, joules_by_provenance
from greencv_core.analysis.selection import weakest_provenance
from greencv_core.report.exhibits.labels import with_names
from greencv_core.utils.energy import COMPONENTS
from greencv_core.utils.text import count, listed, percent

_MEANING = {
    "measured": "read from hardware counters",
    "sampled": "power readings summed over time",
    "estimated": "no power meter: energy is time multiplied by assumed watts, so an energy "
    "difference is mostly a time difference",
    "published": "measured by others",
    "not metered": "not available",
}

NO_FORMULAS = "tex2jax_ignore mathjax_ignore"
"""HTML classes in which MathJax (any version) looks for no formulas."""
BASIS_MIME = "application/vnd.greencv.basis+json"
"""MIME type of the runs behind a page, for the book; Jupyter shows the text."""


@dataclass(frozen=True, repr=False)
class Basis:
    """A note at the top of a page, with the runs that the page uses."""

    data: str
    """Markdown."""
    run_ids: tuple[str, ...]

    def __repr__(self) -> str:
        return self.data

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"text/markdown": self.data, BASIS_MIME: {"run_ids": list(self.run_ids)}}


def with_basis(note: Markdown, runs: pd.DataFrame) -> Basis:
    """Attach the runs that a page uses to the note at its top."""
    return Basis(str(note.data), run_ids(runs))


def run_ids(runs: pd.DataFrame) -> tuple[str, ...]:
    """Return the ids of runs."""
    return tuple(map(str, runs["run_id"]))


def paragraph(*sentences: str) -> Markdown:
    """Return sentences as one paragraph of the page, with names for people."""
    return Markdown(_escape(with_names(" ".join(sentence for sentence in sentences if sentence))))


def bullet_list(sentences: Iterable[str]) -> Markdown:
    """Return sentences as a list."""
    return Markdown("\n".join(f"- {_escape(with_names(sentence))}" for sentence in sentences))


def provenance_note(runs: pd.DataFrame) -> Basis:
    """Return one line on the provenance of a page's energies, with a link to what it means."""
    text = html.escape(energy_sentence(runs))
    return with_basis(
        Markdown(
            f'<p class="gcv-basis {NO_FORMULAS}">{text} '
            f'<a href="explore.ipynb#runs">The {count(len(runs), "run")} of this page</a>. '
            '<a href="index.ipynb#can-i-believe-it">Can I believe it?</a></p>'
        ),
        runs,
    )


def energy_sentence(runs: pd.DataFrame) -> str:
    """Say whether energy was measured or estimated, in which shares and of which components."""
    word, total_j = weakest_provenance(runs), runs["energy_j"].sum()
    joules = joules_by_provenance(runs)
    if len(joules) < 2:
        text = f"Energy here is {word} ({_MEANING[word]})."
    else:
        shares = [f"{percent(part_j / total_j, 0)} are {name}" for name, part_j in joules.items()]
        text = f"Energy here is in part {word}: of the joules, {listed(shares)}."
        if word == "estimated":
            text += " The estimated part is time multiplied by assumed watts."
    return " ".join([text, *component_sentences(runs)])


def component_sentences(runs: pd.DataFrame) -> list[str]:
    """Return each component's share of the energy, mixed provenances, and what is not counted."""
    total_j, counting = runs["energy_j"].sum(), counted_components(runs)
    parts, uncounted, mixed = [], [], []
    for component in COMPONENTS:
        counts = runs[f"{component}_provenance"].dropna().value_counts()
        if counts.empty:
            continue
        share = percent(runs[f"{component}_energy_j"].sum() / total_j, 0)
        name, provenances = component.upper(), listed(list(counts.index))
        if component not in counting:
            uncounted.append(f"{name} ({provenances}; {share} of what counts)")
            continue
        parts.append(f"{name} {share} ({provenances})")
        if len(counts) > 1:
            each = [f"{word} in {count(n, 'run')}" for word, n in counts.items()]
            mixed.append(
                f"{name} energy is {listed(each)}, so the meters explain part of "
                "the differences between those runs."
            )
    left = [f"Also metered, but not counted: {listed(uncounted)}."] if uncounted else []
    return [f"By component: {listed(parts) or 'none'}.", *mixed, *left]


def admonition(kind: str, title: str, text: str, lines: Iterable[str] = ()) -> Markdown:
    """Return a box of the theme (``note``, ``warning``), with a list of lines above its text.

    Title and lines are plain text; ``text`` is HTML: what comes from elsewhere must be escaped.
    """
    items = "".join(f"<li>{html.escape(with_names(_one_line(line)))}</li>" for line in lines)
    title, text = html.escape(_one_line(title)), _one_line(text)
    # Plain HTML, because Jupyter does not know MyST's own boxes.
    return Markdown(
        f'<div class="admonition {kind} {NO_FORMULAS}"><p class="admonition-title">{title}</p>'
        f"{f'<ul>{items}</ul>' if items else ''}<p>{text}</p></div>"
    )


def code_block(text: str) -> Markdown:
    """Return text as it is, in a fixed-width block."""
    # Indented rather than fenced: no content can end the block.
    return Markdown("\n".join(f"    {line}" for line in text.splitlines()))


def _escape(text: str) -> str:
    """Make text from records and studies inert in Markdown and HTML: one line of plain words."""
    text = "".join(_ESCAPED.get(character, character) for character in _one_line(text))
    # What opens a list, a heading, a block or a comment does so at the beginning alone.
    text = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", text)
    return re.sub(r"^[-+=%:(]", lambda found: f"&#{ord(found[0])};", text)


# An entity where an escaped character would still mean something to who looks for formulas.
_ESCAPED = {
    **{character: f"\\{character}" for character in "`*_{}[]>#|$~"},
    "\\": "&#92;",
    "<": "&lt;",
    "&": "&amp;",
}


def _one_line(text: str) -> str:
    """Return text without line breaks, which end a paragraph or a piece of HTML in Markdown."""
    return re.sub(r"[ \x00-\x1f\x7f\x85\u2028\u2029]+", " ", text).strip(" ")
