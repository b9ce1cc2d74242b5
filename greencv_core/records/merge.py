"""Merge stores: keep the best record of each run, independently of the order of the sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os.path import basename
from pathlib import Path

from greencv_core.records.record import RunRecord
from greencv_core.records.store import Damaged, RecordFile, Store, quality
from greencv_core.utils.errors import BadInputError


@dataclass(frozen=True)
class Conflict:
    """Two different records of one run, equally good: the run was made twice."""

    run_id: str
    condition: str
    """Architecture and environment, to print."""
    repetition: int
    """From 0."""
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


@dataclass
class Merge:
    """Outcome of a merge: run ids, conflicts and damaged files.

    Each run is in at most one list of ids. It is in none if the record of the store and that of a
    source are in conflict: see :attr:`conflicts`.
    """

    copied: list[str] = field(default_factory=list)
    """New in the store."""
    same: list[str] = field(default_factory=list)
    """In the store before, with the same content."""
    replaced: list[str] = field(default_factory=list)
    """Replaced in the store, whose record was worse or damaged."""
    kept: list[str] = field(default_factory=list)
    """Kept in the store, whose record is better than those of the sources."""
    conflicts: list[Conflict] = field(default_factory=list)
    damaged: list[Damaged] = field(default_factory=list)
    """Files of the sources that contain no valid record; they are left out."""


def merge(sources: Sequence[str | Path], into: Store) -> Merge:
    """Copy the records of other stores into one; keep the best record of each run.

    A finished run is better than a stopped one, that better than a failed one; a complete reading
    is better than an incomplete one, and an undisturbed run than a disturbed one. Of equally good
    records, the one that started earlier is kept, so that neither the order of the sources nor a
    repetition changes the outcome. If it replaces the store's own record, that is moved into the
    subfolder ``superseded``. The sources stay unchanged; repeating an interrupted merge completes
    it.

    Nothing is copied if a source is missing, has no records or is the store itself, or if the store
    cannot be written to or has records of a newer greencv.
    """
    by_identity: dict[str, Store] = {}
    for store in map(Store, sources):
        by_identity.setdefault(store.identity, store)  # a source may be named twice
    stores = list(by_identity.values())
    for store in stores:
        _check_source(store, into)
    into.check_writable()
    done = Merge()
    for run_id in sorted({run_id for store in stores for run_id in store.run_ids()}):
        loaded = [store.load_file(run_id) for store in stores]
        done.damaged += [file for file in loaded if isinstance(file, Damaged)]
        if candidates := [file for file in loaded if isinstance(file, RecordFile)]:
            _merge_run(run_id, candidates, into, done)
    return done


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
    reason = f"; {basename(damaged.where)}: {damaged.reason}" if damaged else ""
    raise BadInputError(f"{source.where}: contains no run records{reason}")


def _merge_run(run_id: str, candidates: list[RecordFile], into: Store, done: Merge) -> None:
    own = into.load_file(run_id)
    if isinstance(own, RecordFile):
        # The store's record comes first: of two with the same content, it is the one to keep.
        best, others = _choose([own, *candidates])
    else:
        best, others = _choose(candidates)
    done.conflicts += [_conflict(best, other) for other in others]
    if not isinstance(own, RecordFile):
        # The store would train a run again whose record is damaged.
        (done.copied if own is None else done.replaced).append(run_id)
    elif best.canonical == own.canonical:
        if any(candidate.canonical == own.canonical for candidate in candidates):
            done.same.append(run_id)
        elif not others:
            done.kept.append(run_id)
        return
    elif _rank(best) > _rank(own):
        done.replaced.append(run_id)
    else:
        into.keep_superseded(run_id, own.content)
    into.write_file(f"{run_id}.json", best.content)


def _conflict(best: RecordFile, other: RecordFile) -> Conflict:
    record = best.record
    return Conflict(
        run_id=record.run_id,
        condition=f"{record.architecture} @ {record.environment.get('name')}",
        repetition=record.repetition,
        kept=best.where,
        other=other.where,
        started_together=record.started_at == other.record.started_at,
    )


def _rank(file: RecordFile) -> tuple[int, bool, bool]:
    return *quality(file.record), not file.record.disturbed


def _choose(candidates: Sequence[RecordFile]) -> tuple[RecordFile, list[RecordFile]]:
    """Return the record to keep, and one of each other content that is equally good."""
    highest = max(map(_rank, candidates))
    # All starts are in UTC and in one format: they sort as texts.
    by_start = sorted(
        (c for c in candidates if _rank(c) == highest),
        key=lambda c: (c.record.started_at, c.canonical),
    )
    by_content: dict[str, RecordFile] = {}
    for candidate in by_start:
        by_content.setdefault(candidate.canonical, candidate)
    best, *others = by_content.values()
    return best, others
