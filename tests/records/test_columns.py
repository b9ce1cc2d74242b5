"""The registry of the runs table's columns: a new column needs an entry and its value."""

import json
import shutil

import pandas as pd

from greencv_core.records.columns import NUMBERS, RUNS_COLUMNS
from greencv_core.records.tables import table_row
from greencv_core.utils.text import QUANTITIES
from tests.conftest import ROOT, python
from tests.support.made_up_records import record

ENTRY = '    Column("host", "string", "Hash of the computer\'s name."),\n'
NEW_ENTRY = """\
    Column("setup_s", "number", "Time before the metered window (s).", "Setup time", "s"),
"""
VALUE = '        "host": record.host,\n'
NEW_VALUE = '        "setup_s": _nan(record.setup_s),\n'
EXPORT = """
from pathlib import Path
from greencv_core.records.pack import _parquet
from greencv_core.records.store import Store
from greencv_core.records.table_cache import cached_runs_table
from greencv_core.report.exhibits.labels import heading
from greencv_core.report.export.files import write_results
from tests.support.made_up_records import made_up_records, made_up_study
import json

records = made_up_records(n=2, architectures=1, environments=1, setup_s=1.5)
store, study = Store("store"), made_up_study()
for record in records:
    store.write(record)
write_results(Path("."), study=study, records=records, commit="unknown")
files = list(store.load_files(store.run_ids()))
Path("bundle.parquet").write_bytes(_parquet(study, files))
cached_runs_table(store)
cached = cached_runs_table(store)[0]["setup_s"].tolist()
print(json.dumps({"heading": heading("setup_s"), "cached": cached}))
"""


def test_a_new_column_needs_an_entry_and_its_value(tmp_path):
    package = tmp_path / "greencv_core"
    shutil.copytree(ROOT / "greencv_core", package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, line, new in (("columns", ENTRY, NEW_ENTRY), ("tables", VALUE, NEW_VALUE)):
        path = package / "records" / f"{name}.py"
        text = path.read_text()
        assert text.count(line) == 1
        path.write_text(text.replace(line, line + new))
    for name in ("tests", "studies", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    told = json.loads(python("-c", EXPORT, cwd=tmp_path, PYTHONPATH=str(tmp_path)))
    assert told == {"heading": "Setup time (s)", "cached": [1.5, 1.5]}
    for table in (
        pd.read_csv(tmp_path / "runs.csv"),
        pd.read_parquet(tmp_path / "runs.parquet"),
        pd.read_parquet(tmp_path / "bundle.parquet"),
    ):
        assert table["setup_s"].tolist() == [1.5, 1.5]
    package = json.loads((tmp_path / "datapackage.json").read_text())
    [runs] = [r for r in package["resources"] if "schema" in r]
    [field] = [f for f in runs["schema"]["fields"] if f["name"] == "setup_s"]
    assert field == {
        "name": "setup_s", "type": "number", "description": "Time before the metered window (s)."
    }  # fmt: skip


def test_each_column_has_a_value_of_its_type():
    row = table_row(record())
    assert set(row) == set(RUNS_COLUMNS)
    for name, column in RUNS_COLUMNS.items():
        assert row[name] is None or type(row[name]) is column.type, name
    assert set(NUMBERS) == {name for name, value in row.items() if isinstance(value, float)}


def test_names_of_quantities_in_sentences_are_the_headings():
    for name in QUANTITIES.keys() & RUNS_COLUMNS.keys():
        title = RUNS_COLUMNS[name].heading().partition(" (")[0]
        assert title.lower() == QUANTITIES[name].lower(), name
