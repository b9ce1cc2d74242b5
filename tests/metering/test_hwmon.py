"""GPUs and Jetson boards on hwmon trees of known energy."""

import contextlib
import sys
import threading
import time

import pytest

from greencv_core.metering import EnergyMeter, MeterError, discover, open_gpu
from greencv_core.metering.base import RefusedReadError
from greencv_core.metering.sources import codecarbon, hwmon, rocm
from tests.support.simulated_gpu import Waveform, constant, square

pytestmark = pytest.mark.realtime

AMD, INTEL = "AMD-0000:03:00.0", "INTEL-0000:04:00.0"
PERIOD_S = 0.02


class Tree:
    """A hwmon tree, whose files a thread refreshes with a known truth."""

    def __init__(self, root):
        self.root, self._folders = root / "hwmon", 0
        self.root.mkdir()
        self._stopped, self._threads = threading.Event(), []

    def add(self, driver, address="", device=(), **files):
        """Add a chip with its files; ``device`` are the files of its PCI device."""
        folder = self.root / f"hwmon{self._folders}"
        self._folders += 1
        folder.mkdir()
        if address:
            pci = self.root.parent / "pci" / address
            pci.mkdir(parents=True)
            for name, value in dict(device).items():
                (pci / name).write_text(f"{value}\n")
            (folder / "device").symlink_to(pci)
        for name, value in {"name": driver, **files}.items():
            (folder / name).write_text(f"{value}\n")
        return folder

    def refresh(self, write):
        """Call a function every :data:`PERIOD_S` with the time."""

        def run():
            due_s = time.monotonic()
            while not self._stopped.is_set():
                write(time.monotonic())
                due_s += PERIOD_S
                time.sleep(max(0.0, due_s - time.monotonic()))

        write(time.monotonic())
        self._threads.append(threading.Thread(target=run, daemon=True))
        self._threads[-1].start()

    def close(self):
        self._stopped.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def tree(tmp_path, monkeypatch):
    made = Tree(tmp_path)
    monkeypatch.setenv("GREENCV_HWMON", str(made.root))
    monkeypatch.setenv("GREENCV_POWERCAP", str(tmp_path / "none"))
    monkeypatch.setattr(codecarbon, "find_models", lambda components: [])
    monkeypatch.setattr(rocm, "DRIVER", tmp_path)
    monkeypatch.setitem(sys.modules, "amdsmi", None)  # not installed
    variables = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
    for variable in (*variables, "ZE_AFFINITY_MASK", "ONEAPI_DEVICE_SELECTOR"):
        monkeypatch.delenv(variable, raising=False)
    yield made
    made.close()


def write(path, value):
    """Replace a file at once, as the kernel's are."""
    part = path.with_name("part")
    part.write_text(f"{value}\n")
    part.rename(path)


def meter(length_s=1.2, during=None):
    with EnergyMeter() as window:
        start_s = time.monotonic()
        if during is not None:
            threading.Timer(length_s / 2, during).start()
        time.sleep(length_s)
        end_s = time.monotonic()
    return window, start_s, end_s


def add_amd(tree, sensor="power1_average", device=(), **files):
    files = {sensor: 250_000_000, "power1_label": "PPT", "power1_cap": 300_000_000, **files}
    return tree.add("amdgpu", "0000:03:00.0", {"device": "0x744c", **dict(device)}, **files)


def set_power(tree, path, waveform):
    """Refresh a file with the power of a waveform."""

    def set_to(now_s):
        write(path, round(waveform.energy_j(now_s - 1e-4, now_s) / 1e-4 * 1e6))

    tree.refresh(set_to)


@pytest.mark.parametrize("shape", [constant, square])
@pytest.mark.parametrize("sensor", ["power1_average", "power1_input"])
def test_the_power_of_an_amd_card_is_integrated(tree, shape, sensor):
    waveform = Waveform(shape().points, time.monotonic())
    set_power(tree, add_amd(tree, sensor) / sensor, waveform)
    window, start_s, end_s = meter(1.4)
    gpu = window.reading.gpu
    truth_j = waveform.energy_j(start_s, end_s)
    assert gpu.energy_j == pytest.approx(truth_j, rel=0.05)
    assert abs(gpu.energy_j - truth_j) < max(4 * gpu.uncertainty_j, 0.01 * truth_j)
    assert (gpu.provenance, window.gpu.power_limit_w) == ("sampled", 300)


@pytest.mark.parametrize("driver", ["i915", "xe"])
def test_the_counter_of_an_intel_card_is_read(tree, driver):
    waveform = Waveform(square().points, time.monotonic())
    label = {"energy1_label": "card", "energy2_label": "pkg", "energy2_input": 0}
    folder = tree.add(
        driver, "0000:04:00.0", energy1_input=0, power1_max=190_000_000,
        **(label if driver == "xe" else {}),
    )  # fmt: skip
    energy_j = waveform.energy_j
    start_s = waveform.origin_s
    tree.refresh(lambda now: write(folder / "energy1_input", round(energy_j(start_s, now) * 1e6)))
    window, start_s, end_s = meter(1.4)
    gpu = window.reading.gpu
    truth_j = waveform.energy_j(start_s, end_s)
    assert gpu.energy_j == pytest.approx(truth_j, rel=0.03)
    assert (gpu.provenance, window.reading.complete) == ("measured", True)
    # A tile of the card is a chip of its own; its energy is inside of the card's.
    tree.add("i915_gt0", "0000:05:00.0", energy1_input=1)
    assert discover().unavailable.keys() & {"hwmon"} == set()
    assert len(discover().sources) == 1


def test_a_counter_that_stands_still_is_not_zero(tree):
    tree.add("i915", "0000:04:00.0", energy1_input=5_000_000)
    window, _, _ = meter(0.5)
    assert window.reading.gpu is None
    assert "does not change" in window.reading.problems[0]


def test_the_rails_of_a_jetson_board(tree):
    one = tree.add(
        "ina3221", in1_label="VDD_GPU_SOC", in1_input=19_000, curr1_input=1_000,
        in2_label="VDD_CPU_CV", in2_input=19_000, curr2_input=500,
        in3_label="VIN_SYS_5V0", in3_input=5_000, curr3_input=900,
    )  # fmt: skip
    tree.add("ina3221", in1_label="VDD_IN", in1_input=19_000, curr1_input=3_000)
    gpu, cpu = Waveform(square(5, 30).points, time.monotonic()), constant(9.5)

    def set_to(now_s):
        power_w = gpu.energy_j(now_s - 1e-4, now_s) / 1e-4
        write(one / "curr1_input", round(power_w / 19 * 1e3))

    tree.refresh(set_to)
    window, start_s, end_s = meter(1.4)
    reading = window.reading
    assert reading.gpu.energy_j == pytest.approx(gpu.energy_j(start_s, end_s), rel=0.05)
    assert reading.cpu.energy_j == pytest.approx(cpu.energy_j(start_s, end_s), rel=0.01)
    assert {reading.gpu.provenance, reading.cpu.provenance} == {"sampled"}
    assert reading.gpu.source.endswith("(Jetson, rail VDD_GPU_SOC, with the SoC)")
    assert reading.problems == ()
    # NVML names such a board's GPU, but cannot meter it.
    assert open_gpu("GPU-00000000-1111-2222-3333-444444444444").uuid == hwmon.JETSON


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"in1_label": "VDD_CPU_GPU_CV"}, "supplies both CPU and GPU"),
        ({"in1_label": "VDD_CPU_CV", "in2_label": "CPU"}, "2 rails are those of the CPU"),
    ],
)
def test_rails_that_are_not_certain_are_left_alone(tree, files, reason):
    tree.add("ina3221", **files)
    found = discover()
    assert not found.sources
    assert reason in found.unavailable["hwmon"]


def test_chips_that_are_no_gpu_are_left_alone(tree):
    tree.add("ina3221", in1_label="VDD_IN", in1_input=19_000, curr1_input=3_000)
    tree.add("ina3221", in1_label="VDD_GPU", in1_enable=0, in1_input=1, curr1_input=1)
    tree.add("nvme", power1_input=5_000_000)
    tree.add("corsairpsu", power1_input=500_000_000, power1_label="power total")
    assert not discover().sources


@pytest.mark.parametrize(
    ("device", "remove", "reason"),
    [
        ({}, "power1_cap", "the sum of GPU and CPU"),  # inside of a CPU
        ({"device": "0x74a0"}, "", "the sum of GPU and CPU"),
        ({"device": "0x740c"}, "", "one of two dies"),
        ({"current_compute_partition": "CPX"}, "", "split into partitions"),
        ({}, "power1_average", "no sensor of the whole card"),
    ],
)
def test_a_sensor_that_shows_more_than_the_card_is_not_used(tree, device, remove, reason):
    folder = add_amd(tree, device=device)
    if remove:
        (folder / remove).unlink()
    with pytest.raises(MeterError, match=reason):
        open_gpu(AMD)
    found = discover()
    assert not found.sources
    assert reason in found.unavailable["amdsmi"]


def test_a_label_that_is_not_the_cards_is_not_used(tree):
    tree.add("xe", "0000:04:00.0", energy1_input=1, energy1_label="vram")
    with pytest.raises(MeterError, match="no sensor of the whole card"):
        open_gpu(INTEL)


def test_what_is_visible(tree, monkeypatch):
    add_amd(tree, device={"unique_id": "0123456789abcdef"})
    tree.add("xe", "0000:04:00.0", energy1_input=1)
    assert set(hwmon.visible_gpus(with_amd=True)) == {AMD, INTEL}
    assert hwmon.visible_gpus(with_amd=False) == (INTEL,)
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "GPU-0123456789ABCDEF")
    assert AMD in hwmon.visible_gpus(with_amd=True)
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "")
    assert hwmon.visible_gpus(with_amd=True) == (INTEL,)
    monkeypatch.setenv("ZE_AFFINITY_MASK", "0")
    assert hwmon.visible_gpus(with_amd=False) == (INTEL,)
    tree.add("xe", "0000:05:00.0", energy1_input=1)
    with pytest.raises(MeterError, match="ZE_AFFINITY_MASK"):
        hwmon.visible_gpus(with_amd=False)


def test_a_card_that_is_gone_is_lost(tree):
    folder = add_amd(tree)
    set_power(tree, folder / "power1_average", constant())

    def remove():
        tree.close()
        (folder / "power1_average").unlink()

    window, _, _ = meter(during=remove)
    assert window.reading.gpu is None
    assert "power1_average lost" in window.reading.problems[0]


def test_a_refused_reading_may_be_repeated(tree, monkeypatch):
    source = None
    folder = add_amd(tree)
    with contextlib.suppress(MeterError):
        source = open_gpu(AMD)
    write(folder / "power1_average", "")
    with pytest.raises(RefusedReadError, match="power1_average cannot be read"):
        source.read()
    write(folder / "power1_average", 90_000_000)
    assert source.read() == 90
    # Files of a test are readable for root, whatever their mode.
    monkeypatch.setattr(
        "pathlib.Path.read_text", lambda *_: (_ for _ in ()).throw(PermissionError(13, "no"))
    )
    with pytest.raises(MeterError, match=r"run: sudo chmod a\+r .*/power1_average$"):
        source.read()


def test_a_missing_library_is_named_beside_the_substitute(tree):
    set_power(tree, add_amd(tree) / "power1_average", constant())
    found = discover()
    assert found.sources[0].description == "hwmon power, integrated (amdgpu card)"
    assert "pip install" in found.unavailable["amdsmi"]
