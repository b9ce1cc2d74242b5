"""Whether a network trains a step at an image size, or why it is refused."""

import re

import torch

from greencv_core.architectures.build import check_architecture
from greencv_core.architectures.image_sizes import SIZES, check_image_size
from greencv_core.architectures.libraries import LIBRARIES, split_name
from greencv_core.architectures.weights import classifier_layers
from greencv_core.utils.errors import BadInputError


def differing_keys(name, image_size, device):
    """Return what the number of classes changes, and what the last layers hold."""
    library, plain = split_name(name)
    with torch.device(device):
        few, many = (LIBRARIES[library].build(plain, n, image_size, False) for n in (3, 7))
    last = classifier_layers(few)
    mine, other = few.state_dict(), many.state_dict()
    ours = {
        k
        for n, part in few.named_modules()
        if part in last
        for k in part.state_dict(prefix=f"{n}.")
    }
    return {key for key in mine if mine[key].shape != other[key].shape}, ours


def outcome(name, image_size, weights="none"):
    """Return ``trains``, or why a network is refused, which is in our words."""
    try:
        check_architecture(name, weights, image_size)
        check_image_size(name, image_size, weights)
    except BadInputError as error:
        text = str(error)
        ours = (
            rf"dataset\.image_size = {image_size}: \S+( with protocol.weights = imagenet)? cannot "
            r"be trained on images of this size; use for example (\d+, ){0,2}\d+",
            r"architectures: \S+: cannot be trained as an image classifier at any size that was "
            rf"tried \({SIZES[0]} to {SIZES[-1]} pixels\); choose another",
            r"protocol\.weights = imagenet: \S+ has none; use none or file:PATH",
            r"protocol\.weights = imagenet: those of \S+ are for images of \d+ pixels; "
            rf"dataset\.image_size = {image_size}",
        )
        assert any(re.fullmatch(words, text) for words in ours), text
        return text
    try:
        differ, held = differing_keys(name, image_size, "meta")
    except NotImplementedError:  # needs values
        differ, held = differing_keys(name, image_size, "cpu")
    # The original's head has another new layer, whose size does not depend on the classes.
    assert differ == held or (name.startswith("paper:") and differ < held), name
    return "trains"
