"""CPU and RAM energy as CodeCarbon estimates it, for what has no counter; and carbon intensity.

CodeCarbon takes the CPU's thermal design power times a function of its load, and a constant per
memory module for the RAM. Both are models: provenance *estimated*, whatever their precision.
The offline tracker makes no request and looks no location up.
"""

from __future__ import annotations

import logging
import time
import warnings
from typing import Any

from greencv_core.energy import Component, Provenance
from greencv_core.errors import BadInputError
from greencv_core.metering.sources import MeterError
from greencv_core.study import Carbon

NEVER_S = 10**7
"""Between samples of CodeCarbon's own, whose sums are not used."""
SHORTEST_SAMPLE_S = 0.1
"""The CPU's load over a shorter time is too coarse: the system counts it in hundredths of one."""


class _Models:
    """CodeCarbon's power models, integrated over our clock; shared by the CPU's and RAM's sources.

    CodeCarbon's own sums lose the time that each of its samples takes, count an interval twice
    where two threads sample at once, and stand still between samples.
    """

    def __init__(self) -> None:
        self._users = 0
        self._tracker: Any = None
        self._hardware: list[tuple[Component, Any]] = []
        self._sampled_s = 0.0
        self._energy_j: dict[Component, float] = {}
        self._power_w: dict[Component, float] = {}
        self._told_j: dict[Component, float] = {}

    def acquire(self) -> None:
        self._users += 1
        if self._tracker is not None:
            return
        self._tracker = new_tracker()
        self._tracker.start()
        self._hardware = [
            (component, hardware)
            for hardware in self._tracker._hardware
            if (component := _component_of(hardware)) is not None
        ]
        self._energy_j = {component: 0.0 for component, _ in self._hardware}
        self._told_j = dict(self._energy_j)
        time.sleep(SHORTEST_SAMPLE_S)
        self._sampled_s = time.monotonic()
        self._power_w = self._powers_w()

    def release(self) -> None:
        self._users -= 1
        if self._users == 0 and self._tracker is not None:
            self._tracker.stop()
            self._tracker = None

    def energy_j(self, component: Component) -> float:
        if component not in self._energy_j:
            raise MeterError(f"CodeCarbon has no model of this machine's {component.upper()}")
        now_s = time.monotonic()
        since_s = now_s - self._sampled_s
        if since_s >= SHORTEST_SAMPLE_S:
            self._power_w = self._powers_w()
            for name, power_w in self._power_w.items():
                self._energy_j[name] += power_w * since_s
            self._sampled_s, since_s = now_s, 0.0
        # Between samples the last power goes on; where it was too high, the sum waits for the
        # next sample rather than fall.
        energy_j = self._energy_j[component] + self._power_w[component] * since_s
        self._told_j[component] = max(self._told_j[component], energy_j)
        return self._told_j[component]

    def assumed_power_w(self, component: Component) -> float | None:
        """Return the RAM's constant power, or the CPU's at full load; None before counting."""
        if component == "ram":
            power_w = self._power_w.get("ram")
            return None if power_w is None else round(power_w, 1)
        design_w: list[Any] = [
            getattr(hardware, "_tdp", None) for name, hardware in self._hardware if name == "cpu"
        ]
        return float(sum(design_w)) if design_w and None not in design_w else None

    def _powers_w(self) -> dict[Component, float]:
        """Return each component's mean power since the last call."""
        powers_w = dict.fromkeys(self._energy_j, 0.0)
        for component, hardware in self._hardware:
            try:
                powers_w[component] += float(hardware.total_power().W)
            except Exception as error:  # whatever its models raise, the training goes on
                raise MeterError(f"CodeCarbon's {component.upper()} model: {error}") from error
        return powers_w


def _component_of(hardware: Any) -> Component | None:
    # GPU energy never comes from CodeCarbon.
    names: dict[str, Component] = {"CPU": "cpu", "RAM": "ram"}
    return names.get(getattr(hardware, "chip_part", type(hardware).__name__))


class CodeCarbonSource:
    """CodeCarbon's running estimate of one component; provenance *estimated*."""

    provenance: Provenance = "estimated"
    poll_period_s = 0.5

    def __init__(self, component: Component, models: _Models) -> None:
        self.component: Component = component
        self._models = models

    @property
    def description(self) -> str:
        """What is estimated from what; with the watts assumed, while it counts."""
        assumed_w = self._models.assumed_power_w(self.component)
        watts = "" if assumed_w is None else f" {assumed_w:g} W"
        if self.component == "ram":
            return f"CodeCarbon: constant{watts}, by memory size"
        return f"CodeCarbon: design power{watts}, by load"

    def start(self) -> None:
        """Begin to count."""
        self._models.acquire()

    def energy_j(self) -> float:
        """Return the joules since :meth:`start`."""
        return self._models.energy_j(self.component)

    def stop(self) -> None:
        """Stop CodeCarbon's threads."""
        self._models.release()


def estimates(components: list[Component]) -> list[CodeCarbonSource]:
    """Return sources that share one set of models, one for each component asked for."""
    models = _Models()
    return [CodeCarbonSource(component, models) for component in components]


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
