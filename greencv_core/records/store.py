"""The store of run records: save, load, list and resume."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from greencv_core.records.backends import open_backend
from greencv_core.records.backends.base import Stamp, StoreNotFoundError, UnreadableError
from greencv_core.records.backends.bundle import BundleFile
from greencv_core.records.columns import RUNS_COLUMNS
from greencv_core.records.record import SCHEMA_VERSION, RunRecord
from greencv_core.records.tables import table_row
from greencv_core.utils.errors import BadInputError, GreencvError
from greencv_core.utils.secrets import safe_line

READABLE_VERSIONS = (1, 2, 3, 4, 5)
"""Version 1 tells no uncertainties; 1 and 2 tell of no stages, no weights, no reason of the end; of
runs that were stopped by a forecast, 4 and 5; of the computer that made it, 5 alone."""
DAMAGED = "damaged"
"""Folder in the store of files that were in it and are no records."""
SNAPSHOT_BYTES = 256 << 20
"""Size of the files whose records a snapshot holds in memory, at most."""


@dataclass(frozen=True)
class Damaged:
    """A file of the store that gives no record, and why."""

    where: str
    reason: str
    unreadable: bool = False
    """Whether it may hold a record, but cannot be read here and now."""
    newer: int | None = None
    """The version of a record that a newer greencv wrote."""

    @property
    def lost(self) -> bool:
        """Whether no greencv would find a record in it."""
        return not self.unreadable and self.newer is None


class Store:
    """Run records, ``<run id>.json`` each, in a folder or where a URL leads to.

    A record is there whole or not at all, whoever looks and whenever the power fails; many may
    write at the same time.

    Parameters
    ----------
    location
        The path of a folder, shared or not, or a URL that fsspec knows: ``s3://bucket/prefix``.
        Or the path of a bundle, from which records are read alone: ``study.parquet``.
    """

    def __init__(self, location: str | Path) -> None:
        self._backend = open_backend(location)

    def __reduce__(self) -> tuple[type[Store], tuple[str | Path]]:
        return Store, (self.location,)

    @property
    def where(self) -> str:
        """Where the store is, for people; without credentials."""
        return self._backend.where

    @property
    def location(self) -> str | Path:
        """Where the store is, for another process."""
        return self._backend.location

    @property
    def is_bundle(self) -> bool:
        """Whether the store is a bundle: the runs of one study, and nothing is written to them."""
        return isinstance(self._backend, BundleFile)

    @property
    def identity(self) -> str:
        """What is the same for all names of this store."""
        return self._backend.identity()

    def where_of(self, run_id: str) -> str:
        """Return where the record of a run is, or would be, for people."""
        return self._backend.where_of(_file_of(run_id))

    def prepare(self) -> list[Damaged]:
        """Make the store ready to be written to; return the damaged files that were moved aside.

        They are in its folder ``damaged``. What cannot be read stays where it is.

        Raises
        ------
        BadInputError
            The store cannot be written to, or a newer greencv wrote some of its records.
        GreencvError
            A server does not answer.
        """
        moved = []
        for entry in self.check_writable():
            if entry.lost:
                name = entry.where.rpartition("/")[2]
                moved.append(Damaged(self._backend.move(name, DAMAGED), entry.reason))
        return moved

    def check_writable(self) -> list[Damaged]:
        """Make sure that the store can be written to; return its damaged files, left in place.

        Raises
        ------
        GreencvError
            See :meth:`prepare`.
        """
        self._backend.prepare()
        damaged = [entry for entry in self.records() if isinstance(entry, Damaged)]
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
        self._backend.check_space()

    def write(self, record: RunRecord) -> None:
        """Write a record; it replaces an earlier one of the same run, unless that is worth more.

        A failure replaces no success, nor an incomplete reading a complete one; a run that a
        forecast stopped is worth more than one that failed.

        Raises
        ------
        GreencvError
            The store cannot be written to, the disk is full, or a newer greencv wrote a record of
            this run; nothing is left half written.
        """
        name, content = _file_of(record.run_id), record.model_dump_json().encode()
        earlier = self.load(record.run_id)
        # Of two that are first at the same time, one is told so, and looks at the other's.
        if earlier is None:
            if self._backend.create(name, content):
                return
            earlier = self.load(record.run_id)
        if isinstance(earlier, Damaged) and earlier.newer is not None:
            raise GreencvError(
                f"{earlier.where}: was written by a newer greencv and is not replaced: update "
                "greencv or name another store"
            )
        if isinstance(earlier, RunRecord) and quality(earlier) > quality(record):
            return
        self._backend.write(name, content)

    def write_file(self, name: str, content: bytes) -> None:
        """Write a file of the store, whole or not at all.

        Raises
        ------
        GreencvError
            See :meth:`write`.
        """
        self._backend.write(name, content)

    def read(self, run_id: str) -> RunRecord | None:
        """Return the record of a run, or None where there is none that can be used."""
        loaded = self.load(run_id)
        return loaded if isinstance(loaded, RunRecord) else None

    def load(self, run_id: str) -> RunRecord | Damaged | None:
        """Return the record of a run, why its file holds none, or None where there is no file."""
        return next(self.load_all([run_id]), None)

    def read_bytes(self, run_id: str) -> bytes | None:
        """Return the file of a run as it is; None where there is none.

        Raises
        ------
        UnreadableError
            It is there, but cannot be read.
        """
        return self._backend.read(_file_of(run_id))

    def stamps(self) -> dict[str, Stamp]:
        """Return what tells when the file of a run has changed, by the run's id."""
        try:
            found = self._backend.stamps()
        except StoreNotFoundError:
            return {}
        return {name.removesuffix(".json"): stamp for name, stamp in found.items()}

    def check_readable(self) -> None:
        """Raise :class:`BadInputError` where there is no store that can be read."""
        self._backend.stamps()

    def run_ids(self) -> list[str]:
        """Return the ids of the runs that the store has a file of, damaged ones included."""
        return sorted(self.stamps())

    def records(self) -> Iterator[RunRecord | Damaged]:
        """Return every record, and what lies in the store but is none."""
        return self.load_all(self.run_ids())

    def load_all(self, run_ids: Iterable[str]) -> Iterator[RunRecord | Damaged]:
        """Return the records of some runs, and why a file holds none; absent ones are left out."""
        for _, parsed in self._parsed(run_ids):
            yield parsed if isinstance(parsed, Damaged) else parsed[0]

    def table_rows(self, run_ids: Iterable[str]) -> Iterator[dict[str, Any] | Damaged]:
        """Return, as :meth:`load_all` does, the runs table's rows of the records."""
        for _, parsed in self._parsed(run_ids):
            yield parsed if isinstance(parsed, Damaged) else parsed[1]

    def _parsed(self, run_ids: Iterable[str]) -> Iterator[tuple[str, _Parsed | Damaged]]:
        for name, written in self._backend.read_all(_file_of(run_id) for run_id in run_ids):
            run_id = name.removesuffix(".json")
            if isinstance(written, UnreadableError):
                reason = safe_line(f"cannot be read: {written}")
                yield run_id, Damaged(self.where_of(run_id), reason, unreadable=True)
            elif written is not None:
                parsed = _parse(name, written)
                if isinstance(parsed, Damaged):
                    parsed = replace(parsed, where=self.where_of(run_id))
                yield run_id, parsed


class StoreSnapshot(Store):
    """A store that reads each record once, and again only when its file has changed.

    Every listing (:meth:`stamps`) finds new and changed files. Of a store with more than
    :data:`SNAPSHOT_BYTES` of records, the rest is read again each time.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._backend = store._backend
        self._listing: dict[str, Stamp] | None = None
        self._known: dict[str, _Parsed | Damaged] = {}
        self._bytes_left = SNAPSHOT_BYTES

    def stamps(self) -> dict[str, Stamp]:
        """List the files of the store, and forget the records whose files have changed."""
        listing, earlier = super().stamps(), self._listing or {}
        for run_id in list(self._known):
            if run_id not in listing or listing[run_id].text != earlier[run_id].text:
                self._forget(run_id)
        self._listing = listing
        return listing

    def write(self, record: RunRecord) -> None:
        """Write a record as :meth:`Store.write` does; the next listing finds it."""
        self._store.write(record)
        self._forget(record.run_id)
        if self._listing is not None:
            self._listing.pop(record.run_id, None)

    def _parsed(self, run_ids: Iterable[str]) -> Iterator[tuple[str, _Parsed | Damaged]]:
        listing = self.stamps() if self._listing is None else self._listing
        listed = [run_id for run_id in run_ids if run_id in listing]
        for known, group in itertools.groupby(listed, key=self._known.__contains__):
            if known:
                yield from [(run_id, self._known[run_id]) for run_id in group]
                continue
            for run_id, parsed in super()._parsed(list(group)):
                if listing[run_id].size <= self._bytes_left:
                    self._known[run_id] = parsed
                    self._bytes_left -= listing[run_id].size
                yield run_id, parsed

    def _forget(self, run_id: str) -> None:
        if self._known.pop(run_id, None) is not None and self._listing is not None:
            self._bytes_left += self._listing[run_id].size


def _file_of(run_id: str) -> str:
    return f"{run_id}.json"


def quality(record: RunRecord) -> tuple[int, bool]:
    """Return what makes a record better than another one of the same run: more is better."""
    return ("failed", "stopped", "finished").index(record.status), record.complete


def parse_record(where: str, written: bytes) -> RunRecord | Damaged:
    """Return the record that a file's bytes are, or why they are none; never an error.

    Parameters
    ----------
    where
        The file's place, which ends in the run's id and ``.json``.
    """
    parsed = _parse(where, written)
    return parsed if isinstance(parsed, Damaged) else parsed[0]


_Parsed = tuple[RunRecord, dict[str, Any]]
"""A record and its row of the runs table."""


def _parse(where: str, written: bytes) -> _Parsed | Damaged:
    try:
        content = _content(written)
    except (ValueError, RecursionError) as error:
        return Damaged(where, safe_line(f"not a JSON file: {error}"))
    version = content.get("schema_version") if isinstance(content, dict) else None
    if type(version) is not int or version not in READABLE_VERSIONS:
        known = f"{READABLE_VERSIONS[0]} to {READABLE_VERSIONS[-1]}"
        newer = version if type(version) is int and version > SCHEMA_VERSION else None
        reason = safe_line(f"record version {str(version)[:40]}; this greencv reads {known}")
        return Damaged(where, reason, newer=newer)
    try:
        record = RunRecord.model_validate(content)
        flaw = _flaw(record)
        row = {} if flaw else table_row(record)
        flaw = flaw or _flaw_of_row(row)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        return Damaged(where, safe_line(f"{field}: {first['msg']}"))
    except (RecursionError, OverflowError, ArithmeticError) as error:
        return Damaged(where, safe_line(f"holds a figure that is none: {error}"))
    if flaw is None and f"{record.run_id}.json" != where.rpartition("/")[2]:
        flaw = f"holds the record of run {record.run_id}"
    return (record, row) if flaw is None else Damaged(where, safe_line(flaw))


def _content(written: bytes) -> Any:
    """Return what JSON says; a name that is there twice is an error, as is half a character."""
    content = from_json(written, allow_inf_nan=False)
    # The fast parser keeps the last of them, and does not write again what it read then. Where
    # more is different, as blanks are and the forms of figures, the slow parser decides.
    if to_json(content) != written:
        json.loads(written, object_pairs_hook=_once)
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a name is there twice")
    return content


def _flaw(record: RunRecord) -> str | None:
    """Return what is wrong with a record whose fields are each as they should be."""
    if not isinstance(record.environment.get("name"), str):
        return "environment.name: there is none"
    if record.epochs and record.final_epoch is not None:
        last = len(record.epochs)
        if not 0 <= record.final_epoch <= last:
            return f"final_epoch: {record.final_epoch}, where epochs are 1 to {last}"
    if record.trace is not None:
        times, powers = record.trace.time_s, record.trace.power_w
        if {c: len(t) for c, t in times.items()} != {c: len(p) for c, p in powers.items()}:
            return "trace: not a power for each time"
    return None


def _flaw_of_row(row: dict[str, Any]) -> str | None:
    for name, value in row.items():
        if value is None:
            continue
        if type(value) is not _TYPES[name]:
            return f"{name}: not of type {RUNS_COLUMNS[name].kind}"
        if type(value) is int and abs(value) > _LARGEST:
            return f"{name}: a number that is too large"
    return None


_TYPES = {name: column.type for name, column in RUNS_COLUMNS.items()}
_LARGEST = 2**63 - 1
"""The largest integer that tables and their files can hold."""
