"""Name in, torch module out; and what one image costs it in floating-point operations."""

from __future__ import annotations

import difflib
import logging
import warnings

import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from greencv_core.errors import BadInputError


def architecture_names() -> list[str]:
    """Return the architectures that a study can name: torchvision's classifiers."""
    return sorted(torchvision.models.list_models(module=torchvision.models))


def check_architecture(name: str) -> None:
    """Raise :class:`BadInputError`, naming the nearest known ones, if ``name`` is unknown."""
    known = architecture_names()
    if _plain(name) not in known:
        nearest = difflib.get_close_matches(_plain(name), known, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(nearest)}?" if nearest else "see torchvision's classifiers"
        raise BadInputError(f"architectures: {name}: unknown architecture; {hint}")


def build(name: str, classes: int, image_size: int) -> torch.nn.Module:
    """Return the architecture with fresh weights, drawn from torch's global generator.

    Parameters
    ----------
    name
        A torchvision classifier, e.g. ``resnet18`` or ``torchvision:resnet18``.
    classes
        Size of the output layer.
    image_size
        Side of the square images in pixels; a vision transformer is made for one size.
    """
    check_architecture(name)
    # GoogLeNet and Inception announce a change of their default initialisation; auxiliary heads
    # would return tuples in training alone.
    options: dict[str, object] = {}
    if _plain(name) in ("googlenet", "inception_v3"):
        options = {"aux_logits": False}
    elif _plain(name).startswith("vit_"):
        options = {"image_size": image_size}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model: torch.nn.Module = torchvision.models.get_model(
            _plain(name), weights=None, num_classes=classes, **options
        )
    return model


def gflops_per_image(model: torch.nn.Module, image_size: int) -> float:
    """Return the billions of floating-point operations of one image's forward pass.

    Counted by torch's own counter over convolutions and matrix products, where a multiply-add is
    two operations. (The original study's figures use the same convention.)
    """
    was_training = model.training
    device = next(model.parameters()).device
    image = torch.zeros(1, 3, image_size, image_size, device=device)
    model.eval()
    # The counter warns of a missing Triton on machines without a GPU; nothing here needs it.
    logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)
    # Attention's fused kernel for inference is one operation that the counter does not know.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(image)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        model.train(was_training)
    return float(counter.get_total_flops() / 1e9)


def parameter_count(model: torch.nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _plain(name: str) -> str:
    return name.removeprefix("torchvision:")
