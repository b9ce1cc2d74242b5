"""Xception, equal to ``tf.keras.applications.Xception`` without top.

Chollet, "Xception: deep learning with depthwise separable convolutions", CVPR 2017.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own documentation calls it F)
from torch import nn

from greencv_core.architectures.keras.layers import separable_conv

_norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)


class Block(nn.Module):
    """Separable convolutions with an identity shortcut.

    The block starts with a ReLU if ``activate_input``; ``outputs`` are the channels of each
    convolution.
    """

    def __init__(self, inputs: int, outputs: tuple[int, ...], activate_input: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((inputs, *outputs[:-1]), outputs, strict=True):
            # In place between convolutions, but not for the input, which the shortcut needs.
            layers += [nn.ReLU(inplace=bool(layers)), separable_conv(before, after, 3)]
            layers.append(_norm(after))
        self.body = nn.Sequential(*layers[0 if activate_input else 1 :])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Transform a batch."""
        y: torch.Tensor = self.body(x) + x
        return y


class ReducingBlock(Block):
    """A block that halves the image size, with a projection as shortcut."""

    def __init__(self, inputs: int, outputs: tuple[int, ...], activate_input: bool = True) -> None:
        super().__init__(inputs, outputs, activate_input)
        self.shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs[-1], 1, stride=2, bias=False), _norm(outputs[-1])
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Transform a batch."""
        y: torch.Tensor = self.shortcut(x)
        rows, columns = x.shape[-2:]
        # TensorFlow's "same" padding pads an even number of rows only at the end, which is equal to
        # a window that extends over the end.
        return y + F.max_pool2d(
            self.body(x), 3, stride=2, padding=(rows % 2, columns % 2), ceil_mode=True
        )


def xception() -> nn.Module:
    """Return the convolutional layers, with 2048 output channels."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, bias=False), _norm(32), nn.ReLU(inplace=True),
        nn.Conv2d(32, 64, 3, bias=False), _norm(64), nn.ReLU(inplace=True),
        ReducingBlock(64, (128, 128), activate_input=False),
        ReducingBlock(128, (256, 256)),
        ReducingBlock(256, (728, 728)),
        *(Block(728, (728, 728, 728)) for _ in range(8)),
        ReducingBlock(728, (728, 1024)),
        separable_conv(1024, 1536, 3), _norm(1536), nn.ReLU(inplace=True),
        separable_conv(1536, 2048, 3), _norm(2048), nn.ReLU(inplace=True),
    )  # fmt: skip
