"""The training environment: what this machine is, and how a run uses it.

Imports torch only inside the functions that need it, so that a plan or a table can be made without.
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
from typing import TYPE_CHECKING, Literal

import joblib
import psutil

from greencv_core import __version__
from greencv_core.metering import MeterError
from greencv_core.metering.nvml import NvmlSource
from greencv_core.study.schema import EnvironmentSpec, Study
from greencv_core.utils.errors import GreencvError
from greencv_core.utils.secrets import without_secrets

if TYPE_CHECKING:
    import torch


AUTO_NAMES = (
    "cpu-1-thread",
    "cpu-all-threads",
    *(f"{kind}-{precision}" for kind in ("cuda", "mps") for precision in ("fp32", "bf16", "fp16")),
)
"""What ``environments: auto`` calls its levels, on whichever machine, in order."""


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


def resolve(study: Study, machine: Machine) -> list[EnvironmentSpec]:
    """Return those of the study's environments that this machine has, as levels of this machine.

    ``environments: auto`` becomes what the machine offers and can meter, ``threads: all`` the
    number of CPUs, ``device: cuda`` the first GPU and ``device: auto`` the first one that can be
    metered, else the CPU, so that a run's identity holds what was used. What the machine lacks is
    left out: see :func:`lacking`.
    """
    levels = (_resolve_one(spec, machine) for spec in _asked(study, machine))
    return [level for level in levels if isinstance(level, EnvironmentSpec)]


def lacking(study: Study, machine: Machine) -> list[str]:
    """Return a line for each of the study's environments that this machine does not have."""
    levels = ((spec, _resolve_one(spec, machine)) for spec in _asked(study, machine))
    return [f"environment {s.name}: {reason}" for s, reason in levels if isinstance(reason, str)]


def is_level(used: EnvironmentSpec, study: Study) -> bool:
    """Return whether an environment, of whichever machine, is a level of the study's."""
    if study.environments == "auto":
        return used.name in AUTO_NAMES
    asked = next((spec for spec in study.environments if spec.name == used.name), None)
    if asked is None:
        return False
    open_fields = {"threads"} if asked.threads == "all" else set()
    if asked.device == "auto":
        open_fields |= {"device", "precision"}
    elif asked.device == "cuda" and used.device.startswith("cuda"):
        open_fields |= {"device"}
    return asked.model_dump(exclude=open_fields) == used.model_dump(exclude=open_fields)


def apply(spec: EnvironmentSpec) -> torch.device:
    """Set this process up for an environment and return the device to train on.

    For ``fp32`` on a GPU, TF32 is switched off in matrix products and convolutions alike (torch
    leaves it on for convolutions): fp32 then means fp32. cuDNN tries its kernels when it first
    meets a shape, before the metered window, and keeps the fastest.
    """
    import torch

    assert isinstance(spec.threads, int), "resolve() comes first"
    torch.set_num_threads(spec.threads)
    tf32 = spec.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    device = torch.device(spec.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def device_name(spec: EnvironmentSpec, machine: Machine) -> str:
    """Return the product name of the device that an environment trains on."""
    accelerator = machine.accelerator_of(spec)
    return accelerator.name if accelerator else machine.cpu_model


def product_name(device: str) -> str:
    """Return a device's product name as people say it: without marks, maker's words and clock."""
    plain = re.sub(r"\((R|TM|tm|r)\)|\bCPU\b|\bProcessor\b|@.*|NVIDIA |GeForce ", "", device)
    return " ".join(plain.split())


def gpu_uuids(spec: EnvironmentSpec, machine: Machine) -> tuple[str, ...]:
    """Return NVML's identifiers of the GPUs that an environment trains on and that it can meter."""
    accelerator = machine.accelerator_of(spec)
    return accelerator.metered_uuids if accelerator else ()


def power_limit_w(spec: EnvironmentSpec, machine: Machine) -> float:
    """Return the power limit of the GPU that an environment trains on; NaN where none is told."""
    try:
        limits = [NvmlSource(uuid).state().power_limit_w for uuid in gpu_uuids(spec, machine)]
    except MeterError:
        return float("nan")
    return next((limit for limit in limits if limit is not None), float("nan"))


def _auto(machine: Machine) -> list[EnvironmentSpec]:
    specs = [EnvironmentSpec(name="cpu-1-thread", device="cpu", threads=1, memory_format=_LAYOUT)]
    if machine.cpu_count > 1:
        specs.append(
            EnvironmentSpec(
                name="cpu-all-threads", device="cpu", threads="all", memory_format=_LAYOUT
            )
        )
    first = machine.metered_accelerator
    if first is not None:
        kind = first.device.partition(":")[0]
        mixed = "bf16" if first.bf16 else "fp16"
        specs += [
            EnvironmentSpec.model_validate(
                {
                    "name": f"{kind}-{precision}",
                    "device": first.device,
                    "precision": precision,
                    "memory_format": _LAYOUT,
                }
            )
            for precision in ("fp32", mixed)
        ]
    return specs


# Channels last is the layout that depthwise convolutions run fastest in, on CPUs and GPUs alike.
_LAYOUT: Literal["channels_last"] = "channels_last"


def _asked(study: Study, machine: Machine) -> list[EnvironmentSpec]:
    return _auto(machine) if study.environments == "auto" else study.environments


def _resolve_one(spec: EnvironmentSpec, machine: Machine) -> EnvironmentSpec | str:
    """Return an environment as a level of this machine, or why it has none such."""
    device, precision = spec.device, spec.precision
    if device == "cuda":
        device = "cuda:0"
    elif device == "auto":
        first = machine.metered_accelerator
        device = first.device if first else "cpu"
        if precision == "tf32" and not (first and first.bf16):
            precision = "fp32"  # as this device computes what others round to TF32
    devices = ["cpu", *(a.device for a in machine.accelerators)]
    if device not in devices:
        return f"device = {spec.device}: not on this machine; here: {', '.join(devices)}"
    threads = machine.cpu_count if spec.threads == "all" else spec.threads
    if threads > machine.cpu_count:
        return f"threads = {threads}: this machine has {machine.cpu_count} CPUs"
    if device == "cpu" and precision not in ("fp32", "bf16"):
        return f"precision = {precision}: a CPU trains in fp32 or bf16"
    if precision == "tf32" and not device.startswith("cuda"):
        return "precision = tf32: for NVIDIA GPUs alone"
    found = {"device": device, "threads": threads, "precision": precision}
    return spec.model_copy(update=found)


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
    "from greencv_core.machine.environment import torch_sees; "
    "print(json.dumps([asdict(accelerator) for accelerator in torch_sees()]))"
)


def torch_sees() -> list[Accelerator]:
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
