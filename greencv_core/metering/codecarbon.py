"""CPU and RAM energy as CodeCarbon estimates it, for what has no counter; and carbon intensity.

CodeCarbon takes the CPU's thermal design power times a function of its load, and a constant per
memory module for the RAM. Both are models: provenance *estimated*, whatever their precision.
The offline tracker makes no request and looks no location up.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from greencv_core.metering.base import MeterError
from greencv_core.metering.energy_curves import CounterCurve
from greencv_core.utils.energy import COVERAGE_FACTOR, Component, Provenance

NEVER_S = 10**7
"""Between samples of CodeCarbon's own, whose sums are not used."""
SHORTEST_SAMPLE_S = 0.1
"""The CPU's load over a shorter time is too coarse: the system counts it in hundredths of one."""
CLOSE_S = 0.01
"""A sample that ended so shortly before an edge is as good as one at it."""
LONGEST_PERIOD_S = 1.0
"""Between samples: the model is not linear in the load, so a mean over long hides what varied."""
MODEL_ERROR = 0.4
"""Errors of up to 40 % were found against external meters, over hundreds of experiments (Fischer
2025, https://arxiv.org/abs/2509.22092): taken for the bounds of the 95 % interval."""


class _Models:
    """CodeCarbon's power models: the CPU's sampled on our clock, the RAM's a constant.

    CodeCarbon's own sums lose the time that each of its samples takes, count an interval twice
    where two threads sample at once, and stand still between samples.
    """

    def __init__(self) -> None:
        # To find the hardware takes CodeCarbon a second or so: here, and not in a window.
        tracker = new_tracker()
        tracker.get_detected_hardware()
        parts: dict[Component, list[Any]] = {"cpu": [], "ram": []}
        for part in tracker._hardware:
            if (component := _component_of(part)) is not None:
                part.start()
                parts[component].append(part)
        self._cpus = parts["cpu"]
        self.ram_w = sum(float(part.total_power().W) for part in parts["ram"])
        """Where CodeCarbon cannot tell the memory's size it says 0 W, and no error."""
        self._lock = threading.Lock()
        self.times_s = [time.monotonic()]
        """The ends of the CPU's samples."""
        self.cpu_energy_j = [0.0]
        """Its joules until then."""

    @property
    def components(self) -> set[Component]:
        found: dict[Component, bool] = {"cpu": bool(self._cpus), "ram": self.ram_w > 0}
        return {component for component, modelled in found.items() if modelled}

    def sample(self) -> int:
        """Take a sample, unless it would be too short; return the place of the latest."""
        with self._lock:
            now_s = time.monotonic()
            since_s = now_s - self.times_s[-1]
            if since_s >= SHORTEST_SAMPLE_S:
                self.cpu_energy_j.append(self.cpu_energy_j[-1] + self._cpu_w() * since_s)
                self.times_s.append(now_s)
            return len(self.times_s) - 1

    def full_load_w(self) -> float | None:
        """Return the CPU's assumed power at full load."""
        design_w: list[Any] = [getattr(part, "_tdp", None) for part in self._cpus]
        return float(sum(design_w)) if design_w and None not in design_w else None

    def _cpu_w(self) -> float:
        try:
            return sum(float(part.total_power().W) for part in self._cpus)
        except Exception as error:  # whatever its models raise, the training goes on
            raise MeterError(f"CodeCarbon's CPU model: {error}") from error


def _component_of(hardware: Any) -> Component | None:
    # GPU energy never comes from CodeCarbon.
    names: dict[str, Component] = {"CPU": "cpu", "RAM": "ram"}
    return names.get(getattr(hardware, "chip_part", type(hardware).__name__))


class ConstantRecording:
    """A model's power that never changes."""

    resolution_s: float | None = None
    next_look_s = math.inf
    leeway_s = 0.0

    def __init__(self, power_w: float) -> None:
        self._power_w = power_w
        self._first_s = math.inf
        self.looked_s = -math.inf
        """When it was last looked at."""

    def look(self) -> None:
        """Note the time."""
        self.looked_s = time.monotonic()
        self._first_s = min(self._first_s, self.looked_s)

    def settled(self, time_s: float) -> bool:
        """Return whether there was a look after a time."""
        return self.looked_s >= time_s

    def curve(self) -> CounterCurve:
        """Return the energy over time."""
        times = np.array([self._first_s, self.looked_s])
        energy_j = self._power_w * (times - self._first_s)
        return CounterCurve(times, energy_j, np.zeros(2), steps=False)


class SampledRecording:
    """A model's power over time, as a growing count of joules."""

    resolution_s: float | None = SHORTEST_SAMPLE_S

    def __init__(self, models: _Models, poll_period_s: float) -> None:
        self._models = models
        self._period_s = min(poll_period_s, LONGEST_PERIOD_S)
        self._first = self._last = -1
        self._looked_s = 0.0

    @property
    def next_look_s(self) -> float:
        """When to look again: soon, where the last sample ended before the last look."""
        if self._first < 0:
            return 0.0
        return self.looked_s + (SHORTEST_SAMPLE_S if self._behind else self._period_s)

    @property
    def leeway_s(self) -> float:
        """How much sooner a look may come; none where the soonest is planned."""
        return 0.0 if self._behind else self._period_s / 2

    @property
    def _behind(self) -> bool:
        return self._looked_s > self.looked_s + CLOSE_S

    @property
    def looked_s(self) -> float:
        """When the last sample ended."""
        return self._models.times_s[self._last]

    def look(self) -> None:
        """Sample the model, if it was not sampled just now."""
        self._looked_s = time.monotonic()
        self._last = self._models.sample()
        if self._first < 0:
            self._first = self._last

    def settled(self, time_s: float) -> bool:
        """Return whether a sample ended after a time."""
        return self._last > self._first and self.looked_s >= time_s

    def curve(self) -> CounterCurve:
        """Return the energy over time; within a sample the power is its mean."""
        span = slice(self._first, self._last + 1)
        times = np.array(self._models.times_s[span])
        energy_j = np.array(self._models.cpu_energy_j[span])
        return CounterCurve(times, energy_j, np.zeros(len(times)), steps=False)


class CodeCarbonSource:
    """CodeCarbon's running estimate of one component; provenance *estimated*."""

    provenance: Provenance = "estimated"
    relative_uncertainty = MODEL_ERROR / COVERAGE_FACTOR

    def __init__(self, component: Component, models: _Models) -> None:
        self.component: Component = component
        self._models = models

    @property
    def description(self) -> str:
        """What is estimated from what, with the watts assumed."""
        if self.component == "ram":
            return f"CodeCarbon: constant {self._models.ram_w:.4g} W, by memory size"
        assumed_w = self._models.full_load_w()
        watts = "" if assumed_w is None else f" {assumed_w:g} W"
        return f"CodeCarbon: design power{watts}, by load"

    def record(self, poll_period_s: float) -> ConstantRecording | SampledRecording:
        """Return a new recording."""
        if self.component == "ram":
            return ConstantRecording(self._models.ram_w)
        return SampledRecording(self._models, poll_period_s)


def estimates(components: Iterable[Component]) -> list[CodeCarbonSource]:
    """Return a source for each component asked for of which CodeCarbon has a model.

    Raises
    ------
    MeterError
        CodeCarbon cannot describe this machine.
    """
    components = list(components)
    if not components:
        return []
    try:
        models = _Models()
    except Exception as error:  # whatever it meets on an unusual machine
        raise MeterError(f"CodeCarbon: {error}") from error
    return [CodeCarbonSource(c, models) for c in components if c in models.components]


def new_tracker() -> Any:
    """Return CodeCarbon's offline tracker: quiet, writing nothing, sending nothing."""
    from codecarbon import OfflineEmissionsTracker

    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return OfflineEmissionsTracker(
            # Irrelevant to joules, but required; emissions are computed by us from the total.
            country_iso_code="USA",
            # Each reading of ours (two a second at least) is a sample of the power.
            measure_power_secs=NEVER_S,
            api_call_interval=-1,
            tracking_mode="machine",
            # Else it would read RAPL where it may, at times of its own.
            force_mode_cpu_load=True,
            output_methods=[],
            allow_multiple_runs=True,
            # GPU energy never comes from CodeCarbon.
            gpu_ids=[],
            log_level="critical",
        )
