"""What the metering page and the doctor report of the meters."""

import json

import pytest
from IPython.display import Markdown

from greencv_core.analysis.describe import uncertainty_sentence
from greencv_core.records.record import ComparisonRecord, EnergyRecord, WallRecord
from greencv_core.report.exhibits.tables import show_table_or_text
from greencv_core.report.pages.provenance import (
    comparisons_table,
    gpu_states_table,
    uncertainty_table,
)
from greencv_core.report.pages.wall import wall_sentence, wall_table
from tests.conftest import greencv


def test_a_runs_uncertainty_by_component(smoke_records):
    record = smoke_records[0]
    table = uncertainty_table(record).set_index("component")
    assert list(table.index) == ["CPU", "RAM", "sum"]
    parts = record.total.components
    # Estimates of one tool err together.
    assert table.loc["sum", "uncertainty_j"] == pytest.approx(
        parts["cpu"].uncertainty_j + parts["ram"].uncertainty_j
    )
    high_j = table.loc["RAM", "interval_high_j"]
    assert high_j == pytest.approx(1.4 * parts["ram"].energy_j, rel=0.01)
    assert table.loc["sum", "provenance"] == "estimated"
    html = show_table_or_text(uncertainty_table(record), "Uncertainty", "nothing").to_html()
    assert "20.4%" in html
    assert "Standard uncertainty (J)" in html


def test_the_sentence_holds_the_runs_own_figures(smoke_runs):
    assert "\N{PLUS-MINUS SIGN}40.0%" in uncertainty_sentence(smoke_runs)
    unknown = smoke_runs.assign(energy_uncertainty_j=float("nan"))
    assert "stated no uncertainty" in uncertainty_sentence(unknown)


def test_two_meters_side_by_side(smoke_records):
    first = EnergyRecord(energy_j=10.0, provenance="measured", source="counter", uncertainty_j=0.1)
    records = []
    for record, energy_j in zip(smoke_records, (9.0, 12.0, 15.0), strict=False):
        second = EnergyRecord(
            energy_j=energy_j, provenance="estimated", source="model", uncertainty_j=1.5
        )
        comparison = ComparisonRecord(component="cpu", first=first, second=second)
        records.append(record.model_copy(update={"comparisons": [comparison]}))
    [row] = comparisons_table(records).to_dict("records")
    assert row["first"] == "counter (measured)"
    assert (row["n"], row["second_to_first"]) == (3, 1.2)
    assert (row["lowest_ratio"], row["highest_ratio"]) == (0.9, 1.5)
    assert row["agreement"] == pytest.approx(2 / 3)
    said = show_table_or_text(comparisons_table(smoke_records), "Meters", "There is one meter.")
    assert isinstance(said, Markdown)
    assert "There is one meter." in said.data


def wall_record(energy_j, share, problem=""):
    energy = EnergyRecord(energy_j=energy_j, provenance="sampled", source="wall meter (Shelly)")
    return WallRecord(energy=energy, explained_share=share, problem=problem)


def test_the_share_of_the_plug_that_the_components_explain(smoke_records):
    shares = (0.6, 0.7, 0.8)
    walls = [wall_record(100.0 * (i + 1), share) for i, share in enumerate(shares)]
    one = smoke_records[0]
    records = [one.model_copy(update={"wall": wall}) for wall in walls]
    [row] = wall_table([*records, one]).to_dict("records")
    assert (row["runs"], row["energy_j"], row["explained_share"]) == (3, 200.0, 0.7)
    assert (row["lowest_share"], row["highest_share"]) == (0.6, 0.8)
    sentence = wall_sentence([*records, one])
    assert "explain 70% of the energy at the wall (median of 3 runs; 60% to 80%)" in sentence
    assert "Problems" not in sentence


def test_a_wall_meter_that_failed_is_named(smoke_records):
    assert wall_sentence(smoke_records).startswith("No run of this study was read by a meter at")
    assert wall_table(smoke_records).empty
    failed = [r.model_copy(update={"wall": WallRecord(problem="no answer")}) for r in smoke_records]
    assert wall_sentence(failed) == "Problems in 8 runs: no answer."
    assert wall_table(failed).empty


def test_states_of_gpus(smoke_records):
    gpu = {
        "utilization_pct": 80.0,
        "memory_used_bytes": 2.0**31,
        "temperature_c": 61.0,
        "sm_clock_mhz": 1500.0,
        "memory_clock_mhz": None,
        "power_limit_w": 300.0,
    }
    slowed = smoke_records[0].model_copy(
        update={"gpu": gpu, "gpu_slowed_share": {"power limit": 0.5}}
    )
    [row] = gpu_states_table([slowed, *smoke_records[1:]]).to_dict("records")
    assert row["memory_used_gib"] == 2
    assert row["slowed_by"] == "power limit"
    assert gpu_states_table(smoke_records).empty


def test_the_doctor_reports_refresh_and_uncertainty():
    told = json.loads(greencv("doctor", "--json").stdout)
    refreshed = {meter["component"]: meter["resolution_s"] for meter in told["meters"]}
    assert refreshed.pop("ram") is None  # a constant
    assert all(resolution_s > 0 for resolution_s in refreshed.values())
    assert all(0 < meter["relative_uncertainty"] < 0.3 for meter in told["meters"])
    assert "refreshed every" in greencv("doctor").stdout
