"""What every room agrees on about energy: its components, its provenance, its units."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Component = Literal["gpu", "cpu", "ram"]
COMPONENTS: tuple[Component, ...] = ("gpu", "cpu", "ram")

Provenance = Literal["measured", "sampled", "estimated", "published"]
_BY_STRENGTH: tuple[Provenance, ...] = ("measured", "sampled", "estimated", "published")

J_PER_KWH = 3.6e6


def emissions_gco2e(energy_j: float, intensity_gco2e_per_kwh: float) -> float:
    """Return what an energy emits, in grams of CO2 equivalent."""
    return energy_j / J_PER_KWH * intensity_gco2e_per_kwh


def weakest(provenances: Iterable[Provenance]) -> Provenance:
    """Return the provenance of a sum: that of its weakest part.

    Raises
    ------
    ValueError
        There is no part.
    """
    return max(provenances, key=_BY_STRENGTH.index)
