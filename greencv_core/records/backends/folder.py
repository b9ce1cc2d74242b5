"""A store in a folder of the local or a network file system."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from greencv_core.records.backends.base import (
    SETTLED_AFTER_S,
    WRITING,
    Reserved,
    Stamp,
    StoreNotFoundError,
    UnreadableError,
    numbered,
)
from greencv_core.utils.errors import BadInputError, GreencvError

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows has no fcntl
    fcntl = None

ABANDONED_AFTER_S = 60.0
"""Age of a half-written file that nobody is writing any more: none has it locked."""
LONG_ABANDONED_AFTER_S = 3600.0
"""Its age where there are no locks."""
ROOM_BYTES = 8 << 20
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

    def write(self, name: str, content: bytes, reserved: Reserved | None = None) -> None:
        """Write beside the file's place, flush to the disk and rename."""
        with self._written(name, content, reserved) as temporary:
            temporary.replace(self.folder / name)

    def create(self, name: str, content: bytes, reserved: Reserved | None = None) -> bool:
        """Write as :meth:`write` does, but link: a link never replaces."""
        path = self.folder / name
        with self._written(name, content, reserved) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            except OSError:  # a file system without links
                temporary.replace(path)
        return True

    @contextlib.contextmanager
    def _written(self, name: str, content: bytes, reserved: Reserved | None) -> Iterator[Path]:
        path, temporary = self.folder / name, None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = reserved.take() if isinstance(reserved, _RoomInFolder) else None
            file = file or self._temporary()
            temporary = Path(file.name)
            with file:
                file.write(content)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
            # Temporary files are private; records are for whoever may read the folder.
            temporary.chmod(0o644)
            yield temporary
        except OSError as error:
            raise GreencvError(f"{path}: cannot be written: {error.strerror}") from error
        finally:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)

    def _temporary(self) -> IO[bytes]:
        file = tempfile.NamedTemporaryFile(  # noqa: SIM115 (whoever takes it closes it)
            dir=self.folder, prefix=WRITING, delete=False
        )
        _lock(file)  # so that nobody takes it for a leftover
        return file

    def reserve(self) -> Reserved:
        """Allocate a file, where the file system can: it is the one that is written to.

        Raises
        ------
        GreencvError
            The disk, or the user's share of it, is full, or the folder cannot be written to.
        """
        largest = 0
        with contextlib.suppress(StoreNotFoundError):
            largest = max((stamp.size for stamp in self.stamps().values()), default=0)
        file = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = self._temporary()
            _allocate(file, max(ROOM_BYTES, 2 * largest))
        except OSError as error:
            if file is not None:
                file.close()
                Path(file.name).unlink(missing_ok=True)
            if error.errno in _FULL:
                raise GreencvError(
                    f"{self.where}: no space left for the record of a run: make room, then the "
                    "same command goes on"
                ) from error
            raise GreencvError(f"{self.where}: cannot be written to: {error.strerror}") from error
        return _RoomInFolder(file)

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
                    age_s = time.time() - leftover.stat().st_mtime
                    if age_s > ABANDONED_AFTER_S:
                        with leftover.open("rb") as file:
                            locked = _lock(file)  # room that is kept for a long training stays
                            if locked or age_s > LONG_ABANDONED_AFTER_S:
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


class _RoomInFolder:
    """A file that holds space; it is locked, so that nobody takes it for a leftover."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file: IO[bytes] | None = file

    def take(self) -> IO[bytes] | None:
        """Return the file to write into; None where it was used, or somebody removed it."""
        file, self._file = self._file, None
        if file is None or os.path.lexists(file.name):
            return file
        file.close()
        return None

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            with contextlib.suppress(OSError):
                Path(self._file.name).unlink(missing_ok=True)
            self._file = None


def _lock(file: IO[bytes]) -> bool:
    """Lock a file until it is closed; return whether its file system can.

    Raises
    ------
    BlockingIOError
        Another one has it.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _allocate(file: IO[bytes], size: int) -> None:
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV):
            raise
