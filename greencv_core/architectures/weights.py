"""Initial weights from a file, and new last layers."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import torch

from greencv_core.utils.errors import BadInputError
from greencv_core.utils.text import one_line


def classifier_layers(module: torch.nn.Module) -> torch.nn.Module:
    """Return the part that maps features to classes, which is random after weights were loaded.

    This is the head of the original study's networks, and the last layer of all others.
    """
    head = getattr(module, "head", None) if hasattr(module, "base") else None
    return head if isinstance(head, torch.nn.Module) else module.get_submodule(_last_name(module))


def replace_classifier(module: torch.nn.Module, classes: int) -> None:
    """Replace the last layer by a random one with an output for each class."""
    name = _last_name(module)
    old = module.get_submodule(name)
    bias = old.bias is not None
    if isinstance(old, torch.nn.Linear):
        new: torch.nn.Module = torch.nn.Linear(old.in_features, classes, bias=bias)
    else:
        assert isinstance(old, torch.nn.Conv2d)
        new = torch.nn.Conv2d(old.in_channels, classes, old.kernel_size, bias=bias)  # type: ignore[arg-type]
    parent, _, attribute = name.rpartition(".")
    setattr(module.get_submodule(parent), attribute, new)


def load_state(module: torch.nn.Module, path: Path, name: str) -> None:
    """Load the weights of a file into a module, except last layers of another size.

    No code in the file is run. A file that cannot be read or belongs to another architecture raises
    :class:`BadInputError`.
    """
    where = f"protocol.weights = file:{path}"
    try:
        state = _read_state(path)
    except pickle.UnpicklingError as error:
        # torch's message also explains how to run the code in the file.
        raise BadInputError(
            f"{where}: not a readable file of weights: damaged, or it holds more than weights, "
            "which could run code; save only them with torch.save(model.state_dict(), PATH)"
        ) from error
    except Exception as error:  # torch, zip files and safetensors raise different errors
        reason = one_line(error)[:200]
        raise BadInputError(f"{where}: not a readable file of weights: {reason}") from error
    wanted = module.state_dict()
    last = _classifier_keys(module)
    for key in last:
        if key in state and state[key].shape != wanted[key].shape:
            del state[key]  # made for other classes
    wrong = [
        f"{key} is {'absent' if key not in state else tuple(state[key].shape)}"
        for key in wanted
        if (key not in state or state[key].shape != wanted[key].shape) and key not in last
    ]
    extra = sorted(set(state) - set(wanted))
    if wrong or extra:
        problems = [*wrong, *(f"{key[:80]!r} is unknown" for key in extra)]
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise BadInputError(f"{where}: does not fit {name}: {problems[0]}{more}")
    try:
        module.load_state_dict(state, strict=False)
    except (RuntimeError, TypeError, NotImplementedError) as error:  # e.g. sparse or quantised
        raise BadInputError(
            f"{where}: does not fit {name}: its weights are not dense tensors"
        ) from error


def _classifier_keys(module: torch.nn.Module) -> set[str]:
    last = classifier_layers(module)
    name = next(name for name, layer in module.named_modules() if layer is last)
    return set(last.state_dict(prefix=f"{name}."))


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()
    ):
        raise ValueError("it holds no state dictionary")
    return dict(content)


def hash_weights(module: torch.nn.Module) -> str:
    """Return the SHA-256 of all weights except those of the last layers."""
    excluded = _classifier_keys(module)
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if name not in excluded:
            digest.update(name.encode())
            digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _last_name(module: torch.nn.Module) -> str:
    named = getattr(module, "default_cfg", {}).get("classifier")  # timm's
    if isinstance(named, str):
        return named
    kinds = torch.nn.Linear | torch.nn.Conv2d
    layers = [name for name, layer in module.named_modules() if isinstance(layer, kinds)]
    return str(layers[-1])
