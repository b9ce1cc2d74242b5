"""A disk cache of a store's runs table: only files that changed are read again.

The cache is one file in the user's cache folder. It is disposable: if it is missing, invalid or of
another version, all records are read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import hashlib
import itertools
import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from greencv_core.records import columns, exact, record, store, tables
from greencv_core.records.backends import is_url
from greencv_core.records.backends.base import Stamp
from greencv_core.records.backends.folder import Folder
from greencv_core.records.columns import RUNS_COLUMNS
from greencv_core.records.store import Damaged, Store
from greencv_core.utils.errors import GreencvError
from greencv_core.utils.interpreters import children_isolated
from greencv_core.utils.paths import user_cache

CHUNK = 1000
"""Records that a process reads at a time."""
PARALLEL_FROM = 8 * CHUNK
"""Number of records from which several processes are faster than one."""
MOST_PIECES = 100
"""Pieces of a table up to which joining them is faster than copying rows."""

_SCHEMA = pa.schema(
    [
        ("file", pa.string()),  # the run id in the file's name
        ("stamp", pa.string()),  # empty if the file may change without changing its stamp
        ("damage", pa.string()),  # JSON; null for a record
        *((name, column.arrow) for name, column in RUNS_COLUMNS.items()),
    ]
)
_ORDER = [(name, "ascending") for name in ("study", "order", "run_id", "file")]
"""Order of the rows; files without a record have no study and come last."""


def cached_runs_table(source: Store) -> tuple[pd.DataFrame, list[Damaged]]:
    """Return the runs table of a store, and its files that contain no valid record.

    The rows equal those of :func:`greencv_core.records.tables.runs_table`, sorted by study,
    position in the plan and run id.
    """
    with _garbage_kept():
        return _runs_table(source)


@contextlib.contextmanager
def _garbage_kept() -> Iterator[None]:
    """Collect no garbage: with 100,000 files, walking the new objects takes a third of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _runs_table(source: Store) -> tuple[pd.DataFrame, list[Damaged]]:
    path = _cache_file(source)
    with ThreadPoolExecutor(1) as thread:  # while the files are listed
        loading = thread.submit(_load, path)
        stamps = source.stamps()
    cached = loading.result()
    files = pa.array(list(stamps), pa.string())
    texts = pa.array([stamp.text for stamp in stamps.values()], pa.string())
    rows = pc.index_in(files, value_set=cached["file"])  # null for new files
    is_current = pc.fill_null(pc.equal(cached["stamp"].take(rows), texts), False)
    current = rows.filter(is_current)
    changed = sorted(files.filter(pc.invert(is_current)).to_pylist())
    removed = len(cached) - len(current)
    table = _rows(cached, np.sort(current.to_numpy())) if removed else cached
    if changed:
        table = pa.concat_tables([table, *_read(source, changed, stamps)])
        table = _rows(table, pc.sort_indices(table, sort_keys=_ORDER).to_numpy().astype(np.int64))
    changes = len(changed) + removed
    if changes and changes >= 0.01 * len(stamps):  # reading few again is faster than writing all
        _save(path, table)
    records = table["damage"].null_count  # the damaged files come last
    damaged = [
        Damaged(**json.loads(row["damage"]) | {"where": source.where_of(row["file"])})
        for row in table.slice(records).select(["file", "damage"]).to_pylist()
    ]
    return _data_frame(table.slice(0, records)), damaged


def _rows(table: pa.Table, numbers: NDArray[np.integer]) -> pa.Table:
    """Return rows by number, without a copy if few of them do not follow the one before."""
    starts = np.flatnonzero(np.diff(numbers, prepend=-2) != 1).tolist()
    if not 0 < len(starts) <= MOST_PIECES:
        return table.take(numbers)
    return pa.concat_tables(
        table.slice(numbers[start], end - start)
        for start, end in itertools.pairwise([*starts, len(numbers)])
    )


def _cache_file(source: Store) -> Path:
    key = [source.identity, record.SCHEMA_VERSION, _code_digest()]
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    return user_cache() / "runs" / f"{name}.parquet"


@functools.cache
def _code_digest() -> str:
    """Hash the code that decides what a row is: development versions differ, too."""
    modules = (columns, exact, record, store, tables)
    files = (__file__, *(module.__file__ for module in modules))
    return hashlib.sha256(b"".join(Path(str(file)).read_bytes() for file in files)).hexdigest()


def _load(path: Path) -> pa.Table:
    with contextlib.suppress(Exception):  # any defect of a cache has the same remedy
        with pq.ParquetFile(path) as file:
            table = file.read().cast(_SCHEMA)
        table.validate(full=True)
        return table
    return _SCHEMA.empty_table()


def _save(path: Path, table: pa.Table) -> None:
    content = pa.BufferOutputStream()
    pq.write_table(table, content, compression="lz4")
    with contextlib.suppress(GreencvError):  # the next command only takes longer
        Folder(path.parent).write(path.name, content.getvalue())


def _read(source: Store, run_ids: Sequence[str], stamps: dict[str, Stamp]) -> Iterator[pa.Table]:
    chunks = [
        {
            run_id: stamp.text if (stamp := stamps[run_id]).settled else ""
            for run_id in run_ids[start : start + CHUNK]
        }
        for start in range(0, len(run_ids), CHUNK)
    ]
    processes = min(os.cpu_count() or 1, 8)
    # An object store waits for the network, not for a CPU; a bundle is decompressed only once.
    serial = processes < 2 or is_url(source.location) or source.is_bundle
    if serial or len(run_ids) < PARALLEL_FROM:
        yield from (_read_chunk(source, chunk) for chunk in chunks)
        return
    # A fork of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        with children_isolated():
            parts = pool.map(_read_chunk, [source] * len(chunks), chunks)
        yield from parts


def _read_chunk(source: Store, stamps: dict[str, str]) -> pa.Table:
    """Return one row per file; files that were removed in the meantime have none."""
    rows: list[dict[str, Any]] = []
    for loaded in source.load_rows(stamps):
        file = os.path.basename(loaded.where).removesuffix(".json")
        if isinstance(loaded, Damaged):
            # An unreadable file may become readable without a change.
            stamp = "" if loaded.unreadable else stamps[file]
            rows.append(
                {"file": file, "stamp": stamp, "damage": json.dumps(dataclasses.asdict(loaded))}
            )
        else:
            rows.append({"file": file, "stamp": stamps[file], **loaded.row})
    return pa.Table.from_pylist(rows, _SCHEMA)


def _data_frame(table: pa.Table) -> pd.DataFrame:
    if not table.num_rows:
        return tables.runs_table([])
    return pa.table({name: _typed(table[name]) for name in RUNS_COLUMNS}).to_pandas()


def _typed(values: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """Return a column that gets the type that pandas gives the same values in a list."""
    is_empty = values.null_count == len(values) and not pa.types.is_floating(values.type)
    return pa.nulls(len(values)) if is_empty else values
