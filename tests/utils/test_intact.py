"""Files found intact are read again if they may have changed, and only then."""

import hashlib
import os
import time

import pytest

from greencv_core.utils import intact
from greencv_core.utils.intact import IntactFiles, files_digest


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Reader:
    """Compares the hash of a file, and counts how often it is read."""

    def __init__(self):
        self.reads = 0

    def __call__(self, file, known_hash):
        self.reads += 1
        return sha256(file.read_bytes()) == known_hash


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(intact, "SETTLED_AFTER_S", 0.05)
    path = tmp_path / "data.csv"
    path.write_bytes(b"abc")
    time.sleep(0.1)
    return path


def check(file, content=b"abc"):
    """Return whether a new process finds the file intact, and whether it read the file."""
    known, reader = IntactFiles(), Reader()
    found = known.check(file, sha256(content), reader)
    known.keep()
    return found, bool(reader.reads)


def test_an_intact_file_is_read_once(file):
    assert check(file) == (True, True)
    assert check(file) == (True, False)


def test_a_change_is_noticed_even_if_size_and_time_are_as_before(file):
    check(file)
    before = file.stat()
    file.write_bytes(b"abd")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert check(file) == (False, True)


def test_another_file_in_its_place_is_read(file):
    check(file)
    before = file.stat()
    other = file.with_name("other")
    other.write_bytes(b"abd")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    assert check(file) == (False, True)


def test_another_hash_is_compared_with_the_file(file):
    check(file)
    assert check(file, b"xyz") == (False, True)
    assert check(file) == (True, False)


def test_a_file_that_was_just_written_may_still_change(file, monkeypatch):
    monkeypatch.setattr(intact, "SETTLED_AFTER_S", 60)
    assert check(file) == check(file) == (True, True)


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"a": 3}', b"\xff"])
def test_a_damaged_memory_only_costs_time(file, tmp_path, content):
    check(file)
    (tmp_path / "cache" / "greencv" / "intact.json").write_bytes(content)
    assert check(file) == (True, True)
    assert check(file) == (True, False)


def test_what_two_processes_find_is_kept(file):
    other = file.with_name("other.csv")
    other.write_bytes(b"abc")
    time.sleep(0.1)
    first, second = IntactFiles(), IntactFiles()
    for known, path in ((first, file), (second, other)):
        known.check(path, sha256(b"abc"), Reader())
    first.keep()
    second.keep()
    assert check(file) == check(other) == (True, False)


def test_a_file_that_cannot_be_read_any_more_is_not_intact(file):
    check(file)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        check(file)


def test_a_digest_of_files_follows_their_content(file):
    other = file.with_name("other.csv")
    other.write_bytes(b"other")
    time.sleep(0.1)
    first = files_digest([file, other])
    assert files_digest([file, other]) == first != files_digest([other, file])
    before = file.stat()
    file.write_bytes(b"abd")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    changed = files_digest([file, other])
    assert changed != first
    file.write_bytes(b"abc")
    assert files_digest([file, other]) == first
    other.unlink()
    assert files_digest([file, other]) == files_digest([file])


def test_a_hash_that_was_computed_is_known_when_it_is_checked(file):
    files_digest([file])
    assert check(file) == (True, False)
    known = IntactFiles()
    known.check(file, "md5:" + hashlib.md5(b"abc").hexdigest(), lambda *_: True)
    known.keep()
    assert IntactFiles().sha256(file) == sha256(b"abc")
    assert check(file) == (True, False)
