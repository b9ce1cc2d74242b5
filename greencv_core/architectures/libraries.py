"""Libraries of architectures: torchvision, timm and the original study's networks.

A study names an architecture by ``LIBRARY:NAME``, one of torchvision's by its name alone. Every
model of torchvision and timm is available without an entry; another network needs one entry, in
:data:`LIBRARIES` (or in ``PAPER_ARCHITECTURES``, if it is built from Keras's layers).
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torchvision

from greencv_core.architectures.keras import PAPER_ARCHITECTURES, build_paper, preprocessing
from greencv_core.architectures.keras.keras_weights import load_imagenet
from greencv_core.architectures.weights import AUXILIARY_HEADS, replace_classifier
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.secrets import without_secrets
from greencv_core.utils.text import one_line

Normalisation = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of red, green and blue, of pixels from 0 to 1."""

_WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


@dataclass(frozen=True)
class Library:
    """A source of architectures."""

    names: Callable[[], Sequence[str]]
    """Lists its architectures."""
    build: Callable[[str, int, int, bool], torch.nn.Module]
    """Builds one from its name, the number of classes, the image size in pixels, and whether to
    load ImageNet weights."""
    build_unloaded: Callable[[str, int, int], torch.nn.Module] | None = None
    """Builds one as with ImageNet weights, but from random ones, without a download: for a library
    that fits the weights to the image size."""
    has_imagenet: Callable[[str], bool] = lambda name: False
    """Returns whether ImageNet weights are available for a name."""
    normalisation: Callable[[str], Normalisation] | None = None
    """Returns the normalisation that belongs to an architecture, whatever its weights."""
    hint: str = ""
    """Where to find the names, for error messages; if empty, the message lists them."""


def split_name(name: str) -> tuple[str, str]:
    """Return library and name of an architecture."""
    library, colon, plain = name.partition(":")
    if not colon:
        return "torchvision", name
    if library not in LIBRARIES:
        raise BadInputError(
            f"architectures: {name}: unknown library {library}; known: {', '.join(LIBRARIES)}"
        )
    return library, plain


def imagenet_size(name: str) -> int | None:
    """Return the only image size in pixels of an architecture's ImageNet weights, if it has one."""
    library, plain = split_name(name)
    if library != "torchvision" or not _is_vision_transformer(plain):
        return None
    return int(torchvision.models.get_model_weights(plain).DEFAULT.meta["min_size"][0])


def _is_vision_transformer(name: str) -> bool:
    return name.startswith("vit_")


def _list_torchvision() -> list[str]:
    return sorted(torchvision.models.list_models(module=torchvision.models))


def _build_torchvision(
    name: str, classes: int, image_size: int, pretrained: bool
) -> torch.nn.Module:
    # GoogLeNet and Inception warn of a change of their default initialisation; their auxiliary
    # heads would return tuples in training, but are among the published weights.
    options: dict[str, object] = {}
    if name in ("googlenet", "inception_v3") and not pretrained:
        options = {"aux_logits": False}
    elif _is_vision_transformer(name):
        options = {"image_size": image_size}
    create = partial(torchvision.models.get_model, name, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        if not pretrained:
            module: torch.nn.Module = create(weights=None, num_classes=classes)
            return module
        weights = torchvision.models.get_model_weights(name).DEFAULT
        module = _load_pretrained(name, lambda: create(weights=weights, progress=False))
    for head in AUXILIARY_HEADS:
        if hasattr(module, head):
            vars(module)["aux_logits"] = False
            setattr(module, head, None)
    replace_classifier(module, classes)
    return module


def _list_timm() -> list[str]:
    if importlib.util.find_spec("timm") is None:
        raise BadInputError("architectures: timm is not installed; run pip install timm")
    import timm

    return [*timm.list_models(), *timm.list_pretrained()]


def _build_timm(
    name: str,
    classes: int,
    image_size: int,
    pretrained: bool,
    state: dict[str, torch.Tensor] | None = None,
) -> torch.nn.Module:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import timm

    create = partial(timm.create_model, name, pretrained=pretrained, num_classes=classes)
    if state is not None:
        create = partial(create, pretrained_cfg_overlay={"state_dict": state})

    def load() -> Any:
        try:
            return create(img_size=image_size)
        except TypeError:  # takes images of any size
            return create()

    download = pretrained and state is None
    module: torch.nn.Module = _load_pretrained(f"timm:{name}", load) if download else load()
    return module


def _build_timm_unloaded(name: str, classes: int, image_size: int) -> torch.nn.Module:
    import timm

    state = timm.create_model(name).state_dict()
    return _build_timm(name, classes, image_size, True, state)


def _has_timm_imagenet(name: str) -> bool:
    import timm

    return "." in name or bool(timm.models.is_model_pretrained(name))


def _build_paper(name: str, classes: int, image_size: int, pretrained: bool) -> torch.nn.Module:
    module = build_paper(name, classes)
    if pretrained:
        load_imagenet(module, name)
    return module


def _load_pretrained(name: str, load: Callable[[], Any]) -> Any:
    """Load a model with downloaded weights, without running code from the file.

    By default, torch's hub runs code in a file of weights, and checks eight digits of its hash.
    """
    before = os.environ.get(_WEIGHTS_ONLY)
    os.environ[_WEIGHTS_ONLY] = "1"
    try:
        return load()
    except pickle.UnpicklingError as error:
        raise BadInputError(
            f"protocol.weights = imagenet: the downloaded file for {name} contains more than "
            f"weights and is not loaded; delete it from {torch.hub.get_dir()}"
        ) from error
    except (OSError, RuntimeError) as error:  # no network, no space, a wrong hash
        reason = one_line(without_secrets(str(error)))[:200]
        raise BadInputError(
            f"protocol.weights = imagenet: those of {name} could not be downloaded: {reason}"
        ) from error
    finally:
        if before is None:
            del os.environ[_WEIGHTS_ONLY]
        else:
            os.environ[_WEIGHTS_ONLY] = before


LIBRARIES: dict[str, Library] = {
    "torchvision": Library(
        _list_torchvision,
        _build_torchvision,
        has_imagenet=lambda name: len(torchvision.models.get_model_weights(name)) > 0,
        hint="see torchvision's classifiers",
    ),
    "timm": Library(
        _list_timm,
        _build_timm,
        build_unloaded=_build_timm_unloaded,
        has_imagenet=_has_timm_imagenet,
        hint="see timm.list_models()",
    ),
    "paper": Library(
        lambda: list(PAPER_ARCHITECTURES),
        _build_paper,
        has_imagenet=lambda name: True,
        normalisation=preprocessing,
    ),
}
"""By the prefix of ``LIBRARY:NAME``."""
