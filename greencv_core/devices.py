"""One study at a time on a computer, so that none of ours is in another one's energy.

The lock is this computer's and this user's, and the system's own, which ends with its holder.
Others' work is no matter of a lock: a record tells of it (``contended``).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock

from greencv_core.errors import BadInputError, GreencvError


@contextlib.contextmanager
def whole_machine() -> Iterator[None]:
    """Keep the whole computer, for the runs of one study one after the other.

    Raises
    ------
    BadInputError
        Another greencv trains here.
    """
    lock = _machine()
    try:
        lock.acquire_write(timeout=0)
    except filelock.Timeout as error:
        raise BadInputError(
            "another greencv trains on this computer, and each would be in the other's energy: "
            "wait for its end, then give the same command"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _machine() -> filelock.ReadWriteLock:
    return filelock.ReadWriteLock(_folder() / "machine.lock", is_singleton=False)


def _folder() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"greencv-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        mine = not hasattr(os, "getuid") or folder.lstat().st_uid == os.getuid()
    except OSError as error:
        raise GreencvError(f"{folder}: cannot be made: {error.strerror}") from error
    if not mine or folder.is_symlink():
        raise GreencvError(f"{folder}: is not yours; name another folder with $TMPDIR")
    return folder
