"""The wall meter beside CodeCarbon, on the published files and on damaged ones."""

import pytest

from greencv_core.published.xu2023 import CARD, NAME, published_runs
from greencv_core.utils.errors import BadInputError


@pytest.fixture(scope="module")
def table(published_table):
    return published_table(NAME)


def test_eighteen_runs_of_six_conditions(table):
    conditions = table.groupby(["architecture", "dataset"]).size()
    assert len(conditions) == 6
    assert set(conditions) == {3}
    assert table["run_id"].is_unique
    assert (table["left_out"] == "").all()


def test_the_wall_meter_reads_two_thirds_more_to_twice_the_estimate(table):
    ratio = table["wall_to_estimate"]
    assert ratio.min() == pytest.approx(1.686, abs=1e-3)
    assert ratio.max() == pytest.approx(1.902, abs=1e-3)
    assert ratio.median() == pytest.approx(1.751, abs=1e-3)


def test_estimates_with_a_negative_part_are_missing(table):
    negative = table["codecarbon_cpu_j"] < 0
    assert negative.sum() == 2
    assert (table["wall_to_estimate"].isna() == negative).all()
    assert CARD.defect("negative CPU energy").effect == "corrected"


def test_the_estimate_is_the_sum_of_its_parts(table):
    parts = table[[f"codecarbon_{part}_j" for part in ("gpu", "cpu", "ram")]].sum(axis="columns")
    known = table["codecarbon_energy_j"].notna()
    assert parts[known].to_list() == pytest.approx(
        table.loc[known, "codecarbon_energy_j"].to_list()
    )


def test_both_clocks_agree_and_the_power_is_that_of_a_node(table):
    assert table["power_w"].between(900, 1050).all()
    assert table["started_at"].is_unique
    assert table["started_at"].min() == "2022-06-05T23:17:43"


def damaged(published_files, tmp_path, ending, content):
    """Return the files with a damaged one."""
    files = dict(published_files(NAME))
    path = next(path for path in sorted(files) if path.endswith(ending))
    files[path] = tmp_path / "damaged"
    files[path].write_text(content)
    return files


@pytest.mark.parametrize(
    ("ending", "content", "reason"),
    [
        (".json", "{}", "'timeExecution' is missing"),
        (".json", "{", "not as published"),
        ("accuracy.txt", "loss_val: [1]\n", "not as published"),
        ("emissions.csv", "timestamp,duration\n", "not as published"),
    ],
)
def test_a_damaged_file_gives_one_line(published_files, tmp_path, ending, content, reason):
    with pytest.raises(BadInputError) as caught:
        published_runs(damaged(published_files, tmp_path, ending, content))
    (line,) = str(caught.value).splitlines()
    assert line.startswith(
        f"{NAME}: data/raw/grilla/results_summary/out_code_carbon_CIFAR10_ResNet50_1: "
    )
    assert reason in line


def test_a_missing_file_is_named(published_files):
    files = dict(published_files(NAME))
    files.pop(next(path for path in sorted(files) if path.endswith("emissions.csv")))
    with pytest.raises(BadInputError, match=r"ResNet50_1: 'emissions\.csv' is missing"):
        published_runs(files)
