"""What child processes execute, print and leave, whatever the user's folders and settings."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import GREENCV, ROOT, python, started, until
from tests.support.hostile_settings import shadow_modules

POOL = """
import multiprocessing, os
from greencv_core.utils.interpreters import children_isolated

if __name__ == "__main__":
    before = dict(os.environ)
    with children_isolated(), multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(os.getenv, ["PYTHONSAFEPATH", "PYTHONWARNINGS", "PYTHONPATH"]))
    assert dict(os.environ) == before
"""


@pytest.mark.slow
def test_no_child_executes_a_file_of_the_current_folder(tmp_path):
    executed = shadow_modules(tmp_path / "here")
    folder = tmp_path / ("long" * 40)  # too long for the path of a socket
    folder.mkdir()
    settings = {"TMPDIR": str(folder), "PYTHONOPTIMIZE": "2", "SOURCE_DATE_EPOCH": ""}
    printed = python(GREENCV, "plan", "smoke", "--json", cwd=tmp_path / "here", **settings)
    assert '"runs": [' in printed
    (tmp_path / "pool.py").write_text(POOL)
    paths = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "always"}
    printed = python(tmp_path / "pool.py", cwd=tmp_path / "here", **paths)
    assert printed.strip() == str(["1", None, str(ROOT)])
    assert not executed.exists()


def test_a_child_that_breaks_at_its_start_is_no_interruption(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'forkserver' in str(sys.orig_argv) or 'spawn_main' in str(sys.orig_argv):\n"
        "    sys.exit('broken')\n"
    )
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    command = [GREENCV, "plan", "smoke", "--store", tmp_path / "runs"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    assert done.returncode == 1
    assert done.stderr.endswith(
        "could not be started: Python ended at its start, see its message\n"
    )


@pytest.mark.parametrize(
    ("output", "settings", "error"),
    [
        ("/dev/full", {}, "error: the output cannot be written: No space left on device\n"),
        ("printed", {"PYTHONIOENCODING": "ascii", "COLUMNS": "20"}, ""),
    ],
)
def test_output_to_a_full_disk_in_ascii_or_to_few_columns(tmp_path, output, settings, error):
    with open(tmp_path / output, "w") as file:
        done = subprocess.run(
            [GREENCV, "doctor"], stdout=file, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **settings},
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1 if error else 0, error)
    if not error:
        assert r"\xb1" in (tmp_path / output).read_text("ascii")  # instead of a plus-minus sign


ENDED_WHILE_IT_ASKS = """
import multiprocessing.forkserver, os, socket
from greencv_core.run.subprocesses import _context

_context()
server = multiprocessing.forkserver._forkserver
with socket.socket(socket.AF_UNIX) as asking:
    asking.connect(server._forkserver_address)
os.waitpid(server._forkserver_pid, 0)
"""


def test_a_driver_that_ends_while_it_asks_for_a_process_leaves_no_traceback(short_folder):
    done = subprocess.run(
        [sys.executable, "-c", ENDED_WHILE_IT_ASKS], capture_output=True, text=True, timeout=120,
        env={**os.environ, "TMPDIR": str(short_folder)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def short_folder():
    """A folder in which the path of a socket has its place."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_command_that_is_ended_leaves_no_temporary_files(short_folder, name):
    store = short_folder / "runs"
    run = started(GREENCV, "run", "smoke", "--store", store, TMPDIR=str(short_folder))
    until(lambda: list(short_folder.glob("pymp-*")) and store.is_dir())
    run.send_signal(getattr(signal, name))
    _, told = run.communicate(timeout=60)
    assert run.returncode == 128 + getattr(signal, name)
    assert "Traceback" not in told
    names = [path.name for path in short_folder.rglob("*")]
    assert [name for name in names if name.startswith(("pymp", ".writing"))] == []
