"""Build an architecture by name, and count its operations and parameters."""

from __future__ import annotations

import contextlib
import difflib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from greencv_core.architectures.keras.keras_weights import load_keras_file
from greencv_core.architectures.libraries import (
    LIBRARIES,
    Normalisation,
    imagenet_size,
    split_name,
)
from greencv_core.architectures.weights import hash_weights, load_state
from greencv_core.utils.errors import BadInputError

IMAGENET: Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Normalisation for nearly all published weights."""


@dataclass(frozen=True)
class Architecture:
    """A network to train."""

    module: torch.nn.Module
    normalisation: Normalisation | None
    """None: normalise by the training images' own mean and standard deviation."""
    weights_sha256: str
    """Hash of the loaded weights; empty if the initial weights are random."""


def architecture_names() -> list[str]:
    """Return the names of all architectures but timm's, which are ``timm:NAME``."""
    libraries = {name: entry for name, entry in LIBRARIES.items() if name != "timm"}
    return [_full_name(name, one) for name, entry in libraries.items() for one in entry.names()]


def check_architecture(name: str, weights: str = "none", image_size: int = 32) -> None:
    """Raise :class:`BadInputError` if :func:`build` does not accept these arguments.

    The message names the nearest known names. Downloads are not checked.
    """
    library, plain = split_name(name)
    entry = LIBRARIES[library]
    known = entry.names()
    if plain not in known:
        nearest = difflib.get_close_matches(plain, known, n=3, cutoff=0.4)
        hint = entry.hint or f"known: {', '.join(known)}"
        if nearest:
            hint = f"did you mean {', '.join(_full_name(library, one) for one in nearest)}?"
        raise BadInputError(f"architectures: {name}: unknown architecture; {hint}")
    if weights == "imagenet" and not entry.has_imagenet(plain):
        raise BadInputError(f"protocol.weights = imagenet: {name} has none; use none or file:PATH")
    fixed = imagenet_size(name) if weights == "imagenet" else None
    if fixed not in (None, image_size):
        raise BadInputError(
            f"protocol.weights = imagenet: those of {name} are for images of {fixed} pixels; "
            f"dataset.image_size = {image_size}"
        )
    if weights.startswith("file:"):
        _weight_file(weights, name)


def build(name: str, classes: int, image_size: int, weights: str = "none") -> Architecture:
    """Return an architecture; random weights are drawn from torch's global generator.

    Parameters
    ----------
    name
        A torchvision classifier, e.g. ``resnet18`` or ``torchvision:resnet18``, a timm model,
        ``timm:NAME``, or a network of the original study, ``paper:NAME``.
    classes
        Size of the output layer.
    image_size
        Side of the square images in pixels; a vision transformer is built for one size.
    weights
        ``none``, ``imagenet``, or ``file:PATH``, where ``{architecture}`` in the path is replaced
        by the name. The file is a state dictionary in torch's format or ``.safetensors``, or, for
        ``paper:NAME``, Keras's weights without top (``.h5``). No code in it is run. Last layers of
        another size than ``classes`` stay random.
    """
    check_architecture(name, weights, image_size)
    library, plain = split_name(name)
    module = LIBRARIES[library].build(plain, classes, image_size, weights == "imagenet")
    if weights.startswith("file:"):
        path = _weight_file(weights, name)
        if library == "paper" and path.suffix in (".h5", ".hdf5"):
            load_keras_file(module, plain, path)
        else:
            load_state(module, path, name)
    return Architecture(
        module=module,
        normalisation=_normalisation(name, module, weights),
        weights_sha256="" if weights == "none" else hash_weights(module),
    )


def gflops_per_image(model: torch.nn.Module, image_size: int) -> float:
    """Return the billions of floating-point operations of one image's forward pass.

    torch's counter includes convolutions and matrix products; a multiply-add is two operations, as
    in the original study.
    """
    was_training = model.training
    device = next(model.parameters()).device
    image = torch.zeros(1, 3, image_size, image_size, device=device)
    model.eval()
    # The counter warns of a missing Triton on machines without a GPU, where it is not needed.
    logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)
    # Which kernels of fused attention the counter knows depends on torch's version; without
    # fusion, attention is matrix products in all versions.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            model(image)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        model.train(was_training)
    return float(counter.get_total_flops() / 1e9)


def parameter_count(model: torch.nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _full_name(library: str, name: str) -> str:
    return name if library == "torchvision" else f"{library}:{name}"


def _weight_file(weights: str, name: str) -> Path:
    _, plain = split_name(name)
    path = Path(weights.removeprefix("file:").replace("{architecture}", plain))
    # An unknown user, a name that no file can have, or no permission.
    with contextlib.suppress(RuntimeError, ValueError, OSError):
        path = path.expanduser()
        if path.is_file():
            return path
    raise BadInputError(f"protocol.weights = {weights}: {path}: no such file, for {name}")


def _normalisation(name: str, module: torch.nn.Module, weights: str) -> Normalisation | None:
    library, plain = split_name(name)
    fixed = LIBRARIES[library].normalisation
    if fixed is not None:
        return fixed(plain)
    if weights == "none":
        return None
    known: dict[str, Any] = getattr(module, "pretrained_cfg", None) or {}  # timm's
    return (known["mean"], known["std"]) if {"mean", "std"} <= set(known) else IMAGENET
