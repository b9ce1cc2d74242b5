"""How near greencv and its peers come to a known energy, side by side on simulated GPUs.

    .venv/bin/python benchmarks/metering_accuracy.py

Every tool runs in a process of its own and meters windows at random phases on GPUs whose true power
is a known function of time (``tests/support/nvml_stand_in.c``), read by the real NVML bindings.
Takes about ten minutes, nearly all of it waiting. The last line is JSON.
"""

from search_path import ROOT

# isort: split
import contextlib
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict

import numpy as np
from rich.console import Console
from rich.progress import Progress

from benchmarks import peers
from benchmarks.meters import TOOLS
from benchmarks.output import new_table
from tests.support import simulated_gpu
from tests.support.simulated_gpu import Waveform

REFRESH_S = 0.1
SENSORS = {
    "exact counter": {},
    "counter refreshed every 100 ms": {"refresh_s": REFRESH_S},
    "no counter, power every 100 ms": {"refresh_s": REFRESH_S, "no_counter": 1, "noise_w": 0.5},
    "no counter, power as 1 s mean": {
        "refresh_s": REFRESH_S, "no_counter": 1, "no_instant": 1, "averaged": 1,
    },
}  # fmt: skip
EXACT, COUNTER, POWER, MEAN = SENSORS
# Of other makers, by stand-ins of their libraries; peers are not compared on them.
OTHER_MAKERS = {
    "AMD counter refreshed every 1 ms": {"maker": "amd", "refresh_s": 0.001},
    "AMD counter refreshed every 100 ms": {"maker": "amd", "refresh_s": REFRESH_S},
    "AMD without a counter, power every 100 ms": {
        "maker": "amd", "refresh_s": REFRESH_S, "counter": "dead",
    },
    "Apple's counters": {"maker": "apple"},
}  # fmt: skip
SHAPES = {
    "constant": simulated_gpu.constant,
    "epochs": simulated_gpu.epochs,
    "ramp": simulated_gpu.ramp,
    "0.7 s square": simulated_gpu.square,
}
SQUARE = "0.7 s square"
FAIR = ("constant", "epochs", "ramp")
WINDOWS = {0.5: 24, 2.0: 24, 10.0: 20, 30.0: 2}
"""Length in seconds to number, for each shape and sensor."""
EXACT_WINDOWS = {0.5: 24, 2.0: 12, 10.0: 2}
ALONE_WINDOWS = {0.5: 4, 2.0: 4, 10.0: 2}  # for what keeps this machine's processors busy by itself
MAKERS_WINDOWS = {0.5: 24, 2.0: 24, 10.0: 4}
COVERAGE_WINDOWS = 54  # of random lengths from 0.5 to 12 s, for each shape and refreshed sensor
FEWEST_IN_A_CELL = 20
OURS = "greencv"
POLL_S = 1.0
console = Console(width=120)


def main():
    with tempfile.TemporaryDirectory() as folder:
        if simulated_gpu.build(folder) is None:
            sys.exit("error: a C compiler is needed to build the simulated GPU; found no cc")
        # With an exact counter even microseconds of delay show: few at a time. Zeus
        # without a counter keeps two processors busy: each by itself.
        exact = [t for t in tasks() if t["sensor"] == EXACT]
        alone = [t for t in tasks() if t["tool"] == "Zeus" and t["sensor"] == POWER]
        others = [t for t in tasks() if t not in exact and t not in alone]
        batches = [exact, others, *([task] for task in alone)]
        results = run_all(folder, batches)
    report(results)


def tasks():
    chance = random.Random(2026)
    listed = []

    def add(tool, sensor, shape, lengths_s, kind="accuracy", changes=()):
        listed.append(
            {
                "tool": tool, "sensor": sensor, "shape": shape, "kind": kind,
                "lengths_s": lengths_s, "changes": list(changes), "work": "sleep",
                "points": SHAPES[shape]().points, "ago_s": chance.uniform(0, 30),
                "phase_s": chance.uniform(0, 1), "seed": chance.randrange(2**31),
            }
        )  # fmt: skip

    def lengths(numbers):
        every = [length for length, number in numbers.items() for _ in range(number)]
        return chance.sample(every, len(every))

    for sensor, settings in OTHER_MAKERS.items():
        # The stand-in of an Apple chip has one power.
        for shape in ("constant",) if settings["maker"] == "apple" else SHAPES:
            add(OURS, sensor, shape, lengths(MAKERS_WINDOWS))
    for shape in SHAPES:
        for sensor in SENSORS:
            add(OURS, sensor, shape, lengths(EXACT_WINDOWS if sensor == EXACT else WINDOWS))
            if sensor != EXACT:
                some = [0.5 * 24 ** chance.random() for _ in range(COVERAGE_WINDOWS)]
                add(OURS, sensor, shape, some, "coverage")
        add("Zeus", COUNTER, shape, lengths(WINDOWS))
        add("Zeus", POWER, shape, lengths(ALONE_WINDOWS))
        for tool in TOOLS.keys() - {OURS, "Zeus"}:
            # Those that read power alone meter the same with a counter as without.
            for sensor in (COUNTER, POWER) if tool.startswith("CodeCarbon") else (POWER,):
                add(tool, sensor, shape, lengths(WINDOWS))
    for tool in TOOLS:
        add(tool, COUNTER, "constant", [10.0], "lost", changes=[(3.0, {"STAND_IN_LOST_S": "0"})])
        add(tool, MEAN, "constant", [10.0], "not supported")
    return listed


def run_all(folder, batches):
    """Meter one batch after the other, and show how long it will take."""
    expected_s = [max(sum(x + 0.6 for x in t["lengths_s"]) for t in batch) for batch in batches]
    results = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("metering", total=sum(expected_s))
        for batch in batches:
            results += run(folder, batch, lambda: progress.advance(bar, POLL_S))
            progress.update(bar, completed=sum(expected_s[: batches.index(batch) + 1]))
    return results


def run(folder, batch, advance):
    """Meter on all tasks at once, each in a process of its own; they begin when all are ready."""
    sensors = SENSORS | OTHER_MAKERS
    started = [(task, *begin(folder, task, sensors[task["sensor"]])) for task in batch]
    for _, _, process in started:
        process.stdout.readline()
    for _, _, process in started:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write("go\n")
            process.stdin.flush()
    while any(process.poll() is None for _, _, process in started):
        advance()
        time.sleep(POLL_S)
    results = []
    for task, origin_s, process in started:
        answer = process.stdout.readline()
        results += [
            {**task, "origin_s": origin_s, **window} for window in json.loads(answer or "[]")
        ]
    return results


def begin(folder, task, sensor):
    """Start a tool's process; return the time at which the waveform begins, and the process."""
    origin_s = time.monotonic() - task["ago_s"]
    waveform = Waveform(task["points"], origin_s)
    interpreter = sys.executable if task["tool"] == OURS else peers.python()
    process = subprocess.Popen(
        [interpreter, ROOT / "benchmarks" / "metering_worker.py",
         json.dumps({**task, "origin_s": origin_s})],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        cwd=folder, env=environment(folder, waveform, task, sensor),
    )  # fmt: skip
    return origin_s, process


def environment(folder, waveform, task, sensor):
    """Return the environment in which a card of some maker, with a known power, is found."""
    support, maker = ROOT / "tests" / "support", sensor.get("maker", "nvidia")
    if maker == "nvidia":
        settings = {**sensor, "phase_s": task["phase_s"]}
        return simulated_gpu.environment(folder, waveform, **settings)
    if maker == "amd":
        card = {key: value for key, value in sensor.items() if key != "maker"}
        card |= {"power": waveform.points, "origin_s": waveform.origin_s}
        path, extra = support / "pretended_amd", {"PRETENDED_AMD": json.dumps([card])}
    else:
        powers_w = {"cpu_total_mj": 12.0, "dram_mj": 1.5, "gpu_sram_mj": 0.0, "ane_mj": 0.0}
        chip = {"POWERS_W": {**powers_w, "gpu_mj": waveform.points[0][1]}}
        path, extra = support / "pretended_mac", {"PRETENDED_CHIP": json.dumps(chip)}
        extra |= {"PRETENDED_KIND": "mps", "PRETENDED_CUDA": folder}
    return {**os.environ, **extra, "PYTHONPATH": os.pathsep.join([str(path), str(ROOT)])}


def relative_errors(windows):
    return np.array([w["energy_j"] / w["true_j"] - 1 for w in windows if w["energy_j"] is not None])


def p95(errors):
    return float(np.quantile(np.abs(errors), 0.95)) if len(errors) else math.nan


def report(results):
    groups = defaultdict(list)
    for r in results:
        if r["kind"] == "accuracy":
            groups[r["tool"], r["sensor"], r["shape"], r["length_s"]].append(r)

    def errors(tool, sensor, shapes, length_s):
        if tool in ("carbontracker", "nvidia-smi at 1 Hz") and sensor == COUNTER:
            sensor = POWER
        return relative_errors([w for s in shapes for w in groups[tool, sensor, s, length_s]])

    for sensor in (*SENSORS, *OTHER_MAKERS):
        for name, shapes in {"constant, epochs and ramp": FAIR, SQUARE: (SQUARE,)}.items():
            heading = "Absolute error: median (95th percentile)"
            table = new_table(f"{sensor}; {name}", [heading], [f"{x:g} s" for x in WINDOWS])
            for tool in TOOLS:
                row = [errors(tool, sensor, shapes, length_s) for length_s in WINDOWS]
                if any(len(e) for e in row):
                    table.add_row(tool, *map(cell, row))
            if shapes == (SQUARE,) and sensor == POWER:
                ideal = [ideal_errors(groups, length_s) for length_s in WINDOWS]
                table.add_row("an ideal reader of every refresh", *map(cell, ideal))
            console.print(table)
    lowest = report_cells([r for r in results if r["kind"] == "accuracy" and r["tool"] == OURS])
    coverage = report_coverage([r for r in results if r["kind"] == "coverage"])
    report_faults([r for r in results if r["kind"] in ("lost", "not supported")])
    figures = {
        tool: {
            "p95_error_counter": p95(errors(tool, COUNTER, FAIR, 2.0)),
            "p95_error_counter_10s": p95(errors(tool, COUNTER, FAIR, 10.0)),
            "p95_error_sampled": p95(errors(tool, POWER, FAIR, 10.0)),
        }
        for tool in TOOLS
    }
    ours = figures.pop(OURS)
    exact = np.concatenate([errors(OURS, EXACT, SHAPES, length_s) for length_s in WINDOWS])
    counter_median = {
        length_s: float(np.median(np.abs(errors(OURS, COUNTER, FAIR, length_s))))
        for length_s in (2.0, 10.0)
    }
    console.print(json.dumps(
        {
            "p95_error_counter": ours["p95_error_counter"],
            "p95_error_sampled": ours["p95_error_sampled"],
            "peers": figures,
            "coverage_95": coverage,
            "lowest_coverage_of_a_cell": lowest,
            "p95_error_counter_10s": ours["p95_error_counter_10s"],
            "median_error_counter": counter_median[2.0],
            "median_error_counter_10s": counter_median[10.0],
            "p95_error_sampled_2s": p95(errors(OURS, POWER, FAIR, 2.0)),
            "p95_error_mean": p95(errors(OURS, MEAN, FAIR, 10.0)),
            "p95_error_mean_2s": p95(errors(OURS, MEAN, FAIR, 2.0)),
            "largest_error_exact": float(np.abs(exact).max()),
        }
    ), soft_wrap=True, highlight=False)  # fmt: skip


def cell(errors):
    if not len(errors):
        return "-"
    return f"{100 * np.median(np.abs(errors)):.2f} % ({100 * p95(errors):.2f} %)"


def ideal_errors(groups, length_s):
    """Return what the trapezoid over every refresh, its ends interpolated, gives."""
    found = []
    for window in groups[OURS, POWER, SQUARE, length_s]:
        waveform = Waveform(tuple(map(tuple, window["points"])), window["origin_s"])
        first = math.floor((window["start_s"] - window["phase_s"]) / REFRESH_S)
        count = math.ceil(length_s / REFRESH_S) + 2
        t = window["phase_s"] + REFRESH_S * np.arange(first, first + count + 1)
        tiny = 1e-6  # the power of an instant
        power = np.array([waveform.energy_j(x, x + tiny) / tiny for x in t])
        edges = np.array([window["start_s"], window["end_s"]])
        inside = t[(t > edges[0]) & (t < edges[1])]
        grid = np.concatenate([edges[:1], inside, edges[1:]])
        joules = np.trapezoid(np.interp(grid, t, power), grid)
        found.append(joules / window["true_j"] - 1)
    return np.array(found)


def report_cells(windows):
    """Print by sensor and length the share of windows whose interval holds; return the lowest."""
    table = new_table(
        "Within greencv's 95 % interval, all waveforms", ["Sensor"], [f"{x:g} s" for x in WINDOWS]
    )
    shares = []
    for sensor in (*SENSORS, *OTHER_MAKERS):
        row = []
        for length_s in WINDOWS:
            some = [w for w in windows if (w["sensor"], w["length_s"]) == (sensor, length_s)]
            some = [w for w in some if w["energy_j"] is not None]
            held = [abs(w["energy_j"] - w["true_j"]) <= 1.96 * w["uncertainty_j"] for w in some]
            row.append(f"{sum(held)} of {len(held)}" if held else "-")
            if len(held) >= FEWEST_IN_A_CELL:
                shares.append(sum(held) / len(held))
        table.add_row(sensor, *row)
    console.print(table)
    return min(shares)


def report_coverage(windows):
    """Print and return the share of windows whose 95 % interval holds the true energy."""
    table = new_table(
        "greencv's stated uncertainty, windows of 0.5 to 12 s", ["Sensor"],
        ["Windows", "Within the 95 % interval", "Median half interval",
         "95th percentile of the error", "Their ratio"],
    )  # fmt: skip
    share = math.nan
    for sensor in [*SENSORS, "all"]:
        some = [w for w in windows if sensor in (w["sensor"], "all")]
        if not some:
            continue
        some = [w for w in some if w["energy_j"] is not None]
        error = np.abs(relative_errors(some))
        half = np.array([1.96 * w["uncertainty_j"] / w["true_j"] for w in some])
        share = float(np.mean(error <= half))
        table.add_row(
            sensor, str(len(some)), f"{100 * share:.1f} %", f"{100 * np.median(half):.3f} %",
            f"{100 * p95(error):.3f} %", f"{np.median(half) / p95(error):.2f}",
        )  # fmt: skip
    console.print(table)
    return share


def report_faults(windows):
    for kind, title in {
        "not supported": "No counter, and the library says so (10 s of 250 W: 2500 J)",
        "lost": "GPU lost 3 s into a window of 10 s (2500 J, 750 J until then)",
    }.items():
        table = new_table(title, ["Tool", "Energy", "What it says"], [])
        for w in (w for w in windows if w["kind"] == kind):
            energy_j = w["energy_j"]
            word = f" {w['provenance']}" if "provenance" in w else ""
            problems = "; ".join(w.get("problems") or []) or "nothing"
            table.add_row(
                w["tool"], "none" if energy_j is None else f"{energy_j:.1f} J{word}", problems
            )
        console.print(table)


if __name__ == "__main__":
    main()
