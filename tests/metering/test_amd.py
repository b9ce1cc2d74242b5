"""AMD GPUs against a known truth: a stand-in for ``amdsmi`` with its names and its faults."""

import json
import sys
import threading
import time

import pytest

from greencv_core.metering import EnergyMeter, MeterError, discover, open_gpu
from greencv_core.metering.base import RefusedReadError
from greencv_core.metering.sources import amd, codecarbon, rocm
from tests.conftest import ROOT
from tests.support.simulated_gpu import Waveform, constant, square

pytestmark = pytest.mark.realtime

UUID = "AMD-0000:c1:00.0"
MI250 = {
    "device_id": "0x740c", "name": "AMD Instinct MI250", "gfx": "gfx90a",
    "power_key": "average_socket_power", "cap_uw": 560_000_000,
}  # fmt: skip
SECOND_DIE = {**MI250, "bdf": "0000:c6:00.0", "counter": "zero", "power_key": "", "cap_uw": 0}
BUSY, NO_PERMISSION, NOT_FOUND = 30, 10, 31


@pytest.fixture
def cards(monkeypatch, tmp_path):
    """Return a function that sets the machine's AMD cards, by the settings of each."""
    monkeypatch.syspath_prepend(ROOT / "tests" / "support" / "pretended_amd")
    monkeypatch.delitem(sys.modules, "amdsmi", raising=False)
    monkeypatch.setenv("GREENCV_POWERCAP", str(tmp_path))
    monkeypatch.setenv("GREENCV_HWMON", str(tmp_path))
    monkeypatch.setattr(codecarbon, "find_models", lambda components: [])
    monkeypatch.setattr(rocm, "PCI", tmp_path)
    for variable in ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(variable, raising=False)

    def set_cards(*settings):
        monkeypatch.setenv("PRETENDED_AMD", json.dumps(settings))

    yield set_cards
    sys.modules.pop("amdsmi", None)


def meter(lengths_s=(1.2,), during=None, gpu=None, **options):
    """Meter windows; return them, each with its edges."""
    meters = EnergyMeter(gpu, **options)
    windows = []
    for length_s in lengths_s:
        with meters as window:
            start_s = time.monotonic()
            if during is not None:
                threading.Timer(length_s / 2, during).start()
            time.sleep(length_s)
            end_s = time.monotonic()
        windows.append((window, start_s, end_s))
    return windows


@pytest.mark.parametrize("shape", [constant, square])
@pytest.mark.parametrize(
    ("settings", "provenance", "limit"),
    [
        ({}, "measured", 0.01),
        ({"refresh_s": 0.1, "old": True}, "measured", 0.04),
        ({"counter": 2, "refresh_s": 0.02}, "sampled", 0.04),
    ],
    ids=["MI300X", "slow counter", "power"],
)
def test_energy_is_the_true_energy(cards, shape, settings, provenance, limit):
    waveform = Waveform(shape().points, time.monotonic())
    cards({"power": waveform.points, "origin_s": waveform.origin_s, **settings})
    shares = []
    for window, start_s, end_s in meter((1.4, 0.7)):
        gpu = window.reading.gpu
        truth_j = waveform.energy_j(start_s, end_s)
        assert gpu.provenance == provenance
        # Late polls hide refreshes of a counter, and whole watts that stay the same those of a
        # power. Of a square wave, little is known between two refreshes; the interval says so.
        error_j = abs(gpu.energy_j - truth_j)
        assert error_j < limit * truth_j or (shape is square and error_j < 3 * gpu.uncertainty_j)
        assert error_j < max(4 * gpu.uncertainty_j, 0.01 * truth_j)
        shares.append(gpu.uncertainty_j / truth_j)
        assert not window.reading.problems
    assert min(shares) < 0.1  # it does not hold because it is wide


def test_cards_add_up_and_a_second_meter_agrees(cards):
    cards({}, {"bdf": "0000:c6:00.0", "power": [[0, 500]], "serial": "0x2", "node": 3})
    window, start_s, end_s = meter(compare=True)[0]
    assert window.reading.gpu.energy_j == pytest.approx(750 * (end_s - start_s), rel=0.03)
    for _, first, second in window.comparisons:
        assert (first.provenance, second.provenance) == ("measured", "sampled")
        assert first.energy_j == pytest.approx(second.energy_j, rel=0.02)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"counter": "dead"}, "its energy counter does not move"),  # MI100, virtual guests
        ({"counter": 2}, "its energy counter cannot be read: Error code: 2 | AMDSMI_STATUS_NOT_S"),
        ({"counter": NO_PERMISSION}, "its energy counter cannot be read: Error code: 10"),
        ({"unit": 1e6}, "its energy counter has a wrong unit: it rises by 2"),
        ({"unit": 1e-6}, "its energy counter has a wrong unit"),
        ({"unit": 15.3}, "its energy counter has a wrong unit"),
    ],
)
@pytest.mark.parametrize("key", ["average_socket_power", "socket_power"])
def test_a_counter_that_cannot_be_trusted_falls_to_the_power(cards, settings, reason, key):
    cards({"power_key": key, **settings})
    source = amd.AmdSource(UUID)
    assert source.provenance == "sampled"
    assert reason in source.description
    assert "\n" not in source.description
    assert source.read() == pytest.approx(250, abs=1)


def test_a_card_that_falls_to_the_power_tells_it_in_its_reading(cards):
    cards({"counter": "dead"})
    window, start_s, end_s = meter()[0]
    gpu = window.reading.gpu
    assert gpu.energy_j == pytest.approx(250 * (end_s - start_s), rel=0.03)
    assert (gpu.provenance, window.reading.complete) == ("sampled", True)
    assert "does not move" in gpu.source


def test_without_a_power_the_counter_has_to_be_plausible(cards):
    cards({"power_key": ""})
    assert amd.AmdSource(UUID).provenance == "measured"
    cards({"power_key": "", "unit": 1e6})
    with pytest.raises(MeterError, match=r"wrong unit.*its power is 0 or N/A"):
        amd.AmdSource(UUID)
    cards({"power_key": "", "counter": "dead"})
    with pytest.raises(MeterError, match="reports neither energy nor power"):
        amd.AmdSource(UUID)


def test_a_slow_counter_is_not_a_dead_one(cards):
    cards({"refresh_s": 0.8})
    assert amd.AmdSource(UUID).uses_counter


def test_a_counter_that_restarts_is_bridged_by_power(cards):
    cards({})
    window, start_s, end_s = meter(during=lambda: cards({"added_j": -200_000}))[0]
    gpu = window.reading.gpu
    assert gpu.energy_j == pytest.approx(250 * (end_s - start_s), rel=0.05)
    assert gpu.uncertainty_j > 10


def test_refused_reads_lose_no_energy_of_a_counter(cards):
    cards({})

    def refuse():
        cards({"counter": BUSY})
        time.sleep(0.2)
        cards({})

    window, start_s, end_s = meter(during=refuse)[0]
    assert window.reading.complete
    assert window.reading.gpu.energy_j == pytest.approx(250 * (end_s - start_s), rel=0.03)


@pytest.mark.parametrize(
    ("settings", "fault", "reason"),
    [
        ({}, {"lost_code": NOT_FOUND}, "energy counter lost"),
        ({"counter": 2}, {"lost_code": NOT_FOUND}, "power lost"),
        ({"power_key": ""}, {"counter": "dead", "power_key": ""}, "was reset"),
    ],
)
def test_a_card_lost_in_a_window_is_incomplete_and_never_zero(cards, settings, fault, reason):
    cards(settings)
    window, _, _ = meter(during=lambda: cards(fault))[0]
    assert window.reading.gpu is None
    assert window.reading.total is None
    assert reason in window.reading.problems[0]
    assert "\n" not in window.reading.problems[0]


def test_a_power_that_is_not_available_is_not_zero(cards):
    cards({"counter": 2})
    source = amd.AmdSource(UUID)
    for fault in ({"power_key": ""}, {"power_code": BUSY}):
        cards({"counter": 2, **fault})
        with pytest.raises(RefusedReadError, match="power cannot be read"):
            source.read()
        assert source.power_w() is None


def test_a_die_of_a_card_has_no_energy_of_its_own(cards):
    cards(MI250, SECOND_DIE)
    for uuid in (UUID, "AMD-0000:c6:00.0"):
        with pytest.raises(MeterError, match=r"one of two dies.*sum of both"):
            open_gpu(uuid)
    with pytest.raises(MeterError, match="reports neither energy nor power"):
        open_gpu("AMD-0000:c6:00.0/card")
    assert "both dies" in open_gpu(f"{UUID}/card").description


def test_both_dies_of_a_card_count_once(cards, tmp_path, monkeypatch):
    cards(MI250, SECOND_DIE)
    window, start_s, end_s = meter()[0]
    gpu = window.reading.gpu
    assert gpu.energy_j == pytest.approx(250 * (end_s - start_s), rel=0.03)
    assert (gpu.provenance, len(window.by_source)) == ("measured", 1)
    # With dies that belong to others, it is unknown whether these two share a card.
    for address in ("0000:c1:00.0", "0000:c6:00.0", "0000:c9:00.0", "0000:ce:00.0"):
        (tmp_path / address).mkdir()
        (tmp_path / address / "device").write_text("0x740c\n")
    found = discover()
    assert not found.sources
    assert "one of two dies" in found.unavailable["amdsmi"]
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "0")
    assert not discover().sources


def test_partitions_and_processors_are_not_told_apart(cards):
    cards({}, {"bdf": "0000:c1:00.1", "node": 3})
    with pytest.raises(MeterError, match="split into partitions"):
        open_gpu(UUID)
    for inside in ({"device_id": "0x74a0"}, {"gfx": "gfx1151"}):
        cards(inside)
        with pytest.raises(MeterError, match="the sum of GPU and CPU"):
            open_gpu(UUID)


def visible(monkeypatch, **variables):
    for name in ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(f"{name}_VISIBLE_DEVICES", value)
    return [uuid.split(":")[1] for uuid in amd.visible_amd_gpus()]


def three(**settings):
    # AMD SMI lists by address, ROCm numbers by node.
    return [
        {"bdf": f"0000:0{i}:00.0", "serial": f"0x000000000000000{i}", "node": 4 - i, **settings}
        for i in (1, 2, 3)
    ]


def test_visible_devices_are_respected(cards, monkeypatch):
    cards(*three())
    assert visible(monkeypatch) == ["03", "02", "01"]
    assert visible(monkeypatch, HIP="0") == ["03"]
    assert visible(monkeypatch, CUDA="2,0") == ["01", "03"]
    assert visible(monkeypatch, HIP="1", CUDA="0") == ["02"]
    assert visible(monkeypatch, HIP="", CUDA="0") == ["03"]
    assert visible(monkeypatch, HIP="") == ["03", "02", "01"]  # as HIP reads it
    assert visible(monkeypatch, ROCR="") == []
    assert visible(monkeypatch, ROCR="1,2", HIP="1") == ["01"]
    assert visible(monkeypatch, ROCR="GPU-0000000000000001,GPU-0000000000000002") == ["01", "02"]
    assert visible(monkeypatch, HIP="0,7,1") == ["03"]


def test_an_index_that_may_mean_another_card_is_not_guessed(cards, monkeypatch):
    cards(*three(node=None))
    assert visible(monkeypatch) == ["01", "02", "03"]
    assert visible(monkeypatch, ROCR="GPU-0000000000000003") == ["03"]
    with pytest.raises(MeterError, match="HIP_VISIBLE_DEVICES=1: which card has number 1"):
        visible(monkeypatch, HIP="1")
    cards(three(node=None)[0])
    assert visible(monkeypatch, HIP="0") == ["01"]


def test_cards_of_others_are_left_alone(cards, monkeypatch, tmp_path):
    monkeypatch.setattr(rocm, "DEVICES", tmp_path)
    (tmp_path / "renderD129").touch()
    first, second, _ = three()
    cards({**first, "render": 128}, {**second, "render": 129})
    assert visible(monkeypatch, HIP="0") == ["02"]


def test_the_state_of_a_card(cards):
    cards({"pids": [4711]})
    state = amd.AmdSource(UUID).state()
    assert (state.utilization_pct, state.memory_used_bytes) == (80, 4 << 30)
    assert (state.temperature_c, state.sm_clock_mhz, state.memory_clock_mhz) == (55, 2100, 1300)
    assert (state.power_limit_w, state.processes) == (750, (4711,))
    cards({"cap_uw": 560})  # some versions tell watts
    assert amd.AmdSource(UUID).power_limit_w == 560


def test_a_name_that_is_no_text(cards):
    cards({"name_hex": b"AMD \xff\xfe".hex()})
    assert amd.AmdSource(UUID).name == "AMD \ufffd\ufffd"


def test_a_missing_library_says_which_command_helps(cards, monkeypatch, tmp_path):
    cards({})
    monkeypatch.setitem(sys.modules, "amdsmi", None)
    monkeypatch.setenv("ROCM_PATH", str(tmp_path))
    with pytest.raises(MeterError, match=r"not installed; run: pip install amdsmi$"):
        open_gpu(UUID)
    (tmp_path / "share" / "amd_smi").mkdir(parents=True)
    with pytest.raises(MeterError, match=f"run: pip install {tmp_path}/share/amd_smi$"):
        open_gpu(UUID)
    assert "amdsmi" not in discover().unavailable  # nobody misses it without ROCm
    monkeypatch.setattr(rocm, "DRIVER", tmp_path)
    assert "run: pip install" in discover().unavailable["amdsmi"]


def test_a_driver_that_is_not_loaded(cards, monkeypatch):
    cards({})
    monkeypatch.delenv("PRETENDED_AMD")
    with pytest.raises(MeterError, match=r"no AMD GPU .*Driver not loaded"):
        open_gpu(UUID)
    cards({})
    with pytest.raises(MeterError, match="no such card"):
        open_gpu("AMD-0000:ff:00.0")
