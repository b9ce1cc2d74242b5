"""The paper's networks against published figures and Keras's documentation."""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own documentation calls it F)
from torch import nn

from greencv_core.architectures.build import gflops_per_image
from greencv_core.architectures.keras import build_paper, preprocessing
from greencv_core.architectures.keras.nasnet import HeConv2d
from tests.architectures.keras_files import NAMES, same, weights_of


class Published(NamedTuple):
    """Figures of a network."""

    parameters: int
    """Model.count_params() of Keras's models (keras.io/api/applications) without top; MobileNetV2
    with alpha=0.5. Statistics of batch normalisation are among them."""
    gflops: float
    """An image of 128x128, with the head for two classes: column "GFLOPs" of del Rey et al.'s
    published table of runs (doi.org/10.5281/zenodo.7828518). They count pooling and biases, which
    torch does not: at most 0.9 %, in NASNet."""
    head: list[tuple[int, int | None]]
    norm: tuple[float, float] | None
    """Epsilon, and the new batch's share (Keras's momentum is the old share)."""


PUBLISHED = {
    "mobilenet_v2": Published(706_224, 0.064028, [(1280, 512), (512, None)], (1e-3, 0.001)),
    "nasnet_mobile": Published(4_269_716, 0.371647, [(1056, 512), (512, None)], (1e-3, 0.0003)),
    "xception": Published(20_861_480, 2.958404, [(2048, 1024), (1024, None)], (1e-3, 0.01)),
    "resnet50": Published(
        23_587_712, 2.524383, [(2048, 1024), (1024, 512), (512, None)], (1.001e-5, 0.01)
    ),
    "vgg16": Published(14_714_688, 10.028770, [(512, None)], None),
}


@cache
def fresh_network(name, classes=2):
    """Return a network that no test changes."""
    return build_paper(name, classes).eval()


@pytest.mark.parametrize("name", NAMES)
def test_counts_and_constants_are_the_published_ones(name):
    network, known = fresh_network(name), PUBLISHED[name]
    state = network.base.state_dict().items()
    weights = [tensor for key, tensor in state if not key.endswith("num_batches_tracked")]
    assert sum(tensor.numel() for tensor in weights) == known.parameters
    assert gflops_per_image(network, 128) == pytest.approx(known.gflops, rel=0.01)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == ({known.norm} - {None})


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("name", NAMES)
def test_heads_are_those_of_the_paper(name, classes):
    model = fresh_network(name, classes)
    layers = [layer for layer in model.head if isinstance(layer, nn.Linear)]
    outputs = 1 if classes == 2 else classes
    sizes = [(i, outputs if o is None else o) for i, o in PUBLISHED[name].head]
    assert [(layer.in_features, layer.out_features) for layer in layers] == sizes
    assert len(model.head) == 2 * len(layers) - 1
    with torch.no_grad():
        pooled = model.base(torch.rand(3, 3, 32, 32))
        assert pooled.shape == (3, sizes[0][0])
        assert model(torch.rand(3, 3, 32, 32)).shape == (3, classes)


def test_two_classes_are_one_output_and_its_sigmoid():
    model = build_paper("vgg16", 2).eval()
    images, labels = torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 1, 0])
    with torch.no_grad():
        z, logits = model.head(model.base(images))[:, 0], model(images)
    assert torch.equal(logits, torch.stack([torch.zeros(4), z], 1))
    torch.testing.assert_close(logits.softmax(1)[:, 1], z.sigmoid())
    torch.testing.assert_close(
        F.cross_entropy(logits, labels), F.binary_cross_entropy_with_logits(z, labels.float())
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_learns_in_both_memory_formats(name):
    torch.manual_seed(1)
    model = build_paper(name, 10)
    images = torch.rand(4, 3, 64, 64)
    plain = model(images)
    model = model.to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
    # Single pixels at the end make batch normalisation magnify rounding.
    torch.testing.assert_close(model(images), plain, rtol=1e-2, atol=1e-2)
    F.cross_entropy(model(images), torch.tensor([0, 1, 2, 3])).backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # A bias before a normalisation has no say.
    assert [n for n in still if "conv" not in n or not n.endswith("bias")] == []


@pytest.mark.parametrize("name", NAMES)
def test_any_image_size_is_accepted(name):
    for size in ((32, 32), (33, 46), (75, 40)):
        with torch.no_grad():
            assert fresh_network(name)(torch.rand(1, 3, *size)).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_initial_weights_are_drawn_as_in_keras(name):
    torch.manual_seed(5)
    model = build_paper(name, 2)
    for parameter, module in (
        (f"{path}.weight", m) for path, m in model.named_modules()
        if isinstance(m, nn.Conv2d | nn.Linear) and m.weight.numel() > 2000
    ):  # fmt: skip
        weight = module.weight.detach()
        pixels = weight[0, 0].numel()
        if isinstance(module, HeConv2d):
            std = math.sqrt(2 / (weight.shape[1] * pixels))
            bound = 2 * std / 0.8796
        else:
            std = math.sqrt(2 / (weight.shape[0] * pixels + weight.shape[1] * pixels))
            bound = math.sqrt(3) * std
        assert weight.std() == pytest.approx(std, rel=0.1), parameter
        assert 0.9 * bound < weight.abs().max() <= 1.001 * bound, parameter
        assert module.bias is None or not module.bias.any(), parameter
    torch.manual_seed(5)
    assert same(weights_of(model), weights_of(build_paper(name, 2)))


def test_only_nasnet_has_initial_weights_of_he():
    kinds = {n: [type(m) for m in fresh_network(n).modules()] for n in NAMES}
    # The stem, an input's one or two projections in each of 16 cells, but one in the first.
    assert {n: k.count(HeConv2d) for n, k in kinds.items() if HeConv2d in k} == {
        "nasnet_mobile": 1 + 16 + 15 + 4
    }


@pytest.mark.parametrize("name", NAMES)
def test_preprocessing_is_that_of_keras(name):
    mean, std = np.array(preprocessing(name))
    pixel = np.array([10.0, 100.0, 250.0])
    if name in ("resnet50", "vgg16"):
        # Keras's order is blue, green, red: the loader turns the first kernel instead.
        wanted = pixel - [123.68, 116.779, 103.939]
    else:
        wanted = pixel / 127.5 - 1
    np.testing.assert_allclose((pixel / 255 - mean) / std, wanted, atol=1e-9)
