"""A bundle: the runs of one study, packed into one Parquet file with the study itself; read here.

It is a place like a folder of records, but read-only. :mod:`greencv_core.records.pack` makes one.

A bundle may be of any origin. All that is read of one has a bound, and a file that is no bundle is
told in one line; whether a record in it is one is decided as for a record in a folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from greencv_core.records.backends.base import Stamp, UnreadableError
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.paths import PROJECT_ROOT
from greencv_core.utils.secrets import safe_line

SUFFIX = ".parquet"
FORMAT_VERSION = 1
KEY = b"greencv"
"""Of the entry in the file's metadata that makes it a bundle: a JSON object."""
RUN_ID, RECORD = "run_id", "record"
"""The columns that make a store: a run's id, and its record, byte for byte."""

LARGEST_FILE_BYTES = 512 << 20
LARGEST_CONTENT_BYTES = 1 << 30
"""Of all the records of a bundle together, unpacked."""
LARGEST_ABOUT_BYTES = 1 << 20
"""Of what a bundle says about itself, its study included."""
LARGEST_TEXT_BYTES = 8 << 20
"""Of any text in the file's frame."""
MOST_PARTS = 100_000
"""Runs of a bundle, and parts of the file's frame."""

_NAME = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True)
class BundleMetadata:
    """What a bundle says about itself."""

    study: str
    """The study's file: YAML."""
    study_name: str
    greencv_version: str
    """Which packed it."""
    licence: str
    """Of the data: an SPDX identifier."""
    runs: int
    columns: Mapping[str, str]
    """What each column of the file means, with its unit."""


def is_bundle(location: object) -> bool:
    """Return whether a location is a bundle's: a path that ends in ``.parquet``, and no folder."""
    return (
        isinstance(location, str | Path)
        and "://" not in str(location)
        and str(location).lower().endswith(SUFFIX)
        and not os.path.isdir(location)
    )


def read_metadata(path: Path) -> BundleMetadata:
    """Return what a bundle says about itself.

    Raises
    ------
    BadInputError
        It is absent, cannot be read, or is no bundle.
    """
    with _edge(path):
        return _read_metadata(_opened(path), path)


def study_digest(study: str) -> str:
    """Return the SHA-256 of a study's text: the file's frame, where it is, has no checksum."""
    return hashlib.sha256(study.encode(errors="replace")).hexdigest()


def shipped_bundles() -> dict[str, Path]:
    """Return the bundles that come with the project, by the name of their study.

    Raises
    ------
    BadInputError
        A file there is none.
    """
    paths = sorted((PROJECT_ROOT / "bundles").glob(f"*{SUFFIX}"))
    return {read_metadata(path).study_name: path for path in paths}


class BundleFile:
    """The records of a bundle, side by side as the files of a folder are; nothing is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.where = str(path)

    @property
    def location(self) -> Path:
        """The bundle's path."""
        return self.path

    def identity(self) -> str:
        """Return the bundle's path without links."""
        return os.path.realpath(self.path)

    def where_of(self, name: str) -> str:
        """Return the bundle's path with the record's name as if the bundle were a folder."""
        return f"{self.where}/{name}"

    @cached_property
    def _contents(self) -> dict[str, bytes]:
        return _records(self.path)

    def stamps(self) -> dict[str, Stamp]:
        """Return the digests of what is packed: the same wherever, and whenever, it was packed."""
        return {
            name: Stamp(hashlib.sha256(content).hexdigest(), True, len(content))
            for name, content in self._contents.items()
        }

    def read(self, name: str) -> bytes | None:
        """Return a record's bytes."""
        return self._contents.get(name)

    def read_all(
        self, names: Iterable[str]
    ) -> Iterator[tuple[str, bytes | UnreadableError | None]]:
        """Yield one record after the other."""
        for name in names:
            yield name, self._contents.get(name)

    def write(self, name: str, content: bytes) -> NoReturn:
        """Refuse."""
        self._refuse()

    def create(self, name: str, content: bytes) -> NoReturn:
        """Refuse."""
        self._refuse()

    def check_space(self) -> NoReturn:
        """Refuse."""
        self._refuse()

    def prepare(self) -> NoReturn:
        """Refuse.

        Raises
        ------
        BadInputError
            Always.
        """
        self._refuse()

    def move(self, name: str, folder: str) -> NoReturn:
        """Refuse."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise BadInputError(f"{self.where} is a bundle; nothing is written into one: give a folder")


@contextlib.contextmanager
def _edge(path: Path) -> Iterator[None]:
    """Turn whatever the library makes of bytes of whatever origin into one line."""
    try:
        yield
    except BadInputError:
        raise
    except Exception as error:
        raise _no_bundle(path, f"cannot be read as Parquet: {safe_line(error)}") from error


def _opened(path: Path) -> Any:
    """Return pyarrow's view of a Parquet file, of which it has read the frame alone."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.ParquetFile(
        pa.BufferReader(_bytes_of(path)),
        thrift_string_size_limit=LARGEST_TEXT_BYTES,
        thrift_container_size_limit=MOST_PARTS,
        page_checksum_verification=True,
    )


def _bytes_of(path: Path) -> bytes:
    try:
        # A pipe that nobody writes to would keep us waiting.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise _no_bundle(path, "no file")
            written = file.read(LARGEST_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise BadInputError(f"{safe_line(path)}: there is no such bundle") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or safe_line(error)
        raise BadInputError(f"{safe_line(path)}: cannot be read: {reason}") from error
    if len(written) > LARGEST_FILE_BYTES:
        raise _no_bundle(path, f"larger than {LARGEST_FILE_BYTES >> 20} MiB")
    return written


def _read_metadata(file: Any, path: Path) -> BundleMetadata:
    stated = (file.metadata.metadata or {}).get(KEY)
    if stated is None:
        raise _no_bundle(path, "its metadata say nothing of greencv; greencv bundle makes one")
    if len(stated) > LARGEST_ABOUT_BYTES:
        raise _no_bundle(path, "what it says about itself is too long")
    try:
        content = json.loads(stated)
    except (ValueError, RecursionError) as error:
        raise _no_bundle(path, f"its metadata are no JSON: {safe_line(error)}") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if type(version) is int and version > FORMAT_VERSION:
        raise BadInputError(
            f"{safe_line(path)}: was packed by a newer greencv (format {version}; this one reads "
            f"{FORMAT_VERSION}): update greencv"
        )
    if version != FORMAT_VERSION:
        raise _no_bundle(path, "its metadata name no format")
    kinds = {
        "study": str, "study_name": str, "greencv_version": str, "licence": str, "runs": int,
        "columns": dict,
    }  # fmt: skip
    for field, kind in kinds.items():
        if type(content.get(field)) is not kind:
            raise _no_bundle(path, f"its metadata lack {field}")
    if content.get("study_sha256") != study_digest(content["study"]):
        raise _no_bundle(path, "damaged: its study is not the one that was packed")
    if file.metadata.num_rows != content["runs"]:
        raise _no_bundle(path, f"{file.metadata.num_rows} runs, where it says {content['runs']}")
    return BundleMetadata(**{field: content[field] for field in kinds})


def _records(path: Path) -> dict[str, bytes]:
    """Return the records in a bundle by their files' names."""
    records: dict[str, bytes] = {}
    size = 0
    with _edge(path):
        file = _opened(path)
        _read_metadata(file, path)
        _check_columns(file, path)
        # Row by row: what is packed into few bytes never lies unpacked in memory at once.
        for batch in file.iter_batches(batch_size=1, columns=[RUN_ID, RECORD], use_threads=False):
            for run_id, record in zip(*(batch[name].to_pylist() for name in _COLUMNS), strict=True):
                if run_id is None or not _NAME.fullmatch(run_id):
                    raise _no_bundle(path, f"row {len(records) + 1} names no run")
                if record is None:
                    raise _no_bundle(path, f"run {run_id} has no record")
                name = f"{run_id}.json"
                if name in records:
                    raise _no_bundle(path, f"run {run_id} is there twice")
                size += len(record)
                if size > LARGEST_CONTENT_BYTES:
                    raise _too_much(path)
                records[name] = record
    return records


_COLUMNS = (RUN_ID, RECORD)


def _check_columns(file: Any, path: Path) -> None:
    """Refuse what is no table of runs, or says itself that it is too large to be read."""
    import pyarrow as pa

    kinds = {RUN_ID: (pa.string(), pa.large_string()), RECORD: (pa.binary(), pa.large_binary())}
    for name, allowed in kinds.items():
        place = file.schema_arrow.get_field_index(name)
        if place < 0 or file.schema_arrow.field(place).type not in allowed:
            raise _no_bundle(path, f"no column {name} of {allowed[0]} values")
    if file.metadata.num_rows > MOST_PARTS:
        raise _no_bundle(path, f"more than {MOST_PARTS} runs")
    # Of the groups alone: pyarrow ends the process over a column's metadata that are damaged.
    groups = (file.metadata.row_group(number) for number in range(file.metadata.num_row_groups))
    if sum(group.total_byte_size for group in groups) > LARGEST_CONTENT_BYTES:
        raise _too_much(path)


def _no_bundle(path: Path, reason: str) -> BadInputError:
    return BadInputError(f"{safe_line(path)}: not a bundle: {reason}")


def _too_much(path: Path) -> BadInputError:
    return _no_bundle(path, f"its records take more than {LARGEST_CONTENT_BYTES >> 20} MiB")
