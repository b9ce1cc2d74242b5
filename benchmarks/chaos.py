"""Whether a study comes to all of its runs, each once, while its processes are killed all the time.

    .venv/bin/python benchmarks/chaos.py [--runs N] [--kills N] [--seed N] [--local]

A study of very short runs is executed by a Dask cluster on this computer (a scheduler, two workers)
while one process after the other is killed by SIGKILL, at random instants: the driver, which is
then given the same command again, a worker, which its nanny starts again, or a training, which
greencv makes again. With ``--local`` there is no cluster, and drivers and trainings are killed.
The same study is then executed undisturbed, in the same way, into another store, and the two are
compared: all planned runs, each once, whole and with the same figures, but for times and energies.
The folder of logs and stores is kept where something does not hold. Takes about a quarter of an
hour. The last line is JSON.
"""

import argparse
import contextlib
import itertools
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # not this folder, whose statistics.py would hide the standard library's

import statistics  # noqa: E402

import psutil  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from greencv_core.records.backends.base import WRITING  # noqa: E402
from greencv_core.records.record import RunRecord  # noqa: E402
from greencv_core.records.source import load_study  # noqa: E402
from greencv_core.records.store import DAMAGED, Damaged, Store  # noqa: E402
from greencv_core.records.tables import table_row  # noqa: E402
from greencv_core.run.planning import plan_here  # noqa: E402
from greencv_core.utils.text import clock  # noqa: E402

STUDY = """\
name: chaos
description: Very short runs, to be killed.
dataset: {{name: digits, image_size: 32, train_images: 32, validation_images: 50}}
architectures: [shufflenet_v2_x0_5, squeezenet1_1]
environments: [{{name: cpu-1-thread, device: cpu, threads: 1}}]
protocol:
  {{epochs: 1, batch_size: 16, learning_rate: 0.002, repetitions: {repetitions}, idle_s: 0.5}}
carbon: {{country: ESP}}
"""
SAME = (
    "run_id", "study", "architecture", "environment", "repetition", "order", "seed", "status",
    "device", "device_name", "threads", "precision", "memory_format", "compile", "workers",
    "dataset", "image_size", "batch_size", "gflops_per_image", "parameters", "epochs", "ended_by",
    "images_processed", "provenance", "accuracy", "precision_macro", "recall_macro", "f1_macro",
    "auroc_macro", "train_loss", "validation_loss", "complete", "machine", "host", "torch_version",
)  # fmt: skip
"""Columns of the runs table that depend on no time and no energy."""
DRIVER, WORKER, TRAINING = "driver", "worker", "training"
WORKERS = 2
TICK_S = 0.1
LOOK_EVERY_S = 0.01
"""At the store."""
EARLY, STARTING_S = 0.25, 10.0
"""Share of the kills that do not wait until a run is being made, and how soon they come."""
STALLED_S = 180.0
"""Without a new record, a kill or a start, after which the driver is started again."""
STALLS = 3
TRIES = 5
"""The same command in a row, without a kill in between."""
READY_S, GRACE_S = 60.0, 20.0
"""For a cluster to be there, and for processes to be gone."""
TOLD_EVERY_S = 5.0
console = Console(width=100)


def main():
    asked = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    folder = Path(tempfile.mkdtemp(prefix="greencv-chaos-")).resolve()
    console.print(f"seed {asked.seed}; logs and stores are in {folder}", soft_wrap=True)
    try:
        told, reasons = chaos(folder, asked)
    finally:
        for process in ours(folder):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    for reason in reasons:
        console.print(f"[red]does not hold:[/] {reason}", soft_wrap=True, highlight=False)
    if not reasons:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(told))
    return 1 if reasons else 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200, help="of the study, an even number")
    parser.add_argument("--kills", type=int, default=42, help="of all sorts together")
    parser.add_argument("--seed", type=int, default=2022, help="of what is killed, and when")
    parser.add_argument("--local", action="store_true", help="without a cluster")
    asked = parser.parse_args()
    if not 2 <= asked.runs <= 2000 or asked.runs % 2:
        parser.error(f"--runs = {asked.runs}: must be an even number from 2 to 2000")
    if asked.kills < 0:
        parser.error(f"--kills = {asked.kills}: must be at least 0")
    return asked


def chaos(folder, asked):
    """Return what is told at the end, and what does not hold."""
    study = folder / "study.yaml"
    study.write_text(STUDY.format(repetitions=asked.runs // 2))
    runs = [run.run_id for run in plan_here(load_study(study))[0]]
    drawn = random.Random(asked.seed)
    sorts = [DRIVER, TRAINING] if asked.local else [DRIVER, WORKER, TRAINING]
    rounds = [drawn.sample(sorts, len(sorts)) for _ in range(asked.kills)]
    to_kill = [sort for each in rounds for sort in each][: asked.kills]

    disturbed = Execution("disturbed", folder, study, runs, asked.local)
    undisturbed = Execution("undisturbed", folder, study, runs, asked.local)
    disturbed.carry_out(Killer(disturbed, to_kill, drawn))
    undisturbed.carry_out(Killer(undisturbed, [], drawn))

    found, reference = Found(disturbed), Found(undisturbed)
    differing = [run for run in runs if found.same(run) != reference.same(run)]
    reasons = [
        *disturbed.reasons(found),
        *undisturbed.reasons(reference),
        *(f"{run}: {difference(found, reference, run)}" for run in differing),
    ]
    kills = {sort: disturbed.kills[sort] for sort in sorts}
    total = sum(kills.values())
    if total < asked.kills:
        reasons.append(f"the study was finished after {total} of {asked.kills} kills")
    lost_s = (disturbed.seconds - undisturbed.seconds) / total if total else math.nan
    resumed_s = {sort: disturbed.resumed_s(sort) for sort in sorts}
    show((disturbed, found), (undisturbed, reference), resumed_s)
    told = {
        "mode": "local" if asked.local else "cluster",
        "seed": asked.seed,
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
    return told, reasons


class Execution:
    """An execution of the study into a store of its own, until it is finished."""

    def __init__(self, name, folder, study, runs, local):
        self.name, self.study, self.runs, self.local = name, study, runs, local
        self.folder = folder / name
        self.store = self.folder / "runs"
        # The lock of the machine's devices lies there: it is that of these processes alone.
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir(parents=True)
        self.nannies, self.nannies_again, self.address = [], 0, None
        self.starts, self.stalls, self.seconds = 0, 0, math.nan
        self.exits, self.kills, self.killed_s = Counter(), Counter(), []
        self.orphans, self.orphans_lasted_s, self.left_over = [], {}, []
        self.told_s = 0.0

    def carry_out(self, killer):
        self.watch = Watch(self.store)
        with contextlib.nullcontext() if self.local else self.cluster():
            begun_s = time.monotonic()
            self.drive(killer)
            self.seconds = time.monotonic() - begun_s
        self.watch.end()
        # Each of them has a moment to notice that whoever started it is gone.
        end_s = time.monotonic() + GRACE_S
        while (left := ours(self.folder)) and time.monotonic() < end_s:
            time.sleep(TICK_S)
            self.look_at_orphans()
        self.look_at_orphans()
        self.left_over = [described(process) for process in left]

    def drive(self, killer):
        """Give the same command until it has nothing left to do."""
        tries, kills = 0, 0
        while True:
            driver = self.start_driver()
            started_s = time.monotonic()
            stalled = False
            while driver.poll() is None:
                killer.step(driver)
                self.look_at_nannies()
                self.look_at_orphans()
                self.tell(killer)
                events_s = (started_s, self.watch.changed_s, *(s for _, s in self.killed_s[-1:]))
                if time.monotonic() - max(events_s) > STALLED_S:
                    stalled = True
                    self.stalls += 1
                    driver.kill()
                    driver.wait()
                time.sleep(TICK_S)
            if killer.killed_driver:
                killer.killed_driver = False
            elif not stalled:
                self.exits[driver.returncode] += 1
            tries = tries + 1 if kills == len(self.killed_s) else 1
            kills = len(self.killed_s)
            if driver.returncode == 0 or tries >= TRIES or self.stalls >= STALLS:
                return

    def start_driver(self):
        self.starts += 1
        log = self.folder / "driver.log"
        self.log_start = log.stat().st_size if log.exists() else 0
        scheduler = () if self.local else ("--scheduler", self.address)
        return self.start("driver", "greencv", "run", self.study, "--store", self.store, *scheduler)

    def start(self, name, program, *arguments):
        command = [str(Path(sys.executable).with_name(program)), *map(str, arguments)]
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(self.temporary)},
            )

    @contextlib.contextmanager
    def cluster(self):
        file = self.folder / "scheduler.json"
        scheduler = self.start(
            "scheduler", "dask", "scheduler", "--host", "127.0.0.1", "--port", 0,
            "--no-dashboard", "--scheduler-file", file,
        )  # fmt: skip
        self.address = until(lambda: address_in(file), "the scheduler")
        self.nannies = [self.start_nanny(number) for number in range(WORKERS)]
        until(lambda: len(self.workers()) == WORKERS, "the workers")
        try:
            yield
        finally:
            for process in (*self.nannies, scheduler):
                process.terminate()
            for process in (*self.nannies, scheduler):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_S)

    def start_nanny(self, number):
        return self.start(
            f"worker-{number}", "dask", "worker", self.address, "--nworkers", 1,
            "--nthreads", 1, "--no-dashboard",
        )  # fmt: skip

    def look_at_nannies(self):
        """Start those again that gave up, as a batch system would.

        They do where a worker is killed before it is ready.
        """
        for number, nanny in enumerate(self.nannies):
            if nanny.poll() is not None:
                self.nannies[number] = self.start_nanny(number)
                self.nannies_again += 1

    def workers(self):
        """Return the processes that the nannies watch over."""
        return [
            child
            for nanny in self.nannies
            for child in children(nanny.pid)
            if "multiprocessing.spawn" in command_of(child)
        ]

    def trainings(self, driver):
        """Return the processes that train now, or meter what a training needs.

        A fork server of the driver or of a worker forks them. It forks others before the first
        run, to look at data and to try batches: until the driver says how many runs there are.
        """
        log = (self.folder / "driver.log").read_bytes()[self.log_start :]
        if b" runs to do: " not in log:
            return []
        return [
            training
            for maker in ([psutil.Process(driver.pid)] if self.local else self.workers())
            for server in children(maker.pid)
            if "multiprocessing.forkserver" in command_of(server)
            for training in children(server.pid)
            if "multiprocessing.forkserver" in command_of(training)  # and no program it looks with
        ]

    def kill(self, sort, process):
        # What it started is to end with it, a training at once.
        now_s = time.monotonic()
        self.orphans += [(now_s, kind_of(child), child) for child in children(process.pid, True)]
        process.kill()
        self.kills[sort] += 1
        self.killed_s.append((sort, time.monotonic()))

    def look_at_orphans(self):
        now_s = time.monotonic()
        self.orphans = [
            (since_s, kind, each) for since_s, kind, each in self.orphans if alive(each)
        ]
        for since_s, kind, _ in self.orphans:
            lasted_s = round(now_s - since_s, 1)
            self.orphans_lasted_s[kind] = max(self.orphans_lasted_s.get(kind, 0.0), lasted_s)

    def resumed_s(self, sort):
        """Return the median time from a kill to the next finished record."""
        after = [
            next((r - s for r in self.watch.finished_s if r > s), None)
            for killed, s in self.killed_s
            if killed == sort
        ]
        known = [seconds for seconds in after if seconds is not None]
        return round(statistics.median(known), 2) if known else None

    def tell(self, killer):
        now_s = time.monotonic()
        if now_s - self.told_s < TOLD_EVERY_S:
            return
        self.told_s = now_s
        done, planned_runs = self.watch.finished(), len(self.runs)
        killed = ", ".join(f"{number} {sort}" for sort, number in self.kills.items())
        left_s = killer.left_s()
        console.print(
            f"{self.name}: {done}/{planned_runs} runs finished, {self.starts} driver starts"
            f"{f', killed: {killed}' if killed else ''}"
            f"{'' if left_s is None else f'; about {clock(left_s)} left'}",
            highlight=False,
            soft_wrap=True,
        )

    def tracebacks(self):
        """Return the lines by which tracebacks of the drivers begin."""
        log = (self.folder / "driver.log").read_text(errors="replace")
        return [line for line in log.splitlines() if line.startswith("Traceback")]

    def reasons(self, found):
        """Return what does not hold, a line each."""
        log = (self.folder / "driver.log").read_text(errors="replace").splitlines()
        reasons = [f"{self.name}: {reason}" for reason in found.reasons()]
        # 3 says that runs failed; they are made again by the next start.
        odd = {code: times for code, times in self.exits.items() if code not in (0, 3)}
        if not self.exits[0]:
            reasons.append(f"{self.name}: no driver came to its end with exit code 0")
        for code, times in odd.items():
            ended = f"{self.name}: a driver ended by itself with exit code {code}, {times} times"
            errors = [line for line in log if line.startswith("error")]
            reasons.append(f"{ended}: {'; '.join(errors[-3:])}")
        if self.stalls:
            reasons.append(
                f"{self.name}: nothing happened for {STALLED_S:g} s, {self.stalls} times"
            )
        if times := len(self.tracebacks()):
            reasons.append(f"{self.name}: {times} tracebacks from drivers: {self.folder}")
        if self.watch.torn:
            reasons.append(f"{self.name}: {self.watch.torn} times a record was there by halves")
        reasons += [f"{self.name}: left over: {process}" for process in self.left_over]
        return reasons


class Killer:
    """Kills what it was given to kill, one after the other.

    Between two kills lie up to twice as many runs as make all kills fall into the study's first
    half or so, but a share of the kills comes at any time, that of starting included.
    """

    def __init__(self, execution, sorts, drawn):
        self.execution, self.sorts, self.drawn = execution, list(sorts), drawn
        self.killed_driver = False
        self.begun_s = time.monotonic()
        self.due_s, self.early = None, self.is_early()

    def is_early(self):
        return self.drawn.random() < EARLY

    def step(self, driver):
        """Kill, if it is time."""
        if not self.sorts:
            return
        now_s = time.monotonic()
        if self.due_s is None:
            if self.early:
                self.due_s = now_s + self.drawn.uniform(0, STARTING_S)
            elif self.execution.trainings(driver):
                apart = self.runs_left() / len(self.sorts)
                self.due_s = now_s + self.drawn.uniform(0, max(1, apart)) * self.run_s()
            return
        if self.due_s - now_s > self.run_s() and self.runs_left() <= 2 * len(self.sorts):
            self.due_s = now_s + self.drawn.uniform(0, self.run_s())  # or none would be left
        if now_s < self.due_s:
            return
        victim = self.victim(self.sorts[0], driver)
        if victim is None:
            # To take the next one as it comes would be to kill it always at its beginning.
            self.due_s = now_s + self.drawn.uniform(0, self.run_s())
            return
        with contextlib.suppress(psutil.NoSuchProcess):  # it came to its end just now
            self.execution.kill(self.sorts[0], victim)
            if self.sorts.pop(0) == DRIVER:
                driver.wait()
                self.killed_driver = True
            self.due_s, self.early = None, self.is_early()

    def victim(self, sort, driver):
        if sort == DRIVER:
            return psutil.Process(driver.pid) if driver.poll() is None else None
        running = self.execution.workers() if sort == WORKER else self.execution.trainings(driver)
        running = [process for process in running if alive(process)]
        return self.drawn.choice(running) if running else None

    def runs_left(self):
        return len(self.execution.runs) - self.execution.watch.finished()

    def run_s(self):
        times = self.execution.watch.finished_s
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        return statistics.median(gaps) if gaps else 1.0

    def left_s(self):
        """Return about how long the rest takes: its runs, and what each kill costs beside."""
        done = self.execution.watch.finished()
        if not done:
            return None
        run_s, kills = self.run_s(), len(self.execution.killed_s)
        lost_s = time.monotonic() - self.begun_s - done * run_s
        return self.runs_left() * run_s + len(self.sorts) * max(0.0, lost_s) / (kills + 1)


class Watch:
    """Looks at a store while it is written to: what comes, and what gives way to what.

    A folder's time tells when a file in it came or was replaced.
    """

    def __init__(self, store):
        self.store = store
        self.stamps, self.seen = {}, {}
        self.finished_s, self.changed_s = [], time.monotonic()
        self.replaced, self.failed, self.torn = set(), 0, 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        last_ns = None
        while not self.ended.wait(LOOK_EVERY_S):
            with contextlib.suppress(FileNotFoundError):  # not there yet
                now_ns = self.store.stat().st_mtime_ns
                # The clocks of file systems are coarse: a second change may have the same time.
                if now_ns != last_ns or time.time_ns() - now_ns < 100_000_000:
                    self.look()
                last_ns = now_ns
        self.look()

    def look(self):
        with contextlib.suppress(FileNotFoundError), os.scandir(self.store) as entries:
            for entry in entries:
                if entry.name.endswith(".json"):
                    with contextlib.suppress(FileNotFoundError):  # moved aside just now
                        self.look_at(entry)

    def look_at(self, entry):
        status = os.stat(entry.path)
        stamp = status.st_ino, status.st_mtime_ns, status.st_size
        if self.stamps.get(entry.name) == stamp:
            return
        written = Path(entry.path).read_bytes()
        self.stamps[entry.name], self.changed_s = stamp, time.monotonic()
        try:
            state = json.loads(written)["status"]
        except (ValueError, LookupError):
            self.torn += 1
            return
        earlier = self.seen.get(entry.name)
        self.seen[entry.name] = state, written
        if earlier == (state, written):
            return
        if earlier is not None and earlier[0] == "finished":
            self.replaced.add(entry.name.removesuffix(".json"))
        elif state == "finished":
            self.finished_s.append(self.changed_s)
        self.failed += state == "failed"

    def finished(self):
        return len(self.finished_s)

    def end(self):
        self.ended.set()
        self.thread.join()


class Found:
    """What is in the store of an execution that is over."""

    def __init__(self, execution):
        parsed = list(Store(execution.store).records())
        records = [entry for entry in parsed if isinstance(entry, RunRecord)]
        self.rows = {record.run_id: table_row(record) for record in records}
        self.missing = [run for run in execution.runs if run not in self.rows]
        self.unplanned = sorted(set(self.rows) - set(execution.runs))
        self.failed = [record.run_id for record in records if record.status != "finished"]
        aside = sorted((execution.store / DAMAGED).glob("*"))
        self.damaged = [
            *(f"{entry.where}: {entry.reason}" for entry in parsed if isinstance(entry, Damaged)),
            *(f"{path}: was set aside" for path in aside),
        ]
        everything = [path for path in execution.store.rglob("*") if path.is_file()]
        self.temporary = {
            path.name: path.stat().st_size for path in everything if path.name.startswith(WRITING)
        }
        places = Counter(
            run_id_in(path) for path in everything if not path.name.startswith(WRITING)
        )
        twice = {run for run, times in places.items() if run is not None and times > 1}
        self.duplicates = sorted(twice | execution.watch.replaced)

    def same(self, run):
        """Return what is to be the same however a run was made; None where there is none."""
        row = self.rows.get(run)
        if row is None:
            return None
        # Not a number is not equal to itself.
        return {column: None if row[column] != row[column] else row[column] for column in SAME}

    def reasons(self):
        return [
            *(f"missing: {run}" for run in self.missing),
            *(f"not planned: {run}" for run in self.unplanned),
            *(f"made again though finished, or in two places: {run}" for run in self.duplicates),
            *(f"damaged: {where}" for where in self.damaged),
            *(f"failed: {run}: {self.rows[run]['problems']}" for run in self.failed),
        ]


def difference(found, reference, run):
    one, other = found.same(run), reference.same(run)
    if one is None or other is None:
        return "is in one of the two stores alone"
    columns = [column for column in SAME if one[column] != other[column]]
    return "; ".join(f"{column} {one[column]}, undisturbed {other[column]}" for column in columns)


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
    for sort, seconds in resumed_s.items():
        told = "" if seconds is None else f"{seconds:.1f}"
        kills.add_row(sort, str(disturbed[0].kills[sort]), told)
    console.print(kills)


# Processes and files.


def ours(folder):
    """Return the living processes that were started with their temporary folder in this one."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            own = process.environ().get("TMPDIR", "")
            if Path(own).is_relative_to(folder) and alive(process):
                found.append(process)
    return found


def children(pid, recursive=False):
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=recursive)
    return []


def command_of(process):
    with contextlib.suppress(psutil.Error, AttributeError):
        return " ".join(process.cmdline())
    return ""


def kind_of(process):
    """Return what a process of greencv is there for."""
    if "multiprocessing.forkserver" in command_of(process):
        with contextlib.suppress(psutil.Error):
            forked = "multiprocessing.forkserver" in command_of(process.parent())
            return TRAINING if forked else "fork server"
    return "other"


def described(process):
    with contextlib.suppress(psutil.Error):
        return f"{process.pid}, child of {process.ppid()}: {command_of(process)}"
    return f"{process.pid}, gone meanwhile"


def alive(process):
    """Return whether a process runs; a zombie does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def run_id_in(path):
    try:
        return json.loads(path.read_bytes())["run_id"]
    except (ValueError, LookupError, TypeError):
        return None


def address_in(file):
    with contextlib.suppress(OSError, ValueError, KeyError):
        return json.loads(file.read_text())["address"]
    return None


def until(there, what):
    """Wait for what a function returns, until that is something."""
    end_s = time.monotonic() + READY_S
    while not (found := there()):
        if time.monotonic() > end_s:
            sys.exit(f"error: {what}: not there after {READY_S:g} s")
        time.sleep(TICK_S)
    return found


if __name__ == "__main__":
    sys.exit(main())
