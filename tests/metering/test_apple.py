"""Energy of Apple chips, against a stand-in of zeus-apple-silicon with a known truth."""

import importlib
import platform
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from greencv_core.metering import EnergyMeter, MeterError, open_gpu, provenance_by_component
from greencv_core.metering.discovery import discover
from greencv_core.metering.sources import apple
from tests.conftest import ROOT

pytestmark = pytest.mark.realtime

CPU, DRAM, GPU, SRAM, ANE = "cpu_total_mj", "dram_mj", "gpu_mj", "gpu_sram_mj", "ane_mj"
CHANNELS = {"cpu": [CPU], "ram": [DRAM], "gpu": [GPU, SRAM, ANE]}


@pytest.fixture
def chip(monkeypatch):
    """Make this computer a Mac, and return the stand-in; change its settings before metering."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "support" / "pretended_mac"))
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(apple, "is_mac", lambda: True)
    monkeypatch.setattr(apple, "chip_name", lambda: "Apple M2 Pro")
    sys.modules.pop("zeus_apple_silicon", None)
    stand_in = importlib.import_module("zeus_apple_silicon")
    apple._monitor.cache_clear()
    yield stand_in
    apple._monitor.cache_clear()
    sys.modules.pop("zeus_apple_silicon")


def meter_s(duration_s, **options):
    """Meter some seconds; return the window with its start and end."""
    with EnergyMeter(**options) as window:
        start_s = time.monotonic()
        time.sleep(duration_s)
        end_s = time.monotonic()
    return window, start_s, end_s


def truth_j(chip, component, start_s, end_s):
    return sum(chip.true_energy_j(channel, start_s, end_s) for channel in CHANNELS[component])


@pytest.mark.parametrize("power", [{}, {GPU: 0.0, CPU: 5.0}, {ANE: 3.0}])
def test_a_second_is_measured_to_one_percent(chip, power):
    chip.set_power_w(**power)
    window, start_s, end_s = meter_s(1.0)
    reading = window.reading
    assert reading.problems == ()
    for component, part in reading.components.items():
        assert part.provenance == "measured"
        expected_j = truth_j(chip, component, start_s, end_s)
        assert part.energy_j == pytest.approx(expected_j, rel=0.01), component
    assert list(reading.components) == ["gpu", "cpu", "ram"]


def test_what_an_mps_run_counts_is_named(chip):
    window, *_ = meter_s(0.2, gpu="APPLE-GPU")
    assert window.reading.gpu.source == (
        "Apple counter of the GPU (Apple M2 Pro GPU) + "
        "Apple counter of the GPU SRAM and neural engine (ANE)"
    )
    assert "codecarbon" not in window.reading.total.source.lower()


def test_a_load_within_the_window_is_measured(chip):
    chip.set_power_w(**{GPU: 0.0, SRAM: 0.0, CPU: 1.0})
    with EnergyMeter() as window:
        start_s = time.monotonic()
        time.sleep(0.3)
        chip.set_power_w(**{GPU: 30.0, SRAM: 2.0, CPU: 15.0})
        time.sleep(0.5)
        end_s = time.monotonic()
        chip.set_power_w(**{GPU: 0.0, SRAM: 0.0, CPU: 1.0})
    for component in ("cpu", "gpu"):
        energy_j = getattr(window.reading, component).energy_j
        assert energy_j == pytest.approx(truth_j(chip, component, start_s, end_s), rel=0.02)


@pytest.mark.parametrize("batch_s", [0.7, 2.1])
def test_counters_that_are_published_in_batches_keep_their_interval(chip, batch_s):
    chip.BATCH_S = batch_s
    chip.set_power_w(**{CPU: 2.0, DRAM: 0.5})
    with EnergyMeter() as window:
        chip.set_power_w(**{CPU: 20.0, DRAM: 2.0})
        start_s = time.monotonic()
        time.sleep(3.0)
        end_s = time.monotonic()
    chip.set_power_w(**{CPU: 2.0, DRAM: 0.5})
    reading = window.reading
    assert reading.problems == ()
    for component, part in reading.components.items():
        error_j = part.energy_j - truth_j(chip, component, start_s, end_s)
        assert abs(error_j) <= 1.96 * part.uncertainty_j + 0.01, component
    if batch_s < 1:  # of longer ones the window may hold no whole batch
        assert reading.cpu.uncertainty_j < 0.2 * reading.cpu.energy_j
    assert reading.cpu.resolution_s == pytest.approx(batch_s, abs=0.15)


def test_channels_that_a_chip_does_not_have_are_left_out_by_name(chip):
    chip.set_power_w(**{SRAM: None, ANE: None})
    found = discover()
    assert [source.component for source in found.sources] == ["gpu", "cpu", "ram"]
    assert found.unavailable["apple GPU SRAM"] == "this chip has no counter of the GPU SRAM"
    assert "apple neural engine (ANE)" in found.unavailable
    assert not any("rapl" in name for name in found.unavailable)


def test_without_a_cpu_channel_the_estimate_takes_over(chip, monkeypatch):
    chip.set_power_w(**{CPU: None})
    asked = []
    monkeypatch.setattr(
        "greencv_core.metering.sources.codecarbon.find_models", lambda c: asked.append(c) or []
    )
    found = discover()
    assert asked == [["cpu"]]
    assert "CPU" in found.unavailable["apple CPU"]
    provenance = provenance_by_component()
    assert provenance == {"cpu": "estimated", "ram": "measured", "gpu": "measured"}


def test_without_a_gpu_channel_the_gpu_is_not_metered(chip):
    chip.set_power_w(**{GPU: None})
    found = discover()
    assert [source.component for source in found.sources] == ["cpu", "ram"]
    assert "no counter of its GPU" in found.unavailable["apple gpu"]
    with pytest.raises(MeterError, match="no counter of its GPU"):
        open_gpu("APPLE-GPU")


def test_of_an_ultra_only_one_die_of_the_cpu_could_be_read(chip, monkeypatch):
    monkeypatch.setattr(apple, "chip_name", lambda: "Apple M1 Ultra")
    sources, absent = apple.find_apple(with_gpu=True)
    assert [source.component for source in sources] == ["ram", "gpu"]
    assert "only one can be read" in absent["apple CPU"]


def test_a_library_that_fails_is_a_reason_in_words(chip, monkeypatch):
    chip.FAULT = "construction"
    monkeypatch.setattr("greencv_core.metering.sources.codecarbon.find_models", lambda c: [])
    found = discover()
    assert found.sources == ()
    assert "macOS does not let" in found.unavailable["apple"]
    with pytest.raises(MeterError, match="Failed to create IOReport subscription"):
        open_gpu("APPLE-GPU")


def test_a_library_that_is_missing_names_the_command(chip, monkeypatch):
    monkeypatch.setitem(sys.modules, "zeus_apple_silicon", None)
    _, absent = apple.find_apple(with_gpu=False)
    assert "pip install zeus-apple-silicon" in absent["apple"]


def test_a_python_for_intel_names_what_to_use(chip, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    _, absent = apple.find_apple(with_gpu=False)
    assert "use a Python for arm64" in absent["apple"]


@pytest.mark.parametrize("channel", [CPU, GPU])
def test_a_counter_that_restarts_loses_its_energy(chip, channel):
    with EnergyMeter() as window:
        time.sleep(0.3)
        chip.FAULT, chip.FAULT_CHANNEL, chip.fault_s = "restart", channel, time.monotonic()
        time.sleep(0.7)
    reading = window.reading
    assert any("was reset" in problem for problem in reading.problems)
    assert reading.total is None
    assert (reading.cpu if channel == CPU else reading.gpu) is None


def test_a_counter_that_stops_loses_its_energy(chip, monkeypatch):
    monkeypatch.setattr(apple, "STUCK_AFTER_S", 1.0)
    with EnergyMeter(()) as window:
        time.sleep(0.2)
        chip.FAULT, chip.FAULT_CHANNEL, chip.fault_s = "still", DRAM, time.monotonic()
        time.sleep(1.5)
    assert window.reading.problems == ("Apple counter of the DRAM does not change",)
    assert window.reading.ram is None
    assert window.reading.cpu is not None


def test_a_counter_that_stands_still_from_the_start_is_not_used(chip, monkeypatch):
    monkeypatch.setattr(apple, "SLOWEST_BATCH_S", 0.3)
    chip.FAULT, chip.FAULT_CHANNEL, chip.fault_s = "still", CPU, time.monotonic()
    sources, absent = apple.find_apple(with_gpu=False)
    assert [source.component for source in sources] == ["ram"]
    assert "does not move" in absent["apple CPU"]


def test_samples_that_fail_are_a_problem_and_never_zero(chip):
    with EnergyMeter(()) as window:
        time.sleep(0.3)
        chip.FAULT, chip.fault_s = "sample", time.monotonic()
    assert not window.reading.complete
    assert "cannot be read: Unsupported or invalid energy unit" in window.reading.problems[0]
    assert window.reading.total is None


def test_an_unknown_gpu_is_refused_elsewhere():
    with pytest.raises(MeterError, match="no Mac"):
        open_gpu("APPLE-GPU")


def test_the_name_of_the_chip_is_empty_without_sysctl(monkeypatch):
    def missing(*arguments, **options):
        raise FileNotFoundError("sysctl")

    monkeypatch.setattr(subprocess, "run", missing)
    apple.chip_name.cache_clear()
    assert apple.chip_name() == ""
    apple.chip_name.cache_clear()


@pytest.mark.parametrize(("memory_bytes", "waits"), [(0, 0), (4096, 2)])
def test_a_meter_waits_for_an_apple_gpu_that_is_used(chip, monkeypatch, memory_bytes, waits):
    waited = []
    mps = SimpleNamespace(
        current_allocated_memory=lambda: memory_bytes, synchronize=lambda: waited.append(1)
    )
    backends = SimpleNamespace(mps=SimpleNamespace(is_available=lambda: True))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(mps=mps, backends=backends))
    with EnergyMeter():
        pass
    assert len(waited) == waits
