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
