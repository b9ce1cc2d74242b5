"""NVIDIA GPUs through NVML, by UUID.

The energy counter (Volta and later) has provenance *measured*. Without it, power is sampled and
integrated over time: *sampled*. https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from typing import Any

import pynvml

from greencv_core.metering import energy_curves
from greencv_core.metering.base import MeterError
from greencv_core.metering.energy_curves import AVERAGING_S, CounterCurve, EnergyCurve
from greencv_core.metering.refresh_cycle import RefreshCycle
from greencv_core.metering.refresh_tracker import SEARCH_S, USUAL_PERIOD_S, RefreshTracker
from greencv_core.utils.energy import Component, Provenance

_GA100_DEVICE_IDS = range(0x2080, 0x2100)
"""Ampere cards whose plain power reading is instantaneous (A100, A30 and relatives)."""
STUCK_AFTER_S = 1.5  # time without any change after which a counter is considered stuck


@dataclass(frozen=True)
class GpuState:
    """State of a GPU at one moment; None for what the GPU does not report."""

    utilization_pct: float | None
    memory_used_bytes: int | None
    temperature_c: float | None
    sm_clock_mhz: float | None
    memory_clock_mhz: float | None
    power_limit_w: float | None
    slowdowns: tuple[str, ...]
    """Reasons for reduced clocks, from :data:`SLOWDOWNS`."""
    processes: tuple[int, ...]
    """Ids of the compute processes on the card; in a container, maybe their ids on the host."""


SLOWDOWNS: dict[str, int] = {
    "temperature": pynvml.nvmlClocksThrottleReasonSwThermalSlowdown
    | pynvml.nvmlClocksThrottleReasonHwThermalSlowdown,
    "power limit": pynvml.nvmlClocksThrottleReasonSwPowerCap,
    "power supply": pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
    "hardware": pynvml.nvmlClocksThrottleReasonHwSlowdown,
}
"""NVML's bits by reason for reduced clocks."""


class _Recording:
    """Energy or power of one GPU, followed from refresh to refresh."""

    leeway_s = 0.0

    def __init__(self, source: NvmlSource) -> None:
        self._source = source
        self._tracker = RefreshTracker(
            source.read, source.cycle, every_refresh=source.every_refresh
        )
        self._power_before_w: float | None = None

    @property
    def next_poll_s(self) -> float:
        return self._tracker.next_poll_s

    @property
    def polled_s(self) -> float:
        """Time until which the energy is known; the first poll for a counter that never moved."""
        moved = not self._source.uses_counter or self._tracker.never_moved_s == 0
        return self._tracker.polled_s if moved else self._tracker.refreshes[0].read_s

    @property
    def resolution_s(self) -> float | None:
        tracker = self._tracker
        return tracker.period_s if tracker.cycle or tracker.continuous else None

    def poll(self) -> None:
        if not self._tracker.refreshes and self._source.uses_counter:
            # The counter shows the power after its last refresh, this the power before it.
            self._power_before_w = self._source.instant_power_w()
        self._tracker.poll()
        if self._source.uses_counter and self._tracker.never_moved_s > STUCK_AFTER_S:
            raise MeterError(f"GPU {self._source.uuid}: energy counter does not change")
        if (cycle := self._tracker.cycle) is not None:
            self._source.cycle = cycle

    def is_settled(self, time_s: float) -> bool:
        """Return whether enough refreshes were observed after a time.

        A counter needs two: the end of the interval around the time, and the power after it.
        """
        tracker = self._tracker
        if tracker.continuous:
            return tracker.polled_s >= time_s
        cycle = tracker.cycle  # another thread may discard it
        period_s = cycle.period_s if cycle else USUAL_PERIOD_S
        if not self._source.uses_counter:
            memory_s = AVERAGING_S if self._source.averaged else 0.0
            return tracker.polled_s >= time_s + memory_s + period_s
        found = cycle is not None or tracker.polled_s > time_s + SEARCH_S
        return found and len(tracker.refreshes) >= 3 and tracker.refreshes[-2].time_s >= time_s

    def curve(self) -> EnergyCurve:
        tracker, refreshes = self._tracker, self._tracker.timeline()
        if self._source.uses_counter:
            columns = energy_curves.columns(refreshes)
            return CounterCurve(*columns, self._power_before_w, steps=not tracker.continuous)
        return energy_curves.power_curve(
            refreshes, tracker.polled_s, tracker.period_s, self._source.averaged
        )


class NvmlSource:
    """Energy of one GPU: its counter if it has one, else integrated power.

    Parameters
    ----------
    use_counter
        False integrates power even if there is a counter, for comparison.

    Raises :class:`MeterError` if the card does not exist or reports neither energy nor power.
    """

    component: Component = "gpu"

    def __init__(self, uuid: str, *, use_counter: bool = True) -> None:
        self.uuid = uuid
        if uuid.startswith("MIG-"):
            raise MeterError(
                f"{uuid}: the energy of a MIG slice cannot be metered, only the sum over all "
                "slices of its card; train on a card that is not split"
            )
        try:
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            self.name: str = pynvml.nvmlDeviceGetName(self._handle)
        except pynvml.NVMLError as error:
            raise MeterError(f"GPU {uuid}: NVML: {error}") from error
        mig = self._query(pynvml.nvmlDeviceGetMigMode)
        if mig is not None and mig[0] == pynvml.NVML_DEVICE_MIG_ENABLE:
            raise MeterError(
                f"GPU {uuid} is split by MIG: its energy is the sum over all slices; train on a "
                "card that is not split"
            )
        self._architecture = self._query(pynvml.nvmlDeviceGetArchitecture)
        self.uses_counter = use_counter and self._has_counter()
        self.has_instant_power = self.instant_power_w() is not None
        """Whether the card reports instantaneous power."""
        self.has_power = (
            self.has_instant_power or self._query(pynvml.nvmlDeviceGetPowerUsage) is not None
        )
        self.averaged = (
            not self.uses_counter and not self.has_instant_power and self._averages_power()
        )
        """Whether the power that is read is the mean of the last second."""
        if not self.uses_counter:
            self._power_w()  # a card without energy and power is no meter
        self.every_refresh = not self.uses_counter
        """Whether recordings follow every refresh; for a counter, only to resolve its power."""
        self.provenance: Provenance = "measured" if self.uses_counter else "sampled"
        self.cycle: RefreshCycle | None = None
        """Refresh cycle found by the last recording, for the next one."""

    @property
    def description(self) -> str:
        """Quantity that is read, and the card's name."""
        power = "power averaged over 1 s" if self.averaged else "power"
        what = "energy counter" if self.uses_counter else f"{power}, integrated"
        return f"NVML {what} ({self.name})"

    @property
    def relative_uncertainty(self) -> float:
        """NVML's documentation states 5 % for Fermi and Kepler, and nothing for later cards."""
        kepler = pynvml.NVML_DEVICE_ARCH_KEPLER
        stated = self._architecture is not None and self._architecture <= kepler
        return 0.05 / math.sqrt(3) if stated else 0.0

    def record(self, poll_period_s: float) -> _Recording:
        """Return a new recording, whose polls follow the card's refreshes."""
        return _Recording(self)

    def read(self) -> float:
        """Return the counter in joules, or the power in watts."""
        return self._energy_j() if self.uses_counter else self._power_w()

    def state(self) -> GpuState:
        """Return the GPU's utilisation, temperature and the like at this moment."""
        rates = self._query(pynvml.nvmlDeviceGetUtilizationRates)
        memory = self._query(pynvml.nvmlDeviceGetMemoryInfo)
        temperature = self._query(pynvml.nvmlDeviceGetTemperature, pynvml.NVML_TEMPERATURE_GPU)
        sm_mhz = self._query(pynvml.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_SM)
        memory_mhz = self._query(pynvml.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_MEM)
        limit_mw = self._query(pynvml.nvmlDeviceGetEnforcedPowerLimit)
        processes = self._query(pynvml.nvmlDeviceGetComputeRunningProcesses) or []
        reasons = int(self._query(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons) or 0)
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
        """Return the instantaneous power; None if the driver does not report it."""
        fields = [pynvml.NVML_FI_DEV_POWER_INSTANT]
        values = self._query(pynvml.nvmlDeviceGetFieldValues, fields)
        if not values or values[0].nvmlReturn != pynvml.NVML_SUCCESS:
            return None
        return float(values[0].value.uiVal) / 1e3

    def _query(self, function: Any, *arguments: Any) -> Any:
        """Call NVML for this card; None if the card or the driver does not support it."""
        try:
            return function(self._handle, *arguments)
        except (pynvml.NVMLError, pynvml.NVMLLibraryMismatchError):
            return None

    def _has_counter(self) -> bool:
        try:
            energy_mj = int(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
            if energy_mj == 0:  # some virtual GPUs have a counter that does not count
                time.sleep(USUAL_PERIOD_S * 1.5)
                energy_mj = int(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
            return energy_mj > 0
        except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
            return False
        except pynvml.NVMLError as error:
            raise MeterError(f"GPU {self.uuid}: energy counter: {error}") from error

    def _averages_power(self) -> bool:
        """Return whether the plain power reading is a mean: from Ampere on, except GA100."""
        if self._architecture is None or self._architecture == pynvml.NVML_DEVICE_ARCH_UNKNOWN:
            capability = self._query(pynvml.nvmlDeviceGetCudaComputeCapability)
            return capability is not None and tuple(capability) > (8, 0)
        if self._architecture == pynvml.NVML_DEVICE_ARCH_AMPERE:
            pci = self._query(pynvml.nvmlDeviceGetPciInfo)
            return pci is None or pci.pciDeviceId >> 16 not in _GA100_DEVICE_IDS
        return bool(self._architecture > pynvml.NVML_DEVICE_ARCH_AMPERE)

    def _energy_j(self) -> float:
        try:
            return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3
        except pynvml.NVMLError as error:
            raise MeterError(f"GPU {self.uuid}: energy counter lost: {error}") from error

    def _power_w(self) -> float:
        if self.has_instant_power:  # never replaced by a mean
            for _ in range(2):
                if (power_w := self.instant_power_w()) is not None:
                    return power_w
            raise MeterError(f"GPU {self.uuid}: instantaneous power lost")
        try:
            return float(pynvml.nvmlDeviceGetPowerUsage(self._handle)) / 1e3
        except pynvml.NVMLError as error:
            raise MeterError(f"GPU {self.uuid}: power lost: {error}") from error


def visible_gpu_uuids() -> tuple[str, ...]:
    """Return the UUIDs of the NVIDIA GPUs visible to this process by ``CUDA_VISIBLE_DEVICES``.

    NVML counts physical cards and ignores that variable, so indices are translated here. Without a
    driver, or where CUDA and NVML may number the cards differently, :class:`MeterError` is raised.
    """
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        uuids = [pynvml.nvmlDeviceGetUUID(h) for h in handles]
        models = {pynvml.nvmlDeviceGetName(h) for h in handles}
    except pynvml.NVMLError as error:
        raise MeterError(f"no NVIDIA GPU ({error})") from error
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return tuple(uuids)
    entries = [part.strip() for part in wanted.split(",")]
    if any(entry.startswith("MIG-") for entry in entries):
        raise MeterError(
            "CUDA_VISIBLE_DEVICES names a MIG slice, whose energy cannot be metered; train on a "
            "card that is not split"
        )
    by_bus = os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if len(models) > 1 and not by_bus and any(entry.isdigit() for entry in entries):
        raise MeterError(
            f"CUDA_VISIBLE_DEVICES={wanted}: if models differ, CUDA numbers the fastest first, "
            "NVML by PCI bus; set CUDA_DEVICE_ORDER=PCI_BUS_ID, or use UUIDs"
        )
    visible = []
    for entry in entries:
        matches = [u for u in uuids if entry and u.startswith(entry)]
        if entry.isdigit() and int(entry) < len(uuids):
            matches = [uuids[int(entry)]]
        if len(matches) != 1:
            break  # like CUDA, which ignores what follows an unknown entry
        visible.append(matches[0])
    return tuple(dict.fromkeys(visible))
