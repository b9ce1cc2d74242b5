"""GPU energy through NVML (module ``pynvml``, package ``nvidia-ml-py``).

Volta and later count energy in millijoules since the driver was loaded: *measured*. Where a card
or a virtual GPU does not, power is read and integrated over time: *sampled*.
https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import Any

import pynvml

from greencv_core.energy import Component, Provenance
from greencv_core.metering.sources import MeterError

_INSTANT_POWER_FIELD = getattr(pynvml, "NVML_FI_DEV_POWER_INSTANT", None)


@dataclass(frozen=True)
class GpuState:
    """A look at a GPU; None for what it does not tell."""

    utilization_pct: float | None
    memory_used_bytes: int | None
    temperature_c: float | None
    power_limit_w: float | None
    slowed: str
    """Why the clocks are held back (``thermal``, ``power``), or empty."""
    processes: tuple[int, ...]
    """Ids of the compute processes on the card; in a container they may be those outside it."""


class NvmlSource:
    """Energy of one GPU, by its counter where it has one, else by integrated power."""

    component: Component = "gpu"

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid
        self._lock = threading.Lock()
        try:
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            self.name = str(_text(pynvml.nvmlDeviceGetName(self._handle)))
        except pynvml.NVMLError as error:
            raise MeterError(f"GPU {uuid}: NVML: {error}") from error
        self.counts = self._counts()
        if not self.counts:
            self._power_w()  # a card that tells neither energy nor power is no meter
        self.provenance: Provenance = "measured" if self.counts else "sampled"
        # Boards refresh their sensor every 20 to 100 ms: faster would gain nothing.
        self.poll_period_s = 1.0 if self.counts else 0.1
        self._integral_j = 0.0
        self._start_mj = 0
        self._last: tuple[float, float] | None = None

    @property
    def description(self) -> str:
        """What is read."""
        return f"NVML {'energy counter' if self.counts else 'power, integrated'} ({self.name})"

    def start(self) -> None:
        """Begin to count."""
        with self._lock:
            if self.counts:
                self._start_mj = self._energy_mj()
            else:
                self._integral_j, self._last = 0.0, (time.monotonic(), self._power_w())

    def energy_j(self) -> float:
        """Return the joules since :meth:`start`."""
        with self._lock:
            if self.counts:
                return (self._energy_mj() - self._start_mj) / 1e3
            now, power_w = time.monotonic(), self._power_w()
            assert self._last is not None, "start() comes first"
            then, power_then_w = self._last
            self._integral_j += (now - then) * (power_w + power_then_w) / 2
            self._last = (now, power_w)
            return self._integral_j

    def stop(self) -> None:
        """Nothing is held; NVML stays initialised for the process."""

    def state(self) -> GpuState:
        """Return what else the GPU tells at this moment."""
        rates = _ask(pynvml.nvmlDeviceGetUtilizationRates, self._handle)
        memory = _ask(pynvml.nvmlDeviceGetMemoryInfo, self._handle)
        temperature = _ask(
            pynvml.nvmlDeviceGetTemperature, self._handle, pynvml.NVML_TEMPERATURE_GPU
        )
        limit_mw = _ask(pynvml.nvmlDeviceGetEnforcedPowerLimit, self._handle)
        processes = _ask(pynvml.nvmlDeviceGetComputeRunningProcesses, self._handle) or []
        reasons = _ask(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, self._handle) or 0
        return GpuState(
            utilization_pct=None if rates is None else float(rates.gpu),
            memory_used_bytes=None if memory is None else int(memory.used),
            temperature_c=None if temperature is None else float(temperature),
            power_limit_w=None if limit_mw is None else limit_mw / 1e3,
            slowed=_slowed(int(reasons)),
            processes=tuple(int(p.pid) for p in processes),
        )

    def _counts(self) -> bool:
        try:
            pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
            return False
        except pynvml.NVMLError as error:
            raise MeterError(f"GPU {self.uuid}: energy counter: {error}") from error
        return True

    def _energy_mj(self) -> int:
        try:
            return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        except pynvml.NVMLError as error:
            raise MeterError(f"GPU {self.uuid}: energy counter lost: {error}") from error

    def _power_w(self) -> float:
        # From Ampere on the plain reading is a 1 s average on most boards; the field is not.
        if _INSTANT_POWER_FIELD is not None:
            values = _ask(pynvml.nvmlDeviceGetFieldValues, self._handle, [_INSTANT_POWER_FIELD])
            if values and values[0].nvmlReturn == pynvml.NVML_SUCCESS:
                return float(values[0].value.uiVal) / 1e3
        try:
            return float(pynvml.nvmlDeviceGetPowerUsage(self._handle)) / 1e3
        except pynvml.NVMLError as error:
            raise MeterError(f"GPU {self.uuid}: power: {error}") from error


def visible_gpu_uuids() -> tuple[str, ...]:
    """Return the UUIDs of the NVIDIA GPUs that ``CUDA_VISIBLE_DEVICES`` leaves to this process.

    NVML counts physical cards and knows nothing of that variable, so indices are translated here.

    Raises
    ------
    MeterError
        There is no NVIDIA driver.
    """
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        uuids = [str(_text(pynvml.nvmlDeviceGetUUID(h))) for h in handles]
    except pynvml.NVMLError as error:
        raise MeterError(f"no NVIDIA GPU ({error})") from error
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return tuple(uuids)
    visible = []
    for entry in (part.strip() for part in wanted.split(",")):
        if entry.startswith("MIG-"):
            raise MeterError("a MIG slice has no energy of its own; meter the whole card")
        matches = [u for u in uuids if entry and u.startswith(entry)]
        if entry.isdigit() and int(entry) < len(uuids):
            matches = [uuids[int(entry)]]
        if len(matches) != 1:
            break  # CUDA, too, ignores what follows an entry that it does not know
        visible.append(matches[0])
    return tuple(visible)


def _ask(function: Any, *arguments: Any) -> Any:
    """Return what NVML answers, or None where the card or the driver does not tell."""
    try:
        return function(*arguments)
    except (pynvml.NVMLError, pynvml.NVMLLibraryMismatchError):
        return None


def _slowed(reasons: int) -> str:
    thermal = (
        pynvml.nvmlClocksThrottleReasonSwThermalSlowdown
        | pynvml.nvmlClocksThrottleReasonHwThermalSlowdown
    )
    power = (
        pynvml.nvmlClocksThrottleReasonSwPowerCap
        | pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown
    )
    return "thermal" if reasons & thermal else "power" if reasons & power else ""


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
