"""A weight file of Keras's; no test downloads from the internet."""

import pytest
import torch

from tests.architectures.keras_files import mobilenet_layers, write_keras_file
from tests.conftest import NOBODY


@pytest.fixture(scope="session")
def keras_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("keras") / "mobilenet.h5"
    write_keras_file(path, mobilenet_layers())
    return path


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small layers compute faster than threads synchronise on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def no_internet(monkeypatch, tmp_path):
    """Use no internet and an empty cache."""
    monkeypatch.setenv("GREENCV_WEIGHTS", NOBODY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
