"""The cached runs table equals a new one, whatever happens to the store or the cache."""

import itertools
import os
import time

import pandas as pd
import pytest

from greencv_core.records import table_cache
from greencv_core.records.record import RunRecord
from greencv_core.records.select import find_records
from greencv_core.records.source import load_study
from greencv_core.records.store import Damaged, RecordFile, Store, parse_file
from greencv_core.records.table_cache import cached_runs_table
from greencv_core.records.tables import runs_table
from tests.records.conftest import filled
from tests.records.test_backends import BROKEN, newer_record
from tests.support.made_up_records import record

OLD_S = 60


@pytest.fixture
def parsed(monkeypatch):
    """Return the ids of the runs that were read, as they are read."""
    seen, read_chunk = [], table_cache._read_chunk

    def watched(source, stamps):
        seen.extend(stamps)
        return read_chunk(source, stamps)

    monkeypatch.setattr(table_cache, "_read_chunk", watched)
    return seen


def age(folder):
    """Let files be old enough for their times to be trusted."""
    for number, path in enumerate(sorted(folder.glob("*.json"))):
        if path.is_file() and time.time() - path.stat().st_mtime < OLD_S:
            os.utime(path, (time.time() - OLD_S - number,) * 2)


def uncached(store):
    every = list(store.records())
    whole = [r for r in every if isinstance(r, RunRecord)]
    whole.sort(key=lambda r: (r.study, r.order, r.run_id))
    return runs_table(whole), [r for r in every if isinstance(r, Damaged)]


def check(store):
    frame, damaged = cached_runs_table(store)
    expected, expected_damaged = uncached(store)
    pd.testing.assert_frame_equal(frame, expected, check_exact=True)
    for column in expected:
        values = zip(frame[column], expected[column], strict=True)
        assert all(type(a) is type(b) for a, b in values), column
    assert damaged == expected_damaged
    return frame


def some_records(n):
    changes = itertools.cycle(
        [
            {"environment": {"name": "a", "threads": 1, "compile": True}, "parameters": 5},
            {"environment": {"name": "b", "threads": None}, "dataset": {"name": "synthetic"}},
            {"environment": {"name": "c", "threads": 4, "workers": 2}, "study": "another"},
            {"problems": ["a", "b"], "protocol": {"batch_size": 8}, "duration_s": 2.0},
        ]
    )
    return [record(f"{i:04}", order=i % 7, **next(changes)) for i in range(n)]


def test_the_cached_table_equals_a_new_one(tmp_path, parsed):
    folder = tmp_path / "runs"
    store = Store(folder)
    assert len(check(store)) == 0
    for one in some_records(12):
        store.write(one)
    age(folder)
    check(store)
    parsed.clear()
    check(store)
    assert parsed == []
    store.write(record("new"))
    (folder / "0001.json").unlink()
    (folder / "0002.json").write_text("{")
    store.write(record("0003", duration_s=9.0, status="finished"))
    age(folder)
    check(store)
    assert parsed == ["0002", "0003", "new"]
    parsed.clear()
    check(store)
    assert parsed == []
    for path in folder.iterdir():
        path.unlink()
    assert len(check(store)) == 0


def test_a_few_changes_are_merged_into_a_cache_that_stays_as_it_is(tmp_path, cache):
    folder = tmp_path / "runs"
    store = filled(folder, some_records(600))
    store.write_file("bad.json", b"{")
    age(folder)
    check(store)
    [path] = cache.rglob("*.parquet")
    cached, intact = path.read_bytes(), (folder / "0100.json").read_bytes()
    steps = {
        "nothing": lambda: None,
        "added in the middle": lambda: store.write(record("0150-", order=3)),
        "removed": lambda: (folder / "0151.json").unlink(),
        "damaged": lambda: (folder / "0100.json").write_bytes(b"["),
        "mended": lambda: (folder / "0100.json").write_bytes(intact),
        "damaged no more": lambda: (folder / "bad.json").unlink(),
    }
    for change in steps.values():
        change()
        age(folder)
        check(store)
        assert path.read_bytes() == cached
    (folder / "0150-.json").unlink()
    store.write(record("0150", order=900))  # becomes the last one of its study
    assert check(store)["order"].max() == 900


@pytest.mark.parametrize("count", [1, 2, 3])
def test_columns_have_the_types_of_their_values(tmp_path, count):
    for chosen in itertools.combinations(some_records(4), count):
        store = filled(tmp_path / "-".join(r.run_id for r in chosen), chosen)
        check(store)
        check(store)


def test_real_records_make_the_same_table(smoke_store):
    for _ in range(2):
        check(Store(smoke_store))


def test_every_kind_of_damage_gets_the_same_verdict(tmp_path):
    folder = tmp_path / "runs"
    store = filled(folder, [record()])
    for number, written in enumerate(BROKEN.values()):
        store.write_file(f"{number:04}.json", written)
    store.write_file("newer.json", newer_record())
    (folder / "folder.json").mkdir()
    (folder / "link.json").symlink_to(folder / "gone")
    age(folder)
    for _ in range(2):
        assert len(check(store)) == 1


@pytest.mark.parametrize(
    "hiding",
    [('"order":', '"order" :'), ('"host":""', '"host":"\\u0022:"')],
    ids=["a blank before a colon", "a colon in a word"],
)
def test_a_repeated_key_is_found_in_any_notation(hiding):
    text = record("aa").model_dump_json()
    other = text.replace(*hiding)
    assert other != text
    assert isinstance(parse_file("aa.json", other.encode()), RecordFile)
    twice = parse_file("aa.json", other.replace('"seed":', '"seed":1,"seed":').encode())
    assert isinstance(twice, Damaged)
    assert "twice" in twice.reason


def test_many_records_are_read_by_several_processes(tmp_path, monkeypatch):
    store = filled(tmp_path / "runs", some_records(60))
    store.write_file("bad.json", b"{")
    monkeypatch.setattr(table_cache, "PARALLEL_FROM", 10)
    monkeypatch.setattr(table_cache, "CHUNK", 30)
    check(store)


def test_a_file_too_new_for_its_time_is_read_again(tmp_path, parsed):
    store = filled(tmp_path / "runs", [record("aa", duration_s=1.0)])
    path = tmp_path / "runs" / "aa.json"
    check(store)
    status = path.stat()
    path.write_text(path.read_text().replace('"duration_s":1.0', '"duration_s":3.0'))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert check(store)["duration_s"].tolist() == [3.0]
    os.utime(path, (time.time() + OLD_S,) * 2)  # the clock was wrong
    parsed.clear()
    for _ in range(2):
        check(store)
    assert parsed == ["aa", "aa"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"PAR1"),
        lambda path: path.write_bytes(path.read_bytes()[:-50]),
        lambda path: path.write_bytes(b""),
        lambda path: pd.DataFrame({"file": ["aa"]}).to_parquet(path),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: path.chmod(0),
    ],
    ids=["header alone", "cut", "empty", "another table", "a folder", "not for us"],
)
def test_a_damaged_cache_is_replaced(tmp_path, cache, damage):
    store = filled(tmp_path / "runs", some_records(4))
    age(tmp_path / "runs")
    check(store)
    [path] = cache.rglob("*.parquet")
    damage(path)
    check(store)
    store.write(record("new"))
    check(store)


def test_a_cache_that_cannot_be_written_is_skipped(tmp_path, cache):
    cache.write_text("a file where a folder should be")
    store = filled(tmp_path / "runs", [record()])
    assert len(check(store)) == 1


def test_names_of_one_store_share_a_table_and_stores_do_not(tmp_path, cache):
    for name in ("a", "b"):
        Store(tmp_path / name).write(record(name * 4))
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for name in ("a", "b", "link", "b/../a"):
        check(Store(tmp_path / name))
    assert len(list(cache.rglob("*.parquet"))) == 2


def test_find_records_uses_the_cached_table(smoke_store, smoke_records, tmp_path):
    study = load_study("smoke")
    other = smoke_records[0].model_copy(update={"run_id": "other"})
    store = filled(tmp_path / "runs", [*smoke_records, other])
    store.write_file("bad.json", b"{")
    names = {r.architecture for r in smoke_records}
    found = find_records(study, store, names)
    assert found == sorted(smoke_records, key=lambda r: r.run_id)
    one = min(names)
    assert {r.architecture for r in find_records(study, store, [one])} == {one}
    assert find_records(study, Store(tmp_path / "nowhere"), names) == []
