"""Initial weights from a file, and new last layers."""

from __future__ import annotations

import hashlib
import pickle
import re
from pathlib import Path

import torch

from greencv_core.utils.errors import BadInputError
from greencv_core.utils.text import one_line

AUXILIARY_HEADS = ("AuxLogits", "aux1", "aux2")
"""Heads of Inception and GoogLeNet that torchvision adds for training; they are not built here."""


def classifier_layers(module: torch.nn.Module) -> list[torch.nn.Module]:
    """Return the parts that map features to classes, which are random after weights were loaded.

    This is the head of the original study's networks, the last layer of most others, and the last
    layers of those that have several, such as distilled transformers.
    """
    return [module.get_submodule(name) for name in _classifier_names(module)]


def replace_classifier(module: torch.nn.Module, classes: int) -> None:
    """Replace the last layers by random ones with an output for each class."""
    for name in _classifier_names(module):
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
    state = _fitted(state, set(wanted))
    last = _classifier_keys(module)
    for key in last:
        if key in state and state[key].shape != wanted[key].shape:
            del state[key]  # made for other classes
    wrong = [
        f"{key} is {'absent' if key not in state else tuple(state[key].shape)}"
        for key in wanted
        if key not in last
        and (state[key].shape != wanted[key].shape if key in state else not _is_count(key))
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


def _is_count(key: str) -> bool:
    """Return whether a value counts batches; states saved before torch 0.4.1 lack these."""
    return key.endswith(".num_batches_tracked")


def _fitted(state: dict[str, torch.Tensor], wanted: set[str]) -> dict[str, torch.Tensor]:
    """Return a state by the names of a module, as far as only its writer's habits differ.

    Wrappers put a prefix before all names (``module.``, ``_orig_mod.``, ``model.``), averaged
    models count, old states of DenseNet have a point more, and auxiliary heads are not built here.
    """
    state = {key.replace("_orig_mod.", ""): state[key] for key in state if key != "n_averaged"}
    while not wanted & set(state):
        prefixes = {key.partition(".")[:2] for key in state}
        if len(prefixes) != 1 or not all(prefixes.pop()):
            break
        state = {key.partition(".")[2]: value for key, value in state.items()}
    state = {_OLD_DENSENET.sub(r"\1\2", key): value for key, value in state.items()}
    heads = tuple(f"{head}." for head in AUXILIARY_HEADS)
    return {k: v for k, v in state.items() if k in wanted or not k.startswith(heads)}


_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


def _classifier_keys(module: torch.nn.Module) -> set[str]:
    names = _classifier_names(module)
    return {k for n in names for k in module.get_submodule(n).state_dict(prefix=f"{n}.")}


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    content = torch.load(path, map_location="cpu", weights_only=True)
    for name in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
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


def _classifier_names(module: torch.nn.Module) -> list[str]:
    if hasattr(module, "base") and isinstance(getattr(module, "head", None), torch.nn.Module):
        return ["head"]  # of the original study's networks
    named = getattr(module, "default_cfg", {}).get("classifier")  # timm's
    if named:
        return [named] if isinstance(named, str) else list(named)
    kinds = torch.nn.Linear | torch.nn.Conv2d
    return [name for name, layer in module.named_modules() if isinstance(layer, kinds)][-1:]
