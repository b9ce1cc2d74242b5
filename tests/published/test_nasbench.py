"""Multiply-adds and parameters of NAS-Bench-101 cells, against PyTorch layers and by hand."""

import pytest

from greencv_core.published.nasbench import network_cost, vertex_channels


def test_a_cell_of_one_projection_by_hand():
    # Input to output: each cell is one convolution of 1 x 1 with batch normalisation.
    cost = network_cost([[0, 1], [0, 0]], [-1, -2])
    cells = [(128, 128, 32)] * 3 + [(128, 256, 16)] + [(256, 256, 16)] * 2
    cells += [(256, 512, 8)] + [(512, 512, 8)] * 2
    stem = 9 * 3 * 128
    weights = sum(inputs * outputs for inputs, outputs, _ in cells)
    norms = 2 * (128 + sum(outputs for _, outputs, _ in cells))
    assert cost.parameters == stem + weights + norms + 512 * 10 + 10
    adds = sum(inputs * outputs * size**2 for inputs, outputs, size in cells)
    assert cost.multiply_adds == stem * 32**2 + adds + 512 * 10


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        # Two vertices share 9 channels; the first takes the odd one.
        ([[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]], [5, 4]),
        # A vertex before another has as many channels as that one.
        ([[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]], [9, 9]),
    ],
)
def test_channels_of_the_inner_vertices(edges, expected):
    assert vertex_channels(edges, 9)[1:-1] == expected
