"""Files that were found to have their hash, and are read again only if they may have changed.

A file is known by its size, its inode and the times of its last change. No program can set the
second of these times (``ctime``), so a change is noticed even if the size and the other time are
restored; git trusts its index in the same way. What was written just before it was read is not
remembered, as clocks are coarse.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import platformdirs

from greencv_core.utils.files import write_atomically

SETTLED_AFTER_S = 2.0
"""Age of the last change from which a file's state is trusted."""
_HAS_CHANGE_TIME = os.name == "posix"


class _State(NamedTuple):
    known_hash: str
    size: int
    inode: int
    modified_ns: int
    changed_ns: int


class IntactFiles:
    """The files found intact so far, by any process of this user."""

    def __init__(self) -> None:
        self._path = Path(platformdirs.user_cache_dir("greencv")) / "intact.json"
        self._known = self._read()
        self._found: dict[str, _State] = {}

    def check(self, file: Path, known_hash: str, matches: Callable[[Path, str], bool]) -> bool:
        """Return whether a file has a hash; ``matches`` reads it if that is not known.

        :class:`OSError` is raised if the file cannot be read.
        """
        about, now_ns = file.stat(), time.time_ns()
        state = _State(
            known_hash, about.st_size, about.st_ino, about.st_mtime_ns, about.st_ctime_ns
        )
        name = os.path.abspath(file)
        if self._known.get(name) == state and os.access(file, os.R_OK):
            return True
        if not matches(file, known_hash):
            return False
        if _HAS_CHANGE_TIME and state.changed_ns < now_ns - int(1e9 * SETTLED_AFTER_S):
            self._found[name] = state
        return True

    def keep(self) -> None:
        """Let other processes know what this one found."""
        if not self._found:
            return
        known = self._read() | self._found
        with contextlib.suppress(OSError):  # it only takes longer next time
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, lambda file: file.write(json.dumps(known).encode()))

    def _read(self) -> dict[str, _State]:
        with contextlib.suppress(Exception):  # any defect of a cache has the same remedy
            content = json.loads(self._path.read_bytes())
            return {name: _State(*state) for name, state in content.items()}
        return {}
