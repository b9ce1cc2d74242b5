"""`greencv estimate`: what a training will take before it starts, what that rests on, bad names."""

import json
import re
import subprocess
import sys
import time

import pytest

from greencv_core.records.source import load_study
from greencv_core.records.store import Store
from greencv_core.run.estimate import one_training
from greencv_core.utils.errors import BadInputError
from tests.conftest import greencv, greencv_here, interrupted
from tests.support.refusals import one_line
from tests.support.studies import ONE_THREAD, smoke_study

SMOKE = load_study("smoke")


def estimated(store, *options, study="smoke"):
    """Return the estimate that the command prints."""
    done = greencv_here("estimate", *options, "--study", study, "--store", store, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_architecture_without_runs_has_an_estimate_in_every_environment(smoke_store):
    answer = estimated(smoke_store, "resnet18")
    assert answer["rests_on"] == "8 finished runs of 2 architectures"
    assert (answer["finished_runs"], answer["architectures"]) == (8, 2)
    rows = answer["estimates"]
    assert [row["environment"] for row in rows] == ["cpu-1-thread", "cpu-all-threads"]
    for row in rows:
        assert row["batches_tried"] == 0
        for figure, unit in (("energy", "j"), ("duration", "s"), ("emissions", "gco2e")):
            assert 0 < row[f"{figure}_low_{unit}"] < row[f"{figure}_high_{unit}"]
        emitted = row["energy_j"] / 3.6e6 * row["carbon_intensity_gco2e_per_kwh"]
        assert row["emissions_gco2e"] == pytest.approx(emitted)
        assert row["provenance"] in ("measured", "sampled", "estimated")


def test_a_known_architecture_is_estimated_near_its_runs(smoke_store, smoke_records):
    name = "squeezenet1_1"
    [row] = estimated(smoke_store, name, "--environment", "cpu-1-thread")["estimates"]
    joules = [
        r.total.energy_j for r in smoke_records
        if r.architecture == name and r.environment["name"] == "cpu-1-thread"
    ]  # fmt: skip
    assert row["energy_low_j"] <= row["energy_j"] <= row["energy_high_j"]
    assert row["energy_low_j"] < sum(joules) / 2 < row["energy_high_j"]


@pytest.mark.realtime
def test_a_few_batches_predict_the_cost_of_the_run(tmp_path):
    store = tmp_path / "store"
    study = smoke_study(
        tmp_path, architectures=["squeezenet1_1"], environments=[ONE_THREAD],
        dataset__train_images=1216, dataset__validation_images=300, protocol__repetitions=1,
    )  # fmt: skip
    answer = estimated(store, "squeezenet1_1", "--probe", study=study)
    assert not store.exists()
    [row] = answer["estimates"]
    assert answer["rests_on"] == f"{row['batches_tried']} batches tried"
    assert greencv_here("run", study, "--store", store).returncode == 0
    [record] = Store(store).records()
    # Within 15 % on a machine that does nothing else, which one that runs tests is not.
    assert row["duration_s"] == pytest.approx(record.duration_s, rel=0.5)
    assert row["energy_j"] == pytest.approx(record.total.energy_j, rel=0.5)


@pytest.mark.slow
def test_batches_that_were_timed_on_a_busy_machine_are_named(tmp_path):
    study = smoke_study(
        tmp_path, architectures=["squeezenet1_1"], environments=[ONE_THREAD],
        protocol__repetitions=1,
    )  # fmt: skip
    store = tmp_path / "store"
    others = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        done = greencv(
            "estimate", "squeezenet1_1", "--probe", "--study", study, "--store", store, COLUMNS="80"
        )
        planned = json.loads(greencv("plan", study, "--store", store, "--json").stdout)
    finally:
        others.kill()
        others.wait()
    assert done.returncode == 0, done.stderr
    said = r"disturbed: environment cpu-1-thread: other processes used \d+% of the CPUs; repeat"
    assert re.search(said, done.stderr)
    assert planned["disturbed"].startswith("other processes used ")


@pytest.mark.slow
def test_people_read_the_same_estimate(smoke_store):
    done = greencv(
        "estimate", "squeezenet1_1", "--study", "smoke", "--store", smoke_store,
        "--environment", "cpu-1-thread", "--epochs", "4", COLUMNS="80",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    title, _, row, *_, last = done.stdout.splitlines()
    assert title.strip() == "squeezenet1_1: 4 epochs of 128 images of digits"
    assert "cpu-1-thread" in row
    assert "J" in row
    assert last == "In brackets: 95% intervals. From 8 finished runs of 2 architectures."


def test_more_epochs_take_more_and_another_data_set_is_taken_whole(smoke_store):
    options = ("squeezenet1_1", "--environment", "cpu-1-thread")
    short = estimated(smoke_store, *options)
    long = estimated(smoke_store, *options, "--epochs", "20")
    assert long["epochs"] == 20
    assert long["estimates"][0]["energy_j"] > 5 * short["estimates"][0]["energy_j"]
    dataset = estimated(smoke_store, *options, "--dataset", "cifar10")["dataset"]
    numbers = [dataset[key] for key in ("train_images", "validation_images")]
    assert sum(numbers) == 60_000
    assert numbers[1] / 60_000 == pytest.approx(100 / 228, rel=0.001)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["resnet81"], 2, "unknown architecture; did you mean resnet18"),
        (["resnet18", "--study", "quack"], 2, "no such study file"),
        (["resnet18", "--environment", "gpu"], 2, "available: cpu-1-thread, cpu-all-threads"),
        (["resnet18", "--dataset", "imagenot"], 2, "unknown data set; known: digits"),
        (["resnet18", "--epochs", "0"], 2, "--epochs"),
        (["resnet18"], 1, "no finished runs to estimate from: try a few batches with --probe"),
    ],
)
def test_a_bad_name_or_an_empty_store_is_one_line(tmp_path, options, code, message):
    done = greencv_here("estimate", "--study", "smoke", "--store", tmp_path, *options)
    assert message in one_line(done, code)


@pytest.mark.parametrize("probe", [[], ["--probe"]])
def test_an_image_size_that_does_not_fit_is_one_line_with_some_that_do(tmp_path, probe):
    path = smoke_study(tmp_path, dataset__image_size=40, environments=[ONE_THREAD])
    done = greencv_here("estimate", "vit_b_16", "--study", path, "--store", tmp_path, *probe)
    assert "vit_b_16 cannot be trained on images of this size" in one_line(done)
    assert "use for example 32, 64, 96" in done.stderr


@pytest.mark.slow
def test_an_interrupted_estimate_exits_with_130(tmp_path):
    trying = time.monotonic() + 8
    code, errors = interrupted(
        "estimate", "resnet18", "--probe", "--store", tmp_path,
        when=lambda: time.monotonic() > trying,
    )  # fmt: skip
    assert code == 130
    assert "Traceback" not in errors


def test_a_studys_classes_are_not_those_of_another_data_set():
    merged = {"low": ["0", "1", "2", "3", "4"], "high": ["5", "6", "7", "8", "9"]}
    dataset = SMOKE.dataset.model_copy(update={"classes": merged})
    study = SMOKE.model_copy(update={"dataset": dataset})
    assert one_training(study, "resnet18").dataset.classes == merged
    assert one_training(study, "resnet18", dataset="mnist").dataset.classes is None


def test_too_few_images_for_a_batch_are_reported():
    large = SMOKE.protocol.model_copy(update={"batch_size": 2000})
    study = SMOKE.model_copy(update={"protocol": large})
    with pytest.raises(BadInputError, match=r"batch_size = 2000: must be at most"):
        one_training(study, "resnet18", dataset="digits")
