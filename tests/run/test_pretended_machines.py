"""The doctor, a plan and a study's runs on machines with AMD's cards."""

import json
import os

import pytest

from greencv_core.records.store import Store
from tests.conftest import ROOT, greencv

pytestmark = pytest.mark.slow

STUDY = """
name: pretended
dataset: {name: digits, image_size: 32, train_images: 64, validation_images: 50}
architectures: [squeezenet1_1]
environments: [{name: gpu, device: auto}]
protocol: {epochs: 1, batch_size: 32, learning_rate: 0.002, repetitions: 1, idle_s: 0.5,
           quiet_wait_s: 0, again_if_disturbed: 0}
carbon: {country: ESP}
"""
MI250 = {"name": "AMD Instinct MI250X", "device_id": "0x7408", "gfx": "gfx90a"}
SECOND_DIE = {
    "bdf": "0000:c6:00.0", "serial": "0x2", "node": 3, "counter": "zero", "power_key": "",
}  # fmt: skip
CARDS = {
    "MI300X": [{}],
    "MI250, one die": [MI250, MI250 | SECOND_DIE],
}  # fmt: skip
TOLD = {
    "MI300X": ("measured", "AMD SMI energy counter (AMD Instinct MI300X OAM)"),
    "MI250, one die": (None, "one of two dies of a card"),
}


@pytest.fixture(params=CARDS)
def machine(request, tmp_path, monkeypatch):
    """Have torch and AMD SMI see a card; return the card's name."""
    support = ROOT / "tests" / "support"
    folders = (support / "pretended_cuda", support / "pretended_amd", ROOT)
    for kind in ("contexts", "waits"):
        (tmp_path / "log" / kind).mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, folders)))
    monkeypatch.setenv("PRETENDED_AMD", json.dumps(CARDS[request.param]))
    monkeypatch.setenv("PRETENDED_CUDA", str(tmp_path / "log"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return request.param


def test_a_machine_tells_how_its_gpu_is_metered_and_trains_accordingly(machine, tmp_path):
    provenance, words = TOLD[machine]
    told = json.loads(greencv("doctor", "--json").stdout)
    gpu = [meter for meter in told["meters"] if meter["component"] == "gpu"]
    study = tmp_path / "study.yaml"
    study.write_text(STUDY)
    greencv("run", study, "--store", tmp_path / "runs")
    (record,) = Store(str(tmp_path / "runs")).records()
    if provenance is None:
        assert gpu == []
        assert words in told["machine"]["accelerators"][0]["unmetered"]
        assert record.environment["device"] == "cpu"
        assert "gpu" not in record.total.components
        return
    assert gpu[0]["provenance"] == provenance
    assert words in gpu[0]["source"]
    assert record.environment["device"] == "cuda:0"
    reading = record.total.components["gpu"]
    assert reading.provenance == provenance
    assert reading.energy_j == pytest.approx(250 * record.duration_s, rel=0.05)
    assert record.complete
