"""The queue of a study's runs: jobs for workers out, records into the store."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from greencv_core.estimation import run_forecast
from greencv_core.estimation.run_cost import RemainingTime, RunCost, total_cost
from greencv_core.estimation.run_forecast import EpochForecast, RunForecaster
from greencv_core.records.record import RunRecord
from greencv_core.records.snapshot import StoreSnapshot
from greencv_core.run.calibration import Calibration
from greencv_core.run.planning import plan_on_machine, select_unfinished
from greencv_core.run.progress import RunProgress
from greencv_core.run.unfinished import describe_error
from greencv_core.run.worker import Job, WorkerInfo
from greencv_core.study.plan import PlannedRun
from greencv_core.study.schema import Study
from greencv_core.utils.errors import UnavailableError
from greencv_core.utils.text import clock

WRITE_TIMEOUT_S = 600.0
"""How long the queue retries to write a finished run to a store that does not respond."""
RETRY_EVERY_S = 5.0


def new_session() -> str:
    """Return a new session's name: the time, and four digits against two at the same second."""
    return f"{datetime.now(UTC).isoformat(timespec='seconds')} {secrets.token_hex(2)}"


@dataclass
class RunQueue:
    """A study's runs on their way from the plan to the store.

    For each kind of worker: :meth:`plan_for` it, calibrate it, :meth:`create_jobs`; then
    :meth:`start` and :meth:`finish` each job.

    ``architectures`` and ``stop_above_j`` as in :func:`greencv_core.run.collect.run_study`.
    """

    study: Study
    store: StoreSnapshot
    progress: RunProgress
    architectures: Sequence[str]
    stop_above_j: float | None = None
    again_disturbed: bool = False
    """Whether runs that are finished, but were disturbed, are made again, too."""
    runs: dict[str, PlannedRun] = field(default_factory=dict, init=False)
    """All runs planned so far, for any worker, by id."""
    new_records: list[RunRecord] = field(default_factory=list, init=False)
    computers: Mapping[str, int] = field(default_factory=dict, init=False)
    """Number of computers that train in parallel, by machine fingerprint; 1 if missing."""
    session: str = field(default_factory=new_session, init=False)
    """Name of this invocation of the driver, which all of its records carry."""
    _finished: int = field(default=0, init=False)
    """Finished runs in the store that have not been reported to ``progress`` yet."""
    _remaining: dict[str, RemainingTime] = field(default_factory=dict, init=False)
    """By run id; the same one for all runs of one calibration."""

    def prepare_store(self) -> None:
        """Make the store ready to be written to, and report damaged files or a full disk."""
        for damaged in self.store.prepare():
            self.progress.note(f"damaged and moved aside: {damaged.where}: {damaged.reason}")
        self.store.check_space()  # before anything is metered

    def plan_for(self, worker: WorkerInfo) -> list[PlannedRun]:
        """Return the unfinished runs that a worker can train and no other worker has planned."""
        planned = plan_on_machine(self.study, worker.machine, self.architectures)
        runs = [run for run in planned if run.run_id not in self.runs]
        self.runs.update({run.run_id: run for run in runs})
        self.store.stamps()  # another driver may have finished some of them
        unfinished = select_unfinished(
            runs, worker, self.store,
            stop_above_j=self.stop_above_j, again_disturbed=self.again_disturbed,
        )  # fmt: skip
        self._finished += len(runs) - len(unfinished)
        return unfinished

    def create_jobs(self, runs: Sequence[PlannedRun], calibration: Calibration) -> list[Job]:
        """Return the jobs for runs of one kind of worker, and report what they will cost."""
        machine = runs[0].machine
        forecasters, costs = self._predict(runs, calibration)
        expected_s = {condition: cost.total_s for condition, cost in calibration.costs.items()}
        remaining = RemainingTime(runs, expected_s)
        self._remaining.update({run.run_id: remaining for run in runs})
        total = total_cost(runs, costs)
        parallel = min(self.computers.get(machine, 1), len(runs))
        finished, self._finished = self._finished, 0
        self.progress.begin(runs, finished, replace(total, duration_s=total.duration_s / parallel))
        earlier = {run.run_id: self.store.read(run.run_id) for run in runs}
        starts = {run_id: record.started_at for run_id, record in earlier.items() if record}
        tries = {i: one.tries for i, one in earlier.items() if one is not None and one.disturbed}
        most = self.study.protocol.again_if_disturbed
        return [
            Job(
                run=run,
                expected_s=expected_s.get(run.condition),
                forecaster=forecasters.get(run.condition),
                stop_above_j=self.stop_above_j,
                refusal=self._refusal(run, forecasters.get(run.condition)),
                replaces=starts.get(run.run_id, ""),
                tries=1 + tries.get(run.run_id, 0),
                again=max(0, most - 1) if run.run_id in tries else most,
            )
            for run in runs
        ]

    def find_newer_record(self, job: Job) -> RunRecord | None:
        """Return the finished record that another driver wrote since the job was created."""
        self.store.stamps()
        record = self.store.read(job.run.run_id)
        if record is None or record.status != "finished" or record.started_at == job.replaces:
            return None
        return record

    def start(self, job: Job) -> None:
        """Report that a run starts; raise :class:`GreencvError` if the disk is full."""
        self.store.check_space()
        self.progress.run_started(job.run)

    def finish(self, job: Job, record: RunRecord, duration_s: float) -> Job | None:
        """Write the record of a run, unless another driver finished the run meanwhile.

        Returns a job if the run was disturbed and is to be made again, after the others.
        ``duration_s`` includes the set-up.
        """
        record = record.model_copy(update={"session": self.session, "tries": job.tries})
        if (newer := self._write(job, record)) is not None:
            record, duration_s = newer, (newer.duration_s or 0.0) + (newer.setup_s or 0.0)
        elif record.disturbed and record.status == "finished" and job.again:
            self.progress.run_disturbed(job.run, record, job.again)
            return replace(
                job, replaces=record.started_at, tries=job.tries + 1, again=job.again - 1
            )
        if job.tries > 1:  # of a try that failed, the earlier one stays
            self.store.stamps()
            record = self.store.read(job.run.run_id) or record
        self.new_records.append(record)
        self._remaining[job.run.run_id].learn(job.run, duration_s)
        self.progress.run_ended(job.run, record, self._remaining_s())
        return None

    def _write(self, job: Job, record: RunRecord) -> RunRecord | None:
        """Write a record and return None, or return the newer record that stays.

        If the server does not respond, retry for a while: a finished training is worth waiting.
        """
        deadline_s = time.monotonic() + WRITE_TIMEOUT_S
        noted = False
        while True:
            try:
                newer = self.find_newer_record(job)
                if newer is None:
                    self.store.write(record)
                return newer
            except UnavailableError as error:
                if time.monotonic() > deadline_s:
                    raise
                if not noted:
                    self.progress.note(f"{error}; trying again for {clock(WRITE_TIMEOUT_S)}")
                noted = True
                time.sleep(RETRY_EVERY_S)

    def _remaining_s(self) -> float:
        remaining_s: defaultdict[str, float] = defaultdict(float)
        runs: defaultdict[str, int] = defaultdict(int)
        machines = {each: self.runs[run_id].machine for run_id, each in self._remaining.items()}
        for remaining, machine in machines.items():
            remaining_s[machine] += remaining.remaining_s()
            runs[machine] += remaining.runs_left
        return max(
            seconds / max(1, min(self.computers.get(machine, 1), runs[machine]))
            for machine, seconds in remaining_s.items()
        )

    def _predict(
        self, runs: Sequence[PlannedRun], calibration: Calibration
    ) -> tuple[dict[str, RunForecaster], dict[str, RunCost]]:
        """Return forecasters and predicted costs by condition; a run may have no forecaster."""
        costs = calibration.costs
        try:
            history = run_forecast.RunHistory.from_records(self.store.records())
            idle_w = {name: sum(watts.values()) for name, watts in calibration.idle_power_w.items()}
            forecasters = history.forecasters(runs, costs, calibration.power_limit_w, idle_w)
            return forecasters, run_forecast.predict_costs(costs, forecasters)
        except Exception as error:  # without forecasts, runs can still be trained
            self.progress.note(f"no forecasts: {describe_error(error)}")
            return {}, dict(costs)

    def _refusal(self, run: PlannedRun, forecaster: RunForecaster | None) -> EpochForecast | None:
        """Return the forecast above the limit that prevents the run; None if it may start."""
        if self.stop_above_j is None or forecaster is None:
            return None
        with contextlib.suppress(Exception):  # such as too little data to forecast from
            forecast = EpochForecast(0, run.protocol.most_epochs, 0.0, forecaster.predict_before())
            return forecast if forecast.exceeds(self.stop_above_j) else None
        return None
