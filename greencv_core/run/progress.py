"""Show the progress of runs and downloads, in a terminal or a notebook."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from greencv_core.estimation.run_cost import StudyCost
from greencv_core.estimation.run_forecast import EpochForecast
from greencv_core.records.record import RunRecord
from greencv_core.study.plan import PlannedRun
from greencv_core.utils.text import clock, count, joules

LINE_EVERY_S = 10.0
FORECAST_EVERY_S = 30.0  # interval between lines about a run in progress, if there is no bar


class RunProgress(Protocol):
    """Receives the events of a study's execution."""

    def begin(self, runs: Sequence[PlannedRun], finished: int, expected: StudyCost) -> None:
        """Receive one kind of machine's unfinished runs, number of finished ones, and cost."""

    def run_started(self, run: PlannedRun) -> None:
        """Receive the start of a run; others may be in progress."""

    def run_waits(self, run: PlannedRun, reason: str, left_s: float) -> None:
        """Receive why a run waits for a quiet machine, and for how many seconds it still may.

        At the end of the wait, the reason is empty.
        """

    def run_disturbed(self, run: PlannedRun, record: RunRecord, again: int) -> None:
        """Receive a disturbed try of a run, and how often it may still be made again."""

    def run_forecast(self, run: PlannedRun, forecast: EpochForecast) -> None:
        """Receive a run's cost so far, and its forecast, after an epoch."""

    def run_ended(self, run: PlannedRun, record: RunRecord, remaining_s: float) -> None:
        """Receive the record of a run, and the expected remaining seconds of the study."""

    def note(self, text: str) -> None:
        """Receive a line of text."""


def describe_cost(expected: StudyCost) -> str:
    """Return the expected cost of runs: ``about 5 min 10 s and 12.3 kJ (estimated)``."""
    energy = ""
    if expected.energy_j is not None:
        energy = f" and {joules(expected.energy_j)} ({expected.provenance})"
    return f"{'at most' if expected.at_most else 'about'} {clock(expected.duration_s)}{energy}"


@contextmanager
def file_progress(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how many files are there and the remaining time; as lines if there is no bar.

    Yields a function to call with the number of files that are there and of all files.
    """
    live = console.is_terminal or console.is_jupyter
    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total} files"), TimeRemainingColumn(),
    )  # fmt: skip
    shown_s = start_s = time.monotonic()
    first: int | None = None

    with Progress(*columns, console=console, disable=not live, transient=True) as bar:
        task = bar.add_task(what, total=None)

        def show(done: int, total: int) -> None:
            nonlocal shown_s, first
            first = done if first is None else first  # files of an earlier download
            bar.update(task, completed=done, total=total)
            now_s = time.monotonic()
            if not live and now_s - shown_s >= LINE_EVERY_S:
                shown_s = now_s
                left_s = (now_s - start_s) * (total - done) / max(1, done - first)
                console.print(f"{what}: {done}/{total} files, {clock(left_s)} left")

        yield show


class ProgressBar(AbstractContextManager["ProgressBar"]):
    """A bar with finished runs, time left and energy so far; plain lines if there is no terminal.

    Below it, each run in progress has a bar with its epochs and the energy still to come.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._live = self._console.is_terminal or self._console.is_jupyter
        self._bar = Progress(
            TextColumn("{task.description:<38}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total} {task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[ahead]}"),
            console=self._console,
            disable=not self._live,
        )
        self._task: Any = None
        self._running: dict[str, tuple[str, Any]] = {}
        """Condition and bar of each run in progress, by run id."""
        self._shown_s: dict[str, float] = {}
        self._wait_shown_s = -LINE_EVERY_S
        self._energy_j = 0.0
        self._total = self._done = 0

    def __exit__(self, *error: object) -> None:
        """Stop the bar and leave it as it is."""
        if self._task is not None:
            self._bar.stop()

    def begin(self, runs: Sequence[PlannedRun], finished: int, expected: StudyCost) -> None:
        """Show how many runs there are and what they will cost."""
        planned = len(runs) + finished
        self._total, self._done = self._total + planned, self._done + finished
        self.note(f"{len(runs)} of {planned} runs to do: {describe_cost(expected)}")
        if self._task is None:
            left = clock(expected.duration_s)
            self._task = self._bar.add_task("", unit="runs", ahead=f"{left} left, 0 J")
            self._bar.start()
        self._bar.update(self._task, total=self._total, completed=self._done)

    def run_started(self, run: PlannedRun) -> None:
        """Show which run is in progress."""
        self._shown_s[run.run_id] = time.monotonic()
        self._forget(run)  # started before on a worker that was lost
        epochs = run.protocol.most_epochs
        bar = self._bar.add_task("", total=epochs, unit="epochs", ahead="", visible=False)
        self._running[run.run_id] = (run.condition, bar)
        self._name_running()

    def run_waits(self, run: PlannedRun, reason: str, left_s: float) -> None:
        """Show that a run waits, and in lines why: a reason would push the bars off the screen."""
        if run.run_id in self._running:
            _, bar = self._running[run.run_id]
            ahead = f"waits at most {clock(left_s)}" if reason else ""
            self._bar.update(bar, ahead=ahead, visible=bool(reason))
        now_s = time.monotonic()
        if reason and now_s >= self._wait_shown_s + LINE_EVERY_S:
            self._wait_shown_s = now_s
            self.note(f"{run.condition} waits for a quiet machine, {clock(left_s)} left: {reason}")

    def run_disturbed(self, run: PlannedRun, record: RunRecord, again: int) -> None:
        """Show that a run was disturbed and will be made again."""
        self._forget(run)
        self._name_running()
        tries = count(again, "more try", "more tries")
        problems = "; ".join(record.problems)
        self.note(f"disturbed, again later ({tries}): {run.title}: {problems}")

    def run_forecast(self, run: PlannedRun, forecast: EpochForecast) -> None:
        """Show the finished epochs and the remaining cost of a run; a line only if it is long."""
        ahead = forecast.left_in_words()
        if run.run_id in self._running:
            _, bar = self._running[run.run_id]
            self._bar.update(bar, completed=forecast.epoch, ahead=ahead, visible=True)
        now_s = time.monotonic()
        if not self._live and now_s - self._shown_s.get(run.run_id, now_s) >= FORECAST_EVERY_S:
            self._shown_s[run.run_id] = now_s
            epochs = f"{forecast.epoch}/{forecast.most_epochs} epochs"
            self.note(f"{run.condition}: {epochs}, {ahead}")

    def run_ended(self, run: PlannedRun, record: RunRecord, remaining_s: float) -> None:
        """Show the result of a run and the remaining time."""
        self._done += 1
        energy_j = record.total.energy_j if record.total and record.complete else None
        self._energy_j += energy_j or 0.0
        ahead = f"{clock(remaining_s)} left, {self._energy_j:,.0f} J"
        self._bar.update(self._task, completed=self._done, ahead=ahead)
        self._forget(run)
        self._name_running()
        if record.status == "failed":
            self.note(f"failed: {run.title}: {record.reason}")
        elif record.status == "stopped":
            self.note(f"{run.title}: {record.reason}")
        elif not self._live:
            result = "energy incomplete" if energy_j is None else f"{energy_j:.0f} J"
            if record.final is not None and record.correctness_is_meaningful:
                result += f", F1 {record.final.f1_macro:.3f}"
            self.note(
                f"[{self._done}/{self._total}] {run.condition}: {record.duration_s:.1f} s, "
                f"{result}; {clock(remaining_s)} left"
            )

    def _forget(self, run: PlannedRun) -> None:
        if run.run_id in self._running:
            _, bar = self._running.pop(run.run_id)
            self._bar.remove_task(bar)

    def _name_running(self) -> None:
        conditions = [condition for condition, _ in self._running.values()]
        if len(conditions) == 1:
            self._bar.update(self._task, description=escape(conditions[0]))
        elif conditions:
            self._bar.update(self._task, description=f"{len(conditions)} runs at once")
        for condition, bar in self._running.values():
            own = "this run" if len(conditions) == 1 else condition
            self._bar.update(bar, description=escape(f"  {own}"))

    def note(self, text: str) -> None:
        """Print a line."""
        self._console.print(escape(text), highlight=False, soft_wrap=True)
