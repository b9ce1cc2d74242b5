"""GPUs and Jetson boards through Linux' hwmon files, for hardware without its own meter.

Only what is certain is read: a card by the name of its driver, a rail of a Jetson board by its
label. ``energy1_input`` has provenance *measured*, power is *sampled*.
Files: https://docs.kernel.org/hwmon/sysfs-interface.html (microjoules, microwatts, mA and mV);
amdgpu: https://docs.kernel.org/gpu/amdgpu/thermal.html; i915 and xe: Linux'
``Documentation/ABI/testing/sysfs-driver-intel-xe-hwmon``; rails: NVIDIA's Jetson Linux Developer
Guide, "Jetson module power monitor".
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from greencv_core.metering.base import MeterError, RefusedReadError
from greencv_core.metering.gpu import GpuRecording, GpuState
from greencv_core.metering.refresh_cycle import RefreshCycle
from greencv_core.metering.sources import rocm
from greencv_core.utils.energy import Component, Provenance
from greencv_core.utils.files import read_stripped

HWMON = "/sys/class/hwmon"
"""Folder of the sensors, unless ``$GREENCV_HWMON`` names another."""
INTEL = "INTEL-"
PREFIXES = {"amdgpu": rocm.PREFIX, "i915": INTEL, "xe": INTEL}
"""Start of a card's identifier by the name of its driver; its PCI address follows."""
JETSON = "JETSON"
"""Identifier of a Jetson board's own GPU."""
CARD_LABELS = ("", "card", "PPT")
"""Labels of sensors that show the whole card."""
RAILS: dict[Component, dict[str, str]] = {
    "gpu": {"GPU": "", "VDD_GPU": "", "VDD_SYS_GPU": "", "VDD_GPU_SOC": ", with the SoC"},
    "cpu": {"CPU": "", "VDD_CPU": "", "VDD_SYS_CPU": "", "VDD_CPU_CV": ", with the CV engines"},
}
"""Labels of a component's rail, and what else the rail supplies. ``VDD_IN`` contains the others."""
SHARED_RAIL = "VDD_CPU_GPU_CV"


class HwmonSource:
    """Energy of one component: its energy counter if it has one, else integrated power.

    Parameters
    ----------
    uuid
        Identifier of the card, or label of the rail.
    name
        Name for people.
    read
        Returns the counter in joules, or the power in watts.
    """

    may_hang = True
    averaged = False
    relative_uncertainty = 0.0  # no accuracy is stated

    def __init__(
        self,
        uuid: str,
        name: str,
        component: Component,
        read: Callable[[], float],
        *,
        uses_counter: bool = False,
        power_limit_w: float | None = None,
    ) -> None:
        self.uuid, self.name, self.component = uuid, name, component
        self.uses_counter, self.power_limit_w = uses_counter, power_limit_w
        self.has_power = not uses_counter  # no driver shows both
        self._read = read
        self.every_refresh = not uses_counter
        self.provenance: Provenance = "measured" if uses_counter else "sampled"
        self.cycle: RefreshCycle | None = None
        self.read()  # one that cannot be read is no meter

    @property
    def description(self) -> str:
        """Quantity that is read, and the name."""
        what = "energy counter" if self.uses_counter else "power, integrated"
        return f"hwmon {what} ({self.name})"

    def record(self, poll_period_s: float) -> GpuRecording:
        """Return a new recording, whose polls follow the sensor's refreshes."""
        return GpuRecording(self)

    def read(self) -> float:
        """Return the counter in joules, or the power in watts."""
        return self._read()

    def power_w(self) -> float | None:
        """Return None: there is no power in addition to a counter."""
        return None

    def instant_power_w(self) -> float | None:
        """Return None: whether the power is instantaneous is unknown."""
        return None

    def state(self) -> GpuState:
        """Return the power limit; hwmon reports no more."""
        return GpuState(power_limit_w=self.power_limit_w)


def gpus() -> tuple[str, ...]:
    """Return the identifiers of all GPUs that hwmon shows."""
    return (*_cards(), *((JETSON,) if _rails("gpu") else ()))


def visible_gpus(*, with_amd: bool) -> tuple[str, ...]:
    """Return the identifiers of the GPUs that hwmon shows and this process may use.

    Parameters
    ----------
    with_amd
        Whether to look for AMD GPUs, which AMD SMI meters better.

    Raises
    ------
    MeterError
        It is unknown which cards an environment variable means.
    """
    cards = _cards()
    amd = {uuid: folder for uuid, folder in cards.items() if uuid.startswith(rocm.PREFIX)}
    others = [uuid for uuid in gpus() if uuid not in amd]
    mask = next((v for v in ("ZE_AFFINITY_MASK", "ONEAPI_DEVICE_SELECTOR") if v in os.environ), "")
    if mask and sum(uuid.startswith(INTEL) for uuid in others) > 1:
        raise MeterError(f"which of several Intel GPUs {mask} means is unknown; unset it")
    if not with_amd or not rocm.DRIVER.exists():
        return tuple(others)
    serials = [
        (u, read_stripped(folder / "device" / "unique_id").lower()) for u, folder in amd.items()
    ]
    return (*others, *rocm.visible(serials, ordered=False))


def open_gpu(uuid: str) -> HwmonSource:
    """Return the meter of a GPU.

    Raises
    ------
    MeterError
        hwmon does not show it, or its energy is unknown.
    """
    if uuid == JETSON:
        return _open_rail("gpu")
    folder = _cards().get(uuid)
    if folder is None:
        raise MeterError(f"GPU {uuid}: hwmon shows no such card")
    driver = _driver(folder)
    if driver == "amdgpu":
        _check_amd(uuid, folder)
    name = read_stripped(folder / "device" / "product_name") or f"{driver} card"
    power = next((p for p in map(folder.joinpath, _POWERS) if _shows_card(p)), None)
    energy = folder / "energy1_input"
    caps = ("power1_cap", "power1_max", "power1_rated_max", "power1_crit")
    limit_w = next((w for cap in caps if (w := _limit_w(folder / cap))), None)
    uses_counter = _shows_card(energy)
    sensor = energy if uses_counter else power
    if sensor is None:
        raise MeterError(f"GPU {uuid}: {driver} shows no sensor of the whole card")

    def read() -> float:
        return _number(f"GPU {uuid}", sensor) / 1e6

    return HwmonSource(uuid, name, "gpu", read, uses_counter=uses_counter, power_limit_w=limit_w)


def find_cpu() -> HwmonSource | None:
    """Return the meter of a Jetson board's CPU; None on other machines.

    Raises
    ------
    MeterError
        The board has no rail of the CPU alone.
    """
    return _open_rail("cpu") if _rails("cpu") or _shared_rail() else None


_POWERS = ("power1_average", "power1_input")


def _root() -> Path:
    return Path(os.environ.get("GREENCV_HWMON", HWMON))


def _cards() -> dict[str, Path]:
    """Return the folder of each card's sensors, by the card's identifier."""
    found = {}
    for folder in sorted(_root().glob("hwmon*")):
        prefix = PREFIXES.get(_driver(folder))
        if prefix is not None:
            found[prefix + (folder / "device").resolve().name.lower()] = folder
    return found


def _driver(folder: Path) -> str:
    return read_stripped(folder / "name")


def _check_amd(uuid: str, folder: Path) -> None:
    device = folder / "device"
    reason = rocm.shared_energy(read_stripped(device / "device"), "", whole_card=False)
    if not (folder / "power1_cap").exists():  # amdgpu hides it for GPUs inside of a CPU
        reason = rocm.shared_energy("", rocm.INTEGRATED[0], whole_card=False)
    if reason:
        raise MeterError(f"GPU {uuid}: {reason}")
    if read_stripped(device / "current_compute_partition") not in ("", "SPX"):
        raise MeterError(f"GPU {uuid} {rocm.PARTITIONED}")


def _shows_card(path: Path) -> bool:
    """Return whether a sensor exists and shows the whole card."""
    label = path.with_name(path.name.partition("_")[0] + "_label")
    return path.exists() and read_stripped(label) in CARD_LABELS


def _limit_w(path: Path) -> float:
    text = read_stripped(path)
    return int(text) / 1e6 if text.isdigit() else 0.0


def _rails(component: Component) -> list[tuple[Path, str, str]]:
    """Return folder, channel and label of each rail of a component."""
    return [rail for rail in _all_rails() if rail[2] in RAILS[component]]


def _shared_rail() -> bool:
    return any(label == SHARED_RAIL for _, _, label in _all_rails())


def _all_rails() -> list[tuple[Path, str, str]]:
    found = []
    for folder in sorted(_root().glob("hwmon*")):
        if _driver(folder) != "ina3221":
            continue
        for path in sorted(folder.glob("in[123]_label")):
            channel = path.name.removeprefix("in").removesuffix("_label")
            if read_stripped(folder / f"in{channel}_enable") != "0":
                found.append((folder, channel, read_stripped(path)))
    return found


def _open_rail(component: Component) -> HwmonSource:
    rails = _rails(component)
    if len(rails) != 1:
        shared = f"the rail {SHARED_RAIL} supplies both CPU and GPU"
        several = f"{len(rails)} rails are those of the {component.upper()}"
        none = f"no rail is that of the {component.upper()} alone"
        raise MeterError(f"Jetson: {several if rails else shared if _shared_rail() else none}")
    folder, channel, label = rails[0]
    name = f"Jetson, rail {label}{RAILS[component][label]}"
    volts, amperes = folder / f"in{channel}_input", folder / f"curr{channel}_input"

    def power_w() -> float:
        return _number(label, amperes) / 1e3 * _number(label, volts) / 1e3

    return HwmonSource(JETSON if component == "gpu" else label, name, component, power_w)


def _number(name: str, path: Path) -> int:
    """Return the number in a file."""
    try:
        return int(path.read_text())
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None)
        if number == errno.EACCES:
            raise MeterError(f"{name} cannot be read; run: sudo chmod a+r {path}") from error
        if number in (errno.ENOENT, errno.ENODEV):
            raise MeterError(f"{name}: {path.name} lost: {error}") from error
        raise RefusedReadError(f"{name}: {path.name} cannot be read: {error}") from error
