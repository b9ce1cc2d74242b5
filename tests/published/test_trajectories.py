"""The published trainings as trajectories, cut into stages and epochs."""

import numpy as np
import pytest

from greencv_core.estimation.trajectory import tflop_per_epoch
from greencv_core.published import DataUnavailableError, published_trajectories, seaa2023
from greencv_core.published.seaa2023.logs import RawRuns, gpu_log
from greencv_core.published.seaa2023.runs import IMAGES_PER_EPOCH, METRICS
from greencv_core.published.seaa2023.trajectories import (
    GPUS,
    TRAIN_IMAGES,
    VALIDATION_IMAGES,
    read_trajectories,
)
from greencv_core.utils.errors import BadInputError
from tests.published.conftest import link

STEP_UNSEEN = {"Cloud/vgg16/4", "Cloud/vgg16/26", "Local ML/vgg16/1"}
"""Another program, or an interruption, hides the step between their stages."""


@pytest.fixture(scope="module")
def files(reanalysis):
    return reanalysis.files


@pytest.fixture(scope="module")
def raw(reanalysis):
    return reanalysis.raw


@pytest.fixture(scope="module")
def found(files, raw):
    return read_trajectories(files, raw)


@pytest.fixture(scope="module")
def by_id(found):
    return {trajectory.run_id.removeprefix("seaa2023/"): trajectory for trajectory in found}


def test_each_training_with_a_log_is_a_course(found, raw):
    assert len(found) == 309
    assert [trajectory.run_id for trajectory in found] == list(raw.runs["run_id"])
    assert {c.task.environment for c in found} == set(GPUS)


def test_energy_and_time_are_the_logs_and_what_it_lacks(found, raw):
    """And those of the epochs and of what precedes them."""
    runs = raw.runs.set_index("run_id")
    assert (runs["missing_s"] > 10).sum() > 40  # else the end would go untested
    for trajectory in found:
        run = runs.loc[trajectory.run_id]
        energy_j = run["energy_j"] + run["missing_energy_j"]
        duration_s = run["duration_s"] + run["missing_s"]
        assert trajectory.energy_j == pytest.approx(energy_j, rel=1e-9)
        assert trajectory.duration_s == pytest.approx(duration_s, rel=1e-9)
        assert (np.diff(trajectory.time_s) > 0).all()
        assert (np.diff(trajectory.energy_so_far_j) > 0).all()
        assert len(trajectory.utilization_so_far_pct) == len(trajectory.time_s)
        used_pct = trajectory.utilization_so_far_pct[-1]
        assert used_pct == pytest.approx(run["device_utilization_pct"])
        cut_j = trajectory.before_j + trajectory.epochs.energy_j.sum()
        cut_s = trajectory.before_s + trajectory.epochs.duration_s.sum()
        assert cut_j == pytest.approx(trajectory.energy_j, rel=1e-9)
        assert cut_s == pytest.approx(trajectory.duration_s, rel=1e-9)
        assert (trajectory.epochs.energy_j > 0).all()
        assert trajectory.before_s < 60


def test_epochs_are_those_that_the_originals_authors_counted_later(by_id):
    # By the end of each, which their follow-up logged of these trainings.
    counts = [len(by_id[f"Cloud/mobilenet_v2/{run}"].epochs) for run in range(5)]
    assert counts == [89, 93, 56, 75, 77]


def test_ten_epochs_are_of_the_first_stage(found):
    for trajectory in found:
        stage = trajectory.epochs.stage
        assert (stage[:10] == 0).all()
        assert (stage[10:] == 1).all()
        first, second = trajectory.task.stages
        assert first.most_epochs == first.fewest_epochs == 10
        assert second.fewest_epochs <= len(trajectory.epochs) - 10 <= second.most_epochs


def test_an_epoch_of_the_first_stage_is_shorter_and_the_same_in_all_of_a_condition(by_id):
    lasted_s = {}
    for name, trajectory in by_id.items():
        first_s, second_s = trajectory.epochs.duration_s[[0, -1]]
        assert first_s < (1.01 if name in STEP_UNSEEN else 0.9) * second_s, name
        lasted_s.setdefault(name.rpartition("/")[0], []).append(first_s)
    assert len(lasted_s) == 10
    off = [abs(s / np.median(some) - 1) for some in lasted_s.values() for s in some]
    # The others' sessions were slower or faster as a whole: most are among those removed by hand.
    assert np.mean(np.array(off) < 0.1) > 0.92


def test_the_first_epoch_begins_with_the_work(files, by_id):
    trajectory = by_id["Cloud/mobilenet_v2/0"]
    begin = np.flatnonzero(trajectory.time_s == trajectory.before_s)[0]
    share = trajectory.utilization_so_far_pct * np.arange(1, len(trajectory.time_s) + 1)
    used_pct = np.diff(share[:-1], prepend=0.0)
    assert begin > 0
    assert used_pct[: begin + 1].max() <= 10.0
    assert used_pct[begin + 1] > 10.0


def test_the_task_tells_what_was_known_before(by_id):
    task = by_id["Local ML/vgg16/0"].task
    assert task.architecture == "vgg16"
    assert task.setting == "128 px, batch 32"
    assert task.power_limit_w == task.features["power_limit_w"] == 240
    assert task.idle_power_w == pytest.approx(55.3, abs=0.1)
    assert by_id["Cloud/vgg16/0"].task.idle_power_w == pytest.approx(105.6, abs=0.1)
    assert TRAIN_IMAGES % 32 == VALIDATION_IMAGES % 32 == 0
    assert TRAIN_IMAGES + VALIDATION_IMAGES == IMAGES_PER_EPOCH
    frozen, main = (stage.tflop_per_epoch for stage in task.stages)
    # One pass over 33,952 images at 10.03 GFLOP each; three over those of training.
    assert frozen == pytest.approx(340.5, rel=1e-3)
    assert main == pytest.approx(817.4, rel=1e-3)
    assert main == tflop_per_epoch(task.gflops_per_image, 23_776, 10_176, frozen=False)


def test_power_limits_are_those_that_were_logged(files, found):
    for trajectory in found[::10]:
        line = gpu_log(files, trajectory.run_id).read_text().splitlines()[1]
        assert float(line.split(",")[7].removesuffix(" W")) == trajectory.task.power_limit_w


def test_an_end_of_unknown_length_leaves_its_training_out(files, raw):
    runs = raw.runs.copy()
    runs.loc[3, ["missing_s", "missing_energy_j"]] = np.nan
    left = {trajectory.run_id for trajectory in read_trajectories(files, RawRuns(runs, ()))}
    assert set(runs["run_id"]) - left == {runs.loc[3, "run_id"]}


def test_what_can_be_read_is_returned(files, tmp_path, monkeypatch):
    some = {p: f for p, f in files.items() if "/cloud/xception/" in f"/{p}" or p == METRICS}
    folder = tmp_path / "seaa2023"
    link(some, folder)
    monkeypatch.setenv("GREENCV_DATA", str(tmp_path))
    found = published_trajectories("seaa2023")
    assert {(c.task.environment, c.task.architecture) for c in found} == {("Cloud", "xception")}
    assert len(found) == 30
    (folder / METRICS).unlink()
    with pytest.raises(DataUnavailableError, match="no log of a training can be read") as raised:
        published_trajectories("seaa2023")
    assert "processed: 2 files: missing in the folder" in str(raised.value)


def test_no_data_is_one_kind_of_error(monkeypatch):
    with pytest.raises(BadInputError, match="no such published data"):
        published_trajectories("nobodys")
    monkeypatch.delattr(seaa2023, "published_trajectories")
    with pytest.raises(BadInputError, match="hold no trajectories"):
        published_trajectories("seaa2023")
    monkeypatch.undo()
    monkeypatch.setenv("GREENCV_DATA", "/nowhere")
    with pytest.raises(DataUnavailableError):
        published_trajectories("seaa2023")
