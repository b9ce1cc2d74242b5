"""Which meters this machine has: the best of each component, and others to compare it with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greencv_core.metering import codecarbon, nvml, rapl
from greencv_core.metering.base import EnergySource, MeterError
from greencv_core.utils.energy import Component, Provenance

MODELLED: tuple[Component, ...] = ("cpu", "ram")
"""What CodeCarbon estimates; GPU energy never comes from it."""


@dataclass(frozen=True)
class Discovery:
    """Which meters this machine has, and why others are not used."""

    sources: tuple[EnergySource, ...]
    """One for each component (and GPU): the best."""
    seconds: tuple[EnergySource, ...]
    """Another meter of what :attr:`sources` meter better, where there is one."""
    absent: Mapping[str, str]
    """Meter to reason, e.g. ``{"nvml": "no NVIDIA GPU"}``."""


def discover(gpus: Sequence[str] | None = None, *, compare: bool = False) -> Discovery:
    """Find the best meter for each component of this machine.

    Parameters
    ----------
    gpus
        UUIDs of the GPUs to meter; the visible ones when omitted, none when empty.
    compare
        Look for second meters as well, and have a GPU's counter read at every refresh.

    Raises
    ------
    MeterError
        A GPU that was asked for by its UUID cannot be metered.
    """
    sources, absent = _counters(gpus)
    seconds: list[EnergySource] = [
        nvml.NvmlSource(source.uuid, use_counter=False)
        for source in sources
        if compare and isinstance(source, nvml.NvmlSource) and source.counts and source.tells_power
    ]
    for source in sources:
        if compare and isinstance(source, nvml.NvmlSource):
            source.every_refresh = True
    counted = {source.component for source in sources}
    wanted = [c for c in MODELLED if compare or c not in counted]
    try:
        estimates = codecarbon.estimates(wanted)
    except MeterError as error:
        estimates, absent["codecarbon"] = [], str(error)
    for estimate in estimates:
        (seconds if estimate.component in counted else sources).append(estimate)
    return Discovery(tuple(sources), tuple(seconds), absent)


def provenance_by_component(gpus: Sequence[str] | None = None) -> dict[Component, Provenance]:
    """Return what each component's energy would be worth here, without making a meter of it.

    Parameters and errors as of :func:`discover`.
    """
    counters = {source.component: source.provenance for source in _counters(gpus)[0]}
    return {**dict.fromkeys(MODELLED, "estimated"), **counters}


def _counters(gpus: Sequence[str] | None) -> tuple[list[EnergySource], dict[str, str]]:
    absent: dict[str, str] = {}
    sources: list[EnergySource] = list(_gpu_sources(gpus, absent))
    try:
        counters, dram_problem = rapl.find_rapl()
        sources += counters
        if dram_problem:
            absent["rapl dram"] = dram_problem
    except MeterError as error:
        absent["rapl"] = str(error)
    return sources, absent


def _gpu_sources(gpus: Sequence[str] | None, absent: dict[str, str]) -> list[nvml.NvmlSource]:
    asked = gpus is not None
    if gpus is None:
        try:
            gpus = nvml.visible_gpu_uuids()
        except MeterError as error:
            gpus, absent["nvml"] = (), str(error)
    sources = []
    for uuid in dict.fromkeys(gpus):
        try:
            sources.append(nvml.NvmlSource(uuid))
        except MeterError as error:
            if asked:
                raise
            # Of several cards, the others' energy is not that of the GPUs.
            absent["nvml"] = f"{error}; to meter other cards alone, name them"
            return []
    return sources
