"""Packing a study's runs into a bundle, which anybody can pass on, read and build a report from."""

from __future__ import annotations

import contextlib
import getpass
import io
import json
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from greencv_core import __version__
from greencv_core.records.backends.base import UnreadableError
from greencv_core.records.backends.bundle import (
    FORMAT_VERSION,
    KEY,
    RECORD,
    SUFFIX,
    is_bundle,
    study_digest,
)
from greencv_core.records.backends.folder import Folder
from greencv_core.records.columns import RUNS_COLUMNS
from greencv_core.records.components import restrict_to_components
from greencv_core.records.record import RunRecord
from greencv_core.records.select import records_from_bundle, records_from_other_machines
from greencv_core.records.store import Damaged, Store, parse_record
from greencv_core.records.table_cache import cached_runs_table
from greencv_core.records.tables import runs_table, table_row
from greencv_core.study.schema import Study
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.secrets import safe_line

LICENCE = "CC-BY-4.0"
"""Of the data in a bundle."""
COMPRESSION_LEVEL = 19
PAGE_BYTES = 8 << 20
"""Records are much alike: the more of them are in one page, the less each takes."""
RECORDS_AT_A_TIME = 16
"""After so many it is looked whether a page is full."""
SHORTEST_NAME = 4
"""Characters of a user's or a computer's name that is looked for; shorter ones are in words."""

_FIGURES = {"epochs", "phases", "trace"}
"""Parts of a record that hold numbers, and many."""
_MEANINGS = {
    **{name: column.description for name, column in RUNS_COLUMNS.items()},
    RECORD: "The run's whole record in JSON, byte for byte as the store held it.",
}
_PATH = r"(?:^|[\s:'\"=(,])(?:~?/[^\s/'\":,]+/[^\s/'\":,]|[A-Za-z]:\\)"
"""Two folders from the root, or a drive of Windows; no address on the web."""


@dataclass(frozen=True)
class Bundle:
    """A study's runs, packed."""

    content: bytes
    """The Parquet file."""
    runs: pd.DataFrame
    """The runs table of what is packed."""
    damaged: tuple[Damaged, ...]
    """Files of the store that are no records."""
    identifying_texts: tuple[str, ...]
    """Texts in it that tell a path, or the name of a user or a computer, with their fields."""


def pack(study: Study, store: Store) -> Bundle:
    """Pack the runs of a study that are in a store, whichever machine made them.

    The same runs give the same bytes, with the same version of greencv and of pyarrow.

    Raises
    ------
    BadInputError
        The store is absent, holds no run of the study, or one that fits into no table.
    """
    store.check_readable()
    if store.is_bundle:
        found = records_from_bundle(study, store, study.architectures)
    else:
        found = records_from_other_machines(study, store, (), study.architectures)
    held = [pair for run_id in sorted(r.run_id for r in found) if (pair := _held(store, run_id))]
    if not held:
        raise BadInputError(
            f"{store.where}: holds no run of {study.where}, so there is nothing to pack"
        )
    records = [record for record, _ in held]
    telling = _telling()
    told = set(_of_its_maker(study.model_dump(mode="json"), telling))
    for record in records:
        told.update(_of_its_maker(record.model_dump(mode="json", exclude=_FIGURES), telling))
    return Bundle(
        content=_parquet(study, held),
        runs=runs_table(records),
        damaged=tuple(cached_runs_table(store)[1]),
        identifying_texts=tuple(sorted(told)),
    )


def write(bundle: Bundle, path: Path) -> None:
    """Write a bundle's file, whole or not at all, in place of one that is there.

    Raises
    ------
    BadInputError
        See :func:`check_name`.
    GreencvError
        The file cannot be written.
    """
    check_name(path)
    Folder(path.parent).write(path.name, bundle.content)


def check_name(path: Path) -> None:
    """Raise :class:`BadInputError` where a path is none that a bundle can have."""
    if not is_bundle(path):
        raise BadInputError(
            f"{safe_line(path)}: a bundle is a file, known by a name that ends in {SUFFIX}"
        )


def _held(store: Store, run_id: str) -> tuple[RunRecord, bytes] | None:
    """Return a record and its bytes; None where it went in this moment."""
    try:
        written = store.read_bytes(run_id)
    except UnreadableError:
        return None
    if written is None:
        return None
    record = parse_record(store.where_of(run_id), written)
    return None if isinstance(record, Damaged) else (record, written)


def _parquet(study: Study, held: Sequence[tuple[RunRecord, bytes]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = yaml.safe_dump(
        study.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100
    )
    about = {
        "format_version": FORMAT_VERSION,
        "study": text,
        "study_sha256": study_digest(text),
        "study_name": study.name,
        "greencv_version": __version__,
        "licence": LICENCE,
        "runs": len(held),
        "columns": _MEANINGS,
    }
    rows = [
        table_row(restrict_to_components(record, study.analysis.components)) for record, _ in held
    ]
    columns = {name: _column(name, rows) for name in RUNS_COLUMNS if name != RECORD}
    columns[RECORD] = pa.array([written for _, written in held], pa.binary())
    table = pa.table(columns)
    file = io.BytesIO()
    with pq.ParquetWriter(
        file,
        table.schema,
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        use_dictionary=[name for name in columns if name != RECORD],
        write_statistics=False,
        data_page_size=PAGE_BYTES,
        write_batch_size=RECORDS_AT_A_TIME,
        write_page_checksum=True,
        store_schema=False,
    ) as writer:
        writer.write_table(table, row_group_size=len(held))
        writer.add_key_value_metadata({KEY: json.dumps(about)})
    return file.getvalue()


def _column(name: str, rows: Sequence[dict[str, Any]]) -> Any:
    import pyarrow as pa

    # A missing number is null in the file, not NaN.
    values = [None if row[name] != row[name] else row[name] for row in rows]
    return pa.array(values, RUNS_COLUMNS[name].arrow)


def _of_its_maker(content: Any, telling: re.Pattern[str], field: str = "") -> Iterator[str]:
    """Yield each text that tells something, with the name of its field."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _of_its_maker(value, telling, f"{field}.{key}" if field else str(key))
    elif isinstance(content, list):
        for value in content:
            yield from _of_its_maker(value, telling, field)
    elif isinstance(content, str) and telling.search(content):
        yield safe_line(f"{field}: {content}")


def _telling() -> re.Pattern[str]:
    """Return what a path looks like, and the names of this user and this computer."""
    names = [platform.node()]
    with contextlib.suppress(OSError, KeyError, ImportError):  # as systems without users have it
        names.append(getpass.getuser())
    words = [rf"\b{re.escape(name)}\b" for name in names if len(name) >= SHORTEST_NAME]
    return re.compile("|".join([_PATH, *words]))
