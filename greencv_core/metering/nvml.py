"""NVIDIA GPUs through NVML, by UUID.

The energy counter (Volta and later) is *measured*; where a card has none, power is sampled and
integrated over time: *sampled*. https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from typing import Any

import pynvml

from greencv_core.metering.base import MeterError
from greencv_core.metering.energy_curves import (
    AVERAGING_S,
    AveragedPowerCurve,
    CounterCurve,
    PowerCurve,
    counter_curve,
    power_curve,
)
from greencv_core.metering.refresh_tracker import SEARCH_S, USUAL_PERIOD_S, RefreshWatch, Rhythm
from greencv_core.utils.energy import Component, Provenance

_INSTANT_POWER_FIELD = getattr(pynvml, "NVML_FI_DEV_POWER_INSTANT", None)
_GA100_DEVICE_IDS = range(0x2080, 0x2100)
"""A100, A30 and their kin: Ampere cards whose plain power reading is instantaneous."""
PATIENCE_S = 1.5
"""A counter that has never moved for so long does not count, though it can be read."""


@dataclass(frozen=True)
class GpuState:
    """A look at a GPU; None for what it does not tell."""

    utilization_pct: float | None
    memory_used_bytes: int | None
    temperature_c: float | None
    sm_clock_mhz: float | None
    memory_clock_mhz: float | None
    power_limit_w: float | None
    slowdowns: tuple[str, ...]
    """What holds the clocks back, of :data:`SLOWDOWNS`."""
    processes: tuple[int, ...]
    """Ids of the compute processes on the card; in a container they may be those outside it."""


SLOWDOWNS: dict[str, int] = {
    "temperature": pynvml.nvmlClocksThrottleReasonSwThermalSlowdown
    | pynvml.nvmlClocksThrottleReasonHwThermalSlowdown,
    "power limit": pynvml.nvmlClocksThrottleReasonSwPowerCap,
    "power supply": pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
    "hardware": pynvml.nvmlClocksThrottleReasonHwSlowdown,
}
"""Why clocks may be held back, and NVML's bits for it."""


class NvmlRecording:
    """Joules or watts of one GPU, followed from refresh to refresh."""

    leeway_s = 0.0

    def __init__(self, source: NvmlSource) -> None:
        self._source = source
        self._watch = RefreshWatch(source.read, source.rhythm, every_refresh=source.every_refresh)
        self._power_before_w: float | None = None

    @property
    def next_look_s(self) -> float:
        """When to look again: around the next refresh."""
        return self._watch.next_look_s

    @property
    def looked_s(self) -> float:
        """Until when the card told something: a counter that never moved told nothing."""
        counted = not self._source.counts or self._watch.never_moved_s == 0
        return self._watch.looked_s if counted else self._watch.refreshes[0].read_s

    @property
    def resolution_s(self) -> float | None:
        """The refresh period; None where the value stood still."""
        watch = self._watch
        return watch.period_s if watch.rhythm or watch.continuous else None

    def look(self) -> None:
        """Read the card now."""
        if not self._watch.refreshes and self._source.counts:
            # The counter tells only what came after its last refresh; this tells what was before.
            self._power_before_w = self._source.instant_power_w()
        self._watch.look()
        if self._source.counts and self._watch.never_moved_s > PATIENCE_S:
            raise MeterError(f"GPU {self._source.uuid}: energy counter stands still")
        rhythm = self._watch.rhythm
        if rhythm is not None:
            self._source.rhythm = rhythm

    def settled(self, time_s: float) -> bool:
        """Return whether enough refreshes have been seen after a time.

        Of a counter two: the interval in which the time falls, and the power after it.
        """
        watch = self._watch
        if watch.continuous:
            return watch.looked_s >= time_s
        rhythm = watch.rhythm  # another thread may lose it
        period_s = rhythm.period_s if rhythm else USUAL_PERIOD_S
        if not self._source.counts:
            memory_s = AVERAGING_S if self._source.averaged else 0.0
            return watch.looked_s >= time_s + memory_s + period_s
        found = rhythm is not None or watch.looked_s > time_s + SEARCH_S
        return found and len(watch.refreshes) >= 3 and watch.refreshes[-2].time_s >= time_s

    def curve(self) -> CounterCurve | PowerCurve | AveragedPowerCurve:
        """Return the energy over time."""
        refreshes = self._watch.timeline()
        if self._source.counts:
            return counter_curve(refreshes, self._power_before_w, continuous=self._watch.continuous)
        return power_curve(
            refreshes, self._watch.looked_s, self._watch.period_s, self._source.averaged
        )


class NvmlSource:
    """Energy of one GPU, by its counter where it has one, else by integrated power.

    Parameters
    ----------
    uuid
        The card's.
    use_counter
        False integrates the power even where there is a counter, to compare the two.

    Raises
    ------
    MeterError
        There is no such card, or it tells neither energy nor power.
    """

    component: Component = "gpu"

    def __init__(self, uuid: str, *, use_counter: bool = True) -> None:
        self.uuid = uuid
        if uuid.startswith("MIG-"):
            raise MeterError(
                f"{uuid}: a MIG slice has no energy of its own, and its card's is that of all "
                "slices together; train on a card that is not split"
            )
        try:
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            self.name = str(_text(pynvml.nvmlDeviceGetName(self._handle)))
        except pynvml.NVMLError as error:
            raise MeterError(f"GPU {uuid}: NVML: {error}") from error
        mig = _ask(pynvml.nvmlDeviceGetMigMode, self._handle)
        if mig is not None and mig[0] == pynvml.NVML_DEVICE_MIG_ENABLE:
            raise MeterError(
                f"GPU {uuid} is split by MIG: its energy is that of all slices together, whoever "
                "works on them; train on a card that is not split"
            )
        self._architecture = _ask(pynvml.nvmlDeviceGetArchitecture, self._handle)
        self.counts = use_counter and self._counts()
        self.instant = self.instant_power_w() is not None
        """Whether the card tells its power of this instant."""
        self.tells_power = (
            self.instant or _ask(pynvml.nvmlDeviceGetPowerUsage, self._handle) is not None
        )
        self.averaged = not self.counts and not self.instant and self._averages()
        if not self.counts:
            self._power_w()  # a card that tells neither energy nor power is no meter
        self.every_refresh = not self.counts
        """Whether recordings look at every refresh; of a counter, to tell the power in between."""
        self.provenance: Provenance = "measured" if self.counts else "sampled"
        self.rhythm: Rhythm | None = None
        """That of the last recording, for the next."""

    @property
    def description(self) -> str:
        """What is read."""
        what = (
            "energy counter"
            if self.counts
            else "power averaged over 1 s, integrated"
            if self.averaged
            else "power, integrated"
        )
        return f"NVML {what} ({self.name})"

    @property
    def relative_uncertainty(self) -> float:
        """NVML's documentation states 5 % for Fermi and Kepler, and nothing for later cards."""
        kepler = pynvml.NVML_DEVICE_ARCH_KEPLER
        stated = self._architecture is not None and self._architecture <= kepler
        return 0.05 / math.sqrt(3) if stated else 0.0

    def record(self, poll_period_s: float) -> NvmlRecording:
        """Return a new recording; the card's refresh decides how often it is looked at."""
        return NvmlRecording(self)

    def read(self) -> float:
        """Return the counter in joules, or the power in watts."""
        return self._energy_j() if self.counts else self._power_w()

    def state(self) -> GpuState:
        """Return what else the GPU tells at this moment."""
        rates = _ask(pynvml.nvmlDeviceGetUtilizationRates, self._handle)
        memory = _ask(pynvml.nvmlDeviceGetMemoryInfo, self._handle)
        temperature = _ask(
            pynvml.nvmlDeviceGetTemperature, self._handle, pynvml.NVML_TEMPERATURE_GPU
        )
        sm_mhz = _ask(pynvml.nvmlDeviceGetClockInfo, self._handle, pynvml.NVML_CLOCK_SM)
        memory_mhz = _ask(pynvml.nvmlDeviceGetClockInfo, self._handle, pynvml.NVML_CLOCK_MEM)
        limit_mw = _ask(pynvml.nvmlDeviceGetEnforcedPowerLimit, self._handle)
        processes = _ask(pynvml.nvmlDeviceGetComputeRunningProcesses, self._handle) or []
        reasons = int(_ask(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, self._handle) or 0)
        return GpuState(
            utilization_pct=None if rates is None else float(rates.gpu),
            memory_used_bytes=None if memory is None else int(memory.used),
            temperature_c=None if temperature is None else float(temperature),
            sm_clock_mhz=None if sm_mhz is None else float(sm_mhz),
            memory_clock_mhz=None if memory_mhz is None else float(memory_mhz),
            power_limit_w=None if limit_mw is None else limit_mw / 1e3,
            slowdowns=tuple(name for name, bits in SLOWDOWNS.items() if reasons & bits),
            processes=tuple(int(p.pid) for p in processes),
        )

    def instant_power_w(self) -> float | None:
        """Return the power of this instant; None where the driver tells none."""
        if _INSTANT_POWER_FIELD is None:
            return None
        values = _ask(pynvml.nvmlDeviceGetFieldValues, self._handle, [_INSTANT_POWER_FIELD])
        if not values or values[0].nvmlReturn != pynvml.NVML_SUCCESS:
            return None
        return float(values[0].value.uiVal) / 1e3

    def _counts(self) -> bool:
        try:
            told_mj = int(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
            if told_mj == 0:  # some virtual GPUs have a counter that does not count
                time.sleep(USUAL_PERIOD_S * 1.5)
                told_mj = int(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
            return told_mj > 0
        except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
            return False
        except pynvml.NVMLError as error:
            raise MeterError(f"GPU {self.uuid}: energy counter: {error}") from error

    def _averages(self) -> bool:
        """Return whether the plain power reading is a mean: from Ampere on, but for GA100."""
        if self._architecture is None or self._architecture == pynvml.NVML_DEVICE_ARCH_UNKNOWN:
            capability = _ask(pynvml.nvmlDeviceGetCudaComputeCapability, self._handle)
            return capability is not None and tuple(capability) > (8, 0)
        if self._architecture == pynvml.NVML_DEVICE_ARCH_AMPERE:
            pci = _ask(pynvml.nvmlDeviceGetPciInfo, self._handle)
            return pci is None or pci.pciDeviceId >> 16 not in _GA100_DEVICE_IDS
        return bool(self._architecture > pynvml.NVML_DEVICE_ARCH_AMPERE)

    def _energy_j(self) -> float:
        try:
            return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3
        except pynvml.NVMLError as error:
            raise MeterError(f"GPU {self.uuid}: energy counter lost: {error}") from error

    def _power_w(self) -> float:
        if self.instant:  # never a mean in its place
            for _ in range(2):
                if (power_w := self.instant_power_w()) is not None:
                    return power_w
            raise MeterError(f"GPU {self.uuid}: power of the instant lost")
        try:
            return float(pynvml.nvmlDeviceGetPowerUsage(self._handle)) / 1e3
        except pynvml.NVMLError as error:
            raise MeterError(f"GPU {self.uuid}: power lost: {error}") from error


def visible_gpu_uuids() -> tuple[str, ...]:
    """Return the UUIDs of the NVIDIA GPUs that ``CUDA_VISIBLE_DEVICES`` leaves to this process.

    NVML counts physical cards and knows nothing of that variable, so indices are translated here.

    Raises
    ------
    MeterError
        There is no NVIDIA driver, or an index may mean one card to CUDA and another to NVML.
    """
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        uuids = [str(_text(pynvml.nvmlDeviceGetUUID(h))) for h in handles]
        models = {str(_text(pynvml.nvmlDeviceGetName(h))) for h in handles}
    except pynvml.NVMLError as error:
        raise MeterError(f"no NVIDIA GPU ({error})") from error
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return tuple(uuids)
    entries = [part.strip() for part in wanted.split(",")]
    if any(entry.startswith("MIG-") for entry in entries):
        raise MeterError(
            "CUDA_VISIBLE_DEVICES names a MIG slice, which has no energy of its own; train on a "
            "card that is not split"
        )
    by_bus = os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if len(models) > 1 and not by_bus and any(entry.isdigit() for entry in entries):
        raise MeterError(
            f"CUDA_VISIBLE_DEVICES={wanted} counts cards of several models fastest first, NVML by "
            "their place on the bus; set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name UUIDs"
        )
    visible = []
    for entry in entries:
        matches = [u for u in uuids if entry and u.startswith(entry)]
        if entry.isdigit() and int(entry) < len(uuids):
            matches = [uuids[int(entry)]]
        if len(matches) != 1:
            break  # CUDA, too, ignores what follows an entry that it does not know
        visible.append(matches[0])
    return tuple(dict.fromkeys(visible))


def _ask(function: Any, *arguments: Any) -> Any:
    """Return what NVML answers, or None where the card or the driver does not tell."""
    try:
        return function(*arguments)
    except (pynvml.NVMLError, pynvml.NVMLLibraryMismatchError):
        return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
