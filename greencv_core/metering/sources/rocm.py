"""AMD GPUs in ROCm's system files: which are visible, and whose energy is unknown.

Variables: https://rocm.docs.amd.com/en/latest/conceptual/gpu-isolation.html and
``rocclr/device/rocm/rocdevice.cpp``, where an empty ``HIP_VISIBLE_DEVICES`` counts as none.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from greencv_core.metering.base import MeterError
from greencv_core.utils.files import read_stripped

PREFIX = "AMD-"
"""Start of the identifier of an AMD GPU; its PCI address follows."""
WHOLE_CARD = "/card"
"""End of an identifier that means both dies of a card."""
DRIVER = Path("/dev/kfd")
DEVICES = Path("/dev/dri")
PCI = Path("/sys/bus/pci/devices")
TWO_DIES = ("0x7408", "0x740c")
"""PCI device ids of MI250X and MI250."""
CPU_INSIDE = ("0x74a0",)
"""PCI device ids of accelerators with CPU cores (MI300A)."""
INTEGRATED = (
    "gfx902", "gfx909", "gfx90c", "gfx1013", "gfx1033", "gfx1035", "gfx1036", "gfx1037",
    "gfx1103", "gfx1150", "gfx1151", "gfx1152", "gfx1153",
)  # fmt: skip
"""GPUs inside of a CPU (LLVM's list of AMDGPU processors)."""
PARTITIONED = (
    "is split into partitions: its energy is the sum over all of them; train on a card that is "
    "not split"
)


def shared_energy(device_id: str, gfx: str, whole_card: bool) -> str:
    """Return why a GPU's own energy is unknown; empty if it is known.

    Parameters
    ----------
    device_id
        PCI device id such as ``0x740c``.
    gfx
        Name of its architecture such as ``gfx90a``; empty if unknown.
    whole_card
        Whether the energy of both dies is meant.
    """
    if device_id in CPU_INSIDE or gfx in INTEGRATED:
        return "its sensor shows the sum of GPU and CPU"
    if device_id in TWO_DIES and not whole_card:
        return (
            "it is one of two dies of a card, whose sensor shows the sum of both; meter all dies "
            f"together, or add {WHOLE_CARD} to the first die's identifier to meter its card"
        )
    return ""


def count_dies() -> int:
    """Return how many dies of two-die cards the PCI bus has, also those of other users."""
    return sum(read_stripped(path) in TWO_DIES for path in PCI.glob("*/device"))


def install_command() -> str:
    """Return the command that installs the ``amdsmi`` that fits the installed ROCm."""
    shipped = Path(os.environ.get("ROCM_PATH", "/opt/rocm")) / "share" / "amd_smi"
    return f"pip install {shipped}" if shipped.is_dir() else "pip install amdsmi"


def visible(cards: Sequence[tuple[str, str]], *, ordered: bool) -> tuple[str, ...]:
    """Return the identifiers of the cards that environment variables leave visible.

    Parameters
    ----------
    cards
        Identifier and serial number (the 16 digits of ROCm's UUID) of each card.
    ordered
        Whether the cards are in the order in which ROCm numbers them.

    Raises
    ------
    MeterError
        A variable names a card by its number, and the order is unknown.
    """
    left = list(cards)
    for variable in ("ROCR_VISIBLE_DEVICES", _hip_variable()):
        wanted = os.environ.get(variable)
        if wanted is None or (not wanted and not variable.startswith("ROCR")):
            continue
        chosen: list[tuple[str, str]] = []
        for entry in (part.strip().lower() for part in wanted.split(",")):
            matches = [card for card in left if entry == f"gpu-{card[1]}"]
            if entry.isdigit():
                if not ordered and len(cards) > 1:
                    raise MeterError(
                        f"{variable}={wanted}: which card has number {entry} is unknown; set "
                        "ROCR_VISIBLE_DEVICES to UUIDs (shown by rocm-smi --showuniqueid)"
                    )
                matches = left[int(entry) : int(entry) + 1]
            if len(matches) != 1:
                break  # like ROCm, which ignores what follows an unknown entry
            chosen += matches
        left = list(dict.fromkeys(chosen))
    return tuple(uuid for uuid, _ in left)


def _hip_variable() -> str:
    hip = os.environ.get("HIP_VISIBLE_DEVICES")
    return "HIP_VISIBLE_DEVICES" if hip else "CUDA_VISIBLE_DEVICES"
