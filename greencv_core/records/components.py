"""Restrict the energies of a record to the components that a study counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

from greencv_core.records.record import (
    EpochRecord,
    RunRecord,
    TraceRecord,
    WindowRecord,
    phase_name,
    sum_energies,
)
from greencv_core.utils.energy import Component, emissions_gco2e

Value = TypeVar("Value")


def restrict_to_components(
    record: RunRecord, components: Collection[Component] | None
) -> RunRecord:
    """Return a copy of a record whose energies include only some components, or all if None.

    The others move to :attr:`RunRecord.excluded_components`. The energy is None if a component
    was not metered: the sum would be too small to compare with other runs.
    """
    if components is None or record.total is None:
        return record
    total = _restrict_window(record.total, components)
    phases = [_restrict_window(phase, components) for phase in record.phases]
    idle_power_w = _select(record.idle_power_w, components)
    complete = record.complete and set(components) <= set(total.components)
    energy_j = total.energy_j if complete else None
    net_energy_j = emitted_gco2e = None
    if energy_j is not None:
        if record.duration_s and set(components) <= set(idle_power_w):
            net_energy_j = energy_j - sum(idle_power_w.values()) * record.duration_s
        if record.carbon_intensity_gco2e_per_kwh is not None:
            emitted_gco2e = emissions_gco2e(energy_j, record.carbon_intensity_gco2e_per_kwh)
    trace = record.trace and TraceRecord(
        time_s=_select(record.trace.time_s, components),
        power_w=_select(record.trace.power_w, components),
    )
    excluded = set(record.total.components) - set(components)
    return record.model_copy(
        update={
            "total": total,
            "phases": phases,
            "epochs": [_restrict_epoch(epoch, phases) for epoch in record.epochs],
            "idle_power_w": idle_power_w,
            "net_energy_j": net_energy_j,
            "emissions_gco2e": emitted_gco2e,
            "comparisons": [one for one in record.comparisons if one.component in components],
            "complete": complete,
            "trace": trace,
            "excluded_components": _select(record.total.components, excluded),
        }
    )


def _select(
    by_component: Mapping[Component, Value], components: Collection[Component]
) -> dict[Component, Value]:
    return {name: value for name, value in by_component.items() if name in components}


def _restrict_window(window: WindowRecord, components: Collection[Component]) -> WindowRecord:
    return window.model_copy(update={"components": _select(window.components, components)})


def _restrict_epoch(epoch: EpochRecord, phases: Collection[WindowRecord]) -> EpochRecord:
    own = (p.energy_j for p in phases if p.name.startswith(phase_name(epoch.epoch)))
    return epoch.model_copy(update={"energy_j": sum_energies(own)})
