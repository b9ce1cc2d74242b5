"""PePR: the rules for its defects on the published file, and damaged copies of it."""

import pandas as pd
import pytest

from greencv_core.published.pepr2024 import (
    CARD,
    IMPLAUSIBLE,
    NAME,
    REPEATED,
    RESULTS,
    UNRELIABLE,
    published_runs,
)
from greencv_core.utils.errors import BadInputError


@pytest.fixture(scope="module")
def table(published_table):
    return published_table(NAME)


@pytest.fixture(scope="module")
def counted(table):
    return table[table["left_out"] == ""]


def changed(published_files, tmp_path, change):
    """Return the runs table of a changed copy of the file."""
    file = tmp_path / "all_results.csv"
    change(pd.read_csv(published_files(NAME)[RESULTS])).to_csv(file, index=False)
    return published_runs({RESULTS: file})


def test_the_rules_leave_two_data_sets(table, counted):
    assert len(table) == 1048
    assert table["run_id"].is_unique
    assert counted.groupby("dataset").size().to_dict() == {"derma": 131, "lidc": 131}
    left_out = table["left_out"].value_counts()
    assert left_out[[IMPLAUSIBLE, REPEATED, UNRELIABLE]].to_list() == [308, 34, 444]
    assert {defect.key for defect in CARD.defects} == {IMPLAUSIBLE, REPEATED, UNRELIABLE}


def test_442_energies_occur_in_several_data_sets_of_a_network(table):
    repeated = table.duplicated(["architecture", "energy_j"], keep=False)
    assert repeated.sum() == 442
    copies = table[repeated & (table["left_out"] == IMPLAUSIBLE)]
    assert len(copies) == 306
    assert copies["power_w"].min() > 860
    assert copies["power_w"].max() == pytest.approx(15561, abs=1)


def test_the_power_that_counts_is_that_of_one_gpu_and_its_computer(counted):
    assert counted["power_w"].between(520, 600).all()


def test_final_scores_are_whole_numbers_of_the_test_images(counted):
    for dataset, images in (("derma", 62 * 32), ("lidc", 94 * 32)):
        right = images * counted.loc[counted["dataset"] == dataset, "correctness"]
        assert (right - right.round()).abs().max() < 1e-4


def test_correlations_and_savings_of_the_last_epoch(counted):
    for dataset, parameters, accuracy, saving in (
        ("derma", 0.803, 0.106, 0.572), ("lidc", 0.804, 0.108, 0.864)
    ):  # fmt: skip
        runs = counted[counted["dataset"] == dataset]
        ranks = runs[["energy_j", "parameters", "correctness"]].corr("spearman")["energy_j"]
        assert ranks["parameters"] == pytest.approx(parameters, abs=1e-3)
        assert ranks["correctness"] == pytest.approx(accuracy, abs=1e-3)
        best = runs.loc[runs["correctness"].idxmax()]
        near = runs[runs["correctness"] >= best["correctness"] - 0.02]
        found = 1 - near["energy_j"].min() / best["energy_j"]
        assert found == pytest.approx(saving, abs=1e-3)


def test_a_wrong_time_takes_its_whole_data_set_with_it(published_files, tmp_path):
    def change(table):
        table.loc[table["dataset"] == "lidc", "train_time"] /= [*[1] * 130, 2]
        return table

    runs = changed(published_files, tmp_path, change)
    lidc = runs[runs["dataset"] == "lidc"]["left_out"].value_counts()
    assert lidc.to_dict() == {UNRELIABLE: 130, IMPLAUSIBLE: 1}


def test_energies_that_differ_bring_the_copied_data_set_back(published_files, tmp_path):
    def change(table):
        pt = table["dataset"] == "derma_pt"
        table.loc[pt, "energy"] *= 1.001
        return table

    runs = changed(published_files, tmp_path, change)
    assert set(runs.loc[runs["left_out"] == "", "dataset"]) == {"derma", "derma_pt", "lidc"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda table: table.drop(columns="energy"), "not as published"),
        (lambda table: table.rename(columns={"dataset": "data"}), "not as published"),
        (lambda table: table.astype({"energy": str}).assign(energy="much"), "not as published"),
    ],
)
def test_a_damaged_file_gives_one_line(published_files, tmp_path, change, reason):
    with pytest.raises(BadInputError) as caught:
        changed(published_files, tmp_path, change)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{NAME}: {RESULTS}: ")
    assert reason in line
