"""Short names of the sources of evidence, for figures and tables."""

from __future__ import annotations

from greencv_core.published import DATA_SETS, load_adapter
from greencv_core.published.card import Card


def short_source(key: str) -> str:
    """Return the first author's surname and the year; a source without a card keeps its name."""
    return author_and_year(load_adapter(key).CARD) if key in DATA_SETS else key


def author_and_year(card: Card) -> str:
    """Return the first author's surname and the year: ``del Rey 2023``."""
    first = card.authors.partition(",")[0].partition(" and ")[0]
    return f"{first.partition(' ')[2]} {card.year}"
