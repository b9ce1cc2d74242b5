"""The tables of all published data sets: from their files, else from the project's bundle."""

import os
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest

from greencv_core.published import (
    DATA_SETS,
    DataUnavailableError,
    fetch,
    load_adapter,
    smallest_first,
)
from greencv_core.published import evidence as module
from greencv_core.published.evidence import ORIGIN, derive_table, load_evidence
from greencv_core.published.evidence_bundle import shipped_evidence
from greencv_core.published.evidence_sources import load_tables
from greencv_core.published.table_format import REQUIRED
from greencv_core.published.tables import counted_runs
from greencv_core.records.columns import RUNS_COLUMNS
from greencv_core.utils.errors import BadInputError

SMALL = [name for name in DATA_SETS if name != "seaa2023"]
COPIES = {"ecnas2022": "ecnas", "pepr2024": "pepr", "xu2023": "xu2023"}


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """Return a function: a copy of a data set's folder, which the loader reads."""
    files = Path(os.environ["GREENCV_DATA"])
    if not files.is_dir():
        pytest.skip("the published files are not here")

    def make(name):
        monkeypatch.setenv("GREENCV_DATA", str(tmp_path))
        return shutil.copytree(files / COPIES[name], tmp_path / COPIES[name])

    return make


@pytest.mark.parametrize("name", SMALL)
def test_a_table_has_every_required_column_and_a_reason_or_an_energy(published_table, name):
    table = published_table(name)
    assert set(RUNS_COLUMNS) <= set(table.columns)
    assert table[list(REQUIRED)].notna().all(axis=None)
    assert (table["source"] == name).all()
    assert table["run_id"].is_unique
    counted = table[table["left_out"] == ""]
    assert (counted["energy_j"] > 0).all()
    assert counted["energy_j_per_image"].between(0, 1000).all()
    keys = {defect.key for defect in load_adapter(name).CARD.defects}
    reasons = set(table["left_out"]) | set(table["correctness_left_out"])
    assert reasons - {""} <= keys


def test_small_data_sets_come_first_and_the_order_asked_for_is_returned(monkeypatch):
    loaded = []

    def derive(name, progress):
        loaded.append(name)
        return pd.DataFrame()

    monkeypatch.setattr(module, "derive_table", derive)
    tables = load_evidence()
    assert list(tables) == list(DATA_SETS)
    assert loaded == smallest_first(DATA_SETS)
    assert loaded[-1] == "seaa2023"


def test_an_unknown_name_gives_the_known_ones():
    with pytest.raises(BadInputError, match=r"nobody2020: no such published data; known: .*xu2023"):
        load_evidence(["nobody2020"])


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_in_the_short_layout_is_read(copy, name):
    copy(name)
    table = derive_table(name)
    assert (table["left_out"] == "").any()


def test_a_checkout_of_the_publication_is_read(copy, tmp_path):
    folder = copy("pepr2024")
    folder.rename(tmp_path / "data")
    assert len(derive_table("pepr2024")) == 1048


@pytest.mark.parametrize("name", COPIES)
def test_a_damaged_file_is_refused_and_the_bundle_replaces_it(copy, name):
    folder = copy(name)
    some = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".csv"))[-1]
    if name == "pepr2024":
        some = folder / "all_results.csv"
    some.write_bytes(some.read_bytes()[:-20])
    with pytest.raises(DataUnavailableError) as caught:
        derive_table(name)
    (line,) = str(caught.value).splitlines()
    assert some.name in line
    assert "is not the published file (its SHA-256 differs)" in line
    table = load_evidence([name])[name]
    assert table.attrs[ORIGIN].startswith(f"{name}: from published.parquet (derived by greencv ")
    assert line in table.attrs[ORIGIN]
    assert len(table) == {"ecnas2022": 273, "pepr2024": 1048, "xu2023": 18}[name]


def test_without_files_and_bundle_the_reason_is_the_download(tmp_path, monkeypatch):
    monkeypatch.setenv("GREENCV_DATA", str(tmp_path))
    monkeypatch.setattr(module, "shipped_evidence", lambda: tmp_path / "published.parquet")
    with pytest.raises(
        DataUnavailableError, match=r"GREENCV_DATA names .* has no data/all_results\.csv"
    ):
        load_evidence(["pepr2024"])


def test_an_incomplete_original_study_comes_from_the_bundle(tmp_path, monkeypatch, reanalysis):
    files = {path: file for path, file in reanalysis.files.items() if path.startswith("processed")}
    for path, file in files.items():
        target = tmp_path / "seaa2023" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    monkeypatch.setenv("GREENCV_DATA", str(tmp_path))
    table = load_evidence(["seaa2023"])["seaa2023"]
    assert "from published.parquet" in table.attrs[ORIGIN]
    assert len(table) == 369


def test_the_shipped_bundle_serves_every_source_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("GREENCV_DATA", str(tmp_path))
    tables = load_evidence()
    assert {name: len(table) for name, table in tables.items()} == {
        "seaa2023": 369, "fischer2022": 56, "zeus2023": 596, "ecnas2022": 273, "pepr2024": 1048
    }  # fmt: skip
    assert shipped_evidence().is_file()


def test_the_small_data_sets_are_read_in_seconds(published_files):
    for name in SMALL:
        published_files(name)
    start_s = time.process_time()
    for name in SMALL:
        adapter = load_adapter(name)
        adapter.published_runs(fetch(adapter.RELEASE).files)
    assert time.process_time() - start_s < 6.0  # of two processors in 3 s


def test_a_run_that_is_left_out_makes_no_pause_between_sessions(tmp_path):
    rows = [
        f"lab,{net},a,12.5,measured,2026-01-01T{hour}:00:00Z,3500,{reason}"
        for net, hour, reason in [("n1", 10, ""), ("n2", 11, "did not learn"), ("n1", 12, "")]
    ]
    header = ",".join([*REQUIRED, "started_at", "duration_s", "left_out"])
    path = tmp_path / "runs.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    (table,) = load_tables([str(path)]).values()
    assert len(counted_runs(table)) == 2
    assert counted_runs(table)["session"].nunique() == 1
