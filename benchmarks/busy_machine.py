"""What a busy machine costs a training: time and energy over quiet, by how threads wait.

    .venv/bin/python benchmarks/busy_machine.py [--rounds 5] [--loads 0 25 50 100] [--plans ...]

A training on all CPUs beside one process that uses 25, 50 or 100 % of a core. torch's threads meet
after every operation (OpenMP), and wait for the last one. How they wait is the plan:

default   as libgomp does it: a thread spins for a while, which keeps the core from the work that
          it waits for, before it sleeps;
passive   ``OMP_WAIT_POLICY=passive``: a thread sleeps at once;
short     ``GOMP_SPINCOUNT=1000``: a thread spins for some microseconds;
one left  as ``default``, with one thread fewer: a core is left to the system.

Each plan has a process of its own that lives for the whole benchmark; in each round the plans take
turns under each load, in an order drawn again. A figure is the median over the rounds of the time,
or the energy, of one training step over that of ``default`` without a load. Energy has the
provenance of this machine's meters. Takes about two minutes a round. A training during which other
processes used more than a tenth of the CPUs is left out where one of the same setting is left, and
how many were is printed. The last line is JSON.
"""

import search_path  # noqa: F401

# isort: split
import argparse
import json
import os
import random
import subprocess
import sys
import time

import numpy as np
from rich.console import Console

from benchmarks.output import new_table, show_progress

PLANS = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "short": {"GOMP_SPINCOUNT": "1000"},
    "one left": {},
}
ARCHITECTURES = ("resnet18", "shufflenet_v2_x0_5")
STEPS, LONGEST_S = {"resnet18": 10, "shufflenet_v2_x0_5": 25}, 20.0
"""Steps that are timed; fewer if they take longer than ``LONGEST_S``."""
MOST_OTHERS = 0.1
PERIOD_S = 0.02
BURN = """
import sys, time
share, period_s = float(sys.argv[1]), float(sys.argv[2])
while True:
    start_s = time.perf_counter()
    while time.perf_counter() < start_s + share * period_s:
        pass
    time.sleep((1 - share) * period_s)
"""
console = Console(width=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loads", type=int, nargs="+", default=[0, 25, 50, 100])
    parser.add_argument("--plans", nargs="+", choices=PLANS, default=list(PLANS))
    parser.add_argument("--worker", choices=PLANS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker)
        return
    workers = {plan: start(plan) for plan in options.plans}
    found = []
    try:
        for number in range(options.rounds):
            settings = [(plan, load) for plan in options.plans for load in options.loads]
            random.Random(number).shuffle(settings)
            for plan, load in settings:
                show_progress(f"round {number + 1}: {plan}, {load} % of a core")
                found += [{"plan": plan, "load": load, **one} for one in ask(workers[plan], load)]
    except KeyboardInterrupt:
        console.print("interrupted: what was measured until then")
    finally:
        for worker in workers.values():
            worker.kill()
    show_progress("")
    report(found, options)


def start(plan):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, __file__, "--worker", plan]
    pipe = subprocess.PIPE
    worker = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, env=environment | PLANS[plan]
    )
    worker.stdout.readline()
    return worker


def ask(worker, load):
    """Have a worker train beside a process that uses ``load`` % of a core."""
    burner = None
    if load:
        burner = subprocess.Popen([sys.executable, "-c", BURN, str(load / 100), str(PERIOD_S)])
    try:
        worker.stdin.write(f"{burner.pid if burner else 0}\n")
        worker.stdin.flush()
        return json.loads(worker.stdout.readline())
    finally:
        if burner:
            burner.kill()
            burner.wait()


def work(plan):
    """Train on request, and answer with the time and energy of a step."""
    import psutil
    import torch

    from greencv_core.architectures.build import build
    from greencv_core.metering import EnergyMeter

    torch.set_num_threads(max(1, os.cpu_count() - (plan == "one left")))
    images, labels = torch.rand(64, 3, 32, 32), torch.arange(64) % 10
    images = images.to(memory_format=torch.channels_last)
    models = {name: build(name, 10, 32, "none").module for name in ARCHITECTURES}
    for model in models.values():
        model.to(memory_format=torch.channels_last)

    def step(model):
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        model.zero_grad()

    def busy_s(pid):
        times = psutil.cpu_times()
        busy = sum(times) - times.idle - times.iowait - time.process_time()
        return busy - (sum(psutil.Process(pid).cpu_times()[:2]) if pid else 0.0)

    print("ready", flush=True)
    for line in sys.stdin:
        pid, answers = int(line), []
        for name, model in models.items():
            step(model)
            others_s, start_s = busy_s(pid), time.monotonic()
            with EnergyMeter(gpu=()) as window:
                steps = 0
                while steps < STEPS[name] and time.monotonic() < start_s + LONGEST_S:
                    step(model)
                    steps += 1
                others_s = busy_s(pid) - others_s
            reading = window.reading
            answers.append(
                {
                    "architecture": name,
                    "step_s": reading.duration_s / steps,
                    "step_j": reading.total.energy_j / steps if reading.total else None,
                    "provenance": reading.total.provenance if reading.total else "not metered",
                    "others": max(0.0, others_s / reading.duration_s / os.cpu_count()),
                }
            )
        print(json.dumps(answers), flush=True)


def report(found, options):
    figures, disturbed = {}, 0
    for architecture in ARCHITECTURES:
        table = new_table(
            f"{architecture}: time and energy ({found[0]['provenance']}) of a step, over that of "
            f"{options.plans[0]} at {options.loads[0]} %",
            ["Plan"], [f"{load} %" for load in options.loads],
        )  # fmt: skip
        base = None
        for plan in options.plans:
            row = []
            for load in options.loads:
                setting = {"architecture": architecture, "plan": plan, "load": load}
                own = [one for one in found if setting.items() <= one.items()]
                calm = [one for one in own if one["others"] < MOST_OTHERS]
                disturbed += len(own) - len(calm)
                step = np.array([median(calm or own, key) for key in ("step_s", "step_j")])
                base = step if base is None else base
                figures[f"{architecture}, {plan}, {load} %"] = [*np.round(step / base, 3)]
                row.append("{:.2f} {:.2f}".format(*step / base) + (f" n={len(calm)}"))
            table.add_row(plan, *row)
        console.print(table)
    console.print(f"{disturbed} of {len(found)} trainings were disturbed by other processes.")
    content = {"disturbed": disturbed, "trainings": len(found), "time_energy": figures}
    console.print(json.dumps(content), soft_wrap=True)


def median(part, key):
    values = [one[key] for one in part if one[key] is not None]
    return float(np.median(values)) if values else float("nan")


if __name__ == "__main__":
    main()
