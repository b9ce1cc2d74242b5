"""The five architectures of del Rey et al. (SEAA 2023), as they trained them.

"Do DL models and training environments have an impact on energy consumption?", SEAA 2023. They used
the networks of Keras (keras.io/api/applications) without their tops, with global average pooling
and their own heads. Keras differs from torchvision in padding, in the constants of batch
normalisation, in the position of strides and in the initial weights; these networks follow Keras.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own documentation calls it F)
from torch import nn

from greencv_core.architectures.keras.mobilenet import mobilenet_v2
from greencv_core.architectures.keras.nasnet import HeConv2d, NASNet
from greencv_core.architectures.keras.resnet import resnet50
from greencv_core.architectures.keras.vgg import vgg16
from greencv_core.architectures.keras.xception import xception

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class WeightFile:
    """A file of ImageNet weights that Keras publishes, without top."""

    folder: str
    """On Keras's server."""
    name: str
    md5: str | None
    """None where Keras itself checks nothing."""
    cached_name: str = ""
    """Name in Keras's own cache, if it is another."""


@dataclass(frozen=True)
class PaperArchitecture:
    """One of the five: adding an entry to :data:`PAPER_ARCHITECTURES` adds ``paper:NAME``."""

    features: Callable[[], nn.Module]
    """Builds the convolutional layers."""
    channels: int
    """Channels of their output."""
    hidden: tuple[int, ...]
    """Sizes of the head's hidden layers."""
    caffe: bool
    """Whether Keras's weights expect Caffe's images: blue first, less the mean, not scaled."""
    weights: WeightFile


PAPER_ARCHITECTURES: dict[str, PaperArchitecture] = {
    "mobilenet_v2": PaperArchitecture(
        mobilenet_v2, 1280, (512,), caffe=False,
        # Keras has a file for each of five image sizes; this one is for the paper's.
        weights=WeightFile(
            "mobilenet_v2",
            "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.5_128_no_top.h5", None,
        ),
    ),
    "nasnet_mobile": PaperArchitecture(
        NASNet, 1056, (512,), caffe=False,
        weights=WeightFile(
            "nasnet", "NASNet-mobile-no-top.h5", "1ed92395b5b598bdda52abe5c0dbfd63",
            cached_name="nasnet_mobile_no_top.h5",
        ),
    ),
    "xception": PaperArchitecture(
        xception, 2048, (1024,), caffe=False,
        weights=WeightFile(
            "xception", "xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "b0042744bf5b25fce3cb969f33bebb97",
        ),
    ),
    "resnet50": PaperArchitecture(
        resnet50, 2048, (1024, 512), caffe=True,
        weights=WeightFile(
            "resnet", "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "4d473c1dd8becc155b73f8504c6f6626",
        ),
    ),
    "vgg16": PaperArchitecture(
        vgg16, 512, (), caffe=True,
        weights=WeightFile(
            "vgg16", "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "6d6bbae143d832006294945121d1f1fc",
        ),
    ),
}  # fmt: skip


class PaperNet(nn.Module):
    """A network of the paper: :attr:`base`, up to the pooled channels, and :attr:`head`.

    For two classes the head has one output ``z``, whose sigmoid is the second class's probability;
    the logits ``[0, z]`` have the same softmax and the same cross-entropy.
    """

    def __init__(self, architecture: PaperArchitecture, classes: int) -> None:
        super().__init__()
        self.base = nn.Sequential(architecture.features(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Sequential()
        width = architecture.channels
        for hidden in architecture.hidden:
            self.head.extend([nn.Linear(width, hidden), nn.ReLU(inplace=True)])
            width = hidden
        self.one_output = classes == 2
        self.head.append(nn.Linear(width, 1 if self.one_output else classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a logit for each image and class."""
        z: torch.Tensor = self.head(self.base(x))
        return F.pad(z, (1, 0)) if self.one_output else z


def build_paper(name: str, classes: int) -> PaperNet:
    """Return a network of the paper, with initial weights from torch's global generator."""
    network = PaperNet(PAPER_ARCHITECTURES[name], classes)
    network.apply(_initialise)
    return network


def preprocessing(name: str) -> tuple[Triple, Triple]:
    """Return mean and standard deviation of Keras's normalisation, for RGB images from 0 to 1."""
    if PAPER_ARCHITECTURES[name].caffe:
        return (123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255)
    return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def _initialise(layer: nn.Module) -> None:
    """Draw weights like Keras: Glorot's uniform distribution, and biases of zero."""
    if isinstance(layer, nn.Conv2d | nn.Linear) and not isinstance(layer, HeConv2d):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
