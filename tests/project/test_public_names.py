"""The public names: each exists, has an example on its page, and is imported on first use."""

import pytest

import greencv_core
from tests.conftest import ROOT, python
from tests.support.guides import blocks

PAGE = ROOT / "book" / "api" / "overview.md"
EXAMPLES = [block.text for block in blocks(PAGE) if block.language == "python"]
NAMES = [name for name in greencv_core.__all__ if name != "__version__"]


def test_every_public_name_is_in_an_example():
    assert len(NAMES) <= 16
    for name in NAMES:
        assert callable(getattr(greencv_core, name))
        assert any(name in example for example in EXAMPLES), name


def test_importing_the_package_imports_no_library():
    code = "import sys, greencv_core; print({'numpy', 'pandas', 'torch'} & set(sys.modules))"
    assert python("-c", code) == "set()\n"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.split()[3].rstrip(","))
def test_an_example_runs(example):
    if "build_report" in example:
        pytest.skip("downloads the published data and builds a whole report, which have tests")
    assert python("-c", example)
