"""Write what Jupyter Book reads: prose, pages of executed notebooks, runs and result files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from greencv_core.records.record import RunRecord
from greencv_core.records.store import Store
from greencv_core.report.book.contents import BESIDE, EXECUTED, SETTINGS
from greencv_core.report.book.execute import made_by
from greencv_core.report.book.links import launch_links
from greencv_core.report.book.number_exhibits import write_pages
from greencv_core.report.book.offered_notebooks import offer_notebooks
from greencv_core.report.book.run_files import write_run_files, write_run_sets, write_vega
from greencv_core.report.export.files import write_results
from greencv_core.study.schema import Study


def write_fixed(
    root: Path,
    folder: Path,
    *,
    study: Study,
    store: Store,
    records: Sequence[RunRecord],
    commit: str,
    address: str | None,
    log: Callable[[str], None],
) -> list[str]:
    """Write what needs no executed notebook; return the ids of the runs that have a page.

    Sphinx walks through its whole source folder, and the project's contains large ones: the
    sources are copied to ``folder``.
    """
    shutil.copytree(root / "book", folder / "book", ignore=shutil.ignore_patterns(EXECUTED))
    for name in SETTINGS:
        shutil.copy(root / name, folder)
    files = folder / BESIDE
    run_pages = write_run_files(folder, files, study=study, store=store, records=records, log=log)
    write_results(files, study=study, records=records, commit=commit, homepage=address)
    write_vega(folder / "book" / "_static", root / "_build" / "cache")
    return run_pages


def write_executed(
    root: Path,
    folder: Path,
    executed: Sequence[Path],
    *,
    run_pages: Sequence[str],
    address: str | None,
) -> None:
    """Write the pages of executed notebooks, with what they offer and link."""
    files = folder / BESIDE
    made_at = {path: made_by(path).get("commit", "unknown") for path in executed if address}
    links = {path.stem: launch_links(address, at, path.name) for path, at in made_at.items()}
    offer_notebooks(root / "notebooks", executed, files / "notebooks")
    pages = folder / "book" / EXECUTED
    pages.mkdir()
    run_links = write_pages(executed, pages, files, links, run_pages)
    write_run_sets(folder / "book" / "_static", run_links, run_pages)
