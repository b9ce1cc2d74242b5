"""Execute notebooks, without a user's settings of Python and Jupyter."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from greencv_core.utils.downloads import VARIABLE, data_location
from greencv_core.utils.errors import GreencvError
from greencv_core.utils.interpreters import NO_NOTES, child_environment

EXECUTOR = ["-m", "greencv_core.report.book.executor"]
MOST_PROCESSES = 4
FIRST = (
    "rq3_estimation", "rq3_diagnostics", "evidence", "reanalysis_problems", "rq1_diagnostics",
    "rq2_diagnostics", "reanalysis_diagnostics",
)  # fmt: skip
"""Notebooks that take longest, the longest first."""


class Job(NamedTuple):
    """A notebook to execute."""

    notebook: Path
    executed: Path
    """Where the executed notebook is written."""
    key: str
    """Digest of its inputs."""
    commit: str
    """Commit of the project. The executed notebook contains both."""


def execute_notebooks(
    root: Path,
    jobs: Sequence[Job],
    parameters: dict[str, Any],
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Execute notebooks with Papermill, several at a time.

    Parameters
    ----------
    root
        The project's folder.
    jobs
        The notebooks. Those that are finished when another one fails are kept.
    parameters
        Values by name; each notebook is given those that it declares.
    meanwhile
        What this process does before it waits for the notebooks.

    Raises
    ------
    GreencvError
        A cell failed.
    """
    # A separate process has the environment of the kernels, and loads what they need.
    command = [sys.executable, *EXECUTOR]
    with (
        _own_kernel() as variables,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=variables,
            encoding="utf-8", errors="replace",
        ) as executor,
    ):  # fmt: skip
        try:
            assert executor.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it has ended, and says why
                executor.stdin.write(f"{json.dumps(_order(root, jobs, parameters))}\n")
                executor.stdin.flush()
            meanwhile()
            _, errors = executor.communicate()
        except BaseException:
            executor.terminate()  # it ends the notebooks' processes
            raise
    if executor.returncode:
        lines = [line for line in errors.splitlines() if line.strip()]
        raise GreencvError(lines[-1] if lines else f"executing ended with {executor.returncode}")


def _order(root: Path, jobs: Sequence[Job], parameters: dict[str, Any]) -> dict[str, Any]:
    """Return what the executor is to do."""
    folder = root / "_build" / "executing"
    folder.mkdir(parents=True, exist_ok=True)
    return {
        # While a kernel starts or ends, a notebook waits: one more keeps the processors busy.
        "processes": min(MOST_PROCESSES, (os.cpu_count() or 1) + 1, len(jobs)),
        "parameters": parameters,
        "jobs": [
            {
                "notebook": str(job.notebook),
                "partial": str(folder / job.notebook.name),
                "executed": str(job.executed),
                "about": {"key": job.key, "commit": job.commit},
            }
            for job in sorted(jobs, key=_turn)
        ],
    }


def _turn(job: Job) -> int:
    name = job.notebook.stem
    return FIRST.index(name) if name in FIRST else len(FIRST)


def made_by(executed: Path) -> dict[str, str]:
    """Return the digest of an executed notebook's inputs and the commit; empty if it has none."""
    try:
        return dict(json.loads(executed.read_text(encoding="utf-8"))["metadata"]["greencv"])
    except (OSError, ValueError, LookupError):
        return {}


@contextlib.contextmanager
def _own_kernel() -> Iterator[dict[str, str]]:
    """Yield the variables for a kernel of this very Python, without settings of a user.

    ``$JUPYTER_PATH`` comes first where Jupyter looks for a kernel:
    https://docs.jupyter.org/en/latest/use/jupyter-directories.html. IPython reads a user's
    settings and start-up files from ``$IPYTHONDIR``. As notebooks run side by side, the threads of
    the linear algebra would only wait for each other.
    """
    matplotlib = importlib.util.find_spec("matplotlib")  # to import it would take longer
    assert matplotlib is not None
    assert matplotlib.origin is not None
    settings = Path(matplotlib.origin).with_name("mpl-data") / "matplotlibrc"
    with tempfile.TemporaryDirectory(prefix="greencv-kernel-", ignore_cleanup_errors=True) as name:
        yield child_environment(
            JUPYTER_PATH=name, JUPYTER_DATA_DIR=name, JUPYTER_CONFIG_DIR=name, IPYTHONDIR=name,
            MATPLOTLIBRC=str(settings), MPLBACKEND="module://matplotlib_inline.backend_inline",
            PYDEVD_DISABLE_FILE_VALIDATION="1", PYTHONUTF8="1",
            OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1",
            **{VARIABLE: data_location(), NO_NOTES: "1"},
        )  # fmt: skip
