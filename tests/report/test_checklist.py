"""The reporting checklist: what the records hold, and what they do not say."""

import pandas as pd
import pytest

from greencv_core import runs_table
from greencv_core.analysis import select_runs
from greencv_core.report.pages import checklist
from tests.support.made_up_records import made_up_records, made_up_study


def answers(records, study=None):
    """Return every answer by its item."""
    runs = runs_table(records)
    selection = select_runs(runs)
    tables = (
        checklist.people_and_machines(records),
        checklist.measurement(records, selection.runs),
        checklist.experiment(records, study or made_up_study()),
        checklist.exclusions_and_results(records, runs, selection, len(records)),
        checklist.software_and_data(records),
    )
    return {row.item: row.answer for table in tables for row in table.itertuples()}


def test_every_item_has_an_answer_in_words():
    told = answers(made_up_records(n=2))
    for item, answer in told.items():
        assert answer.endswith("."), item
        for odd in ("nan", "None,", "[", "..", "unknown."):
            assert odd not in answer, (item, answer)
    assert told["Meters"] == "CPU: CodeCarbon (estimated); RAM: CodeCarbon (estimated)."
    assert told["Conditions"] == "5 architectures and 3 environments: 15 conditions."
    assert told["Runs per condition"] == "2."
    assert told["Seeds"] == "2022 and 2023."
    assert told["Carbon intensity and its source"] == ("174 gCO2e/kWh (source not in the records).")
    assert told["Runs left out"] == "None."


@pytest.mark.parametrize(
    "item", ["Sessions", "Idle power", "Refresh period of the meters", "Pilot runs"]
)
def test_what_the_records_do_not_hold_is_said(item):
    assert answers(made_up_records(n=2))[item] == checklist.SILENT


def test_what_is_left_out_is_named_with_the_reason():
    records = made_up_records(n=2, architectures=2, environments=1)
    failed = records[0].model_copy(update={"status": "failed", "reason": "no memory"})
    told = answers([failed, *records[1:]])
    assert told["Runs left out"] == f"{failed.run_id[:8]} (net0 @ env0): failed."
    assert "Left out: 1 failed." in told["Runs that count"]


def test_each_electricity_is_stated_with_its_source():
    spain, stated = {"country": "ESP"}, {"country": "FRA", "intensity_gco2e_per_kwh": 56.0}
    one = made_up_records(n=2, environments=1, carbon=spain)
    other = made_up_records(
        n=2, environments=2, carbon=stated, carbon_intensity_gco2e_per_kwh=56.0
    )[2::4]
    told = answers([*one, *other])["Carbon intensity and its source"]
    assert told == (
        "174 gCO2e/kWh (CodeCarbon's data, ESP) and 56.0 gCO2e/kWh (stated in the study file)."
    )


def test_real_runs_fill_in_the_list(smoke_records):
    told = answers(smoke_records)
    silent = {item for item, answer in told.items() if checklist.SILENT in answer}
    assert silent <= {"Pilot runs", "Preregistration"}


def test_the_answer_counts_the_items_and_names_those_without_one():
    records = made_up_records(n=2)
    told = answers(records)
    silent = [item for item, text in told.items() if text == checklist.SILENT]
    tables = [pd.DataFrame({"item": list(told), "answer": list(told.values())})]
    said = checklist.answer(tables)
    assert said.startswith(f"{len(told) - len(silent)} of {len(told)} items are answered")
    assert all(item.lower() in said.lower() for item in silent)
    known = [table[table["answer"] != checklist.SILENT] for table in tables]
    assert "Not recorded" not in checklist.answer(known)
