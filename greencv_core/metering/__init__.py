"""Energy of a piece of work, by component, each figure with its provenance."""

from greencv_core.metering.codecarbon_estimate import (
    carbon_intensity_gco2e_per_kwh,
    intensity_gco2e_per_kwh,
)
from greencv_core.metering.meter import (
    Discovery,
    EnergyMeter,
    Phase,
    TracePoint,
    Window,
    discover,
    measure_idle_power,
)
from greencv_core.metering.reading import ComponentReading, Reading
from greencv_core.metering.sources import MeterError

__all__ = [
    "ComponentReading",
    "Discovery",
    "EnergyMeter",
    "MeterError",
    "Phase",
    "Reading",
    "TracePoint",
    "Window",
    "carbon_intensity_gco2e_per_kwh",
    "discover",
    "intensity_gco2e_per_kwh",
    "measure_idle_power",
]
