"""Backends of a store: folders, full disks and object stores; errors are one line."""

import json
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
import time
import uuid

import pytest

from greencv_core.records.backends.base import READ_BYTES, read_regular_file
from greencv_core.records.merge import merge
from greencv_core.records.record import SCHEMA_VERSION, RunRecord
from greencv_core.records.store import Damaged, Store, parse_file
from greencv_core.records.table_cache import cached_runs_table
from greencv_core.utils.errors import GreencvError, UnavailableError
from greencv_core.utils.secrets import safe_line
from tests.conftest import greencv_here
from tests.records.conftest import fill_up
from tests.support.made_up_records import RUN, record
from tests.support.refusals import refusal

HOUR_S = 3600


@pytest.fixture(scope="module")
def s3():
    """Serve S3 on this machine alone."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        import s3fs

        s3fs.S3FileSystem(skip_instance_cache=True).mkdir("lab")
        yield "s3://lab"
    server.stop()


@pytest.fixture(params=["folder", "s3", "memory"])
def location(request, tmp_path):
    """Return a place for a store, of each kind."""
    if request.param == "folder":
        return str(tmp_path / "store")
    base = request.getfixturevalue("s3") if request.param == "s3" else "memory://"
    return f"{base}/{uuid.uuid4().hex}"


def test_a_record_survives_every_kind_of_store(location):
    store = Store(location)
    assert (store.run_ids(), store.read("nothing")) == ([], None)
    assert store.prepare() == []
    store.write(record("aa"))
    store.check_space()
    store.write(record("ab", duration_s=2.0))
    again = pickle.loads(pickle.dumps(store))
    assert again.where == location
    assert again.run_ids() == ["aa", "ab"]
    assert list(again.records()) == [record("aa"), record("ab", duration_s=2.0)]
    assert again.where_of("aa") == f"{location}/aa.json"


def test_the_better_record_stays_in_every_kind_of_store(location):
    store = Store(location)
    failed, finished = record(status="failed"), record()
    stopped, incomplete = record(status="stopped", complete=False), record(complete=False)
    best, last_stamp = failed, None
    for written in (failed, stopped, failed, incomplete, finished, failed, incomplete):
        store.write(written)
        best = max(best, written, key=[failed, stopped, incomplete, finished].index)
        assert store.read(RUN) == best
        stamp = store.stamps()[RUN].text
        assert (stamp == last_stamp) == (written != best)
        last_stamp = stamp


def test_stale_listings_hide_nothing(location):
    one, other = Store(location), Store(location)
    one.write(record("aa"))
    assert other.run_ids() == ["aa"]
    one.write(record("ab"))
    assert other.run_ids() == ["aa", "ab"]


def test_damaged_files_are_moved_aside_and_named(location):
    store = Store(location)
    store.write(record())
    for name in ("bad", "bad-2"):
        store.write_file("bad.json", b"{")
        [moved] = store.prepare()
        assert moved.where == f"{location}/damaged/{name}.json"
        assert moved.reason.startswith("not a JSON file")
    assert list(store.records()) == [record()]


def test_records_of_a_newer_greencv_are_left_alone(location):
    store = Store(location)
    store.write_file(f"{RUN}.json", newer_record())
    stamp = store.stamps()[RUN].text
    text = refusal(store.write, record(), kind=GreencvError)
    assert "newer greencv and is not replaced" in text
    newer = rf"1 record was .* \(schema {SCHEMA_VERSION + 1}; .*: update greencv"
    assert re.search(newer, refusal(store.prepare))
    assert store.stamps()[RUN].text == stamp


def test_stores_of_all_kinds_merge(location, tmp_path):
    Store(tmp_path / "source").write(record("aa"))
    assert merge([tmp_path / "source"], Store(location)).copied == ["aa"]
    assert merge([location], Store(tmp_path / "back")).copied == ["aa"]
    assert "is the store that is merged into" in refusal(merge, [location], Store(location))


def test_a_bucket_is_a_store_of_the_command_line(s3):
    url = f"{s3}/{uuid.uuid4().hex}"
    Store(url).write(record())
    done = greencv_here("runs", "list", "--json", "--store", url)
    assert (done.returncode, len(json.loads(done.stdout)["runs"])) == (0, 1)
    done = greencv_here("runs", "show", RUN[:4], "--store", url)
    assert RunRecord.model_validate(json.loads(done.stdout)) == record()


def test_errors_of_a_url_are_one_line(s3, monkeypatch):
    for url, text in (
        ("s3://nobodys/runs", "bucket nobodys does not exist"),
        ("nosuch://a/b", "cannot be opened"),
    ):
        assert refusal(Store(url).prepare).startswith(f"{url}: {text}")
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert "pip install 'greencv[distributed]'" in refusal(Store("s3://lab/runs").run_ids)


def test_an_unavailable_server_is_one_line(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    store = Store("s3://lab/runs")
    assert "does not respond" in refusal(store.prepare)
    # The queue retries a finished run, because the server may come back.
    assert "does not respond" in refusal(store.write, record(), kind=UnavailableError)


def test_credentials_are_in_no_message():
    text = refusal(Store, "nosuch://key:secret@host/runs")
    assert "move the credentials to environment" in text
    assert "secret" not in text
    assert safe_line("a\n\x1b[31m b://u:p@c") == "a [31m b://c"


def test_prepare_removes_only_abandoned_files(tmp_path):
    old, fresh = tmp_path / ".writing-old", tmp_path / ".writing-fresh"
    for path, age_s in ((old, 2 * HOUR_S), (fresh, HOUR_S / 2)):
        path.write_text("{")
        os.utime(path, (time.time() - age_s,) * 2)
    Store(tmp_path).prepare()
    assert list(tmp_path.iterdir()) == [fresh]


def test_a_record_is_as_readable_as_the_umask_allows(tmp_path):
    before = os.umask(0o027)
    try:
        Store(tmp_path).write(record())
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in tmp_path.glob("*.json")] == [0o640]


def test_a_full_disk_is_reported_before_a_run_and_when_its_record_is_written(small_disk):
    store = Store(small_disk)
    store.check_space()
    store.write(record("aa"))
    fill_up(small_disk)
    for call in (store.check_space, lambda: store.write(record("ab", reason="x" * 50_000))):
        assert "no space left for the record of a run" in refusal(call, kind=GreencvError)
    assert store.read("aa") == record("aa")
    assert sorted(p.name for p in small_disk.iterdir()) == ["aa.json", "other"]


def test_a_read_only_disk_is_reported_before_training(small_disk):
    Store(small_disk).write(record())
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    store = Store(small_disk)
    assert "cannot be written to: Read-only" in refusal(store.prepare)
    assert store.read(RUN) == record()


def _write_many(location, worse):
    store = Store(location)
    for number in range(40):
        store.write(record(f"{number:04}", status="failed" if worse else "finished"))


def test_two_processes_write_one_store(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(tmp_path, w)) for w in (True, False)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [r.status for r in Store(tmp_path).records()] == ["finished"] * 40
    assert len(list(tmp_path.iterdir())) == 40


def _text(**changed):
    return json.dumps({**record().model_dump(mode="json"), **changed}).encode()


BROKEN = {
    "nothing": b"",
    "not UTF-8": b'\xff{"schema_version": 5}',
    "a NUL": b'{"schema_version": 5, "a": "\x00"}',
    "deeply nested": b"[" * 100_000,
    "a huge number": b'{"schema_version": ' + b"9" * 5000 + b"}",
    "a large number": _text(order=10**30),
    "NaN": _text(duration_s=float("nan")),
    "Infinity": _text(duration_s=float("inf")),
    "a name twice": _text().replace(b'"order": 0', b'"order": 0, "order": 1'),
    "half a character": _text(reason="?").replace(b'"?"', b'"\\ud800"'),
    "a list": b"[]",
    "a version that is no number": _text(schema_version=True),
    "no such field": _text(**{"evil\n\x1b[31m": "x" * 1000}),
    "a wrong type": _text(epochs="many"),
    "another run": _text(run_id="another\nrun" * 50),
    "epochs that are none": _text(final_epoch=7, epochs=[{
        "epoch": 1, "train_loss": 1, "validation_loss": 1, "accuracy": 1, "precision_macro": 1,
        "recall_macro": 1, "f1_macro": 1, "auroc_macro": 1, "duration_s": 1, "energy_j": None,
    }]),
    "no environment": _text(environment={}),
    "a field of many": _text(environment={"name": "a", "threads": [1]}),
    "an uneven trace": _text(trace={"time_s": {"cpu": [1]}, "power_w": {"cpu": []}}),
}  # fmt: skip


def newer_record():
    return _text(schema_version=SCHEMA_VERSION + 1, unheard_of=1)


@pytest.mark.parametrize("written", BROKEN.values(), ids=BROKEN)
def test_damage_of_a_file_is_described_in_one_line(written):
    damaged = parse_file(f"/store/{RUN}.json", written)
    assert isinstance(damaged, Damaged)
    assert damaged.lost
    assert damaged.reason.isprintable()
    assert len(damaged.reason) <= 300


def test_other_than_regular_files_are_not_read_and_stay(tmp_path):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe.json")
    store = Store(tmp_path)
    found = list(store.records())
    assert [(d.reason.split(":")[0], d.lost) for d in found] == [("cannot be read", False)] * 3
    assert store.prepare() == []
    assert len(store.run_ids()) == 3


def test_a_file_is_read_whole_or_up_to_a_limit(tmp_path):
    for size in (0, 1, READ_BYTES - 1, READ_BYTES, READ_BYTES + 1, 3 * READ_BYTES + 7):
        content = os.urandom(size)
        (tmp_path / "a").write_bytes(content)
        assert read_regular_file(tmp_path / "a") == content
        for limit in (1, READ_BYTES, READ_BYTES + 1):
            assert read_regular_file(tmp_path / "a", limit) == content[:limit]


def test_a_file_name_that_is_not_utf_8_is_ignored(tmp_path):
    (tmp_path / "é.json").write_text("{")
    (tmp_path / os.fsdecode(b"\xff.json")).write_text("{")
    assert Store(tmp_path).run_ids() == ["é"]
    frame, damaged = cached_runs_table(Store(tmp_path))
    assert frame.empty
    assert [d.where for d in damaged] == [str(tmp_path / "é.json")]
