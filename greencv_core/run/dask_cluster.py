"""A study's runs, made by the workers of a Dask cluster.

Dask says where a run goes, by resources that each worker is given when it joins: one run at a time
(``greencv``), and the places that its computer has (a kind of machine and a device). What a worker
does is :mod:`greencv_core.run.worker`'s. Records come back to the driver, which alone writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import pickle
import queue
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from distributed import Client, Future, KilledWorker, Security, Status, get_worker
from distributed import Worker as DaskWorker
from distributed.comm.addressing import get_address_host_port
from distributed.comm.core import connect

from greencv_core.estimation.run_cost import RunCost
from greencv_core.machine import hardware
from greencv_core.machine.environment import missing_environments, resolve
from greencv_core.machine.lock import machine_lock
from greencv_core.records.record import RunRecord
from greencv_core.run.queue import RunQueue
from greencv_core.run.subprocesses import retry_in_fresh_process
from greencv_core.run.worker import (
    Calibration,
    Job,
    Worker,
    WorkerInfo,
    describe_error,
    describe_worker,
    failed,
    find_study_errors,
)
from greencv_core.study.plan import PlannedRun
from greencv_core.study.schema import Study
from greencv_core.utils.errors import BadInputError, GreencvError

LOOK_EVERY_S = 2.0
"""Between looks at who is there."""
CONNECT_S = 10.0
ATTEMPTS = 4
"""Workers that a run may take with it, before it is held to be the reason."""
ONE_AT_A_TIME = "greencv"
"""The resource of each worker that a run takes whole."""


def run_on_cluster(dispatch: RunQueue, scheduler: str) -> None:
    """Make a study's runs on a cluster's workers, each on one that has what the run asks for.

    Workers may come and go meanwhile; what one of them leaves unfinished, another one begins anew.

    Parameters
    ----------
    scheduler
        Its address, as Dask writes it: ``tcp://host:8786``.

    Raises
    ------
    BadInputError
        No worker can be used; why, one line each.
    GreencvError
        The scheduler is not there, or goes, or a record cannot be written.
    """
    dispatch.open_store()
    with _connected(scheduler) as client:
        _Session(client, dispatch, scheduler).work()
    study = dispatch.study
    if study.environments != "auto":
        had = {run.environment.name for run in dispatch.runs.values()}
        for spec in study.environments:
            if spec.name not in had:
                dispatch.progress.note(f"environment {spec.name}: no worker had it")


@contextlib.contextmanager
def _connected(scheduler: str) -> Iterator[Client]:
    # What befalls the cluster is told in lines of ours, not in Dask's tracebacks.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        get_address_host_port(scheduler)
    except ValueError as error:
        raise BadInputError(
            f"--scheduler {scheduler}: is no address of a Dask scheduler, as tcp://host:8786 is"
        ) from error
    # A client that does not come to be leaves threads and tracebacks behind.
    try:
        asyncio.run(_answer(scheduler))
    except TypeError as error:
        raise BadInputError(
            f"--scheduler {scheduler}: Dask has no certificate here: its configuration "
            "distributed.comm.tls is to name one"
        ) from error
    except Exception as error:  # whatever another kind of server answers
        raise GreencvError(f"--scheduler {scheduler}: no Dask scheduler answers there") from error
    client = Client(scheduler, timeout=CONNECT_S, set_as_default=False, name="greencv")
    try:
        yield client
    finally:
        client.close(timeout=1)


async def _answer(scheduler: str) -> None:
    keys = Security().get_connection_args("client")
    # Dask itself waits without an end for one that is silent once it is connected.
    async with asyncio.timeout(CONNECT_S + 1):
        comm = await connect(scheduler, timeout=CONNECT_S, **keys)
        await comm.close()


@dataclass
class _Task:
    """An order on its way."""

    order: Job
    site: WorkerInfo
    """The computer that its kind was planned for."""
    future: Future[Any]
    begun: int = 0
    """How many workers began it."""


@dataclass
class _Session:
    """One execution of one study on a cluster."""

    client: Client
    dispatch: RunQueue
    scheduler: str
    name: str = field(default_factory=lambda: f"greencv-{uuid.uuid4().hex[:8]}")
    """Of this execution, among others on the same cluster."""
    _heard: queue.SimpleQueue[Callable[[], None]] = field(default_factory=queue.SimpleQueue)
    """What is to be done about what Dask's threads told; done in the driver's own thread."""
    _joining: dict[str, Future[Any]] = field(default_factory=dict)
    """By the worker's address."""
    _sites: dict[str, WorkerInfo] = field(default_factory=dict)
    """Of the workers that are there and can be used."""
    _refused: dict[str, str] = field(default_factory=dict)
    """Workers that are there and cannot be used, and why."""
    _preparing: dict[str, Future[Any]] = field(default_factory=dict)
    """By kind of computer."""
    _tasks: dict[str, _Task] = field(default_factory=dict)
    """By run."""
    _told: list[str] = field(default_factory=list)

    def work(self) -> None:
        """Make all runs."""
        self.client.subscribe_topic(self.name, self._on_message)
        try:
            while not self._all_done():
                self._look()
                end_s = time.monotonic() + LOOK_EVERY_S
                with contextlib.suppress(queue.Empty):
                    while not self._all_done() and (left_s := end_s - time.monotonic()) > 0:
                        self._heard.get(timeout=left_s)()
        finally:
            futures = [task.future for task in self._tasks.values()]
            if self.client.status == "running":
                # Whoever trains for us sees within a second that it is wanted no more.
                self.client.cancel([*futures, *self._preparing.values(), *self._joining.values()])

    def _all_done(self) -> bool:
        under_way = self._joining or self._preparing or self._tasks
        if under_way or not (self._sites or self._refused):
            return False
        if not self._sites and not self.dispatch.runs:
            reasons = sorted(set(self._refused.values()))
            raise BadInputError("\n".join(f"no worker can be used: {each}" for each in reasons))
        return True

    def _look(self) -> None:
        present = self._workers()
        for address in [a for a in self._joining if a not in present]:
            self._joining.pop(address).release()
        for known in (self._sites, self._refused):
            for address in [a for a in known if a not in present]:
                del known[address]
        for address, worker in present.items():
            # One that was restarted at the same address has lost its places.
            if address in self._sites and self.name not in worker["resources"]:
                del self._sites[address]
            if address not in self._sites | self._joining | self._refused:
                self._ask_to_join(address)
        self._tell_who_is_there()

    def _workers(self) -> dict[str, Any]:
        try:
            if self.client.status != "running":
                raise OSError
            info = self.client.scheduler_info(n_workers=-1)
        except (OSError, TimeoutError) as error:
            raise _gone(self.scheduler) from error
        return dict(info["workers"])

    def _ask_to_join(self, address: str) -> None:
        self._joining[address] = self._submit(
            _join, self.dispatch.study, hardware.software_versions(), self.name,
            key=f"{self.name}-join-{address}-{uuid.uuid4().hex[:8]}", workers=[address],
            then=lambda future: self._joined(address, future),
        )  # fmt: skip

    def _joined(self, address: str, future: Future[Any]) -> None:
        if self._joining.get(address) is not future:
            return
        del self._joining[address]
        answer = self._result_of(future)
        if isinstance(answer, KilledWorker):
            return  # it is asked anew when it is back
        if not isinstance(answer, WorkerInfo):
            self._refused[address] = reason = _told(answer)
            self._note(f"{address} is not used: {reason}")
            return
        first = next((s for s in self._sites.values() if _kind(s) == _kind(answer)), None)
        self._sites[address] = answer
        self._count()
        if first is not None and first.versions != answer.versions:
            others = ", ".join(
                f"{package} {version}, others {first.versions.get(package)}"
                for package, version in answer.versions.items()
                if first.versions.get(package) != version
            )
            self._note(f"{address} has {others}: its runs may differ by that")
        kind = _kind(answer)
        if kind in self._preparing:
            return
        runs = self.dispatch.runs_for(answer)
        if runs:
            names = [answer.machine.cpu_model, *(a.name for a in answer.machine.accelerators)]
            self._note("metering idle power, timing a few batches: " + ", ".join(names))
            self._preparing[kind] = self._submit(
                _prepare, self.name, runs, self.dispatch.known(runs), self.dispatch.may_refuse,
                key=f"{self.name}-prepare-{kind}", resources=_whole_worker(self.name, kind),
                then=lambda future: self._prepared(kind, answer, runs, future),
            )  # fmt: skip

    def _prepared(
        self, kind: str, site: WorkerInfo, runs: Sequence[PlannedRun], future: Future[Any]
    ) -> None:
        del self._preparing[kind]
        answer = self._result_of(future)
        if not isinstance(answer, Calibration):
            self._note(f"could not be prepared for: {_told(answer)}")
            names = {run.environment.name for run in runs}
            answer = Calibration(
                {name: {} for name in names}, dict.fromkeys(names, float("nan")), {}
            )
        for order in self.dispatch.orders(runs, answer):
            self._tasks[order.run.run_id] = _Task(order, site, self._send(order))

    def _send(self, order: Job) -> Future[Any]:
        run = order.run
        return self._submit(
            _make, self.name, order,
            key=f"{self.name}-{run.run_id}-{uuid.uuid4().hex[:8]}",
            resources=_whole_worker(self.name, _place_of(run)),
            priority=-run.order,
            then=lambda future: self._ended(order, future),
        )  # fmt: skip

    def _ended(self, order: Job, future: Future[Any]) -> None:
        task = self._tasks[order.run.run_id]
        if future is not task.future:
            return
        answer = self._result_of(future)
        lost_waiting = isinstance(answer, KilledWorker) and task.begun < ATTEMPTS
        if lost_waiting or isinstance(answer, _UnwantedError):
            # It waited at workers that were lost with other runs, or its own one was shut down.
            task.future = self._send(order)
            return
        del self._tasks[order.run.run_id]
        if isinstance(answer, _Made):
            self.dispatch.ended(order, answer.record, answer.duration_s)
            return
        if isinstance(answer, KilledWorker):
            reason = f"its worker was lost {task.begun} times in a row"
        else:
            reason = _told(answer)
        record = retry_in_fresh_process(failed, order.run, task.site.machine, reason)
        self.dispatch.ended(order, record.model_copy(update={"host": ""}), 0.0)

    def _on_message(self, event: tuple[float, bytes]) -> None:
        """Take a worker's message, in one of Dask's threads."""
        self._heard.put(partial(self._heed, *pickle.loads(event[1])))

    def _heed(self, what: str, run_id: str, more: Any) -> None:
        if what == NOTE:
            self._note(more)
            return
        task = self._tasks.get(run_id)
        if task is None:
            return
        if what == MIDWAY:
            self.dispatch.told(task.order, more)
            return
        task.begun += 1
        if task.begun > 1:
            self._note(f"{task.order.run.title}: its worker was lost; again")
        self.dispatch.begins(task.order)

    def _submit(
        self, function: Callable[..., Any], *arguments: Any, then: Callable[[Future[Any]], None],
        **options: Any,
    ) -> Future[Any]:  # fmt: skip
        future = self.client.submit(function, *arguments, pure=False, **options)
        future.add_done_callback(lambda done: self._heard.put(lambda: then(done)))
        return future

    def _result_of(self, future: Future[Any]) -> Any:
        """Return what a task returned, or what it raised."""
        try:
            return future.result()
        except CancelledError as error:
            raise _gone(self.scheduler) from error
        except Exception as error:  # whatever happens on another computer
            return error

    def _count(self) -> None:
        hosts = {(site.machine.fingerprint, site.host) for site in self._sites.values()}
        self.dispatch.computers = Counter(fingerprint for fingerprint, _ in hosts)

    def _tell_who_is_there(self) -> None:
        self._count()
        if self._joining:
            return
        hosts = {site.host for site in self._sites.values()}
        told = [
            f"{_some(len(self._sites), 'worker')} on {_some(len(hosts), 'computer')}"
            if hosts
            else "waiting for workers"
        ]
        places = {p for site in self._sites.values() for p in _places(self.dispatch.study, site)}
        waiting = Counter(
            task.order.run.accelerator or task.site.machine.cpu_model
            for task in self._tasks.values()
            if _place_of(task.order.run) not in places
        )
        if hosts:
            told += [f"{_some(n, 'run')} to wait for {what}" for what, n in waiting.items()]
        if told != self._told:
            self._told = told
            self._note("; ".join(told))

    def _note(self, text: str) -> None:
        self.dispatch.progress.note(text)


def _some(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _kind(site: WorkerInfo) -> str:
    """Return what computers have in common that a study has the same runs for."""
    names = [accelerator.name for accelerator in site.machine.accelerators]
    return "/".join([site.machine.fingerprint, *names])


def _place(machine: str, device: str, accelerator: str) -> str:
    return f"{machine} {device} {accelerator}".rstrip()


def _place_of(run: PlannedRun) -> str:
    """Return what a computer must have for a run."""
    return _place(run.machine, run.environment.device, run.accelerator)


def _places(study: Study, site: WorkerInfo) -> set[str]:
    """Return what a computer has of what a study asks for."""
    machine = site.machine
    on = [(spec.device, machine.accelerator_of(spec)) for spec in resolve(study, machine)]
    return {_place(machine.fingerprint, device, gpu.name if gpu else "") for device, gpu in on}


def _whole_worker(session: str, place: str) -> dict[str, float]:
    return {ONE_AT_A_TIME: 1, f"{session} {place}": 1}


def _gone(scheduler: str) -> GreencvError:
    return GreencvError(
        f"the Dask scheduler at {scheduler} is gone, or was restarted; what is finished is kept: "
        "have it run, and give the same command"
    )


def _told(answer: object) -> str:
    """Return why a task had no result, in a line."""
    if isinstance(answer, ImportError | AttributeError):
        return "it has no greencv, or another version"
    if isinstance(answer, GreencvError):
        return str(answer)
    return describe_error(answer) if isinstance(answer, BaseException) else str(answer)


# What follows happens on the workers.

NOTE, BEGINS, MIDWAY = "note", "begins", "midway"
"""What workers tell of."""
_places_of_work: dict[str, Worker] = {}
"""This worker's, by session; the last one alone."""


class _UnwantedError(Exception):
    """A worker is not to go on with a task: nobody waits for it, or the worker ends."""


@dataclass(frozen=True)
class _Made:
    record: RunRecord
    duration_s: float


def _join(study: Study, versions: Mapping[str, str], session: str) -> WorkerInfo | str:
    """Offer this worker's computer for a study; return why where it cannot be used."""
    site = describe_worker()
    ours, others = site.versions["greencv"], versions["greencv"]
    if ours != others:
        return f"it has greencv {ours}, and this is {others}"
    _let_have_processes()
    places = _places(study, site)
    problems = (
        find_study_errors(study, download=True)
        if places
        else missing_environments(study, site.machine)
    )
    if problems:
        return "; ".join(problems)
    worker = get_worker()
    resources = {ONE_AT_A_TIME: 1, session: 1} | {
        f"{session} {place}": 1 for place in {*places, _kind(site)}
    }
    given = asyncio.run_coroutine_threadsafe(
        worker.set_resources(**resources),
        worker.loop.asyncio_loop,  # type: ignore[attr-defined]
    )
    given.result()
    return site


def _prepare(
    session: str, runs: Sequence[PlannedRun], known: Mapping[str, RunCost], every: bool
) -> Calibration:
    workplace = _workplace(session)
    with machine_lock(workplace.still_wanted):
        return workplace.prepare(runs, known, every=every)


def _make(session: str, order: Job) -> _Made:
    workplace, tell = _workplace(session), partial(_tell, session, order.run.run_id)
    with machine_lock(workplace.still_wanted):
        tell(BEGINS)
        workplace.settle(order.run)
        start_s = time.monotonic()
        record = workplace.make(order, partial(tell, MIDWAY))
        return _Made(record, time.monotonic() - start_s)


def _workplace(session: str) -> Worker:
    """Return this worker's, which remembers its idle power, for the task that asks."""
    if session not in _places_of_work:
        _places_of_work.clear()
        worker = get_worker()
        _places_of_work[session] = Worker(
            describe_worker(), lambda text: _tell(session, "", NOTE, f"{worker.address}: {text}")
        )
    workplace = _places_of_work[session]
    workplace.still_wanted = _still_wanted(get_worker())
    return workplace


def _still_wanted(worker: DaskWorker) -> Callable[[], None]:
    """Return what raises once a task of this worker is not to go on."""
    key = worker.get_current_task()

    def check() -> None:
        task = worker.state.tasks.get(key)
        if task is None or task.state != "executing" or worker.status is not Status.running:
            raise _UnwantedError

    return check


def _tell(session: str, run_id: str, what: str, more: Any = None) -> None:
    get_worker().log_event(session, pickle.dumps((what, run_id, more)))


def _let_have_processes() -> None:
    """Let this worker start processes: one that a nanny watches is a daemon, which may not."""
    multiprocessing.current_process().daemon = False
