"""Hashes of files, which are read again only if they may have changed.

A file is known by its size, its inode and two times of its last change, as in git's index. No
program can set the second time (``ctime``). So a change is noticed even if the size and the first
time are restored. A file that was written just before is read again, as clocks are coarse.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from greencv_core.utils.digest import digest
from greencv_core.utils.files import write_atomically
from greencv_core.utils.paths import user_cache

SETTLED_AFTER_S = 2.0
"""Age of the last change from which a file's state is trusted."""
_HAS_CHANGE_TIME = os.name == "posix"


class _Known(NamedTuple):
    hash: str
    size: int
    inode: int
    modified_ns: int
    changed_ns: int


class IntactFiles:
    """The files whose hash is known so far, to any process of this user."""

    def __init__(self) -> None:
        self._path = user_cache() / "intact.json"
        self._known = self._read()
        self._found: dict[str, _Known] = {}

    def is_known(self, file: Path, known_hash: str) -> bool:
        """Return whether a file is known to have a hash and can be read."""
        try:
            known = self._recall(_name(file, known_hash), file.stat()) == known_hash
        except OSError:
            return False
        return known and os.access(file, os.R_OK)

    def check(self, file: Path, known_hash: str, matches: Callable[[Path, str], bool]) -> bool:
        """Return whether a file has a hash; ``matches`` reads it if that is not known.

        :class:`OSError` is raised if the file cannot be read.
        """
        if self.is_known(file, known_hash):
            return True
        about, read_ns = file.stat(), time.time_ns()
        intact = matches(file, known_hash)
        if intact:
            self._remember(_name(file, known_hash), known_hash, about, read_ns)
        return intact

    def sha256(self, file: Path) -> str:
        """Return the SHA-256 of a file; raise :class:`OSError` if it cannot be read."""
        about, read_ns = file.stat(), time.time_ns()
        name = _name(file)
        found = self._recall(name, about)
        if not found:
            with file.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            self._remember(name, found, about, read_ns)
        return found

    def _recall(self, name: str, about: os.stat_result) -> str:
        known = self._known.get(name)
        return known.hash if known and known[1:] == _state(about) else ""

    def _remember(self, name: str, found: str, about: os.stat_result, read_ns: int) -> None:
        if _HAS_CHANGE_TIME and about.st_ctime_ns < read_ns - int(1e9 * SETTLED_AFTER_S):
            self._found[name] = _Known(found, *_state(about))

    def keep(self) -> None:
        """Let other processes know what this one found."""
        if not self._found:
            return
        known = self._read() | self._found
        with contextlib.suppress(OSError):  # it only takes longer next time
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, lambda file: file.write(json.dumps(known).encode()))

    def _read(self) -> dict[str, _Known]:
        with contextlib.suppress(Exception):  # any defect of a cache has the same remedy
            content = json.loads(self._path.read_bytes())
            return {name: _Known(*known) for name, known in content.items()}
        return {}


def _name(file: Path, known_hash: str = "") -> str:
    """Return the key of a file; of one file, hashes of several kinds may be known."""
    return f"{known_hash.rpartition(':')[0]}:{os.path.abspath(file)}"


def _state(about: os.stat_result) -> tuple[int, int, int, int]:
    return about.st_size, about.st_ino, about.st_mtime_ns, about.st_ctime_ns


def files_digest(files: Iterable[Path]) -> str:
    """Return a digest of the paths and the contents of those files that exist."""
    known = IntactFiles()
    parts = [text for file in files if file.is_file() for text in (str(file), known.sha256(file))]
    known.keep()
    return digest(parts)
