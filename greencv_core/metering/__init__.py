"""Energy metering: the energy of a piece of work by component, with its provenance."""

from greencv_core.metering.base import MeterError
from greencv_core.metering.carbon import carbon_intensity_gco2e_per_kwh
from greencv_core.metering.discovery import Discovery, discover, open_gpu, provenance_by_component
from greencv_core.metering.gpu_summary import GpuSummary
from greencv_core.metering.meter import EnergyMeter, measure_idle_power
from greencv_core.metering.reading import ComponentReading, Reading
from greencv_core.metering.wall_meter import WallMeter, open_wall_meter
from greencv_core.metering.window import Phase, TracePoint, Window

__all__ = [
    "ComponentReading",
    "Discovery",
    "EnergyMeter",
    "GpuSummary",
    "MeterError",
    "Phase",
    "Reading",
    "TracePoint",
    "WallMeter",
    "Window",
    "carbon_intensity_gco2e_per_kwh",
    "discover",
    "measure_idle_power",
    "open_gpu",
    "open_wall_meter",
    "provenance_by_component",
]
