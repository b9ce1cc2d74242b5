"""NVIDIA GPUs through NVML, by UUID.

The energy counter (Volta and later) has provenance *measured*. Without it, power is sampled and
integrated over time: *sampled*. https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import math
import os
import time
from typing import Any, NoReturn

import pynvml

from greencv_core.metering.base import MeterError, RefusedReadError
from greencv_core.metering.gpu import GpuRecording, GpuState
from greencv_core.metering.refresh_cycle import USUAL_PERIOD_S, RefreshCycle
from greencv_core.utils.energy import Component, Provenance

_GA100_DEVICE_IDS = range(0x2080, 0x2100)
"""Ampere cards whose plain power reading is instantaneous (A100, A30 and relatives)."""

SLOWDOWNS: dict[str, int] = {
    "temperature": pynvml.nvmlClocksThrottleReasonSwThermalSlowdown
    | pynvml.nvmlClocksThrottleReasonHwThermalSlowdown,
    "power limit": pynvml.nvmlClocksThrottleReasonSwPowerCap,
    "power supply": pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
    "hardware": pynvml.nvmlClocksThrottleReasonHwSlowdown,
}
"""NVML's bits by reason for reduced clocks."""


_LOST = (
    pynvml.NVMLError_GpuIsLost,
    pynvml.NVMLError_ResetRequired,
    pynvml.NVMLError_Uninitialized,
    pynvml.NVMLError_DriverNotLoaded,
)
"""Errors after which a card does not come back."""


class NvmlSource:
    """Energy of one GPU: its counter if it has one, else integrated power.

    Parameters
    ----------
    use_counter
        False integrates power even if there is a counter, for comparison.

    Raises :class:`MeterError` if the card does not exist or reports neither energy nor power.
    """

    component: Component = "gpu"
    may_hang = True

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
            self.name = _name(self._handle)
        except pynvml.NVMLError as error:
            raise MeterError(f"GPU {uuid}: NVML: {error}") from error
        mig = self._query(pynvml.nvmlDeviceGetMigMode)
        if mig is not None and mig[0] == pynvml.NVML_DEVICE_MIG_ENABLE:
            raise MeterError(
                f"GPU {uuid} is split by MIG: its energy is the sum over all slices; train on a "
                "card that is not split"
            )
        self._architecture = self._query(pynvml.nvmlDeviceGetArchitecture)
        self._counter_problem = ""
        self.power_limit_w = self._power_limit_w()
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
            self._read_power_w()  # a card without energy and power is no meter
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
        why = f"; its energy counter cannot be read: {self._counter_problem}"
        return f"NVML {what} ({self.name}{why if self._counter_problem else ''})"

    @property
    def relative_uncertainty(self) -> float:
        """NVML's documentation states 5% for Fermi and Kepler, and nothing for later cards."""
        kepler = pynvml.NVML_DEVICE_ARCH_KEPLER
        stated = self._architecture is not None and self._architecture <= kepler
        return 0.05 / math.sqrt(3) if stated else 0.0

    def record(self, poll_period_s: float) -> GpuRecording:
        """Return a new recording, whose polls follow the card's refreshes."""
        return GpuRecording(self)

    def read(self) -> float:
        """Return the counter in joules, or the power in watts."""
        return self._energy_j() if self.uses_counter else self._read_power_w()

    def power_w(self) -> float | None:
        """Return the instantaneous power, or else the mean of the last second; None if unknown."""
        instant_w = self.instant_power_w()
        if instant_w is not None:
            return instant_w
        power_mw = self._query(pynvml.nvmlDeviceGetPowerUsage)
        return None if power_mw is None else power_mw / 1e3

    def state(self) -> GpuState:
        """Return the GPU's utilisation, temperature and the like at this moment."""
        rates = self._query(pynvml.nvmlDeviceGetUtilizationRates)
        memory = self._query(pynvml.nvmlDeviceGetMemoryInfo)
        temperature = self._query(pynvml.nvmlDeviceGetTemperature, pynvml.NVML_TEMPERATURE_GPU)
        sm_mhz = self._query(pynvml.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_SM)
        memory_mhz = self._query(pynvml.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_MEM)
        processes = self._query(pynvml.nvmlDeviceGetComputeRunningProcesses) or []
        reasons = int(self._query(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons) or 0)
        return GpuState(
            utilization_pct=None if rates is None else float(rates.gpu),
            memory_used_bytes=None if memory is None else int(memory.used),
            temperature_c=None if temperature is None else float(temperature),
            sm_clock_mhz=None if sm_mhz is None else float(sm_mhz),
            memory_clock_mhz=None if memory_mhz is None else float(memory_mhz),
            power_limit_w=self._power_limit_w(),
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

    def _power_limit_w(self) -> float | None:
        limit_mw = self._query(pynvml.nvmlDeviceGetEnforcedPowerLimit)
        return limit_mw / 1e3 if limit_mw else None

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
            if isinstance(error, _LOST):
                raise MeterError(f"GPU {self.uuid}: energy counter: {error}") from error
            self._counter_problem = str(error)  # the power may still be readable
            return False

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
            self._refuse("energy counter", error)

    def _read_power_w(self) -> float:
        if self.has_instant_power:  # never replaced by a mean
            for _ in range(2):
                if (power_w := self.instant_power_w()) is not None:
                    return power_w
        try:
            power_w = float(pynvml.nvmlDeviceGetPowerUsage(self._handle)) / 1e3
        except pynvml.NVMLError as error:
            self._refuse("power", error)
        if self.has_instant_power:
            raise RefusedReadError(f"GPU {self.uuid}: instantaneous power cannot be read")
        return power_w

    def _refuse(self, what: str, error: pynvml.NVMLError) -> NoReturn:
        if isinstance(error, _LOST):
            raise MeterError(f"GPU {self.uuid}: {what} lost: {error}") from error
        raise RefusedReadError(f"GPU {self.uuid}: {what} cannot be read: {error}") from error


def visible_gpu_uuids() -> tuple[str, ...]:
    """Return the UUIDs of the NVIDIA GPUs visible to this process by ``CUDA_VISIBLE_DEVICES``.

    NVML counts physical cards and ignores that variable, so indices are translated here. Without a
    driver, or where CUDA and NVML may number the cards differently, :class:`MeterError` is raised.
    """
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        uuids = [pynvml.nvmlDeviceGetUUID(h) for h in handles]
        models = {_name(h) for h in handles}
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


def _name(handle: Any) -> str:
    try:
        return str(pynvml.nvmlDeviceGetName(handle))
    except UnicodeDecodeError as error:  # damaged firmware returns other bytes
        return bytes(error.object).decode(errors="replace")
