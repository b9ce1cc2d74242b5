"""CPU and RAM energy as CodeCarbon estimates it, for what has no counter; and carbon intensity.

CodeCarbon takes the CPU's thermal design power times a function of its load, and a constant per
memory module for the RAM. Both are models: provenance *estimated*, whatever their precision.
The offline tracker makes no request and looks no location up.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

from greencv_core.errors import BadInputError
from greencv_core.metering.reading import J_PER_KWH, Component, Provenance
from greencv_core.metering.sources import MeterError


class _Tracker:
    """One CodeCarbon tracker that the CPU's and the RAM's source share."""

    def __init__(self) -> None:
        self._users = 0
        self._tracker: Any = None
        self._total: Any = None

    def acquire(self) -> None:
        self._users += 1
        if self._tracker is None:
            self._tracker = new_tracker(self._receive)
            self._tracker.start()

    def release(self) -> None:
        self._users -= 1
        if self._users == 0 and self._tracker is not None:
            self._tracker.stop()
            self._tracker = self._total = None

    def _receive(self, total: Any) -> None:
        self._total = total

    def energy_j(self, component: Component) -> float:
        self._tracker.flush()
        if self._total is None:
            raise MeterError("CodeCarbon returned no reading")
        return float(getattr(self._total, f"{component}_energy")) * J_PER_KWH


class CodeCarbonSource:
    """CodeCarbon's running estimate of one component; provenance *estimated*."""

    provenance: Provenance = "estimated"
    poll_period_s = 0.5

    def __init__(self, component: Component, tracker: _Tracker) -> None:
        self.component: Component = component
        self._tracker = tracker

    @property
    def description(self) -> str:
        """What is estimated from what."""
        if self.component == "ram":
            return "CodeCarbon: constant power by memory size"
        return "CodeCarbon: CPU design power by load"

    def start(self) -> None:
        """Begin to count."""
        self._tracker.acquire()

    def energy_j(self) -> float:
        """Return the joules since :meth:`start`."""
        return self._tracker.energy_j(self.component)

    def stop(self) -> None:
        """Stop CodeCarbon's threads."""
        self._tracker.release()


def estimates(components: list[Component]) -> list[CodeCarbonSource]:
    """Return sources that share one tracker, one for each component asked for."""
    tracker = _Tracker()
    return [CodeCarbonSource(component, tracker) for component in components]


def new_tracker(on_total: Callable[[Any], None] | None = None) -> Any:
    """Return CodeCarbon's offline tracker: quiet, writing nothing, sending nothing.

    ``on_total`` receives its running totals at each ``flush()``.
    """
    from codecarbon import OfflineEmissionsTracker
    from codecarbon.output_methods.base_output import BaseOutput

    handlers: list[Any] = []
    if on_total is not None:
        handler = BaseOutput()
        setattr(handler, "out", lambda total, delta: on_total(total))  # noqa: B010
        handlers.append(handler)
    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return OfflineEmissionsTracker(
            # Irrelevant to joules, but required; emissions are computed by us from the total.
            country_iso_code="USA",
            measure_power_secs=1,
            api_call_interval=-1,
            tracking_mode="machine",
            output_methods=[],
            output_handlers=handlers,
            allow_multiple_runs=True,
            # GPU energy never comes from CodeCarbon.
            gpu_ids=[],
            log_level="critical",
        )


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
