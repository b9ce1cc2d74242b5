"""Build the book: Papermill executes the notebooks, Jupyter Book renders the pages.

An executed notebook holds a digest of its inputs (source, study, runs, code, lock) and is executed
again only when that digest changes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

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
from greencv_core.report.book.contents import EXECUTED, listed_pages
from greencv_core.report.book.execute import Job, execute_notebooks, made_by
from greencv_core.report.book.render import Rendering
from greencv_core.study.schema import Study
from greencv_core.utils.digest import code_parts, digest, file_parts
from greencv_core.utils.downloads import Progress, summarise_problems
from greencv_core.utils.paths import git_commit

Log = Callable[[str], None]
DownloadProgress = Callable[[str], AbstractContextManager[Progress | None]]

PUBLISHED_PAGES = (
    "claims", "decision", "evidence", "explore", "index", "metering", "reanalysis",
    "reanalysis_diagnostics", "reanalysis_figures", "reanalysis_problems", "reanalysis_strict",
    "rq3_diagnostics", "rq3_estimation",
)  # fmt: skip
"""Notebooks that use published data."""
_USES_RUNS = re.compile(r'(?:"|\\n)store = ')
"""The parameter, in its cell, of each notebook that uses the study's runs."""
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
    code, runs = _code_key(root), _runs_key(parameters, loaded, store, records)
    executed, outdated, commit = [], [], git_commit(root)
    for notebook in _notebooks(root):
        copy = root / "book" / EXECUTED / notebook.name
        key = _notebook_key(notebook, code, runs, published)
        executed.append(copy)
        if made_by(copy).get("key") != key:
            outdated.append(Job(notebook, copy, key, commit))
    with Rendering(root, loaded, store, records, log) as rendering:
        if outdated:
            names = ", ".join(notebook.stem for notebook, *_ in outdated)
            log(f"executing {len(outdated)} of {len(executed)} notebooks: {names}")
            execute_notebooks(root, outdated, parameters, meanwhile=rendering.begin)
        return rendering.finish(executed)


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


def _runs_key(
    parameters: dict[str, Any], study: Study, store: Store, records: Sequence[RunRecord]
) -> str:
    stamps = store.stamps()
    runs = sorted(f"{r.run_id} {stamps[r.run_id].text}" for r in records if r.run_id in stamps)
    return digest([json.dumps(parameters), study.model_dump_json(), *runs])


def _code_key(root: Path) -> str:
    return digest([*code_parts(root / "greencv_core"), *file_parts([root / "requirements.lock"])])


def _notebook_key(notebook: Path, code: str, runs: str, published: str) -> str:
    content = notebook.read_text(encoding="utf-8")
    parts: list[str | bytes] = [code, str(notebook.stat().st_mtime_ns), content]
    if _USES_RUNS.search(content):
        parts.append(runs)
    if notebook.stem in PUBLISHED_PAGES:
        parts.append(published)
        bundle = shipped_evidence()
        parts.append(bundle.read_bytes() if bundle.is_file() else b"")
    if notebook.stem in BUNDLED_PAGES:
        parts += [path.read_bytes() for path in shipped_bundles().values()]
    return digest(parts)
