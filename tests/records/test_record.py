"""Records in a store: earlier versions, damage, and the commands that read them."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from sklearn.metrics import confusion_matrix, f1_score

from greencv_core.records.record import RunRecord, ValidationRecord
from greencv_core.records.store import Damaged, Store, parse_file
from greencv_core.records.tables import runs_table
from greencv_core.utils.confusion import decode_classes
from greencv_core.utils.errors import GreencvError
from tests.conftest import greencv, greencv_here
from tests.support.made_up_records import made_up_records
from tests.support.refusals import one_line, refusal


def test_nan_survives_the_store(smoke_records, tmp_path):
    record = smoke_records[0].model_copy(update={"net_energy_j": float("nan")})
    Store(tmp_path).write(record)
    read = Store(tmp_path).read(record.run_id)
    assert read is not None
    assert math.isnan(read.net_energy_j)


def test_records_of_earlier_versions_are_read(smoke_records, tmp_path):
    content = smoke_records[0].model_dump(mode="json") | {"schema_version": 3}
    del content["forecast"], content["session"], content["validation"], content["wall"]
    path = tmp_path / f"{content['run_id']}.json"
    path.write_text(json.dumps(content))
    [record] = Store(tmp_path).records()
    assert (record.status, record.forecast, record.wall) == ("finished", None, None)
    content["schema_version"] = 1
    for name in ("gpu_slowed_share", "comparisons"):
        del content[name]
    for window in [content["total"], *content["phases"]]:
        for part in window["components"].values():
            del part["uncertainty_j"], part["resolution_s"]
    path.write_text(json.dumps(content))
    row = runs_table(list(Store(tmp_path).records())).iloc[0]
    assert row["energy_j"] == pytest.approx(smoke_records[0].total.energy_j)
    assert math.isnan(row["energy_uncertainty_j"])
    assert row["session"] is None
    assert row["validation_predictions"] is None
    assert math.isnan(row["f1_macro_image_error"])


def test_the_answers_on_the_validation_images_are_those_of_the_trained_model(smoke_records):
    for record in smoke_records:
        row, answers = runs_table([record]).iloc[0], record.validation
        labels, predicted = (
            decode_classes(row[f"validation_{name}"]) for name in ("labels", "predictions")
        )
        assert len(labels) == row["validation_images"] == sum(answers.images_by_class)
        assert (labels == predicted).mean() == pytest.approx(row["accuracy"])
        assert f1_score(labels, predicted, average="macro") == pytest.approx(row["f1_macro"])
        assert answers.confusion == confusion_matrix(labels, predicted).tolist()
        assert np.trace(answers.confusion) == sum(answers.hits_by_class)
        assert 0 < row["f1_macro_image_error"] < 0.1


def test_many_images_or_classes_leave_counts():
    rng = np.random.default_rng(1)
    many = ValidationRecord.from_classes(*rng.integers(0, 3, (2, 10_001)), 3)
    assert (many.labels, many.predictions, len(many.confusion)) == ("", "", 3)
    wide = ValidationRecord.from_classes(*rng.integers(0, 300, (2, 400)), 300)
    assert (wide.labels, wide.predictions, wide.confusion) == ("", "", None)
    assert len(wide.hits_by_class) == 300


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("labels", "AAE="),
        ("predictions", "not base64"),
        ("predictions", "AAH/"),
        ("confusion", [[1, 2]]),
        ("hits_by_class", [1]),
    ],
)
def test_answers_that_contradict_each_other_are_damage(field, value):
    answers = ValidationRecord.from_classes(np.array([0, 1, 0]), np.array([0, 0, 0]), 2)
    content = json.loads(made_up_records(1, 1, 1, validation=answers)[0].model_dump_json())
    content["validation"][field] = value
    where = f"{content['run_id']}.json"
    loaded = parse_file(where, json.dumps(content).encode())
    assert isinstance(loaded, Damaged)
    assert loaded.reason.startswith("validation: ")


def test_commands_name_a_damaged_file_and_leave_it_out(smoke_records, tmp_path):
    for record in smoke_records[:2]:
        Store(tmp_path).write(record)
    path = tmp_path / f"{smoke_records[0].run_id}.json"
    path.write_text(path.read_text().replace('"repetition":', '"repetitions":', 1))
    [damaged] = [r for r in Store(tmp_path).records() if isinstance(r, Damaged)]
    assert (damaged.where, damaged.reason.split(":")[0]) == (str(path), "repetition")
    done = greencv_here("runs", "list", "--json", "--store", tmp_path)
    content = json.loads(done.stdout)
    assert len(content["runs"]) == 1
    assert content["damaged"][0]["path"] == str(path)
    assert str(path) in done.stderr


def test_a_store_that_cannot_be_written_is_one_line(smoke_records, tmp_path):
    (tmp_path / "file").write_text("")
    text = refusal(Store(tmp_path / "file").write, smoke_records[0], kind=GreencvError)
    assert "cannot be written" in text


def test_an_empty_store_gives_an_empty_table(tmp_path):
    assert list(Store(tmp_path).records()) == []
    frame = runs_table([])
    assert len(frame) == 0
    assert "energy_j" in frame


@pytest.mark.parametrize("form", ["csv", "parquet", "json"])
def test_export_writes_the_runs_table(smoke_store, smoke_runs, tmp_path, form):
    path = tmp_path / f"runs.{form}"
    done = greencv_here("runs", "export", "--format", form, "-o", path, "--store", smoke_store)
    assert done.returncode == 0, done.stderr
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet, "json": pd.read_json}[form]
    frame = read(path)
    assert list(frame.columns) == list(smoke_runs.columns)
    written = frame.set_index("run_id")["energy_j"].to_dict()
    assert written == pytest.approx(smoke_runs.set_index("run_id")["energy_j"].to_dict())


def test_show_prints_the_whole_record(smoke_store, smoke_records):
    record = smoke_records[0]
    done = greencv_here("runs", "show", record.run_id[:8], "--store", smoke_store)
    assert RunRecord.model_validate(json.loads(done.stdout)) == record
    missing = greencv_here("runs", "show", "nosuchrun", "--store", smoke_store)
    assert "no such run" in one_line(missing)


def test_a_store_that_is_a_file_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    assert "Not a directory" in one_line(greencv("run", "smoke", "--store", tmp_path / "file"))


@pytest.mark.parametrize("disturbed", [False, True])
def test_records_before_version_9_call_disturbed_runs_contended(disturbed, smoke_records):
    content = smoke_records[0].model_dump(mode="json") | {"schema_version": 8}
    for field in ("disturbed", "tries", "wait_policy"):
        del content[field]
    read = RunRecord.model_validate(content | {"contended": disturbed})
    assert (read.disturbed, read.tries, read.wait_policy) == (disturbed, 1, "")
    with pytest.raises(ValidationError):
        RunRecord.model_validate(content | {"contended": True, "disturbed": False})
