"""Energy by component, each figure with its provenance and uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from greencv_core.utils.energy import (
    COMPONENTS,
    COVERAGE_FACTOR,
    Component,
    Provenance,
    combined_uncertainty_j,
    emissions_gco2e,
    weakest,
)


@dataclass(frozen=True)
class ComponentReading:
    """Energy of one component over one window."""

    energy_j: float
    provenance: Provenance
    source: str
    """Name of the meter."""
    uncertainty_j: float | None = None
    """Standard uncertainty of :attr:`energy_j`; None if unknown. It covers refresh, resolution and
    sampling at the window's edges and within it, the error of a model, and the accuracy of the
    sensor where its maker states one."""
    resolution_s: float | None = None
    """Refresh period of the meter in seconds; windows should be several times as long."""
    bridged: str = ""
    """How long there was no reading and the energy was interpolated, and why."""

    @property
    def relative_uncertainty(self) -> float | None:
        """Standard uncertainty as a share of the energy."""
        if self.uncertainty_j is None or not self.energy_j:
            return None
        return self.uncertainty_j / abs(self.energy_j)

    @property
    def interval_j(self) -> tuple[float, float] | None:
        """95% interval of the true energy in joules; None if the uncertainty is unknown."""
        if self.uncertainty_j is None:
            return None
        half = COVERAGE_FACTOR * self.uncertainty_j
        return self.energy_j - half, self.energy_j + half


@dataclass(frozen=True)
class Reading:
    """Energy over one window. A component without a meter is None, never 0."""

    gpu: ComponentReading | None
    cpu: ComponentReading | None
    ram: ComponentReading | None
    duration_s: float
    carbon_intensity_gco2e_per_kwh: float | None = None
    idle_power_w: float | None = None
    """Idle power of the same components in watts; None if it was not metered."""
    problems: tuple[str, ...] = ()
    """Why the reading is incomplete; empty if it is complete."""

    @property
    def components(self) -> dict[Component, ComponentReading]:
        """Readings of the metered components."""
        readings = ((name, getattr(self, name)) for name in COMPONENTS)
        return {name: reading for name, reading in readings if reading is not None}

    @property
    def complete(self) -> bool:
        """Whether no meter was lost in the window."""
        return not self.problems

    @property
    def total(self) -> ComponentReading | None:
        """Sum over the components, with the provenance of its weakest part.

        None if nothing was metered or a meter was lost.
        """
        return sum_readings(list(self.components.values())) if self.complete else None

    @property
    def net_energy_j(self) -> float | None:
        """Energy above idle in joules: gross minus idle power times duration."""
        if self.total is None or self.idle_power_w is None:
            return None
        return self.total.energy_j - self.idle_power_w * self.duration_s

    @property
    def emissions_gco2e(self) -> float | None:
        """Gross energy times the carbon intensity, in grams of CO2 equivalent."""
        if self.total is None or self.carbon_intensity_gco2e_per_kwh is None:
            return None
        return emissions_gco2e(self.total.energy_j, self.carbon_intensity_gco2e_per_kwh)


def sum_readings(parts: Sequence[ComponentReading]) -> ComponentReading | None:
    """Add up the readings of several parts; None if there are none."""
    if not parts:
        return None
    resolutions = [p.resolution_s for p in parts if p.resolution_s is not None]
    return ComponentReading(
        energy_j=sum(p.energy_j for p in parts),
        provenance=weakest(p.provenance for p in parts),
        source=" + ".join(dict.fromkeys(p.source for p in parts)),
        uncertainty_j=combined_uncertainty_j((p.uncertainty_j, p.provenance) for p in parts),
        resolution_s=max(resolutions) if resolutions else None,
        bridged="; ".join(dict.fromkeys(p.bridged for p in parts if p.bridged)),
    )
