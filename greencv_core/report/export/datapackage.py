"""Description of the result files as a Data Package, version 2 (https://datapackage.org)."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from greencv_core import __version__
from greencv_core.records.columns import RUNS_COLUMNS
from greencv_core.study.schema import Study

_PROFILES = "https://datapackage.org/profiles/2.0"
LICENCE = {
    "name": "CC-BY-4.0",
    "title": "Creative Commons Attribution 4.0 International",
    "path": "https://creativecommons.org/licenses/by/4.0/",
}
RESULTS, TABLE, TEXT_TABLE = "results.json", "runs.parquet", "runs.csv"
_RESOURCES: dict[str, dict[str, Any]] = {
    RESULTS: {
        "name": "results",
        "title": "Every answer of the report, with the sentences that say it",
        "format": "json",
        "mediatype": "application/json",
        "encoding": "utf-8",
    },
    TEXT_TABLE: {
        "name": "runs",
        "title": "The runs table: one row a run, marked runs included",
        "type": "table",
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
    },
    TABLE: {
        "name": "runs-parquet",
        "title": "The runs table once more, with its types",
        "format": "parquet",
        "mediatype": "application/vnd.apache.parquet",
    },
}


def data_package(
    folder: Path, *, study: Study, runs: int, commit: str, homepage: str | None = None
) -> dict[str, Any]:
    """Describe the results' files in a folder: ``results.json``, ``runs.csv``, ``runs.parquet``.

    ``runs`` is the number of rows of the runs table, ``commit`` that of the code that computed the
    results, ``homepage`` the project's public address, where there is one.
    """
    return {
        "$schema": f"{_PROFILES}/datapackage.json",
        "name": f"greencv-{re.sub(r'[^a-z0-9]+', '-', study.name.lower()).strip('-')}",
        "title": f"Energy and correctness of training image classifiers: the study {study.name}",
        "description": "Results of the report and the runs that they rest on. results.json is the "
        "same, byte for byte, wherever it is computed from the same runs.",
        **({"homepage": homepage} if homepage else {}),
        "version": __version__,
        "keywords": ["green AI", "energy", "deep learning", "image classification"],
        "licenses": [LICENCE],
        "contributors": [{"title": "The greencv contributors", "roles": ["author"]}],
        "sources": [{"title": f"Run records of the study {study.name}, metered by greencv"}],
        "resources": [_resource(folder / name, about) for name, about in _RESOURCES.items()],
        "provenance": {
            "software": "greencv",
            "software_version": __version__,
            "commit": commit,
            "study": study.name,
            "runs": runs,
        },
    }


def _resource(path: Path, about: dict[str, Any]) -> dict[str, Any]:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    described = {**about, "path": path.name, "hash": f"sha256:{digest}"}
    if path.name != TABLE:
        # The standard's own tool rejects any byte count of a Parquet file.
        described["bytes"] = len(content)
    if path.name == TEXT_TABLE:
        described["schema"] = {
            "$schema": f"{_PROFILES}/tableschema.json",
            "fields": [
                {"name": name, "type": column.kind, "description": column.description}
                for name, column in RUNS_COLUMNS.items()
            ],
            "missingValues": [""],
            "primaryKey": ["run_id"],
        }
    return described
