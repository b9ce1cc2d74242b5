"""Fixtures of the tests of records: a cache folder and a small disk for each test."""

import contextlib
import subprocess

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep runs tables in the test's own folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def small_disk(tmp_path):
    """Return a disk of 12 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "none", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("may not mount a file system here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill_up(disk):
    with contextlib.suppress(OSError), (disk / "other").open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
