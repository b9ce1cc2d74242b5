"""How an execution shows its progress to a person, in a terminal and in a notebook alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from greencv_core.estimation.run_cost import StudyCost
from greencv_core.estimation.run_forecast import EpochForecast
from greencv_core.records.record import RunRecord
from greencv_core.study.plan import PlannedRun
from greencv_core.utils.text import clock, joules

LINE_EVERY_S = 10.0
FORECAST_EVERY_S = 30.0
"""Between lines of how far a run is, where no bar is."""


def describe_cost(expected: StudyCost) -> str:
    """Return what runs are expected to take: ``about 5 min 10 s and 12.3 kJ (estimated)``."""
    energy = ""
    if expected.energy_j is not None:
        energy = f" and {joules(expected.energy_j)} ({expected.provenance})"
    return f"{'at most' if expected.at_most else 'about'} {clock(expected.duration_s)}{energy}"


@contextmanager
def file_progress(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how many files are at hand, and the time the others will take; lines where no bar is.

    Yields what is to be called with the number of files at hand and of all.
    """
    live = console.is_terminal or console.is_jupyter
    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total} files"), TimeRemainingColumn(),
    )  # fmt: skip
    told_s = began_s = time.monotonic()
    first: int | None = None

    with Progress(*columns, console=console, disable=not live, transient=True) as bar:
        task = bar.add_task(what, total=None)

        def show(done: int, total: int) -> None:
            nonlocal told_s, first
            first = done if first is None else first  # so many were here already
            bar.update(task, completed=done, total=total)
            now_s = time.monotonic()
            if not live and now_s - told_s >= LINE_EVERY_S:
                told_s = now_s
                left_s = (now_s - began_s) * (total - done) / max(1, done - first)
                console.print(f"{what}: {done}/{total} files, {clock(left_s)} left")

        yield show


class ProgressBar:
    """A bar with runs done, time left and energy so far; plain lines where no bar can be.

    Below it, each run that goes on has one with its epochs, and the energy still to come.
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
        self._going: dict[str, tuple[str, Any]] = {}
        """Condition and bar of each run that goes on, by its id."""
        self._told_s: dict[str, float] = {}
        self._energy_j = 0.0
        self._total = self._done = 0

    def __enter__(self) -> ProgressBar:
        """Start; nothing is shown before there is something to do."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the bar as it stands."""
        if self._task is not None:
            self._bar.stop()

    def begin(self, runs: Sequence[PlannedRun], finished: int, expected: StudyCost) -> None:
        """Show how much there is to do, and what it will take."""
        planned = len(runs) + finished
        self._total, self._done = self._total + planned, self._done + finished
        self.note(f"{len(runs)} of {planned} runs to do: {describe_cost(expected)}")
        if self._task is None:
            left = clock(expected.duration_s)
            self._task = self._bar.add_task("", unit="runs", ahead=f"{left} left, 0 J")
            self._bar.start()
        self._bar.update(self._task, total=self._total, completed=self._done)

    def started(self, run: PlannedRun) -> None:
        """Show which run is being made."""
        self._told_s[run.run_id] = time.monotonic()
        self._forget(run)  # begun before, by a worker that was lost
        bar = self._bar.add_task(
            "", total=run.protocol.most_epochs, unit="epochs", ahead="", visible=False
        )
        self._going[run.run_id] = (run.condition, bar)
        self._name_what_goes_on()

    def forecast(self, run: PlannedRun, midway: EpochForecast) -> None:
        """Show how far a run is and what it still takes; as a line only if it lasts."""
        ahead = midway.left_in_words()
        if run.run_id in self._going:
            _, bar = self._going[run.run_id]
            self._bar.update(bar, completed=midway.epoch, ahead=ahead, visible=True)
        now_s = time.monotonic()
        if not self._live and now_s - self._told_s.get(run.run_id, now_s) >= FORECAST_EVERY_S:
            self._told_s[run.run_id] = now_s
            epochs = f"{midway.epoch}/{midway.most_epochs} epochs"
            self.note(f"{run.condition}: {epochs}, {ahead}")

    def ended(self, run: PlannedRun, record: RunRecord, remaining_s: float) -> None:
        """Show what came of a run and what remains."""
        self._done += 1
        energy_j = record.total.energy_j if record.total and record.complete else None
        self._energy_j += energy_j or 0.0
        ahead = f"{clock(remaining_s)} left, {self._energy_j:,.0f} J"
        self._bar.update(self._task, completed=self._done, ahead=ahead)
        self._forget(run)
        self._name_what_goes_on()
        if record.status == "failed":
            self.note(f"failed: {run.title}: {record.reason}")
        elif record.status == "stopped":
            self.note(f"{run.title}: {record.reason}")
        elif not self._live:
            told = "energy incomplete" if energy_j is None else f"{energy_j:.0f} J"
            if record.final is not None and record.correctness_is_meaningful:
                told += f", F1 {record.final.f1_macro:.3f}"
            self.note(
                f"[{self._done}/{self._total}] {run.condition}: {record.duration_s:.1f} s, {told}; "
                f"{clock(remaining_s)} left"
            )

    def _forget(self, run: PlannedRun) -> None:
        if run.run_id in self._going:
            _, bar = self._going.pop(run.run_id)
            self._bar.remove_task(bar)

    def _name_what_goes_on(self) -> None:
        """Name the run beside the bar; where there are several, each beside its own."""
        conditions = [condition for condition, _ in self._going.values()]
        if len(conditions) == 1:
            self._bar.update(self._task, description=escape(conditions[0]))
        elif conditions:
            self._bar.update(self._task, description=f"{len(conditions)} runs at once")
        for condition, bar in self._going.values():
            own = "this run" if len(conditions) == 1 else condition
            self._bar.update(bar, description=escape(f"  {own}"))

    def note(self, text: str) -> None:
        """Print a line."""
        self._console.print(escape(text), highlight=False, soft_wrap=True)


class RunProgress(Protocol):
    """What an execution tells while it goes on."""

    def begin(self, runs: Sequence[PlannedRun], finished: int, expected: StudyCost) -> None:
        """The runs still to make, how many are finished already, and what they will take.

        Told once for each kind of computer.
        """

    def started(self, run: PlannedRun) -> None:
        """A run begins; others may be under way."""

    def forecast(self, run: PlannedRun, midway: EpochForecast) -> None:
        """An epoch of the run ended: what it took so far, and what it will take in all."""

    def ended(self, run: PlannedRun, record: RunRecord, remaining_s: float) -> None:
        """A run ended, well or not; what remains is expected to take ``remaining_s``."""

    def note(self, text: str) -> None:
        """Something else worth a line."""
