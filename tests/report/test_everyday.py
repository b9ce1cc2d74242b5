"""A saving in kilowatt-hours, emissions and euros."""

import io

import pandas as pd
import pytest

from greencv_core.analysis import best_against_worst
from greencv_core.report.pages.savings import everyday_table
from tests.support.tables import made_up_runs


def test_each_end_is_converted_by_its_own_electricity():
    runs = made_up_runs(architectures=2)
    by_environment = {"env0": 50.0, "env1": 600.0}
    runs["carbon_intensity_gco2e_per_kwh"] = runs["environment"].map(by_environment)
    largest = best_against_worst(runs)
    ends = [largest.from_condition["environment"], largest.to_condition["environment"]]
    assert ends == ["env1", "env0"]
    table = everyday_table(runs, largest, 0.3)
    frame = pd.read_csv(io.BytesIO(table.files["csv"]))
    kwh, grams = frame.iloc[:, 1], frame["Emissions (gCO2e)"]
    assert list(grams[:2] / kwh[:2]) == pytest.approx([600.0, 50.0], rel=1e-4)
    assert grams[2] == pytest.approx(grams[0] - grams[1], rel=1e-4)
    assert "at 50.0 and 600 gCO2e/kWh" in table.caption
