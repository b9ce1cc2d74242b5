"""The house stays walkable: layers, rooms, short files and short functions."""

import ast
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.conftest import ROOT

LONGEST_FILE = 400
LONGEST_FUNCTION = 60
TREES = [
    (path, ast.parse(path.read_text(encoding="utf-8")))
    for folder in ("greencv_core", "tests", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def lint_imports(folder):
    linter = shutil.which("lint-imports", path=str(ROOT / ".venv" / "bin")) or "lint-imports"
    return subprocess.run(
        [linter, "--no-cache"], capture_output=True, text=True, cwd=folder, timeout=300
    )


def test_imports_point_one_way():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


def test_a_module_outside_every_room_is_refused(tmp_path):
    shutil.copytree(ROOT / "greencv_core", tmp_path / "greencv_core")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "greencv_core" / "stray.py").write_text('"""A module in no room."""\n')
    done = lint_imports(tmp_path)
    assert done.returncode != 0
    assert "stray" in done.stdout


def test_few_files_are_outside_a_room():
    assert len(list((ROOT / "greencv_core").glob("*.py"))) <= 8


def test_no_file_is_long():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path, _ in TREES}
    assert {name: n for name, n in lengths.items() if n > LONGEST_FILE} == {}


def test_no_function_is_long():
    lengths = {
        f"{path.relative_to(ROOT)}:{node.name}": node.end_lineno - node.lineno + 1
        for path, tree in TREES
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: n for name, n in lengths.items() if n > LONGEST_FUNCTION} == {}


@pytest.mark.slow
def test_the_wheel_works_outside_a_checkout(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "greencv_core", copy / "greencv_core")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    subprocess.run([*build, "--wheel-dir", tmp_path, copy], check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    code = (
        "import greencv_core; from greencv_core import EnergyMeter; "
        "print(greencv_core.__file__, EnergyMeter.__name__)"
    )
    for command in (["-c", code], ["-m", "greencv_core", "doctor"]):
        done = subprocess.run(
            [sys.executable, *command],
            capture_output=True, text=True, cwd=elsewhere, timeout=300,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(site)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert command[0] == "-m" or str(site) in done.stdout
    assert not list(elsewhere.iterdir())
