"""Sentences and tables about other published data sets, with every number from their runs."""

from html import unescape

import pandas as pd
import pytest

from greencv_core.published.evidence_bundle import read_evidence, shipped_evidence
from greencv_core.report.exhibits.tables import show_table
from greencv_core.report.pages.other_sources import (
    epoch_readings_sentence,
    wall_meter_sentence,
    wall_meter_table,
)


@pytest.fixture
def wall():
    return read_evidence(shipped_evidence(), "xu2023")[0]


def test_the_wall_meter_against_the_estimate(wall):
    sentence = wall_meter_sentence(wall)
    assert "1.75 times CodeCarbon's estimate" in sentence
    assert "(median of 16 runs; 1.69 to 1.90)" in sentence
    assert "the ratio is 1.35 (1.33 to 1.42)" in sentence
    assert "2 runs with a negative CPU energy are left out" in sentence
    doubled = wall.assign(wall_to_estimate=2 * wall["wall_to_estimate"])
    assert "3.50 times" in wall_meter_sentence(doubled)


def test_the_table_has_a_row_for_each_condition_and_headings_with_units(wall):
    table = wall_meter_table(wall)
    assert len(table) == 6
    assert table["n"].sum() == 16
    assert table["ratio"].between(1.68, 1.91).all()
    html = show_table(table, "Energy at the wall", "published", wall).to_html()
    assert "Energy at the wall (MJ)" in html
    assert "CodeCarbon's estimate (MJ)" in unescape(html)


def test_readings_by_epoch_of_a_made_up_table():
    runs = pd.DataFrame({"energy_j_first_epoch": [1.0, 1.2], "energy_j_later_epochs": [3.0, 3.0]})
    sentence = epoch_readings_sentence(runs)
    assert "10.0% more" in sentence
    assert "(median of 2 runs; 0.0% to 20.0%)" in sentence
