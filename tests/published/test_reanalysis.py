"""The registry, and del Rey et al.'s figures recomputed from their data."""

import csv
import re
from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from greencv_core.analysis import find_outliers
from greencv_core.published import DATA_SETS, load_adapter, load_published
from greencv_core.published.seaa2023.claims import compare_with_published, printed
from greencv_core.published.seaa2023.reanalysis import QUESTIONS
from greencv_core.published.seaa2023.runs import RELEASE
from greencv_core.utils.downloads import read_manifest
from greencv_core.utils.errors import BadInputError


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
    with pytest.raises(BadInputError, match="no such published data; known: seaa2023, fischer2022"):
        load_adapter("nobodys")


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


def test_every_published_figure_comes_out(summary):
    assert summary["claims"]["figures"] == 489
    assert summary["claims"]["disagreeing"] == []
    assert summary["claims"]["agreeing"] == summary["claims"]["figures"]
    by_source = summary["claims"]["by_source"]
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
def test_the_headline_by_each_energy(summary, variant, saving, every, dear, tolerance):
    for key, n_runs in (("headline", 351), ("headline_all_runs", 369)):
        result = summary[key][variant]
        assert result["ci_low"] < result["saving"] < result["ci_high"]
        assert result["n_runs"] == n_runs
        assert result["from"] == {"architecture": dear[0], "environment": dear[1]}
        assert result["to"] == {"architecture": "mobilenet_v2", "environment": "Local ML"}
    kept, all_runs = (
        summary[key][variant]["of_medians"] for key in ("headline", "headline_all_runs")
    )
    assert kept == pytest.approx(saving, abs=tolerance)
    assert all_runs == pytest.approx(every, abs=tolerance)


def test_the_json_has_medians_and_tests(summary):
    medians = {(m["environment"], m["architecture"]): m for m in summary["medians"]}
    assert len(medians) == 12
    row = medians["Local ML", "vgg16"]
    assert row["n"] == 32
    assert row["energy_j_per_image"] == pytest.approx(0.362935, abs=1e-6)
    assert row["ms_per_image"] == pytest.approx(1.6674, abs=1e-4)
    assert set(summary["tests"]) == set(QUESTIONS)
    for name, test in summary["tests"].items():
        assert test["h"] == pytest.approx(printed("tests", f"{name}/kruskal_h"), rel=1e-6)
        assert 0 < test["p"] < 1e-13
