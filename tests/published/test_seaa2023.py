"""Others' data: download, reading, and del Rey et al.'s figures recomputed from it."""

import csv
import json
import os
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient

from greencv_core.analysis import Unavailable, attempt, cliffs_delta, find_outliers
from greencv_core.published import (
    DATA_SETS,
    DataUnavailableError,
    load_adapter,
    load_published,
)
from greencv_core.published.seaa2023.claims import compare_with_published
from greencv_core.published.seaa2023.evidence import (
    begins_evidence,
    counted_epochs,
    idle_evidence,
    idle_sentence,
    lost_ends_evidence,
    lost_ends_sentence,
    odd_counts,
    odd_counts_sentence,
    removals_evidence,
    removals_sentence,
    shared_evidence,
    shared_sentence,
    truncation_evidence,
)
from greencv_core.published.seaa2023.logs import raw_runs
from greencv_core.published.seaa2023.nvidia_smi import read_log
from greencv_core.published.seaa2023.reanalysis import load_reanalysis
from greencv_core.published.seaa2023.runs import PROCESSED, RELEASE
from greencv_core.published.seaa2023.segmentation import estimate_period, find_step
from greencv_core.published.seaa2023.verdicts import verdicts
from greencv_core.utils.downloads import read_manifest
from greencv_core.utils.errors import BadInputError
from tests.conftest import NOBODY, ROOT, greencv

OWN = (
    "timestamp, name, utilization.gpu [%], utilization.memory [%], memory.total [MiB], "
    "memory.used [MiB], power.draw [W], power.max_limit [W], temperature.gpu\n"
)
RENAMED = (
    "timestamp,gpu_name,gpu_usage,gpu_memory_usage,gpu_total_memory,gpu_memory_used,"
    "gpu_power_draw,gpu_max_power,gpu_temperature\n"
)


def line(second, power_w, own=True):
    date = "2023/03/08" if own else "2023-03-08"
    text = (
        f"{date} 13:11:{second:02d}.250, A card, 40 %, 7 %, 100 MiB, 90 MiB, {power_w} W, "
        "350.00 W, 65\n"
    )
    return text if own else text.replace(", ", ",")


def test_the_page_says_what_is_missing_and_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("GREENCV_DATA", NOBODY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    text = page_text()
    assert "published measurements are not here" in text
    assert "run again when online" in text
    assert "GREENCV_DATA" in text


def test_the_manifest_names_a_publication_and_no_data():
    assert len(RELEASE.hashes) == 620
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in RELEASE.hashes.values())
    assert re.search(r"/[0-9a-f]{40}$", RELEASE.base_url)
    assert RELEASE.url_path("processed/model_metrics.gzip").endswith("interim/model_metrics.gzip")
    assert read_manifest("ab  a b.csv\n\ncd *c\n") == {"a b.csv": "ab", "c": "cd"}


def test_every_data_set_offers_what_an_adapter_must():
    for name in DATA_SETS:
        module = load_adapter(name)
        assert module.RELEASE.name == name
        assert set(module.NEEDED) <= set(module.RELEASE.hashes)
        assert callable(module.published_runs)
    with pytest.raises(BadInputError, match="no such published data; known: seaa2023"):
        load_adapter("nobodys")


# Reading logs


@pytest.mark.parametrize(("header", "own"), [(OWN, True), (RENAMED, False)])
def test_both_headers_are_read_alike(tmp_path, header, own):
    path = tmp_path / "log.csv"
    path.write_text(header + line(1, "30.98", own) + line(2, "56.01", own))
    log = read_log(path)
    assert log.power_w.tolist() == [30.98, 56.01]
    assert log.utilization_pct.tolist() == [40, 40]
    assert log.temperature_c.tolist() == [65, 65]
    assert log.memory_used_mib.tolist() == [90, 90]
    assert np.diff(log.time_s).tolist() == [1.0]
    assert log.time_s[0] == datetime.fromisoformat("2023-03-08T13:11:01.250+00:00").timestamp()
    assert log.device_name == "A card"
    assert (log.header == "nvidia-smi's own") is own
    assert log.ending == "whole line"


@pytest.mark.parametrize(
    ("rest", "ending"),
    [
        ("2023/03/08 13:11:03.250, A card, 40 %, 7", "half a line"),
        (line(3, "99.00").rstrip("\n"), "line without end"),
    ],
)
def test_what_follows_the_last_whole_line_is_told_and_not_read(tmp_path, rest, ending):
    path = tmp_path / "log.csv"
    path.write_text(OWN + line(1, "30.98") + line(2, "56.01") + rest)
    log = read_log(path)
    assert log.power_w.tolist() == [30.98, 56.01]
    assert log.ending == ending


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "no log of nvidia-smi that is known"),
        ("time,watts\n1,2\n", "no log of nvidia-smi that is known"),
        (OWN, "no line but the header"),
        (OWN + line(1, "30.98") + line(2, "[N/A]"), "Failed to parse string"),
        (OWN + line(1, "30.98") + "yesterday" + line(2, "1")[19:], "Failed to parse string"),
        (OWN + line(1, "30.98") + "2023/03/08 13:11:02.250, A card\n", "Expected 9 columns"),
    ],
)
def test_a_log_that_is_none_is_one_line(tmp_path, content, reason):
    path = tmp_path / "log.csv"
    path.write_text(content)
    with pytest.raises(BadInputError, match=re.escape(reason)) as caught:
        read_log(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# The trajectory of a training


@pytest.mark.parametrize("epoch_s", [14.2, 31.5, 67.8])
def test_the_period_of_epochs_is_found(epoch_s):
    rng = np.random.default_rng(1)
    time_s = np.cumsum(rng.normal(1.0, 0.01, 2400))
    training = (time_s % epoch_s) < 0.7 * epoch_s
    utilization = np.where(training, 80.0, 60.0) + rng.normal(0, 5, len(time_s))
    utilization[rng.integers(0, len(time_s), 20)] = 0  # interruptions
    found_s, rhythm = estimate_period(
        time_s, utilization, 2 * utilization + rng.normal(0, 20, len(time_s))
    )
    assert found_s == pytest.approx(epoch_s, rel=0.002)
    assert rhythm > 0.3


def test_noise_has_no_rhythm():
    rng = np.random.default_rng(1)
    _, rhythm = estimate_period(np.arange(2400.0), rng.normal(0, 1, 2400))
    assert rhythm < 0.15


def test_the_step_between_two_levels_is_found():
    rng = np.random.default_rng(1)
    levels = np.repeat([20.0, 40.0], [300, 1700]) + rng.normal(0, 5, 2000)
    assert find_step(levels) == pytest.approx(300, abs=2)


# Outliers, and questions without an answer


def test_the_rule_leaves_out_what_lies_apart_in_its_own_condition():
    values = [1.0, 1.01, 0.99, 1.02, 0.98, 1.5]
    runs = pd.DataFrame(
        {
            "architecture": ["a"] * 6 + ["b"] * 6 + ["c"] * 3,
            "environment": "e",
            "energy_j_per_image": values + [v + 0.5 for v in values[:5]] + [1.5, 2.0, 2.0, 2.0],
        }
    )
    result = find_outliers(runs)
    assert result.left_out["architecture"].tolist() == ["a"]  # in b, 1.5 is like the others
    median, mad = 1.005, 0.015
    assert result.left_out["modified_z"].tolist() == pytest.approx([0.6745 * (1.5 - median) / mad])
    assert len(result.kept) == 14
    assert "It leaves out 1 of 15 runs." in result.sentence()


def test_what_rests_on_an_unanswered_question_is_not_asked():
    nothing = Unavailable("no data")
    assert attempt(cliffs_delta, nothing, [1.0]) is nothing


# del Rey et al. (SEAA 2023)


@pytest.fixture(scope="module")
def reanalysis():
    try:
        loaded = load_reanalysis()
    except DataUnavailableError as error:
        pytest.skip(str(error))
    assert loaded.problems == ()
    return loaded


@pytest.fixture(scope="module")
def told(reanalysis):
    done = greencv("reanalyse", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_runs_table_is_whole_and_tidy(reanalysis):
    runs = load_published("seaa2023")
    assert len(reanalysis.files) == 620
    assert len(runs) == 369
    assert runs["run_id"].is_unique
    assert set(runs["provenance"]) == {"published"}
    assert set(runs["environment"]) == {"Local N", "Local ML", "Cloud"}
    assert runs["architecture"].nunique() == 5
    needed = ["energy_j", "energy_j_per_image", "duration_s", "power_w", "f1", "gflops_per_image"]
    assert runs[needed].notna().all().all()
    assert np.allclose(runs["power_w"], runs["energy_j"] / runs["duration_s"], rtol=0.005)


def test_raw_logs_give_the_published_energies(reanalysis):
    runs = reanalysis.raw.runs
    assert len(runs) == 309
    assert runs["header"].value_counts().to_dict() == {"nvidia-smi's own": 189, "renamed": 120}
    assert runs["ending"].value_counts().to_dict() == {
        "whole line": 258, "half a line": 48, "line without end": 3,
    }  # fmt: skip
    both = runs.merge(reanalysis.table, on="run_id", suffixes=("_raw", ""))
    assert len(both) == 309
    assert np.allclose(both["energy_j_whole_watts"], both["energy_j"], rtol=1e-8, atol=0)
    assert (both["power_sum_w_whole_watts"] == both["power_sum_w"]).all()
    assert np.allclose(both["duration_s_raw"], both["duration_s"], rtol=1e-8, atol=0)
    assert np.allclose(both["f1_raw"], both["f1"])
    assert (both["epochs_raw"] == both["epochs_true"]).all()
    assert (both["device_name_raw"] == both["device_name"]).all()
    # And one, read and integrated without any of our code.
    row = runs[(runs["architecture"] == "resnet50") & (runs["environment"] == "Local ML")].iloc[3]
    with reanalysis.log_path(row["run_id"]).open() as file:
        lines = list(csv.reader(file))[1:][3:-3]
    moments = [datetime.fromisoformat(r[0].replace("/", "-")) for r in lines]
    watts = [float(r[6].split()[0]) for r in lines]
    joules = sum(
        (moments[i + 1] - moments[i]).total_seconds() * (watts[i] + watts[i + 1]) / 2
        for i in range(len(lines) - 1)
    )
    assert row["energy_j"] == pytest.approx(joules, rel=1e-9)
    assert joules == pytest.approx(403_821, abs=1)


def test_the_loss_by_whole_watts_is_that_of_each_condition(reanalysis):
    told = truncation_evidence(reanalysis).set_index(["environment", "architecture"])
    expected = {
        ("Cloud", "mobilenet_v2"): 0.334, ("Cloud", "nasnet_mobile"): 0.251,
        ("Cloud", "resnet50"): 0.152, ("Cloud", "vgg16"): 0.147, ("Cloud", "xception"): 0.185,
        ("Local ML", "mobilenet_v2"): 0.400, ("Local ML", "nasnet_mobile"): 0.354,
        ("Local ML", "resnet50"): 0.278, ("Local ML", "vgg16"): 0.227,
        ("Local ML", "xception"): 0.257,
    }  # fmt: skip
    for condition, percent in expected.items():
        assert 100 * told.loc[condition, "loss"] == pytest.approx(percent, abs=0.02)
    assert reanalysis.lost_w == pytest.approx(0.494, abs=0.001)


def test_every_published_figure_comes_out(told):
    assert told["claims"]["figures"] == 489
    assert told["claims"]["disagreeing"] == []
    assert told["claims"]["agreeing"] == told["claims"]["figures"]
    by_source = told["claims"]["by_source"]
    assert set(by_source) == {"printed", "in_figure", "from_data"}
    assert by_source["printed"]["figures"] == 232


@pytest.mark.parametrize(
    ("claim", "published", "near", "far"),
    [
        ("max", "0.8138637", 0.81386374, 0.813865),
        ("Cloud/vgg16/energy_j_per_image", "0.340395", 0.3403955, 0.340396),
        ("Cloud/vgg16/utilization_pct", "90.106", 90.10649, 90.1066),
        ("Cloud/vgg16/n", "29", 29.0, 30.0),
        ("rq1_energy/kruskal_h", "127.048441", 127.04844149, 127.0488),
        ("rq1_energy/kruskal_p", "1.665e-26", 1.6651e-26, 1e-14),
        ("rq1_energy/levene_p", ".00477", 0.004774, 0.00479),
        ("rq1_energy/games_howell_p_of_the_others", "<=5e-11", 4e-11, 6e-11),
        ("rq1_energy/dunn_not_significant", "a-b", "a-b", "none"),
    ],
)
def test_a_figure_that_is_off_by_a_digit_does_not_agree(claim, published, near, far):
    row = {"claim": claim, "published": published}
    assert compare_with_published(row, near)["agrees"]
    assert not compare_with_published(row, far)["agrees"]
    assert not compare_with_published(row, None)["agrees"]


@pytest.mark.parametrize(
    ("variant", "saving", "every", "dear", "tolerance"),
    [
        ("first_formula", 0.9883494999133445, 0.989344577, ("nasnet_mobile", "Local N"), 1e-9),
        ("published", 0.8138637, 0.8165754, ("vgg16", "Local ML"), 1e-6),
        ("epochs_corrected", 0.8108258, 0.8117432, ("vgg16", "Local ML"), 1e-6),
        ("full_correction", 0.8105, 0.8114, ("vgg16", "Local ML"), 1e-4),
    ],
)
def test_the_headline_by_each_energy(told, variant, saving, every, dear, tolerance):
    for key, n_runs in (("headline", 351), ("headline_all_runs", 369)):
        result = told[key][variant]
        assert result["ci_low"] < result["saving"] < result["ci_high"]
        assert result["n_runs"] == n_runs
        assert result["from"] == {"architecture": dear[0], "environment": dear[1]}
        assert result["to"] == {"architecture": "mobilenet_v2", "environment": "Local ML"}
    assert told["headline"][variant]["saving"] == pytest.approx(saving, abs=tolerance)
    assert told["headline_all_runs"][variant]["saving"] == pytest.approx(every, abs=tolerance)


def test_the_json_has_medians_and_tests(told):
    medians = {(m["environment"], m["architecture"]): m for m in told["medians"]}
    assert len(medians) == 12
    row = medians["Local ML", "vgg16"]
    assert row["n"] == 32
    assert row["energy_j_per_image"] == pytest.approx(0.362935, abs=1e-6)
    assert row["gpu_utilization_pct"] == pytest.approx(95.650, abs=1e-3)
    assert row["ms_per_image"] == pytest.approx(1.6674, abs=1e-4)
    assert row["f1"] == pytest.approx(0.98611, abs=1e-5)
    expected = {
        "rq1_energy": (127.048441, 0.911470), "rq1_gpu_utilization": (133.354103, 0.958179),
        "rq1_f1": (108.292997, 0.772541), "rq2_energy": (64.285714, 0.715928),
        "rq2_gpu_utilization": (79.120879, 0.886447),
    }  # fmt: skip
    assert set(told["tests"]) == set(expected)
    for name, (h, eta_squared) in expected.items():
        assert told["tests"][name]["h"] == pytest.approx(h, rel=1e-6)
        assert told["tests"][name]["eta_squared"] == pytest.approx(eta_squared, rel=1e-6)
        assert 0 < told["tests"][name]["p"] < 1e-13


def test_medians_with_corrected_epochs(reanalysis):
    runs = reanalysis.runs("epochs_corrected")
    medians = runs.groupby(["environment", "architecture"])["energy_j_per_image"].median()
    expected = {
        "Local N": (0.081043, 0.342195, None, None, None),
        "Local ML": (0.076018, 0.173229, 0.200898, 0.255432, 0.401840),
        "Cloud": (0.135741, 0.326926, 0.267228, 0.328348, 0.382404),
    }
    architectures = ("mobilenet_v2", "nasnet_mobile", "resnet50", "xception", "vgg16")
    for environment, values in expected.items():
        for architecture, value in zip(architectures, values, strict=True):
            if value is not None:
                assert medians[environment, architecture] == pytest.approx(value, abs=5.1e-7)
    test = reanalysis.tests("epochs_corrected")["rq1_energy"]
    assert test.kruskal_h == pytest.approx(127.1788, abs=1e-3)
    assert reanalysis.tests("epochs_corrected")["rq2_energy"].kruskal_h == pytest.approx(
        69.1564, abs=1e-3
    )


def test_the_logs_alone_show_the_corrected_epochs(reanalysis):
    counted = counted_epochs(reanalysis)
    assert len(counted) == 265
    assert (counted["corrected_off"].round() == 0).sum() == 246
    assert (counted["published_off"].round() == 0).sum() == 0
    medians = counted.groupby(["environment", "architecture"])[["published_off", "corrected_off"]]
    assert (medians.median()["published_off"] - 9).abs().max() < 0.15
    assert medians.median()["corrected_off"].abs().max() < 0.15
    # And without any rhythm, from lengths alone: the second stage begins after 10 epochs.
    table = begins_evidence(reanalysis)
    assert (table["corrected_begin"] - 10).abs().max() < 2
    assert table["corrected_begin"].median() == pytest.approx(10, abs=0.2)
    assert table["published_begin"].median() == pytest.approx(19, abs=0.2)


def test_logs_that_show_another_count_are_told_with_what_sets_them_apart(reanalysis):
    table = odd_counts(reanalysis).set_index(["environment", "architecture", "repetition"])
    assert len(table) == 19
    assert "more memory in use for 16.0 minutes" in table.loc[("Cloud", "vgg16", 24), "sign"]
    assert "second stage found after 10.7" in table.loc[("Local ML", "vgg16", 1), "sign"]
    assert "epoch of 11.5 s" in table.loc[("Local ML", "mobilenet_v2", 9), "sign"]
    assert "goes on for 52.2 s" in table.loc[("Cloud", "xception", 9), "sign"]
    assert "62.1 s without work" in table.loc[("Local ML", "nasnet_mobile", 26), "sign"]
    sentence = odd_counts_sentence(reanalysis)
    assert "15 of them show a sign of something else, and 7 of the 246 that agree" in sentence
    assert "26 of 30 of mobilenet_v2 in Local ML" in sentence


def test_logs_that_lack_the_end_of_their_training(reanalysis):
    told = lost_ends_evidence(reanalysis).set_index("architecture")
    assert told["lost_ends"].to_dict() == {"mobilenet_v2": 1, "resnet50": 27, "vgg16": 24}
    runs = reanalysis.raw.runs
    cut = runs[runs["ending"] != "whole line"]
    sizes = [reanalysis.log_path(run_id).stat().st_size for run_id in cut["run_id"]]
    assert all(size % 8192 == 0 for size in sizes)
    # What the epochs say of it: with the missing seconds, their number is a whole one.
    epochs = reanalysis.epochs_from_logs.set_index("run_id").loc[cut["run_id"]]
    epochs = epochs.join(cut.set_index("run_id")["missing_s"])
    without = (epochs["fine_tuning_s"] - epochs["missing_s"]) / epochs["epoch_s"]
    true = epochs["epochs_true"] - 10
    assert (epochs["fine_tuning_epochs"] - true).abs().median() < 0.1
    assert (without - true).abs().median() > 0.5


def test_a_whole_last_line_may_hide_a_lost_end(reanalysis):
    run_id = "seaa2023/Cloud/mobilenet_v2/0"
    run = reanalysis.raw.runs.set_index("run_id").loc[run_id]
    assert run["ending"] == "whole line"
    assert run["missing_s"] == pytest.approx(73.7, abs=0.1)
    counted = counted_epochs(reanalysis).set_index("run_id").loc[run_id]
    assert abs(counted["corrected_off"]) < 0.1


def test_a_processors_log_that_stops_early_tells_no_load(reanalysis):
    runs = reanalysis.raw.runs
    early = runs[runs["cpu_utilization_pct"].isna()]
    assert set(early["architecture"] + early["environment"]) == {"nasnet_mobileCloud"}
    assert sorted(early["repetition"]) == list(range(23, 30))
    assert (early["missing_s"] == 0).all()  # their GPU's logs are whole
    assert "In 7 runs" in lost_ends_sentence(reanalysis)


def test_without_a_processors_log_a_lost_end_is_not_known(reanalysis):
    logs = {p: f for p, f in reanalysis.files.items() if "cloud/vgg16" in p or "processed" in p}
    cut = reanalysis.raw.runs.query("environment == 'Cloud' and architecture == 'vgg16'")
    cut = cut[cut["lost_end"]]["run_id"].iloc[0]
    gpu = next(p for p, f in logs.items() if f == reanalysis.log_path(cut))
    del logs[gpu.replace("gpu-power-", "cpu-mem-usage-")]
    told = replace(reanalysis, raw=raw_runs(logs), files=logs)
    run = told.every_run.set_index("run_id").loc[cut]
    assert run["full_correction"] > 0
    assert np.isnan(run["ends_restored"])
    assert np.isnan(told.epochs_from_logs.set_index("run_id").loc[cut, "fine_tuning_epochs"])
    assert "Of 1 run there is no processor's log" in lost_ends_sentence(told)
    others = told.every_run[told.every_run["run_id"] != cut]
    assert others["ends_restored"].notna().all()


def test_runs_that_shared_their_gpu_are_told(reanalysis):
    table = shared_evidence(reanalysis)
    assert set(table["environment"] + " " + table["architecture"]) == {"Cloud vgg16"}
    assert table["repetition"].tolist() == [0, 3, 4, 9, 24, 26]
    assert (table["memory_used_mib"] < 11_200).all()
    assert (table["shared_memory_mib"] > 23_600).all()
    assert (table["against_median"] > 0).all()
    assert len(reanalysis.without_shared().table) == 363
    sentence = shared_sentence(reanalysis)
    assert "In 6 runs (vgg16 in Cloud)" in sentence
    assert "It could show itself only in vgg16 in Cloud" in sentence
    assert "largest saving in Cloud, 64.60 % instead of 64.72 %;" in sentence


def test_idle_power_and_net_energy(reanalysis):
    told = idle_evidence(reanalysis).set_index("environment")
    assert 8 < told.loc["Cloud", "low_power_w"] < 13
    assert told.loc["Cloud", "before_power_w"] == pytest.approx(105.6, abs=1)
    assert told.loc["Local ML", "before_power_w"] == pytest.approx(55.3, abs=1)
    assert told.loc["Cloud", "after_power_w"] == pytest.approx(115.4, abs=1)
    assert told.loc["Local ML", "after_power_w"] == pytest.approx(59.6, abs=1)
    runs = reanalysis.every_run
    logged = runs["environment"] != "Local N"
    nets = ["net_of_after", "net_of_before", "net_of_low", "ends_restored"]
    assert (runs.loc[logged, nets].diff(axis=1).iloc[:, 1:] > 0).all(axis=None)
    assert runs.loc[~logged, nets[:3]].isna().all(axis=None)


def test_which_idle_power_is_taken_decides_what_a_move_saves(reanalysis, told):
    move = reanalysis.effects.set_index("claim").loc["mobilenet_v2, Cloud to Local ML"]
    assert move["net_of_low"].ci_low > 0.4
    assert move["net_of_before"].ci_low < 0 < move["net_of_before"].ci_high
    assert move["net_of_after"].ci_high < 0
    sentence = idle_sentence(reanalysis)
    assert "A saving is left net of the low-power state alone" in sentence
    assert (
        "6 logs (mobilenet_v2 in Cloud, nasnet_mobile in Cloud and xception in Cloud)" in sentence
    )
    verdict = verdicts(reanalysis).set_index("claim")["verdict"]
    assert (
        "for: none; vgg16; mobilenet_v2 and vgg16"
        in verdict["GPUs should scale with the complexity of the model"]
    )
    assert "1.00 gross" in verdict["RQ2: environments differ in energy"]
    assert "2 of 3 leave no saving" in verdict["MobileNetV2 saves by moving from Cloud to Local ML"]
    assert told["headline"]["net_of_low"]["n_runs"] == 291
    assert told["headline_all_runs"]["net_of_after"]["n_runs"] == 309


def test_removals_by_hand_and_by_rule_are_told_run_by_run(reanalysis):
    table = removals_evidence(reanalysis).set_index(["environment", "architecture"])
    assert table.loc[("Local ML", "mobilenet_v2"), "removed_by_hand"] == "30 to 36"
    assert table.loc[("Cloud", "nasnet_mobile"), "removed_by_rule"] == "0 to 3"
    assert reanalysis.every_run["removed_by_hand"].sum() == 18
    sentence = removals_sentence(reanalysis)
    assert "those of nasnet_mobile in Cloud (2022-12-06)" in sentence
    assert "those of mobilenet_v2 in Local ML (2023-02-21)" in sentence
    assert "resnet50" not in sentence  # that day, others were kept


def test_damaged_files_are_named_and_the_rest_is_analysed(reanalysis, tmp_path):
    flipped, cut, gone = sorted(p for p in RELEASE.hashes if "cloud/vgg16/gpu-power" in p)[:3]
    for path, source in reanalysis.files.items():
        target = tmp_path / "seaa2023" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if path == flipped:
            content = bytearray(source.read_bytes())
            content[5000] ^= 1
            target.write_bytes(content)
        elif path == cut:
            target.write_bytes(source.read_bytes()[:9000])
        elif path != gone:
            target.symlink_to(source)
    done = greencv("reanalyse", "--json", GREENCV_DATA=str(tmp_path))
    assert done.returncode == 3
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    for path, told in zip((flipped, cut, gone), lines, strict=True):
        assert path in told
    assert "SHA-256" in lines[0]
    assert "SHA-256" in lines[1]
    assert "missing" in lines[2]
    content = json.loads(done.stdout)
    assert content["data"]["runs_from_raw_logs"] == 306
    assert len(content["data"]["problems"]) == 3
    assert len(content["claims"]["disagreeing"]) == content["claims"]["not_known"] == 14
    assert content["headline"]["published"]["saving"] == pytest.approx(0.8138637, abs=1e-6)


def test_without_the_processed_file_one_line_says_so(reanalysis, tmp_path):
    for path, source in reanalysis.files.items():
        if path.startswith("processed"):
            target = tmp_path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes() + b"more")
    done = greencv("reanalyse", GREENCV_DATA=str(tmp_path))
    assert done.returncode == 1
    assert "processed/dl-training-energy-consumption-dataset.gzip: this copy is not" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("kept", "lines"),
    [("", 10), ("local-v2", 5), ("cloud/vgg16/gpu-power-20230309T132750.csv", 10)],
    ids=["no log", "one environment", "one log"],
)
def test_the_page_is_made_of_what_there_is(reanalysis, kept, lines, tmp_path, monkeypatch):
    source = Path(reanalysis.files[PROCESSED]).parent.parent
    target = tmp_path / "seaa2023"
    for path in ("processed", *([f"raw/{kept}"] if kept else [])):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).symlink_to(source / path)
    monkeypatch.setenv("GREENCV_DATA", str(tmp_path))
    text = page_text()
    assert "files could not be used; the rest is analysed" in text
    assert re.search("raw/cloud/vgg16: (60|59) files: missing", text)
    assert "81.39" in text
    done = greencv("reanalyse", "--json")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == lines
    headline = json.loads(done.stdout)["headline"]
    assert headline["published"]["saving"] == pytest.approx(0.8138637, abs=1e-6)
    assert (headline["net_of_low"]["saving"] is None) is (not kept)


def test_the_page_shows_each_figure_beside_ours(reanalysis):
    text = page_text()
    assert "could not be used" not in text
    assert "98.83" in text
    assert "127.048441" in text
    for tag in ("Does not hold", "Holds", "blocks of", "autocorrelation"):
        assert tag in text, tag
    assert len(re.findall('"kind": "figure"', text)) >= 4


def page_text():
    """Execute the notebook in a kernel of its own and return all that it shows."""
    path = Path(ROOT) / "notebooks" / "reanalysis.ipynb"
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": path.parent}}
    client = NotebookClient(notebook, timeout=300, resources=resources)
    executed = client.execute(env=dict(os.environ))
    outputs = [o for c in executed.cells for o in c.get("outputs", [])]
    assert not any(o.output_type == "error" for o in outputs)
    assert not any(o.get("name") == "stderr" for o in outputs)
    return json.dumps([o.get("data", {}) for o in outputs])
