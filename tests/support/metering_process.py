"""Meter windows on the simulated GPU, each task in a process of its own.

To start Python, and to let CodeCarbon look for the processor, takes seconds: one process does both,
and forks another one for each task, which finds the GPU by itself. A line of standard input is a
task; its answer is a file.

    {"answer": PATH, "environment": {...}, "waveforms": [...], "lengths_s": [...], ...}
"""

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

from greencv_core.metering import EnergyMeter
from greencv_core.metering.sources.codecarbon import find_hardware
from tests.support.disturbances import WORK, schedule


def main():
    find_hardware()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes
    for line in sys.stdin:
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _answer(json.loads(line))
            os._exit(0)


def _answer(task):
    os.environ.clear()
    os.environ.update(task["environment"])
    try:
        answer = {"windows": meter_windows(task)}
    except BaseException:
        answer = {"error": traceback.format_exc()}
    path = Path(task["answer"])
    path.with_suffix(".part").write_text(json.dumps(answer))
    path.with_suffix(".part").rename(path)


def meter_windows(task):
    """Meter windows of some lengths under each waveform, and return what the meter tells."""
    options = {"synchronize": lambda: None} if task["works_on_gpu"] else {}
    meter = EnergyMeter(compare=task["compare"], **options)
    windows = []
    for waveform in task["waveforms"]:
        os.environ.update(waveform)
        for length_s in task["lengths_s"]:
            with meter as window:
                schedule(task["changes"])
                start_s = time.monotonic()
                WORK[task["work"]](length_s)
                end_s = time.monotonic()
            told = {**_told(meter, window), "closing_s": time.monotonic() - end_s}
            windows.append({"start_s": start_s, "end_s": end_s, **told})
    return windows


def _told(meter, window):
    reading = window.reading
    return {
        "duration_s": reading.duration_s,
        "gpu": reading.gpu and vars(reading.gpu),
        "others": sum(part.energy_j for name, part in reading.components.items() if name != "gpu"),
        "problems": reading.problems,
        "by_source": [part and vars(part) for part in window.by_source],
        "state": window.gpu and vars(window.gpu),
        "disturbances": window.disturbances,
        "absent": dict(meter.discovery.unavailable),
        "trace": [vars(point) for point in window.trace],
        "comparisons": [[vars(a), vars(b)] for name, a, b in window.comparisons if name == "gpu"],
    }


if __name__ == "__main__":
    main()
