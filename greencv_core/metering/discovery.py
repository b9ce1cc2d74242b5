"""Which meters this machine has: the best of each component, and others for comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greencv_core.metering import codecarbon, nvml, rapl
from greencv_core.metering.base import EnergySource, MeterError
from greencv_core.utils.energy import Component, Provenance

MODELLED: tuple[Component, ...] = ("cpu", "ram")
"""Components that CodeCarbon estimates; GPU energy never comes from it."""


@dataclass(frozen=True)
class Discovery:
    """Meters of this machine, and why others are not used."""

    sources: tuple[EnergySource, ...]
    """Best meter of each component (of each GPU)."""
    comparison_sources: tuple[EnergySource, ...]
    """Second meters of the same components."""
    unavailable: Mapping[str, str]
    """Reason by meter, e.g. ``{"nvml": "no NVIDIA GPU"}``."""


def discover(gpus: Sequence[str] | None = None, *, compare: bool = False) -> Discovery:
    """Find the best meter for each component of this machine.

    Parameters
    ----------
    gpus
        UUIDs of the GPUs to meter; the visible ones if omitted, none if empty.
    compare
        Also find second meters, and read a GPU's counter at every refresh.

    Raises
    ------
    MeterError
        A GPU named by its UUID cannot be metered.
    """
    sources, unavailable = _find_counters(gpus)
    comparison_sources: list[EnergySource] = []
    if compare:
        for source in [s for s in sources if isinstance(s, nvml.NvmlSource)]:
            source.every_refresh = True
            if source.uses_counter and source.has_power:
                comparison_sources.append(nvml.NvmlSource(source.uuid, use_counter=False))
    counted = {source.component for source in sources}
    try:
        estimates = codecarbon.find_models([c for c in MODELLED if compare or c not in counted])
    except MeterError as error:
        estimates, unavailable["codecarbon"] = [], str(error)
    for estimate in estimates:
        (comparison_sources if estimate.component in counted else sources).append(estimate)
    return Discovery(tuple(sources), tuple(comparison_sources), unavailable)


def provenance_by_component(gpus: Sequence[str] | None = None) -> dict[Component, Provenance]:
    """Return the provenance of each component's energy here, without starting a meter.

    Parameters and errors as of :func:`discover`.
    """
    counters = {source.component: source.provenance for source in _find_counters(gpus)[0]}
    return {**dict.fromkeys(MODELLED, "estimated"), **counters}


def _find_counters(gpus: Sequence[str] | None) -> tuple[list[EnergySource], dict[str, str]]:
    unavailable: dict[str, str] = {}
    sources: list[EnergySource] = list(_find_gpus(gpus, unavailable))
    try:
        counters, dram_problem = rapl.find_rapl()
        sources += counters
        if dram_problem:
            unavailable["rapl dram"] = dram_problem
    except MeterError as error:
        unavailable["rapl"] = str(error)
    return sources, unavailable


def _find_gpus(gpus: Sequence[str] | None, unavailable: dict[str, str]) -> list[nvml.NvmlSource]:
    named = gpus is not None
    try:
        gpus = nvml.visible_gpu_uuids() if gpus is None else gpus
    except MeterError as error:
        gpus, unavailable["nvml"] = (), str(error)
    try:
        return [nvml.NvmlSource(uuid) for uuid in dict.fromkeys(gpus)]
    except MeterError as error:
        if named:
            raise
        # The energy of some of the cards is not the energy of the GPUs.
        unavailable["nvml"] = f"{error}; to meter other cards alone, name them"
        return []
