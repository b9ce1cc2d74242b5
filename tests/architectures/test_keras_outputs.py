"""Outputs of the paper's networks against those of Keras itself."""

import numpy as np
import pytest
import torch

from greencv_core.architectures.keras import build_paper, preprocessing
from greencv_core.architectures.keras.keras_weights import load_keras_file
from tests.architectures.keras_files import NAMES, image, write_base

KERAS = {
    ("mobilenet_v2", 128): (
        1.577008, 1.575579,
        [1.344143, 1.736646, 0, 0.2356212, 0.790316, 3.922391, 0.1045632, 0.1234011],
    ),
    ("mobilenet_v2", 97): (
        1.596258, 1.566724,
        [1.856433, 3.49421, 0, 0.7821734, 0.9531199, 3.30571, 0.01764748, 0.2835746],
    ),
    ("nasnet_mobile", 128): (
        15619.22, 19422.24,
        [1979.237, 14206.14, 0, 0, 6902.421, 10054.78, 2474.025, 4150.486],
    ),
    ("nasnet_mobile", 97): (
        5371.072, 6436.594,
        [1875.258, 7154.288, 0, 0, 5779.082, 3869.374, 3435.483, 1821.049],
    ),
    ("xception", 128): (
        1924524, 2144750,
        [0, 2068781, 1591206, 0, 7139981, 4589698, 2075778, 2713659],
    ),
    ("xception", 99): (
        984286.7, 1038009,
        [0, 956906.3, 1430101, 25704.79, 3396745, 2953184, 1014538, 1092282],
    ),
    ("resnet50", 128): (
        749696.9, 781391.2,
        [1236980, 455418.4, 965279.6, 32923.75, 1251578, 86059.69, 335109.7, 1019727],
    ),
    ("resnet50", 97): (
        639456.5, 667372.7,
        [1158470, 458518.5, 835252, 20884.61, 860387.4, 69545.7, 298483.3, 815959.8],
    ),
    ("vgg16", 128): (
        158.4092, 163.6796,
        [163.7101, 281.6518, 17.64727, 35.46424, 289.2715, 127.7139, 54.48619, 260.098],
    ),
    ("vgg16", 97): (
        158.9247, 151.9503,
        [170.7974, 268.2363, 11.20265, 51.19929, 287.2486, 176.8791, 69.93517, 239.2157],
    ),
}  # fmt: skip
"""Mean, standard deviation and first channels of what keras.applications computes (Keras 3.15.1 on
JAX 0.10.2; include_top=False, pooling="avg") with the weights of :func:`made_up`, in the order of
model.layers, from preprocess_input of :func:`image`."""


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_keras(name, tmp_path):
    model = build_paper(name, 2).eval()
    write_base(tmp_path / "w.h5", model.base)
    load_keras_file(model, name, tmp_path / "w.h5")
    mean, std = (torch.tensor(three).view(3, 1, 1) for three in preprocessing(name))
    for (which, size), (average, deviation, first) in KERAS.items():
        if which == name:
            x = torch.from_numpy(image(size)).permute(0, 3, 1, 2) / 255
            with torch.no_grad():
                y = model.base((x - mean) / std)[0].numpy()
            within = 1e-4 * np.abs(y).max()
            np.testing.assert_allclose(y[: len(first)], first, rtol=0, atol=within)
            np.testing.assert_allclose([y.mean(), y.std()], [average, deviation], rtol=1e-4)
