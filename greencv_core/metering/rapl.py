"""CPU and DRAM energy from the processor's own counters (RAPL) through Linux powercap.

The kernel documents the files at https://docs.kernel.org/power/powercap/powercap.html; they count
the whole socket, whoever used it.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from greencv_core.energy import Component, Provenance
from greencv_core.metering.sources import MeterError

POWERCAP = Path("/sys/class/powercap")
PERMISSION_COMMAND = "sudo chmod -R a+r /sys/class/powercap/*/energy_uj"


def powercap_root() -> Path:
    """Return where powercap is: ``$GREENCV_POWERCAP`` (a copied tree, for tests), else sysfs."""
    return Path(os.environ.get("GREENCV_POWERCAP", POWERCAP))


@dataclass
class _Zone:
    path: Path
    name: str
    range_uj: int
    last_uj: int = 0
    total_uj: int = 0

    def read_uj(self) -> int:
        try:
            return int((self.path / "energy_uj").read_text())
        except PermissionError as error:
            raise MeterError(
                f"RAPL is there but only root may read it; run: {PERMISSION_COMMAND}"
            ) from error
        except (OSError, ValueError) as error:
            raise MeterError(f"RAPL zone {self.name} cannot be read: {error}") from error

    def advance(self) -> None:
        now = self.read_uj()
        # The counter wraps at its stated range; a failed read never gets here as a 0.
        self.total_uj += (
            now - self.last_uj if now >= self.last_uj else (now + self.range_uj - self.last_uj)
        )
        self.last_uj = now


@dataclass
class RaplSource:
    """The sum of one kind of RAPL zone over all sockets; provenance *measured*."""

    component: Component
    zones: list[_Zone] = field(repr=False)
    provenance: Provenance = "measured"
    # At 1 kW a 2^32 uJ counter wraps every 4 s; real ones are larger, polling is cheap.
    poll_period_s: float = 1.0

    @property
    def description(self) -> str:
        """What is read."""
        return f"RAPL {'DRAM' if self.component == 'ram' else 'package'} counter"

    def start(self) -> None:
        """Begin to count."""
        for zone in self.zones:
            zone.total_uj, zone.last_uj = 0, zone.read_uj()

    def energy_j(self) -> float:
        """Return the joules since :meth:`start`, summed over sockets."""
        for zone in self.zones:
            zone.advance()
        return sum(zone.total_uj for zone in self.zones) / 1e6

    def stop(self) -> None:
        """Nothing is held."""


def find_rapl(root: Path | None = None) -> list[RaplSource]:
    """Return the sources of this machine: packages for the CPU, DRAM zones for the RAM.

    ``psys`` contains the packages, ``core`` and ``uncore`` are inside them: neither is added.
    The memory-mapped twin of the counters (``intel-rapl-mmio``) is the same energy again.

    Raises
    ------
    MeterError
        There is no RAPL here, or it may not be read; the message says what would help.
    """
    root = powercap_root() if root is None else root
    packages, dram = [], []
    for path in sorted(root.glob("*-rapl:*")):
        try:
            name = (path / "name").read_text().strip()
            zone = _Zone(path, name, int((path / "max_energy_range_uj").read_text()))
        except (OSError, ValueError):
            continue
        if name.startswith("package"):
            packages.append(zone)
        elif name == "dram":
            dram.append(zone)
    if not packages:
        raise MeterError("no RAPL counter (virtual machines and most ARM CPUs have none)")
    for zone in packages:
        zone.read_uj()
    sources = [RaplSource("cpu", packages)]
    with contextlib.suppress(MeterError):  # the RAM is then estimated, the CPU still measured
        for zone in dram:
            zone.read_uj()
        if dram:
            sources.append(RaplSource("ram", dram))
    return sources
