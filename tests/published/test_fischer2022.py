"""The measurements of Fischer et al. (ECML PKDD 2022)."""

import json
import math

import numpy as np
import pytest
import statsmodels.api as sm

from greencv_core.published import DataUnavailableError, fetch, fischer2022
from greencv_core.utils.errors import BadInputError

FIRST = "results/train_2022_03_04_08_52_22.json"
"""VGG16, TensorFlow, A100."""
JUMPED = "results/train_2022_03_26_13_23_34.json"
"""MobileNetV3-Large, PyTorch, RTX 5000, during the night in which summer time began."""
LARGE, SMALL = "8x A100-SXM4-40GB", "Quadro RTX 5000"


@pytest.fixture(scope="module")
def files():
    try:
        fetched = fetch(fischer2022.RELEASE)
    except DataUnavailableError as error:
        pytest.skip(str(error))
    assert fetched.problems == ()
    return fetched.files


@pytest.fixture(scope="module")
def runs(files):
    return fischer2022.published_runs(files)


@pytest.fixture
def changed(files, tmp_path):
    """Return a function that reads the files with one of them changed."""

    def read(text, path=FIRST):
        copy = tmp_path / path.rpartition("/")[2]
        copy.write_bytes(text if isinstance(text, bytes) else text.encode())
        return fischer2022.published_runs({**files, path: copy})

    return read


def content(files, path=FIRST):
    return json.loads(files[path].read_text(encoding="utf-8"))


def test_the_table_has_a_row_per_condition_in_si_units(runs):
    assert len(runs) == 56
    assert runs["run_id"].is_unique
    assert not runs.duplicated(["architecture", "environment"]).any()
    assert runs["architecture"].nunique() == 21
    assert runs["environment"].value_counts().to_dict() == {
        f"TensorFlow, {LARGE}": 21,
        f"PyTorch, {LARGE}": 13,
        f"PyTorch, {SMALL}": 12,
        f"TensorFlow, {SMALL}": 10,
    }
    assert set(runs["provenance"]) == {"published"}
    assert set(runs["left_out"]) == {""}
    # A GPU of either kind draws between a few watts and its limit of 230 or 400 W.
    devices = runs["hardware"].map({LARGE: 8, SMALL: 1})
    assert (runs["power_w"] / devices).between(40, 420).all()
    assert set(runs["batch_size"] / devices) == {32}
    assert runs["energy_j_per_image"].between(0.1, 5).all()
    assert runs["images_processed"].eq(10 * 1_331_167).all()


def test_one_run_as_its_file_has_it(files, runs):
    run = runs.set_index("run_id").loc["fischer2022/2022_03_04_08_52_22"]
    document = content(files)
    assert run["architecture"] == "vgg16"
    assert run["energy_j"] == document["monitoring_pynvml"]["total"]["total_power_draw"]
    assert run["duration_s"] == document["duration"]
    assert run["correctness"] == document["results"]["history"]["val_accuracy"][-1]
    assert run["gflops_per_image"] == pytest.approx(30.96, abs=0.005)
    assert run["started_at"].startswith("2022-03-04T0")
    assert math.isnan(run["cpu_energy_j"])


def test_the_energy_is_each_gpus_mean_power_times_the_time(files, runs):
    for path, file in files.items():
        document = json.loads(file.read_text(encoding="utf-8"))
        monitors = document["monitoring_pynvml"]
        mean_w = sum(one["power_usage"]["mean"] for key, one in monitors.items() if key != "total")
        run_id = f"fischer2022/{path.partition('train_')[2].removesuffix('.json')}"
        energy_j = runs.set_index("run_id").loc[run_id, "energy_j"]
        assert energy_j == pytest.approx(mean_w * document["duration"], rel=4e-4)


def test_the_hour_that_summer_time_added_is_taken_out(runs):
    corrected = runs[runs["energy_j"] != runs["published_energy_j"]]
    assert corrected["run_id"].tolist() == ["fischer2022/2022_03_26_13_23_34"]
    assert corrected["energy_j"].item() == pytest.approx(5.459e6, rel=1e-3)
    assert corrected["published_energy_j"].item() == pytest.approx(6.033e6, rel=1e-3)


def test_impossible_flops_are_replaced_by_the_same_models(runs):
    wrong = runs["gflops_per_image"] != runs["published_gflops_per_image"]
    assert runs[wrong]["environment"].value_counts().to_dict() == {
        f"PyTorch, {LARGE}": 13,
        f"TensorFlow, {LARGE}": 2,
        f"TensorFlow, {SMALL}": 2,
    }
    assert (2e9 * runs["gflops_per_image"] >= 4 * runs["parameters"]).all()
    models = runs.set_index(["architecture", "environment"])["gflops_per_image"]
    for environment in set(runs["environment"]) - {f"PyTorch, {SMALL}"}:
        assert models["mobilenet_v3_small", environment] == pytest.approx(0.120, abs=0.001)
        assert models["mobilenet_v3_large", environment] == pytest.approx(0.457, abs=0.001)
    assert models["resnet50", f"PyTorch, {LARGE}"] == pytest.approx(2 * 4.12, abs=0.01)
    # PyTorch's B4 ran on A100 alone, so that its figure is TensorFlow's.
    other = models["efficientnet_b4", f"TensorFlow, {LARGE}"]
    assert models["efficientnet_b4", f"PyTorch, {LARGE}"] == other
    assert models.groupby("architecture").agg(lambda m: m.max() / m.min()).max() < 1.15


def test_trainings_that_did_not_learn_keep_their_energy_alone(runs):
    unlearnt = runs[runs["correctness_left_out"] == fischer2022.UNLEARNT]
    assert unlearnt["environment"].value_counts().to_dict() == {
        f"PyTorch, {SMALL}": 8,
        f"PyTorch, {LARGE}": 7,
    }
    assert unlearnt["correctness"].isna().all()
    assert unlearnt["accuracy"].max() < 0.13
    assert unlearnt["energy_j"].notna().all()
    learnt = runs.drop(unlearnt.index)
    assert learnt["correctness"].tolist() == learnt["accuracy"].tolist()
    assert learnt["accuracy"].min() > 0.2


def test_a_run_much_slower_than_a_larger_model_is_marked_and_counts(runs):
    marked = runs[runs["marked"] != ""]
    assert marked["architecture"].tolist() == ["efficientnet_b1"]
    assert marked["environment"].tolist() == [f"PyTorch, {LARGE}"]
    assert marked["left_out"].tolist() == [""]


@pytest.mark.parametrize(
    ("framework", "energy", "architectures", "slope", "error"),
    [
        ("TensorFlow", "energy_j", 10, -0.119, 0.031),
        ("PyTorch", "published_energy_j", 12, -0.169, 0.039),
        ("PyTorch", "energy_j", 12, -0.174, 0.039),
    ],
)
def test_large_hardware_gains_with_the_model(runs, framework, energy, architectures, slope, error):
    columns = [energy, "gflops_per_image"]
    large = runs[runs["environment"] == f"{framework}, {LARGE}"].set_index("architecture")[columns]
    small = runs[runs["environment"] == f"{framework}, {SMALL}"].set_index("architecture")[columns]
    both = large.merge(small, on="architecture", suffixes=("_large", "_small"))
    assert len(both) == architectures
    ratio = np.log10(both[f"{energy}_large"] / both[f"{energy}_small"])
    fit = sm.OLS(ratio, sm.add_constant(np.log10(both["gflops_per_image_small"]))).fit()
    assert fit.params.iloc[1] == pytest.approx(slope, abs=0.0006)
    assert fit.bse.iloc[1] == pytest.approx(error, abs=0.0006)


def test_energy_follows_flops_less_where_the_device_is_not_busy(runs):
    found = {}
    for environment, group in runs.groupby("environment"):
        ranks = group[["energy_j", "gflops_per_image"]].corr("spearman").iloc[0, 1]
        saving = 1 - group["energy_j"].min() / group["energy_j"].max()
        busy = group["device_utilization_pct"].mean()
        found[environment] = (round(ranks, 2), round(saving, 2), round(busy))
    assert found == {
        f"PyTorch, {LARGE}": (0.55, 0.88, 31),
        f"PyTorch, {SMALL}": (0.85, 0.89, 78),
        f"TensorFlow, {LARGE}": (0.44, 0.95, 64),
        f"TensorFlow, {SMALL}": (0.89, 0.86, 89),
    }


def without(document, *keys):
    """Return a document as JSON without one of its values."""
    *path, last = keys
    holder = document
    for key in path:
        holder = holder[key]
    del holder[last]
    return json.dumps(document)


def test_a_missing_key_is_named_with_its_file(files, changed):
    with pytest.raises(BadInputError) as raised:
        changed(without(content(files), "monitoring_pynvml", "total", "total_power_draw"))
    assert str(raised.value) == (
        f"fischer2022: {FIRST}: monitoring_pynvml.total.total_power_draw is missing"
    )


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("duration",), math.nan, "duration is nan; it must be finite and not negative"),
        (("duration",), "5061", "duration must be a number"),
        (("duration",), 0, "monitoring_pynvml holds no energy, or duration is 0"),
        (("monitoring_pynvml", "total", "total_power_draw"), -1, "is -1; it must be finite"),
        (("monitoring_pynvml", "0"), None, "monitoring_pynvml.0.util.gpu is missing"),
        (("results", "history", "val_accuracy"), [], "must be a list of numbers"),
        (("results", "history", "val_accuracy"), [0.5, math.nan], "val_accuracy is nan"),
        (("config", "backend"), "jax", "config.backend must be one of pytorch, tensorflow"),
    ],
)
def test_an_unusable_value_is_named_with_its_file(files, changed, keys, value, message):
    document = content(files)
    holder = document
    for key in keys[:-1]:
        holder = holder[key]
    holder[keys[-1]] = value
    with pytest.raises(BadInputError) as raised:
        changed(json.dumps(document))
    assert str(raised.value).startswith(f"fischer2022: {FIRST}: ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "not a whole JSON file"),
        (lambda text: b"", "not a whole JSON file"),
        (lambda text: b"[1, 2]", "config is missing"),
        (lambda text: text.replace(b"VGG16", b"VGG\xfa"), "not a text file in UTF-8"),
    ],
)
def test_a_damaged_file_is_named_and_nothing_is_half_read(files, changed, damage, message):
    with pytest.raises(BadInputError, match=message) as raised:
        changed(damage(files[FIRST].read_bytes()))
    assert str(raised.value).startswith(f"fischer2022: {FIRST}: ")
    assert "\n" not in str(raised.value)


def test_every_damaged_file_has_a_line(files, tmp_path):
    empty = tmp_path / "empty.json"
    empty.write_bytes(b"")
    damaged = {**files, FIRST: empty, JUMPED: tmp_path / "none.json"}
    with pytest.raises(BadInputError) as raised:
        fischer2022.published_runs(damaged)
    first, second = str(raised.value).splitlines()
    assert first.startswith(f"fischer2022: {FIRST}: not a whole JSON file")
    assert second == f"fischer2022: {JUMPED}: cannot be read (No such file or directory)"
