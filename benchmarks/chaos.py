"""Whether a study completes all of its runs, each once, while its processes are killed at random.

    .venv/bin/python benchmarks/chaos.py [--runs N] [--kills N] [--seed N] [--local]

A study of very short runs runs on a Dask cluster on this computer (a scheduler, two workers) while
SIGKILL ends one process after the other at random: the driver (the benchmark starts it again), a
worker (its nanny starts it again) or a training (greencv repeats it). With ``--local`` there is no
cluster, and drivers and trainings are killed. The same study then runs undisturbed into another
store, and the two are compared: all planned runs, each once, complete and with the same figures
except times and energies. The folder of logs and stores remains if something does not hold. Takes
about 15 minutes. The last line is JSON.
"""

import search_path  # noqa: F401

# isort: split
import argparse
import contextlib
import json
import math
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import psutil
from rich.table import Table

from benchmarks.chaos_execution import Execution, Killer, console
from benchmarks.chaos_processes import DRIVER, TRAINING, WORKER, processes_in
from benchmarks.chaos_store import StoreContents, difference
from greencv_core.records.source import load_study
from greencv_core.run.planning import plan_here
from greencv_core.utils.text import clock

STUDY = """\
name: chaos
description: Very short runs, to be killed.
dataset: {{name: digits, image_size: 32, train_images: 32, validation_images: 50}}
architectures: [shufflenet_v2_x0_5, squeezenet1_1]
environments: [{{name: cpu-1-thread, device: cpu, threads: 1}}]
protocol:
  {{epochs: 1, batch_size: 16, learning_rate: 0.002, repetitions: {repetitions}, idle_s: 0.5,
   quiet_wait_s: 0, again_if_disturbed: 0}}
carbon: {{country: ESP}}
"""


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    folder = Path(tempfile.mkdtemp(prefix="greencv-chaos-")).resolve()
    console.print(f"seed {options.seed}; logs and stores are in {folder}", soft_wrap=True)
    try:
        figures, reasons = chaos(folder, options)
    finally:
        for process in processes_in(folder):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    for reason in reasons:
        console.print(f"[red]does not hold:[/] {reason}", soft_wrap=True, highlight=False)
    if not reasons:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(figures))
    return 1 if reasons else 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200, help="of the study, an even number")
    parser.add_argument("--kills", type=int, default=42, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=2022, help="of what is killed, and when")
    parser.add_argument("--local", action="store_true", help="without a cluster")
    options = parser.parse_args()
    if not 2 <= options.runs <= 2000 or options.runs % 2:
        parser.error(f"--runs = {options.runs}: must be an even number from 2 to 2000")
    if options.kills < 0:
        parser.error(f"--kills = {options.kills}: must be at least 0")
    return options


def chaos(folder, options):
    """Return the figures, and reasons why something does not hold."""
    study = folder / "study.yaml"
    study.write_text(STUDY.format(repetitions=options.runs // 2))
    runs = [run.run_id for run in plan_here(load_study(study))[0]]
    rng = random.Random(options.seed)
    kinds = [DRIVER, TRAINING] if options.local else [DRIVER, WORKER, TRAINING]
    rounds = [rng.sample(kinds, len(kinds)) for _ in range(options.kills)]
    to_kill = [kind for each in rounds for kind in each][: options.kills]

    disturbed = Execution("disturbed", folder, study, runs, options.local)
    undisturbed = Execution("undisturbed", folder, study, runs, options.local)
    disturbed.carry_out(Killer(disturbed, to_kill, rng))
    undisturbed.carry_out(Killer(undisturbed, [], rng))

    found, reference = StoreContents(disturbed), StoreContents(undisturbed)
    differing = [run for run in runs if found.same(run) != reference.same(run)]
    reasons = [
        *disturbed.reasons(found),
        *undisturbed.reasons(reference),
        *(f"{run}: {difference(found, reference, run)}" for run in differing),
    ]
    kills = {kind: disturbed.kills[kind] for kind in kinds}
    total = sum(kills.values())
    if total < options.kills:
        reasons.append(f"the study was finished after {total} of {options.kills} kills")
    lost_s = (disturbed.seconds - undisturbed.seconds) / total if total else math.nan
    resumed_s = {kind: disturbed.resumed_s(kind) for kind in kinds}
    show((disturbed, found), (undisturbed, reference), resumed_s)
    figures = {
        "mode": "local" if options.local else "cluster",
        "seed": options.seed,
        "runs_planned": len(runs),
        "runs_recorded": len(found.rows),
        "missing": len(found.missing),
        "unplanned": len(found.unplanned),
        "duplicates": len(found.duplicates),
        "damaged": len(found.damaged),
        "failed": len(found.failed),
        "differing": len(differing),
        "kills": kills,
        "kills_total": total,
        "driver_starts": disturbed.starts,
        "driver_exits": dict(disturbed.exits),
        "nannies_started_again": disturbed.nannies_again,
        "failed_meanwhile": disturbed.watch.failed,
        "stalls": disturbed.stalls + undisturbed.stalls,
        "tracebacks": len(disturbed.tracebacks()) + len(undisturbed.tracebacks()),
        "seconds_disturbed": round(disturbed.seconds, 1),
        "seconds_undisturbed": round(undisturbed.seconds, 1),
        "seconds_lost_per_kill": round(lost_s, 2) if total else None,
        "seconds_to_the_next_record": resumed_s,
        "orphans_lasted_s": disturbed.orphans_lasted_s,
        "temporary_files_left": len(found.temporary),
        "temporary_mb_left": round(sum(found.temporary.values()) / 1e6, 1),
        "left_over_processes": len(disturbed.left_over) + len(undisturbed.left_over),
    }
    return figures, reasons


def show(disturbed, undisturbed, resumed_s):
    table = Table("", "Disturbed", "Undisturbed", title="A study whose processes are killed")
    for column in table.columns[1:]:
        column.justify = "right"
    for what, figure in (
        ("Runs planned", lambda e, _: len(e.runs)),
        ("Runs recorded", lambda _, f: len(f.rows)),
        ("Missing", lambda _, f: len(f.missing)),
        ("Twice", lambda _, f: len(f.duplicates)),
        ("Damaged", lambda _, f: len(f.damaged)),
        ("Failed", lambda _, f: len(f.failed)),
        ("Kills", lambda e, _: sum(e.kills.values())),
        ("Driver starts", lambda e, _: e.starts),
        ("Processes left over", lambda e, _: len(e.left_over)),
        ("Temporary files left", lambda _, f: len(f.temporary)),
        ("Time", lambda e, _: clock(e.seconds)),
    ):
        table.add_row(what, str(figure(*disturbed)), str(figure(*undisturbed)))
    console.print(table)
    kills = Table("Killed", "Times", "Until the next record, s")
    for kind, seconds in resumed_s.items():
        figures = "" if seconds is None else f"{seconds:.1f}"
        kills.add_row(kind, str(disturbed[0].kills[kind]), figures)
    console.print(kills)


if __name__ == "__main__":
    sys.exit(main())
