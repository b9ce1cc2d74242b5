"""The book: notebooks executed by Papermill, pages rendered by Jupyter Book; only what changed.

A notebook's executed copy holds the key of all that it was made from (its source, the study, the
runs, the code, the lock). While the key stays the same, the copy is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml

from greencv_core.records.backends.bundle import shipped_bundles
from greencv_core.records.record import RunRecord
from greencv_core.records.source import load_study
from greencv_core.records.store import Store
from greencv_core.report.book.launch import launch_links, repository_url
from greencv_core.report.book.number_exhibits import write_pages
from greencv_core.report.export.files import write_results
from greencv_core.study.schema import Study
from greencv_core.utils.downloads import VARIABLE, data_location
from greencv_core.utils.errors import GreencvError
from greencv_core.utils.paths import git_commit

Say = Callable[[str], None]

PUBLISHED_PAGES = ("claims", "decision", "reanalysis", "rq3_estimation")
"""The notebooks that rest on published data, alone or beside the study's runs."""
BUNDLED_PAGES = ("claims", "decision")
"""The notebooks that show the runs that come with the project besides."""
BESIDE = "beside"
"""The folder of what is copied into the HTML as it is; ``_config.yml`` names it as well."""
_NOT_NOTEBOOKS = shutil.ignore_patterns(".*", "__pycache__")
KERNEL_STARTS = 4
"""Attempts at a notebook whose kernel does not come up."""

# The package has no __main__, and its script is not on the path of every caller.
_JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"


def build_book(
    root: Path,
    *,
    study: Path,
    store: Store,
    records: Sequence[RunRecord],
    say: Say,
    published: str = "",
) -> Path:
    """Execute the notebooks whose inputs changed and build the HTML.

    Parameters
    ----------
    root
        The project's folder: ``notebooks/``, ``book/``, ``_config.yml`` and ``_toc.yml``.
    study
        The file of the study that the report is about.
    store
        Holds the finished runs; notebooks train nothing in the book.
    records
        The runs that the report is about, in the study's order.
    say
        Receives a line about each step.
    published
        Which published data are at hand, in any words: where they change, the page on them is
        made again.

    Returns
    -------
    Path
        ``_build/html/index.html``.

    Raises
    ------
    GreencvError
        A cell failed, or Sphinx warned.
    """
    notebooks = _notebooks(root)
    parameters = {
        "study": _as_seen_from(root / "notebooks", study, root),
        "store": _as_seen_from(root / "notebooks", store.location, root),
        "train": False,
    }
    stamps = store.stamps()
    stamped = {r.run_id: stamps[r.run_id].text for r in records if r.run_id in stamps}
    loaded = load_study(study)
    shared = _shared_key(root, parameters, loaded, stamped)
    todo = []
    executed = [root / "book" / "notebooks" / notebook.name for notebook in notebooks]
    for notebook, done in zip(notebooks, executed, strict=True):
        data = published if notebook.stem in PUBLISHED_PAGES else ""
        came_along = shipped_bundles().values() if notebook.stem in BUNDLED_PAGES else ()
        key = _digest(
            [
                shared, str(notebook.stat().st_mtime_ns), notebook.read_bytes(), data,
                *(path.read_bytes() for path in came_along),
            ]
        )  # fmt: skip
        if _key_of(done) != key:
            todo.append((notebook, done, key))
    if todo:
        say(
            f"executing {len(todo)} of {len(notebooks)} notebooks: "
            + ", ".join(notebook.stem for notebook, _, _ in todo)
        )
        with ThreadPoolExecutor(max_workers=max(1, min(4, os.cpu_count() or 1))) as pool:
            jobs = [pool.submit(_execute, root, *job, parameters) for job in todo]
            for job in jobs:
                job.result()
    return _render(root, executed, loaded, records, say)


def _as_seen_from(folder: Path, path: str | Path, root: Path) -> str:
    """Return a path that is good in ``folder`` and, within the project, good on any machine.

    It is printed in the report, which need not tell where on its maker's disk the project was. A
    URL is good everywhere.
    """
    if isinstance(path, str):
        return path
    path, root = path.resolve(), root.resolve()
    inside = path.is_relative_to(root)
    return os.path.relpath(path, folder.resolve()) if inside else str(path)


def _notebooks(root: Path) -> list[Path]:
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    pages = [toc["root"]]
    pages += [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    names = [Path(page).name for page in pages if Path(page).parent.name == "notebooks"]
    return [root / "notebooks" / f"{name}.ipynb" for name in names]


def _execute(
    root: Path, notebook: Path, executed: Path, key: str, parameters: dict[str, Any]
) -> None:
    executed.parent.mkdir(parents=True, exist_ok=True)
    partial = root / "_build" / "executing" / notebook.name
    partial.parent.mkdir(parents=True, exist_ok=True)
    declared = papermill.inspect_notebook(str(notebook))
    parameters = {name: value for name, value in parameters.items() if name in declared}
    for _ in range(KERNEL_STARTS):
        # A process of its own: notebooks run side by side, and an interrupt ends them all.
        done = subprocess.run(
            [
                sys.executable, "-m", "papermill", str(notebook), str(partial),
                "--cwd", str(notebook.parent), "--kernel", "python3",
                "--no-progress-bar", "--log-level", "ERROR",
                "--parameters_yaml", yaml.safe_dump(parameters),
            ],
            capture_output=True,
            text=True,
            env={**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1", VARIABLE: data_location()},
        )  # fmt: skip
        if not _kernel_never_started(done.stderr):
            break
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"papermill ended with {done.returncode}"
        raise GreencvError(f"{notebook}: a cell failed: {reason}; see {partial}")
    content = nbformat.read(partial, as_version=4)
    content.metadata["greencv"] = {"key": key}
    content.metadata.pop("papermill", None)
    own = next(c for c in content.cells if "parameters" in c.metadata.get("tags", []))
    visibility = [tag for tag in own.metadata["tags"] if tag.endswith("-input")]
    for cell in content.cells:
        cell.metadata.pop("papermill", None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            # What the book sets is shown as the notebook shows its own parameters.
            cell.metadata["tags"] += visibility
    nbformat.write(content, partial)
    partial.replace(executed)


def _kernel_never_started(stderr: str) -> bool:
    # Kernels that start side by side may draw the same port, and one of them dies: Jupyter picks
    # free ports before it binds them. No cell has run by then.
    return "Kernel died before replying to kernel_info" in stderr


def _render(
    root: Path, executed: Sequence[Path], study: Study, records: Sequence[RunRecord], say: Say
) -> Path:
    pages = [root / "_config.yml", root / "_toc.yml", *sorted((root / "book").rglob("*"))]
    address, commit = repository_url(root), git_commit(root)
    key = _digest(
        [
            str(address), commit,
            *(part for page in pages if page.is_file() for part in (str(page), page.read_bytes())),
        ]
    )  # fmt: skip
    index, stamp = root / "_build" / "html" / "index.html", root / "_build" / "html.key"
    if index.is_file() and stamp.is_file() and stamp.read_text() == key:
        say("nothing changed: the report is up to date")
        return index
    say("building the HTML")
    # A folder of its own: Sphinx walks through all of its source, and .venv is large.
    source = root / "_build" / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(root / "book", source / "book")
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(root / name, source)
    files = source / BESIDE
    links = {path.stem: launch_links(address, commit, path.name) for path in executed if address}
    shutil.copytree(root / "notebooks", files / "notebooks", ignore=_NOT_NOTEBOOKS)
    write_pages(executed, source / "book" / "notebooks", files, links)
    write_results(files, study=study, records=records, commit=commit, homepage=address)
    stamp.unlink(missing_ok=True)
    shutil.rmtree(root / "_build" / "html", ignore_errors=True)
    done = subprocess.run(
        [
            sys.executable, "-c", _JUPYTER_BOOK, "build", str(source),
            "--path-output", str(root), "--warningiserror", "--keep-going", "--quiet",
        ],
        capture_output=True,
        text=True,
    )  # fmt: skip
    if done.returncode != 0 or not index.is_file():
        log = root / "_build" / "jupyter-book.log"
        log.write_text(done.stdout + done.stderr, encoding="utf-8")
        found = [line for line in log.read_text().splitlines() if "WARNING" in line]
        raise GreencvError("\n".join([*found, f"the HTML was not built cleanly; see {log}"]))
    stamp.write_text(key)
    return index


def _shared_key(
    root: Path, parameters: dict[str, Any], study: Study, records: Mapping[str, str]
) -> str:
    """Return a digest of what every notebook's outcome depends on."""
    parts: list[str | bytes] = [json.dumps(parameters), study.model_dump_json()]
    for file in sorted((root / "greencv_core").rglob("*.py")):
        parts += [str(file), file.read_bytes()]
    lock = root / "requirements.lock"
    parts.append(lock.read_bytes() if lock.is_file() else b"")
    parts += [f"{run_id} {stamp}" for run_id, stamp in sorted(records.items())]
    return _digest(parts)


def _digest(parts: Iterable[str | bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def _key_of(executed: Path) -> str | None:
    try:
        content = json.loads(executed.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    key = content.get("metadata", {}).get("greencv", {}).get("key")
    return str(key) if key else None
