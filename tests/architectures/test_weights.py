"""Weight files run no code; unreadable ones are refused in one line."""

import contextlib
import io
import os
import pickle
import re
import zipfile

import h5py
import numpy as np
import pytest
import torch
import torchvision

from greencv_core.architectures import build
from greencv_core.architectures.keras import build_paper, keras_weights
from greencv_core.architectures.keras.keras_weights import load_keras_file
from greencv_core.architectures.weights import hash_weights, load_state
from greencv_core.utils.errors import BadInputError
from tests.support.refusals import refusal

NET = "squeezenet1_1"


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def trace(tmp_path):
    """Return a folder that is there if a payload ran."""
    path = tmp_path / "ran"
    yield path
    assert not path.exists(), "code ran"


@pytest.fixture
def net():
    return torchvision.models.get_model(NET, weights=None, num_classes=10)


def zipped_pickle(content):
    """Return a pickle as torch's own format has it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(content, protocol=2))
        file.writestr("archive/version", "3\n")
    return packed.getvalue()


@pytest.mark.parametrize("suffix", [".pt", ".bin"])
@pytest.mark.parametrize("packed", [lambda c: pickle.dumps(c, protocol=2), zipped_pickle])
@pytest.mark.parametrize("inside", [lambda p: p, lambda p: {"state_dict": p}, lambda p: {"a": [p]}])
def test_a_payload_in_a_file_of_weights_does_not_run(tmp_path, trace, net, suffix, packed, inside):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(packed(inside(Payload(trace))))
    message = refusal(load_state, net, path, NET)
    assert message.startswith(f"protocol.weights = file:{path}: ")
    assert "more than weights" in message
    assert "weights_only" not in message, "the message must not explain how to run the file"


def test_a_payload_in_a_downloaded_file_does_not_run(tmp_path, trace, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    url = torchvision.models.get_model_weights(NET).DEFAULT.url
    path = tmp_path / "checkpoints" / url.rpartition("/")[2]
    path.parent.mkdir()
    path.write_bytes(zipped_pickle(Payload(trace)))
    message = refusal(build.build, NET, 10, 32, "imagenet")
    assert message.startswith("protocol.weights = imagenet: ")
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


@pytest.mark.parametrize(
    "content",
    [
        [1, 2], {1: torch.zeros(1)}, {"a": 1}, {"a\nb\x1b": torch.zeros(1)},
        {f"k{n}": torch.zeros(1) for n in range(200)}, {}, torch.zeros(3), None,
    ],
)  # fmt: skip
def test_a_file_without_a_state_dictionary_is_refusal(tmp_path, net, content):
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    refusal(load_state, net, path, NET)


@pytest.mark.parametrize("change", [lambda t: t.to_sparse(), lambda t: t.to(torch.complex64)])
def test_unusual_tensors_are_refused_or_loaded(tmp_path, net, change):
    state = net.state_dict()
    first = next(iter(state))
    state[first] = change(state[first])
    path = tmp_path / "weights.pt"
    torch.save(state, path)
    with contextlib.suppress(BadInputError):
        load_state(net, path, NET)


def prefixed(prefix):
    return lambda state: {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    "change",
    [
        prefixed("module."),
        prefixed("_orig_mod."),
        prefixed("module._orig_mod."),
        prefixed("_orig_mod.module."),
        lambda state: {"state_dict": prefixed("model.")(state), "epoch": 3},
        lambda state: {"model_state_dict": state, "optimizer_state_dict": {}},
        lambda state: {"model": prefixed("net.backbone.")(state)},
        lambda state: {"n_averaged": torch.tensor(2), **prefixed("module.")(state)},
        lambda state: {k.replace("fire", "_orig_mod.fire"): v for k, v in state.items()},
    ],
)
def test_a_state_of_a_wrapped_network_loads(tmp_path, net, change):
    other = torchvision.models.get_model(NET, weights=None, num_classes=7)
    path = tmp_path / "weights.pt"
    torch.save(change(other.state_dict()), path)
    load_state(net, path, NET)
    assert torch.equal(net.features[0].weight, other.features[0].weight)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("googlenet", lambda state: {**state, "aux1.fc2.weight": torch.zeros(1000, 1024)}),
        ("densenet121", lambda state: {re.sub(r"(layer\d+\.[nc]o\w+)([12])", r"\1.\2", k): v
                                       for k, v in state.items()}),
        ("resnet18", lambda state: {k: v for k, v in state.items() if "num_batches" not in k}),
    ],
)  # fmt: skip
def test_states_as_torchvision_publishes_them_load(tmp_path, name, change):
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    other, mine = (torchvision.models.get_model(name, weights=None, **options) for _ in range(2))
    path = tmp_path / "weights.pt"
    torch.save(change(other.state_dict()), path)
    load_state(mine, path, name)
    assert hash_weights(mine) == hash_weights(other)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors", "weights.h5"])
@pytest.mark.parametrize("content", [b"", b"\x80\x02", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"])
def test_bytes_that_are_no_weights_are_refusal(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    message = refusal(build.build, "paper:vgg16", 2, 32, f"file:{path}")
    assert str(path) in message


def keras_file(path, make):
    with h5py.File(path, "w") as file:
        group = file.create_group("one")
        make(file, group)
        group.attrs["weight_names"] = [b"w"]
        file.attrs["layer_names"] = [b"one"]


def other_file(_, group):
    group.create_dataset("w", (4,), "f4", external=[("/etc/hostname", 0, 16)])


def too_large(_, group):
    group.create_dataset("w", (1 << 40,), "f4", chunks=(1024,))


def a_pickle(_, group):
    group.create_dataset("w", data=np.void(pickle.dumps({"a": 1})))


def a_group(_, group):
    group.create_group("w")


def missing_link(_, group):
    group["w"] = h5py.ExternalLink("/etc/hostname", "/w")


def link_to_itself(_, group):
    group["w"] = h5py.SoftLink("/one/w")


@pytest.mark.parametrize(
    "make", [other_file, too_large, a_pickle, a_group, missing_link, link_to_itself]
)
def test_a_hostile_file_of_keras_is_refusal(tmp_path, make):
    path = tmp_path / "weights.h5"
    keras_file(path, make)
    message = refusal(load_keras_file, build_paper("vgg16", 2), "vgg16", path)
    assert message.startswith(f"{path}: ")


def test_messages_have_no_control_characters(tmp_path):
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"a\nb\x1b[31m"]
    refusal(load_keras_file, build_paper("vgg16", 2), "vgg16", path)
    assert keras_weights.MAX_NUMBERS > 2_400_000
