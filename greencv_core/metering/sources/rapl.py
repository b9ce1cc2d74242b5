"""CPU and DRAM energy from the processor's own counters (RAPL) through Linux powercap.

The counters include all programs on the socket.
Files: https://docs.kernel.org/power/powercap/powercap.html
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from greencv_core.metering.base import MeterError, RefusedReadError
from greencv_core.metering.count_recording import CountRecording
from greencv_core.metering.counter import CheckedCounter
from greencv_core.utils.energy import Component, Provenance
from greencv_core.utils.files import read_stripped

POWERCAP = "/sys/class/powercap"
"""Folder of the counters, unless ``$GREENCV_POWERCAP`` names another."""
PERMISSION_COMMAND = "sudo chmod a+r /sys/class/powercap/*/energy_uj"
PERMISSION_RULE = (
    """echo 'ACTION!="remove", SUBSYSTEM=="powercap", KERNEL=="*-rapl:*", """
    """RUN+="/bin/chmod a+r %S%p/energy_uj"' | sudo tee /etc/udev/rules.d/70-greencv-rapl.rules"""
)
"""Command that installs a udev rule, so that the counters stay readable after a reboot."""
REFRESH_S = 1e-3
"""Refresh period of the counters (Intel SDM, volume 3, "RAPL interfaces")."""
HIGHEST_POWER_W = 1_000.0
"""Upper bound of a socket's power."""
STUCK_AFTER_S = 0.5  # time without any change after which a counter is considered stuck
MIRROR_J = 0.1
"""Joules by which a zone may show less or more than another zone of the same register."""
MIRROR_READINGS = 40  # pairs of readings, a refresh apart, that compare two zones


@dataclass(frozen=True)
class Zone:
    """A counter of one package or of its DRAM."""

    path: Path
    name: str
    range_j: float | None
    """Value after which the counter begins at 0 again; None if it does not."""

    def read_j(self) -> float:
        """Return the counter in joules.

        Raises
        ------
        MeterError
            It can only be read by root, or does not exist.
        RefusedReadError
            It may answer later.
        """
        try:
            return int((self.path / "energy_uj").read_text()) / 1e6
        except PermissionError as error:
            raise MeterError(f"RAPL can only be read by root; run: {PERMISSION_COMMAND}") from error
        except FileNotFoundError as error:
            raise MeterError(f"RAPL zone {self.name} cannot be read: {error}") from error
        except (OSError, ValueError) as error:
            message = f"RAPL zone {self.name} cannot be read: {error}"
            raise RefusedReadError(message) from error

    def counter(self) -> CheckedCounter:
        """Return the counter, checked from its first reading on."""
        return CheckedCounter(
            f"RAPL zone {self.name}",
            self.read_j,
            highest_w=HIGHEST_POWER_W,
            refresh_s=0.01,  # some chips count more slowly in idle states
            range_j=self.range_j,
            stuck_after_s=STUCK_AFTER_S,
        )


@dataclass
class RaplSource:
    """Sum of one kind of RAPL zone over all sockets; provenance *measured*."""

    component: Component
    zones: Sequence[Zone] = field(repr=False)
    provenance: Provenance = "measured"
    relative_uncertainty: float = 0.0  # neither Intel nor AMD states an accuracy
    may_hang: bool = False
    reader: str = ""
    """Program that reads the counters for this one; empty if it reads them itself."""

    @property
    def description(self) -> str:
        """Kind of zone, number of sockets and reader."""
        kind = "DRAM" if self.component == "ram" else "package"
        sockets = f", {len(self.zones)} sockets" if len(self.zones) > 1 else ""
        reader = f", read by {self.reader}" if self.reader else ""
        return f"RAPL {kind} counter{sockets}{reader}"

    def record(self, poll_period_s: float) -> CountRecording:
        """Return a new recording."""
        return CountRecording([zone.counter() for zone in self.zones], poll_period_s, REFRESH_S)


def find_rapl() -> tuple[list[RaplSource], dict[Component, str]]:
    """Return the RAPL sources of this machine, and why a component is not among them.

    Package zones meter the CPU, DRAM zones the RAM. ``psys`` contains the packages, ``core`` and
    ``uncore`` are inside them, and ``intel-rapl-mmio`` repeats them: none of these is read. If one
    of several zones of a component cannot be read, the sum of the others is not its energy.

    Raises
    ------
    MeterError
        There is no RAPL here.
    """
    paths = find_zones()
    if not paths["cpu"]:
        raise MeterError(_no_package_reason(_root()))
    sources: list[RaplSource] = []
    problems: dict[Component, str] = {}
    for component, found in paths.items():
        try:
            if found:
                sources.append(RaplSource(component, without_mirrors(_open_zones(found))))
        except MeterError as error:
            problems[component] = str(error)
    return sources, problems


def find_zones() -> dict[Component, list[Path]]:
    """Return the folders of the package zones (``cpu``) and of the DRAM zones (``ram``)."""
    root = _root()
    # A folder mounted into a container may have only the zones' tree, without links to all.
    by_name = {
        path.name: path
        for pattern in ("*-rapl:*/*-rapl:*", "*-rapl:*")
        for path in root.glob(pattern)
    }
    paths: dict[Component, list[Path]] = {"cpu": [], "ram": []}
    for _, path in sorted(by_name.items()):
        name = read_stripped(path / "name")
        if name.startswith("package"):
            paths["cpu"].append(path)
        elif name == "dram":
            paths["ram"].append(path)
    return paths


def read_range_j(path: Path) -> float:
    """Return the joules after which a zone's counter begins at 0 again.

    Raises
    ------
    MeterError
        It cannot be read, or the zone does not count.
    """
    try:
        range_j = int((path / "max_energy_range_uj").read_text()) / 1e6
    except (OSError, ValueError) as error:
        raise MeterError(f"RAPL zone {path.name} cannot be read: {error}") from error
    if range_j <= 0:
        raise MeterError(f"RAPL zone {path.name} has a range of 0 J: it does not count")
    return range_j


def _root() -> Path:
    return Path(os.environ.get("GREENCV_POWERCAP", POWERCAP))


def _open_zones(paths: Sequence[Path]) -> list[Zone]:
    zones = []
    for path in paths:
        zones.append(Zone(path, read_stripped(path / "name"), read_range_j(path)))
        zones[-1].read_j()
    return zones


def without_mirrors(zones: Sequence[Zone]) -> list[Zone]:
    """Leave out zones that show the register of an earlier one, as dies of one package may."""
    kept: list[Zone] = []
    for zone in zones:
        if not any(_is_mirrored(zone, other) for other in kept):
            kept.append(zone)
    return kept


def _is_mirrored(zone: Zone, other: Zone) -> bool:
    """Return whether two zones show one register, which moves meanwhile.

    Then each value of one is between those of the other just before and just after it. This is so
    however late the readings come. Two registers agree in this way by chance only.
    """
    first_j = before_j = zone.read_j()
    for _ in range(MIRROR_READINGS):
        other_j, after_j = other.read_j(), zone.read_j()
        if before_j <= after_j and not before_j - MIRROR_J <= other_j <= after_j + MIRROR_J:
            return False
        before_j = after_j
        time.sleep(REFRESH_S)
    return before_j != first_j


def _no_package_reason(root: Path) -> str:
    if any(root.glob("*-rapl-mmio:*")):
        return (
            "RAPL has no counter of the package here, only those of the chip's own limits "
            "(intel-rapl-mmio); load the kernel module: sudo modprobe intel_rapl_msr"
        )
    return "no RAPL counter (virtual machines, containers and most ARM CPUs have none)"
