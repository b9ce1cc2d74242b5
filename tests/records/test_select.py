"""Selecting a study's records, also from several machines."""

from dataclasses import replace

import pytest

from greencv_core.records.select import disambiguate_environments, sort_records
from greencv_core.records.source import load_study
from greencv_core.records.store import Store
from greencv_core.records.tables import runs_table
from greencv_core.run.collect import collect
from greencv_core.run.planning import plan_here
from greencv_core.study.schema import (
    Dataset,
    Target,
)

SMOKE = load_study("smoke")


def on_other_machine(record, run_of, **changes):
    """Return a record as another machine would have made it."""
    machine = {**record.machine, "fingerprint": "0ther000", **changes}
    run = replace(run_of[record.run_id], machine="0ther000")
    return record.model_copy(
        update={"machine": machine, "run_id": run.run_id, "device_name": "Other(R) CPU X1 @ 3GHz"}
    )


def test_runs_of_another_machine_belong_to_the_study_under_other_names(smoke_records, tmp_path):
    run_of = {run.run_id: run for run in plan_here(SMOKE)[0]}
    store = Store(tmp_path)
    for record in smoke_records:
        store.write(record)
        store.write(on_other_machine(record, run_of))
    stale = on_other_machine(smoke_records[0], run_of).model_copy(update={"run_id": "0" * 16})
    store.write(stale)  # of settings that are not this study's
    records = collect(SMOKE, store=tmp_path, train=False)
    assert len(records) == 2 * len(smoke_records)
    names = list(dict.fromkeys(record.environment["name"] for record in records))
    assert len(names) == 4
    assert "cpu-1-thread (Other X1)" in names
    assert [name.split(" (")[0] for name in names[:4]] == [
        "cpu-1-thread", "cpu-1-thread", "cpu-all-threads", "cpu-all-threads",
    ]  # fmt: skip
    assert set(runs_table(records)["environment"]) == set(names)


def test_two_machines_of_the_same_kind_are_distinguished_by_fingerprint(smoke_records):
    run_of = {run.run_id: run for run in plan_here(SMOKE)[0]}
    one = smoke_records[0]
    twin = on_other_machine(one, run_of).model_copy(update={"device_name": one.device_name})
    names = [record.environment["name"] for record in disambiguate_environments([one, twin])]
    assert names[0] != names[1]
    assert names[1].endswith(", machine 0ther000)")
    assert [r.run_id for r in sort_records(disambiguate_environments([twin, one]), SMOKE)]


def test_a_failed_run_is_named_like_the_others_of_its_machine(smoke_records):
    run_of = {run.run_id: run for run in plan_here(SMOKE)[0]}
    one, two, *_ = (r for r in smoke_records if r.environment["name"] == "cpu-1-thread")
    lost = on_other_machine(one, run_of).model_copy(update={"device_name": "", "status": "failed"})
    names = [
        record.environment["name"]
        for record in disambiguate_environments([lost, on_other_machine(two, run_of), two])
    ]
    assert names[0] == names[1] == f"{one.environment['name']} (Other X1)" != names[2]


def test_a_single_machines_names_stay_as_they_are(smoke_records):
    assert disambiguate_environments(smoke_records) == smoke_records


def test_synthetic_images_have_no_correctness(smoke_records):
    record = smoke_records[0]
    row = runs_table([record.model_copy(update={"dataset": {"name": "synthetic"}})]).iloc[0]
    assert row["f1_macro"] != row["f1_macro"]
    assert row["energy_j"] == runs_table([record]).iloc[0]["energy_j"]
    with pytest.raises(ValueError, match="no correctness to reach"):
        SMOKE.model_validate(
            SMOKE.model_dump()
            | {
                "dataset": Dataset(name="synthetic", train_images=64, validation_images=32),
                "protocol": SMOKE.protocol.model_copy(update={"target": Target(value=0.9)}),
            }
        )
