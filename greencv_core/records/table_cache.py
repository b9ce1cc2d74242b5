"""The runs table of a store, kept between commands: only files that changed are read again.

The kept table is one file in this user's cache. It decides nothing: where it is absent, damaged
or of another version, all is read anew.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import itertools
import json
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import platformdirs
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from greencv_core.records import columns, record, tables
from greencv_core.records import store as store_module
from greencv_core.records.backends import is_url
from greencv_core.records.backends.base import Stamp
from greencv_core.records.columns import RUNS_COLUMNS
from greencv_core.records.store import Damaged, Store
from greencv_core.records.tables import runs_table

CHUNK = 1000
"""Records that a process reads at a time."""
WORTH_PROCESSES = 8 * CHUNK
"""Records from which on the start of processes pays."""
MOST_PROCESSES = 8
REWRITTEN_FROM = 0.01
"""Share of the records that changed from which on the kept table is written again: few are read
again faster than many are written."""

_SCHEMA = pa.schema(
    [
        # Of the file: its run, its stamp ("" where that may not be trusted), what is wrong with it.
        ("file", pa.string()),
        ("stamp", pa.string()),
        ("damage", pa.string()),
        *((name, column.arrow) for name, column in RUNS_COLUMNS.items()),
    ]
)


def cached_runs_table(store: Store) -> tuple[pd.DataFrame, list[Damaged]]:
    """Return the runs table of a store, and its files that give no record.

    The rows are those that :func:`greencv_core.records.tables.runs_table` makes of the store's
    records, in the order of study, place in the plan, and run.

    Raises
    ------
    GreencvError
        The store cannot be read.
    """
    stamps = store.stamps()
    path = _cache_file(store)
    kept = _kept(path)
    if kept is None:
        kept = _SCHEMA.empty_table()
    files = kept["file"].to_pylist()
    current = [
        file in stamps and stamps[file].text == stamp
        for file, stamp in zip(files, kept["stamp"].to_pylist(), strict=True)
    ]
    known = set(itertools.compress(files, current))
    changed = sorted(run_id for run_id in stamps if run_id not in known)
    parts = [kept if all(current) else kept.filter(pa.array(current))]
    parts += _read(store, changed, stamps)
    table = pa.concat_tables(parts)
    gone = len(files) - len(known)
    if (changed or gone) and len(changed) + gone >= REWRITTEN_FROM * len(stamps):
        _keep(path, table)
    damaged = [
        Damaged(store.where_of(file), **json.loads(damage)) for file, damage in _damage(table)
    ]
    good = table.filter(pc.is_null(table["damage"])) if damaged else table
    order = pc.sort_indices(
        good, [("study", "ascending"), ("order", "ascending"), ("run_id", "ascending")]
    )
    return _frame(good.take(order)), damaged


def _damage(table: pa.Table) -> list[tuple[str, str]]:
    some = table.select(["file", "damage"]).filter(pc.is_valid(table["damage"]))
    return sorted(zip(some["file"].to_pylist(), some["damage"].to_pylist(), strict=True))


def _cache_file(store: Store) -> Path:
    key = [store.identity, record.SCHEMA_VERSION, _digest_of_code()]
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    return Path(platformdirs.user_cache_dir("greencv")) / "runs" / f"{name}.parquet"


@functools.cache
def _digest_of_code() -> str:
    """Return what differs where rows may: versions of greencv, released and not."""
    files = (__file__, columns.__file__, record.__file__, store_module.__file__, tables.__file__)
    code = [Path(str(file)).read_bytes() for file in files]
    return hashlib.sha256(b"".join(code)).hexdigest()


def _kept(path: Path) -> pa.Table | None:
    # Whatever is wrong with the file, it is only a copy.
    with contextlib.suppress(Exception):
        table = pq.read_table(path, schema=_SCHEMA, memory_map=False, partitioning=None)
        table.validate(full=True)
        return table
    return None


def _keep(path: Path, table: pa.Table) -> None:
    temporary = None
    # Without a kept table, the next command takes longer, and that is all.
    with contextlib.suppress(OSError):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                dir=path.parent, prefix=".writing-", delete=False
            ) as f:
                temporary = Path(f.name)
                pq.write_table(table.unify_dictionaries(), f, compression="lz4")
            temporary.replace(path)
        except BaseException:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
            raise


def _read(store: Store, run_ids: Sequence[str], stamps: dict[str, Stamp]) -> Iterator[pa.Table]:
    trusted = {run_id: stamps[run_id].text if stamps[run_id].settled else "" for run_id in run_ids}
    chunks = [run_ids[start : start + CHUNK] for start in range(0, len(run_ids), CHUNK)]
    processes = min(os.cpu_count() or 1, MOST_PROCESSES)
    # A bucket's records wait for the network, not for a processor; a bundle's are unpacked once.
    alone = processes < 2 or is_url(store.location) or store.is_bundle
    if len(run_ids) < WORTH_PROCESSES or alone:
        for chunk in chunks:
            yield _rows(store, chunk, trusted)
        return
    # Fresh processes: a fork of one with threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        some = [{run_id: trusted[run_id] for run_id in chunk} for chunk in chunks]
        yield from pool.map(_rows, [store] * len(chunks), chunks, some)


def _rows(store: Store, run_ids: Sequence[str], trusted: dict[str, str]) -> pa.Table:
    """Return the rows of some files; those that went meanwhile have none."""
    # There are no cycles in them, and Python would look for some again and again.
    collected = gc.isenabled()
    gc.disable()
    try:
        return _rows_of(store, run_ids, trusted)
    finally:
        if collected:
            gc.enable()


def _rows_of(store: Store, run_ids: Sequence[str], trusted: dict[str, str]) -> pa.Table:
    rows, damaged = [], []
    for loaded in store.table_rows(run_ids):
        if isinstance(loaded, Damaged):
            damaged.append(loaded)
        else:
            rows.append(loaded)
    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in RUNS_COLUMNS}
    files = columns["run_id"]
    good = {"file": files, "stamp": [trusted[file] for file in files], **columns}
    return pa.concat_tables([_table(good), _table(_columns_of(damaged, trusted))])


def _columns_of(damaged: Sequence[Damaged], trusted: dict[str, str]) -> dict[str, list[Any]]:
    files = [entry.where.rpartition("/")[2].removesuffix(".json") for entry in damaged]
    return {
        "file": files,
        # That a file can be read again changes nothing about it.
        "stamp": ["" if d.unreadable else trusted[f] for f, d in zip(files, damaged, strict=True)],
        "damage": [
            json.dumps({"reason": d.reason, "unreadable": d.unreadable, "newer": d.newer})
            for d in damaged
        ],
    }


def _table(columns: dict[str, list[Any]]) -> pa.Table:
    absent = [None] * len(columns["file"])
    return pa.table([pa.array(columns.get(f.name, absent), f.type) for f in _SCHEMA], _SCHEMA)


def _frame(table: pa.Table) -> pd.DataFrame:
    if not table.num_rows:
        return runs_table([])
    return pd.DataFrame({name: _series(table[name]) for name in RUNS_COLUMNS})


def _series(values: pa.ChunkedArray) -> pd.Series:
    """Return a column with the type that pandas gives the same values in a list."""
    if pa.types.is_floating(values.type):
        return pd.Series(values.to_numpy())
    if values.null_count == len(values):
        return pd.Series([None] * len(values), dtype=object)
    return values.to_pandas()
