"""The queue: which runs are planned for which worker, and what becomes of their records."""

from dataclasses import replace

import pytest

from greencv_core.estimation.run_cost import RunCost, extrapolate
from greencv_core.machine.hardware import Accelerator
from greencv_core.records.record import RunRecord
from greencv_core.records.snapshot import StoreSnapshot
from greencv_core.records.source import load_study
from greencv_core.records.store import Store
from greencv_core.records.tables import runs_table
from greencv_core.run.calibration import Calibration
from greencv_core.run.queue import RunQueue
from greencv_core.run.worker import describe_worker
from greencv_core.utils.errors import GreencvError, UnavailableError
from tests.support.made_up_records import planned_record
from tests.support.progress import Progress

STUDY = load_study("smoke")


def queue_of(folder, study=STUDY):
    return RunQueue(study, StoreSnapshot(Store(folder)), Progress(), study.architectures)


def calibration_of(runs, each_s=10.0):
    names = {run.environment.name for run in runs}
    return Calibration(
        {name: {"cpu": 1.0} for name in names},
        dict.fromkeys(names, float("nan")),
        {run.condition: RunCost(each_s, None, None) for run in runs},
    )


@pytest.fixture
def queue(tmp_path):
    return queue_of(tmp_path)


@pytest.fixture
def jobs(queue):
    runs = queue.plan_for(describe_worker())
    return queue.create_jobs(runs, calibration_of(runs))


def test_each_kind_of_worker_gets_the_runs_that_no_other_kind_has(queue):
    worker = describe_worker()
    assert len(queue.plan_for(worker)) == 8
    card = Accelerator("cuda:0", "A100", "GPU-1", 2**30, bf16=True)
    with_card = replace(worker, machine=replace(worker.machine, accelerators=(card,)))
    assert queue.plan_for(with_card) == []  # the study has environments only on the CPU
    other = replace(worker, machine=replace(worker.machine, cpu_model="another one"))
    assert len(queue.plan_for(other)) == 8
    assert len(queue.runs) == 16


def test_the_remaining_time_is_shared_by_the_computers_of_a_kind(queue, smoke_store):
    worker = describe_worker()
    runs = queue.plan_for(worker)
    queue.computers = {worker.machine.fingerprint: 3}
    jobs = queue.create_jobs(runs, calibration_of(runs))
    assert queue.progress.begins == [(8, 0, pytest.approx(80 / 3))]
    for job in jobs:
        queue.start(job)
        queue.finish(job, Store(smoke_store).read(job.run.run_id), 10.0)
    remaining_s = [70 / 3, 60 / 3, 50 / 3, 40 / 3, 10, 10, 10, 0]
    assert queue.progress.remaining_s == pytest.approx(remaining_s)
    assert len(queue.store.run_ids()) == 8


def test_finished_runs_are_reported_with_the_next_jobs(queue, smoke_store):
    assert queue_of(smoke_store).plan_for(describe_worker()) == []
    for record in list(Store(smoke_store).records())[:3]:
        queue.store.write(record)
    runs = queue.plan_for(describe_worker())
    queue.create_jobs(runs, calibration_of(runs))
    assert queue.progress.begins[0][:2] == (5, 3)


def test_a_record_that_another_driver_wrote_meanwhile_stays(queue, jobs, smoke_store):
    job = jobs[0]
    assert queue.find_newer_record(job) is None
    queue.start(job)
    theirs = Store(smoke_store).read(job.run.run_id)
    Store(queue.store.location).write(theirs)
    ours = theirs.model_copy(update={"started_at": "2030-01-01T00:00:00+00:00"})
    queue.finish(job, ours, 10.0)
    assert Store(queue.store.location).read(job.run.run_id) == theirs
    assert queue.new_records == [theirs]


def test_all_records_of_one_invocation_have_its_session(queue, jobs, smoke_store):
    for job in jobs[:2]:
        queue.start(job)
        queue.finish(job, Store(smoke_store).read(job.run.run_id), 10.0)
    assert {record.session for record in Store(queue.store.location).records()} == {queue.session}
    again = queue_of(queue.store.location)
    assert again.session != queue.session
    trained = set(runs_table(list(Store(smoke_store).records()))["session"])
    assert len(trained) == 1
    assert queue.session not in trained


def test_an_unknown_cost_is_extrapolated_from_the_architecture_and_the_environment(queue):
    runs = queue.plan_for(describe_worker())
    factors = {
        "squeezenet1_1": 3.0, "shufflenet_v2_x0_5": 1.0, "cpu-1-thread": 2.0, "cpu-all-threads": 1.0
    }  # fmt: skip
    costs = {}
    for run in runs:
        factor = factors[run.architecture] * factors[run.environment.name]
        costs[run.condition] = RunCost(5 * factor, 40 * factor, "estimated")
    for run in {run.condition: run for run in runs}.values():
        known = {condition: one for condition, one in costs.items() if condition != run.condition}
        found, expected = extrapolate(run, runs, known), costs[run.condition]
        assert found.duration_s == pytest.approx(expected.duration_s)
        assert found.energy_j == pytest.approx(expected.energy_j)
        assert found.provenance == "estimated"
        alone = {c: one for c, one in known.items() if c.startswith(run.architecture)}
        (only,) = alone.values()
        assert extrapolate(run, runs, alone).duration_s == pytest.approx(only.duration_s)
    assert extrapolate(runs[0], runs, {}) is None
    unmetered = {condition: RunCost(5.0, None, None) for condition in costs}
    assert extrapolate(runs[0], runs, unmetered) == RunCost(pytest.approx(5.0), None, None)


def test_without_space_for_a_record_nothing_is_metered_or_trained(queue, jobs, monkeypatch):
    def full():
        raise GreencvError("no space left for the record of a run")

    monkeypatch.setattr(queue.store, "check_space", full)
    for call in (queue.prepare_store, lambda: queue.start(jobs[0])):
        with pytest.raises(GreencvError, match="no space left"):
            call()


def test_a_finished_run_waits_for_a_server_that_does_not_respond(
    queue, jobs, smoke_store, monkeypatch
):
    monkeypatch.setattr("greencv_core.run.queue.RETRY_EVERY_S", 0.01)
    first, second, *_ = jobs
    write, attempts = queue.store.write, []

    def write_late(record):
        attempts.append(record)
        if len(attempts) < 4:
            raise UnavailableError("s3://bucket: the server does not answer")
        write(record)

    monkeypatch.setattr(queue.store, "write", write_late)
    record = Store(smoke_store).read(first.run.run_id)
    queue.finish(first, record, 10.0)
    written = Store(queue.store.location).read(first.run.run_id)
    assert written == record.model_copy(update={"session": queue.session})
    assert queue.progress.notes == [
        "s3://bucket: the server does not answer; trying again for 10 min 00 s"
    ]
    monkeypatch.setattr("greencv_core.run.queue.WRITE_TIMEOUT_S", 0.0)
    attempts.clear()
    with pytest.raises(UnavailableError):
        queue.finish(second, Store(smoke_store).read(second.run.run_id), 10.0)


def tried(queue, job, record, *, disturbed, second, **changed):
    """Finish a try of a job with a smoke record, disturbed or not; return the next job."""
    changed |= {"disturbed": disturbed, "started_at": f"2030-01-01T00:00:{second:02}+00:00"}
    queue.start(job)
    return queue.finish(job, record.model_copy(update=changed), 10.0)


@pytest.mark.parametrize(
    ("later", "counts"),
    [
        ([{"disturbed": False}], 1),
        ([{"disturbed": True}, {"disturbed": False}], 2),
        ([{"disturbed": True}, {"disturbed": True}], 2),
        ([{"disturbed": False, "status": "failed"}], 0),
    ],
)
def test_a_disturbed_run_is_made_again_and_every_try_is_kept(later, counts, tmp_path):
    again = STUDY.protocol.model_copy(update={"again_if_disturbed": 2})
    queue = queue_of(tmp_path, STUDY.model_copy(update={"protocol": again}))
    runs = queue.plan_for(describe_worker())
    job = queue.create_jobs(runs, calibration_of(runs))[0]
    record, run_id = planned_record(job.run), job.run.run_id
    for number, changed in enumerate([{"disturbed": True}, *later]):
        assert job.tries == number + 1
        job = tried(queue, job, record, second=number, **changed)
    assert job is None
    found = Store(tmp_path).read(run_id)
    assert (found.started_at[-8:-6], found.tries) == (f"{counts:02}", counts + 1)
    assert queue.new_records == [found]
    kept = sorted((tmp_path / "superseded").glob(f"{run_id}-*.json"))
    starts = {RunRecord.model_validate_json(path.read_text()).started_at for path in kept}
    assert len(kept) == len(starts) == len(later)
    assert (
        queue.progress.disturbed
        == [(run_id, n + 1, 2 - n) for n in range(len(kept))][
            : sum(one["disturbed"] for one in [{"disturbed": True}, *later][:2])
        ]
    )


def test_finished_disturbed_runs_are_made_again_on_request_alone(tmp_path):
    worker = replace(describe_worker(), meters={(): {}})
    for run in queue_of(tmp_path).plan_for(worker):
        Store(tmp_path).write(planned_record(run, disturbed=run.repetition == 1))
    assert queue_of(tmp_path).plan_for(worker) == []
    queue = queue_of(tmp_path)
    queue.again_disturbed = True
    runs = queue.plan_for(worker)
    assert [run.repetition for run in runs] == [1] * 4
    jobs = queue.create_jobs(runs, calibration_of(runs))
    assert {(job.tries, job.again) for job in jobs} == {(2, 0)}
