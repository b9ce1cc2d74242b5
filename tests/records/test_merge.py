"""Merge stores: the best record of each run, in any order, also after an interruption."""

import errno
import itertools
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greencv_core.records.merge import Conflict, Merge, merge
from greencv_core.records.store import SUPERSEDED, Store
from greencv_core.utils.errors import GreencvError
from tests.records.conftest import filled
from tests.support.made_up_records import RUN, STARTED, record
from tests.support.refusals import refusal

EARLIER, LATER = STARTED, "2026-01-02T08:00:00+00:00"


def store(folder, *records):
    return filled(folder, records).location


def files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != ".lock"}


def rewrite(path):
    """Write a record as another version might: one line a field, in another order."""
    fields = dict(reversed(json.loads(path.read_text()).items()))
    path.write_text(json.dumps(fields, indent=1) + "\n")


def conflict(kept, other, together=False):
    files = (str(folder / f"{RUN}.json") for folder in (kept, other))
    return Conflict(RUN, "resnet18 @ cpu-1-thread", 1, *files, together)


def test_new_runs_are_copied_byte_for_byte(tmp_path):
    a, b = store(tmp_path / "a", record("aa"), record("ab")), store(tmp_path / "b", record("ba"))
    rewrite(b / "ba.json")
    dest = tmp_path / "new" / "dest"
    assert merge([a, b], Store(dest)) == Merge(copied=["aa", "ab", "ba"])
    assert files(dest) == files(a) | files(b)
    assert {p.stat().st_mode & 0o777 for p in dest.glob("*.json")} == {0o644}


def test_an_equal_record_stays_untouched(tmp_path):
    a, dest = store(tmp_path / "a", record()), store(tmp_path / "dest", record())
    rewrite(a / f"{RUN}.json")
    before = (dest / f"{RUN}.json").stat()
    assert merge([a], Store(dest)) == Merge(same=[RUN])
    after = (dest / f"{RUN}.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    "worse",
    [{"status": "failed", "reason": "no more memory"}, {"complete": False}],
    ids=["failed", "incomplete"],
)
def test_the_better_record_is_kept_without_a_conflict(tmp_path, worse):
    good, bad = record(started_at=LATER), record(started_at=EARLIER, **worse)
    a, b, dest = (store(tmp_path / n, r) for n, r in (("a", good), ("b", bad), ("dest", bad)))
    for sources, into, expected in (
        ([a], dest, Merge(replaced=[RUN])),
        ([b], dest, Merge(kept=[RUN])),
        ([b, a], dest, Merge(same=[RUN])),
        ([b, a], tmp_path / "other", Merge(copied=[RUN])),
    ):
        assert merge(sources, Store(into)) == expected
        assert files(into) == files(a)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_run_that_was_made_twice_is_a_conflict(tmp_path, swapped):
    a = store(tmp_path / "a", record(started_at=EARLIER))
    b = store(tmp_path / "b", record(started_at=LATER))
    dest = tmp_path / "dest"
    done = merge([b, a] if swapped else [a, b], Store(dest))
    assert done == Merge(copied=[RUN], conflicts=[conflict(a, b)])
    assert done.conflicts[0].describe() == (
        f"run 0123abcd (resnet18 @ cpu-1-thread, repetition 2) was made twice: {a}/{RUN}.json and "
        f"{b}/{RUN}.json differ; the one started earlier, {a}/{RUN}.json, is kept"
    )
    assert files(dest) == files(a)


def test_a_record_that_started_earlier_replaces_the_stores_own(tmp_path):
    a = store(tmp_path / "a", record(started_at=EARLIER))
    b, dest = (store(tmp_path / name, record(started_at=LATER)) for name in ("b", "dest"))
    for sources, expected in (
        ([a], Merge(conflicts=[conflict(a, dest)])),
        ([b], Merge(conflicts=[conflict(dest, b)])),
        ([a, b], Merge(same=[RUN], conflicts=[conflict(dest, b)])),
    ):
        assert merge(sources, Store(dest)) == expected
        assert files(dest) == files(a)
        assert list(files(dest / SUPERSEDED).values()) == list(files(b).values())


def test_a_conflict_of_equal_starts_claims_no_earlier_one(tmp_path):
    a, b = (store(tmp_path / name, record(duration_s=s)) for name, s in (("a", 1.0), ("b", 2.0)))
    for order in ([a, b], [b, a]):
        dest = tmp_path / f"dest-of-{order[0].name}"
        done = merge(order, Store(dest))
        assert done.conflicts == [conflict(a, b, together=True)]
        text = done.conflicts[0].describe()
        assert "earlier" not in text
        assert f"same time, and {a}/{RUN}.json is kept" in text
        assert files(dest) == files(a)


def test_one_conflict_for_each_other_content(tmp_path):
    starts = {"a": EARLIER, "b": LATER, "c": LATER, "d": LATER + "!"}
    a, b, c, d = (store(tmp_path / n, record(started_at=at)) for n, at in starts.items())
    done = merge([a, b, c, d, b], Store(tmp_path / "dest"))
    assert done.conflicts == [conflict(a, b), conflict(a, d)]
    failed = [
        store(tmp_path / f"failed-{n}", record(started_at=at, status="failed"))
        for n, at in (("e", EARLIER), ("f", LATER))
    ]
    done = merge([*failed, a], Store(tmp_path / "second"))
    assert done.conflicts == []  # what differs is not kept anyway
    assert files(tmp_path / "second") == files(a)


variants = st.builds(
    dict,
    status=st.sampled_from(["finished", "failed"]),
    complete=st.booleans(),
    started_at=st.sampled_from([EARLIER, LATER]),
    net_energy_j=st.sampled_from([None, 1.0, float("nan")]),
)
some_stores = st.lists(
    st.dictionaries(st.sampled_from(["r1", "r2", "r3"]), variants, min_size=1),
    min_size=2,
    max_size=3,
)


def expected_files(stores):
    """Return the outcome, computed from all records at once."""
    found = {}
    for run_id, fields in itertools.chain.from_iterable(s.items() for s in stores):
        text = json.dumps(json.loads(record(run_id, **fields).model_dump_json()), sort_keys=True)
        rank = (fields["status"] != "finished", not fields["complete"], fields["started_at"], text)
        found[run_id] = min(found.get(run_id, rank), rank)
    return {f"{run_id}.json": json.loads(rank[-1]) for run_id, rank in found.items()}


@settings(max_examples=60, deadline=None)
@given(some_stores, st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_changes_the_outcome(stores, chance):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = [
            store(folder / str(i), *(record(run_id, **v) for run_id, v in made.items()))
            for i, made in enumerate(stores)
        ]
        before = [files(source) for source in sources]
        order = chance.sample(sources, len(sources))
        merge(order, Store(folder / "at-once"))
        for source in [*order, *chance.sample(order, 1)]:
            merge([source], Store(folder / "one-by-one"))
        expected = expected_files(stores)
        for dest in (folder / "at-once", folder / "one-by-one"):
            held = files(dest)
            assert {n: json.loads(text) for n, text in held.items()} == expected
            again = merge(sources, Store(dest))
            assert (again.copied, again.replaced, again.kept) == ([], [], [])
            assert again.same == sorted(n.removesuffix(".json") for n in expected)
            assert files(dest) == held
        assert [files(source) for source in sources] == before


def test_an_invalid_source_is_one_line_and_nothing_is_copied(tmp_path):
    good = store(tmp_path / "good", record())
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "strange").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "strange" / "package.json").write_text("{}")
    for name, text in (
        ("missing", "No such file or directory"),
        ("file", "Not a directory"),
        ("loop", "Too many levels of symbolic links"),
        ("empty", "contains no run records"),
        ("strange", "contains no run records; package.json: record version None"),
    ):
        line = refusal(merge, [good, tmp_path / name], Store(tmp_path / "dest"))
        assert line.startswith(f"{tmp_path / name}: ")
        assert line.partition("; this greencv")[0].endswith(text)
        assert not (tmp_path / "dest").exists()


def test_a_store_is_not_merged_into_itself(tmp_path):
    good, other = store(tmp_path / "good", record()), store(tmp_path / "other", record("aa"))
    (tmp_path / "link").symlink_to(good)
    for source, dest in itertools.permutations([good, tmp_path / "link", good / ".." / "good"], 2):
        assert "is the store that is merged into" in refusal(merge, [other, source], Store(dest))
    assert list(files(good)) == [f"{RUN}.json"]


def test_damage_in_a_source_is_reported_and_left_out(tmp_path):
    a = store(tmp_path / "a", record("aa"), record("ab"), record("ac"))
    b = store(tmp_path / "b", record("aa"))
    (a / "aa.json").write_text((a / "aa.json").read_text()[:40])
    (a / "ab.json").rename(a / "az.json")
    (a / "ad.json").symlink_to(a / "gone.json")
    (a / "ae.json").mkdir()
    (a / ".writing-half").write_text("{")
    (a / ".hidden.json").write_text("{")
    (tmp_path / "link").symlink_to(a)
    done = merge([a, b, tmp_path / "link"], Store(tmp_path / "dest"))
    assert done.copied == ["aa", "ac"]
    assert len(done.damaged) == 4  # once each, though the folder is named twice
    assert {Path(d.where).name: d.reason.split(":")[0] for d in done.damaged} == {
        "aa.json": "not a JSON file",
        "ad.json": "cannot be read",
        "ae.json": "cannot be read",
        "az.json": "contains the record of run ab",
    }
    assert {Path(d.where).parent for d in done.damaged} == {a}
    assert files(tmp_path / "dest") == files(b) | {"ac.json": (a / "ac.json").read_bytes()}


def test_a_damaged_file_of_the_store_is_replaced(tmp_path):
    a, dest = store(tmp_path / "a", record()), store(tmp_path / "dest", record())
    (dest / f"{RUN}.json").write_text("{")
    assert merge([a], Store(dest)) == Merge(replaced=[RUN])
    assert files(dest) == files(a)


@pytest.mark.parametrize("raised", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["fsync", "replace"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_an_interrupted_merge_is_completed_by_the_same_merge(
    tmp_path, monkeypatch, raised, where, nth
):
    a = store(tmp_path / "a", record("aa"), record("ab", started_at=EARLIER), record("ac"))
    bad = store(tmp_path / "bad", record("ac", status="failed"))
    dest = tmp_path / "dest"
    merge([bad], Store(dest))
    calls = itertools.count(1)
    owner = os if where == "fsync" else Path
    works = getattr(owner, where)

    def breaks(*arguments):
        if next(calls) == nth:
            raise raised
        return works(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, where, breaks)
        expected = GreencvError if isinstance(raised, OSError) else KeyboardInterrupt
        with pytest.raises(expected):
            merge([a], Store(dest))
    whole = files(a)
    until = {n: t for n, t in files(dest).items() if not n.startswith(".")}
    assert until == files(bad) | dict(list(sorted(whole.items()))[: nth - 1])
    if isinstance(raised, OSError):
        assert len(files(dest)) == len(until)  # no incomplete file is left
    done = merge([a], Store(dest))
    assert files(dest) == whole
    assert (len(done.same), len(done.copied), done.replaced) == (nth - 1, max(3 - nth, 0), ["ac"])


def test_a_record_is_flushed_before_it_is_renamed(tmp_path, monkeypatch):
    a = store(tmp_path / "a", record("aa"), record("ab"))
    steps = []
    fsync, replace = os.fsync, Path.replace

    def flushed(number):
        steps.append(("flushed", os.fstat(number).st_size))
        fsync(number)

    def moved(path, target):
        steps.append(("moved", Path(target).name))
        assert path.parent == Path(target).parent
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", moved)
    merge([a], Store(tmp_path / "dest"))
    expected = []
    for name, text in sorted(files(a).items()):
        expected += [("flushed", len(text)), ("moved", name)]
    assert steps == expected
