"""What meters at the wall answer, as watts and joules.

Formats: Shelly, generations 1 (``/status``) and 2 (``/rpc/Switch.GetStatus?id=0``)
(https://shelly-api-docs.shelly.cloud/gen1/,
https://shelly-api-docs.shelly.cloud/gen2/ComponentsAndServices/Switch); Tasmota
(``/cm?cmnd=Status%208``, https://tasmota.github.io/docs/Commands/); Redfish (``.../Power`` and
``.../EnvironmentMetrics``, https://redfish.dmtf.org/schemas/); ``ipmitool dcmi power reading``
(https://github.com/ipmitool/ipmitool/blob/master/lib/ipmi_dcmi.c); and a number: of watts, unless
its unit is kWh.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from greencv_core.metering.base import MeterError
from greencv_core.utils.energy import J_PER_KWH
from greencv_core.utils.secrets import safe_line, without_secrets

J_PER_WH = J_PER_KWH / 1000
HIGHEST_POWER_W = 100e3
"""Upper bound of a computer's power."""
_TEXT = re.compile(
    r"(?:Instantaneous power reading:\s*)?(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*(W|Watts?|kWh)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class WallSample:
    """One answer of a meter at the wall: its power, its counter, or both."""

    kind: str
    """Kind of meter."""
    power_w: float | None = None
    energy_j: float | None = None


def parse_answer(text: str) -> WallSample:
    """Return what a meter answered.

    Raises
    ------
    MeterError
        It is none of the known formats, or an impossible power.
    """
    sample = _parse_json(text) or _parse_lines(text)
    if sample is None:
        answer = safe_line(without_secrets(text.strip()[:200])) or "nothing"
        raise MeterError(
            f"the wall meter answered {answer}; expected watts, kWh or the status of a Shelly, "
            "Tasmota or Redfish meter"
        )
    if sample.power_w is not None and not 0 < sample.power_w <= HIGHEST_POWER_W:
        raise MeterError(
            f"the wall meter reports {sample.power_w:,.4g} W, which this computer cannot draw; "
            "is it on another plug?"
        )
    return sample


def _parse_lines(text: str) -> WallSample | None:
    lines = text.splitlines()
    for line in lines:
        found = _TEXT.fullmatch(line.strip())
        # A line of several must say what it is.
        if found and (len(lines) == 1 or ":" in line or found[2]):
            value = float(found[1])
            if (found[2] or "").lower() == "kwh":
                return WallSample("a kWh counter", energy_j=J_PER_KWH * value)
            return WallSample("a power reading", power_w=value)
    return None


def _parse_json(text: str) -> WallSample | None:
    try:
        content = json.loads(text)
    except ValueError:
        return None
    if not isinstance(content, dict):
        return None
    for read in _FORMATS:
        try:
            sample = read(content)
        except (KeyError, IndexError, TypeError):
            continue
        if sample is not None:
            return sample
    return None


def _shelly_2(content: dict[str, Any]) -> WallSample:
    energy_wh = _number_or_none(content.get("aenergy", {}).get("total"))
    energy_j = None if energy_wh is None else J_PER_WH * energy_wh
    return WallSample("Shelly", _number(content["apower"]), energy_j)


def _shelly_1(content: dict[str, Any]) -> WallSample | None:
    meters = content["meters"] if content.get("meters") else content["emeters"]
    if len(meters) > 1:
        raise MeterError(
            f"the wall meter has {len(meters)} outlets; name the computer's, as in /meter/0"
        )
    return WallSample("Shelly", _number(meters[0]["power"]))


def _shelly_1_outlet(content: dict[str, Any]) -> WallSample | None:
    return WallSample("Shelly", _number(content["power"])) if "is_valid" in content else None


def _tasmota(content: dict[str, Any]) -> WallSample:
    energy = content["StatusSNS"]["ENERGY"]
    energy_kwh = _number_or_none(energy.get("Total"))
    energy_j = None if energy_kwh is None else J_PER_KWH * energy_kwh
    return WallSample("Tasmota", _number(energy["Power"]), energy_j)


def _redfish_power(content: dict[str, Any]) -> WallSample:
    return WallSample("Redfish", _number(content["PowerControl"][0]["PowerConsumedWatts"]))


def _redfish_metrics(content: dict[str, Any]) -> WallSample:
    return WallSample("Redfish", _number(content["PowerWatts"]["Reading"]))


_FORMATS: tuple[Callable[[dict[str, Any]], WallSample | None], ...] = (
    _shelly_2, _shelly_1, _shelly_1_outlet, _tasmota, _redfish_power, _redfish_metrics,
)  # fmt: skip


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("not a number")
    return float(value)


def _number_or_none(value: Any) -> float | None:
    return None if value is None else _number(value)
