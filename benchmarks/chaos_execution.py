"""Executions of a study whose processes are killed at random."""

import contextlib
import itertools
import math
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
from rich.console import Console

from benchmarks import chaos_processes as processes
from benchmarks.chaos_store import StoreWatcher
from greencv_core.utils.text import clock

WORKERS = 2
EARLY, STARTING_S = 0.25, 10.0
"""Share of the kills that do not wait until a run is being made, and how soon they come."""
STALLED_S = 180.0
"""Without a new record, a kill or a start, after which the driver is started again."""
STALLS = 3
TRIES = 5  # the same command in a row, without a kill in between
REPORT_EVERY_S = 5.0
console = Console(width=100)


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
        self.reported_s = 0.0

    def carry_out(self, killer):
        self.watch = StoreWatcher(self.store)
        with contextlib.nullcontext() if self.local else self.cluster():
            started_s = time.monotonic()
            self.drive(killer)
            self.seconds = time.monotonic() - started_s
        self.watch.end()
        # Each of them needs a moment to notice that its parent has ended.
        end_s = time.monotonic() + processes.GRACE_S
        while (left := processes.processes_in(self.folder)) and time.monotonic() < end_s:
            time.sleep(processes.TICK_S)
            self.update_orphans()
        self.update_orphans()
        self.left_over = [processes.describe(process) for process in left]

    def drive(self, killer):
        """Give the same command until it has nothing left to do."""
        tries, kills = 0, 0
        while True:
            driver = self.start_driver()
            started_s = time.monotonic()
            stalled = False
            while driver.poll() is None:
                killer.step(driver)
                self.restart_nannies()
                self.update_orphans()
                self.report_progress(killer)
                events_s = (started_s, self.watch.changed_s, *(s for _, s in self.killed_s[-1:]))
                if time.monotonic() - max(events_s) > STALLED_S:
                    stalled = True
                    self.stalls += 1
                    driver.kill()
                    driver.wait()
                time.sleep(processes.TICK_S)
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
                cwd=Path(__file__).resolve().parents[1],
                env={**os.environ, "TMPDIR": str(self.temporary)},
            )

    @contextlib.contextmanager
    def cluster(self):
        file = self.folder / "scheduler.json"
        scheduler = self.start(
            "scheduler", "dask", "scheduler", "--host", "127.0.0.1", "--port", 0,
            "--no-dashboard", "--scheduler-file", file,
        )  # fmt: skip
        self.address = processes.until(lambda: processes.address_in(file), "the scheduler")
        self.nannies = [self.start_nanny(number) for number in range(WORKERS)]
        processes.until(lambda: len(self.workers()) == WORKERS, "the workers")
        try:
            yield
        finally:
            for process in (*self.nannies, scheduler):
                process.terminate()
            for process in (*self.nannies, scheduler):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(processes.GRACE_S)

    def start_nanny(self, number):
        return self.start(
            f"worker-{number}", "dask", "worker", self.address, "--nworkers", 1,
            "--nthreads", 1, "--no-dashboard",
        )  # fmt: skip

    def restart_nannies(self):
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
            for child in processes.children(nanny.pid)
            if "multiprocessing.spawn" in processes.command_of(child)
        ]

    def trainings(self, driver):
        """Return the processes that train now, or meter what a training needs.

        A fork server of the driver or of a worker forks them. Before the first run, until the
        driver prints how many runs there are, it forks others to check data and try batches.
        """
        log = (self.folder / "driver.log").read_bytes()[self.log_start :]
        if b" runs to do: " not in log:
            return []
        return [
            training
            for maker in ([psutil.Process(driver.pid)] if self.local else self.workers())
            for server in processes.children(maker.pid)
            if "multiprocessing.forkserver" in processes.command_of(server)
            for training in processes.children(server.pid)
            # And not a program started by it.
            if "multiprocessing.forkserver" in processes.command_of(training)
        ]

    def kill(self, kind, process):
        # What it started is to end with it, a training at once.
        now_s = time.monotonic()
        self.orphans += [
            (now_s, processes.kind_of(child), child)
            for child in processes.children(process.pid, True)
        ]
        process.kill()
        self.kills[kind] += 1
        self.killed_s.append((kind, time.monotonic()))

    def update_orphans(self):
        now_s = time.monotonic()
        self.orphans = [
            (since_s, kind, each) for since_s, kind, each in self.orphans if processes.alive(each)
        ]
        for since_s, kind, _ in self.orphans:
            lasted_s = round(now_s - since_s, 1)
            self.orphans_lasted_s[kind] = max(self.orphans_lasted_s.get(kind, 0.0), lasted_s)

    def resumed_s(self, kind):
        """Return the median time from a kill to the next finished record."""
        after = [
            next((r - s for r in self.watch.finished_s if r > s), None)
            for killed, s in self.killed_s
            if killed == kind
        ]
        known = [seconds for seconds in after if seconds is not None]
        return round(statistics.median(known), 2) if known else None

    def report_progress(self, killer):
        now_s = time.monotonic()
        if now_s - self.reported_s < REPORT_EVERY_S:
            return
        self.reported_s = now_s
        done, planned_runs = self.watch.finished(), len(self.runs)
        killed = ", ".join(f"{number} {kind}" for kind, number in self.kills.items())
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

    def __init__(self, execution, kinds, rng):
        self.execution, self.kinds, self.rng = execution, list(kinds), rng
        self.killed_driver = False
        self.started_s = time.monotonic()
        self.due_s, self.early = None, self.is_early()

    def is_early(self):
        return self.rng.random() < EARLY

    def step(self, driver):
        """Kill, if it is time."""
        if not self.kinds:
            return
        now_s = time.monotonic()
        if self.due_s is None:
            if self.early:
                self.due_s = now_s + self.rng.uniform(0, STARTING_S)
            elif self.execution.trainings(driver):
                apart = self.runs_left() / len(self.kinds)
                self.due_s = now_s + self.rng.uniform(0, max(1, apart)) * self.run_s()
            return
        if self.due_s - now_s > self.run_s() and self.runs_left() <= 2 * len(self.kinds):
            self.due_s = now_s + self.rng.uniform(0, self.run_s())  # or none would be left
        if now_s < self.due_s:
            return
        victim = self.victim(self.kinds[0], driver)
        if victim is None:
            # To take the next one as it comes would be to kill it always at its beginning.
            self.due_s = now_s + self.rng.uniform(0, self.run_s())
            return
        with contextlib.suppress(psutil.NoSuchProcess):  # it came to its end just now
            self.execution.kill(self.kinds[0], victim)
            if self.kinds.pop(0) == processes.DRIVER:
                driver.wait()
                self.killed_driver = True
            self.due_s, self.early = None, self.is_early()

    def victim(self, kind, driver):
        if kind == processes.DRIVER:
            return psutil.Process(driver.pid) if driver.poll() is None else None
        found = self.execution
        running = found.workers() if kind == processes.WORKER else found.trainings(driver)
        running = [process for process in running if processes.alive(process)]
        return self.rng.choice(running) if running else None

    def runs_left(self):
        return len(self.execution.runs) - self.execution.watch.finished()

    def run_s(self):
        times = self.execution.watch.finished_s
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        return statistics.median(gaps) if gaps else 1.0

    def left_s(self):
        """Estimate the remaining time: of the runs, and of the extra cost of each kill."""
        done = self.execution.watch.finished()
        if not done:
            return None
        run_s, kills = self.run_s(), len(self.execution.killed_s)
        lost_s = time.monotonic() - self.started_s - done * run_s
        return self.runs_left() * run_s + len(self.kinds) * max(0.0, lost_s) / (kills + 1)
