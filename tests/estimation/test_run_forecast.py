"""The forecast of a run's energy while it goes on: told, kept apart from training, and obeyed."""

import io
import time
from dataclasses import dataclass, field, replace

import pytest
from rich.console import Console

from greencv_core.analysis import NotEnoughDataError, select_runs
from greencv_core.estimation.base import Estimate
from greencv_core.estimation.run_cost import ProbeResult, StudyCost
from greencv_core.estimation.run_forecast import EpochForecast, RunHistory
from greencv_core.machine.hardware import describe_machine
from greencv_core.metering import EnergyMeter
from greencv_core.records.record import SCHEMA_VERSION
from greencv_core.records.source import load_study
from greencv_core.records.store import Store
from greencv_core.records.tables import runs_table
from greencv_core.run import progress
from greencv_core.run.collect import run_study
from greencv_core.run.experiment import execute
from greencv_core.run.planning import plan_here, select_unfinished
from greencv_core.run.stop_rules import EnergyLimit
from greencv_core.run.worker import describe_worker
from greencv_core.study.schema import Protocol, Stage
from tests.conftest import greencv_here
from tests.support.progress import Progress
from tests.support.refusals import one_line
from tests.support.studies import ONE_THREAD, smoke_study

SMOKE = load_study("smoke")
FORECAST = Estimate(1240.0, 1180.0, 1310.0, 12.0, 11.0, 13.0)


@dataclass(frozen=True)
class Saying:
    """A forecaster that always says the same, and keeps what it saw; None has no answer."""

    whole: Estimate | None
    shown: list = field(default_factory=list)

    def predict(self, seen):
        self.shown.append(seen)
        if self.whole is None:
            raise NotEnoughDataError("nothing tells")
        return self.whole

    def predict_before(self):
        return self.predict(None)


def one_run_study(tmp_path, epochs=3):
    """Return the smoke study of one architecture on one thread, and write it to study.yaml."""
    return load_study(
        smoke_study(
            tmp_path, architectures=["squeezenet1_1"], environments=[ONE_THREAD],
            protocol__epochs=epochs, protocol__repetitions=1,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return plan_here(one_run_study(tmp_path_factory.mktemp("one")))[0][0]


@pytest.fixture(scope="module")
def stopped(run):
    """Return the record of a run that is stopped after its first epoch of three."""
    return execute(run, describe_machine(), forecaster=Saying(FORECAST), stop_above_j=1000.0)


def test_a_forecast_is_put_in_words():
    assert EpochForecast(3, 10, 1120.0, FORECAST).left_in_words() == "120 J (60 to 190) to go"
    assert EpochForecast(0, 10, 0.0, FORECAST).left_in_words() == "1.24 kJ (1.18 to 1.31) to go"
    assert EpochForecast(9, 10, 1200.0, FORECAST).left_in_words() == "40 J (0 to 110) to go"
    assert EpochForecast(3, 10, 1120.0, None).left_in_words() == ""
    assert EpochForecast(2, 10, 300.0, FORECAST).reason(1000.0) == (
        "stopped after epoch 2 of 10: forecast 1.24 kJ (95% interval 1.18 to 1.31 kJ), above 1 kJ"
    )
    assert EpochForecast(2, 10, 1050.0, None).reason(1000.0) == (
        "stopped after epoch 2 of 10: 1.05 kJ spent already, above 1 kJ"
    )


@pytest.mark.parametrize(
    ("spent_j", "whole", "limit_j", "exceeds"),
    [
        (0.0, FORECAST, 1179.0, True),  # the lower end, not the middle
        (0.0, FORECAST, 1181.0, False),
        (1200.0, FORECAST, 1190.0, True),  # spent is spent
        (1200.0, None, 1190.0, True),
        (1100.0, None, 1190.0, False),
    ],
)
def test_the_lower_end_or_what_is_spent_exceeds_a_limit(spent_j, whole, limit_j, exceeds):
    midway = EpochForecast(1, 2, spent_j, whole)
    assert midway.exceeds(limit_j) is exceeds
    assert (midway.record(limit_j).low_j > limit_j) is exceeds


class Window:
    """A stand-in for a window whose parts end every second, at a hundred joules each."""

    def __init__(self, problems=()):
        self.part_end_s, self.problems = 0.0, problems

    def read_until(self, time_s):
        self._time_s = time_s
        return self

    @property
    def total(self):
        return self

    @property
    def energy_j(self):
        return 100 * self._time_s


TWO_STAGES = Protocol(
    epochs=2, batch_size=2, learning_rate=0.1, repetitions=1,
    frozen_stage=Stage(epochs=1, learning_rate=0.1),
)  # fmt: skip


def watched(forecaster, window, limit_j=None):
    told = []
    with EnergyLimit(TWO_STAGES, forecaster, told.append, limit_j) as watch:
        answers = []
        for stage in ("frozen", "main", "main"):
            window.part_end_s += 1.0
            answers.append(watch.is_exceeded(window, stage))
            time.sleep(0.05)  # the thread's turn
    return watch, told, answers


def test_epochs_are_shown_with_their_stages_times_and_energies():
    forecaster = Saying(FORECAST)
    _, told, answers = watched(forecaster, Window())
    assert answers == [False, False, False]
    last = forecaster.shown[-1]
    assert last.epochs.stage.tolist() == [0, 1, 1]
    assert last.epochs.duration_s.tolist() == [1.0, 1.0, 1.0]
    assert last.epochs.energy_j.tolist() == [100.0, 100.0, 100.0]
    assert (last.duration_s, last.energy_j) == (3.0, 300.0)
    assert [(m.epoch, m.most_epochs, m.spent_j) for m in told] == [
        (1, 3, 100.0), (2, 3, 200.0), (3, 3, 300.0),
    ]  # fmt: skip


@pytest.mark.parametrize("limit_j", [None, 1000.0])
def test_a_meter_that_is_lost_ends_the_forecasts_and_nothing_else(limit_j):
    watch, told, answers = watched(Saying(FORECAST), Window(problems=("gone",)), limit_j)
    assert (told, answers, watch.stopped_by) == ([], [False] * 3, None)


@pytest.mark.parametrize("forecaster", [None, Saying(None), "no forecaster at all"])
def test_without_a_forecast_a_limit_holds_for_what_is_spent(forecaster):
    watch, told, answers = watched(forecaster, Window(), limit_j=150.0)
    assert (told, answers[:2]) == ([], [False, True])
    assert watch.stopped_by.record(150.0).energy_j is None
    assert watched(forecaster, Window())[2] == [False] * 3


@pytest.mark.realtime
def test_a_window_is_read_before_its_end_without_delay():
    with EnergyMeter(()) as window:
        with window.phase("one"):
            time.sleep(0.3)
        end_s = window.part_end_s
        start_s = time.monotonic()
        now = window.read_so_far()
        waited_s = time.monotonic() - start_s
        before = window.read_until(end_s)
        time.sleep(0.3)
    assert not now.problems
    assert waited_s < 1
    assert before.duration_s == end_s == pytest.approx(window.phases[0].end_s)
    assert 0 < before.total.energy_j <= now.total.energy_j < window.reading.total.energy_j


def test_a_training_tells_its_forecast_after_each_epoch_that_others_follow(run):
    told = []
    record = execute(run, describe_machine(), forecaster=Saying(FORECAST), on_forecast=told.append)
    assert (record.status, record.ended_by, record.forecast) == ("finished", "epochs", None)
    assert told
    assert {m.epoch for m in told} <= {1, 2}
    for midway in told:
        ends_s = {p.name: p.end_s for p in record.phases}
        share = ends_s[f"epoch {midway.epoch} validation"] / record.duration_s
        assert midway.spent_j == pytest.approx(share * record.total.energy_j, rel=0.25)


def test_a_stopped_run_says_why_and_keeps_what_it_has(stopped, tmp_path):
    assert (stopped.status, stopped.ended_by) == ("stopped", "forecast")
    assert stopped.reason == (
        "stopped after epoch 1 of 3: forecast 1.24 kJ (95% interval 1.18 to 1.31 kJ), above 1 kJ"
    )
    assert stopped.forecast.model_dump() == {
        "energy_j": 1240.0, "low_j": 1180.0, "high_j": 1310.0, "after_epoch": 1, "limit_j": 1000.0,
    }  # fmt: skip
    assert len(stopped.epochs) == 1
    assert stopped.total.energy_j > 0
    assert stopped.trace.time_s
    Store(tmp_path).write(stopped)
    read = Store(tmp_path).read(stopped.run_id)
    assert (read.schema_version, read.forecast) == (SCHEMA_VERSION, stopped.forecast)


def test_a_stopped_run_is_not_analysed_but_listed(stopped, tmp_path):
    selection = select_runs(runs_table([stopped]))
    assert selection.runs.empty
    Store(tmp_path).write(stopped)
    row = greencv_here("runs", "list", "--store", tmp_path).stdout.splitlines()[2]
    assert "stopped" in row
    assert f"{stopped.total.energy_j:.0f} J" in row


def test_a_stopped_run_is_made_again_unless_it_would_be_stopped_again(run, stopped, tmp_path):
    store, site = Store(tmp_path), describe_worker()
    store.write(stopped)

    def left(limit_j):
        return select_unfinished([run], site, store, stop_above_j=limit_j)

    assert left(None) == [run]
    assert left(1179.0) == []
    assert left(1181.0) == [run]


@pytest.mark.slow
def test_the_command_stops_a_run_and_makes_it_without_the_option(tmp_path):
    one_run_study(tmp_path)
    command = ["run", tmp_path / "study.yaml", "--store", tmp_path / "store"]
    # Known from the batches that are tried first, so that it is not even begun.
    done = greencv_here(*command, "--stop-above", "1")
    assert done.returncode == 3
    assert "1 run stopped: forecast to exceed 1 J" in done.stderr
    [record] = Store(tmp_path / "store").records()
    assert (record.status, record.epochs, record.forecast.after_epoch) == ("stopped", [], 0)
    assert record.reason in done.stderr
    again = greencv_here(*command, "--stop-above", "1")
    assert (again.returncode, len(again.stderr.splitlines())) == (3, 1)
    done = greencv_here(*command)
    assert done.returncode == 0, done.stderr
    [record] = Store(tmp_path / "store").records()
    assert (record.status, record.forecast) == ("finished", None)


@pytest.mark.parametrize("limit", ["0", "nan", "much"])
def test_a_limit_is_a_positive_number(tmp_path, limit):
    done = greencv_here("run", "smoke", "--store", tmp_path / "store", "--stop-above", limit)
    assert "--stop-above" in one_line(done)
    assert not (tmp_path / "store").exists()


def test_the_driver_hears_of_a_run_while_it_goes_on(tmp_path):
    progress = Progress()
    study = one_run_study(tmp_path, epochs=5)
    outcome = run_study(study, store=Store(tmp_path / "store"), progress=progress)
    assert (outcome.failed, outcome.stopped) == (0, 0)
    assert not any("no forecasts" in note for note in progress.notes)
    [record] = outcome.records
    run_id, last = progress.forecasts[-1]
    assert run_id == record.run_id
    assert last.whole.low_j <= last.whole.energy_j <= last.whole.high_j
    assert last.whole.energy_j == pytest.approx(record.total.energy_j, rel=0.5)


def test_finished_runs_tell_of_another_one(smoke_records):
    history = RunHistory.from_records(smoke_records)
    assert (history.runs, history.architectures) == (8, 2)
    runs, _ = plan_here(SMOKE)
    whole = history.forecaster(runs[0], history.size(runs[0])).predict_before()
    actual_j = [r.total.energy_j for r in smoke_records if r.run_id == runs[0].run_id]
    assert whole.low_j < actual_j[0] < whole.high_j


def test_what_is_known_of_an_architecture_comes_from_records_else_from_a_probe(smoke_records):
    history = RunHistory.from_records(smoke_records)
    known = plan_here(SMOKE)[0][0]
    other = replace(known, architecture="resnet18")
    larger = replace(known, dataset=known.dataset.model_copy(update={"image_size": 64}))
    record = next(r for r in smoke_records if r.architecture == known.architecture)
    assert history.size(known).gflops_per_image == record.gflops_per_image
    assert history.size(other) is history.size(larger) is None
    assert history.size(other, probe_of(1.0)).parameters == 1000


def probe_of(power_w):
    return ProbeResult({"main": 0.01}, 0.002, power_w, "estimated", 1.0, 0.1, 1000, 4)


def test_a_probe_promises_an_epoch_of_each_stage():
    run = plan_here(SMOKE)[0][0]
    history = RunHistory.from_records([])
    size = history.size(run, probe_of(30.0))
    forecaster = history.forecaster(run, size, idle_power_w=10.0, probe=probe_of(30.0))
    epoch_s = 128 * 0.01 + 100 * 0.002
    assert forecaster.task.probe_epochs.duration_s.tolist() == pytest.approx([epoch_s])
    assert forecaster.task.probe_epochs.energy_j.tolist() == pytest.approx([30 * epoch_s])
    whole = forecaster.predict_before()
    assert whole.low_j < 2 * 30 * epoch_s < whole.high_j
    assert whole.energy_j == pytest.approx(2 * 30 * epoch_s, rel=0.1)
    with pytest.raises(NotEnoughDataError):
        history.forecaster(run, size, probe=probe_of(None)).predict_before()


def bar(terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=160)
    return progress.ProgressBar(console), console.file


def test_a_bar_shows_what_a_run_still_takes(run):
    shown, text = bar(terminal=True)
    with shown:
        shown.begin([run], 0, StudyCost(10.0, 100.0, "estimated", False))
        shown.run_started(run)
        shown.run_forecast(run, EpochForecast(1, 3, 1120.0, FORECAST))
        shown._bar.refresh()
    assert "1/3 epochs" in text.getvalue()
    assert "120 J (60 to 190) to go" in text.getvalue()


def test_a_line_tells_of_a_long_run_alone(run, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    shown, text = bar(terminal=False)
    with shown:
        shown.begin([run], 0, StudyCost(10.0, 100.0, "estimated", False))
        shown.run_started(run)
        for now_s in (1.0, 29.0, 31.0, 45.0, 62.0):
            clock[0] = now_s
            shown.run_forecast(run, EpochForecast(int(now_s), 99, 1120.0, FORECAST))
    lines = [line for line in text.getvalue().splitlines() if "to go" in line]
    assert lines == [
        f"{run.condition}: {epoch}/99 epochs, 120 J (60 to 190) to go" for epoch in (31, 62)
    ]
