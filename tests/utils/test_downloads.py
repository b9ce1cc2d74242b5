"""Verified downloads: caching, resuming, mirrors, folders, and messages about missing files."""

import hashlib
import http.server
import os
import re
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

from greencv_core.utils import downloads
from greencv_core.utils.downloads import DataUnavailableError, Release, fetch, summarise_problems
from tests.conftest import NOBODY, greencv
from tests.support.refusals import one_line, refusal


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A server with a release of five files, an empty cache, and the requested paths."""
    folder = tmp_path / "site"
    state = SimpleNamespace(
        requested=[], dies_after=None, hangs_after=None, busy_after=None, silent=False,
        folder=folder,
    )  # fmt: skip

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def do_GET(self):
            with lock:
                dead = state.dies_after is not None and len(state.requested) >= state.dies_after
                if not dead:
                    state.requested.append(self.path)
            if state.busy_after is not None and len(state.requested) > state.busy_after:
                self.send_error(429)
                return
            if dead:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nhalf a fi")
                self.connection.close()
                return
            if state.hangs_after is not None and len(state.requested) > state.hangs_after:
                over.wait(30)
                return
            super().do_GET()

        def do_HEAD(self):
            if state.silent:
                over.wait(30)
            elif state.dies_after == 0:
                self.connection.close()
            else:
                super().do_HEAD()

        def log_message(self, *_):
            pass

    lock, over = threading.Lock(), threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GREENCV_DATA")
    state.url = f"http://127.0.0.1:{server.server_port}"
    state.release = release_at(state, [f"raw/{i}.csv" for i in range(5)])
    yield state
    over.set()
    server.shutdown()
    server.server_close()


def release_at(site, paths):
    """Put files on the server and return their release."""
    hashes = {}
    for path in paths:
        file = site.folder / "there" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        content = f"file {file.stem}\n".encode() * 100
        file.write_bytes(content)
        hashes[path] = hashlib.sha256(content).hexdigest()
    return Release("made-up", f"{site.url}/there", hashes, url_path=lambda path: path)


unavailable = partial(refusal, fetch, kind=DataUnavailableError)


def test_files_are_downloaded_once(site):
    steps = []
    first = fetch(site.release, lambda done, total: steps.append((done, total)))
    assert set(first.files) == set(site.release.hashes)
    assert first.problems == ()
    assert steps == [(i, 5) for i in range(6)]
    assert first.files["raw/3.csv"].read_bytes() == b"file 3\n" * 100
    requested = len(site.requested)
    assert requested == 5
    assert fetch(site.release).files == first.files
    assert len(site.requested) == requested


def test_parallel_downloads_create_all_folders(site, tmp_path, monkeypatch):
    release = release_at(site, [f"raw/{i}/{j}/log.csv" for i in range(12) for j in range(3)])
    for round_ in range(3):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache {round_}"))
        fetched = fetch(release)
        assert len(fetched.files) == 36
        assert fetched.problems == ()


def test_an_interrupted_download_resumes(site):
    site.dies_after = 2
    first = fetch(site.release)
    assert len(first.files) == len(site.requested) == 2
    assert len(first.problems) == 3
    assert all(re.fullmatch(r"raw/\d\.csv: no response from http://\S+", p) for p in first.problems)
    site.dies_after = None
    steps = []
    assert len(fetch(site.release, lambda done, total: steps.append((done, total))).files) == 5
    assert len(site.requested) == 5  # nothing twice
    assert steps == [(2, 5), (3, 5), (4, 5), (5, 5)]


def test_a_server_without_any_response_is_one_line(site):
    site.dies_after = 0
    text = unavailable(site.release)
    assert "could not be downloaded" in text
    assert "finished downloads are kept" in text


def test_a_silent_server_is_given_up_after_the_first_request(site, monkeypatch):
    monkeypatch.setattr(downloads, "FIRST_RESPONSE_S", 0.3)
    monkeypatch.setattr(downloads, "TIMEOUT_S", 60.0)
    site.silent = True
    started_s = time.monotonic()
    assert "no response from" in unavailable(site.release)
    assert time.monotonic() - started_s < downloads.TIMEOUT_S
    assert site.requested == []


def test_parallel_fetches_download_each_file_once(site):
    with ThreadPoolExecutor(3) as threads:
        fetched = list(threads.map(fetch, [site.release] * 3))
    assert [len(one.files) for one in fetched] == [5, 5, 5]
    assert len(site.requested) == 5


def test_messages_do_not_show_the_password_of_a_mirror(site, monkeypatch):
    monkeypatch.setenv("GREENCV_DATA", "http://me:pass-word-1@127.0.0.1:9/?token=abcdef")
    text = unavailable(site.release)
    assert "pass-word-1" not in text
    assert "abcdef" not in text
    assert "http://[…]@127.0.0.1:9/" in text


@pytest.mark.parametrize("how", ["drops", "is busy"])
def test_brief_failures_of_the_server_cost_no_file(site, how):
    release = release_at(site, [f"raw/{i}/log.csv" for i in range(40)])

    def trouble():
        while len(site.requested) < 10:
            time.sleep(0.001)
        setattr(site, "dies_after" if how == "drops" else "busy_after", 10)
        time.sleep(1.5)
        site.dies_after = site.busy_after = None

    threading.Thread(target=trouble, daemon=True).start()
    fetched = fetch(release)
    assert fetched.problems == ()
    assert len(fetched.files) == 40


def test_without_a_network_cached_files_are_used(site):
    lost = fetch(site.release).files["raw/2.csv"]
    offline = replace(site.release, base_url=NOBODY)
    assert len(fetch(offline).files) == 5
    lost.unlink()
    fetched = fetch(offline)
    assert set(fetched.files) == set(site.release.hashes) - {"raw/2.csv"}
    assert fetched.problems == (f"raw/2.csv: no response from {NOBODY}",)


@pytest.mark.parametrize("answered", [0, 1])
def test_ctrl_c_does_not_wait_for_a_slow_server(site, answered, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT_S", 60.0)
    site.hangs_after = answered

    def interrupt():
        while len(site.requested) <= answered:
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        began_s = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            fetch(site.release)
        assert time.monotonic() - began_s < downloads.TIMEOUT_S
    finally:
        signal.signal(signal.SIGINT, before)


def test_unfinished_files_of_earlier_downloads_are_deleted(site, tmp_path):
    left = tmp_path / "cache" / "greencv" / "made-up" / "raw" / "tmpabc"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    fetch(site.release)
    assert not left.exists()


def test_a_file_with_a_wrong_hash_is_named_and_the_others_are_kept(site):
    bad = site.folder / "there" / "raw" / "2.csv"
    good = bad.read_bytes()
    bad.write_bytes(good.replace(b"f", b"g", 1))
    (site.folder / "there" / "raw" / "4.csv").rename(site.folder / "elsewhere")
    fetched = fetch(site.release)
    assert set(fetched.files) == {"raw/0.csv", "raw/1.csv", "raw/3.csv"}
    wrong, missing = fetched.problems
    assert re.fullmatch(r"raw/2\.csv: the copy at http://\S+ is not the published file .*", wrong)
    assert re.fullmatch(r"raw/4\.csv: http://\S+ responds with 404", missing)
    bad.write_bytes(good)  # the server is repaired: only missing files are requested
    before = len(site.requested)
    assert "raw/2.csv" in fetch(site.release).files
    assert {path[-5] for path in site.requested[before:]} == {"2", "4"}


def test_many_problems_are_summarised_by_folder():
    few = [f"raw/a/{i}.csv: missing" for i in range(10)]
    assert summarise_problems(few) == tuple(few)
    many = [*few, "raw/b/1.csv: damaged"]
    assert summarise_problems(many) == ("raw/a: 10 files: missing", "raw/b: 1 file: damaged")


def test_a_file_damaged_in_the_cache_is_downloaded_again(site):
    damaged = fetch(site.release).files["raw/1.csv"]
    damaged.write_bytes(b"nonsense")
    assert fetch(site.release).files["raw/1.csv"].read_bytes() == b"file 1\n" * 100


@pytest.mark.parametrize("layout", ["made-up/raw", "raw"])
@pytest.mark.parametrize("kind", ["mirror", "folder"])
def test_a_mirror_or_a_folder_replaces_the_download(site, layout, kind, tmp_path, monkeypatch):
    other = tmp_path / "site" / "other"
    shutil.copytree(site.folder / "there" / "raw", other / layout)
    monkeypatch.setenv("GREENCV_DATA", f"{site.url}/other/" if kind == "mirror" else str(other))
    fetched = fetch(site.release)
    assert len(fetched.files) == 5
    assert fetched.problems == ()
    assert not any(path.startswith("/there") for path in site.requested)


def test_a_mirror_with_another_layout_completes_a_cache(site, tmp_path, monkeypatch):
    fetch(site.release).files["raw/3.csv"].unlink()
    shutil.copytree(site.folder / "there" / "raw", tmp_path / "site" / "other" / "raw")
    monkeypatch.setenv("GREENCV_DATA", f"{site.url}/other")
    assert len(fetch(site.release).files) == 5


@pytest.mark.parametrize("location", ["file:///data", "http://", "http://[bad", "~nosuchuser/x"])
def test_an_invalid_location_is_one_line(site, location, monkeypatch):
    monkeypatch.setenv("GREENCV_DATA", location)
    text = unavailable(site.release)
    assert "GREENCV_DATA" in text
    assert location.removeprefix("~").rstrip("/") in text


def test_a_folder_without_the_data_is_one_line(site, tmp_path, monkeypatch):
    monkeypatch.setenv("GREENCV_DATA", str(tmp_path))
    assert "which has no file of made-up; unset it" in unavailable(site.release)


@pytest.mark.parametrize("named", [NOBODY, ""])
def test_no_network_is_one_line(named, tmp_path):
    environment = {"GREENCV_DATA": named, "XDG_CACHE_HOME": str(tmp_path), "https_proxy": NOBODY}
    text = one_line(greencv("reanalyse", **environment), 1)
    assert "could not be downloaded" in text
    assert "GREENCV_DATA" in text
