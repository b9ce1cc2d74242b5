"""Describe this machine: CPU, accelerators and software versions.

Only the functions that need torch import it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import re
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from greencv_core import __version__
from greencv_core.metering import MeterError, open_gpu
from greencv_core.metering.sources.apple import GPU_UUID, chip_name
from greencv_core.study.schema import EnvironmentSpec
from greencv_core.utils.errors import GreencvError
from greencv_core.utils.interpreters import child_environment
from greencv_core.utils.secrets import without_secrets


@dataclass(frozen=True)
class Accelerator:
    """A GPU that torch can train on."""

    device: str
    """Its name in torch, e.g. ``cuda:0``."""
    name: str
    uuid: str | None
    """Identifier of its meter: NVML's, ``AMD-`` and the PCI address, or ``APPLE-GPU``."""
    memory_bytes: int | None
    bf16: bool
    unmetered: str = ""
    """Why its energy cannot be metered; empty if it can."""

    @property
    def metered_uuids(self) -> tuple[str, ...]:
        """The identifier if the card can be metered; else empty."""
        return (self.uuid,) if self.uuid and not self.unmetered else ()


@dataclass(frozen=True)
class Machine:
    """Hardware and system of one machine."""

    cpu_model: str
    cpu_count: int
    """Logical CPUs that this process may use."""
    memory_bytes: int
    accelerators: tuple[Accelerator, ...]
    system: str
    accelerator_problem: str = ""
    """Message of torch if it found no accelerator."""

    @property
    def fingerprint(self) -> str:
        """Short hash of the CPUs: the same after a reboot, different on other kinds of machine.

        GPUs are left out, as their visibility varies and each run records its own; so is memory,
        as that of a virtual machine can change.
        """
        text = json.dumps([self.cpu_model, self.cpu_count])
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def metered_accelerator(self) -> Accelerator | None:
        """The first accelerator whose energy can be metered; None without one."""
        return next((a for a in self.accelerators if not a.unmetered), None)

    def accelerator_of(self, spec: EnvironmentSpec) -> Accelerator | None:
        """Return the accelerator of an environment; None for the CPU."""
        return next((a for a in self.accelerators if a.device == spec.device), None)

    def as_dict(self) -> dict[str, object]:
        """Return the fields and the fingerprint, ready for a record."""
        return {**asdict(self), "fingerprint": self.fingerprint}


@functools.cache
def describe_machine() -> Machine:
    """Return the machine as this process sees it (CPU affinity and visible GPUs respected)."""
    accelerators, problem = _accelerators()
    found = tuple(accelerators)
    return replace(describe_computer(), accelerators=found, accelerator_problem=problem)


def describe_computer() -> Machine:
    """Return the machine without its accelerators, to find which torch would be loaded."""
    memory_bytes, system = psutil.virtual_memory().total, platform.platform()
    return Machine(_cpu_model(), available_cpus(), memory_bytes, (), system)


def available_cpus() -> int:
    """Return the number of logical CPUs that affinity and container quota allow."""
    import joblib  # slow to import

    return int(joblib.cpu_count())


def host() -> str:
    """Return a short hash of this computer's name, which differs between computers of one kind."""
    return hashlib.sha256(f"greencv host {platform.node()}".encode()).hexdigest()[:8]


def software_versions() -> dict[str, str]:
    """Return the versions of the libraries that a run's outcome may depend on."""
    packages = (
        "torch", "torchvision", "torchmetrics", "numpy", "scikit-learn", "timm", "codecarbon",
        "nvidia-ml-py",
    )  # fmt: skip
    versions = {"python": platform.python_version(), "greencv": __version__}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def product_name(device: str) -> str:
    """Return a device's product name without trademarks, vendor and clock rate."""
    plain = re.sub(r"\((R|TM|tm|r)\)|\bCPU\b|\bProcessor\b|@.*|NVIDIA |GeForce ", "", device)
    return " ".join(plain.split())


def _may_have_accelerator() -> bool:
    """Return whether torch may find an accelerator: a GPU has a device file."""
    if platform.system() != "Linux":
        return True
    # NVIDIA, the same in Windows' Linux, AMD, and NVIDIA's embedded boards.
    devices = ("nvidiactl", "dxg", "kfd", "nvhost-gpu")
    return any((Path("/dev") / name).exists() for name in devices)


def _accelerators() -> tuple[list[Accelerator], str]:
    """Return the accelerators, and torch's message if it found none."""
    if not _may_have_accelerator():
        return [], ""
    # In a fresh process: torch may open a context on a GPU, which draws power, takes memory and
    # looks to a meter like the work of another program.
    done = subprocess.run(
        [sys.executable, "-c", _FIND_SCRIPT],
        capture_output=True,
        encoding="utf-8",
        env=child_environment(),
    )
    message = without_secrets(" ".join(done.stderr.strip().splitlines()[-1:]))
    if done.returncode != 0:
        raise GreencvError(f"torch cannot look for accelerators: {message or done.returncode}")
    found = [Accelerator(**fields) for fields in json.loads(done.stdout)]
    # torch only warns of an outdated driver, for example.
    return [replace(a, unmetered=_unmetered(a)) for a in found], "" if found else message


def _unmetered(accelerator: Accelerator) -> str:
    if accelerator.uuid is None:
        return "there is no meter for this kind of device"
    try:
        open_gpu(accelerator.uuid)
    except MeterError as error:
        return str(error)
    return ""


_FIND_SCRIPT = (
    "import json; from dataclasses import asdict; "
    "from greencv_core.machine.hardware import find_torch_accelerators; "
    "print(json.dumps([asdict(accelerator) for accelerator in find_torch_accelerators()]))"
)


def find_torch_accelerators() -> list[Accelerator]:
    """Return the accelerators that torch finds; torch may open a context on them."""
    import torch

    if torch.cuda.is_available():
        found = []
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            is_amd = bool(torch.version.hip)
            uuid = _amd_identifier(card) if is_amd else str(getattr(card, "uuid", ""))
            if uuid and not uuid.startswith(("GPU-", "MIG-", "AMD-")):
                uuid = f"GPU-{uuid}"
            # Emulated bfloat16 (before Ampere and CDNA 2) would be slower than no mixed precision.
            bf16 = card.gcnArchName.startswith(_AMD_WITH_BF16) if is_amd else card.major >= 8
            found.append(
                Accelerator(f"cuda:{index}", card.name, uuid or None, card.total_memory, bf16)
            )
        return found
    if torch.backends.mps.is_available():
        # float16 is there on every Apple GPU and macOS.
        memory_bytes = torch.mps.recommended_max_memory()
        return [Accelerator("mps", f"{chip_name()} GPU", GPU_UUID, memory_bytes, bf16=False)]
    return []


_AMD_WITH_BF16 = ("gfx90a", "gfx94", "gfx95", "gfx11", "gfx12")
"""AMD's architectures with bfloat16 in hardware: CDNA 2 and later, RDNA 3 and later."""


def _amd_identifier(card: Any) -> str:
    """Return an AMD card's identifier; torch's numbers follow ``HIP_VISIBLE_DEVICES``."""
    # ROCm reports no function of the PCI device; the first one is the card.
    return f"AMD-{card.pci_domain_id:04x}:{card.pci_bus_id:02x}:{card.pci_device_id:02x}.0"


def _cpu_model() -> str:
    if platform.system() == "Darwin":
        return chip_name()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
