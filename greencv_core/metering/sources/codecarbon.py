"""CPU and RAM energy from CodeCarbon's models, for components without a counter.

CodeCarbon multiplies the CPU's thermal design power by a function of its load, and assumes a
constant power per memory module. Both are models: provenance *estimated*.
The models make no request and look up no location.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from greencv_core.metering.base import MeterError
from greencv_core.metering.energy_curves import CounterCurve
from greencv_core.metering.gaps import Gap
from greencv_core.utils.energy import COVERAGE_FACTOR, Component, Provenance

SHORTEST_SAMPLE_S = 0.1
"""Shortest sample; the system counts the CPU's load in hundredths of a second."""
CLOSE_S = 0.01  # time before an edge within which the end of a sample counts as being at the edge
LONGEST_PERIOD_S = 1.0
"""Longest sample; the model is not linear in the load, so a long mean would bias it."""
MODEL_ERROR = 0.4
"""Half-width of the 95% interval: errors of up to 40% were found against external meters in
hundreds of experiments (Fischer 2025, https://arxiv.org/abs/2509.22092)."""


class _Models:
    """CodeCarbon's power models: the CPU's sampled on our clock, the RAM's a constant.

    CodeCarbon's own sums omit the duration of each sample, count an interval twice if two threads
    sample at once, and do not change between samples.
    """

    def __init__(self) -> None:
        # CodeCarbon takes about a second to find the hardware: done here, outside any window.
        cpu, ram = find_hardware()
        cpu.start()
        self._cpu = cpu
        self.ram_w = float(ram.total_power().W)
        """Constant power of the RAM; 0 if CodeCarbon cannot detect the memory's size."""
        self._lock = threading.Lock()
        self.times_s = [time.monotonic()]
        """End times of the CPU's samples."""
        self.cpu_energy_j = [0.0]
        """CPU energy until each of these times."""

    def has(self, component: Component) -> bool:
        return component == "cpu" or self.ram_w > 0

    def sample(self) -> int:
        """Take a sample, unless it would be too short; return the index of the latest."""
        with self._lock:
            now_s = time.monotonic()
            elapsed_s = now_s - self.times_s[-1]
            if elapsed_s >= SHORTEST_SAMPLE_S:
                self.cpu_energy_j.append(self.cpu_energy_j[-1] + self._cpu_w() * elapsed_s)
                self.times_s.append(now_s)
            return len(self.times_s) - 1

    def full_load_w(self) -> float | None:
        """Return the CPU's assumed power at full load; None if unknown."""
        design_w = getattr(self._cpu, "_tdp", None)
        return None if design_w is None else float(design_w)

    def _cpu_w(self) -> float:
        try:
            return float(self._cpu.total_power().W)
        except Exception as error:  # no error of a model may end the training
            raise MeterError(f"CodeCarbon's CPU model: {error}") from error


class _ConstantRecording:
    """Constant power of a model."""

    gaps: Sequence[Gap] = ()
    resolution_s: float | None = None
    next_poll_s = math.inf
    leeway_s = 0.0

    def __init__(self, power_w: float) -> None:
        self._power_w = power_w
        self._first_s = math.inf
        self.polled_s = -math.inf

    def poll(self) -> None:
        self.polled_s = time.monotonic()
        self._first_s = min(self._first_s, self.polled_s)

    def is_settled(self, time_s: float) -> bool:
        return self.polled_s >= time_s

    def thin(self, edges_s: Sequence[float]) -> None:
        """Keep everything: there is little of it."""

    def curve(self) -> CounterCurve:
        times = np.array([self._first_s, self.polled_s])
        energy_j = self._power_w * (times - self._first_s)
        return CounterCurve(times, energy_j, np.zeros(2), steps=False)


class _SampledRecording:
    """Power of a model over time, as a growing count of joules."""

    gaps: Sequence[Gap] = ()
    resolution_s: float | None = SHORTEST_SAMPLE_S

    def __init__(self, models: _Models, poll_period_s: float) -> None:
        self._models = models
        self._period_s = min(poll_period_s, LONGEST_PERIOD_S)
        self._first = self._last = -1
        self._attempted_s = 0.0

    @property
    def next_poll_s(self) -> float:
        if self._first < 0:
            return 0.0
        # Soon if the last poll came too early for a sample.
        return self.polled_s + (SHORTEST_SAMPLE_S if self._is_behind else self._period_s)

    @property
    def leeway_s(self) -> float:
        return 0.0 if self._is_behind else self._period_s / 2

    @property
    def _is_behind(self) -> bool:
        return self._attempted_s > self.polled_s + CLOSE_S

    @property
    def polled_s(self) -> float:
        return self._models.times_s[self._last]

    def poll(self) -> None:
        self._attempted_s = time.monotonic()
        self._last = self._models.sample()
        if self._first < 0:
            self._first = self._last

    def is_settled(self, time_s: float) -> bool:
        return self._last > self._first and self.polled_s >= time_s

    def thin(self, edges_s: Sequence[float]) -> None:
        """Keep everything: there is little of it."""

    def curve(self) -> CounterCurve:
        span = slice(self._first, self._last + 1)
        times = np.array(self._models.times_s[span])
        energy_j = np.array(self._models.cpu_energy_j[span])
        return CounterCurve(times, energy_j, np.zeros(len(times)), steps=False)


class CodeCarbonSource:
    """Running estimate of one component by CodeCarbon; provenance *estimated*."""

    provenance: Provenance = "estimated"
    may_hang = False
    relative_uncertainty = MODEL_ERROR / COVERAGE_FACTOR

    def __init__(self, component: Component, models: _Models) -> None:
        self.component: Component = component
        self._models = models

    @property
    def description(self) -> str:
        """Model and assumed power."""
        if self.component == "ram":
            return f"CodeCarbon: constant {self._models.ram_w:.4g} W, by memory size"
        assumed_w = self._models.full_load_w()
        watts = "" if assumed_w is None else f" {assumed_w:g} W"
        return f"CodeCarbon: design power{watts}, by load"

    def record(self, poll_period_s: float) -> _ConstantRecording | _SampledRecording:
        """Return a new recording."""
        if self.component == "ram":
            return _ConstantRecording(self._models.ram_w)
        return _SampledRecording(self._models, poll_period_s)


def find_models(components: Sequence[Component]) -> list[CodeCarbonSource]:
    """Return a source for each of the components that CodeCarbon has a model of.

    :class:`MeterError` is raised if CodeCarbon cannot describe this machine.
    """
    if not components:
        return []
    try:
        models = _Models()
    except Exception as error:  # of any kind, on unusual machines
        reason = f"{type(error).__name__}: {error}"
        raise MeterError(f"CodeCarbon cannot describe this machine ({reason})") from error
    return [CodeCarbonSource(c, models) for c in components if models.has(c)]


def find_hardware() -> tuple[Any, Any]:
    """Return CodeCarbon's models of the CPU, by load, and of the RAM; a process finds them once.

    They are made without a tracker, which would read settings of other projects from the home
    folder, the working folder and the environment, and take over the watts that are set there.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from codecarbon.core import cpu
        from codecarbon.core.hardware_cache import get_cached_tdp
        from codecarbon.core.util import count_physical_cpus
        from codecarbon.external.hardware import CPU, MODE_CPU_LOAD
        from codecarbon.external.ram import RAM

        logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
        design = get_cached_tdp(cpu)
        design_w = None if design.tdp is None else design.tdp * count_physical_cpus()
        return CPU.from_utils("", MODE_CPU_LOAD, design.model, design_w), RAM()
