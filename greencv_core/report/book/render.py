"""Render the pages with Jupyter Book; what did not change is not rendered again.

Sphinx knows which pages changed. All pages are rendered if the settings, the extensions or the
style sheets changed, or if the last build failed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from greencv_core.records.record import RunRecord
from greencv_core.records.store import Store
from greencv_core.report.book.contents import SETTINGS
from greencv_core.report.book.links import repository_url
from greencv_core.study.schema import Study
from greencv_core.utils.digest import digest, file_parts
from greencv_core.utils.errors import GreencvError
from greencv_core.utils.interpreters import child_environment
from greencv_core.utils.paths import git_commit

_ON_EACH_PAGE = ("_extensions", "_static")
"""Folders of the book that decide about each page."""
_MAIN = (
    "from greencv_core.utils.interpreters import collect_garbage_rarely; "
    "collect_garbage_rarely(); "
    "import greencv_core.report.book; "
    "from jupyter_book.cli.main import main; main()"
)
_PACKAGES = ("jupyter-book", "myst-nb", "sphinx", "sphinx-book-theme", "pydata-sphinx-theme")


def render(
    root: Path,
    executed: Sequence[Path],
    study: Study,
    store: Store,
    records: Sequence[RunRecord],
    log: Callable[[str], None],
) -> Path:
    """Render the pages of the book; return the path of the front page.

    Parameters
    ----------
    root
        The project's folder.
    executed
        The executed notebooks.
    study, store, records
        What the report is about.
    log
        Writes what is done.

    Raises
    ------
    GreencvError
        Sphinx warned of something.
    """
    settings, pages = [root / name for name in SETTINGS], sorted((root / "book").rglob("*"))
    address, commit = repository_url(root), git_commit(root)
    key = digest([str(address), commit, *file_parts([*settings, *pages])])
    html, stamp = root / "_build" / "html", root / "_build" / "html.key"
    index = html / "index.html"
    last = stamp.read_text().split() if index.is_file() and stamp.is_file() else []
    if last[:1] == [key]:
        log("nothing changed: the report is up to date")
        return index
    log("building the HTML")
    from greencv_core.report.book.sources import write_sources

    source, fresh = (root / "_build" / name for name in ("source", "source.new"))
    shutil.rmtree(fresh, ignore_errors=True)
    run_pages = write_sources(
        root, fresh, executed, study=study, store=store, records=records, commit=commit,
        address=address, log=log,
    )  # fmt: skip
    shared = [path for path in pages if path.relative_to(root / "book").parts[0] in _ON_EACH_PAGE]
    versions = [metadata.version(package) for package in _PACKAGES]
    frame = digest([*versions, *file_parts([*settings, *shared])])
    # Without a stamp, the last build was interrupted or had a warning, which Sphinx gives once.
    stamp.unlink(missing_ok=True)
    if last[1:] == [frame]:
        _remove_old(html, source, run_pages)
    else:
        for folder in (html, source, root / "_build" / ".doctrees"):
            shutil.rmtree(folder, ignore_errors=True)
    _replace_changed(source, fresh)
    _run_jupyter_book(root, source)
    stamp.write_text(f"{key} {frame}")
    return index


def _run_jupyter_book(root: Path, source: Path) -> None:
    done = subprocess.run(
        [
            # The package has no __main__, and its script is not on the path of every caller.
            sys.executable, "-c", _MAIN, "build", str(source),
            "--path-output", str(root), "--warningiserror", "--keep-going", "--quiet",
        ],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=child_environment(PYTHONUTF8="1"),
    )  # fmt: skip
    if done.returncode != 0:
        log_file = root / "_build" / "jupyter-book.log"
        log_file.write_text(done.stdout + done.stderr, encoding="utf-8")
        found = [line for line in log_file.read_text().splitlines() if "WARNING" in line]
        raise GreencvError("\n".join([*found, f"the HTML was not built cleanly; see {log_file}"]))


def _remove_old(html: Path, source: Path, run_pages: Sequence[str]) -> None:
    """Remove from the HTML what the last build copied, and the pages of other runs."""
    shutil.rmtree(html / "_static", ignore_errors=True)
    copied = source / "beside"
    for path in [path for path in copied.rglob("*") if path.is_file()]:
        (html / path.relative_to(copied)).unlink(missing_ok=True)
    for path in (html / "runs").glob("*.html"):
        if path.stem not in run_pages:
            path.unlink()


def _replace_changed(old: Path, fresh: Path) -> None:
    """Let a folder become like a fresh one; files with the same content keep their time."""
    names = {path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file()}
    for path in [path for path in old.rglob("*") if path.is_file()]:
        if path.relative_to(old) not in names:
            path.unlink()
    for name in names:
        content, path = (fresh / name).read_bytes(), old / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    shutil.rmtree(fresh)
