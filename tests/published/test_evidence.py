"""Data-quality findings in the measurements of del Rey et al."""

from dataclasses import replace

import numpy as np
import pytest

from greencv_core.published.seaa2023 import evidence
from greencv_core.published.seaa2023.logs import raw_runs
from greencv_core.published.seaa2023.verdicts import verdicts


def test_the_loss_by_whole_watts_is_that_of_each_condition(reanalysis):
    table = evidence.truncation_evidence(reanalysis).set_index(["environment", "architecture"])
    expected = {
        ("Cloud", "mobilenet_v2"): 0.334, ("Cloud", "nasnet_mobile"): 0.251,
        ("Cloud", "resnet50"): 0.152, ("Cloud", "vgg16"): 0.147, ("Cloud", "xception"): 0.185,
        ("Local ML", "mobilenet_v2"): 0.400, ("Local ML", "nasnet_mobile"): 0.354,
        ("Local ML", "resnet50"): 0.278, ("Local ML", "vgg16"): 0.227,
        ("Local ML", "xception"): 0.257,
    }  # fmt: skip
    for condition, percent in expected.items():
        assert 100 * table.loc[condition, "loss"] == pytest.approx(percent, abs=0.02)
    assert reanalysis.lost_w == pytest.approx(0.494, abs=0.001)


def test_the_logs_alone_show_the_corrected_epochs(reanalysis):
    counted = evidence.counted_epochs(reanalysis)
    assert len(counted) == 265
    assert (counted["corrected_off"].round() == 0).sum() == 246
    assert (counted["published_off"].round() == 0).sum() == 0
    medians = counted.groupby(["environment", "architecture"])[["published_off", "corrected_off"]]
    assert (medians.median()["published_off"] - 9).abs().max() < 0.15
    assert medians.median()["corrected_off"].abs().max() < 0.15
    # And without any rhythm, from lengths alone: the second stage begins after 10 epochs.
    table = evidence.begins_evidence(reanalysis)
    assert (table["corrected_begin"] - 10).abs().max() < 2
    assert table["corrected_begin"].median() == pytest.approx(10, abs=0.2)
    assert table["published_begin"].median() == pytest.approx(19, abs=0.2)


def test_logs_with_another_count_are_listed_with_a_reason(reanalysis):
    table = evidence.odd_counts(reanalysis).set_index(["environment", "architecture", "repetition"])
    assert len(table) == 19
    assert "more memory in use for 16.0 minutes" in table.loc[("Cloud", "vgg16", 24), "sign"]
    assert "second stage found after 10.7" in table.loc[("Local ML", "vgg16", 1), "sign"]
    assert "epoch of 11.5 s" in table.loc[("Local ML", "mobilenet_v2", 9), "sign"]
    assert "goes on for 52.2 s" in table.loc[("Cloud", "xception", 9), "sign"]
    assert "62.1 s without work" in table.loc[("Local ML", "nasnet_mobile", 26), "sign"]
    sentence = evidence.odd_counts_sentence(reanalysis)
    assert "15 of them show a sign of something else, and 7 of the 246 that agree" in sentence
    assert "26 of 30 of mobilenet_v2 in Local ML" in sentence


def test_logs_that_end_before_their_training(reanalysis):
    table = evidence.lost_ends_evidence(reanalysis).set_index("architecture")
    assert table["lost_ends"].to_dict() == {"mobilenet_v2": 1, "resnet50": 27, "vgg16": 24}
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
    counted = evidence.counted_epochs(reanalysis).set_index("run_id").loc[run_id]
    assert abs(counted["corrected_off"]) < 0.1


def test_a_processors_log_that_stops_early_gives_no_load(reanalysis):
    runs = reanalysis.raw.runs
    early = runs[runs["cpu_utilization_pct"].isna()]
    assert set(early["architecture"] + early["environment"]) == {"nasnet_mobileCloud"}
    assert sorted(early["repetition"]) == list(range(23, 30))
    assert (early["missing_s"] == 0).all()  # their GPU's logs are whole
    assert "In 7 runs" in evidence.lost_ends_sentence(reanalysis)


def test_without_a_processors_log_a_lost_end_is_not_known(reanalysis):
    logs = {p: f for p, f in reanalysis.files.items() if "cloud/vgg16" in p or "processed" in p}
    cut = reanalysis.raw.runs.query("environment == 'Cloud' and architecture == 'vgg16'")
    cut = cut[cut["lost_end"]]["run_id"].iloc[0]
    gpu = next(p for p, f in logs.items() if f == reanalysis.log_path(cut))
    del logs[gpu.replace("gpu-power-", "cpu-mem-usage-")]
    table = replace(reanalysis, raw=raw_runs(logs), files=logs)
    run = table.every_run.set_index("run_id").loc[cut]
    assert run["full_correction"] > 0
    assert np.isnan(run["ends_restored"])
    assert np.isnan(table.epochs_from_logs.set_index("run_id").loc[cut, "fine_tuning_epochs"])
    assert "Of 1 run there is no processor's log" in evidence.lost_ends_sentence(table)
    others = table.every_run[table.every_run["run_id"] != cut]
    assert others["ends_restored"].notna().all()


def test_runs_that_shared_their_gpu_are_listed(reanalysis):
    table = evidence.shared_evidence(reanalysis)
    assert set(table["environment"] + " " + table["architecture"]) == {"Cloud vgg16"}
    assert table["repetition"].tolist() == [0, 3, 4, 9, 24, 26]
    assert (table["memory_used_mib"] < 11_200).all()
    assert (table["shared_memory_mib"] > 23_600).all()
    assert (table["against_median"] > 0).all()
    assert len(reanalysis.without_shared().table) == 363
    sentence = evidence.shared_sentence(reanalysis)
    assert "In 6 runs (vgg16 in Cloud)" in sentence
    assert "It could show itself only in vgg16 in Cloud" in sentence
    assert "largest saving in Cloud, 64.91% instead of 65.49%;" in sentence


def test_idle_power_and_net_energy(reanalysis):
    table = evidence.idle_evidence(reanalysis).set_index("environment")
    assert 8 < table.loc["Cloud", "low_power_w"] < 13
    assert table.loc["Cloud", "before_power_w"] == pytest.approx(105.6, abs=1)
    assert table.loc["Local ML", "before_power_w"] == pytest.approx(55.3, abs=1)
    assert table.loc["Cloud", "after_power_w"] == pytest.approx(115.4, abs=1)
    assert table.loc["Local ML", "after_power_w"] == pytest.approx(59.6, abs=1)
    runs = reanalysis.every_run
    logged = runs["environment"] != "Local N"
    nets = ["net_of_after", "net_of_before", "net_of_low", "ends_restored"]
    assert (runs.loc[logged, nets].diff(axis=1).iloc[:, 1:] > 0).all(axis=None)
    assert runs.loc[~logged, nets[:3]].isna().all(axis=None)


def test_the_choice_of_idle_power_decides_the_saving_of_a_move(reanalysis, summary):
    move = reanalysis.effects.set_index("claim").loc["mobilenet_v2, Cloud to Local ML"]
    assert move["net_of_low"].ci_low > 0.4
    assert move["net_of_before"].ci_low < 0 < move["net_of_before"].ci_high  # session means
    assert move["net_of_after"].ci_high < 0
    sentence = evidence.idle_sentence(reanalysis)
    assert "A saving is left net of the low-power state alone" in sentence
    logs = "6 logs (mobilenet_v2 in Cloud, nasnet_mobile in Cloud and xception in Cloud)"
    assert logs in sentence
    verdict = verdicts(reanalysis).set_index("claim")["verdict"]
    scaling = verdict["GPUs should scale with the complexity of the model"]
    assert "for: none; vgg16; mobilenet_v2 and vgg16" in scaling
    assert "1.00 gross" in verdict["RQ2: environments differ in energy"]
    assert "2 of 3 leave no saving" in verdict["MobileNetV2 saves by moving from Cloud to Local ML"]
    assert summary["headline"]["net_of_low"]["n_runs"] == 291
    assert summary["headline_all_runs"]["net_of_after"]["n_runs"] == 309


def test_removals_by_hand_and_by_rule_are_listed(reanalysis):
    table = evidence.removals_evidence(reanalysis).set_index(["environment", "architecture"])
    assert table.loc[("Local ML", "mobilenet_v2"), "removed_by_hand"] == "30 to 36"
    assert table.loc[("Cloud", "nasnet_mobile"), "removed_by_rule"] == "0 to 3"
    assert reanalysis.every_run["removed_by_hand"].sum() == 18
    sentence = evidence.removals_sentence(reanalysis)
    assert "3 whole sessions of a condition are among them" in sentence
    assert "4 runs of nasnet_mobile in Cloud from 2022-12-06" in sentence
    assert "7 runs of mobilenet_v2 in Local ML from 2023-02-21" in sentence
    assert "5 runs of resnet50 in Cloud from 2023-03-09" in sentence  # others of that day: kept
