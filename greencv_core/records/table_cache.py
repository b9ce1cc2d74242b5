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
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from greencv_core.records import columns, record, store, tables
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

_SCHEMA = pa.schema(
    [
        ("file", pa.string()),  # the run id in the file's name
        ("stamp", pa.string()),  # empty if the file may change without changing its stamp
        ("damage", pa.string()),  # JSON; null for a record
        *((name, column.arrow) for name, column in RUNS_COLUMNS.items()),
    ]
)


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
    stamps = source.stamps()
    path = _cache_file(source)
    cached = _load(path)
    files = cached["file"].to_pylist()
    is_current = [
        file in stamps and stamps[file].text == stamp
        for file, stamp in zip(files, cached["stamp"].to_pylist(), strict=True)
    ]
    current = set(itertools.compress(files, is_current))
    changed = sorted(stamps.keys() - current)
    kept = cached.filter(pa.array(is_current, pa.bool_()))
    table = pa.concat_tables([kept, *_read(source, changed, stamps)])
    changes = len(changed) + len(files) - len(current)
    if changes and changes >= 0.01 * len(stamps):  # reading few again is faster than writing all
        _save(path, table)
    is_record = pc.is_null(table["damage"])
    invalid = table.filter(pc.invert(is_record)).sort_by("file")
    damaged = [
        Damaged(**json.loads(damage) | {"where": source.where_of(file)})
        for file, damage in zip(
            invalid["file"].to_pylist(), invalid["damage"].to_pylist(), strict=True
        )
    ]
    order: list[tuple[str, Any]] = [(name, "ascending") for name in ("study", "order", "run_id")]
    return _data_frame(table.filter(is_record).sort_by(order)), damaged


def _cache_file(source: Store) -> Path:
    key = [source.identity, record.SCHEMA_VERSION, _code_digest()]
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    return user_cache() / "runs" / f"{name}.parquet"


@functools.cache
def _code_digest() -> str:
    """Hash the code that decides what a row is: development versions differ, too."""
    files = (__file__, columns.__file__, record.__file__, store.__file__, tables.__file__)
    return hashlib.sha256(b"".join(Path(str(file)).read_bytes() for file in files)).hexdigest()


def _load(path: Path) -> pa.Table:
    with contextlib.suppress(Exception):  # any defect of a cache has the same remedy
        table = pq.read_table(path, schema=_SCHEMA, memory_map=False, partitioning=None)
        table.validate(full=True)
        return table
    return _SCHEMA.empty_table()


def _save(path: Path, table: pa.Table) -> None:
    content = pa.BufferOutputStream()
    pq.write_table(table, content, compression="lz4")
    with contextlib.suppress(GreencvError):  # the next command only takes longer
        Folder(path.parent).write(path.name, content.getvalue())


def _read(source: Store, run_ids: Sequence[str], stamps: dict[str, Stamp]) -> Iterator[pa.Table]:
    trusted = {run_id: stamps[run_id].text if stamps[run_id].settled else "" for run_id in run_ids}
    chunks = [
        {run_id: trusted[run_id] for run_id in run_ids[start : start + CHUNK]}
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
    for loaded in source.load_files(stamps):
        file = os.path.basename(loaded.where).removesuffix(".json")
        if isinstance(loaded, Damaged):
            # An unreadable file may become readable without a change.
            stamp = "" if loaded.unreadable else stamps[file]
            rows.append(
                {"file": file, "stamp": stamp, "damage": json.dumps(dataclasses.asdict(loaded))}
            )
        else:
            rows.append({"file": file, "stamp": stamps[file], **loaded.row})
    arrays = [pa.array([row.get(field.name) for row in rows], field.type) for field in _SCHEMA]
    return pa.table(arrays, _SCHEMA)


def _data_frame(table: pa.Table) -> pd.DataFrame:
    if not table.num_rows:
        return tables.runs_table([])
    return pd.DataFrame({name: _series(table[name]) for name in RUNS_COLUMNS})


def _series(values: pa.ChunkedArray) -> pd.Series:
    """Return a column with the type that pandas gives the same values in a list."""
    if pa.types.is_floating(values.type):
        return pd.Series(values.to_numpy())
    if values.null_count == len(values):
        return pd.Series([None] * len(values), dtype=object)
    return values.to_pandas()
