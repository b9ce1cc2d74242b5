"""GPU meters against a known truth: a C library that speaks NVML, loaded by the real pynvml."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from greencv_core.metering.energy_curves import AveragedPowerCurve, CounterCurve, PowerCurve
from greencv_core.metering.refresh_cycle import RefreshCycle
from greencv_core.metering.refresh_tracker import RefreshTracker
from tests.conftest import ROOT
from tests.support import simulated_gpu
from tests.support.simulated_gpu import UUID, Waveform, constant, epochs, ramp, square

pytestmark = pytest.mark.realtime

COUNTER = {"refresh_s": 0.1}
POWER = {"refresh_s": 0.1, "no_counter": 1, "noise_w": 0.5}
STEADY_POWER = {"refresh_s": 0.1, "no_counter": 1}
AVERAGED = {"refresh_s": 0.1, "no_counter": 1, "no_instant": 1, "averaged": 1}

METER = """
import json, os, sys, threading, time
from greencv_core.metering import EnergyMeter
asked = json.loads(sys.argv[1])
options = {"synchronize": lambda: None} if asked["works_on_gpu"] else {}
told = []
meter = EnergyMeter(compare=asked["compare"], **options)
for waveform in asked["waveforms"]:
  os.environ.update(waveform)
  for length_s in asked["lengths_s"]:
    with meter as window:
        if asked["lose_after_s"] is not None:
            lose = {"STAND_IN_LOST_S": "0"}
            threading.Timer(asked["lose_after_s"], os.environ.update, [lose]).start()
        start_s = time.monotonic()
        time.sleep(length_s)
        end_s = time.monotonic()
    reading = window.reading
    told.append({
        "start_s": start_s, "end_s": end_s, "duration_s": reading.duration_s,
        "gpu": reading.gpu and vars(reading.gpu), "problems": reading.problems,
        "by_source": [part and vars(part) for part in window.by_source],
        "state": window.gpu and vars(window.gpu), "disturbances": window.disturbances,
        "absent": dict(meter.discovery.unavailable), "trace": [vars(p) for p in window.trace],
        "comparisons": [[vars(a), vars(b)] for name, a, b in window.comparisons if name == "gpu"],
    })
print(json.dumps(told))
"""


def begin(
    library,
    waveforms,
    lengths_s,
    works_on_gpu=False,
    compare=False,
    lose_after_s=None,
    extra=None,
    **settings,
):
    """Meter windows on the simulated GPU, in a process of its own."""
    asked = {
        "waveforms": [waveform.settings() for waveform in waveforms],
        "lengths_s": lengths_s,
        "works_on_gpu": works_on_gpu,
        "compare": compare,
        "lose_after_s": lose_after_s,
    }
    environment = simulated_gpu.environment(library, waveforms[0], **settings)
    return subprocess.Popen(
        [sys.executable, "-c", METER, json.dumps(asked)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**environment, **(extra or {})},
    )


def end(process):
    told, complaint = process.communicate(timeout=300)
    assert process.returncode == 0, complaint
    return json.loads(told)


@pytest.fixture
def nvml(library):
    """Return a function that meters windows on the simulated GPU and returns what they told."""

    def meter(waveform=None, lengths_s=(1.0,), **settings):
        return end(begin(library, [waveform or constant()], lengths_s, **settings))

    return meter


def errors(waveform, windows):
    """Return relative errors and standard uncertainties."""
    truth = [waveform.energy_j(w["start_s"], w["end_s"]) for w in windows]
    told = [(w["gpu"]["energy_j"], w["gpu"]["uncertainty_j"]) for w in windows]
    return np.array([(e / t - 1, u / t) for (e, u), t in zip(told, truth, strict=True)]).T


SENSORS = {
    "exact counter": ({}, "measured", 0.003),
    "counter": (COUNTER, "measured", 0.015),
    "fast, unsteady counter": ({"refresh_s": 0.02, "jitter_s": 0.001}, "measured", 0.015),
    "averaged power": (AVERAGED, "sampled", 0.03),
    "power": (POWER, "sampled", 0.03),
    "power without noise": (STEADY_POWER, "sampled", 0.03),
}
SHAPES = (constant, epochs, ramp, square)


@pytest.fixture(scope="module")
def metered(library):
    """Return two windows of each waveform by each kind of sensor, metered side by side.

    Metered once more if a window is off: a machine that stood still for a tenth of a second does
    not do so at the same place twice, and a reader that is wrong is wrong again.
    """
    found = meter_all(library)
    off = any(
        np.any(np.abs(errors(*one)[0]) > limit_of(sensor, shape))
        for (sensor, shape), one in found.items()
    )
    return meter_all(library) if off else found


def limit_of(sensor, shape):
    # Samples every 100 ms of a load that turns over every 350 ms keep step with it, and in a short
    # window little of it is left in a second's mean: no reader can do better, but the uncertainty
    # must say so.
    return 0.2 if "power" in sensor and shape is square else SENSORS[sensor][2]


def meter_all(library):
    waveforms = [Waveform(shape().points, time.monotonic()) for shape in SHAPES]
    running = {
        sensor: begin(library, waveforms, (2.0, 1.3), **settings)
        for sensor, (settings, _, _) in SENSORS.items()
    }
    told = {sensor: end(process) for sensor, process in running.items()}
    return {
        (sensor, shape): (waveform, windows[2 * i : 2 * i + 2])
        for sensor, windows in told.items()
        for i, (shape, waveform) in enumerate(zip(SHAPES, waveforms, strict=True))
    }


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sensor", SENSORS)
def test_gpu_energy_is_the_true_energy(metered, sensor, shape):
    waveform, windows = metered[sensor, shape]
    _, provenance, _ = SENSORS[sensor]
    error, uncertainty = errors(waveform, windows)
    assert np.all(np.abs(error) < limit_of(sensor, shape))
    # An exact counter tells this test by how long it was held up between two of its lines.
    assert np.all(np.abs(error) < np.fmax(4 * uncertainty, 0.002))
    assert {w["gpu"]["provenance"] for w in windows} == {provenance}
    assert all(w["problems"] == [] for w in windows)


@pytest.mark.parametrize("settings", [COUNTER, POWER, AVERAGED], ids=["counter", "power", "mean"])
def test_a_job_that_begins_and_ends_with_its_window(nvml, settings):
    # Idle before and after: what a reader loses at the edges it loses at both.
    start_s = time.monotonic() + 4.0
    points = ((0.0, 40.0), (0.0, 290.0), (2.0, 290.0), (2.0, 40.0), (60.0, 40.0))
    waveform = Waveform(points, start_s)
    wait_s = start_s - time.monotonic()
    assert wait_s > 3
    windows = nvml(waveform, (3.0, 3.5), **settings)
    error, uncertainty = errors(waveform, windows)
    # A refresh of the two seconds at the most, and what a busy machine holds the reader up by.
    assert np.all(np.abs(error) < 0.1 / 2.0 + 0.01)
    assert np.all(np.abs(error) < 4 * uncertainty)


def test_short_windows_are_told_their_resolution(nvml):
    window = nvml(epochs(), (0.05,), **COUNTER)[0]
    assert window["gpu"]["energy_j"] > 0
    assert window["gpu"]["resolution_s"] == pytest.approx(0.1, abs=0.01)
    assert window["gpu"]["uncertainty_j"] / window["gpu"]["energy_j"] > 0.005


def test_the_counter_is_compared_with_the_integrated_power(nvml):
    first, second = nvml(constant(), (1.0,), compare=True, **COUNTER)[0]["comparisons"][0]
    assert (first["provenance"], second["provenance"]) == ("measured", "sampled")
    assert first["energy_j"] == pytest.approx(second["energy_j"], rel=0.01)


def test_the_trace_adds_up_to_the_energy(nvml):
    waveform = Waveform(ramp().points, time.monotonic())
    window = nvml(waveform, (2.0,), **COUNTER)[0]
    powers = [p["power_w"] for p in window["trace"] if p["component"] == "gpu"]
    assert len(powers) == 4
    joules = sum(powers) * window["duration_s"] / 4
    assert joules == pytest.approx(window["gpu"]["energy_j"], rel=0.001)


def test_a_trace_beside_a_second_meter_has_a_point_every_refresh(nvml):
    waveform = Waveform(square(60.0, 300.0, 1.0).points, time.monotonic())
    window = nvml(waveform, (4.0,), compare=True, **COUNTER)[0]
    trace = [p for p in window["trace"] if p["component"] == "gpu"]
    assert len(trace) == pytest.approx(40, abs=1)
    powers = np.array([p["power_w"] for p in trace])
    # Half of the time high, half low, and a refresh in between at each of eight steps.
    assert np.sum(powers > 280) == pytest.approx(17, abs=4)
    assert np.sum(powers < 80) == pytest.approx(17, abs=4)
    assert powers.mean() * window["duration_s"] == pytest.approx(
        window["gpu"]["energy_j"], rel=0.01
    )
    others = {p["component"] for p in window["trace"]} - {"gpu"}
    for name in others:
        assert len([p for p in window["trace"] if p["component"] == name]) == 8


@pytest.mark.parametrize("settings", [{}, COUNTER, POWER], ids=["exact", "counter", "power"])
def test_a_gpu_lost_in_a_window_is_incomplete_and_never_zero(nvml, settings):
    window = nvml(lose_after_s=0.5, **settings)[0]
    assert window["gpu"] is None
    assert "lost" in window["problems"][0]
    powers = [p["power_w"] for p in window["trace"] if p["component"] == "gpu"]
    assert powers == pytest.approx([250.0] * len(powers), rel=0.05)


def test_a_gpu_that_is_lost_before_is_told(nvml):
    window = nvml(lost_s=0)[0]
    assert window["gpu"] is None
    assert "lost" in window["absent"]["nvml"]


def test_a_counter_that_stands_still_is_no_zero(nvml):
    window = nvml(stuck=5)[0]
    assert window["gpu"] is None
    assert "stands still" in window["problems"][0]
    # A virtual GPU's that was never counted at all: the power is left.
    assert nvml(stuck=0)[0]["gpu"]["provenance"] == "sampled"


def test_several_gpus_add_up(nvml):
    both = nvml(constant(), gpus=2, **COUNTER)[0]
    assert both["gpu"]["energy_j"] == pytest.approx((250 + 500) * both["duration_s"], rel=0.02)
    one, other = (part["energy_j"] / both["duration_s"] for part in both["by_source"][:2])
    assert (one, other) == pytest.approx((250, 500), rel=0.02)


def test_what_a_gpu_tells_besides_energy(nvml):
    window = nvml(slowed=4)[0]
    assert window["state"] == {
        "utilization_pct": 80,
        "memory_used_bytes": 4 << 30,
        "temperature_c": 55,
        "sm_clock_mhz": 1500,
        "memory_clock_mhz": 5000,
        "power_limit_w": 350,
        "slowed_share": {"power limit": 1},
    }
    assert window["disturbances"] == []
    assert nvml(slowed=0x40)[0]["disturbances"] == ["GPU clocks held back by temperature"]


def test_visible_devices_are_respected(nvml):
    def visible(text, **settings):
        return nvml(extra={"CUDA_VISIBLE_DEVICES": text}, **settings)[0]

    assert visible("")["gpu"] is None
    assert visible(UUID[:12])["gpu"] is not None
    second = visible("1", gpus=2)
    assert second["gpu"]["energy_j"] == pytest.approx(500 * second["duration_s"], rel=0.02)
    twice = visible("0,0", gpus=2)
    assert twice["gpu"]["energy_j"] == pytest.approx(250 * twice["duration_s"], rel=0.02)


def test_an_index_that_may_mean_another_card_is_not_guessed(nvml):
    settings = {"gpus": "2 mixed", "extra": {"CUDA_VISIBLE_DEVICES": "1"}}
    window = nvml(**settings)[0]
    assert window["gpu"] is None
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in window["absent"]["nvml"]
    settings["extra"]["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    assert nvml(**settings)[0]["gpu"] is not None


def test_mig_says_what_cannot_be_metered(nvml):
    window = nvml(mig=1)[0]
    assert window["gpu"] is None
    assert "split by MIG" in window["absent"]["nvml"]
    window = nvml(extra={"CUDA_VISIBLE_DEVICES": "MIG-1234"})[0]
    assert "MIG slice" in window["absent"]["nvml"]


@pytest.mark.parametrize(
    ("pids", "works_on_gpu", "disturbed"),
    [
        ("", True, False),
        ("0", True, False),
        ("0 4711", True, True),
        ("4711", False, True),
        # In a container the work's own process is listed under an id from outside.
        ("4711", True, False),
        ("4711 4712", True, True),
    ],
)
def test_other_processes_on_the_gpu_disturb(nvml, pids, works_on_gpu, disturbed):
    told = nvml(lengths_s=(0.1,), works_on_gpu=works_on_gpu, pids=pids)[0]["disturbances"]
    assert told == (["other processes on the GPU"] if disturbed else [])


LOST_IN_TRAINING = """
import os, sys
from dataclasses import replace
from greencv_core.analysis import usable
from greencv_core.machine.hardware import Accelerator, describe_machine
from greencv_core.run.collect import plan_here
from greencv_core.run.experiment import execute
from greencv_core.records.record import Store, runs_table
from greencv_core.study.schema import load_study
# The library is all there is of this GPU: the training runs on the CPU under its name.
uuid, folder, lose = sys.argv[1:]
gpu = Accelerator(device="cpu", name="Stand-in", uuid=uuid, memory_bytes=None, bf16=False)
machine = replace(describe_machine(), accelerators=(gpu,))
runs = plan_here(load_study("smoke"))[0]
after = {"STAND_IN_LOST_S": "0"} if lose else {}
record = execute(runs[0], machine, on_epoch=lambda epoch: os.environ.update(after))
Store(folder).write(record)
again = next(Store(folder).records())
selection = usable(runs_table([again]))
print(again.status, again.complete, len(again.epochs), again.problems, len(selection.runs))
print(selection.sentence())
"""


def test_a_gpu_lost_in_training_loses_the_energy_and_not_the_training(library, tmp_path):
    def train(lose):
        done = subprocess.run(
            [sys.executable, "-c", LOST_IN_TRAINING, UUID, tmp_path, lose],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=simulated_gpu.environment(library, constant(), **COUNTER),
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    record, said = train("after the first epoch")
    assert record.startswith("finished False 2 [")
    assert "energy counter lost: GPU is lost" in record
    assert record.endswith(" 0")
    assert said == "0 runs are analysed. Left out: 1 with an incomplete energy reading."
    # What else ran on this machine meanwhile may be told, but loses nothing.
    assert train("")[0].startswith("finished True 2 [")


def times(*values):
    return np.array(values, dtype=float)


def test_a_counters_curve_finds_a_step_from_the_sum():
    # 100 W, then 300 W from 0.23 s on; refreshed every 100 ms.
    t = np.arange(0.0, 3.0, 0.1)
    true_j = np.where(t < 0.23, 100 * t, 23 + 300 * (t - 0.23))
    curve = CounterCurve(t, true_j, np.zeros(30))
    assert curve.energy_at_j(times(0.22, 0.23, 0.28)) == pytest.approx([22, 23, 38])
    assert curve.between(0.05, 0.23)[0] == pytest.approx(18)
    inside, aside = curve.between(0.23, 1.45)[1], curve.between(1.35, 2.45)[1]
    assert inside > 10 * aside


def test_a_counters_curve_is_never_below_nor_above_its_refreshes():
    rng = np.random.default_rng(3)
    t = np.cumsum(rng.uniform(0.02, 0.12, 200))
    e = np.cumsum(rng.uniform(0, 30, 200))
    curve = CounterCurve(t, e, np.zeros(200))
    at = rng.uniform(t[0], t[-1], 5000)
    told = curve.energy_at_j(at)
    i = np.searchsorted(t, at, side="right") - 1
    assert np.all(told >= e[i] - 1e-9)
    assert np.all(told <= e[i + 1] + 1e-9)


def test_a_power_curve_is_the_trapezoid_with_its_ends_interpolated():
    t = np.arange(0.0, 2.0, 0.1)
    curve = PowerCurve(t, 100 + 50 * t, np.zeros(20), 0.1)
    energy_j, uncertainty_j = curve.between(0.33, 1.47)
    assert energy_j == pytest.approx(100 * 1.14 + 25 * (1.47**2 - 0.33**2))
    assert uncertainty_j < 0.01


def test_power_that_keeps_step_with_the_sensor_is_uncertain_in_sum():
    # 0.35 s on, 0.35 s off, sampled every 0.1 s: seven samples a period, three or four of them on.
    t = np.arange(0.0, 14.0, 0.1)
    power = np.where((t + 0.02) % 0.7 < 0.35, 300.0, 60.0)
    energy_j, uncertainty_j = PowerCurve(t, power, np.zeros(140), 0.1).between(0.0, 13.9)
    true_j = 180 * 13.9
    assert abs(energy_j - true_j) > 0.05 * true_j
    assert abs(energy_j - true_j) < 1.96 * uncertainty_j
    assert uncertainty_j < 0.15 * true_j


def test_power_averaged_over_a_second_is_unfolded():
    waveform = Waveform(
        ((0.0, 50.0), (1.4, 50.0), (1.4, 290.0), (4.1, 290.0), (4.1, 50.0), (9, 50))
    )
    t = np.arange(0.0, 7.0, 0.1)
    mean = np.array([waveform.energy_j(x - 1, x) for x in t])
    curve = AveragedPowerCurve(t, mean, np.zeros(70), 0.1)
    energy_j, uncertainty_j = curve.between(1.4, 4.1)
    assert energy_j == pytest.approx(290 * 2.7, rel=0.005)
    assert uncertainty_j < 0.02 * energy_j


def test_a_watch_finds_the_rhythm_and_the_refreshes():
    period_s = 0.05

    def counter():
        return float(time.monotonic() // period_s)

    tracker = RefreshTracker(counter)
    polls = 0
    until_s = time.monotonic() + 2
    while time.monotonic() < until_s:
        tracker.poll()
        polls += 1
        time.sleep(max(0.0, tracker.next_poll_s - time.monotonic()))
    assert tracker.cycle is not None
    assert tracker.cycle.period_s == pytest.approx(period_s, rel=0.01)
    off_s = [abs(r.time_s - r.value * period_s) for r in tracker.timeline()]
    assert np.median(off_s) < 0.004
    assert polls < 200


@pytest.mark.parametrize("late_s", [-0.003, 0.003])
@pytest.mark.parametrize("begun_s", [-0.001, -0.0003, 0.001])
def test_a_watch_that_begins_at_a_beat_counts_none_twice(late_s, begun_s):
    period_s = 0.1

    def counter():
        return float(time.monotonic() // period_s)

    due_s = (time.monotonic() // period_s + 2) * period_s
    tracker = RefreshTracker(counter, RefreshCycle(due_s + late_s - 10 * period_s, period_s, 1e-4))
    time.sleep(due_s + begun_s - time.monotonic() - 0.003)
    while time.monotonic() < due_s + begun_s:  # sleep would end too late for it
        pass
    polls_s = []
    while time.monotonic() < due_s + 1.5:
        tracker.poll()
        polls_s.append(time.monotonic())
        time.sleep(max(0.0, tracker.next_poll_s - time.monotonic()))
    off_s = [abs(r.time_s - r.value * period_s) for r in tracker.timeline()]
    assert np.max(off_s) < period_s / 3
    assert np.median(off_s) < 0.004
    # Once the beat is known it costs hardly more than a look each.
    assert sum(at_s > due_s + 0.5 for at_s in polls_s) < 25


def test_a_value_that_moves_all_the_time_is_taken_as_it_is():
    tracker = RefreshTracker(time.monotonic)
    for _ in range(30):
        tracker.poll()
        time.sleep(0.001)
    assert tracker.continuous
