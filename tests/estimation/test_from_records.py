"""Our own runs as trajectories, whose epochs hold the run's whole energy."""

import json
from functools import partial

import numpy as np
import pytest

from greencv_core.estimation.from_records import describe_task, read_trajectories, read_trajectory
from greencv_core.estimation.trajectory import Epochs, StagePlan
from greencv_core.records.record import (
    EpochRecord,
    RunRecord,
    TraceRecord,
    WindowRecord,
)
from greencv_core.records.select import disambiguate_environments
from greencv_core.study.plan import PlannedRun
from greencv_core.study.schema import Carbon, Dataset, EnvironmentSpec, Protocol
from tests.support import made_up_records
from tests.support.made_up_records import planned_record

PROTOCOL = {
    "epochs": 5,
    "learning_rate": 0.01,
    "early_stopping": {"patience": 2},
    "frozen_stage": {"epochs": 2, "learning_rate": 0.1},
    "batch_size": 32,
    "repetitions": 1,
}
DATA = {"name": "digits", "train_images": 100, "validation_images": 40}
GPU = {"name": "gpu", "device": "cuda:0", "threads": 4, "precision": "bf16"}
PHASES = (
    ("epoch 1 training", 1.0, 3.0, 40.0),
    ("epoch 1 validation", 3.0, 4.0, 10.0),
    ("epoch 2 training", 4.5, 6.5, 40.0),
    ("epoch 2 validation", 6.5, 7.5, 10.0),
    ("epoch 3 training", 7.5, 11.5, 120.0),
    ("epoch 3 validation", 11.5, 12.5, 20.0),
)
"""Name, begin, end and energy: 240 J in all, and 2 s between them."""
LASTED_S, TOOK_J = 13.0, 248.0


def planned(*, machine="ab12cd34", data=(), environment=(), **protocol):
    return PlannedRun(
        study="by-hand",
        dataset=Dataset(**{**DATA, **dict(data)}),
        architecture="resnet18",
        environment=EnvironmentSpec(**{**GPU, **dict(environment)}),
        protocol=Protocol.model_validate({**PROTOCOL, **protocol}),
        carbon=Carbon(country="ESP"),
        repetition=0,
        order=0,
        machine=machine,
        accelerator="GPU-1" if dict(environment).get("device") != "cpu" else "",
    )


window = partial(made_up_records.window, shares={"gpu": 0.75, "cpu": 0.25})


def recorded(run, *, phases=PHASES, total_j=TOOK_J, stages=("frozen", "frozen", "main"), **fields):
    """Return a record of a planned run."""
    nothing = {"accuracy", "precision_macro", "recall_macro", "f1_macro", "auroc_macro"}
    epochs = [
        EpochRecord(
            epoch=number, stage=stage, train_loss=1.0, validation_loss=1.0,
            duration_s=3.0, energy_j=50.0, **dict.fromkeys(nothing, 0.5),
        )
        for number, stage in enumerate(stages, start=1)
    ]  # fmt: skip
    trajectory = {
        "device_name": "NVIDIA H100",
        "gflops_per_image": 2.0,
        "parameters": 1000,
        "epochs": epochs,
        "duration_s": LASTED_S,
        "total": window("run", 0.0, LASTED_S, total_j),
        "phases": [window(*phase) for phase in phases],
        "idle_power_w": {"gpu": 50.0, "cpu": 20.0, "ram": 3.0},
        "gpu": {"power_limit_w": 700.0},
        "device_utilization_pct": 80.0,
    }
    return planned_record(run, **{**trajectory, **fields})


def test_epochs_last_until_the_next_begins_and_share_the_whole():
    trajectory = read_trajectory(recorded(planned()))
    assert trajectory.before_s == 1.0
    assert trajectory.before_j == pytest.approx(4.0)  # 8 J are left for 2 s without a phase
    assert trajectory.epochs.duration_s == pytest.approx([3.5, 3.0, 5.5])
    assert trajectory.epochs.energy_j == pytest.approx([52.0, 50.0, 142.0])
    assert trajectory.epochs.stage.tolist() == [0, 0, 1]
    assert (trajectory.duration_s, trajectory.energy_j) == (LASTED_S, TOOK_J)
    seen = trajectory.observe_epochs(2)
    assert len(seen.epochs) == 2
    assert seen.energy_j == pytest.approx(106.0)


def test_phases_that_outweigh_the_run_give_way():
    trajectory = read_trajectory(recorded(planned(), total_j=120.0))
    assert trajectory.before_j == 0.0
    assert trajectory.epochs.energy_j == pytest.approx([25.0, 25.0, 70.0])


def test_phases_that_leave_no_time_have_all_the_energy():
    phases = [("epoch 1 training", 0.0, 5.0, 10.0), ("epoch 2 training", 5.0, LASTED_S, 30.0)]
    trajectory = read_trajectory(
        recorded(planned(), phases=phases, total_j=80.0, stages=("frozen", "frozen"))
    )
    assert trajectory.epochs.energy_j == pytest.approx([20.0, 60.0])
    assert trajectory.before_s == 0.0


def test_within_a_long_phase_energy_follows_the_trace():
    time_s = np.arange(0.5, LASTED_S + 0.1, 0.5)
    gpu_w = np.select([time_s <= 2, time_s <= 7.5, time_s <= 9.5], [0.0, 20.0, 5.0], 15.0)
    trace = TraceRecord(
        time_s={"gpu": list(time_s), "cpu": [7.5, 9.5, 11.5, 13.0], "ram": [9.5, 13.0]},
        power_w={"gpu": list(gpu_w), "cpu": [20.0, 0.0, 20.0, 20.0], "ram": [1000.0, 0.0]},
    )
    trajectory = read_trajectory(recorded(planned(), trace=trace))

    def between_j(start_s, end_s):
        edges_s = [start_s, end_s]
        return np.diff(np.interp(edges_s, trajectory.time_s, trajectory.energy_so_far_j))[0]

    # Means since the point before: 5 W for 2 s, then 35 W for 2 s. RAM is no part of the energy.
    assert between_j(7.5, 9.5) == pytest.approx(120 * 10 / 80)
    assert between_j(9.5, 10.0) == pytest.approx(120 * 17.5 / 80)
    assert between_j(7.5, 11.5) == pytest.approx(120)
    # Of a phase with three points within, the trace tells nothing.
    assert between_j(1.0, 2.0) == pytest.approx(20.0)
    # Whatever its trajectory, an epoch's energy stays.
    assert trajectory.epochs.energy_j == pytest.approx([52.0, 50.0, 142.0])


def without(name):
    return [phase for phase in PHASES if phase[0] != name]


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "failed"},
        {"complete": False},
        {"stages": ()},
        {"gflops_per_image": None},
        {"total": None},
        {"total": WindowRecord(name="run", start_s=0, end_s=LASTED_S, components={})},
        {"duration_s": None},
        {"phases": without("epoch 2 training")},
        {"phases": [*without("epoch 3 validation"), ("epoch 3 validation", 11.5, 12.5, None)]},
        {"phases": [(*phase[:3], 0.0) for phase in PHASES], "total_j": 0.0},
        {"stages": ("main", "main", "third")},
        {"protocol": {**PROTOCOL, "unheard_of": 1}},
    ],
)
def test_a_record_that_tells_no_course_is_none(fields):
    lacking = [phase for phase in fields.get("phases", ()) if phase[3] is None]
    given = {**fields, "phases": [p for p in fields.get("phases", PHASES) if p not in lacking]}
    record = recorded(planned(), **given)
    for name, start_s, end_s, _ in lacking:
        nothing = WindowRecord(name=name, start_s=start_s, end_s=end_s, components={})
        record = record.model_copy(update={"phases": [*record.phases, nothing]})
    assert read_trajectory(record) is None
    whole = recorded(planned())
    assert [trajectory.run_id for trajectory in read_trajectories([record, whole, record])] == [
        whole.run_id
    ]


def test_a_run_is_the_same_task_before_it_and_after():
    run = planned()
    known = {"gflops_per_image": 2.0, "parameters": 1000, "power_limit_w": 700.0}
    record = recorded(run)
    assert describe_task(run, idle_power_w=70.0, **known) == read_trajectory(record).task
    assert describe_task(run, idle_power_w=71.0, **known) != read_trajectory(record).task
    # Also where a table names the device in the environment's name.
    elsewhere = recorded(planned(machine="other"), device_name="NVIDIA A100")
    named = disambiguate_environments([record, elsewhere])
    assert named[0].environment["name"] == "gpu (H100)"
    assert read_trajectory(named[0]).task == read_trajectory(record).task


def test_a_task_tells_what_its_cost_depends_on():
    run = planned(data={"image_size": 64})
    probe_epochs = Epochs(np.array([0, 1]), np.array([1.0, 2.0]), np.array([10.0, 30.0]))
    task = describe_task(run, gflops_per_image=2.0, idle_power_w=70.0, probe_epochs=probe_epochs)
    assert task.environment == "gpu (ab12cd34, GPU-1)"
    assert task.setting == "digits, 64 px, batch 32"
    assert task.probe_epochs is probe_epochs
    assert np.isnan(task.power_limit_w)
    assert task.features == {
        "batch_size": 32, "training_images": 96, "validation_images": 40, "gflops_per_image": 2.0,
        "parameters": 0, "image_size": 64, "threads": 4, "gpu": 1, "half_precision": 1,
        "power_limit_w": 0,
    }  # fmt: skip
    # Whole batches of training images, thrice unless frozen, and all validation images.
    assert task.stages[0] == StagePlan("frozen", 2, 2, pytest.approx(2.0 * (96 + 40) / 1e3))
    assert task.stages[1] == StagePlan("main", 5, 3, pytest.approx(2.0 * (3 * 96 + 40) / 1e3))
    cpu = {"name": "cpu", "device": "cpu", "threads": 2, "precision": "fp32"}
    made_up = {"name": "synthetic", "classes": 7}
    task = describe_task(planned(environment=cpu, data=made_up), gflops_per_image=2.0)
    assert task.environment == "cpu (ab12cd34)"
    assert task.setting == "synthetic, 32 px, batch 32, 7 classes"
    assert (task.features["gpu"], task.features["half_precision"]) == (0, 0)
    grouped = {"classes": {"even": ["0", "2"], "odd": ["1", "3"]}}
    assert describe_task(planned(data=grouped), gflops_per_image=2.0).setting.endswith("2 classes")
    elsewhere = describe_task(planned(machine="other"), gflops_per_image=2.0)
    assert elsewhere.environment != describe_task(run, gflops_per_image=2.0).environment


@pytest.mark.parametrize(
    ("protocol", "fewest"),
    [
        ({}, [2, 3]),
        ({"early_stopping": None}, [2, 5]),
        ({"early_stopping": {"patience": 9}}, [2, 5]),
        ({"frozen_stage": None}, [3]),
        ({"target": {"value": 0.9}}, [1, 0]),  # it may be reached before the second stage
        ({"budget": {"energy_j": 5.0}, "frozen_stage": None}, [1]),
    ],
)
def test_the_fewest_epochs_of_each_stage(protocol, fewest):
    task = describe_task(planned(**protocol), gflops_per_image=1.0)
    assert [stage.fewest_epochs for stage in task.stages] == fewest


def test_idle_power_is_that_of_what_is_metered():
    assert read_trajectory(recorded(planned())).task.idle_power_w == 70.0  # without the RAM
    assert read_trajectory(recorded(planned(), idle_power_w={"ram": 3.0})).task.idle_power_w == 0.0


def test_utilization_is_a_gpus():
    trajectory = read_trajectory(recorded(planned()))
    assert trajectory.observe(0.4).utilization_pct == 80.0
    unknown = read_trajectory(recorded(planned(), device_utilization_pct=None, gpu={}))
    assert np.isnan(unknown.observe(0.4).utilization_pct)
    assert np.isnan(unknown.task.power_limit_w)
    cpu = {"name": "cpu", "device": "cpu", "precision": "fp32"}
    assert len(read_trajectory(recorded(planned(environment=cpu))).utilization_so_far_pct) == 0


def test_a_record_of_version_1_is_a_course():
    run = planned(frozen_stage=None)
    content = json.loads(recorded(run, stages=("main", "main", "main")).model_dump_json())
    content |= {"schema_version": 1, "stopped_early": True}
    for name in ("ended_by", "final_epoch", "weights_sha256", "gpu_slowed_share", "comparisons"):
        del content[name]
    for epoch in content["epochs"]:
        del epoch["stage"], epoch["learning_rate"]
    for part in content["total"], *content["phases"]:
        for component in part["components"].values():
            del component["uncertainty_j"], component["resolution_s"]
    later = ("frozen_stage", "weights", "target", "budget", "seeds", "batch_norm", "plateau")
    for name in later:
        del content["protocol"][name]
    trajectory = read_trajectory(RunRecord.model_validate(content))
    assert trajectory.epochs.stage.tolist() == [0, 0, 0]
    assert trajectory.epochs.energy_j == pytest.approx([52.0, 50.0, 142.0])
    assert [stage.name for stage in trajectory.task.stages] == ["main"]


def test_trained_runs_are_courses(smoke_records):
    found = read_trajectories(smoke_records)
    assert len(found) == len(smoke_records) > 0
    for trajectory, record in zip(found, smoke_records, strict=True):
        assert trajectory.run_id == record.run_id
        assert trajectory.energy_j == record.total.energy_j
        assert trajectory.duration_s == record.duration_s
        whole_j = trajectory.before_j + trajectory.epochs.energy_j.sum()
        assert whole_j == pytest.approx(record.total.energy_j)
        assert trajectory.before_s + trajectory.epochs.duration_s.sum() == pytest.approx(
            record.duration_s
        )
        for epoch, lasted_s, took_j in zip(
            record.epochs, trajectory.epochs.duration_s, trajectory.epochs.energy_j, strict=True
        ):
            assert lasted_s >= epoch.duration_s
            assert 0.98 * epoch.energy_j < took_j < epoch.energy_j + record.total.energy_j / 4
        assert (np.diff(trajectory.time_s) >= 0).all()
        assert (np.diff(trajectory.energy_so_far_j) >= 0).all()
        assert 0 < trajectory.task.idle_power_w < 1000
        assert trajectory.task.features["threads"] in (1, record.machine["cpu_count"])
