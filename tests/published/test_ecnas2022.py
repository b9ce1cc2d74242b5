"""EC-NAS-Bench: the adapter on the published files, and on damaged ones."""

import json

import numpy as np
import pytest

from greencv_core.published.ecnas2022 import CARD, GRAPHS, NAME, published_runs
from greencv_core.utils.errors import BadInputError


@pytest.fixture(scope="module")
def table(published_table):
    return published_table(NAME)


def results(files):
    return {path: json.loads(file.read_text()) for path, file in files.items() if path != GRAPHS}


def test_every_cell_has_three_runs_that_count(table):
    assert len(table) == 273
    assert set(table.groupby("architecture").size()) == {3}
    assert table["architecture"].nunique() == 91
    assert (table["left_out"] == "").all()
    assert table["run_id"].is_unique
    assert set(table["repetition"]) == {0, 1, 2}


def test_the_published_total_is_the_energy_times_a_pue(table, published_files):
    total_j = [
        3.6e6 * result["total_energy (kWh)"] for result in results(published_files(NAME)).values()
    ]
    assert np.allclose(total_j / table["energy_j"], 1.59, atol=3e-4)
    assert np.allclose(table["gpu_energy_j"] + table["cpu_energy_j"], table["energy_j"])
    assert CARD.defect("PUE").effect == "corrected"


def test_the_joules_are_mean_power_times_time(table, published_files):
    watts = [
        sum(result["avg_power_usages:"][part]["avg_power_usages (W)"][0][i] for part, i in
            (("gpu", 0), ("cpu", 0), ("cpu", 1)))
        for result in results(published_files(NAME)).values()
    ]  # fmt: skip
    assert np.allclose(table["power_w"], watts, rtol=3e-3)


def test_the_graphs_explain_every_parameter_so_every_run_has_gflops(table):
    assert table["gflops_per_image"].notna().all()
    assert table["gflops_per_image"].min() == pytest.approx(0.1413, abs=1e-4)
    assert table["gflops_per_image"].max() == pytest.approx(6.248, abs=1e-3)


def test_every_accuracy_is_a_whole_number_of_the_evaluated_images(published_files):
    for result in results(published_files(NAME)).values():
        for evaluation in result["evaluation_results"]:
            for name in ("train", "validation", "test"):
                right = 39 * 256 * evaluation[f"{name}_accuracy"]
                assert right == pytest.approx(round(right), abs=1e-3)
    assert set(published_runs(published_files(NAME))["images_processed"]) == {249_856}


def test_energy_follows_gflops_and_accuracy_does_not_follow_energy(table):
    columns = ["energy_j", "gpu_energy_j", "gflops_per_image", "correctness"]
    medians = table.groupby("architecture")[columns].median()
    ranks = medians.corr("spearman")
    assert ranks.loc["energy_j", "gflops_per_image"] == pytest.approx(0.879, abs=1e-3)
    assert ranks.loc["gpu_energy_j", "gflops_per_image"] == pytest.approx(0.882, abs=1e-3)
    assert ranks.loc["energy_j", "correctness"] == pytest.approx(0.052, abs=1e-3)
    spread = table.groupby("architecture")["energy_j"].std() / medians["energy_j"]
    assert spread.median() == pytest.approx(0.0326, abs=2e-3)
    assert 1 - medians["energy_j"].min() / medians["energy_j"].max() == pytest.approx(
        0.852, abs=1e-3
    )


def test_savings_at_two_and_at_five_points_of_accuracy(table):
    medians = table.groupby("architecture")[["energy_j", "correctness"]].median()
    best = medians.loc[medians["correctness"].idxmax()]

    def saving(points):
        near = medians[medians["correctness"] >= best["correctness"] - points / 100]
        return 1 - near["energy_j"].min() / best["energy_j"]

    assert saving(2) < 0.001
    assert saving(5) == pytest.approx(0.492, abs=2e-3)


def test_the_first_epoch_overestimates_the_later_ones(table):
    ratio = 3 * table["energy_j_first_epoch"] / table["energy_j_later_epochs"] - 1
    assert ratio.median() == pytest.approx(0.146, abs=2e-3)


def test_a_wrong_parameter_count_costs_the_gflops_alone(published_files, tmp_path):
    files = dict(published_files(NAME))
    path = min(path for path in files if path != GRAPHS)
    result = json.loads(files[path].read_text())
    files[path] = tmp_path / "results.json"
    files[path].write_text(json.dumps(result | {"trainable_params": 1}))
    runs = published_runs(files)
    assert runs["gflops_per_image"].isna().sum() == 1
    assert runs["energy_j"].notna().all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{}", "'avg_power_usages:' is missing"),
        ('{"avg_power_usages:": ', "not as published"),
        ("[]", "not as published"),
    ],
)
def test_damaged_results_give_one_line_each(published_files, tmp_path, content, reason):
    files = dict(published_files(NAME))
    some = sorted(path for path in files if path != GRAPHS)[:2]
    for path in some:
        files[path] = tmp_path / "results.json"
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(BadInputError) as caught:
        published_runs(files)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == some
    assert all(reason in line for line in lines)


def test_damaged_graphs_give_one_line(published_files, tmp_path):
    files = dict(published_files(NAME))
    files[GRAPHS] = tmp_path / "graphs.json"
    files[GRAPHS].write_text('{"001a": [[[0, 1], [0, 0]]]}')
    with pytest.raises(BadInputError, match=r"^ecnas2022: .*generated_graphs_4V9E\.json: [^\n]*$"):
        published_runs(files)
