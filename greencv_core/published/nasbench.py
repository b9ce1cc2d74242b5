"""Multiply-adds and parameters of the networks of NAS-Bench-101.

A network is a stem of 128 channels and three stacks of three equal cells, for images of 32 x 32
pixels; the second and third stack halve the size and double the channels. A cell is a graph whose
vertices are operations. Ying et al. (2019) define how its edges fix the channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

STEM_CHANNELS = 128
STACKS, CELLS = 3, 3
IMAGE_SIZE = 32
CLASSES = 10
KERNELS = {0: 3, 1: 1}
"""Size of the convolution of an operation's number; others have no parameters."""


@dataclass(frozen=True)
class Cost:
    """Multiply-adds for one image, and trainable parameters."""

    multiply_adds: int
    parameters: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.multiply_adds + other.multiply_adds, self.parameters + other.parameters)


def network_cost(edges: Sequence[Sequence[int]], operations: Sequence[int]) -> Cost:
    """Return the cost of the network of a cell.

    Parameters
    ----------
    edges
        Upper triangular matrix; ``edges[i][j]`` is 1 if vertex j takes the output of vertex i. The
        first vertex is the input, the last the output.
    operations
        Number of each vertex's operation: 0 is a convolution of 3 x 3, 1 one of 1 x 1, 2 a maximum.
    """
    channels = [STEM_CHANNELS]
    for stack in range(STACKS):
        channels += CELLS * [STEM_CHANNELS << stack]
    sizes = [IMAGE_SIZE >> stack for stack in range(STACKS) for _ in range(CELLS)]
    total = _convolution(3, 3, STEM_CHANNELS, IMAGE_SIZE)
    for (inputs, outputs), size in zip(pairwise(channels), sizes, strict=True):
        total += _cell_cost(edges, operations, inputs, outputs, size)
    weights = channels[-1] * CLASSES
    return total + Cost(weights, weights + CLASSES)


def _cell_cost(
    edges: Sequence[Sequence[int]],
    operations: Sequence[int],
    inputs: int,
    outputs: int,
    size: int,
) -> Cost:
    widths = vertex_channels(edges, outputs)
    last = len(edges) - 1
    total = Cost(0, 0)
    for vertex in range(1, last):
        if edges[0][vertex]:  # a projection of the cell's input
            total += _convolution(1, inputs, widths[vertex], size)
        if operations[vertex] in KERNELS:
            kernel = KERNELS[operations[vertex]]
            total += _convolution(kernel, widths[vertex], widths[vertex], size)
    if edges[0][last]:
        total += _convolution(1, inputs, outputs, size)
    return total


def vertex_channels(edges: Sequence[Sequence[int]], outputs: int) -> list[int]:
    """Return the channels of each inner vertex of a cell; the others' entries are its output's.

    The vertices before the output share its channels equally, the first ones taking what is left
    over. Any other vertex has as many channels as the largest vertex that it leads to.
    """
    last = len(edges) - 1
    widths = [outputs] * (last + 1)
    joined = [vertex for vertex in range(1, last) if edges[vertex][last]]
    for place, vertex in enumerate(joined):
        widths[vertex] = outputs // len(joined) + (place < outputs % len(joined))
    for vertex in reversed(range(1, last)):
        if vertex not in joined:
            following = [widths[j] for j in range(vertex + 1, last) if edges[vertex][j]]
            widths[vertex] = max(following)
    return widths


def _convolution(kernel: int, inputs: int, outputs: int, size: int) -> Cost:
    """Return the cost of a convolution and its batch normalisation, with two parameters each."""
    weights = kernel * kernel * inputs * outputs
    return Cost(weights * size * size, weights + 2 * outputs)
