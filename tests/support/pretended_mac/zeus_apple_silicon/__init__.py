"""A stand-in of ``zeus-apple-silicon`` 1.1 on a chip whose every part has a known power.

Settings, of this module or as JSON in $PRETENDED_CHIP:

    POWERS_W     power by channel; None for a channel that the chip does not have
    BATCH_S      seconds between two publications of all channels but the GPU's; 0 at each read
    FAULT        "construction", "sample", "still" or "restart"
    FAULT_CHANNEL  field that stands still or restarts
"""

import json
import os
import time

__all__ = ["AppleEnergyMetrics", "AppleEnergyMonitor"]

POWERS_W = {
    "cpu_total_mj": 12.0,
    "dram_mj": 1.5,
    "gpu_mj": 20.0,
    "gpu_sram_mj": 0.5,
    "ane_mj": 0.0,
}
BATCH_S = 0.0
TAIL_S = 0.02
"""Time by which the second part of a batch comes later."""
FAULT = FAULT_CHANNEL = ""
fault_s = 0.0
"""Time of the fault, on the monotonic clock."""

globals().update(json.loads(os.environ.get("PRETENDED_CHIP", "{}")))

_BOOT_S = time.monotonic() - 1000.0
_changes = [(_BOOT_S, dict(POWERS_W))]


def set_power_w(**powers_w):
    """Change the power of some channels from now on."""
    _changes.append((time.monotonic(), {**_changes[-1][1], **powers_w}))


def true_energy_j(channel, start_s, end_s):
    """Return the energy of a channel between two times."""
    ends = [s for s, _ in _changes[1:]] + [float("inf")]
    return sum(
        (powers_w[channel] or 0.0) * max(0.0, min(end, end_s) - max(start, start_s))
        for (start, powers_w), end in zip(_changes, ends, strict=True)
    )


class AppleEnergyMetrics:
    """Cumulative energy by part of the chip, in whole millijoules."""

    def __init__(self):
        self.cpu_total_mj: int | None = None
        self.efficiency_cores_mj: list[int] | None = None
        self.performance_cores_mj: list[int] | None = None
        self.efficiency_cluster_mj: list[int] | None = None
        self.performance_cluster_mj: list[int] | None = None
        self.efficiency_core_manager_mj: int | None = None
        self.performance_core_manager_mj: int | None = None
        self.dram_mj: int | None = None
        self.gpu_mj: int | None = None
        self.gpu_sram_mj: int | None = None
        self.ane_mj: int | None = None


class AppleEnergyMonitor:
    """Reads the counters of the chip."""

    def __init__(self):
        if FAULT == "construction":
            raise RuntimeError("Failed to create IOReport subscription.")
        self._windows = {}

    def get_cumulative_energy(self):
        """Return the energy since the start of the system."""
        if FAULT == "sample" and time.monotonic() >= fault_s:
            raise ValueError("Unsupported or invalid energy unit provided: zJ")
        metrics = AppleEnergyMetrics()
        for channel, power_w in _changes[-1][1].items():
            if power_w is not None:
                setattr(metrics, channel, _count_mj(channel, time.monotonic()))
        return metrics

    def begin_window(self, key, restart=False):
        """Begin a window."""
        if key in self._windows and not restart:
            raise RuntimeError("Measurement with specified key already exists.")
        self._windows[key] = self.get_cumulative_energy()

    def end_window(self, key):
        """Return the energy of a window."""
        if key not in self._windows:
            raise RuntimeError("No measurement with provided key had been started.")
        first, last = self._windows.pop(key), self.get_cumulative_energy()
        for channel in POWERS_W:
            if (before := getattr(first, channel)) is not None:
                setattr(last, channel, getattr(last, channel) - before)
        return last


def _count_mj(channel, now_s):
    since_s = _BOOT_S
    if BATCH_S and channel != "gpu_mj":
        age_s = (now_s - _BOOT_S) % BATCH_S
        # The energy of its last moments comes a moment later.
        now_s -= age_s + (TAIL_S if age_s < TAIL_S else 0.0)
    if channel == FAULT_CHANNEL and now_s >= fault_s:
        if FAULT == "still":
            now_s = fault_s
        elif FAULT == "restart":
            since_s = fault_s
    return int(1e3 * true_energy_j(channel, since_s, now_s))
