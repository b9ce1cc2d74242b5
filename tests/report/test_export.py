"""The results' files: the same everywhere, the figures of the analyses, and rightly described."""

import csv
import hashlib
import inspect
import json
import math
import platform
import re
from datetime import date
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from rocrate.rocrate import ROCrate
from threadpoolctl import threadpool_info

from greencv_core import runs_table
from greencv_core.analysis import (
    Unavailable,
    best_against_worst,
    break_evens,
    compare,
    energy_regression,
    filter_by,
    pareto_front,
    savings_without_loss,
    select_runs,
    specification_curve,
)
from greencv_core.analysis.choice.robustness import energy_definitions
from greencv_core.records.columns import NUMBERS, RUNS_COLUMNS
from greencv_core.report.export import files
from greencv_core.report.export.files import write_results
from greencv_core.report.export.ro_crate import ro_crate
from greencv_core.report.export.to_json import plain, rounded
from tests.conftest import ROOT, python
from tests.support.made_up_records import made_up_records, made_up_study

DESCRIPTIONS = {"datapackage.json", "ro-crate-metadata.json"}
FILES = {"results.json", "runs.csv", "runs.parquet", *DESCRIPTIONS}
COMMIT = "feedfacecafe"
HOSTILE = (
    '"><script>alert(1)</script>',
    "=HYPERLINK(1)",
    "a,b;c\td",
    "line\nbreak",
    "it's",
    "\N{SNOWMAN}",
)


def written(folder, records, **changed):
    """Compute the results again, without the kept answers, and return them."""
    told = {"study": made_up_study(), "commit": COMMIT, **changed}
    with mock.patch.object(files, "study_answers", inspect.unwrap(files.study_answers)):
        write_results(folder, records=records, **told)
    return read(folder / "results.json")


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def records():
    return made_up_records()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, records):
    made = tmp_path_factory.mktemp("html")
    written(made, records)
    assert {path.name for path in made.iterdir()} == FILES
    return made


@pytest.fixture(scope="module")
def results(folder):
    return read(folder / "results.json")


@pytest.fixture(scope="module")
def package(folder):
    return read(folder / "datapackage.json")


def test_the_same_runs_give_the_same_bytes_whoever_builds_them(folder, records, tmp_path):
    written(tmp_path, records, commit="0123456789ab", homepage="https://github.com/o/r")
    for name in FILES - DESCRIPTIONS:
        assert digest(tmp_path / name) == digest(folder / name), name
    assert read(tmp_path / "datapackage.json")["homepage"] == "https://github.com/o/r"


def test_nothing_in_the_results_tells_where_or_by_what_they_were_computed(folder):
    text = (folder / "results.json").read_text(encoding="utf-8")
    for word in (COMMIT, str(ROOT), str(folder), platform.node(), "numpy"):
        assert word not in text


def test_another_processors_linear_algebra_gives_the_same_bytes(folder, tmp_path):
    blas = [pool for pool in threadpool_info() if pool["internal_api"] == "openblas"]
    if not blas:
        pytest.skip("the linear algebra here is not OpenBLAS: it has no other kernels to choose")
    other = "Prescott" if platform.machine() in ("x86_64", "AMD64") else "ARMV8"
    code = (
        "import sys; from pathlib import Path; from threadpoolctl import threadpool_info\n"
        "from tests.support.made_up_records import made_up_records, made_up_study\n"
        "from greencv_core.report.export.files import write_results\n"
        "write_results(Path(sys.argv[1]), study=made_up_study(), records=made_up_records(),"
        f" commit='{COMMIT}')\n"
        "pools = [p for p in threadpool_info() if p['internal_api'] == 'openblas']\n"
        "print({p['architecture'] for p in pools})"
    )
    variables = {"OPENBLAS_CORETYPE": other, "OPENBLAS_NUM_THREADS": "1"}
    # Nor does it find the answers that were kept.
    kernel = python("-c", code, tmp_path, **variables, XDG_CACHE_HOME=str(tmp_path / "cache"))
    if kernel.strip() == str({pool["architecture"] for pool in blas}):
        pytest.skip("OpenBLAS has one kernel here")
    for name in FILES:
        assert digest(tmp_path / name) == digest(folder / name), name


def test_figures_and_sentences_are_those_of_the_analyses(results, records):
    table = runs_table(records)
    selection, every = select_runs(table), select_runs(table, keep_disturbed=True)
    runs = selection.runs
    assert len(every.runs) - len(runs) == selection.left_out_as_disturbed == 15
    one, two = results["rq1_architecture"], results["rq2_environment"]
    within = filter_by(runs, "environment", one["environment"])
    energy = compare(within, "energy_j_per_image", "architecture")
    assert one["energy"]["welch_f"] == pytest.approx(energy.welch_f, rel=1e-5)
    assert one["energy"]["kruskal_p"] == pytest.approx(energy.kruskal_p, rel=1e-3)
    assert [pair["hodges_lehmann_shift"] for pair in one["energy"]["pairs"]] == pytest.approx(
        list(energy.pairs["hodges_lehmann_shift"]), rel=1e-5
    )
    largest = best_against_worst(within, "architecture")
    assert one["largest_saving"]["ci_low"] == pytest.approx(largest.ci_low, rel=1e-5)
    assert one["largest_saving"]["to_condition"] == {"architecture": "net0"}
    exponents = [line["exponent"] for line in one["regression"]["lines"]]
    assert exponents == pytest.approx(list(energy_regression(runs).lines["exponent"]), rel=1e-5)
    assert one["energy"]["sentences"] == [energy.sentence(), energy.assumptions()]
    front = pareto_front(runs)
    told = two["pareto_front"]
    assert [row["on_front"] for row in told["conditions"]] == list(front.conditions["on_front"])
    assert told["sentences"] == [front.sentence(), front.efficiency_sentence()]
    even = break_evens(runs)["env0 and env2"]
    assert two["break_evens"]["env0 and env2"]["gflops"] == pytest.approx(even.gflops, rel=1e-5)
    harmless = savings_without_loss(runs, made_up_study().analysis.correctness_margin)
    assert two["savings_without_loss"]["best"]["saving"] == pytest.approx(harmless.best.saving)
    assert two["robustness"]["specification_curve"]["sentences"] == [
        specification_curve(energy_definitions(every.runs)).sentence()
    ]
    assert results["runs"]["sentences"][1] == selection.sentence()


def test_every_condition_has_its_medians_its_quartiles_and_its_provenance(results, records):
    runs = select_runs(runs_table(records)).runs
    assert len(results["conditions"]) == 15
    first = results["conditions"][0]
    part = runs[(runs["architecture"] == "net0") & (runs["environment"] == "env0")]
    for value in ("energy_j_per_image", "duration_s", "power_w", "f1_macro", "emissions_gco2e"):
        quartiles = np.quantile(part[value], [0.25, 0.5, 0.75])
        told = [first[value][name] for name in ("q1", "median", "q3")]
        assert told == pytest.approx(list(quartiles), rel=1e-5)
    assert first["energy_provenance"] == {
        "sum": "estimated", "cpu": "estimated", "ram": "estimated", "gpu": "not metered",
    }  # fmt: skip


def test_marked_runs_are_counted_and_kept_in_the_table(tmp_path):
    made = made_up_records(n=3, architectures=2, environments=1)
    failed = made[0].model_copy(
        update={
            "status": "failed", "reason": "no memory", "total": None, "epochs": [],
            "gpu": {"power_limit_w": math.inf},
        }
    )  # fmt: skip
    told = written(tmp_path, [failed, *made[1:]])["runs"]
    assert (told["made"], told["analysed"], told["left_out"]) == (6, 5, {"failed": 1})
    assert told["disturbed"] == 2
    assert told["energy_j"] == pytest.approx(sum(r.total.energy_j for r in made[1:]), rel=1e-5)
    table = pd.read_parquet(tmp_path / "runs.parquet")
    assert list(table["status"]) == ["failed", *5 * ["finished"]]
    assert table["problems"][0] == "no memory"
    assert table["power_limit_w"].isna().all()  # no number is infinite


def test_a_question_without_an_answer_says_why(tmp_path):
    told = written(tmp_path, made_up_records(n=1, architectures=2, environments=1))
    one, two = told["rq1_architecture"], told["rq2_environment"]
    assert "at least 2 architectures of at least 3 runs" in one["energy"]["unanswered"]
    assert "3 architectures" in one["regression"]["unanswered"]
    assert "one environment" in two["correctness"]["unanswered"]
    assert two["break_evens"] == {}


def test_without_a_usable_run_nothing_is_answered(tmp_path):
    made = made_up_records(n=2, architectures=2, environments=1, complete=False)
    told = written(tmp_path, made)
    assert told["runs"]["analysed"] == 0
    for part in ("conditions", "rq1_architecture", "rq2_environment"):
        assert told[part] == {"unanswered": "there is none to analyse"}


def test_hostile_names_are_data(tmp_path):
    made = made_up_records(n=2, architectures=len(HOSTILE), environments=1)
    named = [r.model_copy(update={"architecture": HOSTILE[int(r.architecture[3:])]}) for r in made]
    told = written(tmp_path, named)
    assert [c["architecture"] for c in told["conditions"]] == list(HOSTILE)
    with (tmp_path / "runs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["architecture"] for row in rows[::2]] == list(HOSTILE)
    assert list(pd.read_parquet(tmp_path / "runs.parquet")["architecture"][::2]) == list(HOSTILE)


def test_the_table_has_the_rows_of_the_runs_table(folder, records):
    runs = runs_table(records)
    table = pd.read_parquet(folder / "runs.parquet")
    assert list(table.columns) == list(RUNS_COLUMNS)
    for column in RUNS_COLUMNS:
        ours, theirs = runs[column], table[column]
        assert ours.isna().tolist() == theirs.isna().tolist(), column
        assert ours.dropna().tolist() == theirs.dropna().tolist(), column


def test_the_text_table_is_the_table(folder):
    table = pd.read_parquet(folder / "runs.parquet")
    text = pd.read_csv(folder / "runs.csv", dtype={"run_id": str, "git_commit": str, "host": str})
    for column in NUMBERS:
        assert text[column].tolist() == pytest.approx(table[column].tolist(), rel=0, nan_ok=True)
    assert text["run_id"].tolist() == table["run_id"].tolist()


def test_every_column_states_its_unit():
    for column, about in RUNS_COLUMNS.items():
        for ending, unit in (("_j", "(J)"), ("_s", "(s)"), ("_w", "(W)"), ("_pct", "(%)")):
            if column.endswith(ending) and not column.endswith("per_s"):
                assert unit in about.description, column


def test_the_package_describes_the_files_as_they_are(folder, package):
    described = {resource["path"]: resource for resource in package["resources"]}
    assert set(described) == FILES - DESCRIPTIONS
    for name, resource in described.items():
        assert resource["hash"] == f"sha256:{digest(folder / name)}"
        assert resource.get("bytes", (folder / name).stat().st_size) == (
            (folder / name).stat().st_size
        )
    with (folder / "runs.csv").open(encoding="utf-8") as file:
        header = next(csv.reader(file))
    assert [field["name"] for field in described["runs.csv"]["schema"]["fields"]] == header


def test_the_package_keeps_the_standards_rules(package):
    assert package["$schema"] == "https://datapackage.org/profiles/2.0/datapackage.json"
    assert re.fullmatch(r"[a-z0-9._-]+", package["name"])
    assert package["licenses"][0]["name"] == "CC-BY-4.0"
    assert all(source["title"] for source in package["sources"])
    for resource in package["resources"]:
        assert re.fullmatch(r"[a-z0-9._-]+", resource["name"])
        assert re.fullmatch(r"[^/.~][^/]*", resource["path"])
        assert re.fullmatch(r".+/.+", resource["mediatype"])
        assert resource["format"]
        assert resource.get("type", "table") == "table"
        assert re.fullmatch("sha256:[0-9a-f]{64}", resource["hash"])
        if "schema" in resource:
            fields = resource["schema"]["fields"]
            assert {field["type"] for field in fields} <= {"string", "integer", "number", "boolean"}
            assert all(field["name"] and field["description"] for field in fields)
    assert package["provenance"]["commit"] == COMMIT
    assert package["provenance"]["runs"] == 90
    assert "homepage" not in package


def test_the_crate_keeps_the_standards_rules(folder, package):
    crate = read(folder / "ro-crate-metadata.json")
    assert crate["@context"] == "https://w3id.org/ro/crate/1.2/context"
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(entities) == len(crate["@graph"])
    descriptor, root = entities["ro-crate-metadata.json"], entities["./"]
    assert descriptor["@type"] == "CreativeWork"
    assert descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.2"}
    assert root["@type"] == "Dataset"
    assert root["name"] == package["title"]
    assert root["description"]
    date.fromisoformat(root["datePublished"])
    assert root["license"] == {"@id": package["licenses"][0]["path"]}
    files = [part["@id"] for part in root["hasPart"]]
    assert set(files) == FILES - {"ro-crate-metadata.json"}
    for name in files:
        assert entities[name]["@type"] == "File"
        assert int(entities[name]["contentSize"]) == (folder / name).stat().st_size
        assert entities[name]["sha256"] == digest(folder / name)
        assert re.fullmatch(r".+/.+", entities[name]["encodingFormat"])
    assert COMMIT in entities["#greencv"]["softwareVersion"]
    for entity in crate[
        "@graph"
    ]:  # the graph is flat, and every reference but to the standard leads to an entity
        for value in entity.values():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, dict):
                    assert set(one) == {"@id"}
                    assert one["@id"] in entities or one["@id"].startswith("https://w3id.org/")


def test_the_crate_is_read_by_the_library_without_a_warning(folder, package, recwarn):
    crate = ROCrate(folder)
    assert not recwarn.list
    assert {entity.id for entity in crate.data_entities} == FILES - {"ro-crate-metadata.json"}
    assert crate.license["identifier"] == package["licenses"][0]["name"]
    assert crate.root_dataset["author"]["name"] == package["contributors"][0]["title"]
    analysis = crate.root_dataset["mentions"]
    assert analysis["instrument"].id == "#greencv"
    assert analysis["result"].id == "results.json"
    assert {table.id for table in analysis["object"]} == {"runs.csv", "runs.parquet"}


def test_a_crate_is_the_same_each_time_and_changes_no_file(folder, package):
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert ro_crate(folder, package, "datapackage.json") == ro_crate(
        folder, package, "datapackage.json"
    )
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_real_runs_have_results(smoke_records, tmp_path):
    told = written(tmp_path, smoke_records)
    assert told["runs"]["made"] == len(smoke_records)
    assert len(pd.read_parquet(tmp_path / "runs.parquet")) == len(smoke_records)
    assert told["runs"]["energy_provenance"]["sum"] != "not metered"


@pytest.mark.parametrize(
    ("value", "name", "told"),
    [
        (1.23456789, "energy_j", 1.23457),
        (1234567.8, "energy_j", 1234570.0),
        (-3e-17, "correctness_loss", 0.0),
        (0.012345678, "dunn_p_holm", 0.01235),
        (3.3e-14, "games_howell_p", 0.0),
        (2.34e-8, "p", 2.3e-8),
        (9.6e-8, "architecture_sd", 0.0),
        (float("nan"), "levene_p", None),
        (float("inf"), "welch_f", None),
    ],
)
def test_figures_have_the_digits_that_every_machine_computes_alike(value, name, told):
    assert rounded(value, name) == told
    assert str(rounded(value, name)) != "-0.0"


def test_what_json_does_not_know_is_a_defect_and_not_guessed():
    with pytest.raises(TypeError, match="when: Timestamp has no form in JSON"):
        plain({"when": pd.Timestamp("2026-01-01")})
    assert plain({"answer": Unavailable("too few")}) == {"answer": {"unanswered": "too few"}}
