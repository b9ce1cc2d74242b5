"""A window over all the meters of this machine: open it, do the work, read the joules.

    with EnergyMeter() as window:
        with window.phase("training"):
            ...
    window.reading.total.energy_j, window.phases[0].reading.total

A window holds all and only what ran between its two edges. Where the work is asynchronous (a GPU),
give ``synchronize``: it is called before the meters are read at each edge.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from greencv_core.energy import COMPONENTS, Component, weakest
from greencv_core.metering import codecarbon_estimate, nvml, rapl
from greencv_core.metering.reading import ComponentReading, Reading
from greencv_core.metering.sources import EnergySource, MeterError

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True)
class Phase:
    """A part of a window, with its reading. Times are seconds from the window's start."""

    name: str
    start_s: float
    end_s: float
    reading: Reading


@dataclass(frozen=True)
class TracePoint:
    """Mean power of one component since its point before."""

    time_s: float
    """Seconds from the window's start."""
    component: Component
    power_w: float


@dataclass(frozen=True)
class GpuSummary:
    """What the GPUs of a window told besides energy."""

    utilization_pct: float | None
    memory_used_bytes: int | None
    temperature_c: float | None
    power_limit_w: float | None


@dataclass
class _Counts:
    """All sources at one instant."""

    time_s: float
    energy_j: dict[int, float] = field(default_factory=dict)
    """By the source's place; a lost source is not in it."""


@dataclass(frozen=True)
class Discovery:
    """Which meters this machine has, and why others are not used."""

    sources: tuple[EnergySource, ...]
    absent: Mapping[str, str]
    """Meter to reason, e.g. ``{"nvml": "no NVIDIA GPU"}``."""


def discover(gpus: Sequence[str] | None = None) -> Discovery:
    """Find the best meter for each component of this machine.

    Parameters
    ----------
    gpus
        UUIDs of the GPUs to meter; the visible ones when omitted, none when empty.

    Raises
    ------
    MeterError
        A GPU that was asked for by its UUID cannot be metered.
    """
    sources: list[EnergySource] = []
    absent: dict[str, str] = {}
    asked = gpus is not None
    if gpus is None:
        try:
            gpus = nvml.visible_gpu_uuids()
        except MeterError as error:
            gpus, absent["nvml"] = (), str(error)
    for uuid in gpus:
        try:
            sources.append(nvml.NvmlSource(uuid))
        except MeterError as error:
            if asked:
                raise
            absent["nvml"] = str(error)
    try:
        sources += rapl.find_rapl()
    except MeterError as error:
        absent["rapl"] = str(error)
    have = {s.component for s in sources}
    missing: list[Component] = [c for c in ("cpu", "ram") if c not in have]
    sources += codecarbon_estimate.estimates(missing)
    return Discovery(tuple(sources), absent)


class Window:
    """One opened window; :class:`EnergyMeter` makes it."""

    def __init__(
        self,
        sources: Sequence[EnergySource],
        synchronize: Callable[[], None] | None,
        carbon_intensity_gco2e_per_kwh: float | None,
        idle_power_w: Mapping[Component, float] | None,
        trace_period_s: float,
    ) -> None:
        self._sources = list(sources)
        self._works_on_gpu = synchronize is not None
        self._synchronize = synchronize or (lambda: None)
        self._intensity = carbon_intensity_gco2e_per_kwh
        self._idle = idle_power_w
        self._period_s = trace_period_s
        self._problems: dict[int, str] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="greencv-meter", daemon=True)
        self._phases: list[Phase] = []
        self._trace: list[TracePoint] = []
        self._gpu_states: list[nvml.GpuState] = []
        self._reading: Reading | None = None
        self._first = self._last_traced = _Counts(0.0)

    @property
    def reading(self) -> Reading:
        """The whole window's reading, once it is closed."""
        if self._reading is None:
            raise RuntimeError("the window is still open: read it after the with block")
        return self._reading

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases, in the order in which they ended."""
        return tuple(self._phases)

    @property
    def trace(self) -> tuple[TracePoint, ...]:
        """Mean power by component between polls."""
        return tuple(self._trace)

    @property
    def gpu(self) -> GpuSummary | None:
        """Means over the polls (temperature and memory: the highest); None without a GPU."""
        if not self._gpu_states:
            return None
        return GpuSummary(
            utilization_pct=_mean([s.utilization_pct for s in self._gpu_states]),
            memory_used_bytes=_highest([s.memory_used_bytes for s in self._gpu_states]),
            temperature_c=_highest([s.temperature_c for s in self._gpu_states]),
            power_limit_w=_highest([s.power_limit_w for s in self._gpu_states]),
        )

    @property
    def disturbances(self) -> tuple[str, ...]:
        """What the GPUs told of other processes and of clocks held back."""
        found = []
        if any(self._others_on(s) for s in self._gpu_states):
            found.append("other processes on the GPU")
        held = [s.slowed for s in self._gpu_states if s.slowed == "thermal"]
        if held:
            found.append("GPU clocks held back by temperature")
        return tuple(found)

    def _others_on(self, gpu: nvml.GpuState) -> int:
        # In a container this process may be listed under an id that it does not know: whoever
        # gives a way to synchronise a GPU works on it and is one of those listed.
        own = os.getpid() in gpu.processes or self._works_on_gpu
        return max(0, len(gpu.processes) - own)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Meter a part of the window; phases may nest and overlap."""
        start = self._count()
        try:
            yield
        finally:
            end = self._count()
            self._phases.append(
                Phase(
                    name,
                    start.time_s - self._first.time_s,
                    end.time_s - self._first.time_s,
                    self._between(start, end),
                )
            )

    def open(self) -> None:
        """Start the meters and the window."""
        for place, source in enumerate(self._sources):
            with self._guard(place):
                source.start()
        self._first = self._last_traced = self._count()
        self._thread.start()

    def close(self) -> None:
        """End the window and stop the meters."""
        try:
            last = self._count()
        finally:  # a device that failed cannot be synchronised
            self._stopping.set()
            self._thread.join()
            for place, source in enumerate(self._sources):
                with self._guard(place, lose=False):
                    source.stop()
        self._reading = self._between(self._first, last)

    @contextlib.contextmanager
    def _guard(self, place: int, lose: bool = True) -> Iterator[None]:
        # A meter that dies must neither end the training nor be taken for a zero.
        try:
            yield
        except (MeterError, OSError) as error:
            if lose:
                self._problems.setdefault(place, str(error))

    def _count(self) -> _Counts:
        self._synchronize()
        return self._count_without_synchronizing()

    def _count_without_synchronizing(self) -> _Counts:
        with self._lock:
            counts = _Counts(time.monotonic())
            for place, source in enumerate(self._sources):
                if place not in self._problems:
                    with self._guard(place):
                        counts.energy_j[place] = source.energy_j()
            return counts

    def _between(self, start: _Counts, end: _Counts) -> Reading:
        duration_s = end.time_s - start.time_s
        parts: dict[Component, ComponentReading] = {}
        for component in COMPONENTS:
            places = [i for i, s in enumerate(self._sources) if s.component == component]
            # Of two GPUs one of which was lost, the other's joules are not the component's.
            if not places or any(i not in end.energy_j or i not in start.energy_j for i in places):
                continue
            parts[component] = ComponentReading(
                energy_j=sum(end.energy_j[i] - start.energy_j[i] for i in places),
                provenance=weakest(self._sources[i].provenance for i in places),
                source=" + ".join(dict.fromkeys(self._sources[i].description for i in places)),
            )
        return Reading(
            gpu=parts.get("gpu"),
            cpu=parts.get("cpu"),
            ram=parts.get("ram"),
            duration_s=duration_s,
            carbon_intensity_gco2e_per_kwh=self._intensity,
            idle_power_w=self._idle_of(parts),
            problems=tuple(self._problems.values()),
        )

    def _idle_of(self, parts: Mapping[Component, ComponentReading]) -> float | None:
        if not self._idle or any(component not in self._idle for component in parts):
            return None
        return sum(self._idle[component] for component in parts)

    def _poll(self) -> None:
        period_s = min([self._period_s, *(s.poll_period_s for s in self._sources)])
        while not self._stopping.wait(period_s):
            counts = self._count_without_synchronizing()
            elapsed_s = counts.time_s - self._last_traced.time_s
            # A meter may have to be read more often than a trace needs points.
            if elapsed_s < 0.9 * self._period_s:
                continue
            for source in self._sources:
                if isinstance(source, nvml.NvmlSource):
                    self._gpu_states.append(source.state())
            for component in COMPONENTS:
                places = [i for i, s in enumerate(self._sources) if s.component == component]
                both = [
                    i for i in places if i in counts.energy_j and i in self._last_traced.energy_j
                ]
                if both:
                    joules = sum(counts.energy_j[i] - self._last_traced.energy_j[i] for i in both)
                    at_s = counts.time_s - self._first.time_s
                    self._trace.append(TracePoint(at_s, component, joules / elapsed_s))
            self._last_traced = counts


class EnergyMeter:
    """All meters of this machine, or those of the GPUs named, as a context manager.

    Parameters
    ----------
    gpu
        UUID or UUIDs of the GPUs to meter; the visible ones when omitted, none when ``()``.
    synchronize
        Waits for the device's queued work (``torch.cuda.synchronize``); called at every edge.
    carbon_intensity_gco2e_per_kwh
        Turns energy into emissions.
    idle_power_w
        Power at idle by component, as :func:`measure_idle_power` returns it.
    trace_period_s
        Seconds between the points of the power trace, at most; half a second shows an epoch.

    Raises
    ------
    MeterError
        A GPU named cannot be metered.
    """

    def __init__(
        self,
        gpu: str | Sequence[str] | None = None,
        *,
        synchronize: Callable[[], None] | None = None,
        carbon_intensity_gco2e_per_kwh: float | None = None,
        idle_power_w: Mapping[Component, float] | None = None,
        trace_period_s: float = 0.5,
    ) -> None:
        self.found = discover((gpu,) if isinstance(gpu, str) else gpu)
        self._synchronize = synchronize
        self._intensity = carbon_intensity_gco2e_per_kwh
        self._idle = idle_power_w
        self._trace_period_s = trace_period_s
        self._window: Window | None = None

    def __enter__(self) -> Window:
        """Open a window."""
        self._window = Window(
            self.found.sources,
            self._synchronize,
            self._intensity,
            self._idle,
            self._trace_period_s,
        )
        self._window.open()
        return self._window

    def __exit__(self, *exception: object) -> None:
        """Close the window, also when the work raised."""
        assert self._window is not None
        self._window.close()


def measure_idle_power(duration_s: float, gpus: Sequence[str] | None = None) -> Reading:
    """Meter ``duration_s`` seconds in which this process does nothing.

    Idle is the machine as it stands, before any device context of ours is made: a context alone
    raises a GPU's draw, and that rise is part of what a training costs.
    """
    with EnergyMeter(gpus) as window:
        time.sleep(duration_s)
    return window.reading


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def _highest(values: Sequence[_Number | None]) -> _Number | None:
    known = [v for v in values if v is not None]
    return max(known) if known else None
