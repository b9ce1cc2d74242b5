"""Resolve a study's training environments on this machine, and apply one to this process.

Only the functions that need torch import it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from greencv_core.machine.hardware import Machine
from greencv_core.metering import MeterError, open_gpu
from greencv_core.study.schema import EnvironmentSpec, Study

if TYPE_CHECKING:
    import torch


AUTO_NAMES = (
    "cpu-1-thread",
    "cpu-all-threads",
    *(f"{kind}-{precision}" for kind in ("cuda", "mps") for precision in ("fp32", "bf16", "fp16")),
)
"""Names of the environments of ``environments: auto`` on any machine, in order."""


def resolve(study: Study, machine: Machine) -> list[EnvironmentSpec]:
    """Return the study's environments that this machine has, with all of their fields decided.

    ``environments: auto`` becomes those that the machine has and can meter, ``threads: all`` the
    number of CPUs, and ``device: cuda`` the first GPU. ``device: auto`` becomes the first GPU that
    can be metered, or the CPU. A run id is that of the resolved environment. For those that this
    machine does not have, see :func:`missing_environments`.
    """
    levels = (_resolve_one(spec, machine) for spec in _specs(study, machine))
    return [level for level in levels if isinstance(level, EnvironmentSpec)]


def missing_environments(study: Study, machine: Machine) -> list[str]:
    """Return a line for each environment of the study that this machine does not have."""
    levels = ((spec, _resolve_one(spec, machine)) for spec in _specs(study, machine))
    return [f"environment {s.name}: {reason}" for s, reason in levels if isinstance(reason, str)]


def is_environment_of(used: EnvironmentSpec, study: Study) -> bool:
    """Return whether an environment of any machine is one of the study's."""
    if study.environments == "auto":
        return used.name in AUTO_NAMES
    spec = next((one for one in study.environments if one.name == used.name), None)
    if spec is None:
        return False
    open_fields = {"threads"} if spec.threads == "all" else set()
    if spec.device == "auto":
        open_fields |= {"device", "precision"}
    elif spec.device == "cuda" and used.device.startswith("cuda"):
        open_fields |= {"device"}
    return spec.model_dump(exclude=open_fields) == used.model_dump(exclude=open_fields)


def apply(spec: EnvironmentSpec) -> torch.device:
    """Set this process up for an environment and return its device.

    For ``fp32`` on a GPU, TF32 is switched off in matrix products and convolutions; torch uses it
    by default. The fastest kernels of cuDNN are selected when it first meets a shape, before the
    metered window.
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


def wait_policy() -> str:
    """Return how this process's CPU threads wait for each other: the user's choice or ``default``.

    OpenMP's variables: https://gcc.gnu.org/onlinedocs/libgomp/Environment-Variables.html.
    """
    spins = os.environ.get("GOMP_SPINCOUNT")
    policy = os.environ.get("OMP_WAIT_POLICY", "default").lower()
    return policy if spins is None else f"{policy}, spin count {spins}"


def device_name(spec: EnvironmentSpec, machine: Machine) -> str:
    """Return the product name of an environment's device."""
    accelerator = machine.accelerator_of(spec)
    return accelerator.name if accelerator else machine.cpu_model


def gpu_uuids(spec: EnvironmentSpec, machine: Machine) -> tuple[str, ...]:
    """Return the identifiers of the GPUs of an environment that can be metered."""
    accelerator = machine.accelerator_of(spec)
    return accelerator.metered_uuids if accelerator else ()


def power_limit_w(spec: EnvironmentSpec, machine: Machine) -> float:
    """Return the power limit of an environment's GPU; NaN if there is none or it is unknown."""
    try:
        limits = [open_gpu(uuid).power_limit_w for uuid in gpu_uuids(spec, machine)]
    except MeterError:
        return float("nan")
    return next((limit for limit in limits if limit is not None), float("nan"))


def _auto(machine: Machine) -> list[EnvironmentSpec]:
    specs: list[dict[str, object]] = [{"name": "cpu-1-thread", "device": "cpu", "threads": 1}]
    if machine.cpu_count > 1:
        specs.append({"name": "cpu-all-threads", "device": "cpu", "threads": "all"})
    first = machine.metered_accelerator
    if first is not None:
        kind = first.device.partition(":")[0]
        mixed = "bf16" if first.bf16 else "fp16"
        specs += [
            {"name": f"{kind}-{precision}", "device": first.device, "precision": precision}
            for precision in ("fp32", mixed)
        ]
    # Depthwise convolutions are fastest in channels last, on CPUs and on GPUs. On Apple's, layers
    # compute wrong values there: https://github.com/pytorch/pytorch/issues/174345, .../180984.
    for spec in specs:
        spec["memory_format"] = "contiguous" if spec["device"] == "mps" else "channels_last"
    return [EnvironmentSpec.model_validate(spec) for spec in specs]


def _specs(study: Study, machine: Machine) -> list[EnvironmentSpec]:
    return _auto(machine) if study.environments == "auto" else study.environments


def _resolve_one(spec: EnvironmentSpec, machine: Machine) -> EnvironmentSpec | str:
    """Return an environment with its fields decided, or why this machine does not have it."""
    device, precision = spec.device, spec.precision
    if device == "cuda":
        device = "cuda:0"
    elif device == "auto":
        first = machine.metered_accelerator
        device = first.device if first else "cpu"
        if precision == "tf32" and not (first and first.bf16):
            precision = "fp32"  # the precision of this device where others use TF32
    devices = ["cpu", *(a.device for a in machine.accelerators)]
    if device not in devices:
        return f"device = {spec.device}: not on this machine; here: {', '.join(devices)}"
    threads = machine.cpu_count if spec.threads == "all" else spec.threads
    if threads > machine.cpu_count:
        return f"threads = {threads}: this machine has {machine.cpu_count} CPUs"
    if device == "cpu" and precision not in ("fp32", "bf16"):
        return f"precision = {precision}: a CPU trains in fp32 or bf16"
    if precision == "tf32" and not device.startswith("cuda"):
        return "precision = tf32: only for NVIDIA GPUs"
    found = {"device": device, "threads": threads, "precision": precision}
    return spec.model_copy(update=found)
