"""Merge stores: keep the best record of each run, independently of the order of the sources."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from greencv_core.records.backends.base import file_name
from greencv_core.records.record import RunRecord
from greencv_core.records.store import Damaged, RecordFile, Store, quality
from greencv_core.utils.errors import BadInputError

SUPERSEDED = "superseded"
"""Subfolder of the store for its records that lost a conflict."""


@dataclass(frozen=True)
class Conflict:
    """Two different records of one run, equally good: the run was made twice."""

    run_id: str
    condition: str
    """Architecture and environment, to print."""
    repetition: int
    """Number of the repetition, from 0."""
    kept: str
    """Path or URL of the record that is kept."""
    other: str
    """Path or URL of the other record."""
    started_together: bool
    """Whether both runs started at the same time, so that the content decided."""

    def describe(self) -> str:
        """Return one line that names the run, both files and the one that is kept."""
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
    """Outcome of a merge: run ids, conflicts and damaged files.

    Each run is in at most one list of ids. It is in none if the record of the store and that of a
    source are in conflict: see :attr:`conflicts`.
    """

    copied: tuple[str, ...]
    """New in the store."""
    same: tuple[str, ...]
    """In the store before, with the same content."""
    replaced: tuple[str, ...]
    """Replaced in the store, whose record was worse or damaged."""
    kept: tuple[str, ...]
    """Kept in the store, whose record is better than those of the sources."""
    conflicts: tuple[Conflict, ...]
    damaged: tuple[Damaged, ...]
    """Files of the sources that contain no valid record; they are left out."""


class _Candidate:
    """A record to choose from."""

    def __init__(self, file: RecordFile) -> None:
        self.file = file
        self.record = file.record

    @cached_property
    def canonical(self) -> str:
        """Content of the file, independent of the order of its keys."""
        return json.dumps(json.loads(self.file.content), sort_keys=True)


def merge(sources: Sequence[str | Path], into: Store) -> Merge:
    """Copy the records of other stores into one; keep the best record of each run.

    A finished run is better than a stopped one, that better than a failed one, and a complete
    reading better than an incomplete one. Of equally good records, the one that started earlier is
    kept, so that neither the order of the sources nor a repetition changes the outcome. If it
    replaces the store's own record, that is moved into the subfolder ``superseded``. The sources
    stay unchanged; repeating an interrupted merge completes it.

    Raises
    ------
    BadInputError
        A source is missing, not a folder, without records or the store itself; or the store
        cannot be written to or contains records of a newer greencv. Nothing is copied then.
    GreencvError
        The disk is full; records that were copied before are complete and stay.
    """
    by_identity: dict[str, Store] = {}
    for store in map(Store, sources):
        by_identity.setdefault(store.identity, store)  # a source may be named twice
    stores = list(by_identity.values())
    for store in stores:
        _check_source(store, into)
    into.check_writable()
    merger = _Merger(into)
    for run_id in sorted({run_id for store in stores for run_id in store.run_ids()}):
        merger.merge_run(run_id, [store.load_file(run_id) for store in stores])
    return Merge(
        **{name: tuple(run_ids) for name, run_ids in merger.run_ids.items()},
        conflicts=tuple(merger.conflicts),
        damaged=tuple(merger.damaged),
    )


def _check_source(source: Store, into: Store) -> None:
    source.check_readable()
    if source.identity == into.identity:
        raise BadInputError(
            f"{source.where}: is the store that is merged into ({into.where}); name others"
        )
    damaged = None
    for loaded in source.records():
        if isinstance(loaded, RunRecord):
            return
        damaged = damaged or loaded
    reason = f"; {file_name(damaged.where)}: {damaged.reason}" if damaged else ""
    raise BadInputError(f"{source.where}: contains no run records{reason}")


class _Merger:
    """Merges run by run, and collects the outcome."""

    def __init__(self, into: Store) -> None:
        self.into = into
        self.run_ids: dict[str, list[str]] = {
            "copied": [], "same": [], "replaced": [], "kept": []
        }  # fmt: skip
        self.conflicts: list[Conflict] = []
        self.damaged: list[Damaged] = []

    def merge_run(self, run_id: str, loaded: Sequence[RecordFile | Damaged | None]) -> None:
        """Write the best record of one run, unless the store has it."""
        self.damaged += [file for file in loaded if isinstance(file, Damaged)]
        candidates = [_Candidate(file) for file in loaded if isinstance(file, RecordFile)]
        if not candidates:
            return
        present = self.into.load_file(run_id)
        if not isinstance(present, RecordFile):
            # The store would train a run again whose record is damaged.
            best, others = _choose(candidates)
            self._add_conflicts(best, others)
            self.run_ids["copied" if present is None else "replaced"].append(run_id)
            self._write(run_id, best)
            return
        own = _Candidate(present)
        # The store's record comes first: of two with the same content, it is the one to keep.
        best, others = _choose([own, *candidates])
        self._add_conflicts(best, others)
        if best.canonical == own.canonical:
            if any(candidate.canonical == own.canonical for candidate in candidates):
                self.run_ids["same"].append(run_id)
            elif not others:
                self.run_ids["kept"].append(run_id)
            return
        if quality(best.record) > quality(own.record):
            self.run_ids["replaced"].append(run_id)
        else:
            digest = hashlib.sha256(present.content).hexdigest()[:8]
            self.into.write_file(f"{SUPERSEDED}/{run_id}-{digest}.json", present.content)
        self._write(run_id, best)

    def _write(self, run_id: str, best: _Candidate) -> None:
        self.into.write_file(f"{run_id}.json", best.file.content)

    def _add_conflicts(self, best: _Candidate, others: Sequence[_Candidate]) -> None:
        record = best.record
        self.conflicts += [
            Conflict(
                run_id=record.run_id,
                condition=f"{record.architecture} @ {record.environment.get('name')}",
                repetition=record.repetition,
                kept=best.file.where,
                other=other.file.where,
                started_together=record.started_at == other.record.started_at,
            )
            for other in others
        ]


def _choose(candidates: Sequence[_Candidate]) -> tuple[_Candidate, list[_Candidate]]:
    """Return the record to keep, and one of each other content that is equally good."""
    highest = max(quality(candidate.record) for candidate in candidates)
    # All starts are in UTC and in one format: they sort as texts.
    by_start = sorted(
        (c for c in candidates if quality(c.record) == highest),
        key=lambda c: (c.record.started_at, c.canonical),
    )
    by_content: dict[str, _Candidate] = {}
    for candidate in by_start:
        by_content.setdefault(candidate.canonical, candidate)
    best, *others = by_content.values()
    return best, others
