"""Fixtures of the tests of records: a cache folder, a small disk and a bundle."""

import contextlib
import json
import subprocess
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from greencv_core.machine.hardware import describe_machine
from greencv_core.records.backends.bundle import KEY, study_digest
from greencv_core.records.store import Store
from tests.conftest import greencv_here


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


@pytest.fixture(scope="session")
def smoke_bundle(smoke_store, tmp_path_factory):
    """Return the smoke study's bundle, packed by the command line."""
    path = tmp_path_factory.mktemp("bundles") / "smoke.parquet"
    done = greencv_here("bundle", "smoke", "--store", smoke_store, "--output", path)
    assert done.returncode == 0, done.stderr
    return path


def filled(folder, records):
    """Return a store of records."""
    store = Store(folder)
    for record in records:
        store.write(record)
    return store


def rewritten(path, about=None, table=None, **options):
    """Write a bundle again, with another table or other metadata."""
    table = pq.read_table(path) if table is None else table
    stated = json.loads(pq.read_metadata(path).metadata[KEY])
    stated = {**stated, "runs": table.num_rows, **(about or {})}
    if "study_sha256" not in (about or {}):
        stated["study_sha256"] = study_digest(str(stated["study"]))
    with pq.ParquetWriter(path, table.schema, store_schema=False, **options) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({KEY: json.dumps(stated)})
    return path


def another_machine():
    """Return a machine of which nothing is like ours."""
    return replace(describe_machine(), cpu_model="another", cpu_count=96)
