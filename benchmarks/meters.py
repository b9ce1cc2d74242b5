"""greencv and its peers behind one pair of verbs, each used as its documentation shows it.

``start()`` opens a window, ``stop()`` closes it, ``energy_j()`` returns the GPU's joules: the work
lies between the first two.
"""

import contextlib
import dataclasses
import functools
import io
import logging
import os
import sys
import threading
import time

import psutil
import pynvml

CODECARBON = {
    "country_iso_code": "USA",
    "save_to_file": False,
    "log_level": "critical",
    "allow_multiple_runs": True,
    "tracking_mode": "machine",
    "api_call_interval": -1,
}


class Greencv:
    """greencv, as `EnergyMeter()`: its default."""

    def __init__(self):
        from greencv_core.metering import EnergyMeter

        self._meter = EnergyMeter()

    def start(self):
        self._window = self._meter.__enter__()

    def stop(self):
        self._meter.__exit__()

    def reading(self):
        return self._window.reading

    def energy_j(self):
        gpu = self.reading().gpu
        return None if gpu is None else gpu.energy_j


class GreencvPower(Greencv):
    """greencv on the GPU's power, as if there were no counter."""

    def __init__(self):
        from greencv_core.metering.sources import nvml

        super().__init__()
        # Of the card that the others ask for by its number.
        source = nvml.NvmlSource(nvml.visible_gpu_uuids()[0], use_counter=False)
        self._meter.discovery = dataclasses.replace(
            self._meter.discovery, sources=(source,), comparison_sources=()
        )


class CounterReads:
    """The counter, read when the window opens and when it closes."""

    def __init__(self):
        pynvml.nvmlInit()
        self._gpu = pynvml.nvmlDeviceGetHandleByIndex(0)

    def start(self):
        self._start_mj = pynvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu)

    def stop(self):
        self._end_mj = pynvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu)

    def energy_j(self):
        return (self._end_mj - self._start_mj) / 1e3


class Zeus:
    """Zeus: ZeusMonitor, one window after the other."""

    def __init__(self):
        from zeus.monitor import ZeusMonitor

        logging.getLogger("zeus").setLevel(logging.CRITICAL)
        self._monitor = ZeusMonitor(gpu_indices=[0], cpu_indices=[])

    def start(self):
        self._monitor.begin_window("window", sync_execution=False)

    def stop(self):
        self._measurement = self._monitor.end_window("window", sync_execution=False)

    def energy_j(self):
        return self._measurement.gpu_energy[0]


class CodeCarbon:
    """CodeCarbon: one tracker a window, as it is meant to be used."""

    period_s = None  # its default of 15 s

    def __init__(self):
        import codecarbon

        # The first start of a tracker detects the hardware: not in the first window.
        tracker = codecarbon.OfflineEmissionsTracker(**self._options())
        tracker.start()
        tracker.stop()

    def _options(self):
        return CODECARBON | ({} if self.period_s is None else {"measure_power_secs": self.period_s})

    def start(self):
        import codecarbon

        self._tracker = codecarbon.OfflineEmissionsTracker(**self._options())
        self._tracker.start()

    def stop(self):
        self._tracker.stop()

    def energy_j(self):
        return self._tracker._total_gpu_energy.kWh * 3.6e6


class CodeCarbon1s(CodeCarbon):
    """CodeCarbon, sampling every second."""

    period_s = 1


class Carbontracker:
    """carbontracker: a tracker of one epoch a window; without its factor for the data center."""

    def __init__(self):
        from carbontracker.tracker import CarbonTracker

        self._new = lambda: CarbonTracker(
            epochs=1, components="gpu", verbose=0, ignore_errors=True, epochs_before_pred=0
        )

    def start(self):
        self._tracker = self._new()
        self._tracker.epoch_start()

    def stop(self):
        self._thread = self._tracker.tracker
        self._tracker.epoch_end()

    def energy_j(self):
        component = self._thread.components[0]
        return float(sum(component.energy_usage(self._thread.epoch_times))) * 3.6e6


class NvidiaSmi1Hz:
    """What the original study did: the plain power once a second, by the trapezoid."""

    period_s = 1.0

    def __init__(self):
        pynvml.nvmlInit()
        self._gpu = pynvml.nvmlDeviceGetHandleByIndex(0)

    def start(self):
        self._samples, self._stopping = [], threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self):
        with contextlib.suppress(pynvml.NVMLError):
            while True:
                self._samples.append((time.monotonic(), self._power_w()))
                if self._stopping.wait(self.period_s):
                    return

    def _power_w(self):
        return pynvml.nvmlDeviceGetPowerUsage(self._gpu) / 1e3

    def stop(self):
        self._stopping.set()
        self._thread.join()

    def energy_j(self):
        pairs = zip(self._samples, self._samples[1:], strict=False)
        return sum((t1 - t0) * (p0 + p1) / 2 for (t0, p0), (t1, p1) in pairs)


class MeanPower(NvidiaSmi1Hz):
    """The mean power of the last second, twenty times a second and at the end."""

    period_s = 0.05

    def _power_w(self):
        [value] = pynvml.nvmlDeviceGetFieldValues(self._gpu, [pynvml.NVML_FI_DEV_POWER_AVERAGE])
        if value.nvmlReturn == pynvml.NVML_SUCCESS:
            return value.value.uiVal / 1e3
        return super()._power_w()

    def stop(self):
        super().stop()
        self._samples.append((time.monotonic(), self._power_w()))


@contextlib.contextmanager
def answering():
    """Yield a function that prints to standard output, to which peers print nothing; then leave."""
    answer = functools.partial(print, file=sys.stdout, flush=True)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield answer
    leave()


def leave():
    """End this process and all that a tool started: some leave threads and processes behind."""
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(0)


TOOLS = {
    "greencv": Greencv,
    "Zeus": Zeus,
    "CodeCarbon (default)": CodeCarbon,
    "CodeCarbon (1 s)": CodeCarbon1s,
    "carbontracker": Carbontracker,
    "nvidia-smi at 1 Hz": NvidiaSmi1Hz,
}

ON_HARDWARE = {
    "greencv": Greencv,
    "greencv, power": GreencvPower,
    "mean power": MeanPower,
    "two reads": CounterReads,
    "nvidia-smi at 1 Hz": NvidiaSmi1Hz,
    "CodeCarbon (default)": CodeCarbon,
    "CodeCarbon (1 s)": CodeCarbon1s,
    "Zeus": Zeus,
}
"""What is compared on a real card, where nobody knows the truth."""
