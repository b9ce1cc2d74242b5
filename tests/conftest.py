"""A smoke study, trained and metered once, that the tests look at from all sides."""

import atexit
import contextlib
import ctypes
import gc
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from unittest import mock

import filelock
import psutil
import pytest

from tests.support import simulated_gpu

ROOT = Path(__file__).resolve().parent.parent
GREENCV = Path(sys.executable).with_name("greencv")
REFERENCE = ROOT.parent / "shared" / "reference"
REPORT = os.environ.get("GREENCV_REPORT")
"""A built report to look at, its ``_build/html``; without one, the smoke study's is built."""
NOBODY = "http://127.0.0.1:9"
"""Where no mirror answers: a test downloads nothing from afar."""

# One greencv trains on a computer at a time, by a lock in the temporary folder. Each test process
# has a folder, and so a lock, of its own: neither a user's training nor another test refuses it.
own_folder = tempfile.mkdtemp(prefix="greencv-tests-")
atexit.register(shutil.rmtree, own_folder, ignore_errors=True)
os.environ["TMPDIR"] = tempfile.tempdir = own_folder
if "PYTEST_XDIST_WORKER" in os.environ:
    # Threads that wait actively keep another process's threads from their processor.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

if sys.platform == "linux":
    # Processes whose parent has ended become children of this one, so that it can end them.
    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

os.environ.setdefault("GREENCV_DATA", str(REFERENCE) if REFERENCE.is_dir() else NOBODY)


def pytest_collection_finish():
    """Spare what is imported by now from each collection of garbage.

    Statistics and meters ask for hundreds, and each would look at all the modules' objects.
    """
    gc.freeze()


def pytest_sessionfinish():
    """Let Python end as it does: torch's compiler complains of what is never freed."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def no_process_left_behind():
    """End every greencv command that the test started and that outlives it, also if it failed."""
    before = running_commands()
    yield
    left = [process for pid, process in running_commands().items() if pid not in before]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in [*process.children(recursive=True), process]:
                one.kill()
    psutil.wait_procs(left, timeout=10)


def running_commands():
    """Return the greencv commands below this process, by process id."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        # A process may end, or be a zombie that nobody has waited for, between two looks.
        with contextlib.suppress(psutil.NoSuchProcess):
            if any("greencv" in Path(word).name for word in process.cmdline()[:3]):
                found[process.pid] = process
    return found


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


def greencv_here(*arguments):
    """Run the command in this process: the same but for the seconds in which one starts."""
    from greencv_core.cli.app import main

    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.dict(os.environ, COLUMNS="160"),
    ):
        code = main([str(argument) for argument in arguments])
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def interrupted(*arguments, when):
    """Run the command and press Ctrl-C as soon as ``when()``; return exit code and errors told."""
    process = subprocess.Popen(
        [str(GREENCV), *map(str, arguments)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background job ignores Ctrl-C, and so would what is started from it.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 300
    while not when() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches the whole group
    try:
        _, told = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, told


@pytest.fixture(scope="session")
def smoke_store(tmp_path_factory):
    """Return the folder of the smoke study's records, trained by the command line.

    Processes that share the tests share it, too: the first one trains.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "smoke-store"
    with filelock.FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            made = folder.with_suffix(".made")
            done = greencv("run", "smoke", "--store", made)
            assert done.returncode == 0, done.stderr
            made.rename(folder)
    return folder


@pytest.fixture(scope="session")
def smoke_records(smoke_store):
    from greencv_core.records.record import RunRecord
    from greencv_core.records.store import Store

    records = list(Store(smoke_store).records())
    assert all(isinstance(record, RunRecord) for record in records)
    return records


@pytest.fixture(scope="session")
def smoke_runs(smoke_records):
    from greencv_core import runs_table

    return runs_table(smoke_records)


@pytest.fixture(scope="session")
def smoke_report(request, tmp_path_factory):
    """Return a copy of the project in which the smoke study's report is built, once for all."""
    if REPORT:
        return Path(REPORT).resolve().parents[1]
    store = request.getfixturevalue("smoke_store")
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "smoke-report"
    with filelock.FileLock(root.with_suffix(".lock")):
        if not (root / "_build" / "html.key").is_file():
            shutil.rmtree(root, ignore_errors=True)
            copy_project(root)
            shutil.copytree(store, root / "runs")
            # The copy's own code, for whose project is the folder that it is in.
            done = greencv(
                "book", "studies/smoke.yaml", "--no-train", "--store", root / "runs",
                # The published data have tests of their own, and take minutes.
                PYTHONPATH=str(root), GREENCV_DATA=NOBODY,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """Return the folder of the library that speaks NVML for a simulated GPU."""
    folder = tmp_path_factory.mktemp("nvml")
    if simulated_gpu.build(folder) is None:
        pytest.skip("no C compiler to build the NVML stand-in with")
    return folder


@pytest.fixture(scope="module")
def browser():
    """Return the system's browser for one module: Playwright's loop would disturb others."""
    from greencv_core.report.book.pdf import find_browser
    from tests.support.browser import chromium

    if find_browser() is None:
        told = "no Chromium or Chrome is installed"
        pytest.fail(told) if os.environ.get("CI") else pytest.skip(told)
    with chromium() as started:
        yield started


def copy_project(root):
    """Copy what the report is made from."""
    ignored = shutil.ignore_patterns(".git", ".venv", "_build", "runs", "notebooks", ".*_cache")
    shutil.copytree(ROOT, root, ignore=ignored)
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
