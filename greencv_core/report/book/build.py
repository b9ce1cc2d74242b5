"""Build the book: Papermill executes the notebooks, Jupyter Book renders the pages.

An executed notebook holds a digest of its inputs (source, study, runs, code, lock) and is executed
again only when that digest changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import matplotlib
import nbformat
import papermill
import yaml
from ipykernel.kernelspec import write_kernel_spec

from greencv_core.published import (
    DATA_SETS,
    METER_COMPARISONS,
    DataUnavailableError,
    fetch,
    load_adapter,
    smallest_first,
)
from greencv_core.published.evidence_bundle import shipped_evidence
from greencv_core.records.backends.bundle import shipped_bundles
from greencv_core.records.record import RunRecord
from greencv_core.records.source import load_study
from greencv_core.records.store import Store
from greencv_core.report.book.contents import listed_pages
from greencv_core.report.book.number_exhibits import write_pages
from greencv_core.report.book.offered_notebooks import offer_notebooks
from greencv_core.report.book.run_files import write_run_files, write_scripts
from greencv_core.report.export.files import write_results
from greencv_core.study.schema import Study
from greencv_core.utils.downloads import VARIABLE, Progress, data_location, summarise_problems
from greencv_core.utils.errors import GreencvError
from greencv_core.utils.interpreters import NO_NOTES, child_environment
from greencv_core.utils.paths import git_commit, git_environment

Log = Callable[[str], None]
DownloadProgress = Callable[[str], AbstractContextManager[Progress | None]]

PUBLISHED_PAGES = (
    "claims", "decision", "evidence", "explore", "index", "metering", "reanalysis",
    "reanalysis_diagnostics", "reanalysis_figures", "reanalysis_problems", "reanalysis_strict",
    "rq3_diagnostics", "rq3_estimation",
)  # fmt: skip
"""Notebooks that use published data."""
_SETTINGS = ("_config.yml", "_toc.yml", "CITATION.cff")
"""Files of the project's folder that Sphinx reads."""
BUNDLED_PAGES = ("claims", "decision")
"""Notebooks that also show the bundled runs."""


def download_published(log: Log, progress: DownloadProgress) -> str:
    """Download missing published data, small data sets first; describe the available files."""
    lines, unavailable = [], {}
    for name in smallest_first((*DATA_SETS, *METER_COMPARISONS)):
        try:
            with progress(name) as show:
                problems = fetch(load_adapter(name).RELEASE, show).problems
        except DataUnavailableError as error:
            unavailable[name] = error
            lines.append(f"{name}\n{error}")
            continue
        for problem in summarise_problems(problems):
            log(f"left out: {problem}")
        lines.append("\n".join((name, *problems)))
    if unavailable:
        first = next(iter(unavailable.values()))
        log(
            f"not downloaded: {', '.join(unavailable)} ({first.reason or first}). Pages use the "
            "tables that come with the project where they can. Run again when online (finished "
            "downloads are kept), or set GREENCV_DATA to a folder with the files"
        )
    return "\n".join(lines)


def build_book(
    root: Path,
    *,
    study: Path,
    store: Store,
    records: Sequence[RunRecord],
    log: Log,
    published: str = "",
) -> Path:
    """Execute the notebooks whose inputs changed; return the path of the book's front page.

    ``root`` is the project's folder, ``records`` are the runs to report in the study's order. Pages
    that use published data are executed again if their description, ``published``, changes. A cell
    that fails or a warning of Sphinx raises :class:`GreencvError`.
    """
    parameters = {
        "study": _portable_path(root / "notebooks", study, root),
        "store": _portable_path(root / "notebooks", store.location, root),
        "train": False,
    }
    loaded = load_study(study)
    shared = _shared_key(root, parameters, loaded, store, records)
    executed, outdated = [], []
    for notebook in _notebooks(root):
        copy = root / "book" / "notebooks" / notebook.name
        key = _notebook_key(notebook, shared, published)
        executed.append(copy)
        if _stored_key(copy) != key:
            outdated.append((notebook, copy, key))
    if outdated:
        names = ", ".join(notebook.stem for notebook, _, _ in outdated)
        log(f"executing {len(outdated)} of {len(executed)} notebooks: {names}")
        processes = max(1, min(4, os.cpu_count() or 1))
        with _own_kernel() as variables, ThreadPoolExecutor(processes) as pool:
            jobs = [pool.submit(_execute, root, *job, parameters, variables) for job in outdated]
            for job in jobs:
                job.result()
    return _render(root, executed, loaded, store, records, log)


def _portable_path(folder: Path, path: str | Path, root: Path) -> str:
    """Return a path relative to ``folder`` if it is within the project; leave a URL as it is.

    The report shows it and must not reveal where the project is on this disk.
    """
    if isinstance(path, str):
        return path
    path, root = path.resolve(), root.resolve()
    inside = path.is_relative_to(root)
    return os.path.relpath(path, folder.resolve()) if inside else str(path)


def _notebooks(root: Path) -> list[Path]:
    pages = [Path(page.file) for page in listed_pages(root)]
    names = [page.name for page in pages if page.parent.name == "notebooks"]
    return [root / "notebooks" / f"{name}.ipynb" for name in names]


@contextlib.contextmanager
def _own_kernel() -> Iterator[dict[str, str]]:
    """Yield the variables for a kernel of this very Python, without settings of a user.

    ``$JUPYTER_PATH`` comes first where Jupyter looks for a kernel:
    https://docs.jupyter.org/en/latest/use/jupyter-directories.html. IPython reads a user's
    settings and start-up files from ``$IPYTHONDIR``.
    """
    with tempfile.TemporaryDirectory(prefix="greencv-kernel-", ignore_cleanup_errors=True) as name:
        write_kernel_spec(Path(name) / "kernels" / "python3")
        yield child_environment(
            JUPYTER_PATH=name, JUPYTER_DATA_DIR=name, JUPYTER_CONFIG_DIR=name, IPYTHONDIR=name,
            MATPLOTLIBRC=str(Path(matplotlib.get_data_path(), "matplotlibrc")),
            PYDEVD_DISABLE_FILE_VALIDATION="1", PYTHONUTF8="1",
            **{VARIABLE: data_location(), NO_NOTES: "1"},
        )  # fmt: skip


def _execute(
    root: Path,
    notebook: Path,
    executed: Path,
    key: str,
    parameters: dict[str, Any],
    variables: dict[str, str],
) -> None:
    executed.parent.mkdir(parents=True, exist_ok=True)
    partial = root / "_build" / "executing" / notebook.name
    partial.parent.mkdir(parents=True, exist_ok=True)
    declared = papermill.inspect_notebook(str(notebook))
    parameters = {name: value for name, value in parameters.items() if name in declared}
    for _ in range(4):
        # In a separate process: notebooks run in parallel, and an interrupt ends them all.
        done = subprocess.run(
            [
                sys.executable, "-m", "papermill", str(notebook), str(partial),
                "--cwd", str(notebook.parent), "--kernel", "python3",
                "--no-progress-bar", "--log-level", "ERROR",
                "--parameters_yaml", yaml.safe_dump(parameters),
            ],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=variables,
        )  # fmt: skip
        # Jupyter picks free ports before it binds them, so that of two kernels that start at the
        # same time one may die. No cell has run by then.
        if "Kernel died before replying to kernel_info" not in done.stderr:
            break
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"papermill ended with {done.returncode}"
        raise GreencvError(f"{notebook}: a cell failed: {reason}; see {partial}")
    content = nbformat.read(partial, as_version=4)
    content.metadata["greencv"] = {"key": key}
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
    partial.replace(executed)


def _render(
    root: Path,
    executed: Sequence[Path],
    study: Study,
    store: Store,
    records: Sequence[RunRecord],
    log: Log,
) -> Path:
    pages = [*(root / name for name in _SETTINGS), *sorted((root / "book").rglob("*"))]
    address, commit = repository_url(root), git_commit(root)
    key = _digest(
        [
            str(address), commit,
            *(part for page in pages if page.is_file() for part in (str(page), page.read_bytes())),
        ]
    )  # fmt: skip
    index, stamp = root / "_build" / "html" / "index.html", root / "_build" / "html.key"
    if index.is_file() and stamp.is_file() and stamp.read_text() == key:
        log("nothing changed: the report is up to date")
        return index
    log("building the HTML")
    # Sphinx walks through its whole source folder, and .venv is large: copy the sources.
    source = root / "_build" / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(root / "book", source / "book")
    for name in _SETTINGS:
        shutil.copy(root / name, source)
    files = source / "beside"  # copied into the HTML unchanged, by _config.yml
    links = {path.stem: launch_links(address, commit, path.name) for path in executed if address}
    offer_notebooks(root / "notebooks", executed, files / "notebooks")
    run_pages = write_run_files(source, files, study=study, store=store, records=records, log=log)
    run_links = write_pages(executed, source / "book" / "notebooks", files, links, run_pages)
    write_scripts(source / "book" / "_static", root / "_build" / "cache", run_links, run_pages)
    write_results(files, study=study, records=records, commit=commit, homepage=address)
    stamp.unlink(missing_ok=True)
    shutil.rmtree(root / "_build" / "html", ignore_errors=True)
    done = subprocess.run(
        [
            # The package has no __main__, and its script is not on the path of every caller.
            sys.executable, "-c", "from jupyter_book.cli.main import main; main()",
            "build", str(source),
            "--path-output", str(root), "--warningiserror", "--keep-going", "--quiet",
        ],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=child_environment(PYTHONUTF8="1"),
    )  # fmt: skip
    if done.returncode != 0 or not index.is_file():
        log_file = root / "_build" / "jupyter-book.log"
        log_file.write_text(done.stdout + done.stderr, encoding="utf-8")
        found = [line for line in log_file.read_text().splitlines() if "WARNING" in line]
        raise GreencvError("\n".join([*found, f"the HTML was not built cleanly; see {log_file}"]))
    stamp.write_text(key)
    return index


def _shared_key(
    root: Path, parameters: dict[str, Any], study: Study, store: Store, records: Sequence[RunRecord]
) -> str:
    parts: list[str | bytes] = [json.dumps(parameters), study.model_dump_json()]
    for file in sorted((root / "greencv_core").rglob("*.py")):
        parts += [str(file), file.read_bytes()]
    lock = root / "requirements.lock"
    parts.append(lock.read_bytes() if lock.is_file() else b"")
    stamps = store.stamps()
    parts += sorted(f"{r.run_id} {stamps[r.run_id].text}" for r in records if r.run_id in stamps)
    return _digest(parts)


def _notebook_key(notebook: Path, shared: str, published: str) -> str:
    parts: list[str | bytes] = [shared, str(notebook.stat().st_mtime_ns), notebook.read_bytes()]
    if notebook.stem in PUBLISHED_PAGES:
        parts.append(published)
        bundle = shipped_evidence()
        parts.append(bundle.read_bytes() if bundle.is_file() else b"")
    if notebook.stem in BUNDLED_PAGES:
        parts += [path.read_bytes() for path in shipped_bundles().values()]
    return _digest(parts)


def _digest(parts: Iterable[str | bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def _stored_key(executed: Path) -> str | None:
    try:
        return str(json.loads(executed.read_text(encoding="utf-8"))["metadata"]["greencv"]["key"])
    except (OSError, ValueError, LookupError):
        return None


_CLONE_URL = re.compile(
    r"(?:(?:https?|ssh|git)://(?:[^/@]*@)?|(?:[^/@:]+@)?)(?P<host>github\.com|gitlab\.com)(?::\d+)?"
    r"[/:](?P<path>[\w-][\w.-]*(?:/[\w-][\w.-]*)+)",
    re.ASCII,
)


def repository_url(root: Path) -> str | None:
    """Return the public address of a checkout, without credentials; None if there is none.

    It is the address of the remote ``origin`` (not of a repository around the checkout), or else
    of the repository of a GitHub runner.
    """
    remote = subprocess.run(
        ["git", "-C", str(root), "remote", "get-url", "origin"],
        capture_output=True,
        text=True,
        check=False,
        env=git_environment(root),
    )
    variables = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY")
    runner = "/".join(os.environ.get(name, "") for name in variables)
    for address in (remote.stdout.strip(), runner):
        found = _CLONE_URL.fullmatch(address.removesuffix("/").removesuffix(".git"))
        if found and (found["host"] == "gitlab.com" or found["path"].count("/") == 1):
            return f"https://{found['host']}/{found['path']}"
    return None


def launch_links(url: str | None, commit: str, notebook: str) -> dict[str, str]:
    """Return the links to run and to read a notebook file, keyed by their text.

    Links lead to the newest commit if ``commit`` is unknown or has local changes.
    """
    if url is None:
        return {}
    host, _, path = url.removeprefix("https://").partition("/")
    commit = commit if re.fullmatch(r"[0-9a-f]{7,64}", commit) else "HEAD"
    file = f"notebooks/{notebook}"
    lab = f"{commit}?labpath={quote(file, safe='')}"
    if host == "gitlab.com":
        return {
            "Binder": f"https://mybinder.org/v2/gl/{quote(path, safe='')}/{lab}",
            "Source": f"{url}/-/blob/{commit}/{quote(file)}",
        }
    return {
        "Binder": f"https://mybinder.org/v2/gh/{path}/{lab}",
        "Codespaces": f"https://codespaces.new/{path}",
        "Source": f"{url}/blob/{commit}/{quote(file)}",
    }
