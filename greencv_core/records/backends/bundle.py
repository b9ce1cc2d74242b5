"""A read-only store: the runs of one study and the study itself in one Parquet file.

:mod:`greencv_core.records.pack` writes bundles. A bundle may come from anybody, so everything that
is read has a size limit, and a file that is not a bundle gives an error message of one line.
Records are validated as those of a folder are.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from greencv_core.records.backends.base import Backend, Stamp, UnreadableError, read_regular_file
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.paths import PROJECT_ROOT
from greencv_core.utils.secrets import safe_line

SUFFIX = ".parquet"
PUBLISHED_BUNDLE = "published.parquet"
"""File among the project's bundles with others' measurements, which holds no study."""
FORMAT_VERSION = 1
KEY = b"greencv"
"""Key of the bundle's metadata, a JSON object, in the metadata of the Parquet file."""
RUN_ID, RECORD = "run_id", "record"
"""Columns that the store reads: the run id, and the record byte for byte."""

MAX_FILE_BYTES = 512 << 20
MAX_RECORDS_BYTES = 1 << 30
"""Limit for all records of a bundle together, decompressed."""
MAX_METADATA_BYTES = 1 << 20
"""Limit for the bundle's metadata, which contain the study."""
MAX_TEXT_BYTES = 8 << 20
"""Limit for each text in the metadata of the Parquet file."""
MAX_PARTS = 100_000
"""Limit for the runs of a bundle, and for each list in the metadata of the Parquet file."""

_RUN_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True)
class BundleMetadata:
    """What a bundle states about itself."""

    study: str
    """The study file, as YAML."""
    study_name: str
    greencv_version: str
    """Version that packed the bundle."""
    licence: str
    """SPDX identifier of the licence of the data."""
    runs: int
    columns: dict[str, str]
    """Description of each column of the file, with its unit."""


def is_bundle(location: object) -> bool:
    """Return whether a location is a path that ends in ``.parquet`` and is not a folder."""
    return (
        isinstance(location, str | Path)
        and "://" not in str(location)
        and str(location).lower().endswith(SUFFIX)
        and not os.path.isdir(location)
    )


def read_metadata(path: Path) -> BundleMetadata:
    """Return the metadata of a bundle; other files raise :class:`BadInputError`."""
    with _parquet_errors(path):
        return _metadata(_open(path), path)


def study_digest(study: str) -> str:
    """Return the SHA-256 of a study's text; Parquet has no checksum of its metadata."""
    return hashlib.sha256(study.encode(errors="replace")).hexdigest()


def shipped_bundles() -> dict[str, Path]:
    """Return the bundles of runs that are part of the project, by the name of their study."""
    paths = sorted((PROJECT_ROOT / "bundles").glob(f"*{SUFFIX}"))
    studies = [path for path in paths if path.name != PUBLISHED_BUNDLE]
    return {read_metadata(path).study_name: path for path in studies}


class BundleFile(Backend):
    """The records of a bundle, as if they were files in a folder."""

    location: Path

    def __init__(self, path: Path) -> None:
        self.location = path
        self.where = str(path)

    @cached_property
    def _contents(self) -> dict[str, bytes]:
        return _read_records(self.location)

    def stamps(self) -> dict[str, Stamp]:
        """Return digests, which are the same wherever and whenever the runs were packed."""
        return {
            name.removesuffix(".json"): Stamp(
                hashlib.sha256(content).hexdigest(), True, len(content)
            )
            for name, content in self._contents.items()
        }

    def read(self, name: str) -> bytes | None:
        """Return a record."""
        return self._contents.get(name)


@contextlib.contextmanager
def _parquet_errors(path: Path) -> Iterator[None]:
    """Replace any error of the library by one line: the bytes may come from anybody."""
    try:
        yield
    except BadInputError:
        raise
    except Exception as error:
        raise _not_a_bundle(path, f"cannot be read as Parquet: {safe_line(error)}") from error


def _open(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.ParquetFile(
        pa.BufferReader(_read_file(path)),
        thrift_string_size_limit=MAX_TEXT_BYTES,
        thrift_container_size_limit=MAX_PARTS,
        page_checksum_verification=True,
    )


def _read_file(path: Path) -> bytes:
    try:
        content = read_regular_file(path, MAX_FILE_BYTES + 1)
    except UnreadableError as error:
        raise _not_a_bundle(path, str(error)) from error
    except FileNotFoundError as error:
        raise BadInputError(f"{safe_line(path)}: this bundle does not exist") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or safe_line(error)
        raise BadInputError(f"{safe_line(path)}: cannot be read: {reason}") from error
    if len(content) > MAX_FILE_BYTES:
        raise _not_a_bundle(path, f"larger than {MAX_FILE_BYTES >> 20} MiB")
    return content


def _metadata(file: Any, path: Path) -> BundleMetadata:
    written = (file.metadata.metadata or {}).get(KEY)
    if written is None:
        raise _not_a_bundle(path, "no metadata of greencv; greencv bundle writes bundles")
    if len(written) > MAX_METADATA_BYTES:
        raise _not_a_bundle(path, "its metadata are too long")
    try:
        content = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise _not_a_bundle(path, f"its metadata are not JSON: {safe_line(error)}") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if type(version) is int and version > FORMAT_VERSION:
        raise BadInputError(
            f"{safe_line(path)}: was packed by a newer greencv (format {version}; this one reads "
            f"{FORMAT_VERSION}): update greencv"
        )
    if version != FORMAT_VERSION:
        raise _not_a_bundle(path, "its metadata have no format version")
    kinds = get_type_hints(BundleMetadata)
    for field, kind in kinds.items():
        if type(content.get(field)) is not (get_origin(kind) or kind):
            raise _not_a_bundle(path, f"its metadata have no valid {field}")
    if content.get("study_sha256") != study_digest(content["study"]):
        raise _not_a_bundle(path, "damaged: the study's checksum is wrong")
    rows = file.metadata.num_rows
    if rows != content["runs"]:
        raise _not_a_bundle(path, f"{rows} runs, but its metadata state {content['runs']}")
    return BundleMetadata(**{field: content[field] for field in kinds})


def _read_records(path: Path) -> dict[str, bytes]:
    records: dict[str, bytes] = {}
    size = 0
    with _parquet_errors(path):
        file = _open(path)
        stated = _metadata(file, path).runs
        _check_table(file, path)
        # Row by row: a small file may decompress to more than the memory holds.
        for batch in file.iter_batches(batch_size=1, columns=[RUN_ID, RECORD], use_threads=False):
            for row in batch.to_pylist():
                run_id, record = row[RUN_ID], row[RECORD]
                if run_id is None or not _RUN_ID.fullmatch(run_id):
                    raise _not_a_bundle(path, f"row {len(records) + 1} has no run id")
                if record is None:
                    raise _not_a_bundle(path, f"run {run_id} has no record")
                name = f"{run_id}.json"
                if name in records:
                    raise _not_a_bundle(path, f"run {run_id} occurs twice")
                size += len(record)
                if size > MAX_RECORDS_BYTES:
                    raise _too_large(path)
                records[name] = record
    if len(records) != stated:  # pyarrow reads no row where some bits of a column are damaged
        raise _not_a_bundle(path, f"damaged: {len(records)} of {stated} runs can be read")
    return records


def _check_table(file: Any, path: Path) -> None:
    """Check the columns and the stated size before any row is read."""
    import pyarrow as pa

    kinds = {RUN_ID: (pa.string(), pa.large_string()), RECORD: (pa.binary(), pa.large_binary())}
    for name, allowed in kinds.items():
        index = file.schema_arrow.get_field_index(name)
        if index < 0 or file.schema_arrow.field(index).type not in allowed:
            raise _not_a_bundle(path, f"no column {name} of {allowed[0]} values")
    if file.metadata.num_rows > MAX_PARTS:
        raise _not_a_bundle(path, f"more than {MAX_PARTS} runs")
    # Only of row groups: damaged metadata of a column make pyarrow abort the process.
    groups = (file.metadata.row_group(number) for number in range(file.metadata.num_row_groups))
    if sum(group.total_byte_size for group in groups) > MAX_RECORDS_BYTES:
        raise _too_large(path)


def _not_a_bundle(path: Path, reason: str) -> BadInputError:
    return BadInputError(f"{safe_line(path)}: not a bundle: {reason}")


def _too_large(path: Path) -> BadInputError:
    return _not_a_bundle(path, f"its records take more than {MAX_RECORDS_BYTES >> 20} MiB")
