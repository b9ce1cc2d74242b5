"""What is missing for a better meter, and the one command that helps.

Sources: PCI vendors (https://pci-ids.ucw.cz/), powercap in containers
(https://github.com/moby/moby/security/advisories/GHSA-jq35-85cj-fj4p), udev's substitutions
(https://www.freedesktop.org/software/systemd/man/latest/udev.html).
"""

from __future__ import annotations

import importlib.util
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from greencv_core.metering.discovery import Discovery
from greencv_core.metering.sources.rapl import PERMISSION_COMMAND, PERMISSION_RULE
from greencv_core.utils.energy import Component
from greencv_core.utils.files import read_stripped

NVIDIA, AMD = "0x10de", "0x1002"
GPU_CLASSES = ("0x03", "0x12")
"""First digits of the PCI classes of display controllers and of accelerators."""


@dataclass(frozen=True)
class Surroundings:
    """What decides which meters a computer can have."""

    system: str
    """``Linux``, ``Darwin`` or ``Windows``."""
    processor: str
    """Architecture, such as ``x86_64``."""
    rapl_reason: str
    """Why RAPL is not used; empty if it is."""
    container: bool
    virtual: bool
    """Whether a hypervisor runs this system."""
    gpu_vendors: frozenset[str]
    """PCI vendors of the GPUs."""
    gpu_devices: frozenset[str]
    """Drivers of GPUs that can be used here: ``nvidia``, ``amd``."""
    packages: frozenset[str]
    """Python packages of meters that are installed."""


@dataclass(frozen=True)
class Advice:
    """What is missing to meter a component, and what helps."""

    component: Component
    missing: str
    command: str = ""
    """Empty if no command helps."""
    lasting_command: str = ""
    """Command that also holds after a reboot."""


ADVICE: tuple[tuple[Callable[[Surroundings], bool], Advice], ...] = (
    (
        lambda here: "by root" in here.rapl_reason,
        Advice(
            "cpu",
            "the CPU's counters (RAPL) can only be read by root",
            PERMISSION_COMMAND,
            PERMISSION_RULE,
        ),
    ),
    (
        lambda here: here.system == "Darwin" and "zeus_apple_silicon" not in here.packages,
        Advice("cpu", "the package that reads Apple's counters", "pip install zeus-apple-silicon"),
    ),
    (
        lambda here: here.system == "Darwin",
        Advice(
            "cpu", "an Apple Silicon chip: others have no counters, and CPU and RAM are estimated"
        ),
    ),
    (
        lambda here: here.system == "Windows",
        Advice("cpu", "a counter that Windows shows to programs: CPU and RAM are estimated"),
    ),
    (
        lambda here: here.virtual,
        Advice("cpu", "the CPU's counters, which virtual machines hide: CPU and RAM are estimated"),
    ),
    (
        lambda here: here.container,
        Advice(
            "cpu",
            "the CPU's counters, which the container hides",
            "docker run -v /sys/class/powercap/intel-rapl:/powercap:ro "
            "-e GREENCV_POWERCAP=/powercap ...",
        ),
    ),
    (
        lambda here: here.processor in ("x86_64", "i686"),
        Advice(
            "cpu",
            "the kernel module of the CPU's counters",
            "sudo modprobe intel_rapl_msr",
            "echo intel_rapl_msr | sudo tee /etc/modules-load.d/greencv-rapl.conf",
        ),
    ),
    (
        lambda here: True,
        Advice("cpu", "a counter that Linux can read in this CPU: CPU and RAM are estimated"),
    ),
    (
        lambda here: _unused_gpu(here, NVIDIA, "nvidia") and here.container,
        Advice("gpu", "the NVIDIA GPU, which the container hides", "docker run --gpus all ..."),
    ),
    (
        lambda here: _unused_gpu(here, NVIDIA, "nvidia"),
        Advice("gpu", "the driver of the NVIDIA GPU", "sudo ubuntu-drivers install"),
    ),
    (
        lambda here: _unused_gpu(here, AMD, "amd") and here.container,
        Advice(
            "gpu",
            "the AMD GPU, which the container hides",
            "docker run --device /dev/kfd --device /dev/dri ...",
        ),
    ),
    (
        lambda here: AMD in here.gpu_vendors and "amdsmi" not in here.packages,
        Advice("gpu", "the package that reads AMD GPUs", "pip install amdsmi"),
    ),
)
"""Conditions and advice; the first one that applies to a component is given."""


def find_advice(found: Discovery, here: Surroundings) -> list[Advice]:
    """Return what helps to meter the components that are estimated or not metered."""
    metered = {source.component for source in found.sources if source.provenance != "estimated"}
    given: dict[Component, Advice] = {}
    for applies, advice in ADVICE:
        if advice.component not in metered and applies(here):
            given.setdefault(advice.component, advice)
    return list(given.values())


def look_around(found: Discovery, root: Path = Path("/")) -> Surroundings:
    """Return what this computer has; ``root`` is the root of its file system."""
    pci = [path for path in root.glob("sys/bus/pci/devices/*") if _is_gpu(path)]
    drivers = {"nvidia": root / "dev/nvidiactl", "amd": root / "dev/kfd"}
    marks = (root / ".dockerenv", root / "run/.containerenv")
    packages = ("amdsmi", "zeus_apple_silicon")
    return Surroundings(
        system=platform.system(),
        processor=platform.machine(),
        rapl_reason=found.unavailable.get("rapl", ""),
        container="KUBERNETES_SERVICE_HOST" in os.environ or any(os.path.exists(p) for p in marks),
        virtual="hypervisor" in read_stripped(root / "proc/cpuinfo").split(),
        gpu_vendors=frozenset(read_stripped(path / "vendor") for path in pci),
        gpu_devices=frozenset(name for name, path in drivers.items() if os.path.exists(path)),
        packages=frozenset(name for name in packages if importlib.util.find_spec(name)),
    )


def _unused_gpu(here: Surroundings, vendor: str, driver: str) -> bool:
    return vendor in here.gpu_vendors and driver not in here.gpu_devices


def _is_gpu(path: Path) -> bool:
    return read_stripped(path / "class").startswith(GPU_CLASSES)
