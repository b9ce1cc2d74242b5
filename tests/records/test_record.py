"""The store: whole records or none, and damage is named."""

import json
import math

import pandas as pd
import pytest

from greencv_core.records.record import RunRecord
from greencv_core.records.store import Damaged, Store
from greencv_core.records.tables import runs_table
from greencv_core.utils.errors import GreencvError
from tests.conftest import greencv, greencv_here


def test_a_record_survives_the_store(smoke_records, tmp_path):
    store = Store(tmp_path)
    store.write(smoke_records[0])
    assert store.read(smoke_records[0].run_id) == smoke_records[0]
    assert [p.name for p in tmp_path.iterdir()] == [f"{smoke_records[0].run_id}.json"]


def test_a_failure_replaces_no_success(smoke_records, tmp_path):
    store, finished = Store(tmp_path), smoke_records[0]
    failed = finished.model_copy(update={"status": "failed", "reason": "no more memory"})
    store.write(failed)
    assert store.read(finished.run_id) == failed
    stopped = finished.model_copy(update={"status": "stopped", "complete": False})
    store.write(stopped)
    store.write(failed)
    assert store.read(finished.run_id) == stopped
    incomplete = finished.model_copy(update={"complete": False})
    store.write(incomplete)
    assert store.read(finished.run_id) == incomplete
    store.write(finished)
    store.write(failed)
    store.write(incomplete)
    assert store.read(finished.run_id) == finished


def test_a_figure_that_is_not_a_number_survives_the_store(smoke_records, tmp_path):
    record = smoke_records[0].model_copy(update={"net_energy_j": float("nan")})
    Store(tmp_path).write(record)
    read = Store(tmp_path).read(record.run_id)
    assert read is not None
    assert math.isnan(read.net_energy_j)


def test_a_record_of_version_1_is_read_and_states_no_uncertainty(smoke_records, tmp_path):
    content = smoke_records[0].model_dump(mode="json")
    content["schema_version"] = 1
    for name in ("gpu_slowed_share", "comparisons"):
        del content[name]
    for window in [content["total"], *content["phases"]]:
        for part in window["components"].values():
            del part["uncertainty_j"], part["resolution_s"]
    store = Store(tmp_path)
    (tmp_path / f"{content['run_id']}.json").write_text(json.dumps(content))
    [record] = store.records()
    row = runs_table([record]).iloc[0]
    assert row["energy_j"] == pytest.approx(smoke_records[0].total.energy_j)
    assert math.isnan(row["energy_uncertainty_j"])


def test_a_record_of_version_3_is_read_and_was_stopped_by_no_forecast(smoke_records, tmp_path):
    content = smoke_records[0].model_dump(mode="json")
    content["schema_version"] = 3
    del content["forecast"]
    store = Store(tmp_path)
    (tmp_path / f"{content['run_id']}.json").write_text(json.dumps(content))
    [record] = store.records()
    assert (record.status, record.forecast) == ("finished", None)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda text: text[: len(text) // 2], "not a JSON file"),
        (lambda text: "[]", "record version None"),
        (lambda text: text.replace('"schema_version":5', '"schema_version":99'), "version 99"),
        (lambda text: text.replace('"repetition":', '"repetitions":', 1), "repetition"),
    ],
)
def test_damage_is_named_and_left_out(smoke_records, tmp_path, damage, told):
    store = Store(tmp_path)
    for record in smoke_records[:2]:
        store.write(record)
    path = tmp_path / f"{smoke_records[0].run_id}.json"
    path.write_text(damage(path.read_text()))
    damaged = [r for r in store.records() if isinstance(r, Damaged)]
    assert [d.where for d in damaged] == [str(path)]
    assert told in damaged[0].reason
    done = greencv_here("runs", "list", "--json", "--store", tmp_path)
    content = json.loads(done.stdout)
    assert len(content["runs"]) == 1
    assert content["damaged"][0]["path"] == str(path)
    assert str(path) in done.stderr


def test_a_store_that_cannot_be_written_is_one_line(smoke_records, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GreencvError, match="cannot be written"):
        Store(tmp_path / "file").write(smoke_records[0])


def test_an_empty_store_gives_an_empty_table(tmp_path):
    assert list(Store(tmp_path).records()) == []
    frame = runs_table([])
    assert len(frame) == 0
    assert "energy_j" in frame


@pytest.mark.parametrize("form", ["csv", "parquet", "json"])
def test_export_holds_the_runs_table(smoke_store, smoke_runs, tmp_path, form):
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
    assert missing.returncode == 2
    assert "no such run" in missing.stderr


def test_a_store_that_is_a_file_is_told_before_anything_is_trained(tmp_path):
    (tmp_path / "file").write_text("")
    done = greencv("run", "smoke", "--store", tmp_path / "file")
    assert done.returncode == 2
    assert "Not a directory" in done.stderr
    assert len(done.stderr.splitlines()) == 1
