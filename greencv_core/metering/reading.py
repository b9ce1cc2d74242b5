"""What a meter returns: joules by component, each with its provenance."""

from __future__ import annotations

from dataclasses import dataclass

from greencv_core.energy import COMPONENTS, Component, Provenance, emissions_gco2e, weakest


@dataclass(frozen=True)
class ComponentReading:
    """Energy of one component over one window."""

    energy_j: float
    provenance: Provenance
    source: str
    """The meter it came from, in words."""


@dataclass(frozen=True)
class Reading:
    """Energy over one window. A component without a meter is None, never 0."""

    gpu: ComponentReading | None
    cpu: ComponentReading | None
    ram: ComponentReading | None
    duration_s: float
    carbon_intensity_gco2e_per_kwh: float | None = None
    idle_power_w: float | None = None
    """Power of the same components at idle; None where it was not metered."""
    problems: tuple[str, ...] = ()
    """Why the reading is not complete; empty where nothing was lost."""

    @property
    def components(self) -> dict[Component, ComponentReading]:
        """The components that were metered."""
        every = {"gpu": self.gpu, "cpu": self.cpu, "ram": self.ram}
        return {name: every[name] for name in COMPONENTS if every[name] is not None}  # type: ignore[misc]

    @property
    def complete(self) -> bool:
        """Whether no meter was lost within the window."""
        return not self.problems

    @property
    def total(self) -> ComponentReading | None:
        """Sum over the components, as good as its weakest part; None if nothing was metered."""
        parts = list(self.components.values())
        if not parts:
            return None
        return ComponentReading(
            energy_j=sum(p.energy_j for p in parts),
            provenance=weakest(p.provenance for p in parts),
            source=" + ".join(dict.fromkeys(p.source for p in parts)),
        )

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
