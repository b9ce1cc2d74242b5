"""The commands on a pretended Mac: its GPU is found, trained on and measured."""

import json
import os

import pytest

from greencv_core.records.store import Store
from tests.conftest import ROOT, greencv

pytestmark = pytest.mark.slow

STUDY = """
name: mac
dataset: {name: digits, image_size: 32, train_images: 64, validation_images: 50}
architectures: [squeezenet1_1]
environments: auto
protocol: {epochs: 1, batch_size: 32, learning_rate: 0.002, repetitions: 1, idle_s: 0.5,
           quiet_wait_s: 0, again_if_disturbed: 0}
carbon: {country: ESP}
"""
SYSCTL = """#!/bin/sh
echo "Apple M2 Pro"
"""
POWERS_W = {
    "cpu_total_mj": 12.0, "dram_mj": 1.5, "gpu_mj": 20.0, "gpu_sram_mj": 0.5, "ane_mj": 0.25,
}  # fmt: skip


@pytest.fixture(scope="module")
def mac(tmp_path_factory):
    """Put the pretended Mac into the environment that all commands of this module inherit."""
    folder = tmp_path_factory.mktemp("mac")
    sysctl = folder / "bin" / "sysctl"
    sysctl.parent.mkdir()
    sysctl.write_text(SYSCTL)
    sysctl.chmod(0o755)
    paths = (str(ROOT / "tests" / "support" / "pretended_mac"), os.environ.get("PYTHONPATH"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PATH": os.pathsep.join([str(sysctl.parent), os.environ["PATH"]]),
            "PRETENDED_CHIP": json.dumps({"POWERS_W": POWERS_W}),
            "PRETENDED_CUDA": str(folder / "log"),
            "PRETENDED_KIND": "mps",
            "XDG_CACHE_HOME": str(folder / "cache"),
        }.items():
            patch.setenv(name, value)
        yield folder


@pytest.fixture(scope="module")
def study(mac):
    path = mac / "mac.yaml"
    path.write_text(STUDY)
    return path


@pytest.fixture(scope="module")
def records(mac, study):
    store = mac / "runs"
    done = greencv("run", study, "--store", store)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return {r.environment["name"]: r for r in Store(store).records()}


def test_doctor_names_the_gpu_and_measures_all(mac):
    told = json.loads(greencv("doctor", "--json").stdout)
    assert told["problems"] == []
    assert told["absent"] == {}
    assert told["machine"]["cpu_model"] == "Apple M2 Pro"
    (gpu,) = told["machine"]["accelerators"]
    assert (gpu["device"], gpu["name"], gpu["uuid"]) == ("mps", "Apple M2 Pro GPU", "APPLE-GPU")
    assert gpu["unmetered"] == ""
    assert [(m["component"], m["provenance"]) for m in told["meters"]] == [
        ("gpu", "measured"), ("cpu", "measured"), ("ram", "measured"), ("gpu", "measured"),
    ]  # fmt: skip


def test_a_plan_offers_mps_with_measured_energy(study, mac):
    told = greencv("plan", study, "--store", mac / "none", "--json")
    assert told.returncode == 0, told.stderr
    plan = json.loads(told.stdout)
    environments = {run["environment"] for run in plan["runs"]}
    assert {"mps-fp32", "mps-fp16"} <= environments
    assert plan["expected_energy_provenance"] == "measured"


def test_runs_on_mps_are_metered_in_both_precisions(records):
    assert set(records) >= {"cpu-1-thread", "mps-fp32", "mps-fp16"}
    for name, record in records.items():
        assert record.status == "finished", (name, record.problems)
        assert record.complete, (name, record.problems)
        parts = record.total.components
        assert all(part.provenance == "measured" for part in parts.values())
        power_w = {
            component: part.energy_j / record.duration_s for component, part in parts.items()
        }
        expected_w = {"cpu": 12.0, "ram": 1.5}
        if name.startswith("mps"):
            expected_w["gpu"] = 20.75
            assert "GPU SRAM and neural engine" in parts["gpu"].source
            assert record.device_name == "Apple M2 Pro GPU"
            assert record.environment["memory_format"] == "contiguous"
        assert power_w == pytest.approx(expected_w, rel=0.05)


def test_every_edge_waits_for_the_gpu(records, mac):
    lines = [
        json.loads(line)
        for path in (mac / "log" / "waits").glob("*")
        for line in path.read_text().splitlines()
    ]
    assert {line["half"] for line in lines} >= {None, "torch.float16"}
