"""What is to be made, by whom, and what became of it: the same for one computer and for many."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from greencv_core.estimation.run_cost import RemainingTime, RunCost, total_cost
from greencv_core.estimation.run_forecast import (
    EpochForecast,
    RunForecaster,
    RunHistory,
    predict_costs,
)
from greencv_core.records.record import RunRecord
from greencv_core.records.store import Store
from greencv_core.run.planning import costs_from_records, plan_on_machine, select_unfinished
from greencv_core.run.progress import RunProgress
from greencv_core.run.worker import Calibration, Job, WorkerInfo, describe_error
from greencv_core.study.plan import PlannedRun
from greencv_core.study.schema import Study
from greencv_core.utils.errors import UnavailableError
from greencv_core.utils.text import clock

PATIENCE_S = 600.0
"""How long a store that does not answer is waited for with a finished run."""
TRY_EVERY_S = 5.0


@dataclass
class RunQueue:
    """A study's runs on their way from the plan to the store.

    Whoever has runs made asks what a computer is to make (:meth:`runs_for`), prepares, takes the
    :meth:`orders`, and tells of each order when it begins and ends.

    Parameters
    ----------
    architectures
        Those to be made, of the study's.
    stop_above_j
        See :func:`greencv_core.run.collect.run_study`.
    """

    study: Study
    store: Store
    progress: RunProgress
    architectures: Sequence[str]
    stop_above_j: float | None = None
    runs: dict[str, PlannedRun] = field(default_factory=dict, init=False)
    """All that were planned, on whichever computer, by id."""
    made: list[RunRecord] = field(default_factory=list, init=False)
    computers: Mapping[str, int] = field(default_factory=dict, init=False)
    """How many computers make runs, by the machine's fingerprint; one where it is not told."""
    _finished: int = field(default=0, init=False)
    """Runs found in the store, and not told of yet."""
    _forecasts: list[tuple[str, RemainingTime]] = field(default_factory=list, init=False)
    """By the machine's fingerprint."""
    _forecast_of: dict[str, RemainingTime] = field(default_factory=dict, init=False)

    @property
    def may_refuse(self) -> bool:
        """Whether a forecast may keep a run from being begun: each condition needs one then."""
        return self.stop_above_j is not None

    def open_store(self) -> None:
        """Make the store ready to be written to, and tell of what lay there damaged.

        Raises
        ------
        GreencvError
            See :meth:`greencv_core.records.store.Store.prepare`.
        """
        for damaged in self.store.prepare():
            self.progress.note(f"damaged, and set aside: {damaged.where}: {damaged.reason}")
        self.store.check_space()  # before anything is metered

    def runs_for(self, site: WorkerInfo) -> list[PlannedRun]:
        """Return what a computer is the first to be asked for, and the store lacks."""
        every = plan_on_machine(self.study, site.machine, self.architectures)
        runs = [run for run in every if run.run_id not in self.runs]
        self.runs.update({run.run_id: run for run in runs})
        left = select_unfinished(runs, site, self.store, stop_above_j=self.stop_above_j)
        self._finished += len(runs) - len(left)
        return left

    def known(self, runs: Sequence[PlannedRun]) -> dict[str, RunCost]:
        """Return what finished runs tell that one run takes, by condition."""
        return costs_from_records(runs, self.store)

    def orders(self, runs: Sequence[PlannedRun], prepared: Calibration) -> list[Job]:
        """Return the orders of runs of one kind of computer, which prepared for them."""
        machine = runs[0].machine
        forecasters, costs = self._predict(runs, prepared)
        expected_s = {name: cost.total_s for name, cost in prepared.expected.items()}
        forecast = RemainingTime(runs, expected_s)
        self._forecasts.append((machine, forecast))
        self._forecast_of.update({run.run_id: forecast for run in runs})
        together = total_cost(runs, costs)
        at_once = min(self.computers.get(machine, 1), len(runs))
        finished, self._finished = self._finished, 0
        self.progress.begin(
            runs, finished, replace(together, duration_s=together.duration_s / at_once)
        )
        return [
            self._order(run, forecasters.get(run.condition), expected_s.get(run.condition))
            for run in runs
        ]

    def _order(
        self, run: PlannedRun, forecaster: RunForecaster | None, expected_s: float | None
    ) -> Job:
        limit_j, earlier = self.stop_above_j, self.store.read(run.run_id)
        return Job(
            run=run,
            expected_s=expected_s,
            forecaster=forecaster,
            stop_above_j=limit_j,
            refused=None if limit_j is None else _refusal(run, forecaster, limit_j),
            replaces="" if earlier is None else earlier.started_at,
        )

    def made_meanwhile(self, order: Job) -> RunRecord | None:
        """Return the record that somebody else made since the order was given."""
        present = self.store.read(order.run.run_id)
        if present is None or present.status != "finished":
            return None
        return None if present.started_at == order.replaces else present

    def begins(self, order: Job) -> None:
        """Announce a run; stop before it if the disk has no space for its record.

        Raises
        ------
        GreencvError
            There is none.
        """
        self.store.check_space()
        self.progress.started(order.run)

    def told(self, order: Job, midway: EpochForecast) -> None:
        """Pass on a forecast."""
        self.progress.forecast(order.run, midway)

    def ended(self, order: Job, record: RunRecord, duration_s: float) -> None:
        """Write the record of a run, unless somebody else made it meanwhile.

        Parameters
        ----------
        duration_s
            What it took, with its set-up.

        Raises
        ------
        GreencvError
            It cannot be written.
        """
        run = order.run
        present = self._write(order, record)
        if present is not None:
            record = present
            duration_s = (present.duration_s or 0.0) + (present.setup_s or 0.0)
        self.made.append(record)
        self._forecast_of[run.run_id].learn(run, duration_s)
        self.progress.ended(run, record, self._remaining_s())

    def _write(self, order: Job, record: RunRecord) -> RunRecord | None:
        """Write a record; return another one's that is there already, and stays.

        A server that is away for a while costs no training: it is waited for.
        """
        end_s = time.monotonic() + PATIENCE_S
        told = False
        while True:
            try:
                present = self.made_meanwhile(order)
                if present is None:
                    self.store.write(record)
                return present
            except UnavailableError as error:
                if time.monotonic() > end_s:
                    raise
                if not told:
                    self.progress.note(f"{error}; trying again for {clock(PATIENCE_S)}")
                told = True
                time.sleep(TRY_EVERY_S)

    def _remaining_s(self) -> float:
        left_s: defaultdict[str, float] = defaultdict(float)
        runs: defaultdict[str, int] = defaultdict(int)
        for machine, forecast in self._forecasts:
            left_s[machine] += forecast.remaining_s()
            runs[machine] += forecast.runs_left
        return max(
            left_s[machine] / max(1, min(self.computers.get(machine, 1), runs[machine]))
            for machine in left_s
        )

    def _predict(
        self, runs: Sequence[PlannedRun], prepared: Calibration
    ) -> tuple[dict[str, RunForecaster], dict[str, RunCost]]:
        """Return forecasters and predicted costs by condition; a run may have no forecaster."""
        try:
            history = RunHistory.from_records(self.store.records())
            idle_w = {name: sum(watts.values()) for name, watts in prepared.idle_power_w.items()}
            forecasters = history.forecasters(
                runs, prepared.expected, prepared.power_limit_w, idle_w
            )
            return forecasters, predict_costs(prepared.expected, forecasters)
        except Exception as error:  # without forecasts, runs can still be trained
            self.progress.note(f"no forecasts: {describe_error(error)}")
            return {}, dict(prepared.expected)


def _refusal(
    run: PlannedRun, forecaster: RunForecaster | None, limit_j: float
) -> EpochForecast | None:
    """Return the forecast that keeps a run from being begun; None where it may begin."""
    if forecaster is None:
        return None
    with contextlib.suppress(Exception):  # that there is nothing to tell it from yet, say
        before = EpochForecast(0, run.protocol.most_epochs, 0.0, forecaster.predict_before())
        return before if before.exceeds(limit_j) else None
    return None
