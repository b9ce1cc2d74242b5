"""Notebooks beside the pages."""

import json

import nbformat
import papermill

from greencv_core.report.book.offered_notebooks import offer_notebooks, replace_parameters
from tests.conftest import ROOT


def test_values_are_replaced_and_comments_stay():
    source = 'a = "x"  # a file\nb = None\nheld = ["p"]  # what\nab = 1\n'
    injected = '# Parameters\na = "..\\\\y # z"\nheld = ["q", "r"]\n'
    given = replace_parameters(source, injected)
    values = {}
    exec(given, values)
    assert (values["a"], values["b"], values["held"]) == ("..\\y # z", None, ["q", "r"])
    assert all(part in given for part in ("# a file", "# what", "ab = 1"))


def test_an_offered_notebook_has_the_parameters_of_its_page(tmp_path):
    source = ROOT / "notebooks" / "decision.ipynb"
    executed = tmp_path / "executed" / source.name
    executed.parent.mkdir()
    given = {"study": "../bundles/reference.parquet", "train": False}
    papermill.execute_notebook(source, executed, given, prepare_only=True, progress_bar=False)
    offer_notebooks(ROOT / "notebooks", [executed], tmp_path / "offered")
    offered = tmp_path / "offered" / source.name
    found = papermill.inspect_notebook(offered)
    assert found["study"]["default"] == repr(given["study"])
    assert found["train"]["default"] == "False"
    cells = nbformat.read(offered, as_version=4).cells
    assert not any(c.get("outputs") for c in cells)
    other = json.loads((tmp_path / "offered" / "claims.ipynb").read_text())
    assert other == json.loads((ROOT / "notebooks" / "claims.ipynb").read_text())
