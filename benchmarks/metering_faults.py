"""What greencv and its peers tell when a meter is faulty, on simulated GPUs of known energy.

    .venv/bin/python benchmarks/metering_faults.py

Every tool meters a window of each fault in a process of its own (``tests/support``); some five
minutes, nearly all of it waiting. A figure that is off by more than a tenth, with an interval that
misses the truth and no problem named, is wrong in silence. The last line is JSON.
"""

from search_path import ROOT

# isort: split
import contextlib
import json
import subprocess
import sys
import tempfile

from rich.console import Console

from benchmarks.metering_accuracy import begin
from benchmarks.output import new_table
from tests.metering.test_faults import FAULTS, HIDDEN, OTHERS
from tests.support import simulated_gpu

TOOLS = ("greencv", "Zeus", "CodeCarbon (default)", "CodeCarbon (1 s)")
OURS = TOOLS[0]
POWER_W, LENGTH_S = 250.0, 4.0
LARGE_ERROR = 0.1
AT_ONCE = 6
console = Console(width=150)


def main():
    with tempfile.TemporaryDirectory() as folder:
        if simulated_gpu.build(folder) is None:
            sys.exit("error: a C compiler is needed to build the simulated GPU; found no cc")
        cases = [(tool, fault) for fault in listed() for tool in TOOLS]
        results = {}
        for first in range(0, len(cases), AT_ONCE):
            results |= meter(folder, cases[first : first + AT_ONCE])
            console.print(f"{len(results)} of {len(cases)} windows", highlight=False)
    report(results)


def listed():
    """Return the settings of the GPU and what happens in the window, by fault."""
    faults = {
        name: (settings, {"changes": changes}) for name, (settings, changes, _, _) in FAULTS.items()
    }
    for name, options in OTHERS.items():
        if name in ("agreement", "contradiction"):
            continue  # greencv's own comparison of two meters
        extra = {key: options[key] for key in ("changes", "work") if key in options}
        rest = {k: v for k, v in options.items() if k not in (*extra, "lengths_s")}
        faults[name] = rest, extra
    return faults


def meter(folder, cases):
    """Meter some cases side by side; a tool that does not end in time is ended."""
    started = {}
    for tool, fault in cases:
        settings, extra = listed()[fault]
        points = HIDDEN if "work" in extra else ((0.0, POWER_W),)
        task = {
            "tool": tool, "points": points, "ago_s": 0.0, "phase_s": settings.get("phase_s", 0.3),
            "seed": 1, "lengths_s": [LENGTH_S], "changes": [], "work": "sleep", **extra,
        }  # fmt: skip
        sensor = {key: value for key, value in settings.items() if key != "phase_s"}
        started[tool, fault] = begin(folder, task, sensor)[1]
    for process in started.values():
        process.stdout.readline()
        with contextlib.suppress(BrokenPipeError):  # a tool that gave up at its start
            process.stdin.write("go\n")
            process.stdin.flush()
    results = {}
    for case, process in started.items():
        nothing = {"energy_j": None, "true_j": None}
        try:
            answer, _ = process.communicate(timeout=60)
            gave_up = [nothing | {"problems": ["gave up at its start"]}]
            [results[case]] = json.loads(answer) if answer else gave_up
        except subprocess.TimeoutExpired:
            process.kill()
            results[case] = nothing | {"problems": ["never ended"]}
    return results


def report(results):
    table = new_table("Energy told, as a share of the truth; what is named", ["Fault"], TOOLS)
    silent = dict.fromkeys(TOOLS, 0)
    for fault in listed():
        row = []
        for tool in TOOLS:
            result = results[tool, fault]
            text, is_wrong = judge(result)
            silent[tool] += is_wrong
            row.append(text)
        table.add_row(fault, *row)
    console.print(table)
    ended = {tool: sum(r["true_j"] is not None for (t, _), r in results.items() if t == tool)
             for tool in TOOLS}  # fmt: skip
    summary = {"wrong_in_silence": silent, "windows": ended}
    console.print(json.dumps(summary), soft_wrap=True, highlight=False)


def judge(result):
    """Return what a tool told, and whether it is wrong in silence."""
    problems = "; ".join(result.get("problems") or ())
    if result["energy_j"] is None:
        return f"none: {problems[:60]}", False
    share = result["energy_j"] / result["true_j"]
    half = 1.96 * result["uncertainty_j"] / result["true_j"] if "uncertainty_j" in result else None
    text = f"{100 * share:,.1f} %"
    if half is not None:
        text += f" ± {100 * half:.1f} %, {result['provenance']}"
    if problems:
        text += f"; {problems[:40]}"
    misses = abs(share - 1) > (half if half is not None else 0)
    is_wrong = misses and abs(share - 1) > LARGE_ERROR and not problems
    return f"[bold red]{text}[/]" if is_wrong else text, is_wrong


if __name__ == "__main__":
    assert ROOT
    main()
