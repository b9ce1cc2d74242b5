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

import joblib
import psutil

from greencv_core import __version__
from greencv_core.metering import MeterError
from greencv_core.metering.nvml import NvmlSource
from greencv_core.study.schema import EnvironmentSpec
from greencv_core.utils.errors import GreencvError
from greencv_core.utils.secrets import without_secrets


@dataclass(frozen=True)
class Accelerator:
    """A GPU that torch can train on."""

    device: str
    """torch's name of it, e.g. ``cuda:0``."""
    name: str
    uuid: str | None
    """NVML's identifier (``GPU-...``); None where there is none (Apple)."""
    memory_bytes: int | None
    bf16: bool
    unmetered: str = ""
    """Why its energy cannot be metered; empty where it can."""

    @property
    def metered_uuids(self) -> tuple[str, ...]:
        """NVML's identifier where it can meter this card; empty else."""
        return (self.uuid,) if self.uuid and not self.unmetered else ()


@dataclass(frozen=True)
class Machine:
    """What the runs of this machine have in common."""

    cpu_model: str
    cpu_count: int
    """Logical CPUs that this process may use."""
    memory_bytes: int
    accelerators: tuple[Accelerator, ...]
    system: str
    accelerator_problem: str = ""
    """What torch said where it found none."""

    @property
    def fingerprint(self) -> str:
        """Short hash of the CPUs: the same after a reboot, another on another kind of machine.

        GPUs stay out: which of them are visible varies, and each run states its own. So does
        memory: a virtual machine may be given more of it while it runs.
        """
        text = json.dumps([self.cpu_model, self.cpu_count])
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def metered_accelerator(self) -> Accelerator | None:
        """The first accelerator whose energy can be metered; None without one."""
        return next((a for a in self.accelerators if not a.unmetered), None)

    def accelerator_of(self, spec: EnvironmentSpec) -> Accelerator | None:
        """Return the accelerator that an environment trains on; None for the CPU."""
        return next((a for a in self.accelerators if a.device == spec.device), None)

    def as_dict(self) -> dict[str, object]:
        """Return the fields and the fingerprint, ready for a record."""
        return {**asdict(self), "fingerprint": self.fingerprint}


@functools.cache
def describe_machine() -> Machine:
    """Return the machine as this process sees it (CPU affinity and visible GPUs respected)."""
    accelerators, problem = _accelerators()
    return Machine(
        cpu_model=_cpu_model(),
        cpu_count=available_cpus(),
        memory_bytes=psutil.virtual_memory().total,
        accelerators=tuple(accelerators),
        system=platform.platform(),
        accelerator_problem=problem,
    )


def available_cpus() -> int:
    """Return the number of logical CPUs that this process may use: affinity and container quota."""
    return int(joblib.cpu_count())


def host() -> str:
    """Return a short hash of this computer's name: it tells computers of one kind apart."""
    return hashlib.sha256(f"greencv host {platform.node()}".encode()).hexdigest()[:8]


def software_versions() -> dict[str, str]:
    """Return the versions of what a run's outcome may depend on."""
    packages = (
        "torch",
        "torchvision",
        "torchmetrics",
        "numpy",
        "scikit-learn",
        "timm",
        "codecarbon",
        "nvidia-ml-py",
    )
    versions = {"python": platform.python_version(), "greencv": __version__}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def product_name(device: str) -> str:
    """Return a device's product name as people say it: without marks, maker's words and clock."""
    plain = re.sub(r"\((R|TM|tm|r)\)|\bCPU\b|\bProcessor\b|@.*|NVIDIA |GeForce ", "", device)
    return " ".join(plain.split())


def _may_have_accelerator() -> bool:
    """Whether torch needs asking: without a GPU's device file there is nothing for it to find."""
    if platform.system() != "Linux":
        return True
    # NVIDIA's driver, the same under Windows' Linux, AMD's, and NVIDIA's embedded boards.
    devices = ("nvidiactl", "dxg", "kfd", "nvhost-gpu")
    return any((Path("/dev") / name).exists() for name in devices)


def _accelerators() -> tuple[list[Accelerator], str]:
    """Return the accelerators, and what torch said where there are none although there may be."""
    if not _may_have_accelerator():
        return [], ""
    # Asked in a process of its own: to look at a GPU, torch may open a context on it, and a context
    # draws power, takes memory and looks to a meter like somebody else's work.
    done = subprocess.run([sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True)
    said = without_secrets(" ".join(done.stderr.strip().splitlines()[-1:]))
    if done.returncode != 0:
        raise GreencvError(f"torch cannot look for accelerators: {said or done.returncode}")
    found = [Accelerator(**fields) for fields in json.loads(done.stdout)]
    # An outdated driver, say, is a warning of torch's and no error.
    return [replace(a, unmetered=_unmetered(a)) for a in found], "" if found else said


def _unmetered(accelerator: Accelerator) -> str:
    if accelerator.uuid is None:
        return "no meter here knows this kind of device"
    try:
        NvmlSource(accelerator.uuid)
    except MeterError as error:
        return str(error)
    return ""


_ASK_TORCH = (
    "import json; from dataclasses import asdict; "
    "from greencv_core.machine.hardware import find_torch_accelerators; "
    "print(json.dumps([asdict(accelerator) for accelerator in find_torch_accelerators()]))"
)


def find_torch_accelerators() -> list[Accelerator]:
    """Return the accelerators that torch finds; this process may hold a context on them then."""
    import torch

    if torch.cuda.is_available():
        found = []
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            found.append(
                Accelerator(
                    device=f"cuda:{index}",
                    name=properties.name,
                    # AMD's build of torch has identifiers, too, but none that NVML knows.
                    uuid=None
                    if torch.version.hip
                    else _nvml_uuid(str(getattr(properties, "uuid", ""))),
                    memory_bytes=properties.total_memory,
                    # Emulated bfloat16 (before Ampere) would be slower than no mixed precision.
                    bf16=properties.major >= 8,
                )
            )
        return found
    if torch.backends.mps.is_available():
        return [
            Accelerator(device="mps", name="Apple GPU", uuid=None, memory_bytes=None, bf16=False)
        ]
    return []


def _nvml_uuid(uuid: str) -> str | None:
    if not uuid:
        return None
    return uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"


def _cpu_model() -> str:
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
