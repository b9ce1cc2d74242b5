"""Which components' energy counts: a record as a study's report takes it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

from greencv_core.records.record import EpochRecord, RunRecord, TraceRecord, WindowRecord
from greencv_core.utils.energy import Component, emissions_gco2e

Value = TypeVar("Value")


def restrict_to_components(
    record: RunRecord, components: Collection[Component] | None
) -> RunRecord:
    """Return a copy of a record whose energies include only some components.

    The others move to :attr:`RunRecord.excluded_components`. The energy is None if a component
    was not metered: the sum would be too small to compare with other runs.

    Parameters
    ----------
    components
        Components to include; None for all that were metered.
    """
    total = record.total
    if components is None or total is None:
        return record
    kept, phases = _of(total, components), [_of(phase, components) for phase in record.phases]
    idle_power_w = _only(record.idle_power_w, components)
    complete = record.complete and set(components) <= set(kept.components)
    energy_j = kept.energy_j if complete else None
    net = energy_j is not None and record.duration_s and set(components) <= set(idle_power_w)
    idle_j = sum(idle_power_w.values()) * (record.duration_s or 0.0)
    intensity = record.carbon_intensity_gco2e_per_kwh
    emitted = None
    if energy_j is not None and intensity is not None:
        emitted = emissions_gco2e(energy_j, intensity)
    return record.model_copy(
        update={
            "total": kept,
            "phases": phases,
            "epochs": [_epoch(epoch, phases) for epoch in record.epochs],
            "idle_power_w": idle_power_w,
            "net_energy_j": (energy_j or 0.0) - idle_j if net else None,
            "emissions_gco2e": emitted,
            "comparisons": [one for one in record.comparisons if one.component in components],
            "complete": complete,
            "trace": _trace(record.trace, components),
            "excluded_components": {
                name: part for name, part in total.components.items() if name not in components
            },
        }
    )


def _only(
    by_component: Mapping[Component, Value], components: Collection[Component]
) -> dict[Component, Value]:
    return {name: value for name, value in by_component.items() if name in components}


def _of(window: WindowRecord, components: Collection[Component]) -> WindowRecord:
    return window.model_copy(update={"components": _only(window.components, components)})


def _epoch(epoch: EpochRecord, phases: Collection[WindowRecord]) -> EpochRecord:
    parts = [p.energy_j for p in phases if p.name.startswith(f"epoch {epoch.epoch} ")]
    known = [energy_j for energy_j in parts if energy_j is not None]
    whole = bool(known) and len(known) == len(parts)
    return epoch.model_copy(update={"energy_j": sum(known) if whole else None})


def _trace(trace: TraceRecord | None, components: Collection[Component]) -> TraceRecord | None:
    if trace is None:
        return None
    return TraceRecord(
        time_s=_only(trace.time_s, components), power_w=_only(trace.power_w, components)
    )
