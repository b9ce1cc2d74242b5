"""Benchmarks start as scripts, in a folder whose names must not hide other modules."""

import pytest

from tests.conftest import ROOT, python

BENCHMARKS = [
    path
    for path in sorted((ROOT / "benchmarks").glob("*.py"))
    if '__name__ == "__main__"' in path.read_text()
]
START = """
import runpy, sys
sys.argv = [sys.argv[1]]
sys.path[0] = sys.argv[0].rpartition("/")[0]  # as Python does for a script
runpy.run_path(sys.argv[0], run_name="not main")
import statistics
print(statistics.__file__)
"""


@pytest.mark.slow
@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_finds_what_it_imports(path, tmp_path):
    assert not python("-c", START, path, cwd=tmp_path).startswith(str(ROOT / "benchmarks"))


IMPORT = """
import importlib, sys
import search_path
for module in sys.argv[1:]:
    importlib.import_module(module)
"""


def test_the_parts_of_a_benchmark_find_what_they_import():
    parts = sorted((ROOT / "benchmarks").glob("*/*.py"))
    assert parts
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in parts]
    python("-c", IMPORT, *modules, PYTHONPATH=str(ROOT / "benchmarks"))


SIMULATE = """
import search_path
from benchmarks import statistics_simulations as simulations
kinds = {simulate: given for simulate, _, _, given in simulations.settings()}
for simulate, given in kinds.items():
    _, found = simulations.chunk(simulate, (simulate.__name__,), 0, 2, given)
    assert found and all(count == 2 for _, count, _ in found.values()), simulate
print(len(kinds))
"""


@pytest.mark.slow
def test_each_simulation_of_the_statistics_runs():
    folder = ROOT / "benchmarks"
    kinds = python("-c", f"import sys; sys.path.insert(0, {str(folder)!r}){SIMULATE}")
    assert int(kinds) >= 10
