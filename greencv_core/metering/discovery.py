"""Which meters this machine has: the best of each component, and others for comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greencv_core.metering.base import EnergySource, MeterError
from greencv_core.metering.gpu import GpuSource
from greencv_core.metering.sources import apple, codecarbon, nvml, rapl
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
    cards, others, unavailable = _find_counters(gpus)
    sources: list[EnergySource] = [*cards, *others]
    comparison_sources: list[EnergySource] = []
    if compare:
        for card in cards:
            card.every_refresh = True
            if card.uses_counter and card.has_power:
                comparison_sources.append(open_gpu(card.uuid, use_counter=False))
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
    cards, others, _ = _find_counters(gpus)
    counters = {source.component: source.provenance for source in (*cards, *others)}
    return {**dict.fromkeys(MODELLED, "estimated"), **counters}


def open_gpu(uuid: str, *, use_counter: bool = True) -> GpuSource:
    """Return the meter of one GPU.

    Parameters
    ----------
    uuid
        Its identifier, as in :attr:`Accelerator.uuid`.
    use_counter
        False integrates power even if there is an energy counter, for comparison.

    Raises
    ------
    MeterError
        There is no such GPU, or its energy cannot be metered.
    """
    if uuid == apple.GPU_UUID:
        return apple.AppleGpuSource()
    return nvml.NvmlSource(uuid, use_counter=use_counter)


def _find_counters(
    gpus: Sequence[str] | None,
) -> tuple[list[GpuSource], list[EnergySource], dict[str, str]]:
    """Return the meters of GPUs, those of other components, and why others are not used."""
    unavailable: dict[str, str] = {}
    cards = _find_gpus(gpus, unavailable)
    if apple.is_mac():
        with_gpu = any(card.uuid == apple.GPU_UUID for card in cards)
        sources, absent = apple.find_apple(with_gpu=with_gpu)
        return cards, sources, {**unavailable, **absent}
    sources = []
    try:
        counters, problems = rapl.find_rapl()
        sources += counters
        kinds = {"cpu": "rapl", "ram": "rapl dram"}
        unavailable.update({kinds[component]: reason for component, reason in problems.items()})
    except MeterError as error:
        unavailable["rapl"] = str(error)
    return cards, sources, unavailable


def _find_gpus(gpus: Sequence[str] | None, unavailable: dict[str, str]) -> list[GpuSource]:
    named = gpus is not None
    driver, kind = (apple, "apple gpu") if apple.is_mac() else (nvml, "nvml")
    try:
        gpus = driver.visible_gpu_uuids() if gpus is None else gpus
    except MeterError as error:
        gpus, unavailable[kind] = (), str(error)
    try:
        return [open_gpu(uuid) for uuid in dict.fromkeys(gpus)]
    except MeterError as error:
        if named:
            raise
        # The energy of some of the cards is not the energy of the GPUs.
        unavailable[kind] = f"{error}; to meter other cards alone, name them"
        return []
