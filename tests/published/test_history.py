"""What each version of the original paper said, beside the public runs."""

import pytest

from greencv_core.published.seaa2023.history import (
    VERSIONS,
    headline_loss,
    history,
    last_version_sentence,
)
from greencv_core.published.seaa2023.reanalysis import CORRECTED


def test_versions_with_public_data_are_recomputed_and_the_others_are_not(reanalysis):
    table = history(reanalysis)
    assert list(table["date"]) == [version.date for version in VERSIONS]
    public = table["data"].eq("Public runs")
    assert list(public) == [True, True, False, False]
    for said, found in zip(table.loc[public, "abstract"], table.loc[public, "public_runs"],
                           strict=True):  # fmt: skip
        # The abstracts cut their figure, where ours is rounded.
        assert float(said.removeprefix("up to ").rstrip("%")) == pytest.approx(
            float(found.rstrip(" %\N{NO-BREAK SPACE}")), abs=0.011
        )
    assert table.loc[~public, "public_runs"].str.startswith("corrected: 81.4").all()


def test_medians_and_means_of_f1_differ_since_some_trainings_fail(reanalysis):
    loss = headline_loss(reanalysis.runs(CORRECTED, "none"))
    assert loss.median_dear == pytest.approx(0.986, abs=5e-4)
    assert loss.median_cheap == pytest.approx(0.975, abs=5e-4)
    assert loss.test.loss == pytest.approx(0.034, abs=5e-4)
    assert len(loss.failed) == 3
    assert loss.n_cheap == 30
    assert loss.median_dear - loss.median_cheap < loss.loss_without_failed < loss.test.loss
    text = loss.sentence()
    assert "1.1 points of F1 by medians (0.986 to 0.975)" in text
    assert "3.4 points" in text
    assert "3 of 30 runs" in text
    assert "0.73 to 0.89" in text


def test_the_interaction_of_the_last_version_shows_in_the_public_runs(reanalysis):
    assert "the public runs also show it (p < 0.001)" in last_version_sentence(reanalysis).replace(
        "\N{NO-BREAK SPACE}", " "
    )
