"""A window over all the meters of this machine: open it, do the work, read the joules.

    with EnergyMeter() as window:
        with window.phase("training"):
            ...
    window.reading.total.energy_j, window.phases[0].reading.total

A window holds all and only what ran between its two edges. A GPU works on after a call returned:
at each edge its queued work is waited for.

To close a window takes no time, but its reading does: a meter that is refreshed every 100 ms tells
what happened until the edge only at its next refresh.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import psutil

from greencv_core.metering.base import EnergySource
from greencv_core.metering.discovery import discover
from greencv_core.metering.energy_curves import EnergyCurve
from greencv_core.metering.nvml import NvmlSource
from greencv_core.metering.poller import Sampler
from greencv_core.metering.reading import ComponentReading, Reading, add_up
from greencv_core.utils.energy import COMPONENTS, Component

EDGE_S = 1e-4
"""Standard uncertainty of an edge's own time: between a look at the clock and the work."""

MOST_POINTS, SHORTEST_STEP_S = 2000, 0.02
"""Of a power trace that is finer than one point a poll period."""

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
    """What the GPUs of a window told besides energy: means, and the highest where it says so."""

    utilization_pct: float | None
    memory_used_bytes: int | None
    """The highest."""
    temperature_c: float | None
    """The highest."""
    sm_clock_mhz: float | None
    memory_clock_mhz: float | None
    power_limit_w: float | None
    """The highest."""
    slowed_share: Mapping[str, float]
    """Why clocks were held back, and in what share (0 to 1) of the looks."""


class Window:
    """One opened window; :class:`EnergyMeter` makes it."""

    def __init__(
        self,
        sources: Sequence[EnergySource],
        seconds: Sequence[EnergySource],
        synchronize: Callable[[], None],
        works_on_gpu: bool,
        carbon_intensity_gco2e_per_kwh: float | None,
        idle_power_w: Mapping[Component, float] | None,
        poll_period_s: float,
    ) -> None:
        self._best = range(len(sources))
        self._sampler = Sampler([*sources, *seconds], poll_period_s)
        self._works_on_gpu = works_on_gpu
        self._synchronize = synchronize
        self._intensity = carbon_intensity_gco2e_per_kwh
        self._idle = idle_power_w
        self._period_s = poll_period_s
        self._parts: list[tuple[str, float, float]] = []
        self._start_s = self._marked_s = 0.0
        self._end_s: float | None = None
        self._process = os.getpid()
        self._final: dict[int, EnergyCurve] | None = None

    @property
    def reading(self) -> Reading:
        """The whole window's reading, once it is closed; it may take a refresh of the meters.

        Raises
        ------
        RuntimeError
            The window is still open.
        """
        return self._between([(self._start_s, self._closed_s())])[0]

    @property
    def by_source(self) -> tuple[ComponentReading | None, ...]:
        """The best meters' readings one by one, as of each of several GPUs; None of a lost one.

        In the order of :attr:`Discovery.sources`.
        """
        end_s = self._closed_s()
        self._sampler.wait_until_settled(end_s)
        curves = self._curves()
        return tuple(self._source_reading(p, self._start_s, end_s, curves) for p in self._best)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases and marked parts, in the order in which they ended."""
        parts = list(self._parts)
        readings = self._between([(start_s, end_s) for _, start_s, end_s in parts])
        return tuple(
            Phase(name, start_s - self._start_s, end_s - self._start_s, reading)
            for (name, start_s, end_s), reading in zip(parts, readings, strict=True)
        )

    @property
    def trace(self) -> tuple[TracePoint, ...]:
        """Mean power by component, once the window is closed, a point every poll period.

        Of GPUs that are read at every refresh, a point every refresh; fewer of a long window, but
        never less than one every poll period.
        """
        end_s = self._closed_s()
        self._sampler.wait_until_settled(end_s)
        points = []
        for component in COMPONENTS:
            places = [i for i in self._best if self._sampler.sources[i].component == component]
            curves = {i: curve for i, curve in self._curves().items() if i in places}
            if len(curves) < len(places) or not places:
                continue  # lost before it told anything
            count = max(1, int((end_s - self._start_s) / self._trace_step_s(places)))
            times = np.linspace(self._start_s, end_s, count + 1)
            told_until_s = min(self._sampler.told_until_s(i) for i in places)
            powers = sum(np.diff(curve.energy_at_j(times)) for curve in curves.values())
            for at_s, power_w in zip(times[1:], powers / np.diff(times), strict=True):
                if at_s <= told_until_s:
                    points.append(TracePoint(at_s - self._start_s, component, float(power_w)))
        return tuple(points)

    @property
    def comparisons(self) -> tuple[tuple[Component, ComponentReading, ComponentReading], ...]:
        """Component, its reading and that of a second meter, where ``compare`` was asked for."""
        closed_s = self._closed_s()
        best = self._between([(self._start_s, closed_s)])[0].components
        found = []
        for component, reading in best.items():
            second = self._component(component, self._start_s, closed_s, best=False)
            if second is not None and self._has_seconds(component):
                found.append((component, reading, second))
        return tuple(found)

    @property
    def gpu(self) -> GpuSummary | None:
        """Utilisation, memory, temperature, clocks and power limit; None without a GPU.

        Whole once the window is closed and its reading was asked for.
        """
        states = list(self._sampler.gpu_states)
        if not states:
            return None
        reasons = [reason for state in states for reason in state.slowdowns]
        return GpuSummary(
            utilization_pct=_mean([s.utilization_pct for s in states]),
            memory_used_bytes=_highest([s.memory_used_bytes for s in states]),
            temperature_c=_highest([s.temperature_c for s in states]),
            sm_clock_mhz=_mean([s.sm_clock_mhz for s in states]),
            memory_clock_mhz=_mean([s.memory_clock_mhz for s in states]),
            power_limit_w=_highest([s.power_limit_w for s in states]),
            slowed_share={r: reasons.count(r) / len(states) for r in dict.fromkeys(reasons)},
        )

    @property
    def disturbances(self) -> tuple[str, ...]:
        """What the GPUs told of other processes and of clocks held back."""
        states = list(self._sampler.gpu_states)
        found = []
        if any(self._others_among(pids) for pids in {state.processes for state in states}):
            found.append("other processes on the GPU")
        # A power limit that is reached is how a card works; a card too hot is not.
        if any("temperature" in state.slowdowns for state in states):
            found.append("GPU clocks held back by temperature")
        return tuple(found)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Meter a part of the window; phases may nest and overlap."""
        self._synchronize()
        self._sampler.look()
        start_s = time.monotonic()
        try:
            yield
        finally:
            self._end_part(name, start_s)

    def mark(self, name: str) -> None:
        """End a part of the window, and name it; it began at the last mark, or with the window."""
        self._marked_s = self._end_part(name, self._marked_s)

    def so_far(self) -> Reading:
        """Return the reading from the start until now; it may take a refresh of the meters."""
        self._synchronize()
        now_s = time.monotonic()
        self._sampler.look(at_end=True)  # a constant model tells only what was before a look
        return self._between([(self._start_s, now_s)])[0]

    def until(self, time_s: float) -> Reading:
        """Return the reading from the start until the end of a part, which need not be the last.

        It may take a refresh of the meters; another thread than that of the work may ask.

        Parameters
        ----------
        time_s
            Seconds from the window's start: see :attr:`part_end_s`.
        """
        return self._between([(self._start_s, self._start_s + time_s)])[0]

    @property
    def part_end_s(self) -> float:
        """When the latest phase or marked part ended: seconds from the window's start."""
        return self._parts[-1][2] - self._start_s

    def open(self) -> None:
        """Start the meters and the window."""
        self._synchronize()
        self._sampler.start()
        self._start_s = self._marked_s = time.monotonic()

    def close(self) -> None:
        """End the window; the meters go on until they are settled."""
        if self._end_s is not None or os.getpid() != self._process:
            return  # closed already, or a forked child leaves the block: not its window
        try:
            self._synchronize()
        finally:  # a device that failed cannot be synchronised
            self._end_s = time.monotonic()
            self._sampler.stop_after(self._end_s)
            self._sampler.look(at_end=True)

    def _end_part(self, name: str, start_s: float) -> float:
        self._synchronize()
        end_s = time.monotonic()
        self._sampler.look(at_end=True)
        self._parts.append((name, start_s, end_s))
        return end_s

    def _closed_s(self) -> float:
        if self._end_s is None:
            raise RuntimeError("the window is still open: read it after the with block")
        return self._end_s

    def _others_among(self, processes: Sequence[int]) -> int:
        own = {self._process, *(child.pid for child in psutil.Process().children(recursive=True))}
        others = [pid for pid in processes if pid not in own]
        works = self._works_on_gpu or _torch_gpu() is not None
        if works and len(others) == len(processes):
            # In a container this process is listed under an id from outside, which nobody here has.
            return len(others) - any(not psutil.pid_exists(pid) for pid in others)
        return len(others)

    def _trace_step_s(self, places: Sequence[int]) -> float:
        """Return the time between the points of a trace of sources."""
        sources = [self._sampler.sources[place] for place in places]
        refreshes_s = [self._sampler.recordings[place].resolution_s for place in places]
        followed = all(isinstance(s, NvmlSource) and s.every_refresh for s in sources)
        if not followed or None in refreshes_s:
            return self._period_s
        fewest_s = (self._closed_s() - self._start_s) / MOST_POINTS
        finest_s = max(SHORTEST_STEP_S, fewest_s, *(s for s in refreshes_s if s is not None))
        return min(finest_s, self._period_s)

    def _curves(self) -> dict[int, EnergyCurve]:
        """Return each source's energy over time; kept once no look is to come."""
        if self._final is not None:
            return self._final
        done = self._sampler.done
        curves = self._sampler.curves()
        if done:
            self._final = curves
        return curves

    def _between(self, spans: Sequence[tuple[float, float]]) -> list[Reading]:
        if not spans:
            return []
        self._sampler.wait_until_settled(max(end_s for _, end_s in spans))
        curves = self._curves()
        readings = []
        for start_s, end_s in spans:
            parts = {c: self._component(c, start_s, end_s, curves=curves) for c in COMPONENTS}
            metered = [component for component, part in parts.items() if part is not None]
            readings.append(
                Reading(
                    gpu=parts["gpu"],
                    cpu=parts["cpu"],
                    ram=parts["ram"],
                    duration_s=end_s - start_s,
                    carbon_intensity_gco2e_per_kwh=self._intensity,
                    idle_power_w=self._idle_of(metered),
                    problems=self._problems_until(end_s),
                )
            )
        return readings

    def _component(
        self,
        component: Component,
        start_s: float,
        end_s: float,
        *,
        best: bool = True,
        curves: Mapping[int, EnergyCurve] | None = None,
    ) -> ComponentReading | None:
        sampler = self._sampler
        curves = self._curves() if curves is None else curves
        parts = []
        for place, source in enumerate(sampler.sources):
            if source.component != component or (place in self._best) is not best:
                continue
            part = self._source_reading(place, start_s, end_s, curves)
            if part is None:
                return None  # of two GPUs, one of them lost, the other's joules are not the sum
            parts.append(part)
        return add_up(parts)

    def _source_reading(
        self, place: int, start_s: float, end_s: float, curves: Mapping[int, EnergyCurve]
    ) -> ComponentReading | None:
        sampler, source = self._sampler, self._sampler.sources[place]
        lost = place in sampler.lost and sampler.told_until_s(place) < end_s
        if lost or place not in curves:
            return None
        energy_j, window_j = curves[place].between(start_s, end_s)
        shared_j = source.relative_uncertainty * energy_j
        edges_j = math.sqrt(2) * EDGE_S * energy_j / max(end_s - start_s, EDGE_S)
        return ComponentReading(
            energy_j=energy_j,
            provenance=source.provenance,
            source=source.description,
            uncertainty_j=math.hypot(window_j, edges_j, shared_j),
            resolution_s=sampler.recordings[place].resolution_s,
        )

    def _has_seconds(self, component: Component) -> bool:
        """Return whether each of a component's meters has a second."""
        places = [i for i, s in enumerate(self._sampler.sources) if s.component == component]
        best = sum(place in self._best for place in places)
        return component != "gpu" or len(places) == 2 * best

    def _problems_until(self, end_s: float) -> tuple[str, ...]:
        lost = tuple(
            reason
            for place, reason in list(self._sampler.lost.items())
            if place in self._best and self._sampler.told_until_s(place) < end_s
        )
        return lost + self._sampler.unsettled(end_s, self._best)

    def _idle_of(self, components: Sequence[Component]) -> float | None:
        if not self._idle or any(component not in self._idle for component in components):
            return None
        return sum(self._idle[component] for component in components)


class EnergyMeter:
    """All meters of this machine, or those of the GPUs named, as a context manager.

    Parameters
    ----------
    gpu
        UUID or UUIDs of the GPUs to meter; the visible ones when omitted, none when ``()``.
    synchronize
        Waits for the device's queued work; called at every edge. When omitted, PyTorch's, if
        PyTorch is loaded and has work on a GPU.
    carbon_intensity_gco2e_per_kwh
        Turns energy into emissions.
    idle_power_w
        Power at idle by component: the energy that :func:`measure_idle_power` meters, over its
        duration.
    poll_period_s
        Seconds between the points of the power trace, and between looks at meters whose refresh
        need not be followed; half a second shows an epoch.
    compare
        Read a second meter of each component besides the best, where there is one; see
        :attr:`Window.comparisons`. A GPU's meters are read at every refresh then, and its power
        trace has a point for each.

    Raises
    ------
    MeterError
        A GPU named cannot be metered.
    ValueError
        The poll period is not greater than 0.
    """

    def __init__(
        self,
        gpu: str | Sequence[str] | None = None,
        *,
        synchronize: Callable[[], None] | None = None,
        carbon_intensity_gco2e_per_kwh: float | None = None,
        idle_power_w: Mapping[Component, float] | None = None,
        poll_period_s: float = 0.5,
        compare: bool = False,
    ) -> None:
        if poll_period_s <= 0:
            raise ValueError(f"poll_period_s = {poll_period_s}: must be greater than 0")
        self.found = discover((gpu,) if isinstance(gpu, str) else gpu, compare=compare)
        self._synchronize = synchronize
        self._intensity = carbon_intensity_gco2e_per_kwh
        self._idle = idle_power_w
        self._poll_period_s = poll_period_s
        self._open: list[Window] = []

    def __enter__(self) -> Window:
        """Open a window; windows of the same meter may nest."""
        window = Window(
            self.found.sources,
            self.found.seconds,
            self._synchronize or _synchronize_torch,
            self._synchronize is not None,
            self._intensity,
            self._idle,
            self._poll_period_s,
        )
        window.open()
        self._open.append(window)
        return window

    def __exit__(self, *exception: object) -> None:
        """Close the window, also when the work raised."""
        self._open.pop().close()


def measure_idle_power(duration_s: float, gpus: Sequence[str] | None = None) -> Reading:
    """Meter ``duration_s`` seconds in which this process does nothing.

    Idle is the machine as it stands, before any device context of ours is made: a context alone
    raises a GPU's draw, and that rise is part of what a training costs.
    """
    with EnergyMeter(gpus) as window:
        time.sleep(duration_s)
    return window.reading


def _torch_gpu() -> Any:
    """Return PyTorch's module of the GPU that this process works on; None without either.

    Meters do not load PyTorch: where nothing else has, there is no work of it to wait for.
    """
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is not None and cuda.is_initialized():
        return cuda
    return None


def _synchronize_torch() -> None:
    cuda = _torch_gpu()
    if cuda is None:
        return
    for index in range(cuda.device_count()):
        # To synchronise a card that is not in use would open a context there.
        if index == cuda.current_device() or cuda.memory_allocated(index):
            cuda.synchronize(index)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def _highest(values: Sequence[_Number | None]) -> _Number | None:
    known = [v for v in values if v is not None]
    return max(known) if known else None
