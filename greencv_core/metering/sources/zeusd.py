"""CPU and DRAM energy through zeusd, the daemon of Zeus that reads RAPL as root.

zeusd answers HTTP on a Unix socket. ``GET /discover`` names the CPUs, and ``GET
/cpu/get_cumulative_energy`` their microjoules. It adds a counter's range at each wrap that it
sees, and forgets these wraps when it restarts; both are undone here by the range.
Source: https://github.com/ml-energy/zeus/tree/master/zeusd (``src/routes/cpu.rs``,
``src/routes/server.rs``, ``src/config.rs``).
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greencv_core.metering.base import MeterError, RefusedReadError
from greencv_core.metering.sources.rapl import (
    RaplSource,
    Zone,
    find_zones,
    read_range_j,
    without_mirrors,
)
from greencv_core.utils.energy import Component

SOCKET = "/run/zeusd/zeusd.sock"
"""zeusd's default socket, unless ``$ZEUSD_SOCK_PATH`` names another."""
TIMEOUT_S = 1.0  # shorter than the meter's limit of one reading, so that a delay is a refused read
FIELDS: dict[Component, str] = {"cpu": "cpu_energy_uj", "ram": "dram_energy_uj"}


class _Connection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass(frozen=True)
class ZeusdZone(Zone):
    """A counter that zeusd reads; its path is that of zeusd's socket."""

    cpu_id: int
    field: str

    def read_j(self) -> float:
        """Return the counter in joules.

        Raises
        ------
        MeterError
            zeusd no longer has this counter.
        RefusedReadError
            zeusd does not answer now, as while it restarts.
        """
        value_j = _energies_uj(str(self.path), self.cpu_id).get(self.field)
        if not isinstance(value_j, int | float) or isinstance(value_j, bool):
            raise MeterError(f"zeusd reports no {self.field} of CPU {self.cpu_id}")
        energy_j = value_j / 1e6
        return energy_j if self.range_j is None else energy_j % self.range_j


def find_zeusd(components: Collection[Component]) -> list[RaplSource]:
    """Return the meters of some components through zeusd; none if it is not set up here.

    Raises
    ------
    MeterError
        zeusd does not answer, or its answer is incomplete.
    """
    path = os.environ.get("ZEUSD_SOCK_PATH", SOCKET)
    if not components or not hasattr(socket, "AF_UNIX"):
        return []
    if "ZEUSD_SOCK_PATH" not in os.environ and not os.path.exists(path):
        return []
    ids = _package_ids(path)
    energies = {cpu_id: _energies_uj(path, cpu_id) for cpu_id in ids}
    sources = []
    for component in components:
        told = [cpu_id for cpu_id in ids if energies[cpu_id].get(FIELDS[component]) is not None]
        if told != ids:
            continue  # the energy of some of the sockets is not that of all
        zones = [_open_zone(path, cpu_id, component) for cpu_id in ids]
        sources.append(RaplSource(component, without_mirrors(zones), may_hang=True, reader="zeusd"))
    return sources


def _package_ids(path: str) -> list[int]:
    """Return zeusd's numbers of the CPU packages; it also counts ``psys``, which contains them."""
    told = _get(path, "/discover")
    try:
        ids = [int(cpu["id"]) for cpu in told["cpus"]] if "cpus" in told else told["cpu_ids"]
        groups, locked = told["enabled_api_groups"], told.get("auth_required", False)
    except (KeyError, TypeError, ValueError) as error:
        raise MeterError(f"zeusd at {path} has an unknown protocol; update zeusd") from error
    if "cpu-read" not in groups:
        raise MeterError("zeusd does not read CPUs here; start it with --enable cpu-read")
    if locked and not os.environ.get("ZEUSD_TOKEN"):
        raise MeterError("zeusd asks for a token; set ZEUSD_TOKEN to one with the scope cpu-read")
    packages = {zone.name for zone in find_zones()["cpu"]}
    if not packages and len(ids) == 1:
        return list(ids)  # the first zone is always a package
    found = [cpu_id for cpu_id in ids if f"intel-rapl:{cpu_id}" in packages]
    if not found:
        raise MeterError(
            "zeusd does not report which of its zones are CPU packages, and /sys/class/powercap "
            "cannot be read here; in a container, mount it"
        )
    return found


def _open_zone(path: str, cpu_id: int, component: Component) -> ZeusdZone:
    kind = "DRAM" if component == "ram" else "package"
    folders = [
        folder
        for folder in find_zones()[component]
        if folder.name == f"intel-rapl:{cpu_id}" or folder.name.startswith(f"intel-rapl:{cpu_id}:")
    ]
    range_j = read_range_j(folders[0]) if folders else None
    name = f"{kind} {cpu_id} of zeusd"
    return ZeusdZone(Path(path), name, range_j, cpu_id, FIELDS[component])


def _energies_uj(path: str, cpu_id: int) -> dict[str, Any]:
    url = f"/cpu/get_cumulative_energy?cpu_ids={cpu_id}&cpu=true&dram=true"
    energies = _get(path, url).get(str(cpu_id))
    if not isinstance(energies, dict):
        raise RefusedReadError(f"zeusd did not report the energy of CPU {cpu_id}")
    return energies


def _get(path: str, url: str) -> dict[str, Any]:
    """Return the answer to a request; a new connection each time outlives a restart of zeusd."""
    token = os.environ.get("ZEUSD_TOKEN")
    connection = _Connection(path)
    try:
        connection.request(
            "GET", url, headers={"Authorization": f"Bearer {token}"} if token else {}
        )
        answer = connection.getresponse()
        status, body = answer.status, answer.read()
        content = json.loads(body) if status == http.client.OK else None
    except PermissionError as error:
        raise MeterError(f"zeusd's socket cannot be opened; run: sudo chmod a+rw {path}") from error
    except TimeoutError as error:
        raise RefusedReadError(f"zeusd at {path} does not answer") from error
    except (OSError, http.client.HTTPException) as error:
        raise RefusedReadError(f"zeusd at {path} cannot be reached: {error}") from error
    except ValueError as error:
        raise RefusedReadError(f"zeusd at {path} answered no JSON") from error
    finally:
        connection.close()
    if status != http.client.OK:
        raise RefusedReadError(f"zeusd at {path} answered with HTTP status {status}")
    if not isinstance(content, dict):
        raise RefusedReadError(f"zeusd at {path} answered no JSON object")
    return content
