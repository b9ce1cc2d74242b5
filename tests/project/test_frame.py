"""The frame holds together: metadata, lock, conda definition, notebooks, imports."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import greencv_core
from greencv_core.report.book.contents import listed_pages
from tests.conftest import ROOT, python

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
PINS = {
    canonicalize_name(name): Version(version)
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", LOCK, re.MULTILINE)
}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize(
    "requirement", [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
)
def test_lock_satisfies_the_project(requirement):
    wanted = Requirement(requirement)
    assert PINS[canonicalize_name(wanted.name)] in wanted.specifier


def test_lock_has_hashes_and_names_no_host():
    assert "://" not in LOCK
    assert LOCK.count("--hash=sha256:") >= len(PINS)


def test_conda_definition_installs_the_lock():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(d["pip"] for d in conda["dependencies"] if isinstance(d, dict))
    assert pip == ["-r requirements.lock"]
    python = next(d for d in conda["dependencies"] if str(d).startswith("python="))
    lowest = PROJECT["requires-python"].removeprefix(">=")
    assert Version(python.removeprefix("python=")) >= Version(lowest)
    assert f"sys.version_info < ({lowest.replace('.', ', ')})" in (ROOT / "Makefile").read_text()


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"] == greencv_core.__version__
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_make_without_a_target_lists_the_targets():
    done = subprocess.run(["make", "-C", ROOT], capture_output=True, text=True, check=True)
    for target in ("book", "test", "train", "html", "lab", "clean", "help"):
        assert re.search(rf"^  {target} +\S", done.stdout, re.MULTILINE), target


def test_toc_names_pages_that_exist():
    for page in (Path(page.file) for page in listed_pages(ROOT)):
        if page.parent.name == "notebooks":
            assert (ROOT / "notebooks" / f"{page.name}.ipynb").is_file()
        else:
            assert (ROOT / f"{page}.md").is_file()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_stored_without_outputs_and_hold_no_algorithms(path):
    cells = json.loads(path.read_text())["cells"]
    code = [c for c in cells if c["cell_type"] == "code"]
    assert not any(c["outputs"] or c["execution_count"] for c in code)
    declared = sum("parameters" in c["metadata"].get("tags", []) for c in cells)
    assert declared <= 1
    # A page that shows published runs alone may have nothing to set.
    assert declared or path.stem.startswith("reanalysis")
    assert len({c["id"] for c in cells}) == len(cells)
    source = "\n".join("".join(c["source"]) for c in code)
    assert not re.search(r"^\s*(def|class|while) ", source, re.MULTILINE)
    assert "import torch" not in source
    assert not re.search(r"^train = True", source, re.MULTILINE)


def test_hooks_find_nothing_to_change_in_the_notebooks():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    command = next(hook["entry"] for hook in hooks if hook["id"] == "nbstripout")
    program = Path(sys.executable).with_name("nbstripout")
    options = command.split()[1:]
    done = subprocess.run([program, *options, "--verify", *NOTEBOOKS], capture_output=True)
    assert done.returncode == 0


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_no_number_is_typed_in_a_notebooks_prose(path):
    cells = json.loads(path.read_text())["cells"]
    prose = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    # What may hold a digit: names (RQ1, F1, file names, citations).
    prose = re.sub(r"\bRQ\d|\bF1\b|\]\([^)]*\)|\{cite[^`]*`[^`]*`", "", prose)
    assert re.findall(r"\d", prose) == []


def test_looking_for_accelerators_leaves_no_torch_in_the_process():
    code = (
        "import sys; import greencv_core.machine.hardware as e; "
        "e._may_have_accelerator = lambda: True; "
        "print(e.describe_machine().accelerators, 'torch' in sys.modules)"
    )
    assert python("-c", code).endswith("False\n")


def test_analysis_and_report_load_no_torch():
    code = (
        "import sys, greencv_core.analysis, greencv_core.report.figures, "
        "greencv_core.report.exhibits.tables, greencv_core.report.exhibits.markdown, "
        "greencv_core.run.collect; "
        "print('torch' in sys.modules)"
    )
    assert python("-c", code) == "False\n"
