"""The description of the evidence table in the book is that of the code."""

import json
from typing import get_args

from greencv_core.published.table_format import EVIDENCE_COLUMNS, REQUIRED, table_schema
from greencv_core.records.columns import RUNS_COLUMNS, Kind
from tests.conftest import ROOT

PUBLISHED = ROOT / "book" / "_static" / "evidence-table.json"


def test_the_books_schema_is_the_codes():
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == table_schema()


def test_the_schema_says_what_a_field_may_be():
    fields = {field["name"]: field for field in table_schema()["fields"]}
    required = {
        name for name, field in fields.items() if field.get("constraints", {}).get("required")
    }
    assert required == set(REQUIRED)
    assert {field["type"] for field in fields.values()} <= set(get_args(Kind))
    assert fields["energy_j"]["constraints"] == {"required": True, "exclusiveMinimum": 0}
    assert fields["correctness"]["constraints"] == {"minimum": 0, "maximum": 1}
    assert fields["energy_j_per_image"]["constraints"]["maximum"] == 1000


def test_a_column_of_both_tables_has_one_type():
    for name, field in EVIDENCE_COLUMNS.items():
        column = RUNS_COLUMNS.get(name)
        if column is not None and name != "epochs":  # others report fractions of an epoch
            assert column.kind == field.kind, name
