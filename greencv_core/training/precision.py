"""Numerical precision and memory format of an environment, in PyTorch's terms."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from greencv_core.study.schema import EnvironmentSpec


def memory_format(environment: EnvironmentSpec) -> torch.memory_format:
    """Return PyTorch's memory format of an environment."""
    last = environment.memory_format == "channels_last"
    return torch.channels_last if last else torch.contiguous_format


def mixed_precision(
    environment: EnvironmentSpec,
) -> tuple[Callable[[], AbstractContextManager[object]], torch.amp.GradScaler]:
    """Return the autocast context and a gradient scaler (inactive unless fp16)."""
    kind = torch.device(environment.device).type
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(environment.precision)
    scaler = torch.amp.GradScaler(kind, enabled=half is torch.float16)
    if half is None:
        return nullcontext, scaler
    return (lambda: torch.autocast(kind, dtype=half)), scaler
