"""NASNet-A Mobile, equal to ``tf.keras.applications.NASNetMobile`` without top.

Zoph et al., "Learning transferable architectures for scalable image recognition", CVPR 2018.

Every use of a cell's output starts with a ReLU, so a cell applies it once to its output. Poolings
that occur twice in Keras's graph are computed once, too.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own documentation calls it F)
from torch import nn

from greencv_core.architectures.keras.layers import pad_same, separable_conv

_norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=3e-4)

TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a standard normal distribution truncated at -2 and 2."""


class HeConv2d(nn.Conv2d):
    """A convolution without biases and with Keras's variant of He's initial weights."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, bias=False)

    def reset_parameters(self) -> None:
        """Draw from a normal distribution truncated at two standard deviations."""
        std = (2 / self.weight[0].numel()) ** 0.5 / TRUNCATED_STD
        nn.init.trunc_normal_(self.weight, std=std, a=-2 * std, b=2 * std)


class HalvedInput(nn.Module):
    """Halve the size of an earlier output, from two samples that are shifted by a pixel."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(HeConv2d(inputs, outputs // 2, stride=2) for _ in range(2))
        self.norm = _norm(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Transform a batch."""
        unshifted, shifted = self.convs
        y: torch.Tensor = self.norm(torch.cat([unshifted(x), shifted(F.pad(x, (-1, 1, -1, 1)))], 1))
        return y


class ProjectedInput(nn.Module):
    """Project a cell's input to the number of channels within the cell."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([HeConv2d(inputs, outputs)])
        self.norm = _norm(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Transform a batch."""
        y: torch.Tensor = self.norm(self.convs[0](x))
        return y


def _separable_twice(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return two separable convolutions for an input after ReLU."""
    return nn.Sequential(
        separable_conv(inputs, outputs, kernel, stride), _norm(outputs), nn.ReLU(inplace=True),
        separable_conv(outputs, outputs, kernel), _norm(outputs),
    )  # fmt: skip


def _interleave(*blocks: nn.Sequential) -> list[nn.Module]:
    return [layer for layers in zip(*blocks, strict=True) for layer in layers]


def _average(x: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class NormalCell(nn.Module):
    """The cell that preserves the image size (figure 4 of the paper, left).

    ``inputs`` is the number of channels of the last cell's output, and ``filters`` that within the
    cell; ``earlier`` adapts the output of the second last cell to this cell's size.
    """

    multiple = 6
    """Output channels for each channel within the cell."""

    def __init__(self, inputs: int, earlier: HalvedInput | ProjectedInput, filters: int) -> None:
        super().__init__()
        self.earlier = earlier
        self.last = ProjectedInput(inputs, filters)
        self.left1 = _separable_twice(filters, filters, 5)
        self.right1 = _separable_twice(filters, filters, 3)
        self.left2 = _separable_twice(filters, filters, 5)
        self.right2 = _separable_twice(filters, filters, 3)
        self.left5 = _separable_twice(filters, filters, 3)

    def forward(self, x: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """Transform the outputs of the last two cells."""
        h, p = self.last(x), self.earlier(before)
        positive_h, positive_p = F.relu(h), F.relu(p)
        y = [
            p,
            self.left1(positive_h) + self.right1(positive_p),
            self.left2(positive_p) + self.right2(positive_p),
            _average(h) + p,
            2 * _average(p),
            self.left5(positive_h) + h,
        ]
        return F.relu(torch.cat(y, 1), inplace=True)

    def keras_order(self) -> list[nn.Module]:
        """Return the layers in the order of Keras's weight files."""
        blocks = (self.left1, self.right1, self.left2, self.right2, self.left5)
        return [
            *self.earlier.convs, *self.last.convs, self.earlier.norm, self.last.norm,
            *_interleave(*blocks),
        ]  # fmt: skip


class ReductionCell(nn.Module):
    """The cell that halves the image size (figure 4 of the paper, right).

    Parameters are those of :class:`NormalCell`; the first cell has no ``earlier`` input.
    """

    multiple = 4

    def __init__(
        self, inputs: int, earlier: HalvedInput | ProjectedInput | None, filters: int
    ) -> None:
        super().__init__()
        self.earlier = earlier
        self.last = ProjectedInput(inputs, filters)
        earlier_channels = inputs if earlier is None else filters
        self.left1 = _separable_twice(filters, filters, 5, stride=2)
        self.right1 = _separable_twice(earlier_channels, filters, 7, stride=2)
        self.right2 = _separable_twice(earlier_channels, filters, 7, stride=2)
        self.right3 = _separable_twice(earlier_channels, filters, 5, stride=2)
        self.left5 = _separable_twice(filters, filters, 3)

    def forward(self, x: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """Transform the outputs of the last two cells."""
        h = self.last(x)
        p = before if self.earlier is None else F.relu(self.earlier(before), inplace=True)
        # Keras pads with zeros first, which count in the maximum and the mean.
        padded = pad_same(h, 3)
        largest = F.max_pool2d(padded, 3, stride=2)
        y1 = self.left1(F.relu(h)) + self.right1(p)
        y2 = largest + self.right2(p)
        y3 = F.avg_pool2d(padded, 3, stride=2) + self.right3(p)
        y4 = _average(y1) + y2
        y5 = self.left5(F.relu(y1)) + largest
        return F.relu(torch.cat([y2, y3, y4, y5], 1), inplace=True)

    def keras_order(self) -> list[nn.Module]:
        """Return the layers in the order of Keras's weight files."""
        inputs = [*self.last.convs, self.last.norm]
        if isinstance(self.earlier, HalvedInput):
            inputs = [*self.earlier.convs, *inputs, self.earlier.norm]
        elif self.earlier is not None:
            inputs = [*self.last.convs, *self.earlier.convs, self.last.norm, self.earlier.norm]
        late = self.right3, self.left5
        return [
            *inputs, *_interleave(self.left1, self.right1),
            *self.right2[:2], *_interleave(*(block[:2] for block in late)),
            *self.right2[2:], *_interleave(*(block[2:] for block in late)),
        ]  # fmt: skip


class NASNet(nn.Module):
    """The convolutional layers, with 1056 output channels.

    They are a stem and cells; each cell takes the outputs of the last two.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(HeConv2d(3, 32, 3, stride=2), _norm(32), nn.ReLU(inplace=True))
        self.cells = nn.ModuleList([ReductionCell(32, None, 11)])
        plan: list[tuple[type[NormalCell | ReductionCell], int]] = [
            (ReductionCell, 22), *[(NormalCell, 44)] * 4,
            (ReductionCell, 88), *[(NormalCell, 88)] * 4,
            (ReductionCell, 176), *[(NormalCell, 176)] * 4,
        ]  # fmt: skip
        before, last, halved = 32, ReductionCell.multiple * 11, True
        for kind, filters in plan:
            earlier = (HalvedInput if halved else ProjectedInput)(before, filters)
            self.cells.append(kind(last, earlier, filters))
            before, last, halved = last, kind.multiple * filters, kind is ReductionCell

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last cell's output for a batch of images."""
        x = self.stem(x)
        before = x
        for cell in self.cells:
            x, before = cell(x, before), x
        return x
