"""ResNet50, equal to ``tf.keras.applications.ResNet50`` without top.

He et al., "Deep residual learning for image recognition", CVPR 2016. torchvision's network has the
stride of a block in its second convolution, and no biases.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own documentation calls it F)
from torch import nn

_norm = partial(nn.BatchNorm2d, eps=1.001e-5, momentum=0.01)


class Bottleneck(nn.Module):
    """Three convolutions with a shortcut, which is a projection in the first block of a stage.

    The inner convolutions have ``width`` channels, the output four times as many; the first
    convolution and the projection have the stride.
    """

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, stride), _norm(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1), _norm(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1), _norm(4 * width)
        self.shortcut = nn.Sequential()
        if inputs != 4 * width:
            self.shortcut.extend([nn.Conv2d(inputs, 4 * width, 1, stride), _norm(4 * width)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Transform a batch."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return F.relu(y + self.shortcut(x), inplace=True)

    def keras_order(self) -> list[nn.Module]:
        """Return the layers in the order of Keras's weight files."""
        last = [self.conv3, self.bn3]
        if len(self.shortcut):
            last = [self.shortcut[0], self.conv3, self.shortcut[1], self.bn3]
        return [self.conv1, self.bn1, self.conv2, self.bn2, *last]


def resnet50() -> nn.Module:
    """Return the convolutional layers, with 2048 output channels."""
    blocks: list[nn.Module] = []
    inputs = 64
    for width, depth in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for i in range(depth):
            blocks.append(Bottleneck(inputs, width, stride=2 if i == 0 and width > 64 else 1))
            inputs = 4 * width
    return nn.Sequential(
        nn.Conv2d(3, 64, 7, stride=2, padding=3), _norm(64), nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1), *blocks,
    )  # fmt: skip
