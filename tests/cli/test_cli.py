"""The command line as a user meets it: doctor, help, plan, and an interruption."""

import json
import shutil
import subprocess
import sys
from importlib import metadata

import pytest

import greencv_core
from greencv_core.records.source import load_study
from tests.conftest import GREENCV, ROOT, greencv, greencv_here, python
from tests.support.powercap import Powercap


def test_the_doctor_says_what_each_figure_will_be(tmp_path):
    without = json.loads(greencv("doctor", "--json", GREENCV_POWERCAP=str(tmp_path)).stdout)
    assert [m["provenance"] for m in without["meters"]] == ["estimated", "estimated"]
    assert "no RAPL counter" in without["absent"]["rapl"]
    tree = Powercap(tmp_path / "powercap")
    found = json.loads(greencv("doctor", "--json", GREENCV_POWERCAP=str(tree.root)).stdout)
    assert {m["component"]: m["provenance"] for m in found["meters"]} == {
        "cpu": "measured",
        "ram": "measured",
    }
    assert "rapl" not in found["absent"]
    text = greencv("doctor", GREENCV_POWERCAP=str(tree.root)).stdout
    assert "RAPL package counter" in text
    assert found["machine"]["fingerprint"] in text


@pytest.mark.parametrize(
    "command",
    ["doctor", "plan", "estimate", "run", "book", "meter", "runs list", "runs show", "runs export"],
)
def test_every_command_has_an_example_in_its_help(command):
    done = greencv(*command.split(), "--help")
    assert done.returncode == 0
    assert f"Example: greencv {command}" in done.stdout


LIBRARIES = {"numpy", "pandas", "scipy", "torch"}
STARTED = f"""
import sys
from greencv_core.cli.app import main
print(main(sys.argv[1:]), {LIBRARIES} & set(sys.modules))
"""


@pytest.mark.parametrize(
    ("command", "code"),
    [("--help", 0), ("--version", 0), ("", 2), ("runs", 2), ("plan --nonsense", 2), ("nosuch", 2)],
)
def test_what_needs_no_library_imports_none(command, code):
    said = python("-c", STARTED, *command.split())
    assert said.splitlines()[-1] == f"{code} set()"


def test_the_version_is_one_line_and_a_group_alone_shows_its_help():
    assert greencv_here("--version").stdout == f"greencv {greencv_core.__version__}\n"
    for group in ([], ["runs"]):
        done = greencv_here(*group)
        assert "Usage:" in done.stdout
        assert done.stderr == ""


def test_a_plan_lists_the_runs_in_order_and_trains_nothing(tmp_path, smoke_store):
    done = greencv("plan", "smoke", "--json", "--store", tmp_path)
    content = json.loads(done.stdout)
    assert [run["order"] for run in content["runs"]] == list(range(1, 9))
    assert content["before_the_first_run_s"] > load_study("smoke").protocol.idle_s
    parts_s = [content["before_the_first_run_s"], content["setup_s"]]
    parts_s += [run["expected_s"] for run in content["runs"]]
    assert content["expected_s"] == pytest.approx(sum(parts_s), abs=1)
    joules = sum(run["expected_energy_j"] for run in content["runs"])
    assert content["expected_energy_j"] == pytest.approx(joules)
    assert content["expected_energy_provenance"] in ("measured", "sampled", "estimated")
    assert not any(run["finished"] for run in content["runs"])
    assert list(tmp_path.iterdir()) == []
    after = json.loads(greencv("plan", "smoke", "--json", "--store", smoke_store).stdout)
    assert all(run["finished"] for run in after["runs"])
    assert after["expected_s"] == 0


def test_a_plan_of_finished_runs_imports_no_library_for_tables_or_training(smoke_store):
    said = python("-c", STARTED, "plan", "smoke", "--store", smoke_store)
    assert said.splitlines()[-1] == "0 {'numpy'}"


@pytest.mark.slow
def test_plan_and_estimate_predict_the_same_from_the_same_runs(smoke_store):
    planned = json.loads(greencv_here("plan", "smoke", "--json", "--store", smoke_store).stdout)
    name = "squeezenet1_1"
    estimated = json.loads(
        greencv_here("estimate", name, "--study", "smoke", "--json", "--store", smoke_store).stdout
    )
    by_environment = {row["environment"]: row for row in estimated["estimates"]}
    rows = [row for row in planned["runs"] if row["architecture"] == name]
    assert {row["environment"] for row in rows} == set(by_environment)
    for row in rows:
        estimate = by_environment[row["environment"]]
        assert row["expected_energy_j"] == pytest.approx(estimate["energy_j"], rel=1e-12)
        assert row["expected_s"] == pytest.approx(estimate["duration_s"], abs=0.05)


def test_a_reader_that_has_read_enough_is_no_error(smoke_store):
    command = f"'{GREENCV}' runs export --format json --store '{smoke_store}' | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[\n"
    assert done.stderr == ""


def test_a_checkout_that_is_not_installed_is_run_as_a_module(monkeypatch):
    done = subprocess.run(
        [sys.executable, "-m", "greencv_core", "run", "nosuch"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 2
    assert "no such study file" in done.stderr
    installed = greencv_core.__version__

    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert greencv_core._version() == installed


def test_a_missing_browser_is_named_before_anything_is_built(tmp_path, monkeypatch, capsys):
    from greencv_core.cli import book
    from greencv_core.cli.app import main
    from greencv_core.run.collect import Outcome

    built = []

    def build(study, store, *, train):
        built.append(study)
        return tmp_path / "index.html", Outcome((), 0, 0, 0, 0)

    monkeypatch.setattr(book, "_build", build)
    monkeypatch.setenv("GREENCV_BROWSER", str(tmp_path / "none"))
    assert main(["book", "smoke", "--pdf"]) == 1
    assert built == []
    assert "error: found no browser to print the PDF" in capsys.readouterr().err
    assert main(["book", "smoke", "--try-pdf"]) == 0
    assert built == ["smoke"]
    before, _, after = capsys.readouterr().err.partition("Report:")
    assert before.startswith("no PDF: building the HTML only: found no browser")
    assert "no PDF: found no browser" in after


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("TORCH=rocm", "error: TORCH=rocm: must be cpu or cuda"),
        ("PATH=/nowhere", "python3 -m uv python install 3.12"),
    ],
)
def test_make_names_what_it_cannot_set_up(setting, message, tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shell = f"SHELL={shutil.which('sh')}"
    done = subprocess.run(
        [shutil.which("make"), ".venv/.ready", shell, "PYTHON=", setting],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode != 0
    assert message in done.stderr
    assert not (tmp_path / ".venv").exists()
