"""Keras's ImageNet weights, copied into the networks of the paper."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from greencv_core.architectures.keras import PAPER_ARCHITECTURES
from greencv_core.utils.downloads import DataUnavailableError, Release, fetch
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.text import one_line

MAX_NUMBERS = 1 << 28  # in one weight; the largest of these networks has about two million


def load_imagenet(model: nn.Module, name: str) -> str:
    """Copy Keras's ImageNet weights into ``model.base``; return the SHA-256 of their file.

    ``$GREENCV_WEIGHTS`` names a folder that already holds the file (never written to), or the URL
    of a mirror. The file has its name on Keras's server; in a folder, that of Keras's cache is
    accepted, too. A file that is not what Keras published is refused.
    """
    weights = PAPER_ARCHITECTURES[name].weights
    release = Release(
        name="weights",
        base_url="https://storage.googleapis.com/tensorflow/keras-applications",
        hashes={weights.name: None if weights.md5 is None else f"md5:{weights.md5}"},
        url_path=lambda path: f"{weights.folder}/{path}",
        title="Keras's ImageNet weights",
        variable="GREENCV_WEIGHTS",
        other_layouts=(lambda path: weights.cached_name or path,),
    )
    fetched = fetch(release)
    if fetched.problems:
        raise DataUnavailableError(fetched.problems[0])
    path = fetched.files[weights.name]
    load_keras_file(model, name, path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load_keras_file(model: nn.Module, name: str, path: Path) -> None:
    """Copy weights that Keras saved as HDF5, without top, into ``model.base``.

    Like Keras, match weights by the order of layers: Keras numbers unnamed layers, so that their
    names differ from file to file. A file that is damaged or made for another architecture raises
    :class:`BadInputError` and leaves the model unchanged.
    """
    found = _read(path)
    wanted = list(keras_tensors(model.get_submodule("base")))
    for (where, array), (tensor, order) in zip(found, wanted, strict=False):
        expected = tuple(tensor.permute(np.argsort(order).tolist()).shape)
        if array.shape != expected:
            raise BadInputError(
                f"{path}: {where} has the shape {array.shape} where {name} has {expected}; "
                f"it must be Keras's file for {name} without top"
            )
    if len(found) != len(wanted):
        last = f" (the last is {found[-1][0]})" if found else ""
        raise BadInputError(
            f"{path}: holds {len(found)} weights{last} where {name} has {len(wanted)}; it must be "
            f"Keras's file for {name} without top"
        )
    with torch.no_grad():
        for (_, array), (tensor, order) in zip(found, wanted, strict=True):
            tensor.copy_(torch.from_numpy(array).permute(order))
        if PAPER_ARCHITECTURES[name].caffe:
            # Keras's first kernel expects blue first.
            first = wanted[0][0]
            first.copy_(first.flip(1))


def keras_tensors(module: nn.Module) -> Iterator[tuple[torch.Tensor, list[int]]]:
    """Yield weights in Keras's order, each with the permutation of Keras's axes to torch's."""
    if isinstance(module, nn.Conv2d):
        # Keras: rows, columns, channels in, channels out; the last two of a depthwise kernel are
        # the channel and the number of outputs for it.
        yield module.weight, [3, 2, 0, 1] if module.groups == 1 else [2, 3, 0, 1]
        if module.bias is not None:
            yield module.bias, [0]
    elif isinstance(module, nn.BatchNorm2d):
        for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
            assert tensor is not None
            yield tensor, [0]
    else:
        # Keras sorts layers by their distance from the output, which mixes parallel branches.
        for child in getattr(module, "keras_order", module.children)():
            yield from keras_tensors(child)


def _read(path: Path) -> list[tuple[str, npt.NDArray[np.float32]]]:
    """Return the weights of a file with their layers' names, in the order of the layers."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            # The file of a whole model has the layers one group deeper.
            group = file if "layer_names" in file.attrs else file["model_weights"]
            return [
                (f"layer {layer}", _array(group[layer][weight]))
                for layer in _names(group, "layer_names")
                for weight in _names(group[layer], "weight_names")
            ]
    except FileNotFoundError as error:
        raise BadInputError(f"{path}: no such file; name a weight file of Keras") from error
    except (
        OSError, KeyError, RuntimeError, TypeError, ValueError, AttributeError, ArithmeticError,
        MemoryError,
    ) as error:  # fmt: skip
        raise BadInputError(
            f"{path}: damaged, or not a weight file of Keras ({one_line(error)[:200]}); "
            "delete it and download it again"
        ) from error


def _array(weight: Any) -> npt.NDArray[np.float32]:
    """Return a weight's values; raise ValueError if they are in another file or too many."""
    if weight.size > MAX_NUMBERS:
        raise ValueError(f"a weight of {weight.size} numbers")
    if weight.external or weight.is_virtual:
        raise ValueError("a weight that is in another file")
    return np.asarray(weight[()], np.float32)


def _names(group: Any, attribute: str) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else name for name in group.attrs[attribute]]
