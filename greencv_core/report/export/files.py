"""Files of the report: results.json, runs.csv, runs.parquet and what describes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from greencv_core.records.columns import RUNS_COLUMNS
from greencv_core.records.record import RunRecord
from greencv_core.records.tables import epochs_table, runs_table, table_row
from greencv_core.report.export.datapackage import RESULTS, TABLE, TEXT_TABLE, data_package
from greencv_core.report.export.ro_crate import ro_crate
from greencv_core.report.export.to_json import as_bytes
from greencv_core.study.schema import Study
from greencv_core.utils.answers import remembered

DESCRIPTION = "datapackage.json"
CRATE = "ro-crate-metadata.json"


def write_results(
    folder: Path,
    *,
    study: Study,
    records: Sequence[RunRecord],
    commit: str,
    homepage: str | None = None,
) -> None:
    """Write the results' files next to the HTML.

    ``results.json`` has every result, ``runs.parquet`` and ``runs.csv`` the table of all runs,
    ``datapackage.json`` describes them with their hashes, ``ro-crate-metadata.json`` for archives
    that read RO-Crate. The same runs, in the study's order, give
    the same ``results.json`` on every machine. The folder exists; files of these names are
    replaced. ``commit`` is that of the code, ``homepage`` the project's public address.
    """
    answers = study_answers(study, runs_table(records), epochs_table(list(records)))
    (folder / RESULTS).write_bytes(as_bytes(answers))
    table = runs_file(records)
    pq.write_table(table, folder / TABLE)
    pa_csv.write_csv(table, folder / TEXT_TABLE)
    package = data_package(folder, study=study, runs=len(records), commit=commit, homepage=homepage)
    (folder / DESCRIPTION).write_bytes(as_bytes(package))
    (folder / CRATE).write_bytes(as_bytes(ro_crate(folder, package, DESCRIPTION)))


@remembered
def study_answers(study: Study, runs: pd.DataFrame, epochs: pd.DataFrame) -> dict[str, Any]:
    """Return the content of ``results.json``."""
    # Where the answers are kept, nothing that takes long to import is needed.
    from greencv_core.analysis import analyse
    from greencv_core.report.export.answers import results_json

    return results_json(study, analyse(runs, epochs, margin=study.analysis.correctness_margin))


def runs_file(records: Sequence[RunRecord]) -> pa.Table:
    """Return the runs table with a type and a description for each column.

    A number that is not finite becomes null.
    """
    rows = [table_row(record) for record in records]
    schema = pa.schema(
        [
            pa.field(
                name, pa.type_for_alias(column.arrow), metadata={"description": column.description}
            )
            for name, column in RUNS_COLUMNS.items()
        ]
    )
    return pa.table(
        [pa.array([_finite(row[f.name]) for row in rows], f.type) for f in schema], schema=schema
    )


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
