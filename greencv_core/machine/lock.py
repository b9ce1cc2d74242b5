"""One training at a time on a computer, so that none of ours is in another one's energy.

The lock is this computer's and this user's, and the system's own, which ends with its holder.
Others' work is no matter of a lock: a record tells of it (``contended``).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from greencv_core.utils.errors import BadInputError, GreencvError

LOOK_EVERY_S = 1.0


@contextlib.contextmanager
def machine_lock(still_wanted: Callable[[], None] | None = None) -> Iterator[None]:
    """Keep the whole computer, for runs one after the other.

    Its processor's and memory's energy are metered for all that it does, so that not even two
    trainings on two GPUs go on at the same time.

    Parameters
    ----------
    still_wanted
        Wait for the computer, and call this every second meanwhile; what it raises ends the wait.

    Raises
    ------
    BadInputError
        Another greencv trains here, and there is to be no wait.
    """
    lock = _machine()
    while True:
        try:
            lock.acquire_write(timeout=0 if still_wanted is None else LOOK_EVERY_S)
            break
        except filelock.Timeout as error:
            if still_wanted is None:
                raise BadInputError(
                    "another greencv trains on this computer, and each would be in the other's "
                    "energy: wait for its end, then give the same command"
                ) from error
            still_wanted()
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
