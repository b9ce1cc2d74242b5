"""A GPU of known power: a C library with NVML's interface, and the same truth in Python."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).with_name("nvml_stand_in.c")
UUID = "GPU-00000000-1111-2222-3333-444444444444"


def build(folder):
    """Compile the library into a folder, for ``LD_LIBRARY_PATH``; None without a C compiler.

    A dummy ``nvidia-smi`` is added: some tools call it to find a GPU.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    library = Path(folder) / "libnvidia-ml.so.1"
    command = [compiler, "-O1", "-shared", "-fPIC", "-Wall", "-o", library, SOURCE, "-lm"]
    subprocess.run(command, check=True)
    smi = Path(folder) / "nvidia-smi"
    smi.write_text("#!/bin/sh\n")
    smi.chmod(0o755)
    return library


@dataclass(frozen=True)
class Waveform:
    """True power over time: straight lines between points, repeated after the last one's time.

    Two points at the same time are a step.
    """

    points: tuple[tuple[float, float], ...]
    """Seconds and watts."""
    origin_s: float = 0.0
    """Monotonic time of the first point."""
    _sums: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        times, powers = np.array(self.points, dtype=float).T
        sums = np.concatenate([[0.0], np.cumsum(np.diff(times) * (powers[1:] + powers[:-1]) / 2)])
        object.__setattr__(self, "_sums", sums)

    def energy_j(self, start_s, end_s):
        """Return the true energy between two monotonic times."""
        return self._until(end_s) - self._until(start_s)

    def settings(self):
        """Return the environment variables that give the library this truth."""
        points = ",".join(f"{t!r}:{p!r}" for t, p in self.points)
        return {"STAND_IN_POWER": points, "STAND_IN_ORIGIN_S": repr(self.origin_s)}

    def _until(self, at_s):
        t = at_s - self.origin_s
        period = self.points[-1][0]
        if not period:
            return self.points[0][1] * t
        cycles, t = divmod(t, period)
        times, powers = np.array(self.points, dtype=float).T
        i = int(np.clip(np.searchsorted(times, t, side="right") - 1, 0, len(times) - 2))
        share = (t - times[i]) / (times[i + 1] - times[i])
        power_w = powers[i] + share * (powers[i + 1] - powers[i])
        return cycles * self._sums[-1] + self._sums[i] + (t - times[i]) * (powers[i] + power_w) / 2


def constant(power_w=250.0):
    return Waveform(((0.0, power_w),))


def square(low_w=60.0, high_w=300.0, period_s=0.7):
    """Return a load that comes and goes within a second."""
    half = period_s / 2
    return Waveform(((0.0, high_w), (half, high_w), (half, low_w), (period_s, low_w)))


def epochs():
    """Return training, validation and a pause to save, over and over."""
    return Waveform(
        ((0.0, 290.0), (2.17, 290.0), (2.17, 190.0), (2.9, 190.0), (2.9, 120.0), (3.03, 120.0))
    )


def ramp(low_w=100.0, high_w=300.0, rise_s=13.0):
    """Return a power that rises slowly and falls again."""
    return Waveform(((0.0, low_w), (rise_s, high_w), (2 * rise_s, low_w)))


def environment(folder, waveform, **settings):
    """Return this process's environment with the library and its settings in it."""
    paths = {
        name: os.pathsep.join(filter(None, [str(folder), os.environ.get(name)]))
        for name in ("LD_LIBRARY_PATH", "PATH")
    }
    stand_in = {f"STAND_IN_{name.upper()}": str(value) for name, value in settings.items()}
    return {**os.environ, **paths, **waveform.settings(), **stand_in}
