"""Energy components, provenance and units."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

Component = Literal["gpu", "cpu", "ram"]
COMPONENTS: tuple[Component, ...] = ("gpu", "cpu", "ram")

Provenance = Literal["measured", "sampled", "estimated", "published"]
_BY_STRENGTH: tuple[Provenance, ...] = ("measured", "sampled", "estimated", "published")

J_PER_KWH = 3.6e6
COVERAGE_FACTOR = 1.96
"""Standard uncertainties on either side that contain the true value in 95% of cases."""


def emissions_gco2e(energy_j: float, intensity_gco2e_per_kwh: float) -> float:
    """Return the emissions of an energy, in grams of CO2 equivalent."""
    return energy_j / J_PER_KWH * intensity_gco2e_per_kwh


def weakest(provenances: Iterable[Provenance]) -> Provenance:
    """Return the provenance of a sum: that of its weakest part (of one at least)."""
    return max(provenances, key=_BY_STRENGTH.index)


def combined_uncertainty_j(parts: Iterable[tuple[float | None, Provenance]]) -> float | None:
    """Return the standard uncertainty of a sum of energies; None if that of a part is unknown.

    Each part is its standard uncertainty in joules and its provenance. The errors of meters are
    independent. Estimates of several components share the assumptions of one tool, and their errors
    add up.
    """
    parts = list(parts)
    known = [(u, provenance) for u, provenance in parts if u is not None]
    if not known or len(known) < len(parts):
        return None
    estimated = sum(u for u, provenance in known if provenance == "estimated")
    return math.hypot(estimated, *(u for u, provenance in known if provenance != "estimated"))
