"""A simulated GPU for commands."""

import json
import os

import pytest

from tests.conftest import ROOT
from tests.support import simulated_gpu
from tests.support.simulated_gpu import constant

REFRESH_S = 0.1
POWER_W = 250.0
LONG = """
name: one-run
dataset: {name: digits, image_size: 32, train_images: 64, validation_images: 20}
architectures: [squeezenet1_1]
environments: [{name: fp32, device: cuda, threads: 1}]
protocol: {epochs: 24, batch_size: 32, learning_rate: 0.002, repetitions: 1, idle_s: 0.5,
           quiet_wait_s: 0, again_if_disturbed: 0}
carbon: {country: ESP}
"""


@pytest.fixture(scope="module")
def card(library, tmp_path_factory):
    """Put the simulated GPU into the environment that all commands of this module inherit."""
    folder = tmp_path_factory.mktemp("card")
    log = folder / "log"
    settings = {"refresh_s": REFRESH_S, "noise_w": 0.5, "contexts": log / "contexts"}
    paths = (str(ROOT / "tests" / "support" / "pretended_cuda"), os.environ.get("PYTHONPATH"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            **simulated_gpu.environment(library, constant(POWER_W), **settings),
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PRETENDED_CUDA": str(log),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }.items():
            patch.setenv(name, value)
        yield log


def waits(card):
    """Return what was logged at each wait for the GPU, by process."""
    return {
        path.name: [json.loads(line) for line in path.read_text().splitlines()]
        for path in (card / "waits").glob("*")
    }
