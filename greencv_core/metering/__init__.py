"""Energy of a piece of work, by component, each figure with its provenance."""

from greencv_core.metering.base import MeterError
from greencv_core.metering.carbon import carbon_intensity_gco2e_per_kwh, intensity_gco2e_per_kwh
from greencv_core.metering.discovery import Discovery, discover, provenance_by_component
from greencv_core.metering.meter import (
    EnergyMeter,
    GpuSummary,
    Phase,
    TracePoint,
    Window,
    measure_idle_power,
)
from greencv_core.metering.reading import ComponentReading, Reading

__all__ = [
    "ComponentReading",
    "Discovery",
    "EnergyMeter",
    "GpuSummary",
    "MeterError",
    "Phase",
    "Reading",
    "TracePoint",
    "Window",
    "carbon_intensity_gco2e_per_kwh",
    "discover",
    "intensity_gco2e_per_kwh",
    "measure_idle_power",
    "provenance_by_component",
]
