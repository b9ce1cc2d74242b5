"""Processor time that greencv's short commands take, beside Python and pip, in one run.

    .venv/bin/python benchmarks/startup.py [ROUNDS]

Each command is a process of its own, and all take turns. The time is that of the process and of the
processes that it waited for, so that other work on the machine hardly changes it. The median and
the range are shown. The bundled runs stand for a user's; a plan needs runs of this machine, so the
smallest study is trained first. Takes about two minutes. The last line is JSON.
"""

from search_path import ROOT

# isort: split
import json
import os
import statistics
import subprocess
import sys
import tempfile

from rich.console import Console

from benchmarks.output import new_table, show_progress

ROUNDS = 7
BIN = ROOT / ".venv" / "bin"
BUNDLE = ROOT / "bundles" / "reference.parquet"
COMMANDS = {
    "python -c pass": (sys.executable, "-c", "pass"),
    "pip --version": (BIN / "pip", "--version"),
    "greencv --help": (BIN / "greencv", "--help"),
    "greencv --version": (BIN / "greencv", "--version"),
    "greencv plan --nonsense": (BIN / "greencv", "plan", "--nonsense"),
    "greencv runs list": (BIN / "greencv", "runs", "list", "--store", BUNDLE),
}
PLAN = "greencv plan (all runs finished)"
console = Console(width=100)


def main():
    rounds = int(sys.argv[1]) if sys.argv[1:] else ROUNDS
    with tempfile.TemporaryDirectory() as store:
        show_progress("training the smallest study")
        smoke = ("smoke", "--store", store)
        subprocess.run([BIN / "greencv", "run", *smoke], check=True, capture_output=True)
        times_s = measured({**COMMANDS, PLAN: (BIN / "greencv", "plan", *smoke)}, rounds)
    show_progress("")
    bare_s = statistics.median(times_s["python -c pass"])
    table = new_table(
        f"Processor time, medians of {rounds}", ["Command"], ["s", "Range (s)", "Bare Pythons"]
    )
    for name, every_s in times_s.items():
        middle_s = statistics.median(every_s)
        span = f"{min(every_s):.2f} to {max(every_s):.2f}"
        table.add_row(name, f"{middle_s:.2f}", span, f"{middle_s / bare_s:.0f}")
    console.print(table)
    medians = {name: round(statistics.median(every_s), 3) for name, every_s in times_s.items()}
    print(json.dumps({"processor_time_s": medians}))


def measured(commands, rounds):
    times_s = {name: [] for name in commands}
    for number in range(rounds + 1):
        show_progress(f"round {number} of {rounds}")
        for name, command in commands.items():
            used_s = processor_time_s(command)
            if number:  # the first round fills the disk's cache
                times_s[name].append(used_s)
    return times_s


def processor_time_s(command):
    """Run a command, and return the processor time of its process and of those it waited for."""
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, _, usage = os.wait4(process.pid, 0)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
