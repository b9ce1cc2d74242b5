"""CPU and RAM energy as CodeCarbon estimates it, for what has no counter; and carbon intensity.

CodeCarbon takes the CPU's thermal design power times a function of its load, and a constant per
memory module for the RAM. Both are models: provenance *estimated*, whatever their precision.
The offline tracker makes no request and looks no location up.
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from greencv_core.energy import COVERAGE_FACTOR, Component, Provenance
from greencv_core.errors import BadInputError
from greencv_core.metering.curves import CounterCurve
from greencv_core.metering.sources import MeterError
from greencv_core.study import Carbon

NEVER_S = 10**7
"""Between samples of CodeCarbon's own, whose sums are not used."""
SHORTEST_SAMPLE_S = 0.1
"""The CPU's load over a shorter time is too coarse: the system counts it in hundredths of one."""
LONGEST_PERIOD_S = 1.0
"""Between samples: the model is not linear in the load, so a mean over long hides what varied."""
MODEL_ERROR = 0.4
"""Errors of up to 40 % were found against external meters, over hundreds of experiments (Fischer
2025, https://arxiv.org/abs/2509.22092): taken for the bounds of the 95 % interval."""


class _Models:
    """CodeCarbon's power models, sampled on our clock; shared by the CPU's and RAM's sources.

    CodeCarbon's own sums lose the time that each of its samples takes, count an interval twice
    where two threads sample at once, and stand still between samples.
    """

    def __init__(self) -> None:
        # To find the hardware takes CodeCarbon a second or so: here, and not in a window.
        tracker = new_tracker()
        tracker.get_detected_hardware()
        self._hardware: list[tuple[Component, Any]] = [
            (component, part)
            for part in tracker._hardware
            if (component := _component_of(part)) is not None
        ]
        for _, part in self._hardware:
            part.start()
        # A constant; where CodeCarbon cannot tell the memory's size it says 0 W, and no error.
        self._ram_w = sum(float(p.total_power().W) for c, p in self._hardware if c == "ram")
        if self._ram_w <= 0:
            self._hardware = [(c, p) for c, p in self._hardware if c != "ram"]
        self._lock = threading.Lock()
        self.times_s = [time.monotonic()]
        """The ends of the samples."""
        self.energy_j: dict[Component, list[float]] = {name: [0.0] for name in self.components}
        """Each component's joules until then."""

    @property
    def components(self) -> set[Component]:
        return {component for component, _ in self._hardware}

    def sample(self) -> int:
        """Take a sample, unless it would be too short; return the place of the latest."""
        with self._lock:
            now_s = time.monotonic()
            since_s = now_s - self.times_s[-1]
            if since_s >= SHORTEST_SAMPLE_S:
                for component, power_w in self._powers_w().items():
                    joules = self.energy_j[component]
                    joules.append(joules[-1] + power_w * since_s)
                self.times_s.append(now_s)
            return len(self.times_s) - 1

    def assumed_power_w(self, component: Component) -> float | None:
        """Return the RAM's constant power, or the CPU's at full load."""
        if component == "ram":
            return round(self._ram_w, 1)
        parts = [part for name, part in self._hardware if name == component]
        design_w: list[Any] = [getattr(part, "_tdp", None) for part in parts]
        return float(sum(design_w)) if design_w and None not in design_w else None

    def _powers_w(self) -> dict[Component, float]:
        powers_w: dict[Component, float] = {"ram": self._ram_w} if self._ram_w > 0 else {}
        for component, part in self._hardware:
            if component == "ram":
                continue
            try:
                powers_w[component] = powers_w.get(component, 0.0) + float(part.total_power().W)
            except Exception as error:  # whatever its models raise, the training goes on
                raise MeterError(f"CodeCarbon's {component.upper()} model: {error}") from error
        return powers_w


def _component_of(hardware: Any) -> Component | None:
    # GPU energy never comes from CodeCarbon.
    names: dict[str, Component] = {"CPU": "cpu", "RAM": "ram"}
    return names.get(getattr(hardware, "chip_part", type(hardware).__name__))


class EstimateRecording:
    """A model's power over time, as a growing count of joules."""

    resolution_s: float | None = SHORTEST_SAMPLE_S

    def __init__(self, component: Component, models: _Models, poll_period_s: float) -> None:
        self._component: Component = component
        self._models = models
        self._period_s = min(poll_period_s, LONGEST_PERIOD_S)
        self._first = self._last = -1
        self._looked_s = 0.0

    @property
    def next_look_s(self) -> float:
        """When to look again: soon, where the last sample ended before the last look."""
        if self._first < 0:
            return 0.0
        behind = self._looked_s > self.looked_s
        return self.looked_s + (SHORTEST_SAMPLE_S if behind else self._period_s)

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
        energy_j = np.array(self._models.energy_j[self._component][span])
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
        assumed_w = self._models.assumed_power_w(self.component)
        watts = "" if assumed_w is None else f" {assumed_w:g} W"
        if self.component == "ram":
            return f"CodeCarbon: constant{watts}, by memory size"
        return f"CodeCarbon: design power{watts}, by load"

    def record(self, poll_period_s: float) -> EstimateRecording:
        """Return a new recording."""
        return EstimateRecording(self.component, self._models, poll_period_s)


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


def intensity_gco2e_per_kwh(carbon: Carbon) -> float:
    """Return the carbon intensity that a study states, else its country's.

    Raises
    ------
    BadInputError
        See :func:`carbon_intensity_gco2e_per_kwh`.
    """
    stated = carbon.intensity_gco2e_per_kwh
    return carbon_intensity_gco2e_per_kwh(carbon.country) if stated is None else stated


def carbon_intensity_gco2e_per_kwh(country: str) -> float:
    """Return the carbon intensity of a country's electricity, from CodeCarbon's own data.

    Parameters
    ----------
    country
        ISO 3166-1 alpha-3 code, e.g. ``ESP``.

    Raises
    ------
    BadInputError
        The data has no such country.
    """
    from codecarbon.core.emissions import Emissions
    from codecarbon.core.units import Energy
    from codecarbon.external.geography import GeoMetadata
    from codecarbon.input import DataSource

    data = DataSource()
    if country not in data.get_global_energy_mix_data():
        raise BadInputError(
            f"carbon.country = {country}: no carbon intensity known; give an ISO code such as ESP, "
            "or carbon.intensity_gco2e_per_kwh"
        )
    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
    kilograms = Emissions(data).get_country_emissions(
        Energy.from_energy(kWh=1.0), GeoMetadata(country_iso_code=country, country_name=country)
    )
    return float(kilograms) * 1000
