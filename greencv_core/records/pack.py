"""Pack the runs of a study into a bundle: one Parquet file to archive, share and report from."""

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

from greencv_core import __version__
from greencv_core.analysis.selection import refuse_duplicates
from greencv_core.records.backends import bundle as bundle_file
from greencv_core.records.backends.folder import Folder
from greencv_core.records.columns import RUNS_COLUMNS
from greencv_core.records.components import restrict_to_components
from greencv_core.records.select import find_record_files
from greencv_core.records.store import Damaged, RecordFile, Store
from greencv_core.records.tables import runs_table, table_row
from greencv_core.study.loading import dump_study
from greencv_core.study.schema import Study
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.secrets import safe_line

LICENCE = "CC-BY-4.0"
"""Licence of the data in a bundle."""
_NUMERIC_FIELDS = {"epochs", "phases", "trace", "validation"}
"""Large fields of a record that contain no text of its maker."""
_DESCRIPTIONS = {
    **{name: column.description for name, column in RUNS_COLUMNS.items()},
    bundle_file.RECORD: "The run's whole record in JSON, byte for byte as the store held it.",
}
_PATH = r"(?:^|[\s:'\"=(,])(?:~?/[^\s/'\":,]+/[^\s/'\":,]|[A-Za-z]:\\)"
"""Two folders from the root, or a drive of Windows; not an address on the web."""


@dataclass(frozen=True)
class Bundle:
    """A packed study."""

    content: bytes
    """The Parquet file."""
    runs: pd.DataFrame
    """Runs table of the packed runs."""
    damaged: tuple[Damaged, ...]
    """Files of the store that contain no valid record; they are left out."""
    identifying_texts: tuple[str, ...]
    """Texts that contain a path, or the name of a user or computer, with their fields."""


def pack(study: Study, store: Store) -> Bundle:
    """Pack the runs of a study that are in a store, whichever machine made them.

    The same runs give the same bytes, with the same versions of greencv and pyarrow.
    """
    store.check_readable()
    files, damaged = find_record_files(study, store, study.architectures)
    if not files:
        raise BadInputError(f"{store.where}: contains no run of {study.where} to pack")
    pattern = _identifying_pattern()
    texts = set(_find_texts(study.model_dump(mode="json"), pattern))
    for file in files:
        content = file.record.model_dump(mode="json", exclude=_NUMERIC_FIELDS)
        texts.update(_find_texts(content, pattern))
    runs = runs_table([file.record for file in files])
    refuse_duplicates(runs)
    return Bundle(
        content=_parquet(study, files),
        runs=runs,
        damaged=tuple(damaged),
        identifying_texts=tuple(sorted(texts)),
    )


def write(bundle: Bundle, path: Path) -> None:
    """Write a bundle to a file, completely or not at all; replace an earlier one."""
    check_name(path)
    Folder(path.parent).write(path.name, bundle.content)


def check_name(path: Path) -> None:
    """Raise :class:`BadInputError` if a path cannot be that of a bundle."""
    if not bundle_file.is_bundle(path):
        raise BadInputError(
            f"{safe_line(path)}: not the name of a bundle: it must end in .parquet and not be a "
            "folder"
        )


def _parquet(study: Study, files: Sequence[RecordFile]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = dump_study(study)
    metadata = {
        "format_version": bundle_file.FORMAT_VERSION,
        "study": text,
        "study_sha256": bundle_file.study_digest(text),
        "study_name": study.name,
        "greencv_version": __version__,
        "licence": LICENCE,
        "runs": len(files),
        "columns": _DESCRIPTIONS,
    }
    components = study.analysis.components
    rows = [table_row(restrict_to_components(file.record, components)) for file in files]
    columns = {
        name: pa.array([row[name] for row in rows], column.arrow, from_pandas=True)  # NaN is null
        for name, column in RUNS_COLUMNS.items()
        if name != bundle_file.RECORD
    }
    columns[bundle_file.RECORD] = pa.array([file.content for file in files], pa.binary())
    table = pa.table(columns)
    output = io.BytesIO()
    with pq.ParquetWriter(
        output,
        table.schema,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in columns if name != bundle_file.RECORD],
        write_statistics=False,
        data_page_size=8 << 20,  # similar records compress better together
        write_batch_size=16,  # records after which the size of a page is checked
        write_page_checksum=True,
        store_schema=False,
    ) as writer:
        writer.write_table(table, row_group_size=len(files))
        writer.add_key_value_metadata({bundle_file.KEY: json.dumps(metadata)})
    return output.getvalue()


def _find_texts(content: Any, pattern: re.Pattern[str], field: str = "") -> Iterator[str]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _find_texts(value, pattern, f"{field}.{key}" if field else str(key))
    elif isinstance(content, list):
        for value in content:
            yield from _find_texts(value, pattern, field)
    elif isinstance(content, str) and pattern.search(content):
        yield safe_line(f"{field}: {content}")


def _identifying_pattern() -> re.Pattern[str]:
    names = [platform.node()]
    with contextlib.suppress(OSError, KeyError, ImportError):  # some systems have no users
        names.append(getpass.getuser())
    # Shorter names occur in words.
    words = [rf"\b{re.escape(name)}\b" for name in names if len(name) >= 4]
    return re.compile("|".join([_PATH, *words]))
