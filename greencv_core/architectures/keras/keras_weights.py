"""Keras's ImageNet weights: downloaded once, and copied into the networks of the paper."""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from greencv_core.architectures.keras import find_paper_architecture
from greencv_core.utils.errors import BadInputError, GreencvError
from greencv_core.utils.secrets import without_secrets
from greencv_core.utils.text import one_line

VARIABLE = "GREENCV_WEIGHTS"
SITE = "https://storage.googleapis.com/tensorflow/keras-applications"
MOST_NUMBERS = 1 << 28
"""In one weight; the largest of these networks has some two millions."""
PATIENCE_S = 5.0, 60.0
"""For a connection, and for each answer over it."""


@dataclass(frozen=True)
class WeightFile:
    """One of the files that Keras publishes, without top."""

    folder: str
    """On the site."""
    name: str
    md5: str | None
    """As Keras's source has it; nothing where Keras itself takes what comes."""
    cached_name: str = ""
    """What Keras calls it in its own cache, if not the same."""


IMAGENET_FILES = {
    # Keras has one for each of five image sizes, and takes that of the images: here the paper's.
    "mobilenet_v2": WeightFile(
        "mobilenet_v2",
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.5_128_no_top.h5",
        None,
    ),
    "nasnet_mobile": WeightFile(
        "nasnet",
        "NASNet-mobile-no-top.h5",
        "1ed92395b5b598bdda52abe5c0dbfd63",
        cached_name="nasnet_mobile_no_top.h5",
    ),
    "xception": WeightFile(
        "xception",
        "xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "b0042744bf5b25fce3cb969f33bebb97",
    ),
    "resnet50": WeightFile(
        "resnet",
        "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "4d473c1dd8becc155b73f8504c6f6626",
    ),
    "vgg16": WeightFile(
        "vgg16",
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "6d6bbae143d832006294945121d1f1fc",
    ),
}


def load_imagenet(model: nn.Module, name: str, cache_folder: Path | None = None) -> str:
    """Copy Keras's ImageNet weights into ``model.base``; return the SHA-256 of their file.

    ``$GREENCV_WEIGHTS`` names a folder that holds the file already (read as it is, never written),
    or the URL of a mirror that has it. The file keeps its name on Keras's site; in a folder it may
    have that of Keras's cache.

    Parameters
    ----------
    model
        Made by :func:`greencv_core.architectures.keras.build_paper`.
    name
        Its architecture.
    cache_folder
        Where the file is kept; in this user's cache if not given.

    Raises
    ------
    GreencvError
        The file cannot be had, or is not what Keras published.
    """
    find_paper_architecture(name)
    path = _find(IMAGENET_FILES[name], cache_folder)
    load_keras_file(model, name, path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load_keras_file(model: nn.Module, name: str, path: Path) -> None:
    """Copy weights that Keras saved as HDF5, without top, into ``model.base``.

    As Keras does, it goes by the order of layers, as names are not always the same: Keras numbers
    those that have none.

    Parameters
    ----------
    model
        Network of :func:`~greencv_core.architectures.keras.build_paper`; unchanged if the file is
        unfit.
    name
        Its architecture.
    path
        The file.

    Raises
    ------
    BadInputError
        The file is damaged, or has not just the weights of this architecture.
    """
    caffe = find_paper_architecture(name).caffe
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
        if caffe:
            # Keras's first kernel expects blue first.
            first = wanted[0][0]
            first.copy_(first.flip(1))


def keras_tensors(module: nn.Module) -> Iterator[tuple[torch.Tensor, list[int]]]:
    """Yield weights in Keras's order, each with the permutation of Keras's axes to torch's."""
    if isinstance(module, nn.Conv2d):
        # Keras has rows, columns, channels in, channels out; a depthwise kernel has the channel,
        # and how many come of it.
        yield module.weight, [3, 2, 0, 1] if module.groups == 1 else [2, 3, 0, 1]
        if module.bias is not None:
            yield module.bias, [0]
    elif isinstance(module, nn.BatchNorm2d):
        for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
            assert tensor is not None
            yield tensor, [0]
    else:
        # Keras sorts layers by how far they are from the output, which mixes parallel branches.
        in_order = getattr(module, "keras_order", module.children)
        for child in in_order():
            yield from keras_tensors(child)


def _read(path: Path) -> list[tuple[str, npt.NDArray[np.float32]]]:
    """Return each weight of a file, in the order of its layers, with its layer's name."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            # A whole model's file has them one group deeper.
            group = file if "layer_names" in file.attrs else file["model_weights"]
            return [
                (f"layer {layer}", _array(group[layer][weight]))
                for layer in _names(group, "layer_names")
                for weight in _names(group[layer], "weight_names")
            ]
    except FileNotFoundError as error:
        raise BadInputError(f"{path}: no such file; name a file of weights from Keras") from error
    except (
        OSError, KeyError, RuntimeError, TypeError, ValueError, AttributeError, ArithmeticError,
        MemoryError,
    ) as error:  # fmt: skip
        raise BadInputError(
            f"{path}: damaged, or not a file of weights from Keras ({one_line(error)[:200]}); "
            "delete it and get it anew"
        ) from error


def _array(weight: Any) -> npt.NDArray[np.float32]:
    """Return a weight's values, if they are in the file itself and are not too many."""
    if weight.size > MOST_NUMBERS:
        raise ValueError(f"a weight of {weight.size} numbers")
    if weight.external or weight.is_virtual:
        raise ValueError("a weight that is in another file")
    return np.asarray(weight[()], np.float32)


def _names(group: Any, attribute: str) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else name for name in group.attrs[attribute]]


def _find(file: WeightFile, cache_folder: Path | None) -> Path:
    named = os.environ.get(VARIABLE, "").strip()
    if not named:
        return _download(f"{SITE}/{file.folder}/{file.name}", file, cache_folder)
    if "://" in named:
        if not named.startswith(("http://", "https://")):
            raise GreencvError(
                f"{VARIABLE} is {without_secrets(named)}, neither a folder nor the URL of a site "
                f"(http://, https://); unset it to download the weights from {SITE}"
            )
        return _download(f"{named.rstrip('/')}/{file.name}", file, cache_folder)
    folder = Path(os.path.expanduser(named)).absolute()
    path = folder / file.name
    if not path.is_file() and file.cached_name:
        path = folder / file.cached_name
    if not path.is_file():
        raise GreencvError(
            f"{VARIABLE} names {folder}, where {file.name} is not; unset it to download the "
            f"weights from {SITE}"
        )
    if file.md5 is not None and _pooch().file_hash(str(path), alg="md5") != file.md5:
        raise GreencvError(
            f"{path}: not the file that Keras published (its MD5 differs); replace it, or unset "
            f"{VARIABLE} to download the weights from {SITE}"
        )
    return path


def _download(url: str, file: WeightFile, cache_folder: Path | None) -> Path:
    import requests

    pooch = _pooch()
    folder = cache_folder or pooch.os_cache("greencv") / "weights"
    try:
        return Path(
            pooch.retrieve(
                url,
                known_hash=None if file.md5 is None else f"md5:{file.md5}",
                fname=file.name,
                path=folder,
                downloader=pooch.HTTPDownloader(timeout=PATIENCE_S),
            )
        )
    except requests.RequestException as error:
        status = getattr(error.response, "status_code", None)
        reason = "no answer" if status is None else f"it answers {status}"
    except ValueError:
        reason = "what came is not the file that Keras published: its MD5 differs"
    except OSError as error:
        reason = f"it could not be written to {folder}: {error.strerror}"
    raise GreencvError(
        f"{without_secrets(url)}: the weights could not be downloaded ({reason}); try again "
        f"with a network, or name a folder that holds {file.name} in {VARIABLE}"
    )


def _pooch() -> Any:
    with warnings.catch_warnings():
        # Its progress bar, which is not used, warns where a notebook lacks widgets.
        warnings.simplefilter("ignore")
        import pooch
    # Its own messages: lines on standard error.
    pooch.get_logger().setLevel(logging.CRITICAL)
    return pooch
