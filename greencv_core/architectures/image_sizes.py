"""Image sizes that an architecture can be trained on, found by a training step without values."""

from __future__ import annotations

import warnings
from itertools import islice

import torch
from torch.nn.functional import cross_entropy

from greencv_core.architectures.libraries import LIBRARIES, split_name
from greencv_core.utils.errors import BadInputError

SIZES = (32, 64, 96, 112, 128, 160, 192, 224, 240, 256, 288, 320, 384, 448, 512, 518)
"""Sizes in pixels that are tried until some fit, for a message."""
_NAMED = 3
_CLASSES = 10


def check_image_size(name: str, image_size: int, weights: str = "none") -> None:
    """Raise :class:`BadInputError` if an architecture cannot train on images of a size in pixels.

    A step of two images is computed on torch's meta device, where tensors have shapes and no values
    (https://docs.pytorch.org/docs/stable/meta.html); only a network whose layers depend on values
    is built in full. Nothing is downloaded. The message names sizes that fit.
    """
    if _trains_a_step(name, image_size, weights):
        return
    others = (size for size in SIZES if size != image_size and _trains_a_step(name, size, weights))
    fitting = [str(size) for size in islice(others, _NAMED)]
    if not fitting:
        raise BadInputError(
            f"architectures: {name}: cannot be trained as an image classifier at any size "
            f"that was tried ({SIZES[0]} to {SIZES[-1]} pixels); choose another"
        )
    loaded = " with protocol.weights = imagenet" if weights == "imagenet" else ""
    raise BadInputError(
        f"dataset.image_size = {image_size}: {name}{loaded} cannot be trained on images of this "
        f"size; use for example {', '.join(fitting)}"
    )


def _trains_a_step(name: str, image_size: int, weights: str) -> bool:
    for device in ("meta", "cpu"):
        try:
            with torch.device(device), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _train_a_step(name, image_size, weights)
        # Libraries refuse a size by any kind of error; a missing value, by a text only.
        except Exception as error:
            if device == "cpu" or "meta" not in str(error).lower():
                return "allocate memory" in str(error)  # which the run itself reports
    return False


def _train_a_step(name: str, image_size: int, weights: str) -> bool:
    library, plain = split_name(name)
    entry = LIBRARIES[library]
    if weights == "imagenet" and entry.build_unloaded is not None:
        module = entry.build_unloaded(plain, _CLASSES, image_size)
    else:
        module = entry.build(plain, _CLASSES, image_size, False)
    output = module.train()(torch.zeros(2, 3, image_size, image_size))
    if not isinstance(output, torch.Tensor) or output.shape != (2, _CLASSES):
        return False
    cross_entropy(output, torch.zeros(2, dtype=torch.long)).backward()
    return True
