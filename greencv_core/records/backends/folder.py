"""A store in a folder of the local or a network file system."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from greencv_core.records.backends.base import (
    SETTLED_AFTER_S,
    WRITING,
    Stamp,
    StoreNotFoundError,
    UnreadableError,
    numbered,
)
from greencv_core.utils.errors import BadInputError, GreencvError

ABANDONED_AFTER_S = 3600.0
"""Age of a half-written file that no process is still writing."""
SPACE_BYTES = 8 << 20
"""Free space that the record of a run needs, at least."""
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Folder:
    """A folder of this machine's file systems, those of the network included."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.where = str(folder)
        # Paths are made of text: of many files, joining takes longer than reading.
        self._before_name = str(folder / "-").removesuffix("-")

    @property
    def location(self) -> Path:
        """The folder's path."""
        return self.folder

    def identity(self) -> str:
        """Return the folder's path without links."""
        return os.path.realpath(self.folder)

    def where_of(self, name: str) -> str:
        """Return the file's path."""
        return f"{self._before_name}{name}"

    def stamps(self) -> dict[str, Stamp]:
        """Return what lies there; a file that goes meanwhile does not."""
        found = {}
        try:
            with os.scandir(self.folder) as entries:
                settled_ns = time.time_ns() - int(1e9 * SETTLED_AFTER_S)
                for entry in entries:
                    name = entry.name
                    if name.startswith(".") or not name.endswith(".json") or not _is_text(name):
                        continue
                    try:
                        status = entry.stat()
                    except OSError:
                        if not os.path.lexists(entry.path):
                            continue
                        status = entry.stat(follow_symlinks=False)
                    # A time to come is none of an old file: a clock was wrong, or still is.
                    size, changed_ns = status.st_size, status.st_mtime_ns
                    found[name] = Stamp(f"{size}-{changed_ns}", changed_ns < settled_ns, size)
        except OSError as error:
            kind = StoreNotFoundError if isinstance(error, FileNotFoundError) else BadInputError
            raise kind(
                f"{self.where}: no store of runs can be read there: {error.strerror}"
            ) from error
        return found

    def read(self, name: str) -> bytes | None:
        """Return the file's bytes."""
        path = self.where_of(name)
        try:
            with open(path, "rb", buffering=0, opener=_at_once) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise UnreadableError("is no file")
                return file.read()
        except OSError as error:
            if not os.path.lexists(path):
                return None
            raise UnreadableError(error.strerror or type(error).__name__) from error

    def read_all(
        self, names: Iterable[str]
    ) -> Iterator[tuple[str, bytes | UnreadableError | None]]:
        """Yield one file after the other."""
        for name in names:
            try:
                yield name, self.read(name)
            except UnreadableError as error:
                yield name, error

    def write(self, name: str, content: bytes) -> None:
        """Write beside the file's place, flush to the disk and rename."""
        with self._written(name, content) as temporary:
            temporary.replace(self.folder / name)

    def create(self, name: str, content: bytes) -> bool:
        """Write as :meth:`write` does, but link: a link never replaces."""
        path = self.folder / name
        with self._written(name, content) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            except OSError:  # a file system without links
                temporary.replace(path)
        return True

    @contextlib.contextmanager
    def _written(self, name: str, content: bytes) -> Iterator[Path]:
        path, temporary = self.folder / name, None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix=WRITING, delete=False) as file:
                temporary = Path(file.name)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            # Temporary files are private; records are for whoever may read the folder.
            temporary.chmod(0o644)
            yield temporary
        except OSError as error:
            if error.errno in _FULL:
                raise self._full() from error
            raise GreencvError(f"{path}: cannot be written: {error.strerror}") from error
        finally:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)

    def check_space(self) -> None:
        """Make sure that the disk has space for one more record.

        A user's quota is not known here; it shows when the record is written.

        Raises
        ------
        GreencvError
            The disk is full, or there can be no such folder.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            largest = max((stamp.size for stamp in self.stamps().values()), default=0)
            free = shutil.disk_usage(self.folder).free
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
        """Make the folder, write to it, and remove what was left half written long ago.

        Raises
        ------
        BadInputError
            The folder cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix=WRITING):
                pass
            for leftover in self.folder.glob(f"{WRITING}*"):
                # Another one may be faster, or another one's file not for us to remove.
                with contextlib.suppress(OSError):
                    if time.time() - leftover.stat().st_mtime > ABANDONED_AFTER_S:
                        leftover.unlink()
        except OSError as error:
            raise BadInputError(f"{self.where}: cannot be written to: {error.strerror}") from error

    def move(self, name: str, folder: str) -> str:
        """Move a file; a number tells it from one of the same name that is there."""
        path, aside = self.folder / name, self.folder / folder
        try:
            aside.mkdir(exist_ok=True)
            target = next(p for p in numbered(aside / name) if not os.path.lexists(p))
            path.rename(target)
        except OSError as error:
            raise GreencvError(f"{path}: cannot be moved: {error.strerror}") from error
        return str(target)


def _is_text(name: str) -> bool:
    """Return whether a file's name can be written; bytes that are no character cannot."""
    try:
        return name.isascii() or bool(name.encode())
    except UnicodeEncodeError:
        return False


def _at_once(path: str, flags: int) -> int:
    # A pipe that nobody writes to would keep us waiting.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
