"""One training at a time on a machine, so that no run is in another one's energy.

The lock is that of one user on one machine; the system releases it when its process ends. Work of
other programs is not locked out: a run waits for its end, or is marked as disturbed.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from greencv_core.utils.errors import BadInputError, GreencvError

RETRY_S = 1.0


@contextlib.contextmanager
def machine_lock(still_wanted: Callable[[], None] | None = None) -> Iterator[None]:
    """Lock the whole machine for training.

    CPU and RAM are metered for the whole machine, so two trainings may not even run at the same
    time on two GPUs.

    Parameters
    ----------
    still_wanted
        Wait for the lock, and call this every second; an exception from it ends the wait. Without
        it, raise :class:`BadInputError` if another greencv is training here.
    """
    lock = filelock.ReadWriteLock(_folder() / "machine.lock", is_singleton=False)
    while True:
        try:
            lock.acquire_write(timeout=0 if still_wanted is None else RETRY_S)
            break
        except filelock.Timeout as error:
            if still_wanted is None:
                raise BadInputError(
                    "another greencv is training on this computer, and each would be in the "
                    "other's energy: wait until it ends, then run the same command"
                ) from error
            still_wanted()
    try:
        yield
    finally:
        lock.release()


def _folder() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"greencv-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        mine = not hasattr(os, "getuid") or folder.lstat().st_uid == os.getuid()
    except OSError as error:
        raise GreencvError(f"{folder}: cannot be created: {error.strerror}") from error
    if not mine or folder.is_symlink():
        raise GreencvError(f"{folder}: is not yours; name another folder with $TMPDIR")
    return folder
