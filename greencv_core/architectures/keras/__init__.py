"""The five architectures of del Rey et al. (SEAA 2023), as they trained them.

"Do DL models and training environments have an impact on energy consumption?", SEAA 2023. They used
those of Keras (keras.io/api/applications), without their tops and with global average pooling,
under heads of their own. Keras differs from torchvision in padding, in the constants of batch
normalisation, in where a stride is, and in the initial weights; here it is as in Keras.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own documentation calls it F)
from torch import nn

from greencv_core.architectures.keras.mobilenet import mobilenet_v2
from greencv_core.architectures.keras.nasnet import HeConv2d, nasnet_mobile
from greencv_core.architectures.keras.resnet import resnet50
from greencv_core.architectures.keras.vgg import vgg16
from greencv_core.architectures.keras.xception import xception
from greencv_core.utils.errors import BadInputError

Triple = tuple[float, float, float]

IMAGENET_MEAN: Triple = (123.68 / 255, 116.779 / 255, 103.939 / 255)
"""Of red, green and blue, as Keras subtracts them."""


@dataclass(frozen=True)
class PaperArchitecture:
    """One of the five."""

    features: Callable[[], nn.Module]
    """Makes the convolutional layers."""
    channels: int
    """That come out of them."""
    hidden: tuple[int, ...]
    """Sizes of the head's hidden layers."""
    caffe: bool
    """Whether Keras's weights expect what Caffe's did: blue first, less the mean, not scaled."""


PAPER_ARCHITECTURES: dict[str, PaperArchitecture] = {
    "mobilenet_v2": PaperArchitecture(mobilenet_v2, 1280, (512,), caffe=False),
    "nasnet_mobile": PaperArchitecture(nasnet_mobile, 1056, (512,), caffe=False),
    "xception": PaperArchitecture(xception, 2048, (1024,), caffe=False),
    "resnet50": PaperArchitecture(resnet50, 2048, (1024, 512), caffe=True),
    "vgg16": PaperArchitecture(vgg16, 512, (), caffe=True),
}


def find_paper_architecture(name: str) -> PaperArchitecture:
    """Return one of the five, or raise :class:`BadInputError`."""
    if name not in PAPER_ARCHITECTURES:
        known = ", ".join(PAPER_ARCHITECTURES)
        raise BadInputError(f"architectures: {name}: not one of the paper's; they are {known}")
    return PAPER_ARCHITECTURES[name]


class PaperNet(nn.Module):
    """A network of the paper: :attr:`base`, to the pooled channels, and :attr:`head`.

    For two classes the head has one output ``z``, whose sigmoid is the second class's probability;
    the logits ``[0, z]`` have that softmax, and that cross-entropy.
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
    """Return a network of the paper, with fresh weights from torch's global generator.

    Parameters
    ----------
    name
        One of :data:`PAPER_ARCHITECTURES`.
    classes
        That it is to tell apart.
    """
    if classes < 2:
        raise BadInputError(f"classes: {classes}: a classifier tells two or more apart")
    network = PaperNet(find_paper_architecture(name), classes)
    network.apply(_initialise)
    return network


def preprocessing(name: str) -> tuple[Triple, Triple]:
    """Return mean and standard deviation, by which Keras's weights want images normalised.

    For images of red, green and blue from 0 to 1.
    """
    if find_paper_architecture(name).caffe:
        return IMAGENET_MEAN, (1 / 255, 1 / 255, 1 / 255)
    return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def _initialise(layer: nn.Module) -> None:
    """Draw weights as Keras does: Glorot's uniform distribution, and biases of zero."""
    if isinstance(layer, nn.Conv2d | nn.Linear) and not isinstance(layer, HeConv2d):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
