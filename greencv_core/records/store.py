"""The store of run records: save, load, list and resume."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from os.path import basename
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from greencv_core.records.backends import open_backend
from greencv_core.records.backends.base import Stamp, StoreNotFoundError, UnreadableError
from greencv_core.records.backends.bundle import BundleFile
from greencv_core.records.backends.folder import Folder
from greencv_core.records.backends.object_store import ObjectStore
from greencv_core.records.columns import RUNS_COLUMNS
from greencv_core.records.exact import read_exact
from greencv_core.records.record import SCHEMA_VERSION, RunRecord
from greencv_core.records.tables import table_row
from greencv_core.utils.errors import BadInputError, GreencvError
from greencv_core.utils.secrets import safe_line

READABLE_VERSIONS = (1, 2, 3, 4, 5, 6, 7, 8, 9)
"""Version 2 added uncertainties; 3 stages, weights and the reason of the end; 4 runs that a
forecast stopped; 5 the hash of the computer's name; 6 the session; 7 the answers on
the validation images; 8 the energy at the wall; 9 the number of tries and OpenMP's waiting."""
SUPERSEDED = "superseded"
"""Subfolder of the store for records of runs that were made again, and that do not count."""
DAMAGED = "damaged"
"""Subfolder of the store for files that contain no valid record."""


@dataclass(frozen=True)
class Damaged:
    """A file of the store that contains no valid record."""

    where: str
    """Path or URL."""
    reason: str
    unreadable: bool = False
    """Whether the file cannot be read, so that it may contain a record."""
    newer: int | None = None
    """Schema version of a record that a newer greencv wrote."""

    @property
    def lost(self) -> bool:
        """Whether no version of greencv can find a record in the file."""
        return not self.unreadable and self.newer is None


@dataclass(frozen=True)
class RowFile:
    """A file of the store with a valid record, of which only the row is kept."""

    where: str
    """Path or URL."""
    row: dict[str, Any]
    """Row of the runs table."""


@dataclass(frozen=True)
class RecordFile(RowFile):
    """A file of the store with a valid record."""

    content: bytes
    record: RunRecord

    @cached_property
    def canonical(self) -> str:
        """Content of the file, independent of the order of its keys."""
        return json.dumps(json.loads(self.content), sort_keys=True)


File = TypeVar("File", bound=RowFile)


class Store:
    """Run records, ``<run id>.json`` each, in a folder, an object store or a bundle.

    The location is the path of a folder, shared or not, a URL that fsspec can open
    (``s3://bucket/prefix``), or the path of a bundle, which is read-only (``study.parquet``). A
    record is written completely or not at all, even if the power fails, and several processes may
    write at the same time.
    """

    def __init__(self, location: str | Path) -> None:
        self._backend = open_backend(location)

    def __reduce__(self) -> tuple[type[Store], tuple[str | Path]]:
        return Store, (self.location,)

    @property
    def where(self) -> str:
        """Path or URL to print, without credentials."""
        return self._backend.where

    @property
    def location(self) -> str | Path:
        """Path or URL to pass to another process."""
        return self._backend.location

    @property
    def is_bundle(self) -> bool:
        """Whether the store is a bundle: read-only, with the runs of one study."""
        return isinstance(self._backend, BundleFile)

    @property
    def identity(self) -> str:
        """A text that is the same for all names of this store."""
        return self._backend.identity()

    def where_of(self, run_id: str) -> str:
        """Return the path or URL of the record of a run, whether it exists or not."""
        return self._backend.where_of(f"{run_id}.json")

    @property
    def _writable(self) -> Folder | ObjectStore:
        if isinstance(self._backend, BundleFile):
            raise BadInputError(f"{self.where} is a bundle, which is read-only: name a folder")
        return self._backend

    def prepare(self) -> list[Damaged]:
        """Check that the store can be written to; move damaged files into a subfolder.

        Returns the moved files at their new location. Files that cannot be read stay where they
        are.
        """
        return [
            Damaged(self._writable.move(basename(entry.where), DAMAGED), entry.reason)
            for entry in self.check_writable()
            if entry.lost
        ]

    def check_writable(self) -> list[Damaged]:
        """Check that the store can be written to; return its damaged files, left in place.

        A store with records of a newer greencv raises :class:`BadInputError`, too.
        """
        self._writable.prepare()
        damaged = [file for file in self.load_rows(self.run_ids()) if isinstance(file, Damaged)]
        newer = [entry.newer for entry in damaged if entry.newer is not None]
        if newer:
            were = "record was" if len(newer) == 1 else "records were"
            raise BadInputError(
                f"{self.where}: {len(newer)} {were} written by a newer greencv (schema "
                f"{max(newer)}; this one reads {READABLE_VERSIONS[0]} to {READABLE_VERSIONS[-1]}): "
                "update greencv or name another store"
            )
        return damaged

    def check_space(self) -> None:
        """Raise :class:`GreencvError` if there is no space for the record of one more run."""
        self._writable.check_space()

    def write(self, record: RunRecord) -> None:
        """Write a record, unless the store has a better one of the same run.

        A finished run is better than a stopped one, that better than a failed one, and a complete
        reading better than an incomplete one. Of a disturbed run and the one that is to replace it,
        the one that does not count goes into the subfolder ``superseded``. An error leaves no
        incomplete file.
        """
        backend, name = self._writable, f"{record.run_id}.json"
        content = record.model_dump_json().encode()
        earlier = self.load_file(record.run_id)
        if earlier is None:
            if backend.create(name, content):
                return
            earlier = self.load_file(record.run_id)  # written by another process in the meantime
        if isinstance(earlier, Damaged) and earlier.newer is not None:
            raise GreencvError(
                f"{earlier.where}: was written by a newer greencv and is not replaced: update "
                "greencv or name another store"
            )
        stays = isinstance(earlier, RecordFile) and quality(earlier.record) > quality(record)
        if isinstance(earlier, RecordFile) and earlier.record.disturbed:
            self.keep_superseded(record.run_id, content if stays else earlier.content)
        if not stays:
            backend.write(name, content)

    def keep_superseded(self, run_id: str, content: bytes) -> None:
        """Keep the record of a run that does not count, in a subfolder."""
        digest = hashlib.sha256(content).hexdigest()[:8]
        self.write_file(f"{SUPERSEDED}/{run_id}-{digest}.json", content)

    def write_file(self, name: str, content: bytes) -> None:
        """Write a file of the store, completely or not at all; raise :class:`GreencvError`."""
        self._writable.write(name, content)

    def read(self, run_id: str) -> RunRecord | None:
        """Return the record of a run, or None if there is no valid one."""
        loaded = self.load_file(run_id)
        return loaded.record if isinstance(loaded, RecordFile) else None

    def load_file(self, run_id: str) -> RecordFile | Damaged | None:
        """Return the file of a run with its record, or None if there is no file."""
        return next(self.load_files([run_id]), None)

    def stamps(self) -> dict[str, Stamp]:
        """Return the version of each run's file, by run id; empty if the store does not exist."""
        try:
            return self._backend.stamps()
        except StoreNotFoundError:
            return {}

    def check_readable(self) -> None:
        """Raise :class:`BadInputError` if there is no store that can be read."""
        self._backend.stamps()

    def run_ids(self) -> list[str]:
        """Return the ids of the runs that have a file, including damaged files."""
        return sorted(self.stamps())

    def records(self) -> Iterator[RunRecord | Damaged]:
        """Yield every record and every damaged file."""
        return self.load_all(self.run_ids())

    def load_all(self, run_ids: Iterable[str]) -> Iterator[RunRecord | Damaged]:
        """Yield the records of some runs, and their damaged files; missing ones are left out."""
        for loaded in self.load_files(run_ids):
            yield loaded if isinstance(loaded, Damaged) else loaded.record

    def load_files(self, run_ids: Iterable[str]) -> Iterator[RecordFile | Damaged]:
        """Yield the files of some runs with their records; missing ones are left out."""
        return self._load(run_ids, parse_file)

    def load_rows(self, run_ids: Iterable[str]) -> Iterator[RowFile | Damaged]:
        """Yield the rows of some runs in less than half the time; missing ones are left out."""
        return self._load(run_ids, parse_row)

    def _load(
        self, run_ids: Iterable[str], parse: Callable[[str, bytes], File | Damaged]
    ) -> Iterator[File | Damaged]:
        for name, content in self._backend.read_all(f"{run_id}.json" for run_id in run_ids):
            where = self._backend.where_of(name)
            if isinstance(content, UnreadableError):
                yield Damaged(where, safe_line(f"cannot be read: {content}"), unreadable=True)
            elif content is not None:
                yield parse(where, content)


def quality(record: RunRecord) -> tuple[int, bool]:
    """Return a rank by which records of the same run are compared; higher is better."""
    return ("failed", "stopped", "finished").index(record.status), record.complete


def parse_row(where: str, content: bytes) -> RowFile | Damaged:
    """Return a file with its row as :func:`parse_file` does, in less than half the time."""
    record = read_exact(content)
    if record is not None and basename(where) == f"{record.run_id}.json" and not _defect(record):
        with contextlib.suppress(ArithmeticError, RecursionError):
            row = table_row(record)
            if _defect_of_row(row) is None:
                return RowFile(where, row)
    return parse_file(where, content)


def parse_file(where: str, content: bytes) -> RecordFile | Damaged:
    """Return a file with its record and row; ``where`` ends in the run's id and ``.json``."""
    try:
        data = _parse_json(content)
    except (ValueError, RecursionError) as error:
        return Damaged(where, safe_line(f"not a JSON file: {error}"))
    version = data.get("schema_version") if isinstance(data, dict) else None
    if type(version) is not int or version not in READABLE_VERSIONS:
        known = f"{READABLE_VERSIONS[0]} to {READABLE_VERSIONS[-1]}"
        newer = version if type(version) is int and version > SCHEMA_VERSION else None
        reason = safe_line(f"record version {str(version)[:40]}; this greencv reads {known}")
        return Damaged(where, reason, newer=newer)
    try:
        record = RunRecord.model_validate(data)
        defect = _defect(record)
        row = {} if defect else table_row(record)
        defect = defect or _defect_of_row(row)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        return Damaged(where, safe_line(f"{field}: {first['msg']}"))
    except (RecursionError, OverflowError, ArithmeticError) as error:
        return Damaged(where, safe_line(f"contains an invalid number: {error}"))
    if defect is None and basename(where) != f"{record.run_id}.json":
        defect = f"contains the record of run {record.run_id}"
    if defect is not None:
        return Damaged(where, safe_line(defect))
    return RecordFile(where, row, content, record)


def _parse_json(content: bytes) -> Any:
    """Parse JSON; a repeated key or half of a surrogate pair is an error."""
    data = from_json(content, allow_inf_nan=False)
    # The fast parser accepts both, but then does not write the same bytes again. The slow parser
    # decides, because spaces and the notation of numbers differ, too.
    if to_json(data) != content:
        json.loads(content, object_pairs_hook=_unique_keys)
    return data


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        raise ValueError("a key occurs twice")
    return data


def _defect(record: RunRecord) -> str | None:
    """Return what is wrong between the fields of a record, each of which is valid."""
    if not isinstance(record.environment.get("name"), str):
        return "environment.name: missing"
    if record.epochs and record.final_epoch is not None:
        last = len(record.epochs)
        if not 0 <= record.final_epoch <= last:
            return f"final_epoch: {record.final_epoch}, but epochs are 1 to {last}"
    if record.trace is not None:
        times, powers = record.trace.time_s, record.trace.power_w
        if {c: len(t) for c, t in times.items()} != {c: len(p) for c, p in powers.items()}:
            return "trace: times and powers differ in number"
    return None


def _defect_of_row(row: dict[str, Any]) -> str | None:
    for name, value in row.items():
        kind = type(value)
        if kind is _TYPES[name]:
            if kind is int and abs(value) >= 2**63:  # the limit of the tables and their files
                return f"{name}: too large a number"
        elif value is not None:
            return f"{name}: not of type {RUNS_COLUMNS[name].kind}"
    return None


_TYPES = {name: column.type for name, column in RUNS_COLUMNS.items()}
