"""Carbon intensity of electricity, from a study or from CodeCarbon's data."""

from __future__ import annotations

import logging

from greencv_core.utils.errors import BadInputError


def carbon_intensity_gco2e_per_kwh(country: str, stated: float | None = None) -> float:
    """Return the stated carbon intensity, else that of a country's electricity by CodeCarbon.

    The country is named by its ISO 3166-1 alpha-3 code, e.g. ``ESP``.

    Raises
    ------
    BadInputError
        The country is not in CodeCarbon's data.
    """
    if stated is not None:
        return stated
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
