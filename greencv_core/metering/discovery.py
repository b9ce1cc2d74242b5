"""Which meters this machine has: the best of each component, and others for comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from greencv_core.metering.base import EnergySource, MeterError
from greencv_core.metering.gpu import GpuSource
from greencv_core.metering.patience import in_time
from greencv_core.metering.ranks import unmetered_here
from greencv_core.metering.sources import amd, apple, codecarbon, hwmon, nvml, rapl, rocm, zeusd
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
    problems: tuple[str, ...] = ()
    """Why no reading here is complete: another process meters this computer."""


def discover(gpus: Sequence[str] | None = None, *, compare: bool = False) -> Discovery:
    """Find the best meter for each component of this machine.

    Of several processes of a parallel job on this machine, only local rank 0 meters it; another one
    meters the GPUs that it names.

    Parameters
    ----------
    gpus
        Identifiers of the GPUs to meter; the visible ones if omitted, none if empty.
    compare
        Also find second meters, and read a GPU's counter at every refresh.

    Raises
    ------
    MeterError
        A GPU named by its identifier cannot be metered.
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
    problems = unmetered_here()
    modelled = [c for c in MODELLED if not problems and (compare or c not in counted)]
    try:
        estimates = codecarbon.find_models(modelled)
    except MeterError as error:
        estimates, unavailable["codecarbon"] = [], str(error)
    for estimate in estimates:
        (comparison_sources if estimate.component in counted else sources).append(estimate)
    return Discovery(tuple(sources), tuple(comparison_sources), unavailable, problems)


def provenance_by_component(gpus: Sequence[str] | None = None) -> dict[Component, Provenance]:
    """Return the provenance of each component's energy here, without starting a meter.

    Parameters and errors as of :func:`discover`.
    """
    cards, others, _ = _find_counters(gpus)
    counters = {source.component: source.provenance for source in (*cards, *others)}
    modelled = () if unmetered_here() else MODELLED
    return {**dict.fromkeys(modelled, "estimated"), **counters}


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
    return in_time(f"GPU {uuid}", lambda: _open_gpu(uuid, use_counter))


def _open_gpu(uuid: str, use_counter: bool) -> GpuSource:
    if uuid == apple.GPU_UUID:
        return apple.AppleGpuSource()
    if uuid.startswith(hwmon.INTEL) or uuid == hwmon.JETSON:
        return hwmon.open_gpu(uuid)
    is_amd = uuid.startswith(rocm.PREFIX)
    try:
        return (amd.AmdSource if is_amd else nvml.NvmlSource)(uuid, use_counter=use_counter)
    except MeterError as error:
        # NVML knows the GPU of a Jetson board, but not its energy.
        substitute = uuid if is_amd else hwmon.JETSON
        may_substitute = not is_amd or isinstance(error, amd.NoLibraryError)
        if may_substitute and substitute in hwmon.gpus():
            return hwmon.open_gpu(substitute)
        raise


def _find_counters(
    gpus: Sequence[str] | None,
) -> tuple[list[GpuSource], list[EnergySource], dict[str, str]]:
    """Return the meters of GPUs, those of other components, and why others are not used."""
    unavailable: dict[str, str] = {}
    sources: list[EnergySource] = []
    if unmetered_here():
        return _find_gpus(gpus or (), unavailable), sources, unavailable
    cards = _find_gpus(gpus, unavailable)
    if apple.is_mac():
        with_gpu = any(card.uuid == apple.GPU_UUID for card in cards)
        sources, absent = apple.find_apple(with_gpu=with_gpu)
        return cards, sources, {**unavailable, **absent}
    try:
        counters, problems = rapl.find_rapl()
        sources += counters
        kinds = {"cpu": "rapl", "ram": "rapl dram"}
        unavailable.update({kinds[component]: reason for component, reason in problems.items()})
    except MeterError as error:
        unavailable["rapl"] = str(error)
    try:
        metered = {source.component for source in sources}
        sources += zeusd.find_zeusd([c for c in MODELLED if c not in metered])
    except MeterError as error:
        unavailable["zeusd"] = str(error)
    if not any(source.component == "cpu" for source in sources):
        sources += _find_cpu_rail(unavailable)
    return cards, sources, unavailable


def _find_gpus(gpus: Sequence[str] | None, unavailable: dict[str, str]) -> list[GpuSource]:
    wanted = _visible_gpus(unavailable) if gpus is None else gpus
    cards: dict[str, GpuSource] = {}
    for uuid in amd.join_dies(list(dict.fromkeys(wanted))):
        try:
            card = open_gpu(uuid)
        except MeterError as error:
            if gpus is not None:
                raise
            # The energy of some of the cards is not the energy of the GPUs.
            kinds = {rocm.PREFIX: "amdsmi", apple.GPU_UUID: "apple gpu"}
            name = next((kinds[k] for k in kinds if uuid.startswith(k)), "nvml")
            unavailable[name] = f"{error}; to meter other cards alone, name them"
            return []
        cards.setdefault(card.uuid, card)
    return list(cards.values())


def _visible_gpus(unavailable: dict[str, str]) -> list[str]:
    """Return the GPUs visible to this process, and note why there are none of a maker."""
    found: list[str] = []
    finders: dict[str, Callable[[], tuple[str, ...]]] = {
        "nvml": nvml.visible_gpu_uuids,
        "amdsmi": amd.visible_amd_gpus,
        "hwmon": lambda: hwmon.visible_gpus(with_amd="amdsmi" in unavailable),
    }
    if apple.is_mac():
        finders = {"apple gpu": apple.visible_gpu_uuids}
    for name, find in finders.items():
        try:
            found += in_time(name.upper(), find)
        except MeterError as error:
            unavailable[name] = str(error)
    return found


def _find_cpu_rail(unavailable: dict[str, str]) -> list[EnergySource]:
    try:
        rail = hwmon.find_cpu()
    except MeterError as error:
        unavailable["hwmon"] = str(error)
        return []
    return [] if rail is None else [rail]
