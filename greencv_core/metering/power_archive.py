"""Energy of the old part of a long recording of power, kept at a few times."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from greencv_core.metering.energy_curves import EnergyCurve, Floats

KEPT_S = 60.0
"""Seconds of a recording that stay as they are."""
STEP_S = 10.0
"""Seconds between the times whose energy is kept, in addition to edges."""
AHEAD_S = 2.0  # seconds of readings before the kept part, which its first second depends on
MOST_TIMES = 20_000


class PowerArchive:
    """Energy until some times, and the standard uncertainty gathered until each of them.

    Uncertainties of its parts add up linearly, as errors of a periodic load may.
    """

    def __init__(self) -> None:
        self._time_s: Floats = np.zeros(0)
        self._energy_j: Floats = np.zeros(0)
        self._uncertainty_j: Floats = np.zeros(0)

    def add(
        self, curve: EnergyCurve, times_s: Sequence[float], edges_s: Sequence[float], until_s: float
    ) -> int:
        """Take over the old part of a curve; return the index of the first reading still needed."""
        start_s = float(self._time_s[-1]) if len(self._time_s) else times_s[0]
        cut_s = until_s - KEPT_S
        steps = np.arange(start_s, cut_s, STEP_S)
        edges = np.asarray(edges_s, dtype=float)
        inside = edges[(edges > start_s) & (edges < cut_s)]
        times = np.unique(np.concatenate([steps, inside, [cut_s]]))
        parts = [curve.between(a, b) for a, b in itertools.pairwise(times)]
        energy, uncertainty = np.cumsum(np.array(parts), axis=0).T
        base_j = float(self._energy_j[-1]) if len(self._energy_j) else 0.0
        base_u = float(self._uncertainty_j[-1]) if len(self._uncertainty_j) else 0.0
        if not len(self._time_s):
            self._time_s, self._energy_j = times[:1], np.zeros(1)
            self._uncertainty_j = np.zeros(1)
        self._time_s = np.concatenate([self._time_s, times[1:]])
        self._energy_j = np.concatenate([self._energy_j, base_j + energy])
        self._uncertainty_j = np.concatenate([self._uncertainty_j, base_u + uncertainty])
        self._halve(edges)
        return max(0, int(np.searchsorted(np.asarray(times_s), cut_s - AHEAD_S)) - 1)

    def before(self, recent: EnergyCurve) -> EnergyCurve:
        """Return a curve that is the archive's until its end, and another one after it."""
        return _Joined(self, recent) if len(self._time_s) else recent

    @property
    def end_s(self) -> float:
        """Time until which the archive reaches."""
        return float(self._time_s[-1])

    def energy_at_j(self, time_s: Floats) -> Floats:
        """Return the energy until each time, at most the archive's."""
        energy: Floats = np.interp(time_s, self._time_s, self._energy_j)
        return energy

    def between(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Return the energy between two times and its standard uncertainty, both in J."""
        times = np.array([start_s, end_s])
        energy = self.energy_at_j(times)
        uncertainty = np.interp(times, self._time_s, self._uncertainty_j)
        return float(energy[1] - energy[0]), float(uncertainty[1] - uncertainty[0])

    def _halve(self, edges_s: Floats) -> None:
        if len(self._time_s) > MOST_TIMES:
            keep = (np.arange(len(self._time_s)) % 2 == 0) | np.isin(self._time_s, edges_s)
            keep[-1] = True
            self._time_s, self._energy_j = self._time_s[keep], self._energy_j[keep]
            self._uncertainty_j = self._uncertainty_j[keep]


class _Joined:
    """The archive until its end, then the curve of the readings since."""

    def __init__(self, archive: PowerArchive, recent: EnergyCurve) -> None:
        self._archive, self._recent = archive, recent

    def energy_at_j(self, time_s: Floats) -> Floats:
        end_s = self._archive.end_s
        since = self._recent.energy_at_j(np.fmax(time_s, end_s))
        until_end = self._recent.energy_at_j(np.array([end_s]))
        energy: Floats = self._archive.energy_at_j(time_s) + since - until_end
        return energy

    def between(self, start_s: float, end_s: float) -> tuple[float, float]:
        cut_s = self._archive.end_s
        old_j, old_u, new_j, new_u = 0.0, 0.0, 0.0, 0.0
        if start_s < cut_s:
            old_j, old_u = self._archive.between(start_s, min(end_s, cut_s))
        if end_s > cut_s:
            new_j, new_u = self._recent.between(max(start_s, cut_s), end_s)
        return old_j + new_j, old_u + new_u
