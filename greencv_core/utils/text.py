"""Format numbers, units, names and messages as text."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

MINUS = "\N{MINUS SIGN}"
"""The minus sign of all texts; a hyphen is shorter and breaks lines."""
F1_DECIMALS = 3
"""Decimals of macro F1 in texts and on the Pareto front; a few hundred validation images give no
more."""

QUANTITIES = {
    "energy_j": "energy",
    "energy_j_per_image": "energy per image",
    "net_energy_j": "net energy",
    "duration_s": "time",
    "duration_s_per_image": "time per image",
    "power_w": "mean power",
    "f1": "F1",
    "f1_macro": "macro F1",
    "accuracy": "accuracy",
    "device_utilization_pct": "device utilisation",
    "emissions_gco2e": "emissions",
}
"""Names of the runs table's columns in texts."""


def quantity(column: str) -> str:
    """Return a column's plain name: ``energy_j_per_image`` is energy per image."""
    return QUANTITIES.get(column, column.replace("_", " "))


def p_value(p: float) -> str:
    """Return ``p < 0.001`` or ``p = 0.012``."""
    if math.isnan(p):
        return "p not defined"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def percent(share: float, digits: int = 1) -> str:
    """Return a share as a percentage: 0.8139 is 81.4%."""
    return f"{decimals(100 * share, digits)}%"


def decimals(value: float, digits: int, *, signed: bool = False) -> str:
    """Return a number with so many decimals and a minus sign rather than a hyphen."""
    return f"{value:{'+' if signed else ''}z.{digits}f}".replace("-", MINUS)


def number(value: float) -> str:
    """Return three significant digits, without an exponent where that reads well."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    magnitude = math.floor(math.log10(abs(value)))
    text = f"{value:,.{max(0, 2 - magnitude)}f}" if -5 <= magnitude <= 6 else f"{value:.2e}"
    return f"{MINUS}{text[1:]}" if value < 0 else text


def prefix(smallest: float) -> tuple[float, str]:
    """Return factor and SI prefix of a unit in which a number does not begin with 0.0."""
    if not 0 < smallest < 0.1:
        return 1.0, ""
    return (1e3, "m") if smallest >= 1e-4 else (1e6, "\N{MICRO SIGN}")


def with_unit(value: float, unit: str) -> str:
    """Return a value with its unit, prefixed where it is small: 0.0026 J is 2.60 mJ."""
    factor, sign = prefix(abs(value))
    return f"{number(factor * value)} {sign}{unit}"


def flops(gflops: float) -> str:
    """Return floating-point operations: ``4.40 MFLOPs``."""
    return f"{number(1e3 * gflops)} MFLOPs" if gflops < 0.1 else f"{number(gflops)} GFLOPs"


def duration(seconds: float) -> str:
    """Return a duration in the unit that reads best: ``42.0 s``, ``3.21 minutes``."""
    for unit_s, unit in ((3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit_s:
            return f"{number(seconds / unit_s)} {unit}"
    return f"{number(seconds)} s"


def listed(words: Sequence[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``; semicolons divide words that hold commas."""
    if len(words) < 2:
        return "".join(words)
    # " @ " becomes a comma in a report.
    comma = "; " if any(", " in word or " @ " in word for word in words) else ", "
    last = comma if comma == "; " and len(words) > 2 else " "
    return f"{comma.join(words[:-1])}{last}and {words[-1]}"


def count(n: int, singular: str, plural: str | None = None) -> str:
    """Return ``1 run`` or ``3 runs``."""
    return f"{n} {singular if n == 1 else plural or singular + 's'}"


def as_opening(text: str) -> str:
    """Return text with a capital first letter: ``Macro F1``."""
    return text[:1].upper() + text[1:]


def left_out_clause(names: Sequence[str], reason: str) -> str:
    """Return ``; left out: a and b (reason)``, or nothing where nothing was."""
    return f"; left out: {listed(names)} ({reason})" if names else ""


def joules(energy_j: float) -> str:
    """Return an energy with a suitable prefix: ``12.3 kJ``."""
    unit, scale = _prefix(energy_j)
    return f"{_scaled(energy_j, scale)} {unit}"


def joules_between(low_j: float, high_j: float, *, like_j: float) -> str:
    """Return an interval in the unit of another energy, without the unit: ``11.8 to 14``."""
    _, scale = _prefix(like_j)
    return f"{_scaled(low_j, scale)} to {_scaled(high_j, scale)}"


def _prefix(energy_j: float) -> tuple[str, float]:
    return next(((u, s) for u, s in (("MJ", 1e6), ("kJ", 1e3)) if energy_j >= s), ("J", 1.0))


def _scaled(energy_j: float, scale: float) -> str:
    value = energy_j / scale
    return f"{value:,.0f}" if scale == 1 or value >= 999.5 else f"{value:.3g}"


def one_line(text: object) -> str:
    """Return text on one line, without control characters or runs of blanks."""
    # Unprintable characters may break the line or reverse its direction.
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def printable(name: str | Path) -> str:
    r"""Return the name of a file as text that can be shown: ``caf\xe9`` where it is not UTF-8."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def clock(seconds: float) -> str:
    """Return a duration in two units: ``3 min 05 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        days, hours = divmod(hours, 24)
        return f"{days} days {hours} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
