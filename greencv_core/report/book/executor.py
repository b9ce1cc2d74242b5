"""A process that executes notebooks with Papermill, several at a time.

It loads what notebooks need once; the process of each notebook, and its kernel's, are forks of it.
Where a fork is not safe, each loads everything again. :mod:`greencv_core.report.book.execute`
starts it and sends it the order. The first notebook that fails ends it; the last line on standard
error says which and why.
"""

from __future__ import annotations

import gc
import importlib
import json
import multiprocessing
import multiprocessing.connection
import os
import pkgutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import nbformat
import papermill
from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelspec import write_kernel_spec
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from greencv_core.report import pages
from greencv_core.utils import answers
from greencv_core.utils.interpreters import collect_garbage_rarely

PRELOADED = (
    "ipykernel.debugger",
    "matplotlib.style",
    "tornado.platform.asyncio",
    "greencv_core.run.collect",
    *(module.name for module in pkgutil.iter_modules(pages.__path__, f"{pages.__name__}.")),
)
"""Modules that kernels and notebooks import; with them come libraries that take long to load."""
FORKS = sys.platform == "linux"
"""Apple's frameworks do not survive a fork of a process that has loaded them."""
MODULE = "ipykernel_launcher"
AGAIN = 75
"""Exit status if the kernel died at its start. Jupyter picks free ports before it binds them: of
two kernels that start at the same time, one may die. No cell has run by then."""
ATTEMPTS = 4


class ForkedKernel:
    """A kernel's process, forked before the notebook's process has threads or sockets.

    It has the methods of :class:`subprocess.Popen` that ``LocalProvisioner`` calls.
    """

    stdin = stdout = stderr = None

    def __init__(self) -> None:
        context = multiprocessing.get_context("fork")
        reader, self._writer = context.Pipe(duplex=False)
        self._process = context.Process(target=_run_kernel, args=(reader, self._writer))
        self._process.start()
        reader.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None
        return self._process.pid

    def launch(self, command: list[str], variables: Mapping[str, str], folder: str) -> None:
        """Let the kernel begin, as the command would."""
        self._writer.send((command, dict(variables), folder))

    def forget(self) -> None:
        """End the process if it has not been launched."""
        self._writer.close()

    def poll(self) -> int | None:
        """Return the exit status; None while it runs."""
        return self._process.exitcode

    def wait(self) -> int | None:
        """Wait for its end; return the exit status."""
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def _run_kernel(reader: Any, writer: Any) -> None:
    os.setsid()  # the notebook's process ends it
    writer.close()
    try:
        command, variables, folder = reader.recv()
    except EOFError:
        return
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    sys.argv = command[command.index(MODULE) :]
    IPKernelApp.launch_instance()


class _ForkingProvisioner(LocalProvisioner):
    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        kernel = _Factory.kernels[-1]
        # ipykernel reads JPY_PARENT_PID, the process whose end it follows, when it is imported,
        # which is too early here.
        parent = f"--IPKernelApp.parent_handle={os.getpid()}"
        self.cwd = kwargs.get("cwd") or os.getcwd()
        kernel.launch([*cmd, parent], kwargs["env"], str(self.cwd))
        self.process: Any = kernel
        self.pid = self.pgid = kernel.pid
        return self.connection_info


class _Factory(KernelProvisionerFactory):
    """Jupyter's only factory in the process of a notebook."""

    kernels: ClassVar[list[ForkedKernel]] = []

    def create_provisioner_instance(
        self, kernel_id: str, kernel_spec: Any, parent: Any
    ) -> KernelProvisionerBase:
        return _ForkingProvisioner(kernel_id=kernel_id, kernel_spec=kernel_spec, parent=parent)


class _Engine(NBClientEngine):  # type: ignore[misc]
    """Papermill's engine, which saves the notebook if it fails and not twice a cell."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: Any, kernel_name: str, partial: str, **options: Any
    ) -> Any:
        try:
            return super().execute_managed_notebook(nb_man, kernel_name, **options)
        except BaseException:
            nb_man.output_path = partial
            nb_man.save()
            raise


papermill_engines.register(_Engine.__name__, _Engine)


def execute(
    job: Mapping[str, Any], parameters: Mapping[str, Any], reason: Any, *, fork: bool
) -> None:
    """Execute a notebook in its folder; send why it failed, in one line, and exit with 1."""
    try:
        declared = papermill.inspect_notebook(job["notebook"])
        given = {name: value for name, value in parameters.items() if name in declared}
        _execute_once(job["notebook"], job["partial"], given, fork=fork)
        _keep(Path(job["partial"]), Path(job["executed"]), job["about"])
    except PapermillExecutionError as error:
        reason.send(f"a cell failed: {str(error).strip().splitlines()[-1]}; see {job['partial']}")
        sys.exit(1)
    except RuntimeError as error:
        reason.send(f"{error}; see {job['partial']}")
        sys.exit(AGAIN if "Kernel died before" in str(error) else 1)
    except Exception as error:
        reason.send(f"{type(error).__name__}: {error}")
        sys.exit(1)


def _execute_once(
    notebook: str, partial: str, parameters: Mapping[str, Any], *, fork: bool
) -> None:
    if fork:
        _Factory.instance()
        _Factory.kernels.append(ForkedKernel())
    try:
        papermill.execute_notebook(
            notebook, partial, parameters,
            kernel_name="python3", cwd=Path(notebook).parent, progress_bar=False,
            engine_name=_Engine.__name__, request_save_on_cell_execute=False, partial=partial,
        )  # fmt: skip
    finally:
        while _Factory.kernels:
            _Factory.kernels.pop().forget()


def _keep(partial: Path, executed: Path, about: Mapping[str, str]) -> None:
    """Complete an executed notebook with what made it, and move it to its place."""
    content = nbformat.read(partial, as_version=4)
    content.metadata["greencv"] = about
    content.metadata.pop("papermill", None)
    tags = [cell.metadata.get("tags", []) for cell in content.cells]
    # A page may have none.
    own: list[str] = next((these for these in tags if "parameters" in these), [])
    visibility = [tag for tag in own if tag.endswith("-input")]
    for cell in content.cells:
        cell.metadata.pop("papermill", None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            # Show the injected parameters as the notebook shows its defaults.
            cell.metadata["tags"] += visibility
    nbformat.write(content, partial)
    executed.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(executed)


def _load(notebook: str) -> None:
    """Do once what the process or the kernel of each notebook would do."""
    for name in PRELOADED:
        importlib.import_module(name)
    papermill.inspect_notebook(notebook)  # compiles the schema of notebooks
    if FORKS:
        _Factory.instance()  # asks each installed package whether it starts kernels


def main() -> int:
    """Execute all notebooks; return the exit status."""
    order = json.loads(sys.stdin.readline())
    write_kernel_spec(Path(os.environ["JUPYTER_DATA_DIR"], "kernels", "python3"))
    if len(order["jobs"]) > 1:  # one loads only what it needs
        _load(order["jobs"][0]["notebook"])
    answers.prepare()
    collect_garbage_rarely()
    gc.freeze()  # a collection in a fork would touch, and so copy, all that they share
    context: Any = multiprocessing.get_context("fork" if FORKS else "spawn")
    waiting = list(reversed(order["jobs"]))
    running: dict[Any, tuple[Any, Any, dict[str, Any]]] = {}
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        while waiting or running:
            while waiting and len(running) < order["processes"]:
                job = waiting.pop()
                reader, writer = context.Pipe(duplex=False)
                process = context.Process(
                    target=execute,
                    args=(job, order["parameters"], writer),
                    kwargs={"fork": FORKS},
                )
                process.start()
                writer.close()
                running[process.sentinel] = process, reader, job
            for sentinel in multiprocessing.connection.wait(list(running)):
                process, reader, job = running.pop(sentinel)
                process.join()
                if process.exitcode == AGAIN and job.setdefault("attempts", 1) < ATTEMPTS:
                    waiting.append({**job, "attempts": job["attempts"] + 1})
                elif process.exitcode:
                    why = _received(reader) or f"its process ended with {process.exitcode}"
                    sys.stderr.write(f"{job['notebook']}: {why}\n")
                    return 1
    finally:
        for process, *_ in running.values():
            process.terminate()
        for process, *_ in running.values():
            process.join()
    return 0


def _received(reader: Any) -> str:
    try:
        return str(reader.recv()) if reader.poll() else ""
    except EOFError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
