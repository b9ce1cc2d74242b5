"""``greencv claims``: on a user's tables, bundles and stores, and on the published data sets."""

import json
import shutil

import pandas as pd
import pytest

from greencv_core.published import DATA_SETS
from greencv_core.published.claims import claim_texts
from greencv_core.published.table_reading import table_csv
from greencv_core.records.backends.bundle import shipped_bundles
from tests.conftest import NOBODY, greencv, greencv_here
from tests.published.test_claims_on_evidence import TEN, evidence
from tests.support.known_truth import truth


@pytest.fixture
def table(tmp_path):
    """Return a file with a made-up laboratory's runs."""
    path = tmp_path / "mine.csv"
    path.write_text(table_csv(evidence(truth(n=4))))
    return path


def test_a_table_is_tested_alone_and_downloads_nothing(table, monkeypatch):
    monkeypatch.setenv("GREENCV_DATA", NOBODY)
    done = greencv_here("claims", table, "--json")
    assert (done.returncode, done.stderr.strip()) == (0, "")
    content = json.loads(done.stdout)
    assert list(content["sources"]) == ["mine.csv"]
    source = content["sources"]["mine.csv"]
    assert (source["runs"], source["conditions"]) == (40, 10)
    assert source["claims"]["energy_gflops"]["verdict"] == "holds"


def test_the_terminal_shows_every_claim_with_its_reason(table):
    done = greencv_here("claims", table)
    for claim in claim_texts().values():
        named = claim.partition(":")[0].replace("correctness", "accuracy")
        assert f"{named}. " in done.stdout
    assert "mine.csv: 40 runs, 10 conditions" in done.stdout


def test_80_columns_hold_a_matrix_of_five_sources(tmp_path):
    paths = []
    for number in range(6):
        runs = truth(gflops=TEN, n=1, seed=number)
        paths.append(tmp_path / f"source{number}.csv")
        paths[-1].write_text(table_csv(evidence(runs)))
    done = greencv("claims", *paths, COLUMNS="80")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    end = next(i for i, line in enumerate(lines) if "claims are tested, each at 5%" in line)
    assert max(len(line.rstrip()) for line in lines[:end]) <= 80
    heads = [line.split() for line in lines if line.startswith("Claim ")]
    assert heads == [["Claim", *(f"source{n}.csv" for n in range(5))], ["Claim", "source5.csv"]]
    assert "…" not in done.stdout


def test_a_file_with_several_sources_has_each_by_itself(tmp_path):
    first, second = (evidence(truth(gflops=TEN, n=1, seed=n)) for n in (0, 1))
    path = tmp_path / "both.csv"
    ours, theirs = (
        part.assign(source=name, run_id=name + part["run_id"])
        for name, part in (("ours", first), ("theirs", second))
    )
    path.write_text(table_csv(pd.concat([ours, theirs])))
    done = greencv_here("claims", path, "--json")
    sources = json.loads(done.stdout)["sources"]
    assert {name: source["runs"] for name, source in sources.items()} == {
        "both.csv: ours": 20, "both.csv: theirs": 20,
    }  # fmt: skip


def test_files_of_one_name_go_by_their_paths(table, tmp_path):
    other = tmp_path / "other" / "mine.csv"
    other.parent.mkdir()
    other.write_text(table.read_text())
    done = greencv_here("claims", table, other, "--json")
    assert set(json.loads(done.stdout)["sources"]) == {str(table), str(other)}


def test_bad_tables_give_a_line_for_each_problem(table, tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text(table.read_text().replace("energy_j,", "energy,", 1))
    absent = tmp_path / "absent.csv"
    done = greencv_here("claims", table, bad, absent, "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{bad}, row 1" in done.stderr
    assert str(absent) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bundle_is_a_source_under_its_name():
    [path] = (path for name, path in shipped_bundles().items() if name == "reference")
    done = greencv_here("claims", path, "--json")
    source = json.loads(done.stdout)["sources"]["reference.parquet"]
    assert source["runs"] == 120
    claims = source["claims"]
    assert claims["architectures_energy"]["verdict"] == "holds"
    assert claims["environments_utilisation"]["verdict"] == "cannot be tested"
    assert "set by its threads" in claims["environments_utilisation"]["explanation"]
    assert "macro F1" in claims["saving_without_loss"]["claim"]


def test_an_empty_store_is_refused(tmp_path):
    done = greencv_here("claims", tmp_path)
    assert done.returncode == 2
    assert "no run records" in done.stderr


def test_published_data_sets_are_tested_without_a_table(table):
    done = greencv_here("claims", table, "--published", "--json")
    content = json.loads(done.stdout)
    assert list(content["sources"]) == [*DATA_SETS, "mine.csv"]
    assert done.returncode == 0


def test_runs_that_two_files_hold_are_refused(tmp_path):
    bundle = shipped_bundles()["reference"]
    copy = tmp_path / "copy.parquet"
    shutil.copy(bundle, copy)
    done = greencv_here("claims", bundle, copy)
    assert done.returncode == 2
    assert "runs twice (the same start, energy and last loss)" in done.stderr
    assert "copy.parquet: " in done.stderr
