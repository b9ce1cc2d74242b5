"""Weight files of Keras's: copied weight by weight, or refused in one line."""

import re

import h5py
import numpy as np
import pytest
import torch

from greencv_core.architectures.keras import build_paper
from greencv_core.architectures.keras.keras_weights import keras_tensors, load_keras_file
from tests.architectures.keras_files import (
    mobilenet_layers,
    same,
    weights_of,
    write_base,
    write_keras_file,
)
from tests.support.refusals import refusal


def test_a_keras_file_is_copied_weight_by_weight(keras_file):
    model = build_paper("mobilenet_v2", 2)
    head = {name: tensor.clone() for name, tensor in model.head.state_dict().items()}
    load_keras_file(model, "mobilenet_v2", keras_file)
    written = [w for _, weights in mobilenet_layers() for w in weights.values()]
    loaded = [t.detach() for t, _ in keras_tensors(model.base)]
    assert len(written) == len(loaded) == 260
    assert np.array_equal(loaded[0][5, 2, 0, 1], written[0][0, 1, 2, 5])  # a kernel
    depthwise = next(i for i, w in enumerate(written) if w.shape == (3, 3, 16, 1))
    assert np.array_equal(loaded[depthwise][7, 0, 2, 1], written[depthwise][2, 1, 7, 0])
    for mine, its in zip(loaded, written, strict=True):
        assert np.array_equal(np.sort(mine.numpy(), None), np.sort(its, None))
    assert all(torch.equal(tensor, head[name]) for name, tensor in model.head.state_dict().items())
    state = model.base[0][0][1].state_dict()
    for mine, its in zip(
        ("weight", "bias", "running_mean", "running_var"), written[1:], strict=False
    ):
        assert np.array_equal(state[mine], its)


def test_the_file_of_a_whole_model_is_accepted(keras_file, tmp_path):
    with h5py.File(keras_file) as there, h5py.File(tmp_path / "m.h5", "w") as here:
        there.copy(there["/"], here, "model_weights")
    a, b = build_paper("mobilenet_v2", 2), build_paper("mobilenet_v2", 2)
    load_keras_file(a, "mobilenet_v2", keras_file)
    load_keras_file(b, "mobilenet_v2", tmp_path / "m.h5")
    assert same(weights_of(a), weights_of(b))


def test_caffe_weights_have_their_first_kernel_flipped(tmp_path):
    model = build_paper("vgg16", 2)
    weights = write_base(tmp_path / "w.h5", model.base)
    load_keras_file(model, "vgg16", tmp_path / "w.h5")
    first, second = (model.base[0][i].weight.detach().numpy() for i in (0, 2))
    assert np.array_equal(first, weights[0][:, :, ::-1].transpose(3, 2, 0, 1))
    assert np.array_equal(second, weights[2].transpose(3, 2, 0, 1))


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_layer_names(path):
    with h5py.File(path, "a") as file:
        del file.attrs["layer_names"]


def with_kernel(content):
    """Return a function that replaces a kernel in a file, or deletes it."""

    def change(path):
        with h5py.File(path, "a") as file:
            del file["block_3_expand/block_3_expand/kernel:0"]
            if content is not None:
                file["block_3_expand/block_3_expand/kernel:0"] = content

    return change


def one_layer_more(path):
    layers = [*mobilenet_layers(), ("dense", {"dense/bias:0": np.zeros(2, "float32")})]
    write_keras_file(path, layers)


def one_layer_less(path):
    write_keras_file(path, mobilenet_layers()[:-2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, "damaged, or not a weight file of Keras"),
        (no_layer_names, "damaged, or not a weight file of Keras"),
        (with_kernel(None), "damaged, or not a weight file of Keras"),
        (with_kernel("text"), "damaged, or not a weight file of Keras"),
        (
            with_kernel(np.zeros((1, 1, 16, 95), "float32")),
            r"layer block_3_expand has the shape \(1, 1, 16, 95\) where mobilenet_v2 has "
            r"\(1, 1, 16, 96\)",
        ),
        (one_layer_more, r"holds 261 weights \(the last is layer dense\) where .* has 260"),
        (one_layer_less, r"holds 256 weights \(the last is layer Conv_1\) where .* has 260"),
        (lambda path: path.unlink(), "no such file"),
    ],
)
def test_a_damaged_file_is_one_line_and_changes_nothing(keras_file, tmp_path, damage, message):
    path = tmp_path / "w.h5"
    path.write_bytes(keras_file.read_bytes())
    damage(path)
    model = build_paper("mobilenet_v2", 2)
    before = weights_of(model)
    text = refusal(load_keras_file, model, "mobilenet_v2", path)
    assert text.startswith(f"{path}: ")
    assert re.search(message, text)
    assert same(before, weights_of(model))
