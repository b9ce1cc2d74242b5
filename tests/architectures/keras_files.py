"""Weight files as Keras writes them, with reproducible weights."""

import math
import re

import h5py
import numpy as np
import torch
from torch import nn

from greencv_core.architectures.keras import PAPER_ARCHITECTURES
from greencv_core.architectures.keras.keras_weights import keras_tensors

NAMES = list(PAPER_ARCHITECTURES)
KIND = re.compile("kernel|gamma|beta|moving_mean|moving_variance")


def image(size):
    return np.random.RandomState(7).randint(0, 256, (1, size, size, 3)).astype("float32")


def made_up(k, kind, shape):
    """Return the k-th weight of a model, such that the image reaches the output."""
    draw = np.random.RandomState(k).uniform
    if kind == "kernel":
        # Depthwise kernels have one input.
        bound = math.sqrt(6 / np.prod(shape[: 2 if shape[3] == 1 else 3]))
        return draw(-bound, bound, shape).astype("float32")
    near_one = kind in ("gamma", "moving_variance")
    return draw(*((0.5, 1.5) if near_one else (-0.2, 0.2)), shape).astype("float32")


def layer_kinds(module):
    if isinstance(module, nn.BatchNorm2d):
        return ["gamma", "beta", "moving_mean", "moving_variance"]
    return ["kernel"] if module.bias is None else ["kernel", "bias"]


def in_keras_layout(base):
    """Return made-up weights of a network, in the order that its loader expects."""
    kinds = {}
    for module in base.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            tensors = [tensor for tensor, _ in keras_tensors(module)]
            kinds.update(zip(map(id, tensors), layer_kinds(module), strict=True))
    return [
        made_up(k, kinds[id(tensor)], tuple(tensor.permute(np.argsort(order).tolist()).shape))
        for k, (tensor, order) in enumerate(keras_tensors(base))
    ]


def write_keras_file(path, layers):
    """Write weights as Keras 2 does: layers is [(name, {weight name: array})], in their order."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name, _ in layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.10.0"
        for name, weights in layers:
            group = file.create_group(name)
            group.attrs["weight_names"] = [weight.encode() for weight in weights]
            for weight, array in weights.items():
                group.create_dataset(weight, data=array)


def write_base(path, base):
    """Write made-up weights of a network, one a layer; return them."""
    weights = in_keras_layout(base)
    write_keras_file(path, [(f"l{k}", {"w:0": w}) for k, w in enumerate(weights)])
    return weights


def mobilenet_layers():
    """Return MobileNetV2's layers as Keras has them, written down from its documentation."""
    shapes = {"input_1": {}}

    def add(name, norm, kernel, shape, relu=True):
        channels = shape[2] if kernel == "depthwise_kernel" else shape[3]
        shapes[name] = {f"{name}/{kernel}:0": shape}
        parts = ("gamma", "beta", "moving_mean", "moving_variance")
        shapes[norm] = {f"{norm}/{part}:0": (channels,) for part in parts}
        if relu:
            shapes[f"{name}_relu"] = {}

    add("Conv1", "bn_Conv1", "kernel", (3, 3, 3, 16))
    inputs, i = 16, 0
    for channels, repeats in ((8, 1), (16, 2), (16, 3), (32, 4), (48, 3), (80, 3), (160, 1)):
        for _ in range(repeats):
            prefix, width = f"block_{i}_" if i else "expanded_conv_", 6 * inputs if i else inputs
            if i:
                add(f"{prefix}expand", f"{prefix}expand_BN", "kernel", (1, 1, inputs, width))
            kernel = (3, 3, width, 1)
            add(f"{prefix}depthwise", f"{prefix}depthwise_BN", "depthwise_kernel", kernel)
            kernel = (1, 1, width, channels)
            add(f"{prefix}project", f"{prefix}project_BN", "kernel", kernel, relu=False)
            inputs, i = channels, i + 1
    add("Conv_1", "Conv_1_bn", "kernel", (1, 1, 160, 1280))
    numbers = iter(range(1000))
    return [
        (
            layer,
            {
                name: made_up(next(numbers), KIND.search(name)[0], shape)
                for name, shape in weights.items()
            },
        )
        for layer, weights in shapes.items()
    ]


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.base.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)
