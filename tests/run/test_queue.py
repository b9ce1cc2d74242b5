"""What is to be made and what became of it, whoever makes it."""

from dataclasses import replace

import pytest

from greencv_core.estimation.run_cost import RunCost, extrapolate
from greencv_core.machine.hardware import Accelerator
from greencv_core.records.source import load_study
from greencv_core.records.store import Store
from greencv_core.run.queue import RunQueue
from greencv_core.run.worker import Calibration, describe_worker
from greencv_core.utils.errors import GreencvError, UnavailableError

STUDY = load_study("smoke")


class Told:
    """A progress that notes what it is told."""

    def __init__(self):
        self.begun, self.left_s, self.notes = [], [], []

    def begin(self, runs, finished, expected):
        self.begun.append((len(runs), finished, expected.duration_s))

    def started(self, run):
        pass

    def forecast(self, run, midway):
        pass

    def ended(self, run, record, remaining_s):
        self.left_s.append(remaining_s)

    def note(self, text):
        self.notes.append(text)


def dispatch_of(folder, **fields):
    return RunQueue(STUDY, Store(folder), Told(), STUDY.architectures, **fields)


def prepared(runs, each_s=10.0):
    names = {run.environment.name for run in runs}
    return Calibration(
        {name: {"cpu": 1.0} for name in names},
        dict.fromkeys(names, float("nan")),
        {run.condition: RunCost(each_s, None, None) for run in runs},
    )


def test_each_kind_of_computer_is_asked_for_what_no_other_one_was(tmp_path):
    dispatch, site = dispatch_of(tmp_path), describe_worker()
    assert len(dispatch.runs_for(site)) == 8
    card = Accelerator("cuda:0", "A100", "GPU-1", 2**30, bf16=True)
    with_card = replace(site, machine=replace(site.machine, accelerators=(card,)))
    assert dispatch.runs_for(with_card) == []  # the study has environments on the CPU alone
    other = replace(site, machine=replace(site.machine, cpu_model="another one"))
    assert len(dispatch.runs_for(other)) == 8
    assert len(dispatch.runs) == 16


def test_what_remains_is_shared_by_computers_of_a_kind(tmp_path, smoke_store):
    dispatch, site = dispatch_of(tmp_path), describe_worker()
    runs = dispatch.runs_for(site)
    dispatch.computers = {site.machine.fingerprint: 3}
    orders = dispatch.orders(runs, prepared(runs))
    assert dispatch.progress.begun == [(8, 0, pytest.approx(80 / 3))]
    for order in orders:
        dispatch.begins(order)
        dispatch.ended(order, Store(smoke_store).read(order.run.run_id), 10.0)
    left_s = [70 / 3, 60 / 3, 50 / 3, 40 / 3, 10, 10, 10, 0]
    assert dispatch.progress.left_s == pytest.approx(left_s)
    assert len(dispatch.store.run_ids()) == 8


def test_runs_of_the_store_are_told_with_the_next_ones_to_make(tmp_path, smoke_store):
    dispatch, site = dispatch_of(tmp_path), describe_worker()
    every = dispatch_of(smoke_store).runs_for(site)
    assert every == []
    for record in list(Store(smoke_store).records())[:3]:
        dispatch.store.write(record)
    runs = dispatch.runs_for(site)
    dispatch.orders(runs, prepared(runs))
    assert dispatch.progress.begun[0][:2] == (5, 3)


def test_a_run_that_another_one_made_meanwhile_stays(tmp_path, smoke_store):
    dispatch = dispatch_of(tmp_path)
    runs = dispatch.runs_for(describe_worker())
    order = dispatch.orders(runs, prepared(runs))[0]
    assert dispatch.made_meanwhile(order) is None
    dispatch.begins(order)
    made = Store(smoke_store).read(order.run.run_id)
    dispatch.store.write(made)
    later = made.model_copy(update={"started_at": "2030-01-01T00:00:00+00:00"})
    dispatch.ended(order, later, 10.0)
    assert dispatch.store.read(order.run.run_id) == made
    assert dispatch.made == [made]


def test_what_a_condition_takes_is_guessed_from_its_architecture_and_its_environment(tmp_path):
    runs = dispatch_of(tmp_path).runs_for(describe_worker())
    slower = {"squeezenet1_1": 3.0, "shufflenet_v2_x0_5": 1.0}
    factor = {"cpu-1-thread": 2.0, "cpu-all-threads": 1.0}
    truth = {
        run.condition: RunCost(
            5 * slower[run.architecture] * factor[run.environment.name],
            40 * slower[run.architecture] * factor[run.environment.name],
            "estimated",
        )
        for run in runs
    }
    for run in {run.condition: run for run in runs}.values():
        known = {condition: one for condition, one in truth.items() if condition != run.condition}
        guess, told = extrapolate(run, runs, known), truth[run.condition]
        assert guess.duration_s == pytest.approx(told.duration_s)
        assert guess.energy_j == pytest.approx(told.energy_j)
        assert guess.provenance == "estimated"
        alone = {c: one for c, one in known.items() if c.startswith(run.architecture)}
        (only,) = alone.values()
        assert extrapolate(run, runs, alone).duration_s == pytest.approx(only.duration_s)
    assert extrapolate(runs[0], runs, {}) is None
    unmetered = {condition: RunCost(5.0, None, None) for condition in truth}
    assert extrapolate(runs[0], runs, unmetered) == RunCost(pytest.approx(5.0), None, None)


def test_no_run_starts_without_space_for_its_record(tmp_path):
    dispatch = dispatch_of(tmp_path / "store")
    runs = dispatch.runs_for(describe_worker())
    order = dispatch.orders(runs, prepared(runs))[0]
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(GreencvError, match="store"):
        dispatch.begins(order)


def test_a_server_that_is_away_for_a_while_costs_no_run(tmp_path, smoke_store, monkeypatch):
    monkeypatch.setattr("greencv_core.run.queue.TRY_EVERY_S", 0.01)
    dispatch = dispatch_of(tmp_path)
    runs = dispatch.runs_for(describe_worker())
    first, second, *_ = dispatch.orders(runs, prepared(runs))
    write, tries = dispatch.store.write, []

    def away(record):
        tries.append(record)
        if len(tries) < 4:
            raise UnavailableError("s3://bucket: the server does not answer")
        write(record)

    monkeypatch.setattr(dispatch.store, "write", away)
    record = Store(smoke_store).read(first.run.run_id)
    dispatch.ended(first, record, 10.0)
    assert dispatch.store.read(first.run.run_id) == record
    assert dispatch.progress.notes == [
        "s3://bucket: the server does not answer; trying again for 10 min 00 s"
    ]
    monkeypatch.setattr("greencv_core.run.queue.PATIENCE_S", 0.0)
    tries.clear()
    with pytest.raises(UnavailableError):
        dispatch.ended(second, Store(smoke_store).read(second.run.run_id), 10.0)


def test_a_full_disk_is_reported_before_anything_is_metered(tmp_path, monkeypatch):
    dispatch = dispatch_of(tmp_path)

    def full():
        raise GreencvError("no space left for the record of a run")

    monkeypatch.setattr(dispatch.store, "check_space", full)
    with pytest.raises(GreencvError, match="no space left"):
        dispatch.open_store()
