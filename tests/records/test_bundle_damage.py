"""Damaged and hostile bundles give one line; invalid records are left out."""

import itertools
import json
import os
import random
import resource
import shutil
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greencv_core import collect, load_study
from greencv_core.records.backends import bundle as bundles
from greencv_core.records.backends.bundle import KEY
from greencv_core.records.select import find_records
from greencv_core.records.store import Damaged, Store
from greencv_core.utils.errors import BadInputError
from tests.conftest import greencv_here
from tests.records.conftest import rewritten
from tests.support.refusals import refusal


def with_column(name, values, kind):
    def change(path):
        table = pq.read_table(path)
        place = table.schema.get_field_index(name)
        rewritten(path, table=table.set_column(place, name, pa.array(values(table[name]), kind)))

    return change


def nothing_of_greencv(path):
    pq.write_table(pq.read_table(path).replace_schema_metadata(), path)


def without_records(path):
    rewritten(path, table=pq.read_table(path).drop(["record"]))


def twice(path):
    table = pq.read_table(path)
    rewritten(path, table=pa.concat_tables([table, table.slice(0, 1)]))


def with_metadata(text):
    def change(path):
        table = pq.read_table(path)
        with pq.ParquetWriter(path, table.schema, store_schema=False) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({KEY: text})

    return change


def stating(**about):
    return lambda path: rewritten(path, about)


DAMAGE = {
    "no Parquet": (lambda p: p.write_bytes(b"PAR1" * 40), "cannot be read as Parquet"),
    "empty": (lambda p: p.write_bytes(b""), "cannot be read as Parquet"),
    "cut off": (lambda p: p.write_bytes(p.read_bytes()[:-40]), "cannot be read as Parquet"),
    "a pipe": (lambda p: (p.unlink(), os.mkfifo(p)), "not a regular file"),
    "absent": (lambda p: p.unlink(), "this bundle does not exist"),
    "of another": (nothing_of_greencv, "no metadata of greencv"),
    "half of JSON": (with_metadata("{"), "its metadata are not JSON"),
    "deep JSON": (with_metadata("[" * 100_000), "its metadata are not JSON"),
    "a list": (with_metadata("[]"), "its metadata have no format version"),
    "newer": (stating(format_version=2), "was packed by a newer greencv"),
    "no format": (stating(format_version="1"), "its metadata have no format version"),
    "no study": (stating(study=None), "its metadata have no valid study"),
    "another study": (stating(study_sha256="0" * 64), "the study's checksum is wrong"),
    "another number": (stating(runs=7), "8 runs, but its metadata state 7"),
    "long words": (stating(licence="a" * (2 << 20)), "its metadata are too long"),
    "no records": (without_records, "no column record of binary values"),
    "records of text": (
        with_column("record", lambda c: [v.decode() for v in c.to_pylist()], pa.string()),
        "no column record of binary values",
    ),
    "ids of numbers": (
        with_column("run_id", lambda c: list(range(len(c))), pa.int64()),
        "no column run_id of string values",
    ),
    "an id twice": (twice, "occurs twice"),
    "no id": (with_column("run_id", lambda c: [None] * len(c), pa.string()), "row 1 has no run id"),
    "a path as id": (
        with_column("run_id", lambda c: ["../../a"] * len(c), pa.string()), "row 1 has no run id"
    ),
    "a record absent": (
        with_column("record", lambda c: [None] * len(c), pa.binary()), "has no record"
    ),
    "a deep study": (stating(study="[" * 9000), "levels deep"),
    "a long study": (stating(study="#" * (200 << 10)), "larger than 128 KiB"),
    "half a study": (stating(study="name: [1"), "line 1, column 9: expected ',' or ']'"),
    "half a character": (stating(study="name: \ud800"), "a control character"),
    "code": (stating(study="!!python/object:os.system {}"), "a tag"),
    "a word": (stating(study="smoke"), "must be a mapping"),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_bundle_is_refused_in_one_line(what, smoke_bundle, tmp_path):
    change, line = DAMAGE[what]
    path = tmp_path / "x.parquet"
    shutil.copy(smoke_bundle, path)
    change(path)
    # A study is checked when it is loaded, runs when they are listed.
    text = refusal(lambda: (load_study(path), Store(path).run_ids()))
    assert text.startswith(f"{path}:")
    assert line in text


def test_a_file_that_decompresses_to_too_much_is_refused(smoke_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(bundles, "MAX_RECORDS_BYTES", 16 << 20)
    path = tmp_path / "x.parquet"
    run_ids = [f"{i:016x}" for i in range(64)]
    alike = pa.table({"run_id": run_ids, "record": pa.array([b" " * (1 << 20)] * 64, pa.binary())})
    for options, stated in (
        ({"compression": "zstd", "use_dictionary": False}, True),
        # Each value a number of a dictionary of one: what the file says of its size is true.
        ({"compression": "zstd", "use_dictionary": ["record"]}, False),
        ({"use_dictionary": False, "column_encoding": {"record": "DELTA_BYTE_ARRAY"}}, False),
    ):
        shutil.copy(smoke_bundle, path)
        rewritten(path, table=alike, **options)
        assert path.stat().st_size < 2 << 20
        group = pq.read_metadata(path).row_group(0)
        assert (group.column(1).total_uncompressed_size > 16 << 20) == stated
        most_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert refusal(Store(path).run_ids).endswith("its records take more than 16 MiB")
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most_kib < 50 << 10


def test_a_file_that_is_too_large_is_refused(smoke_bundle, monkeypatch):
    monkeypatch.setattr(bundles, "MAX_FILE_BYTES", smoke_bundle.stat().st_size - 1)
    assert "larger than" in refusal(Store(smoke_bundle).run_ids)


def test_a_damaged_file_gives_the_same_records_or_one_line(smoke_bundle, tmp_path):
    def contents(path):
        store = Store(path)
        return [file.content for file in store.load_files(store.run_ids())]

    whole, records = smoke_bundle.read_bytes(), contents(smoke_bundle)
    path, rng = tmp_path / "x.parquet", random.Random(0)
    outcomes = Counter()
    anywhere = [(rng.randrange(len(whole)), rng.randrange(8)) for _ in range(400)]
    # Here some bits make pyarrow read no row, without an error.
    column = whole.rindex(b"\x18\x06run_id")
    for place, bit in (*anywhere, *itertools.product(range(column - 30, column + 20), range(8))):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        try:
            found = contents(path)
        except BadInputError as error:
            outcomes["refused" if "\n" not in str(error) else "refused at length"] += 1
        else:
            outcomes["the same" if found == records else "others"] += 1
    assert min(outcomes["the same"], outcomes["refused"]) > 20
    assert outcomes.total() == outcomes["the same"] + outcomes["refused"], outcomes


def test_an_invalid_record_is_reported_and_left_out(smoke_bundle, tmp_path):
    path = tmp_path / "x.parquet"
    shutil.copy(smoke_bundle, path)
    contents = pq.read_table(path)["record"].to_pylist()
    first, second, *_ = Store(smoke_bundle).run_ids()
    changed = [contents[1], contents[1], b"{", *contents[3:]]
    with_column("record", lambda c: changed, pa.binary())(path)
    loaded = Store(path).load_file(first)
    assert isinstance(loaded, Damaged)
    assert loaded.where == f"{path}/{first}.json"
    assert loaded.reason == f"contains the record of run {second}"
    done = greencv_here("runs", "list", "--store", path)
    assert done.returncode == 0
    assert done.stdout.startswith("6 runs of smoke")
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == ["left out"] * 2
    assert len(collect(path, store=path)) == 6


def test_a_bundle_without_valid_records_is_refused(smoke_bundle, tmp_path):
    path = tmp_path / "x.parquet"
    shutil.copy(smoke_bundle, path)
    newer = json.dumps({"schema_version": 99}).encode()
    with_column("record", lambda c: [newer] * len(c), pa.binary())(path)
    assert "record version 99; this greencv reads" in refusal(lambda: collect(path, store=path))
    assert "nothing" not in refusal(lambda: find_records(load_study(path), Store(path), []))
