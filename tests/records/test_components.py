"""Restrict records to the components that a study counts."""

import pandas as pd
import pytest

from greencv_core import collect, runs_table
from greencv_core.analysis.choice.robustness import energy_definitions
from greencv_core.records.components import restrict_to_components
from greencv_core.records.source import load_study
from greencv_core.records.tables import epochs_table
from greencv_core.report.exhibits.markdown import provenance_note
from tests.support.made_up_records import made_up_records, window
from tests.support.refusals import refusal
from tests.support.studies import smoke_study

SHARES = {"gpu": 0.5, "cpu": 0.3, "ram": 0.2}


@pytest.fixture
def record():
    """Return a run with a measured GPU and estimated CPU and memory."""
    gpu = {"provenance": "measured", "source": "made up"}
    total = window("run", 0.0, 20.0, 1000.0, SHARES, 0.01, gpu=gpu)
    phases = [
        {**total, "name": f"epoch {number} {part}"}
        for number in (1, 2)
        for part in ("training", "validation")
    ]
    [made] = made_up_records(
        n=1,
        architectures=1,
        environments=1,
        total=total,
        phases=phases,
        duration_s=20.0,
        idle_power_w={"gpu": 5.0, "cpu": 4.0, "ram": 3.0},
        net_energy_j=1000.0 - 12 * 20.0,
        emissions_gco2e=1000 / 3.6e6 * 174.05,
        trace={"time_s": {"gpu": [0.0], "cpu": [0.0]}, "power_w": {"gpu": [9.0], "cpu": [1]}},
    )
    return made


def row_of(record):
    return runs_table([record]).iloc[0]


def test_energies_include_only_counted_components(record):
    whole, row = row_of(record), row_of(restrict_to_components(record, ["gpu"]))
    assert (whole["energy_j"], whole["provenance"]) == (1000.0, "estimated")
    assert (whole["components"], row["components"]) == ("gpu+cpu+ram", "gpu")
    assert (row["energy_j"], row["provenance"]) == (500.0, "measured")
    assert row["energy_uncertainty_j"] == 5.0
    assert row["power_w"] == 25.0
    assert row["energy_j_per_image"] == 500.0 / record.images_processed
    assert row["net_energy_j"] == 500.0 - 5.0 * 20.0
    assert row["emissions_gco2e"] == pytest.approx(500 / 3.6e6 * 174.05)
    assert row["train_energy_j"] == row["validation_energy_j"] == 2 * 500.0
    epochs = epochs_table([restrict_to_components(record, ["gpu"])])
    assert list(epochs["energy_j"]) == [1000.0, 1000.0]


def test_other_components_stay_in_the_table(record):
    row = row_of(restrict_to_components(record, ["gpu"]))
    assert (row["cpu_energy_j"], row["cpu_provenance"]) == (300.0, "estimated")
    assert (row["ram_energy_j"], row["ram_provenance"]) == (200.0, "estimated")
    note = provenance_note(runs_table([restrict_to_components(record, ["gpu"])])).data
    assert "Energy here is measured" in note
    assert "By component: GPU 100% (measured)" in note
    left_out = "CPU (estimated; 60% of what counts) and RAM (estimated; 40% of what counts)"
    assert f"not counted: {left_out}" in note
    whole = provenance_note(runs_table([record])).data
    assert "Energy here is in part estimated" in whole
    assert "not counted" not in whole


def test_the_sum_of_all_components_is_one_more_definition_of_energy(record):
    alone, whole = (runs_table([restrict_to_components(record, some)]) for some in (["gpu"], None))
    definitions = energy_definitions(alone)
    energy_j = definitions["all components"]["energy_j_per_image"] * record.images_processed
    assert list(energy_j) == pytest.approx([1000.0])
    assert "all components" not in energy_definitions(whole)
    assert set(energy_definitions(whole)) == set(definitions) - {"all components"}


def test_a_run_without_a_counted_component_has_no_energy(record):
    parts = {k: v for k, v in record.total.components.items() if k != "gpu"}
    lost = record.model_copy(
        update={"total": record.total.model_copy(update={"components": parts})}
    )
    row = row_of(restrict_to_components(lost, ["gpu"]))
    assert not row["complete"]
    assert pd.isna(row[["energy_j", "net_energy_j", "emissions_gco2e"]]).all()
    unknown_idle = record.model_copy(update={"idle_power_w": {"cpu": 4.0}})
    assert restrict_to_components(unknown_idle, ["gpu"]).net_energy_j is None


def test_all_components_count_by_default(record):
    assert restrict_to_components(record, None) == record
    every = restrict_to_components(record, ["gpu", "cpu", "ram"])
    pd.testing.assert_series_equal(row_of(every), row_of(record))


def test_excluded_components_are_not_written(record):
    restricted = restrict_to_components(record, ["gpu"])
    assert "excluded_components" not in restricted.model_dump_json()
    assert "excluded_components" not in restricted.model_dump()


def test_collect_restricts_records_to_the_studys_components(smoke_store, tmp_path):
    path = smoke_study(tmp_path, analysis__components=["cpu"])
    every = runs_table(collect("smoke", store=smoke_store, train=False))
    runs = runs_table(collect(path, store=smoke_store, train=False))
    assert len(runs) == len(every)
    assert list(runs["energy_j"]) == list(every["cpu_energy_j"])
    assert (runs["energy_j"] < every["energy_j"]).all()
    assert set(runs["components"]) == {"cpu"}
    meters = runs_table(collect(path, store=smoke_store, train=False, every_component=True))
    assert list(meters["energy_j"]) == list(every["energy_j"])


@pytest.mark.parametrize(
    ("components", "text"),
    [
        (["gpu"], "environments train on the CPU, whose energy would be left out"),
        (["cpu", "cpu"], "analysis.components: cpu named twice"),
        ([], "analysis.components = []"),
        (["disk"], "analysis.components.0 = disk"),
    ],
)
def test_a_study_counts_the_component_that_trains(tmp_path, components, text):
    assert text in refusal(load_study, smoke_study(tmp_path, analysis__components=components))
