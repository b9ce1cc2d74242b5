"""Run the queue on the workers of a Dask cluster.

Each worker gets Dask resources when it joins: a slot for one run at a time, its machine and its
devices. Dask sends a run to a worker that has the resources of the run. What a worker does is in
:mod:`greencv_core.run.dask_worker`. Records come back to the driver, which alone writes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import queue
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from distributed import Client, Future, KilledWorker, Security
from distributed.comm.addressing import get_address_host_port
from distributed.comm.core import connect

from greencv_core.machine import hardware
from greencv_core.run import dask_worker
from greencv_core.run.calibration import Calibration
from greencv_core.run.planning import costs_from_records
from greencv_core.run.queue import RunQueue
from greencv_core.run.unfinished import build_failed_record, describe_error
from greencv_core.run.worker import Job, WorkerInfo
from greencv_core.study.plan import PlannedRun
from greencv_core.utils.errors import BadInputError, GreencvError
from greencv_core.utils.text import count

CHECK_EVERY_S = 2.0  # interval between checks which workers are there
CONNECT_S = 10.0
LATER = 1_000_000  # places in the order by which each further try of a disturbed run is later
ATTEMPTS = 4  # workers that may be lost with a run before the run counts as failed


def run_on_cluster(run_queue: RunQueue, scheduler: str) -> None:
    """Train a study's runs on a cluster's workers, each on one with the device that it needs.

    Workers may come and go; a run whose worker is lost starts again on another one.
    """
    run_queue.prepare_store()
    with _connected(scheduler) as client:
        _Session(client, run_queue, scheduler).run()
    study = run_queue.study
    if study.environments != "auto":
        used = {run.environment.name for run in run_queue.runs.values()}
        for spec in study.environments:
            if spec.name not in used:
                run_queue.progress.note(f"environment {spec.name}: no worker had it")


@contextlib.contextmanager
def _connected(scheduler: str) -> Iterator[Client]:
    # Problems of the cluster appear as lines of ours, not as Dask's tracebacks.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        get_address_host_port(scheduler)
    except ValueError as error:
        raise BadInputError(
            f"--scheduler {scheduler}: not an address of a Dask scheduler, such as tcp://host:8786"
        ) from error
    # A client that cannot connect leaves threads and tracebacks behind: try the address first.
    try:
        asyncio.run(_try_to_connect(scheduler))
    except TypeError as error:
        raise BadInputError(
            f"--scheduler {scheduler}: Dask has no certificate here: name one in its "
            "configuration, distributed.comm.tls"
        ) from error
    except Exception as error:  # another kind of server may answer anything
        raise GreencvError(f"--scheduler {scheduler}: no Dask scheduler responds there") from error
    client = Client(scheduler, timeout=CONNECT_S, set_as_default=False, name="greencv")
    try:
        yield client
    finally:
        client.close(timeout=1)


async def _try_to_connect(scheduler: str) -> None:
    keys = Security().get_connection_args("client")
    # Dask waits forever for a server that is silent after it is connected.
    async with asyncio.timeout(CONNECT_S + 1):
        comm = await connect(scheduler, timeout=CONNECT_S, **keys)
        await comm.close()


@dataclass
class _Task:
    job: Job
    planned_for: WorkerInfo
    """The first worker of the kind that the run is planned for."""
    future: Future[Any]
    starts: int = 0
    """Number of workers that started it."""


@dataclass
class _Session:
    """One execution of one study on a cluster.

    Dask's threads put what happens into ``_events``; the driver's own thread handles them.
    """

    client: Client
    run_queue: RunQueue
    scheduler: str
    name: str = field(default_factory=lambda: f"greencv-{uuid.uuid4().hex[:8]}")
    """Distinguishes this execution from others on the same cluster."""
    _events: queue.SimpleQueue[Callable[[], None]] = field(default_factory=queue.SimpleQueue)
    _joining: dict[str, Future[Any]] = field(default_factory=dict)
    """By worker address."""
    _workers: dict[str, WorkerInfo] = field(default_factory=dict)
    """Usable workers by address."""
    _refused: dict[str, str] = field(default_factory=dict)
    """Workers that cannot be used, and why, by address."""
    _calibrating: dict[str, Future[Any]] = field(default_factory=dict)
    """By kind of worker."""
    _tasks: dict[str, _Task] = field(default_factory=dict)
    """By run id."""
    _status: list[str] = field(default_factory=list)
    """What was last reported about the workers."""

    def run(self) -> None:
        self.client.subscribe_topic(self.name, self._on_message)
        try:
            while not self._all_done():
                self._check_workers()
                end_s = time.monotonic() + CHECK_EVERY_S
                with contextlib.suppress(queue.Empty):
                    while not self._all_done() and (left_s := end_s - time.monotonic()) > 0:
                        self._events.get(timeout=left_s)()
        finally:
            futures = [task.future for task in self._tasks.values()]
            if self.client.status == "running":
                # A worker that trains notices within a second that its task is cancelled.
                self.client.cancel([*futures, *self._calibrating.values(), *self._joining.values()])

    def _all_done(self) -> bool:
        under_way = self._joining or self._calibrating or self._tasks
        if under_way or not (self._workers or self._refused):
            return False
        if not self._workers and not self.run_queue.runs:
            reasons = sorted(set(self._refused.values()))
            raise BadInputError("\n".join(f"no worker can be used: {each}" for each in reasons))
        return True

    def _check_workers(self) -> None:
        present = self._present_workers()
        for address in [a for a in self._joining if a not in present]:
            self._joining.pop(address).release()
        for known in (self._workers, self._refused):
            for address in [a for a in known if a not in present]:
                del known[address]
        for address, worker in present.items():
            # A worker that was restarted at the same address has lost its resources.
            if address in self._workers and self.name not in worker["resources"]:
                del self._workers[address]
            if address not in self._workers | self._joining | self._refused:
                self._joining[address] = self._submit(
                    dask_worker.join,
                    self.run_queue.study, hardware.software_versions(), self.name,
                    key=f"{self.name}-join-{address}-{uuid.uuid4().hex[:8]}", workers=[address],
                    then=partial(self._joined, address),
                )  # fmt: skip
        self._report_workers()

    def _present_workers(self) -> dict[str, Any]:
        try:
            if self.client.status != "running":
                raise OSError
            info = self.client.scheduler_info(n_workers=-1)
        except (OSError, TimeoutError) as error:
            raise _scheduler_lost(self.scheduler) from error
        return dict(info["workers"])

    def _joined(self, address: str, future: Future[Any]) -> None:
        if self._joining.get(address) is not future:
            return
        del self._joining[address]
        answer = self._result_of(future)
        if isinstance(answer, KilledWorker):
            return  # it joins again when it is back
        if not isinstance(answer, WorkerInfo):
            self._refused[address] = reason = _reason(answer)
            self._note(f"{address} is not used: {reason}")
            return
        kind = dask_worker.kind_of(answer)
        first = next((w for w in self._workers.values() if dask_worker.kind_of(w) == kind), None)
        self._workers[address] = answer
        self._count_computers()
        if first is not None and first.versions != answer.versions:
            others = ", ".join(
                f"{package} {version}, others {first.versions.get(package)}"
                for package, version in answer.versions.items()
                if first.versions.get(package) != version
            )
            self._note(f"{address} has {others}: its runs may differ by that")
        if kind not in self._calibrating:
            self._calibrate(kind, answer)

    def _calibrate(self, kind: str, worker: WorkerInfo) -> None:
        runs = self.run_queue.plan_for(worker)
        if not runs:
            return
        names = [worker.machine.cpu_model, *(a.name for a in worker.machine.accelerators)]
        self._note("metering idle power, timing a few batches: " + ", ".join(names))
        known = costs_from_records(runs, self.run_queue.store)
        self._calibrating[kind] = self._submit(
            dask_worker.calibrate, self.name, runs, known, self.run_queue.stop_above_j is not None,
            key=f"{self.name}-prepare-{kind}", resources=self._resources(kind),
            then=lambda future: self._calibrated(kind, worker, runs, future),
        )  # fmt: skip

    def _calibrated(
        self, kind: str, worker: WorkerInfo, runs: Sequence[PlannedRun], future: Future[Any]
    ) -> None:
        del self._calibrating[kind]
        answer = self._result_of(future)
        if not isinstance(answer, Calibration):
            self._note(f"calibration failed: {_reason(answer)}")
            names = {run.environment.name for run in runs}
            answer = Calibration(
                {name: {} for name in names}, dict.fromkeys(names, float("nan")), {}
            )
        for job in self.run_queue.create_jobs(runs, answer):
            self._tasks[job.run.run_id] = _Task(job, worker, self._send(job))

    def _send(self, job: Job) -> Future[Any]:
        run = job.run
        return self._submit(
            dask_worker.train, self.name, job,
            key=f"{self.name}-{run.run_id}-{uuid.uuid4().hex[:8]}",
            resources=self._resources(dask_worker.required_device(run)),
            priority=-run.order - LATER * (job.tries - 1),
            then=partial(self._trained, job),
        )  # fmt: skip

    def _resources(self, needed: str) -> dict[str, float]:
        return {dask_worker.SLOT: 1, f"{self.name} {needed}": 1}

    def _trained(self, job: Job, future: Future[Any]) -> None:
        task = self._tasks[job.run.run_id]
        if future is not task.future:
            return
        answer = self._result_of(future)
        lost_before = isinstance(answer, KilledWorker) and task.starts < ATTEMPTS
        if lost_before or isinstance(answer, dask_worker.CancelledTaskError):
            # Its workers were lost with other runs while it waited, or its own was shut down.
            task.future = self._send(job)
            return
        del self._tasks[job.run.run_id]
        if isinstance(answer, tuple):
            again = self.run_queue.finish(job, *answer)
            if again is not None:
                self._tasks[job.run.run_id] = _Task(again, task.planned_for, self._send(again))
            return
        reason = _reason(answer)
        if isinstance(answer, KilledWorker):
            reason = f"its worker was lost {task.starts} times in a row"
        record = build_failed_record(job.run, task.planned_for.machine, reason)
        self.run_queue.finish(job, record.model_copy(update={"host": ""}), 0.0)

    def _on_message(self, event: tuple[float, bytes]) -> None:
        self._events.put(partial(self._handle_message, *pickle.loads(event[1])))

    def _handle_message(self, kind: str, run_id: str, content: Any) -> None:
        if kind == dask_worker.NOTE:
            self._note(content)
            return
        task = self._tasks.get(run_id)
        if task is None:
            return
        if kind == dask_worker.FORECAST:
            self.run_queue.progress.run_forecast(task.job.run, content)
            return
        if kind == dask_worker.WAITS:
            self.run_queue.progress.run_waits(task.job.run, *content)
            return
        task.starts += 1
        if task.starts > 1:
            self._note(f"{task.job.run.title}: its worker was lost; again")
        self.run_queue.start(task.job)

    def _submit(
        self, function: Callable[..., Any], *arguments: Any, then: Callable[[Future[Any]], None],
        **options: Any,
    ) -> Future[Any]:  # fmt: skip
        future = self.client.submit(function, *arguments, pure=False, **options)
        future.add_done_callback(lambda done: self._events.put(lambda: then(done)))
        return future

    def _result_of(self, future: Future[Any]) -> Any:
        """Return what a task returned, or the exception that it raised."""
        try:
            return future.result()
        except CancelledError as error:
            raise _scheduler_lost(self.scheduler) from error
        except Exception as error:  # anything may happen on another computer
            return error

    def _count_computers(self) -> set[tuple[str, str]]:
        computers = {(w.machine.fingerprint, w.host) for w in self._workers.values()}
        self.run_queue.computers = Counter(fingerprint for fingerprint, _ in computers)
        return computers

    def _report_workers(self) -> None:
        hosts = {host for _, host in self._count_computers()}
        if self._joining:
            return
        status = ["waiting for workers"]
        if hosts:
            study, workers = self.run_queue.study, self._workers.values()
            offered = set().union(*(dask_worker.offered_devices(study, each) for each in workers))
            waiting = Counter(
                task.job.run.accelerator or task.planned_for.machine.cpu_model
                for task in self._tasks.values()
                if dask_worker.required_device(task.job.run) not in offered
            )
            status = [f"{count(len(workers), 'worker')} on {count(len(hosts), 'computer')}"]
            status += [f"{count(n, 'run')} to wait for {what}" for what, n in waiting.items()]
        if status != self._status:
            self._status = status
            self._note("; ".join(status))

    def _note(self, text: str) -> None:
        self.run_queue.progress.note(text)


def _scheduler_lost(scheduler: str) -> GreencvError:
    return GreencvError(
        f"the Dask scheduler at {scheduler} was lost or restarted; finished runs are kept: start "
        "it if it is down, and run the same command again"
    )


def _reason(answer: object) -> str:
    if isinstance(answer, ImportError | AttributeError):
        return "it has no greencv, or another version"
    if isinstance(answer, GreencvError):
        return str(answer)
    return describe_error(answer) if isinstance(answer, BaseException) else str(answer)
