"""Benchmarks for a GPU, run on the CPU and on a simulated card."""

import json
import subprocess
import sys

import pytest
import torch

from tests.conftest import ROOT, python
from tests.support import simulated_gpu
from tests.support.refusals import one_line
from tests.support.simulated_gpu import UUID, constant

POWER_W = 250.0
TRAINING = (
    ROOT / "benchmarks" / "training.py", "--quick", "--devices", "cpu", "--rounds", "1",
    "--contenders",
)  # fmt: skip
ON_STAND_IN = """
import runpy, sys
from greencv_core.machine import environment
_, uuid, *sys.argv = sys.argv
environment.gpu_uuids = lambda spec, machine: (uuid,)
sys.path[0] = sys.argv[0].rpartition("/")[0]  # as Python does for a script
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script with the simulated card as the meter of the CPU."""


def last_line(*arguments, **environment):
    """Run a benchmark, and return what its last line tells."""
    printed = python(*arguments, **environment | {"OMP_WAIT_POLICY": "PASSIVE"})
    return json.loads(printed.splitlines()[-1])


@pytest.mark.realtime
def test_meters_are_compared_with_the_counter_and_the_simulated_truth(library, tmp_path):
    output = tmp_path / "windows.json"
    script = ROOT / "benchmarks" / "metering_hardware.py"
    result = last_line(script, "--simulated", "--quick", "--output", output)
    saved = json.loads(output.read_text())
    assert result["card"]["name"] == "Stand-in"
    assert result["simulated"]
    for name in ("counter", "instant"):
        assert result["refresh_s"][name]["median"] == pytest.approx(0.1, abs=0.01)
    assert result["rest_w"]["before"] == pytest.approx(60.0, rel=0.02)
    agreed = result["integrated_over_counter"]
    assert agreed["windows"] == 2
    assert agreed["ratio"] == pytest.approx(1.0, abs=0.02)
    to_truth = result["to_truth"]
    assert to_truth["greencv"]["10"]["median"] < 0.005
    # One sample in half a second: no time lies between two.
    assert to_truth["nvidia-smi at 1 Hz"]["0.5"]["median"] == 1
    assert all(cost_ms > 0 for cost_ms in result["cpu_ms_per_s"].values())
    assert "CodeCarbon (1 s)" in result["cpu_ms_per_s"]
    assert "greencv" not in result["to_counter"]
    planned = [[w["planned_s"] for w in by] for by in saved["windows"]["bursts"].values()]
    assert len(planned) == len(result["cpu_ms_per_s"])
    assert all(p == planned[0] for p in planned)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to meter on")
def test_without_a_gpu_one_line_says_why_meters_are_not_compared():
    script = ROOT / "benchmarks" / "metering_hardware.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=ROOT)
    assert not done.stdout
    assert one_line(done, 1).startswith("no GPU to meter on: ")


@pytest.mark.realtime
def test_metered_training_reports_its_cost_and_images_per_joule(library):
    environment = simulated_gpu.environment(library, constant(POWER_W), refresh_s=0.1)
    told = last_line("-c", ON_STAND_IN, UUID, *TRAINING, "metered", "plain", **environment)
    result = {name: by["cpu"] for name, by in told.items() if isinstance(by, dict)}
    per_j, per_s = result["images_per_j"]["resnet18"], result["images_per_s"]["resnet18"]
    assert set(per_j) == set(per_s) == {"ours", "metered", "plain"}
    assert POWER_W * per_j["metered"] == pytest.approx(per_s["metered"], rel=0.05)
    ratio = result["metered_vs_ours"]["resnet18"]
    assert ratio == pytest.approx(per_s["metered"] / per_s["ours"], rel=0.001)
    assert result["metered_vs_ours_interval"]["resnet18"] is None
    assert result["vs_limit"]["resnet18"] is None
    assert result["vs_plain"]["resnet18"] > 0


@pytest.mark.slow
def test_training_on_a_cpu_shows_no_images_per_joule():
    others = ("metered", "plain", "recipe", "timm", "streamed", "limit")
    result = last_line(*TRAINING, *others)
    assert result["images_per_j"]["cpu"]["resnet18"] == {}
    assert set(result["images_per_s"]["cpu"]["resnet18"]) == {"ours", *others}
