"""Render the pages with Jupyter Book; what did not change is not rendered again.

Sphinx knows which pages changed. All pages are rendered if the settings, the extensions or the
style sheets changed, or if the last build failed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from greencv_core.records.record import RunRecord
from greencv_core.records.store import Store
from greencv_core.report.book.contents import BESIDE, EXECUTED, SETTINGS
from greencv_core.report.book.links import repository_url
from greencv_core.study.schema import Study
from greencv_core.utils.digest import code_parts, digest, file_parts
from greencv_core.utils.errors import GreencvError
from greencv_core.utils.interpreters import child_environment
from greencv_core.utils.paths import git_commit

RENDERER = ("-m", "greencv_core.report.book.renderer")
_ON_EACH_PAGE = ("_extensions", "_static")
"""Folders of the book that decide about each page."""
_PACKAGES = ("jupyter-book", "myst-nb", "sphinx", "sphinx-book-theme", "pydata-sphinx-theme")


class Rendering:
    """The pages of a report, rendered from its notebooks and the project's prose.

    What needs no executed notebook can begin before they are there. A process of Jupyter Book ends
    with the context.

    Parameters
    ----------
    root
        The project's folder.
    study, store, records
        What the report is about.
    log
        Writes what is done.
    """

    def __init__(
        self,
        root: Path,
        study: Study,
        store: Store,
        records: Sequence[RunRecord],
        log: Callable[[str], None],
    ) -> None:
        self._root, self._study, self._store, self._records = root, study, store, records
        self._log = log
        self._source, self._fresh = (root / "_build" / name for name in ("source", "source.new"))
        self._address, self._commit = repository_url(root), git_commit(root)
        settings = [root / name for name in SETTINGS]
        prose = [path for path in _files(root / "book") if _part(root, path) != EXECUTED]
        # Both digests are of what is copied later: of a change in between, the next time knows.
        self._fixed = digest([str(self._address), self._commit, *file_parts([*settings, *prose])])
        shared = [path for path in prose if _part(root, path) in _ON_EACH_PAGE]
        versions = [metadata.version(package) for package in _PACKAGES]
        self._frame = digest([*versions, *file_parts([*settings, *shared])])
        self._jupyter_book: subprocess.Popen[str] | None = None
        self._code = ""
        self._run_pages: list[str] = []

    def __enter__(self) -> Rendering:
        return self

    def __exit__(self, *exception: object) -> None:
        self._unload()

    def begin(self) -> None:
        """Let Jupyter Book load; write the sources that need no executed notebook."""
        self._load()
        from greencv_core.report.book.sources import write_fixed

        shutil.rmtree(self._fresh, ignore_errors=True)
        self._run_pages = write_fixed(
            self._root, self._fresh, study=self._study, store=self._store, records=self._records,
            commit=self._commit, address=self._address, log=self._log,
        )  # fmt: skip

    def finish(self, executed: Sequence[Path]) -> Path:
        """Render the pages; return the path of the front page.

        Raises
        ------
        GreencvError
            Sphinx warned of something.
        """
        key = digest([self._fixed, *file_parts(executed)])
        html, stamp = self._root / "_build" / "html", self._root / "_build" / "html.key"
        index = html / "index.html"
        last = stamp.read_text().split() if index.is_file() and stamp.is_file() else []
        if last[:1] == [key]:
            self._log("nothing changed: the report is up to date")
            return index
        self._log("building the HTML")
        if self._jupyter_book is None:
            self.begin()
        from greencv_core.report.book.sources import write_executed

        write_executed(
            self._root, self._fresh, executed, run_pages=self._run_pages, address=self._address
        )
        # Without a stamp, the last build was interrupted or had a warning, which Sphinx gives once.
        stamp.unlink(missing_ok=True)
        if last[1:] == [self._frame]:
            _remove_old(html, self._source, self._run_pages)
        else:
            for folder in (html, self._source, self._root / "_build" / ".doctrees"):
                shutil.rmtree(folder, ignore_errors=True)
        _replace_changed(self._source, self._fresh)
        self._render()
        stamp.write_text(f"{key} {self._frame}")
        return index

    def _load(self) -> None:
        self._code = digest(code_parts(self._root / "greencv_core"))
        self._jupyter_book = subprocess.Popen(
            [sys.executable, *RENDERER, str(self._root)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            encoding="utf-8", errors="replace", env=child_environment(PYTHONUTF8="1"),
        )  # fmt: skip

    def _unload(self) -> None:
        if self._jupyter_book is not None:
            self._jupyter_book.kill()
            self._jupyter_book.communicate()

    def _render(self) -> None:
        if digest(code_parts(self._root / "greencv_core")) != self._code:
            # The API reference would be of the old code, and Sphinx would take it for current.
            self._unload()
            self._load()
        assert self._jupyter_book is not None
        arguments = [
            "build", str(self._source), "--path-output", str(self._root), "--warningiserror",
            "--keep-going", "--quiet",
        ]  # fmt: skip
        output, errors = self._jupyter_book.communicate(json.dumps(arguments))
        if self._jupyter_book.returncode != 0:
            log_file = self._root / "_build" / "jupyter-book.log"
            log_file.write_text(output + errors, encoding="utf-8")
            lines = log_file.read_text(encoding="utf-8").splitlines()
            found = [line for line in lines if "WARNING" in line]
            raise GreencvError(
                "\n".join([*found, f"the HTML was not built cleanly; see {log_file}"])
            )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _part(root: Path, path: Path) -> str:
    """Return the name of the book's folder, or of its page, that contains a file."""
    return path.relative_to(root / "book").parts[0]


def _remove_old(html: Path, source: Path, run_pages: Sequence[str]) -> None:
    """Remove from the HTML what the last build copied, and the pages of other runs."""
    shutil.rmtree(html / "_static", ignore_errors=True)
    copied = source / BESIDE
    for path in _files(copied):
        (html / path.relative_to(copied)).unlink(missing_ok=True)
    for path in (html / "runs").glob("*.html"):
        if path.stem not in run_pages:
            path.unlink()


def _replace_changed(old: Path, fresh: Path) -> None:
    """Let a folder become like a fresh one; files with the same content keep their time."""
    names = {path.relative_to(fresh) for path in _files(fresh)}
    for path in _files(old):
        if path.relative_to(old) not in names:
            path.unlink()
    for name in names:
        content, path = (fresh / name).read_bytes(), old / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    shutil.rmtree(fresh)
