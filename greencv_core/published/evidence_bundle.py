"""A Parquet file with the runs tables derived from all published data sets.

It holds no file of a data set. Its metadata say which version of greencv derived each table, and
from which commit and files. A reader offline has the tables from the copy in ``bundles/``.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from greencv_core import __version__
from greencv_core.published import load_adapter
from greencv_core.published.tables import column_kind, typed
from greencv_core.records.backends.bundle import PUBLISHED_BUNDLE
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.paths import PROJECT_ROOT, git_commit
from greencv_core.utils.secrets import safe_line

KEY = b"greencv.published"
"""Key of the metadata, a JSON object, in the metadata of the Parquet file."""
FORMAT_VERSION = 1
_ARROW = {"string": "string", "integer": "int64", "number": "float64", "boolean": "bool"}


def shipped_evidence() -> Path:
    """Return the path of the bundle that is part of the project."""
    return PROJECT_ROOT / "bundles" / PUBLISHED_BUNDLE


def pack_evidence(tables: Mapping[str, pd.DataFrame]) -> bytes:
    """Return the bundle's content; the same tables, code and pyarrow give the same bytes.

    Parameters
    ----------
    tables
        Runs table of each data set, by its name.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = {name: typed(table) for name, table in tables.items()}
    merged = typed(pd.concat(tables.values(), ignore_index=True))
    columns = {
        name: pa.array(merged[name], _ARROW[column_kind(merged[name])], from_pandas=True)
        for name in merged.columns
        if merged[name].notna().any()
    }
    metadata = {
        "format_version": FORMAT_VERSION,
        "greencv_version": __version__,
        "greencv_commit": git_commit(),
        "sources": {name: _describe(name, table) for name, table in tables.items()},
    }
    table = pa.table(columns)
    output = io.BytesIO()
    with pq.ParquetWriter(
        output, table.schema, compression="zstd", compression_level=19, write_statistics=False,
        write_page_checksum=True, store_schema=False,
    ) as writer:  # fmt: skip
        writer.write_table(table)
        writer.add_key_value_metadata({KEY: json.dumps(metadata, sort_keys=True)})
    return output.getvalue()


def _describe(name: str, table: pd.DataFrame) -> dict[str, Any]:
    card = load_adapter(name).CARD
    return {
        "repository": card.repository,
        "commit": card.commit,
        "licence": card.licence,
        "manifest_sha256": manifest_digest(name),
        "runs": len(table),
        "columns": list(table.columns),
        "table_sha256": table_digest(table),
    }


def manifest_digest(name: str) -> str:
    """Return the SHA-256 of a data set's manifest, which has the hash of each of its files."""
    manifest = resources.files("greencv_core.published").joinpath(f"{name}.sha256")
    return hashlib.sha256(manifest.read_bytes()).hexdigest()


def table_digest(table: pd.DataFrame) -> str:
    """Return the SHA-256 of a table's values."""
    return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()


def read_metadata(path: Path) -> dict[str, Any]:
    """Return what a bundle states about itself; errors as :func:`read_evidence`."""
    return _read(path, None)[1]


def read_evidence(path: Path, name: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the runs table of a data set, and what the bundle states about itself.

    Raises
    ------
    BadInputError
        The file is missing, damaged or not such a bundle, or does not have the data set.
    """
    table, metadata = _read(path, name)
    if name not in metadata["sources"]:
        raise BadInputError(f"{safe_line(path)}: has no data set {name}")
    source = metadata["sources"][name]
    runs = table[table["source"] == name].reset_index(drop=True)
    runs = typed(runs.reindex(columns=source["columns"]))
    if table_digest(runs) != source["table_sha256"]:
        raise BadInputError(f"{safe_line(path)}: the runs of {name} do not match their hash")
    return runs.rename(columns={"contended": "disturbed"}), metadata  # of earlier bundles


def _read(path: Path, name: str | None) -> tuple[pd.DataFrame, dict[str, Any]]:
    import pyarrow.parquet as pq

    if not path.is_file():
        raise BadInputError(f"{safe_line(path)}: this file does not exist")
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        metadata = json.loads((file.metadata.metadata or {})[KEY])
        version = metadata["format_version"]
        if version != FORMAT_VERSION:
            raise BadInputError(
                f"{safe_line(path)}: has format {safe_line(version)}; this greencv reads "
                f"{FORMAT_VERSION}"
            )
        table = file.read().to_pandas() if name else pd.DataFrame()
    except BadInputError:
        raise
    except KeyError as error:
        raise BadInputError(
            f"{safe_line(path)}: not a bundle of published data (no {safe_line(error)} in its "
            "metadata); greencv evidence bundle writes one"
        ) from error
    except Exception as error:  # the bytes may come from anybody
        raise BadInputError(
            f"{safe_line(path)}: cannot be read as Parquet: {safe_line(error)}"
        ) from error
    return table, metadata
