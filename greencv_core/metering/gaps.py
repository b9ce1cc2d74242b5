"""Times without a meter reading, and their uncertainty of energy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from greencv_core.metering.energy_curves import EnergyCurve, Floats


@dataclass(frozen=True)
class Gap:
    """A time without a meter reading; its energy is interpolated."""

    start_s: float
    end_s: float
    highest_w: float
    """Power that the component cannot exceed."""
    reason: str

    def overlap_s(self, start_s: float, end_s: float) -> float:
        """Return the seconds that the gap shares with a window."""
        return max(0.0, min(self.end_s, end_s) - max(self.start_s, start_s))


class GappedCurve:
    """A curve some parts of which are interpolated.

    In a gap the power may have been anything from 0 to the highest possible; the uncertainty is
    that of a uniform distribution which reaches from the interpolated energy to the further of the
    two, so that the 95% interval contains every possible energy.
    """

    def __init__(self, curve: EnergyCurve, gaps: Sequence[Gap]) -> None:
        self._curve, self._gaps = curve, tuple(gaps)

    def energy_at_j(self, time_s: Floats) -> Floats:
        """Return the energy until each time, from an arbitrary zero."""
        return self._curve.energy_at_j(time_s)

    def between(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Return the energy between two times and its standard uncertainty, both in J."""
        energy_j, uncertainty_j = self._curve.between(start_s, end_s)
        unknown_j = 0.0
        for gap in self._gaps:
            overlap_s = gap.overlap_s(start_s, end_s)
            if overlap_s > 0:
                inside = max(start_s, gap.start_s), min(end_s, gap.end_s)
                inside_j, _ = self._curve.between(*inside)
                unknown_j += max(inside_j, gap.highest_w * overlap_s - inside_j) / math.sqrt(3)
        return energy_j, math.hypot(uncertainty_j, unknown_j)


def with_gaps(curve: EnergyCurve, gaps: Sequence[Gap]) -> EnergyCurve:
    """Return the curve, with the uncertainty of its gaps if there are any."""
    return GappedCurve(curve, gaps) if gaps else curve
