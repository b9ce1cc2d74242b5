"""A store in a folder of the local or a network file system."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from greencv_core.records.backends.base import (
    SETTLED_AFTER_S,
    WRITING,
    Backend,
    Stamp,
    StoreNotFoundError,
    UnreadableError,
    numbered,
    read_regular_file,
)
from greencv_core.utils.errors import BadInputError, GreencvError
from greencv_core.utils.files import mode_of_new_files

ABANDONED_AFTER_S = 3600.0
"""Age of an incomplete file that no process is still writing."""
SPACE_BYTES = 8 << 20
"""Free space that the record of a run needs, at least."""


class Folder(Backend):
    """A folder of the local or a network file system."""

    location: Path

    def __init__(self, folder: Path) -> None:
        self.location = folder
        self.where = str(folder)
        # For many files, joining Path objects takes longer than reading.
        self._prefix = str(folder / "-").removesuffix("-")

    def where_of(self, name: str) -> str:
        """Return the path of a file."""
        return f"{self._prefix}{name}"

    def stamps(self) -> dict[str, Stamp]:
        """Return size and time of each file; files that are removed meanwhile are skipped."""
        found = {}
        try:
            with _opened(self.location) as folder:
                settled_ns = time.time_ns() - int(1e9 * SETTLED_AFTER_S)
                for name in os.listdir(folder):
                    if name.startswith(".") or not name.endswith(".json"):
                        continue
                    if not name.isascii() and name != name.encode(errors="ignore").decode():
                        continue  # bytes that are not UTF-8 cannot be printed
                    try:
                        status = os.stat(name, dir_fd=folder)
                    except OSError:
                        if not os.path.lexists(self.where_of(name)):
                            continue
                        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    # A time in the future is not settled: some clock is wrong.
                    size, changed_ns = status.st_size, status.st_mtime_ns
                    found[name.removesuffix(".json")] = Stamp(
                        f"{size}-{changed_ns}", changed_ns < settled_ns, size
                    )
        except OSError as error:
            kind = StoreNotFoundError if isinstance(error, FileNotFoundError) else BadInputError
            raise kind(
                f"{self.where}: no store of runs can be read there: {error.strerror}"
            ) from error
        return found

    def read(self, name: str) -> bytes | None:
        """Return the content of a file."""
        path = self.where_of(name)
        try:
            return read_regular_file(path)
        except OSError as error:
            if not os.path.lexists(path):
                return None
            raise UnreadableError(error.strerror or type(error).__name__) from error

    def write(self, name: str, content: bytes) -> None:
        """Write a temporary file, flush it to the disk and rename it."""
        with self._temporary(name, content) as temporary:
            temporary.replace(self.location / name)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file unless it exists; return whether it was written."""
        path = self.location / name
        with self._temporary(name, content) as temporary:
            try:
                os.link(temporary, path)  # which never replaces a file
            except FileExistsError:
                return False
            except OSError:  # a file system without links
                temporary.replace(path)
        return True

    @contextlib.contextmanager
    def _temporary(self, name: str, content: bytes) -> Iterator[Path]:
        path, temporary = self.location / name, None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                dir=self.location, prefix=WRITING, delete=False
            ) as file:
                temporary = Path(file.name)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(mode_of_new_files())  # temporary files are private
            yield temporary
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self._full() from error
            raise GreencvError(f"{path}: cannot be written: {error.strerror}") from error
        finally:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)

    def check_space(self) -> None:
        """Raise :class:`GreencvError` if there is no space for one more record.

        A user's quota is unknown here; it takes effect when the record is written.
        """
        try:
            self.location.mkdir(parents=True, exist_ok=True)
            largest = max((stamp.size for stamp in self.stamps().values()), default=0)
            free = shutil.disk_usage(self.location).free
        except OSError as error:
            raise GreencvError(f"{self.where}: cannot be written to: {error.strerror}") from error
        if free < max(SPACE_BYTES, 2 * largest):
            raise self._full()

    def _full(self) -> GreencvError:
        return GreencvError(
            f"{self.where}: no space left for the record of a run: free some disk space, then run "
            "the same command again"
        )

    def prepare(self) -> None:
        """Create the folder, test that it can be written to, and remove abandoned files."""
        try:
            self.location.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.location, prefix=WRITING):
                pass
            for leftover in self.location.glob(f"{WRITING}*"):
                # Another process may remove it first, or its owner be another user.
                with contextlib.suppress(OSError):
                    if time.time() - leftover.stat().st_mtime > ABANDONED_AFTER_S:
                        leftover.unlink()
        except OSError as error:
            raise BadInputError(f"{self.where}: cannot be written to: {error.strerror}") from error

    def move(self, name: str, folder: str) -> str:
        """Move a file into a subfolder, under a numbered name if its own is in use."""
        path, subfolder = self.location / name, self.location / folder
        try:
            subfolder.mkdir(exist_ok=True)
            target = next(p for p in numbered(subfolder / name) if not os.path.lexists(p))
            path.rename(target)
        except OSError as error:
            raise GreencvError(f"{path}: cannot be moved: {error.strerror}") from error
        return str(target)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Open a folder: for many files, a status by name takes less time than by path."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
