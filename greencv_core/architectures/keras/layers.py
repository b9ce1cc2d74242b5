"""Keras's layers that torch does not have, shared by several networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own documentation calls it F)
from torch import nn


def pad_same(x: torch.Tensor, kernel: int) -> torch.Tensor:
    """Pad with zeros as TensorFlow's "same" does for an odd kernel and a stride of 2.

    An even number of rows gets one padding row less before than after; torch's own padding is the
    same on both sides.
    """
    after = kernel // 2
    top, left = (after - 1 + size % 2 for size in x.shape[-2:])
    return F.pad(x, (left, after, top, after))


class SameConv2d(nn.Conv2d):
    """A convolution with a stride of 2 and TensorFlow's "same" padding."""

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=2, groups=groups, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve."""
        return super().forward(pad_same(x, self.kernel_size[0]))


def separable_conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return a depthwise convolution followed by a pointwise one."""
    depthwise: nn.Conv2d
    if stride == 1:
        depthwise = nn.Conv2d(
            inputs, inputs, kernel, padding=kernel // 2, groups=inputs, bias=False
        )
    else:
        depthwise = SameConv2d(inputs, inputs, kernel, groups=inputs)
    return nn.Sequential(depthwise, nn.Conv2d(inputs, outputs, 1, bias=False))
