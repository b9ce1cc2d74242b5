"""Meters on a real NVIDIA GPU, each compared with the card's own energy counter.

    .venv/bin/python benchmarks/metering_hardware.py [--output FILE] [--quick] [--simulated]

Nobody knows the true energy of a real card. What can be known is how the tools differ on the same
windows. A network is trained on the GPU in one process, in three shapes: without a pause, in epochs
with validation and a pause, and in bursts of a third of a second. Each tool meters in a process of
its own, and all meter the same windows, of half a second to half a minute, in advance.

Reported are: the difference of each tool's mean power to that of greencv's reading of the counter,
by length of window; the difference to the steady power of long windows, for short ones under the
load without a pause, to check greencv, too; integrated power over counter, in windows of
10 s and more; how often counter and power are refreshed; the power at rest, before a process has a
context on the card, with one, and afterwards; and the processor time that each tool costs.

Takes about four minutes, and changes no setting of the card, which is the first of the machine. A
peer missing in greencv's environment runs in a separate one, set up over the network; it is left
out where that fails, and with ``--quick``. ``--simulated`` does the same with no GPU, on a
simulated one (``tests/support``) whose true energy is known, and shows the errors as well.
``--output`` keeps every window and refresh. The last line is JSON.
"""

from search_path import FOLDER

# isort: split
import argparse
import importlib.util
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks import peers
from benchmarks.hardware_figures import (
    AGREED,
    LONG_S,
    OURS,
    SHORT_S,
    agreement,
    compared,
    cpu_ms_per_s,
    differences,
    figures,
    mean_power_w,
    periods,
)
from benchmarks.meters import ON_HARDWARE
from benchmarks.output import new_table, show_progress
from greencv_core.machine.hardware import software_versions
from tests.support import simulated_gpu
from tests.support.simulated_gpu import Waveform

WINDOWS = {0.5: 5, 1.0: 3, 2.0: 3, 5.0: 1, 10.0: 2, 30.0: 1}
"""Length in seconds to number, under each shape of the load; bursts have none above 10 s."""
QUICK = {0.5: 2, 2.0: 1, 10.0: 1}
QUICK_SHAPES = ("constant", "bursts")
GAP_S, PHASE_S, START_S = 0.5, 0.2, 1.5
"""Between windows, what chance adds to it, and before the first."""
LOOK_S, QUICK_LOOK_S, SETTLE_S = 6.0, 2.0, 3.0
"""At the power at rest, and at how often the sensor is refreshed; until the card is at rest."""
SHAPES = {
    "constant": simulated_gpu.constant(),
    "epochs": simulated_gpu.epochs(),
    "bursts": simulated_gpu.square(period_s=0.73),
}
"""Shapes of the load, and of the true power of the simulated card."""
AT_REST = simulated_gpu.constant(60.0)
SIMULATED = {"refresh_s": 0.1, "noise_w": 0.5, "averaged": 1}
FIRST_CARD = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "0"}
PACKAGES = {"CodeCarbon (default)": "codecarbon", "CodeCarbon (1 s)": "codecarbon", "Zeus": "zeus"}
console = Console(width=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="keep all that was measured, JSON"
    )
    parser.add_argument("--quick", action="store_true", help="a minute, of few windows")
    parser.add_argument("--simulated", action="store_true", help="on a simulated GPU")
    options = parser.parse_args()
    if options.output and not options.output.parent.is_dir():
        parser.error(f"--output = {options.output}: no folder {options.output.parent}")
    with ExitStack() as stack:
        measured = measure(options, stack)
    if options.output:
        options.output.write_text(json.dumps(measured) + "\n")
    report(measured, compared(measured))


class Worker:
    """One part of the measurement in a process of its own."""

    def __init__(self, kind, name, interpreter, environment):
        self.kind, self.name = kind, name
        self._process = subprocess.Popen(
            [interpreter, FOLDER / "hardware_worker.py", kind, name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment,
        )  # fmt: skip

    def problem(self):
        """Wait until the part is ready; return why it will not be, None if it is."""
        line = self._process.stdout.readline().strip()
        return None if line == "ready" else line or "failed without a message"

    def begin(self, **task):
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()

    def answer(self):
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"problem": "ended without a message"}

    def ask(self, **task):
        self.begin(**task)
        return self.answer()

    def close(self):
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()


def measure(options, stack):
    """Return all measurements: the card, power at rest, refreshes, and every window."""
    environment = surroundings(options, stack)
    look_s = QUICK_LOOK_S if options.quick else LOOK_S
    origin_s = time.monotonic()

    def part(kind, name="", interpreter=sys.executable):
        worker = Worker(kind, name, interpreter, environment)
        stack.callback(worker.close)
        return worker

    def truth(waveform):
        """Return the true power for a worker, if it is known."""
        known = Waveform(waveform.points, origin_s).settings() if options.simulated else {}
        return {"environment": known}

    card = describe_card(part("card"))
    show_progress(f"{card['name']}: starting the tools")
    tools, left_out = start_tools(options, part)
    sensor = part("sensor")
    if problem := sensor.problem():
        sys.exit(f"error: {problem}")

    def measure_rest(when):
        show_progress(f"power at rest, {when}: {look_s:g} s")
        start_s = time.monotonic() + START_S
        [window] = tools[OURS].ask(windows=[(start_s, start_s + look_s)], **truth(AT_REST))
        return mean_power_w(window)

    rest_w = {"before": measure_rest("before")}
    load = None
    if not options.simulated:
        load = start_load(part)
        rest_w["with_context"] = measure_rest("with a context on the card")
        show_progress("setting up the load")
        if "problem" in (failed := load.ask(shape="constant", until_s=0)):
            sys.exit(f"error: no load on the GPU: {failed['problem']}")
    measured = measure_shapes(options, tools, left_out, sensor, load, look_s, truth)
    if load:
        load.close()
        show_progress("waiting for the card to come to rest")
        time.sleep(SETTLE_S)
        rest_w["after"] = measure_rest("after")
    show_progress("")
    if options.simulated:
        add_truth(measured["windows"], origin_s)
    return {
        "card": card, "simulated": options.simulated, "quick": options.quick,
        "at": datetime.now(UTC).isoformat(timespec="seconds"), "versions": software_versions(),
        "left_out": left_out, "rest_w": rest_w, **measured,
    }  # fmt: skip


def describe_card(card):
    if problem := card.problem():
        sys.exit(f"error: no GPU to meter on: {problem}; --simulated needs none")
    description = card.ask()
    if "problem" in description or not description["counter"]:
        sys.exit(f"error: the card's energy counter cannot be read: {description}")
    return description


def start_load(part):
    load = part("load")
    if problem := load.problem():
        sys.exit(f"error: no load on the GPU: {problem}; --simulated needs none")
    time.sleep(SETTLE_S)
    return load


def measure_shapes(options, tools, left_out, sensor, load, look_s, truth):
    """Return the refreshes of the sensor, and the tools' windows and the load's work by shape."""
    chance = random.Random(2026)
    windows, work, refreshes = {}, {}, None
    for shape in QUICK_SHAPES if options.quick else SHAPES:
        waveform = SHAPES[shape]
        start_s = time.monotonic() + START_S + (0 if refreshes else look_s)
        planned = schedule(start_s, QUICK if options.quick else WINDOWS, shape, chance)
        until_s = planned[-1][1]
        if load:
            load.begin(shape=shape, until_s=until_s + GAP_S)
        if refreshes is None:
            show_progress(f"how often the sensor is refreshed: {look_s:g} s")
            refreshes = sensor.ask(until_s=start_s - START_S, **truth(waveform))
        show_progress(f"{len(planned)} windows, {shape}: {until_s - time.monotonic():.0f} s")
        for tool in tools.values():
            tool.begin(windows=planned, **truth(waveform))
        windows[shape] = {name: tool.answer() for name, tool in tools.items()}
        for name in [name for name, answer in windows[shape].items() if "problem" in answer]:
            left_out[name] = f"{windows[shape].pop(name)['problem']}, {shape}"
            del tools[name]
        if OURS in left_out:
            sys.exit(f"error: greencv: {left_out[OURS]}")
        if load:
            work[shape] = load.answer()
    return {"refreshes": refreshes, "windows": windows, "work": work}


def surroundings(options, stack):
    """Return the environment of all parts, including the simulated card if requested."""
    if not options.simulated:
        return os.environ | FIRST_CARD
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    if simulated_gpu.build(folder) is None:
        sys.exit("error: a C compiler is needed to build the simulated GPU; found no cc")
    return simulated_gpu.environment(folder, AT_REST, **SIMULATED)


def start_tools(options, part):
    """Return the tools that are ready, and why others are left out."""
    started, left_out = {}, {}
    for name in ON_HARDWARE:
        interpreter = sys.executable
        if name in PACKAGES and importlib.util.find_spec(PACKAGES[name]) is None:
            if options.quick:
                left_out[name] = "not in greencv's environment"
                continue
            try:
                interpreter = peers.python()
            except (OSError, subprocess.CalledProcessError):
                left_out[name] = "its environment could not be set up"
                continue
        started[name] = part("tool", name, interpreter)
    for name in list(started):
        if problem := started[name].problem():
            left_out[name] = problem
            started.pop(name).close()
    if OURS in left_out:
        sys.exit(f"error: greencv does not meter here: {left_out[OURS]}")
    return started, left_out


def schedule(start_s, numbers, shape, chance):
    """Return windows (start, end) in an order of chance, at phases of chance."""
    lengths_s = [x for x, number in numbers.items() for _ in range(number)]
    if shape == "bursts":
        lengths_s = [x for x in lengths_s if x <= LONG_S]
    planned = []
    for length_s in chance.sample(lengths_s, len(lengths_s)):
        start_s += chance.uniform(0, PHASE_S)
        planned.append((start_s, start_s + length_s))
        start_s += length_s + GAP_S
    return planned


def add_truth(windows, origin_s):
    """Add the true energy to each window."""
    for shape, by_tool in windows.items():
        truth = Waveform(SHAPES[shape].points, origin_s)
        for of_tool in by_tool.values():
            for window in of_tool:
                if "energy_j" in window:
                    window["true_j"] = truth.energy_j(window["started_s"], window["ended_s"])


def report(measured, rows):
    card, rest_w = measured["card"], measured["rest_w"]
    tools = list(measured["windows"]["constant"])
    instant = "reports" if card["power_instant"] else "does not report"
    console.print(
        f"{card['name']}, driver {card['driver']}, power limit {card['power_limit_w']} W; "
        f"{instant} instantaneous power."
    )
    at_rest = (f"{when.replace('_', ' ')} {watts:.1f} W" for when, watts in rest_w.items() if watts)
    console.print(f"At rest: {', '.join(at_rest)}.")
    refresh_s = periods(measured["refreshes"])
    for name, found in refresh_s.items():
        console.print(
            f"The {name} changes every {1e3 * found['median']:.1f} ms "
            f"({1e3 * found['p05']:.1f} to {1e3 * found['p95']:.1f} ms in 90 % of "
            f"{found['changes']} changes)."
        )
    agreed = agreement(rows)
    if "interval" in agreed:
        low, high = agreed["interval"]
        console.print(
            f"Integrated power / counter, windows of {LONG_S:g} s and more: {agreed['ratio']:.4f} "
            f"({low:.4f} to {high:.4f}), {'within' if agreed['within_2_pct'] else 'not within'} "
            f"{AGREED:.0%}."
        )
    lengths_s = sorted({r["length_s"] for r in rows})
    for shape in measured["windows"]:
        others = [tool for tool in tools if tool != OURS]
        show(f"To the counter, {shape}", rows, "to_counter", others, lengths_s, shape=shape)
    short_s = [length for length in lengths_s if length < SHORT_S]
    show("Short windows to the steady power", rows, "to_steady", tools, short_s)
    if measured["simulated"]:
        show("To the truth, all shapes", rows, "to_truth", tools, lengths_s)
    table = new_table("What the tools cost", ["Tool"], ["CPU (ms per s)", "Windows", "Failed"])
    failed = {t: sum(r["problem"] is not None for r in rows if r["tool"] == t) for t in tools}
    for tool in tools:
        cost_ms = cpu_ms_per_s(rows, tool)
        windows = sum(r["tool"] == tool for r in rows)
        table.add_row(
            tool, "-" if cost_ms is None else f"{cost_ms:.1f}", str(windows), str(failed[tool])
        )
    console.print(table)
    for tool, problem in measured["left_out"].items():
        console.print(f"{tool} is left out: {problem}.", markup=False)
    which = ("to_counter", "to_steady", *(["to_truth"] if measured["simulated"] else []))
    console.print(json.dumps({
        "card": card, "rest_w": rest_w, "refresh_s": refresh_s, "integrated_over_counter": agreed,
        **{name: figures(rows, name, tools, lengths_s) for name in which},
        "cpu_ms_per_s": {tool: cpu_ms_per_s(rows, tool) for tool in tools},
        "failed": failed, "left_out": measured["left_out"], "simulated": measured["simulated"],
    }), soft_wrap=True, highlight=False, markup=False)  # fmt: skip


def show(title, rows, which, tools, lengths_s, **wanted):
    title = f"{title}: median difference in % (95th percentile)"
    table = new_table(title, ["Tool"], [f"{length:g} s" for length in lengths_s])
    for tool in tools:
        found = [differences(rows, which, tool=tool, length_s=x, **wanted) for x in lengths_s]
        table.add_row(tool, *map(cell, found))
    console.print(table)


def cell(found):
    if not len(found):
        return "-"
    return f"{100 * np.median(found):.2f} ({100 * np.quantile(found, 0.95):.2f})"


if __name__ == "__main__":
    main()
