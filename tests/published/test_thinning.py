"""The published logs with fewer samples."""

import pytest

from greencv_core.published.seaa2023.thinning import EVERY_S, thinning


def test_fewer_samples_change_no_headline(reanalysis):
    found = thinning(reanalysis)
    table = found.table
    assert tuple(table["every_s"]) == EVERY_S
    assert found.logs == 309
    assert table["largest_change"].is_monotonic_increasing
    assert table["largest_change"].iloc[0] == 0
    assert table["largest_change"].iloc[-1] == pytest.approx(0.0137, abs=1e-4)
    assert table["saving"].iloc[0] == reanalysis.headline()["ends_restored"].saving
    assert table["matching"].nunique() == 1
    assert "no headline depends on how often power was sampled" in found.sentence()
