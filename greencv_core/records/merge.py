"""Stores of several machines become one: the better record of each run, whatever their order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from greencv_core.records.backends.base import UnreadableError, name_in
from greencv_core.records.record import RunRecord
from greencv_core.records.store import Damaged, Store, parse_record, quality
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.secrets import safe_line

SUPERSEDED = "superseded"
"""Folder in the store of the records that it had and that gave way in a conflict."""


@dataclass(frozen=True)
class Conflict:
    """Two records of one run that are worth the same and differ: the run was made twice."""

    run_id: str
    condition: str
    """Architecture and environment, for people."""
    repetition: int
    """From 0, as in the record."""
    kept: str
    other: str
    started_together: bool
    """Whether no start tells which was first, so that the content had to decide."""

    def describe(self) -> str:
        """Say in one line which run it is, which files differ and which one is kept."""
        which = (
            f"both started at the same time, and {self.kept} is kept"
            if self.started_together
            else f"the one started earlier, {self.kept}, is kept"
        )
        return (
            f"run {self.run_id[:8]} ({self.condition}, repetition {self.repetition + 1}) was made "
            f"twice: {self.kept} and {self.other} differ; {which}"
        )


@dataclass(frozen=True)
class Merge:
    """What became of the runs of the sources: their ids, and what a person should look at.

    A run is in one list of ids at most. One is in none where the store's own record and that of
    a source are in conflict: :attr:`conflicts` tells which of them the store has now.
    """

    copied: tuple[str, ...]
    """New in the store."""
    same: tuple[str, ...]
    """In the store already, with the same content."""
    replaced: tuple[str, ...]
    """The store's record was worse, or damaged, and gave way."""
    kept: tuple[str, ...]
    """The store's record is better than those of the sources, and stays."""
    conflicts: tuple[Conflict, ...]
    damaged: tuple[Damaged, ...]
    """Files of the sources that are no records; they are left out."""


@dataclass(frozen=True)
class _Held:
    """A record, the bytes of its file, and its content whatever the order of its keys."""

    where: str
    record: RunRecord
    written: bytes = field(repr=False)
    content: str = field(repr=False)


def merge(sources: Sequence[str | Path], into: Store) -> Merge:
    """Copy the records of other stores into one; of each run the better record is kept.

    A finished run is better than one that a forecast stopped, that better than a failed one, and a
    complete reading better than an incomplete one. Of two that are worth the same, the one that
    started earlier is kept, so that neither the order of the sources nor a repetition changes the
    outcome; the store's own, if it was the later one, goes into its folder ``superseded``. The
    sources stay as they are; a merge that was interrupted is completed by the same merge.

    Raises
    ------
    BadInputError
        A source is absent, no folder, without records, or is the store itself; or the store
        cannot be written to, or holds records of a newer greencv. Nothing is copied then.
    GreencvError
        The disk is full; what was copied before is whole and stays.
    """
    # By what a name leads to: what is wrong with a source that is named twice is told once.
    by_place: dict[str, Store] = {}
    for source in sources:
        store = Store(source)
        by_place.setdefault(store.identity, store)
    stores = list(by_place.values())
    for store in stores:
        _check(store, into)
    copied: list[str] = []
    same: list[str] = []
    replaced: list[str] = []
    kept: list[str] = []
    conflicts: list[Conflict] = []
    damaged: list[Damaged] = []
    into.check_writable()
    for run_id in sorted({run_id for s in stores for run_id in s.run_ids()}):
        found = [_hold(store, run_id) for store in stores]
        damaged += [held for held in found if isinstance(held, Damaged)]
        given = [held for held in found if isinstance(held, _Held)]
        if not given:
            continue
        present = _hold(into, run_id)
        # The store's own first: of two with the same content it stays, and is the one told.
        own = [present] if isinstance(present, _Held) else []
        best, others = _best([*own, *given])
        conflicts += [_conflict(best, other) for other in others]
        if present is None:
            copied.append(run_id)
        elif isinstance(present, Damaged):
            # No record to the store either, which would train that run again.
            replaced.append(run_id)
        elif best.content == present.content:
            if any(held.content == present.content for held in given):
                same.append(run_id)
            elif not others:
                kept.append(run_id)
            continue
        elif quality(best.record) > quality(present.record):
            replaced.append(run_id)
        if isinstance(present, _Held) and present in others:
            # Worth as much: what the store had before is kept aside, not lost.
            aside = f"{SUPERSEDED}/{run_id}-{_digest(present.written)}.json"
            into.write_file(aside, present.written)
        into.write_file(f"{run_id}.json", best.written)
    return Merge(
        copied=tuple(copied),
        same=tuple(same),
        replaced=tuple(replaced),
        kept=tuple(kept),
        conflicts=tuple(conflicts),
        damaged=tuple(damaged),
    )


def _check(source: Store, into: Store) -> None:
    source.check_readable()
    if source.identity == into.identity:
        raise BadInputError(
            f"{source.where}: is the store that is merged into ({into.where}); name others"
        )
    first_damaged = None
    for loaded in source.records():
        if isinstance(loaded, RunRecord):
            return
        first_damaged = first_damaged or loaded
    reason = f"; {name_in(first_damaged.where)}: {first_damaged.reason}" if first_damaged else ""
    raise BadInputError(f"{source.where}: holds no run records{reason}")


def _hold(store: Store, run_id: str) -> _Held | Damaged | None:
    where = store.where_of(run_id)
    try:
        written = store.read_bytes(run_id)
    except UnreadableError as error:
        return Damaged(where, safe_line(f"cannot be read: {error}"), unreadable=True)
    if written is None:
        return None
    record = parse_record(where, written)
    if isinstance(record, Damaged):
        return record
    return _Held(where, record, written, json.dumps(json.loads(written), sort_keys=True))


def _best(held: Sequence[_Held]) -> tuple[_Held, list[_Held]]:
    """Return the record to keep, and one of each other content that is worth as much."""
    most = max(quality(h.record) for h in held)
    # All starts are written in UTC and in one format: their order is that of their texts.
    first_to_last = sorted(
        (h for h in held if quality(h.record) == most),
        key=lambda h: (h.record.started_at, h.content),
    )
    by_content: dict[str, _Held] = {}
    for h in first_to_last:
        by_content.setdefault(h.content, h)
    best, *others = by_content.values()
    return best, others


def _conflict(kept: _Held, other: _Held) -> Conflict:
    record = kept.record
    return Conflict(
        run_id=record.run_id,
        condition=f"{record.architecture} @ {record.environment.get('name')}",
        repetition=record.repetition,
        kept=kept.where,
        other=other.where,
        started_together=record.started_at == other.record.started_at,
    )


def _digest(written: bytes) -> str:
    return hashlib.sha256(written).hexdigest()[:8]
