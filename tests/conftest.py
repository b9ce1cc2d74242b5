"""A smoke study, trained and metered once, that the tests look at from all sides."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GREENCV = Path(sys.executable).with_name("greencv")
REFERENCE = ROOT.parent / "shared" / "reference"
NOBODY = "http://127.0.0.1:9"
"""Where no mirror answers: a test downloads nothing from afar."""

os.environ.setdefault("GREENCV_DATA", str(REFERENCE) if REFERENCE.is_dir() else NOBODY)


def greencv(*arguments, **environment):
    """Run the command as a user would."""
    return subprocess.run(
        [str(GREENCV), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "160", **environment},
        timeout=600,
    )


@pytest.fixture(scope="session")
def smoke_store(tmp_path_factory):
    """Return the folder of the smoke study's records, trained by the command line."""
    folder = tmp_path_factory.mktemp("store")
    done = greencv("run", "smoke", "--store", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def smoke_records(smoke_store):
    from greencv_core.records import RunRecord, Store

    records = list(Store(smoke_store).records())
    assert all(isinstance(record, RunRecord) for record in records)
    return records


@pytest.fixture(scope="session")
def smoke_runs(smoke_records):
    from greencv_core import runs_table

    return runs_table(smoke_records)
