"""Cards of published data sets: what was measured, its defects and the rules for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

DefectEffect = Literal["corrected", "left out", "correctness left out", "kept"]
"""What a rule does with the rows that it finds; ``kept`` rows are marked and count."""


@dataclass(frozen=True)
class Defect:
    """A defect of published measurements, and the rule that handles it."""

    key: str
    """Reason in the columns ``left_out``, ``correctness_left_out`` and ``marked``."""
    found: str
    """What is wrong, with the numbers; one or two sentences."""
    rule: str
    """How rows with this defect are found, and what is done with them; one sentence."""
    effect: DefectEffect


@dataclass(frozen=True)
class Card:
    """Description of a published data set; each card is a section of the report."""

    key: str
    """Name of the data set in this package."""
    title: str
    """Title of the paper."""
    authors: str
    year: int
    url: str
    """Address of the paper."""
    repository: str
    """Address of the repository that holds the files."""
    commit: str
    """Commit of the files."""
    licence: str
    citation: str
    """Key of the paper in ``book/references.bib``."""
    laboratory: str
    """Group that measured; two data sets of one group are not independent."""
    trained: str
    """What was trained: architectures, images, epochs, repetitions."""
    measured: str
    """What the energy covers, and how it was measured."""
    columns: Mapping[str, str]
    """Column of the runs table to its source in the files."""
    defects: tuple[Defect, ...]
    limits: tuple[str, ...] = ()
    """What a reader must know before comparing these runs; a sentence each."""

    def defect(self, key: str) -> Defect:
        """Return the defect with a key; KeyError if there is none."""
        return {defect.key: defect for defect in self.defects}[key]
