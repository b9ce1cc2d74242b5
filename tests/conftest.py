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
from tests.support.file_server import FileServer

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


def python(*arguments, cwd=ROOT, **environment):
    """Run Python in a process of its own, and return what it prints."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def started(*command, stdout=None, **environment):
    """Start a command in a session of its own."""
    return subprocess.Popen(
        list(map(str, command)),
        cwd=ROOT,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "160", **environment},
        start_new_session=True,
        # A shell's background job ignores Ctrl-C, and so would what is started from it.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def until(condition, seconds=300):
    """Wait for a condition and return its first true value."""
    deadline_s = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.02)
    return found


def interrupted(*arguments, when):
    """Run the command and press Ctrl-C as soon as ``when()``; return exit code and errors told."""
    process = started(GREENCV, *arguments)
    until(when)
    os.killpg(process.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches the whole group
    try:
        _, told = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, told


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """Return a folder that all processes of this session have in common."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def smoke_store(shared_folder):
    """Return the folder of the smoke study's records, trained by the first process to need it."""
    folder = shared_folder / "smoke-store"
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
def smoke_report(request, shared_folder):
    """Return a copy of the project in which the smoke study's report is built, once for all."""
    if REPORT:
        return Path(REPORT).resolve().parents[1]
    store = request.getfixturevalue("smoke_store")
    root = shared_folder / "smoke-report"
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


@pytest.fixture
def site():
    """Serve files on this machine alone."""
    files = FileServer()
    yield files
    files.close()


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
