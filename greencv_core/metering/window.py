"""One measurement window: edges, phases, power trace and comparisons of meters."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from greencv_core.metering.discovery import Discovery
from greencv_core.metering.energy_curves import EnergyCurve
from greencv_core.metering.gaps import Gap
from greencv_core.metering.gpu_summary import GpuSummary
from greencv_core.metering.poller import Poller
from greencv_core.metering.reading import ComponentReading, Reading, sum_readings
from greencv_core.utils.energy import COMPONENTS, COVERAGE_FACTOR, Component, weakest

EDGE_S = 2e-4
"""Standard uncertainty of the time of an edge, between the clock's reading and the work, on a busy
machine (``benchmarks/metering_accuracy.py``)."""

NO_WAIT_S = 3e-4  # time in which a device was not waited for

SENSOR_ACCURACY = 0.1
"""Relative difference of two sensors that is no contradiction: each may be off by 5%."""

MOST_POINTS, SHORTEST_STEP_S = 2000, 0.02
"""Limits of a power trace with more than one point per poll period."""


@dataclass(frozen=True)
class Phase:
    """A part of a window, with its reading. Times are seconds from the window's start."""

    name: str
    start_s: float
    end_s: float
    reading: Reading


@dataclass(frozen=True)
class TracePoint:
    """Mean power of one component since its previous point."""

    time_s: float
    """Seconds from the window's start."""
    component: Component
    power_w: float


class Window:
    """A measurement window; opened by :class:`EnergyMeter`."""

    def __init__(
        self,
        discovery: Discovery,
        synchronize: Callable[[], None],
        works_on_gpu: Callable[[], bool],
        carbon_intensity_gco2e_per_kwh: float | None,
        idle_power_w: Mapping[Component, float] | None,
        poll_period_s: float,
    ) -> None:
        self._best = range(len(discovery.sources))
        self._unmetered = discovery.problems
        sources = [*discovery.sources, *discovery.comparison_sources]
        self._poller = Poller(sources, poll_period_s)
        self._synchronize = synchronize
        self._works_on_gpu = works_on_gpu
        self._intensity = carbon_intensity_gco2e_per_kwh
        self._idle_power_w = idle_power_w
        self._period_s = poll_period_s
        self._parts: list[tuple[str, float, float]] = []
        self._start_s = self._marked_s = 0.0
        self._end_s: float | None = None
        self._pid = os.getpid()
        self._final_curves: dict[int, EnergyCurve] | None = None

    def open(self) -> None:
        """Synchronise the device, start the meters and the window."""
        self._synchronize()
        self._poller.start()
        self._start_s = self._marked_s = time.monotonic()

    def close(self, called_s: float) -> None:
        """Synchronise the device and end the window; the meters run on until settled.

        The work has ended at ``called_s``, unless the device is then waited for.
        """
        if self._end_s is not None or os.getpid() != self._pid:
            return  # already closed, or a forked child leaves the parent's block
        try:
            self._synchronize()
        finally:  # a device that failed cannot be synchronised
            now_s = time.monotonic()
            waited = self._works_on_gpu() and now_s - called_s > NO_WAIT_S
            self._end_s = now_s if waited else called_s
            self._poller.stop_after(self._end_s)
            self._poller.poll_all(at_end=True)

    def abandon(self) -> None:
        """End the meters' thread, after an exception while the window opened or closed."""
        if os.getpid() == self._pid:
            self._poller.abandon()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Meter a part of the window; phases may nest and overlap."""
        self._synchronize()
        self._poller.poll_all()
        start_s = time.monotonic()
        try:
            yield
        finally:
            self._end_part(name, start_s)

    def mark(self, name: str) -> None:
        """End and name a part of the window that began at the previous mark or the start."""
        self._marked_s = self._end_part(name, self._marked_s)

    @property
    def part_end_s(self) -> float:
        """End of the latest phase or marked part, in seconds from the window's start."""
        return self._parts[-1][2] - self._start_s

    def read_so_far(self) -> Reading:
        """Return the reading from the start until now; may wait for a refresh of the meters."""
        self._synchronize()
        now_s = time.monotonic()
        # A constant model is known until its last poll only.
        self._poller.poll_all(at_end=True, is_edge=False)
        return self._read_until(now_s)

    def read_until(self, time_s: float) -> Reading:
        """Return the reading of the first ``time_s`` seconds, such as :attr:`part_end_s`.

        May wait for a refresh of the meters, and be called from any thread.
        """
        return self._read_until(self._start_s + time_s)

    @property
    def reading(self) -> Reading:
        """Reading of the whole window, once it is closed; may wait for a refresh of the meters.

        Raises
        ------
        RuntimeError
            The window is still open.
        """
        reading = self._read_until(self._closed_s())
        disagreements = _disagreements(self._compare(reading))
        return replace(reading, problems=(*reading.problems, *disagreements))

    @property
    def edges_s(self) -> tuple[float, float]:
        """Start and end on the monotonic clock, once the window is closed."""
        return self._start_s, self._closed_s()

    @property
    def by_source(self) -> tuple[ComponentReading | None, ...]:
        """Reading of each meter in :attr:`Discovery.sources`; None if it was lost."""
        end_s = self._closed_s()
        self._poller.wait_until_settled(end_s)
        curves = self._curves()
        return tuple(self._source_reading(i, self._start_s, end_s, curves) for i in self._best)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Phases and marked parts, in the order in which they ended."""
        parts = list(self._parts)
        if not parts:
            return ()
        self._poller.wait_until_settled(max(end_s for _, _, end_s in parts))
        curves, zero_s = self._curves(), self._start_s
        return tuple(
            Phase(name, start - zero_s, end - zero_s, self._settled_reading(start, end, curves))
            for name, start, end in parts
        )

    @property
    def trace(self) -> tuple[TracePoint, ...]:
        """Mean power by component with a point every poll period, once the window is closed.

        GPUs whose every refresh is read have a point per refresh; fewer in a long window, but at
        least one per poll period.
        """
        end_s = self._closed_s()
        self._poller.wait_until_settled(end_s)
        points = []
        for component in COMPONENTS:
            indices = [i for i in self._best if self._poller.sources[i].component == component]
            curves = {i: curve for i, curve in self._curves().items() if i in indices}
            if len(curves) < len(indices) or not indices:
                continue  # a meter was lost before its first reading
            count = max(1, int((end_s - self._start_s) / self._trace_step_s(indices)))
            times = np.linspace(self._start_s, end_s, count + 1)
            known_until_s = min(self._poller.known_until_s(i) for i in indices)
            powers = sum(np.diff(curve.energy_at_j(times)) for curve in curves.values())
            for at_s, power_w in zip(times[1:], powers / np.diff(times), strict=True):
                if at_s <= known_until_s:
                    points.append(TracePoint(at_s - self._start_s, component, float(power_w)))
        return tuple(points)

    @property
    def comparisons(self) -> tuple[tuple[Component, ComponentReading, ComponentReading], ...]:
        """Component and the readings of its best and second meter, if ``compare`` was set."""
        return self._compare(self._read_until(self._closed_s()))

    @property
    def gpu(self) -> GpuSummary | None:
        """Utilisation, memory, temperature, clocks and power limit; None without a GPU.

        Complete once the window is closed and its reading was requested.
        """
        return self._poller.gpu_states.summary()

    @property
    def disturbances(self) -> tuple[str, ...]:
        """Other processes on the GPUs, and clocks reduced by temperature."""
        return self._poller.gpu_states.disturbances(own_process_on_gpu=self._works_on_gpu())

    def _compare(
        self, reading: Reading
    ) -> tuple[tuple[Component, ComponentReading, ComponentReading], ...]:
        """Return the second meters of the components of the whole window's reading."""
        end_s, curves = self._closed_s(), self._curves()
        found = []
        for component, first in reading.components.items():
            second = self._component(component, self._start_s, end_s, curves, best=False)
            if second is not None and self._is_fully_compared(component):
                found.append((component, first, second))
        return tuple(found)

    def _end_part(self, name: str, start_s: float) -> float:
        self._synchronize()
        end_s = time.monotonic()
        self._poller.poll_all(at_end=True)
        self._parts.append((name, start_s, end_s))
        return end_s

    def _closed_s(self) -> float:
        if self._end_s is None:
            raise RuntimeError("the window is still open: read it after the with block")
        return self._end_s

    def _trace_step_s(self, indices: Sequence[int]) -> float:
        sources = [self._poller.sources[index] for index in indices]
        refreshes_s = [self._poller.recordings[index].resolution_s for index in indices]
        followed = all(getattr(source, "every_refresh", False) for source in sources)
        if not followed or None in refreshes_s:
            return self._period_s
        fewest_s = (self._closed_s() - self._start_s) / MOST_POINTS
        finest_s = max(SHORTEST_STEP_S, fewest_s, *(s for s in refreshes_s if s is not None))
        return min(finest_s, self._period_s)

    def _curves(self) -> dict[int, EnergyCurve]:
        """Return each source's energy over time; cached once no more polls follow."""
        if self._final_curves is not None:
            return self._final_curves
        finished, curves = self._poller.finished, self._poller.curves()
        self._final_curves = curves if finished else None
        return curves

    def _read_until(self, end_s: float) -> Reading:
        self._poller.wait_until_settled(end_s)
        return self._settled_reading(self._start_s, end_s, self._curves())

    def _settled_reading(
        self, start_s: float, end_s: float, curves: Mapping[int, EnergyCurve]
    ) -> Reading:
        parts = {c: self._component(c, start_s, end_s, curves) for c in COMPONENTS}
        metered = [component for component, part in parts.items() if part is not None]
        return Reading(
            **parts,
            duration_s=end_s - start_s,
            carbon_intensity_gco2e_per_kwh=self._intensity,
            idle_power_w=self._total_idle_power_w(metered),
            problems=self._problems_until(end_s),
        )

    def _component(
        self,
        component: Component,
        start_s: float,
        end_s: float,
        curves: Mapping[int, EnergyCurve],
        *,
        best: bool = True,
    ) -> ComponentReading | None:
        parts = []
        for index, source in enumerate(self._poller.sources):
            if source.component != component or (index in self._best) is not best:
                continue
            part = self._source_reading(index, start_s, end_s, curves)
            if part is None:
                return None  # if one of two GPUs is lost, the other's energy is not the sum
            parts.append(part)
        return sum_readings(parts)

    def _source_reading(
        self, index: int, start_s: float, end_s: float, curves: Mapping[int, EnergyCurve]
    ) -> ComponentReading | None:
        poller, source = self._poller, self._poller.sources[index]
        failed = index in poller.failures or index in poller.refusals
        lost = failed and poller.known_until_s(index) < end_s
        if lost or index not in curves:
            return None
        energy_j, window_j = curves[index].between(start_s, end_s)
        shared_j = source.relative_uncertainty * energy_j
        edges_j = math.sqrt(2) * EDGE_S * energy_j / max(end_s - start_s, EDGE_S)
        bridged = [gap for gap in poller.recordings[index].gaps if gap.overlap_s(start_s, end_s)]
        return ComponentReading(
            energy_j=energy_j,
            provenance=weakest([source.provenance, "sampled"]) if bridged else source.provenance,
            source=source.description,
            uncertainty_j=math.hypot(window_j, edges_j, shared_j),
            resolution_s=poller.recordings[index].resolution_s,
            bridged=_describe(bridged, start_s, end_s),
        )

    def _is_fully_compared(self, component: Component) -> bool:
        """Return whether each meter of a component has a second one."""
        indices = [i for i, s in enumerate(self._poller.sources) if s.component == component]
        best = sum(index in self._best for index in indices)
        return component != "gpu" or len(indices) == 2 * best

    def _problems_until(self, end_s: float) -> tuple[str, ...]:
        lost = tuple(
            reason
            for index, reason in list(self._poller.failures.items())
            if index in self._best and self._poller.known_until_s(index) < end_s
        )
        return self._unmetered + lost + self._poller.unsettled(end_s, self._best)

    def _total_idle_power_w(self, components: Sequence[Component]) -> float | None:
        if not self._idle_power_w or any(c not in self._idle_power_w for c in components):
            return None
        return sum(self._idle_power_w[component] for component in components)


def _describe(gaps: Sequence[Gap], start_s: float, end_s: float) -> str:
    """Return how much of a window was bridged, and why; empty if nothing was."""
    if not gaps:
        return ""
    bridged_s = sum(gap.overlap_s(start_s, end_s) for gap in gaps)
    reasons = dict.fromkeys(gap.reason for gap in gaps)
    return f"{bridged_s:.2g} s: {'; '.join(list(reasons)[:3])}"


def _disagreements(
    comparisons: Sequence[tuple[Component, ComponentReading, ComponentReading]],
) -> tuple[str, ...]:
    """Return a problem for each component whose two meters contradict each other."""
    problems = []
    for component, first, second in comparisons:
        low_j, high_j = sorted([first.energy_j, second.energy_j])
        apart_j = high_j - low_j - SENSOR_ACCURACY * high_j
        widths_j = [COVERAGE_FACTOR * (part.uncertainty_j or 0.0) for part in (first, second)]
        # An estimate that is far off says nothing against a counter.
        if second.provenance != "estimated" and apart_j > sum(widths_j):
            problems.append(
                f"two meters of the {component.upper()} disagree: {first.energy_j:,.0f} J by "
                f"{first.source}, {second.energy_j:,.0f} J by {second.source}"
            )
    return tuple(problems)
