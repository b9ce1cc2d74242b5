"""Compare the energy of a run's components with that of the plug."""

from __future__ import annotations

import math

from greencv_core.metering import MeterError, WallMeter, Window
from greencv_core.records.record import EnergyRecord, WallRecord
from greencv_core.utils.energy import COVERAGE_FACTOR
from greencv_core.utils.secrets import without_secrets


def compare_with_wall(meter: WallMeter | None, window: Window) -> WallRecord | None:
    """Return the plug's energy over a closed window, and which part the components explain.

    None without a wall meter.
    """
    if meter is None:
        return None
    try:
        plug = meter.energy_between(*window.edges_s)
    except MeterError as error:
        return WallRecord(problem=without_secrets(str(error)))
    total, share, problem = window.reading.total, None, ""
    if total is not None and plug.energy_j > 0:
        share = total.energy_j / plug.energy_j
        unknown_j = math.hypot(total.uncertainty_j or 0.0, plug.uncertainty_j or 0.0)
        if total.energy_j - plug.energy_j > COVERAGE_FACTOR * unknown_j:
            problem = (
                f"the components report {share:.0%} of the energy at the wall, which is "
                "impossible: the plug of another computer, or a wrong meter?"
            )
    energy = EnergyRecord.model_validate(vars(plug))
    return WallRecord(energy=energy, explained_share=share, problem=problem)
