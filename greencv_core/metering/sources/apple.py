"""CPU, DRAM and GPU energy of Apple chips, from their counters through ``zeus-apple-silicon``.

macOS counts the energy of each part of the chip (IOReport, group "Energy Model"); no root is
needed. Apple does not state an accuracy; the counts come from a model within the chip. The GPU's
counter is that of the moment of the read. The others are published by the power manager: at each
read, or (seen on macOS 27) in batches 0.5 to 2.3 s apart, of which a part may come 30 ms later.

Library: https://github.com/ml-energy/zeus-apple-silicon
Batches: https://github.com/lablup/all-smi/pull/412, https://github.com/lablup/all-smi/issues/415
Counters that stop: https://github.com/vladkens/macmon/issues/76
"""

from __future__ import annotations

import functools
import platform
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from greencv_core.metering.base import EnergySource, MeterError, RefusedReadError
from greencv_core.metering.batched_recording import BatchedRecording
from greencv_core.metering.count_recording import CountRecording
from greencv_core.metering.counter import CheckedCounter
from greencv_core.metering.gpu import GpuState
from greencv_core.metering.refresh_cycle import RefreshCycle
from greencv_core.utils.energy import Component, Provenance

GPU_UUID = "APPLE-GPU"
"""Identifier of the one GPU of an Apple chip."""
REFRESH_S = 1e-3  # age of the GPU's counter when it was read
SLOWEST_BATCH_S = 3.5
"""Longest time between two batches: 2.3 s were seen."""
STUCK_AFTER_S = 5.0
"""Time without any change after which a counter that never rests is considered stuck."""
SAMPLE_S = 5e-4
"""Time for which a sample of all counters is used again; taking one takes some milliseconds."""
STILL_GAP_S = 0.02  # seconds between the samples that show whether counters move


@dataclass(frozen=True)
class _Channel:
    field: str
    name: str
    highest_w: float
    """Upper bound of the power on the largest chips."""
    refresh_s: float = SLOWEST_BATCH_S
    rests: bool = False
    """Whether it does not move while its part of the chip is idle."""


CPU = _Channel("cpu_total_mj", "CPU", 300.0)
DRAM = _Channel("dram_mj", "DRAM", 150.0)
GPU = _Channel("gpu_mj", "GPU", 400.0, refresh_s=0.05, rests=True)
GPU_SRAM = _Channel("gpu_sram_mj", "GPU SRAM", 100.0, rests=True)
ANE = _Channel("ane_mj", "neural engine (ANE)", 50.0, rests=True)


class _Monitor:
    """The library's monitor, shared by all sources and threads of this process."""

    def __init__(self) -> None:
        try:
            from zeus_apple_silicon import AppleEnergyMonitor
        except ImportError as error:
            raise MeterError(
                f"the counters of Apple chips need zeus-apple-silicon ({error}); "
                "run: pip install zeus-apple-silicon"
            ) from error
        try:
            self._monitor = AppleEnergyMonitor()
            sample = self._sample = self._monitor.get_cumulative_energy()
        except Exception as error:  # of any kind: macOS does not document the counters
            raise MeterError(f"macOS does not let the chip's counters be read: {error}") from error
        self._sampled_s = time.monotonic()
        self._lock = threading.Lock()
        self.present = [
            channel
            for channel in (CPU, DRAM, GPU, GPU_SRAM, ANE)
            if getattr(sample, channel.field) is not None
        ]
        self.stuck = self._find_stuck(sample)
        """Channels whose counter should move and does not."""

    def read_j(self, channel: _Channel) -> float:
        """Return a channel's counter; :class:`RefusedReadError` is raised if it has no value."""
        with self._lock:
            if time.monotonic() - self._sampled_s > SAMPLE_S:
                try:
                    self._sample = self._monitor.get_cumulative_energy()
                except Exception as error:
                    message = f"Apple counter of the {channel.name} cannot be read: {error}"
                    raise RefusedReadError(message) from error
                self._sampled_s = time.monotonic()
            energy_mj = getattr(self._sample, channel.field)
        if energy_mj is None:
            raise RefusedReadError(f"Apple counter of the {channel.name} has no value")
        return float(energy_mj) / 1e3

    def _find_stuck(self, first: Any) -> list[_Channel]:
        stuck = [channel for channel in (CPU, DRAM) if channel in self.present]
        end_s = time.monotonic() + SLOWEST_BATCH_S
        while stuck and time.monotonic() < end_s:
            time.sleep(STILL_GAP_S)
            try:
                sample = self._monitor.get_cumulative_energy()
            except Exception:  # the next sample may succeed
                continue
            fields = [channel.field for channel in stuck]
            moved = {name for name in fields if getattr(sample, name) != getattr(first, name)}
            stuck = [channel for channel in stuck if channel.field not in moved]
        return stuck


@functools.cache
def _monitor() -> _Monitor:
    if platform.machine() != "arm64":
        raise MeterError(
            f"no energy counter can be read on a Mac by a Python for {platform.machine()}; "
            "on an Apple chip, use a Python for arm64"
        )
    return _Monitor()


def _counter(monitor: _Monitor, channel: _Channel) -> CheckedCounter:
    return CheckedCounter(
        f"Apple counter of the {channel.name}",
        functools.partial(monitor.read_j, channel),
        highest_w=channel.highest_w,
        refresh_s=channel.refresh_s,
        # An idle part looks like one whose counter is stuck.
        stuck_after_s=float("inf") if channel.rests else STUCK_AFTER_S,
    )


@dataclass
class ApplePublishedSource:
    """Sum of some counters of the power manager; provenance *measured*."""

    component: Component
    channels: Sequence[_Channel]
    clock: _Channel
    """Channel whose counter never rests, published together with the others."""
    monitor: _Monitor = field(repr=False)
    provenance: Provenance = "measured"
    relative_uncertainty: float = 0.0  # Apple does not state an accuracy
    may_hang: bool = False

    @property
    def description(self) -> str:
        """Parts of the chip that are counted."""
        return f"Apple counter of the {' and '.join(channel.name for channel in self.channels)}"

    def record(self, poll_period_s: float) -> BatchedRecording:
        """Return a new recording, whose polls follow the publications."""
        counters = {channel: _counter(self.monitor, channel) for channel in self.channels}
        clock = counters.get(self.clock) or _counter(self.monitor, self.clock)
        return BatchedRecording(clock, list(counters.values()), poll_period_s)


class AppleGpuSource:
    """The GPU of an Apple chip; provenance *measured*.

    :class:`MeterError` is raised if there is no Apple chip or the chip has no such counter.
    """

    component: Component = "gpu"
    provenance: Provenance = "measured"
    relative_uncertainty = 0.0
    may_hang = False
    uses_counter, has_power, averaged, every_refresh = True, False, False, False
    power_limit_w: float | None = None
    cycle: RefreshCycle | None = None

    def __init__(self) -> None:
        if not is_mac():
            raise MeterError(f"GPU {GPU_UUID}: this computer is no Mac")
        self._monitor = _monitor()
        if GPU not in self._monitor.present:
            raise MeterError("this chip has no counter of its GPU's energy")
        self.uuid, self.name = GPU_UUID, f"{chip_name()} GPU"

    @property
    def description(self) -> str:
        """Part of the chip that is counted, and the chip's name."""
        return f"Apple counter of the GPU ({self.name})"

    def record(self, poll_period_s: float) -> CountRecording:
        """Return a new recording."""
        return CountRecording([_counter(self._monitor, GPU)], poll_period_s, REFRESH_S)

    def read(self) -> float:
        """Return the counter in joules."""
        return self._monitor.read_j(GPU)

    def power_w(self) -> float | None:
        """Return None: there is no power reading."""
        return None

    def instant_power_w(self) -> float | None:
        """Return None: there is no power reading."""
        return None

    def state(self) -> GpuState:
        """Return an empty state: utilisation, temperature and the like are not known."""
        return GpuState()


def is_mac() -> bool:
    """Return whether this is a Mac."""
    return platform.system() == "Darwin"


@functools.cache
def chip_name() -> str:
    """Return the name of a Mac's chip, e.g. ``Apple M2 Pro``; empty if it is unknown."""
    command = ["sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def visible_gpu_uuids() -> tuple[str, ...]:
    """Return the identifier of the GPU; :class:`MeterError` is raised if it has no counter."""
    return (AppleGpuSource().uuid,)


def find_apple(*, with_gpu: bool) -> tuple[list[EnergySource], dict[str, str]]:
    """Return the sources of CPU, DRAM and what belongs to the GPU, and why others are not used.

    Parameters
    ----------
    with_gpu
        Whether the GPU is metered, to which GPU SRAM and the neural engine are added.
    """
    try:
        monitor = _monitor()
    except MeterError as error:
        return [], {"apple": str(error)}
    absent = {
        f"apple {channel.name}": f"this chip has no counter of the {channel.name}"
        for channel in (CPU, DRAM, *((GPU_SRAM, ANE) if with_gpu else ()))
        if channel not in monitor.present
    }
    for channel in monitor.stuck:
        absent[f"apple {channel.name}"] = (
            f"the counter of the {channel.name} does not move; restart the Mac, or update macOS"
        )
    clocks = [c for c in (CPU, DRAM) if c in monitor.present and c not in monitor.stuck]
    metered = list(clocks)
    if CPU in metered and "Ultra" in chip_name():
        # The library keeps the last of two counters of this name, one for each die.
        metered.remove(CPU)
        absent["apple CPU"] = f"of the two dies of an {chip_name()}, only one can be read"
    components: dict[_Channel, Component] = {CPU: "cpu", DRAM: "ram"}
    sources: list[EnergySource] = [
        ApplePublishedSource(components[channel], [channel], clocks[0], monitor)
        for channel in metered
    ]
    beside = [channel for channel in (GPU_SRAM, ANE) if channel in monitor.present]
    if with_gpu and beside and clocks:
        sources.append(ApplePublishedSource("gpu", beside, clocks[0], monitor))
    elif with_gpu and beside:
        names = " and ".join(channel.name for channel in beside)
        absent[f"apple {names}"] = "nothing shows when these counters are published"
    return sources, absent
