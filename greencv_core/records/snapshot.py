"""A store in memory: each record is read once, and again only after its file has changed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from os.path import basename

from greencv_core.records.backends.base import Stamp
from greencv_core.records.record import RunRecord
from greencv_core.records.store import Damaged, RecordFile, RowFile, Store

SNAPSHOT_BYTES = 256 << 20
"""Limit for the files whose records a snapshot keeps in memory."""


class StoreSnapshot(Store):
    """A store whose records are kept in memory.

    Every listing (:meth:`stamps`) finds new and changed files. Of a store with more than
    :data:`SNAPSHOT_BYTES` of records, the rest is read again each time.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._backend = store._backend
        self._listing: dict[str, Stamp] | None = None
        self._known: dict[str, RecordFile | Damaged] = {}
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

    def load_files(self, run_ids: Iterable[str]) -> Iterator[RecordFile | Damaged]:
        """Yield the files of some runs with their records; only unknown ones are read."""
        listing = self.stamps() if self._listing is None else self._listing
        listed = [run_id for run_id in run_ids if run_id in listing]
        for known, group in itertools.groupby(listed, key=self._known.__contains__):
            if known:
                yield from [self._known[run_id] for run_id in group]
                continue
            for loaded in super().load_files(list(group)):
                run_id = basename(loaded.where).removesuffix(".json")
                if listing[run_id].size <= self._bytes_left:
                    self._known[run_id] = loaded
                    self._bytes_left -= listing[run_id].size
                yield loaded

    def load_rows(self, run_ids: Iterable[str]) -> Iterator[RowFile | Damaged]:
        """Yield the files of some runs: their records are kept, too."""
        return self.load_files(run_ids)

    def _forget(self, run_id: str) -> None:
        if self._known.pop(run_id, None) is not None and self._listing is not None:
            self._bytes_left += self._listing[run_id].size
