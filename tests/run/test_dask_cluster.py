"""Runs trained by the workers of a real Dask cluster, in processes of their own."""

import contextlib
import socket
import subprocess
import sys
import time
from concurrent.futures import Future
from dataclasses import replace

import pandas as pd
import psutil
import pytest

from greencv_core.machine.hardware import Accelerator
from greencv_core.records.snapshot import StoreSnapshot
from greencv_core.records.source import load_study
from greencv_core.records.store import Store
from greencv_core.records.tables import runs_table
from greencv_core.run.dask_cluster import _Session
from greencv_core.run.dask_worker import join, kind_of, offered_devices, required_device
from greencv_core.run.planning import plan_on_machine
from greencv_core.run.queue import RunQueue
from greencv_core.run.worker import describe_worker
from tests.conftest import GREENCV, greencv, greencv_here, interrupted, started, until
from tests.run.test_queue import calibration_of
from tests.support.made_up_records import planned_record
from tests.support.progress import Progress
from tests.support.refusals import one_line
from tests.support.studies import ONE_THREAD, smoke_study

STUDY = load_study("smoke")
VARYING = ("energy", "emissions", "duration", "images_per_s", "power_w", "started_at", "session")
"""Parts of the names of columns that differ from one training to its repetition."""


def reproducible_columns(store):
    """Return the runs table without times and energies."""
    table = runs_table(list(store.records())).sort_values("run_id", ignore_index=True)
    varying = [c for c in table if any(word in c for word in VARYING)]
    return table.drop(columns=[*varying, "disturbed", "device_utilization_pct", "problems"])


class Cluster:
    """A scheduler and workers on this computer."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        self._folder = folder
        self._processes = []
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", port)
        for _ in range(2):
            self._start("worker", self.address, "--nthreads", 1, "--local-directory", folder)

    def _start(self, what, *arguments):
        command = [sys.executable, "-m", "dask", what, *map(str, arguments), "--no-dashboard"]
        with (self._folder / f"{what}-{len(self._processes)}.log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self._processes.append(process)
        return process

    def trainings(self):
        """Return the trainings in progress, each with its worker."""
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for nanny in self._processes[1:]:
                for worker in psutil.Process(nanny.pid).children():
                    for forks in worker.children():
                        found += [(training, worker) for training in forks.children()]
        return found

    def close(self):
        for process in reversed(self._processes):
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(process.pid).children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()


@pytest.mark.slow
@pytest.mark.long
def test_workers_train_what_one_computer_trains_though_one_is_killed(
    cluster, smoke_store, tmp_path
):
    store = Store(tmp_path / "store")
    study = smoke_study(tmp_path, environments=[{"name": "gpu", "device": "cuda"}, ONE_THREAD])
    command = ["run", study, "--store", tmp_path / "store", "--scheduler", cluster.address]
    code, output = interrupted(*command, when=lambda: store.run_ids() and cluster.trainings())
    assert code == 130
    assert output.splitlines()[-1].startswith("Interrupted. Finished runs are kept")
    until(lambda: not cluster.trainings(), 20)
    trained = store.stamps()
    assert 1 <= len(trained) < 4

    process = started(GREENCV, *command)
    until(lambda: len(store.run_ids()) > len(trained))
    _, worker = until(cluster.trainings)[0]
    time.sleep(0.2)
    worker.kill()
    _, output = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert output.count("its worker was lost; again") <= 1
    assert "2 workers on 1 computer" in output
    assert "environment gpu: no worker had it" in output
    assert {run_id: store.stamps()[run_id].text for run_id in trained} == {
        run_id: stamp.text for run_id, stamp in trained.items()
    }
    here = reproducible_columns(Store(smoke_store))
    here = here[here["run_id"].isin(store.run_ids())].reset_index(drop=True)
    assert len(here) == 4
    both = [table.drop(columns="order") for table in (reproducible_columns(store), here)]
    pd.testing.assert_frame_equal(*both)

    done = greencv_here(*command)
    told, *disturbed = done.stderr.splitlines()
    assert (done.returncode, told) == (0, "environment gpu: no worker had it")
    assert len(disturbed) == any(record.disturbed for record in store.records())
    cluster.scheduler.kill()
    assert one_line(greencv_here(*command), 1) == (
        f"--scheduler {cluster.address}: no Dask scheduler responds there"
    )


NO_ADDRESS = "not an address of a Dask scheduler, such as tcp://host:8786"
NO_CERTIFICATE = "Dask has no certificate here: name one in its configuration, distributed.comm.tls"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("nonsense://x", NO_ADDRESS),
        ("host", NO_ADDRESS),
        ("tcp://host:x", NO_ADDRESS),
        ("tls://127.0.0.1:9", NO_CERTIFICATE),
    ],
)
def test_an_address_without_meaning_or_certificate_is_bad_input(address, reason, tmp_path):
    done = greencv_here("run", "smoke", "--store", tmp_path, "--scheduler", address)
    assert one_line(done) == f"--scheduler {address}: {reason}"


@pytest.mark.slow
def test_a_server_of_another_kind_is_one_line(site, tmp_path):
    address = site.url.replace("http", "tcp")
    done = greencv("run", "smoke", "--store", tmp_path, "--scheduler", address)
    assert one_line(done, 1) == f"--scheduler {address}: no Dask scheduler responds there"


def test_a_worker_with_another_greencv_is_not_used():
    versions = describe_worker().versions
    reason = join(STUDY, {**versions, "greencv": "0.0.1"}, "session")
    assert reason == f"it has greencv {versions['greencv']}, and this is 0.0.1"


class OneWorker:
    """A Dask client whose one worker responds at once, without training."""

    status = "running"

    def __init__(self, worker, disturbed):
        self._worker = worker
        self._disturbed = iter(disturbed)
        self._resources = {}
        self.trained = []
        """Job and priority of each training."""

    def subscribe_topic(self, topic, handler):
        pass

    def scheduler_info(self, n_workers):
        return {"workers": {"tcp://one:1": {"resources": self._resources}}}

    def cancel(self, futures):
        pass

    def submit(self, function, *arguments, **options):
        future = Future()
        future.set_result(getattr(self, f"_{function.__name__}")(*arguments, **options))
        return future

    def _join(self, study, versions, session, **_):
        self._resources[session] = 1
        return self._worker

    def _calibrate(self, session, runs, known, probe_all, **_):
        return calibration_of(runs)

    def _train(self, session, job, *, priority, **_):
        self.trained.append((job, priority))
        started_at = f"2030-01-01T00:00:{len(self.trained):02}+00:00"
        record = planned_record(
            job.run, started_at=started_at, disturbed=next(self._disturbed, False)
        )
        return record, 10.0


def test_a_cluster_makes_disturbed_runs_again_after_all_others(tmp_path):
    worker = replace(describe_worker(), meters={(): {}})
    store = Store(tmp_path)
    for run in plan_on_machine(STUDY, worker.machine, STUDY.architectures):
        store.write(planned_record(run, duration_s=10.0, disturbed=run.repetition == 1))
    protocol = STUDY.protocol.model_copy(update={"again_if_disturbed": 2})
    study = STUDY.model_copy(update={"protocol": protocol})
    queue = RunQueue(
        study, StoreSnapshot(store), Progress(), study.architectures, again_disturbed=True
    )
    client = OneWorker(worker, disturbed=[True])
    _Session(client, queue, "tcp://one:8786").run()
    (first, _), *others, (last, priority) = client.trained
    assert [job.run.repetition for job, _ in client.trained] == [1] * 5
    assert [job.tries for job, _ in client.trained] == [2, 2, 2, 2, 3]
    assert last.run == first.run
    assert priority < min(each for _, each in others)
    found = {record.run_id: record for record in store.records()}
    assert not any(record.disturbed for record in found.values())
    assert found[last.run.run_id].tries == 3
    assert len(list((tmp_path / "superseded").iterdir())) == 5


def with_card(worker, *names):
    cards = tuple(
        Accelerator(f"cuda:{i}", name, f"GPU-{i}{name}", 2**30, bf16=True)
        for i, name in enumerate(names)
    )
    return replace(worker, machine=replace(worker.machine, accelerators=cards))


def test_a_run_goes_where_its_device_is_whichever_card_of_that_kind():
    plain = describe_worker()
    cpu = STUDY.environments[0]
    gpu = cpu.model_copy(update={"name": "gpu", "device": "cuda"})
    study = STUDY.model_copy(update={"environments": [cpu, gpu]})
    one, same, other = (with_card(plain, name) for name in ("A100", "A100", "H100"))
    assert kind_of(one) == kind_of(same)
    assert len({kind_of(worker) for worker in (plain, one, other)}) == 3
    workers = (plain, one, same, other)
    on_cpu, on_one, on_same, on_other = (offered_devices(study, worker) for worker in workers)
    assert len(on_cpu) == 1
    assert on_one == on_same
    assert on_one & on_other == on_cpu
    with_cards = [run for run in plan_on_machine(study, one.machine) if run.accelerator]
    assert {required_device(run) for run in with_cards} == on_one - on_cpu
