"""Name in, torch module out; and what one image costs it in floating-point operations."""

from __future__ import annotations

import difflib
import importlib.util
import logging
import os
import pickle
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from greencv_core.architectures.keras import PAPER_ARCHITECTURES, build_paper, preprocessing
from greencv_core.architectures.keras.keras_weights import load_imagenet, load_keras_file
from greencv_core.architectures.weights import hash_weights, load_state, replace_classifier
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.secrets import without_secrets

Normalisation = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of red, green and blue from 0 to 1, which the images are given."""

IMAGENET: Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""What nearly all published weights were trained with."""
IMAGENET_SIZE = 224
"""Side in pixels of the images that torchvision's vision transformers were trained on."""


@dataclass(frozen=True)
class Architecture:
    """A module, ready to be trained."""

    module: torch.nn.Module
    normalisation: Normalisation | None
    """None: images by the training images' own mean and deviation."""
    weights_sha256: str
    """Of the weights that were loaded; empty where they were drawn."""


def architecture_names() -> list[str]:
    """Return torchvision's classifiers and the original study's five, ``paper:NAME``.

    ``timm:NAME`` comes on top, where that library is installed.
    """
    own = [f"paper:{name}" for name in PAPER_ARCHITECTURES]
    return sorted(torchvision.models.list_models(module=torchvision.models)) + own


def check_architecture(name: str, weights: str = "none", image_size: int = 32) -> None:
    """Raise :class:`BadInputError`, with what would be right, for what :func:`build` cannot build.

    The nearest known names are given for an unknown one. Whether weights can be downloaded is seen
    when they are.
    """
    library, plain = _parts(name)
    known = _known(library)
    if plain not in known:
        near = difflib.get_close_matches(plain, known, n=3, cutoff=0.4)
        prefix = "" if library == "torchvision" else f"{library}:"
        hint = f"did you mean {', '.join(prefix + n for n in near)}?" if near else _where(library)
        raise BadInputError(f"architectures: {name}: unknown architecture; {hint}")
    if weights == "imagenet" and not _has_imagenet(library, plain):
        raise BadInputError(
            f"protocol.weights = imagenet: {name} has none; weights: none or file:PATH would do"
        )
    if weights == "imagenet" and _is_vit(library, plain) and image_size != IMAGENET_SIZE:
        raise BadInputError(
            f"protocol.weights = imagenet: those of {name} are for images of {IMAGENET_SIZE} "
            f"pixels; dataset.image_size = {image_size}"
        )
    if weights.startswith("file:"):
        path = _file_of(weights, name)
        if not _is_file(path):
            raise BadInputError(f"protocol.weights = {weights}: {path}: no such file, for {name}")


def build(name: str, classes: int, image_size: int, weights: str = "none") -> Architecture:
    """Return an architecture whose last layers, or all, are drawn from torch's global generator.

    Parameters
    ----------
    name
        A torchvision classifier, e.g. ``resnet18`` or ``torchvision:resnet18``, a model of timm's,
        ``timm:NAME``, or one of the original study's, ``paper:NAME``.
    classes
        Size of the output layer.
    image_size
        Side of the square images in pixels; a vision transformer is made for one size.
    weights
        ``none``, ``imagenet``, or ``file:PATH`` with ``{architecture}`` for the name. A file holds
        a state dictionary, read without running any code from it (``.safetensors``, or torch's own
        format), or of ``paper:NAME`` Keras's weights without the top (``.h5``). Last layers of
        another size than ``classes`` are left out.

    Raises
    ------
    BadInputError
        See :func:`check_architecture`; or the weights cannot be had or do not fit.
    """
    check_architecture(name, weights, image_size)
    library, plain = _parts(name)
    pretrained = weights == "imagenet"
    module = _BUILDERS[library](plain, classes, image_size, pretrained)
    if weights.startswith("file:"):
        path = _file_of(weights, name)
        if library == "paper" and path.suffix in (".h5", ".hdf5"):
            load_keras_file(module, plain, path)
        else:
            load_state(module, path, name)
    return Architecture(
        module=module,
        normalisation=_normalisation(library, plain, module, weights),
        weights_sha256="" if weights == "none" else hash_weights(module),
    )


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
    # Fused attention is one operation, and which of its kernels the counter knows varies with
    # torch's version: taken apart, it is matrix products everywhere.
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


def _build_torchvision(
    plain: str, classes: int, image_size: int, pretrained: bool
) -> torch.nn.Module:
    # GoogLeNet and Inception announce a change of their default initialisation; auxiliary heads
    # would return tuples in training alone.
    options: dict[str, object] = {}
    if plain in ("googlenet", "inception_v3"):
        options = {"aux_logits": False}
    elif _is_vit("torchvision", plain):
        options = {"image_size": image_size}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        if not pretrained:
            module: torch.nn.Module = torchvision.models.get_model(
                plain, weights=None, num_classes=classes, **options
            )
            return module
        weights = torchvision.models.get_model_weights(plain).DEFAULT
        module = _downloaded(
            plain,
            lambda: torchvision.models.get_model(plain, weights=weights, progress=False, **options),
        )
    replace_classifier(module, classes)
    return module


def _build_timm(plain: str, classes: int, image_size: int, pretrained: bool) -> torch.nn.Module:
    # The hub's client would else tell its makers of each download.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import timm

    def create(**options: Any) -> torch.nn.Module:
        module: torch.nn.Module = timm.create_model(
            plain, pretrained=pretrained, num_classes=classes, **options
        )
        return module

    def for_size() -> torch.nn.Module:
        try:
            return create(img_size=image_size)
        except TypeError:  # made for no size in particular
            return create()

    return _downloaded(f"timm:{plain}", for_size) if pretrained else for_size()


def _build_paper(plain: str, classes: int, image_size: int, pretrained: bool) -> torch.nn.Module:
    module = build_paper(plain, classes)
    if pretrained:
        load_imagenet(module, plain)
    return module


_BUILDERS: dict[str, Callable[[str, int, int, bool], torch.nn.Module]] = {
    "torchvision": _build_torchvision,
    "timm": _build_timm,
    "paper": _build_paper,
}


def _parts(name: str) -> tuple[str, str]:
    """Return library and name in it; torchvision's is the library of a plain name."""
    library, colon, plain = name.partition(":")
    if not colon:
        return "torchvision", name
    if library not in _BUILDERS:
        raise BadInputError(
            f"architectures: {name}: unknown library {library}; known: {', '.join(_BUILDERS)}"
        )
    return library, plain


def _known(library: str) -> list[str]:
    if library == "paper":
        return list(PAPER_ARCHITECTURES)
    if library == "torchvision":
        return list(torchvision.models.list_models(module=torchvision.models))
    if importlib.util.find_spec("timm") is None:
        raise BadInputError(
            "architectures: timm: is not installed here; pip install timm brings it"
        )
    import timm

    return [*timm.list_models(), *timm.list_pretrained()]


def _where(library: str) -> str:
    return {
        "torchvision": "see torchvision's classifiers",
        "timm": "see timm.list_models()",
        "paper": f"known: {', '.join(PAPER_ARCHITECTURES)}",
    }[library]


def _is_vit(library: str, plain: str) -> bool:
    return library == "torchvision" and plain.startswith("vit_")


def _has_imagenet(library: str, plain: str) -> bool:
    if library == "torchvision":
        return len(torchvision.models.get_model_weights(plain)) > 0
    if library == "timm":
        import timm

        return bool(timm.models.is_model_pretrained(plain)) if "." not in plain else True
    return True


def _file_of(weights: str, name: str) -> Path:
    _, plain = _parts(name)
    path = weights.removeprefix("file:").replace("{architecture}", plain)
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise BadInputError(
            f"protocol.weights = {weights}: {path}: no such file: there is no such home"
        ) from error


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, a folder that is closed
        return False


def _normalisation(
    library: str, plain: str, module: torch.nn.Module, weights: str
) -> Normalisation | None:
    if library == "paper":
        return preprocessing(plain)  # part of these architectures, whatever their weights
    if weights == "none":
        return None
    known: dict[str, Any] = getattr(module, "pretrained_cfg", None) or {}  # timm's
    return (known["mean"], known["std"]) if {"mean", "std"} <= set(known) else IMAGENET


def _downloaded(name: str, fetch: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    # torch's hub would else run what is pickled beside the weights; its check of their hash is of
    # eight digits, and of downloads alone.
    before = os.environ.get(_WEIGHTS_ONLY)
    os.environ[_WEIGHTS_ONLY] = "1"
    try:
        return fetch()
    except pickle.UnpicklingError as error:
        raise BadInputError(
            f"protocol.weights = imagenet: what is kept of {name} holds more than weights, and is "
            f"not read; delete it from {torch.hub.get_dir()}"
        ) from error
    except (OSError, RuntimeError) as error:  # no network, no space, a wrong hash
        said = " ".join(without_secrets(str(error)).split())[:200]
        raise BadInputError(
            f"protocol.weights = imagenet: those of {name} could not be downloaded: {said}"
        ) from error
    finally:
        if before is None:
            del os.environ[_WEIGHTS_ONLY]
        else:
            os.environ[_WEIGHTS_ONLY] = before


_WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
