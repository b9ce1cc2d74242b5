"""What metering costs: greencv and its peers, one after the other in one run.

    .venv/bin/python benchmarks/metering_overhead.py

Time to open and close a window, processor time per second of metering, and how much a real training
loop (resnet18 on the CPU, metered by the epoch) is slowed down, in alternating pairs. The GPU is
simulated (``tests/support/nvml_stand_in.c``). Takes about half an hour. The last line is JSON.
"""

from search_path import ROOT

# isort: split
import json
import sys
import tempfile

import numpy as np
from rich.console import Console

from benchmarks import peers
from benchmarks.meters import TOOLS
from benchmarks.output import answer_of, new_table, show_progress
from benchmarks.overhead_worker import median_interval
from tests.support import simulated_gpu

SENSORS = {"counter": {"refresh_s": 0.1}, "no counter": {"refresh_s": 0.1, "no_counter": 1}}
OURS = "greencv"
PAIRS = {OURS: 500}
PEERS_PAIRS = 20
INTERVAL = 0.01  # width of the interval at which the pairs suffice
console = Console(width=150)


def main():
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        if simulated_gpu.build(folder) is None:
            sys.exit("error: a C compiler is needed to build the simulated GPU; found no cc")
        for sensor, settings in SENSORS.items():
            for tool in TOOLS:
                show_progress(f"{tool}, {sensor}")
                pairs = PAIRS.get(tool, PEERS_PAIRS) if sensor == "counter" else 0
                results[tool, sensor] = measure(folder, tool, settings, pairs)
    show_progress("")
    report(results)


def measure(folder, tool, settings, pairs):
    interpreter = sys.executable if tool == OURS else peers.python()
    task = {"tool": tool, "pairs": pairs, "interval": INTERVAL}
    # Power that changes, as real power does: a constant value is polled less often.
    environment = simulated_gpu.environment(folder, simulated_gpu.ramp(), **settings)
    worker = ROOT / "benchmarks" / "overhead_worker.py"
    command = [interpreter, worker, json.dumps(task)]
    return answer_of(tool, command, cwd=folder, env=environment)


def report(results):
    for sensor in SENSORS:
        table = new_table(
            f"GPU with {sensor}, refreshed every 100 ms", ["Tool"],
            ["Set-up (ms)", "Start (ms)", "Stop (ms)", "Both, worst (ms)", "CPU (ms per s)",
             "Throughput metered/unmetered [95 %]"],
        )  # fmt: skip
        for tool in TOOLS:
            result = results[tool, sensor]
            if "problem" in result:
                table.add_row(
                    tool, f"{result['construction_ms']:.0f}", *"---", "-", result["problem"]
                )
                continue
            table.add_row(
                tool, f"{result['construction_ms']:.0f}", f"{result['start_ms']:.2f}",
                f"{result['stop_ms']:.2f}", f"{result['start_stop_ms_max']:.1f}",
                f"{result['cpu_ms_per_s']:.1f}", throughput(result.get("ratios")),
            )  # fmt: skip
        console.print(table)
    figures = {tool: summary(results, tool) for tool in TOOLS}
    ours = figures.pop(OURS)
    console.print(json.dumps({**ours, "peers": figures}), soft_wrap=True, highlight=False)


def throughput(ratios):
    if not ratios:
        return "not timed"
    low, high = median_interval(ratios)
    return f"{np.median(ratios):.4f} [{low:.4f}, {high:.4f}], {len(ratios)} pairs"


def summary(results, tool):
    counter, sampled = (results[tool, sensor] for sensor in SENSORS)
    ratios = counter.get("ratios")
    return {
        "throughput_ratio": float(np.median(ratios)) if ratios else None,
        "throughput_interval": median_interval(ratios) if ratios else None,
        "cpu_ms_per_s": counter.get("cpu_ms_per_s"),
        "cpu_ms_per_s_no_counter": sampled.get("cpu_ms_per_s"),
        "start_stop_ms": counter.get("start_stop_ms"),
        "start_stop_ms_max": counter.get("start_stop_ms_max"),
    }


if __name__ == "__main__":
    main()
