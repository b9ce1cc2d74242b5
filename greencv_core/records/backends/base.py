"""Where the files of a store lie: a folder, shared or not, or an object store that a URL names.

A file is there whole or not at all, and writers need no lock. What goes wrong with a disk or a
server leaves this module as one line that names the place.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import re
import stat
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, Protocol

from greencv_core.utils.errors import BadInputError, GreencvError, UnavailableError

fcntl: Any
try:
    import fcntl
except ImportError:  # there is none on Windows
    fcntl = None

WRITING = ".writing-"
"""What the name of a file begins with that is not whole yet."""
ABANDONED_AFTER_S = 60.0
"""Age of a half-written file that nobody is writing any more: none has it locked."""
LONG_ABANDONED_AFTER_S = 3600.0
"""Its age where there are no locks."""
SETTLED_AFTER_S = 2.0
"""Age of a file that, if it changes now, gets another time: the clocks of file systems are coarse,
and a second change in the same tick could not be told from the first."""
ROOM_BYTES = 8 << 20
MESSAGE_CHARACTERS = 240
PATIENCE_S = 5, 20
"""For a connection to a server, and for each answer over it."""
ATTEMPTS = 2
"""At what a server does not answer."""
BATCH = 256
"""Objects that are asked for side by side."""

_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "oci", "memory"}
"""Where a PUT is atomic."""
_BUCKETS = _OBJECT_STORES - {"memory"}
_AWAY = {
    "ConnectionClosedError", "ConnectTimeoutError", "EndpointConnectionError", "ReadTimeoutError"
}  # fmt: skip
"""What drivers call it when a server does not answer."""
_FULL = {errno.ENOSPC, errno.EDQUOT}
_URL = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")


class AbsentError(BadInputError):
    """The folder is not there (yet)."""


class Unreadable(Exception):
    """A single file cannot be read, for a reason that is no fault of its content."""


class Stamp(NamedTuple):
    """What tells one content of a file from another; compared for equality alone."""

    text: str
    settled: bool
    """Whether a change after the look at it is sure to change it."""
    size: int


class Reserved(Protocol):
    """Space that is kept for a file until it is written."""

    def release(self) -> None:
        """Give the space back, if it was not used."""


class Place(Protocol):
    """Where named files lie side by side."""

    where: str
    """For people."""

    @property
    def location(self) -> str | Path:
        """For another process: what :func:`place_of` takes."""

    def identity(self) -> str:
        """Return what is the same for all names of this place."""

    def where_of(self, name: str) -> str:
        """Return where a file is, or would be, for people."""

    def stamps(self) -> dict[str, Stamp]:
        """Return the names of the visible files, as they are now; :class:`AbsentError` if none."""

    def read(self, name: str) -> bytes | None:
        """Return a file's content; None where there is none, else :class:`Unreadable`."""

    def read_all(self, names: Iterable[str]) -> Iterator[tuple[str, bytes | Unreadable | None]]:
        """Yield the contents of many files."""

    def write(self, name: str, content: bytes, reserved: Reserved | None = None) -> None:
        """Write a file, whole or not at all."""

    def create(self, name: str, content: bytes, reserved: Reserved | None = None) -> bool:
        """Write a file that is not there yet; return whether it was not there."""

    def reserve(self) -> Reserved | None:
        """Keep space for one file, where that can be."""

    def prepare(self) -> None:
        """Make the place, prove that it can be written to, and remove what others left there."""

    def move(self, name: str, folder: str) -> str:
        """Move a file into a folder of this place; return where it is then, for people."""


def place_of(location: str | Path) -> Place:
    """Return the place that a folder's path or a URL names.

    Raises
    ------
    BadInputError
        It is a home folder of nobody, or holds credentials.
    """
    text = str(location)
    if _URL.match(text):
        if re.search(r"://[^/@]*@", text):
            raise BadInputError(
                f"{one_line(text)}: the address of a store is printed in the report: give its "
                "credentials in the environment, or in a profile"
            )
        if text.startswith("file://"):
            return Folder(Path(text.removeprefix("file://")))
        return Bucket(text)
    try:
        return Folder(Path(text).expanduser())
    except RuntimeError as error:
        raise BadInputError(f"{text}: no such user's home folder") from error


def is_url(location: str | Path) -> bool:
    """Return whether a location is a URL, and no path of a folder."""
    return bool(_URL.match(str(location))) and not str(location).startswith("file://")


def one_line(text: object) -> str:
    """Return a message in one short line, without control characters and credentials."""
    # A character that is not printable may turn the line around, or break it.
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    line = re.sub(r"://[^/@\s]*@", "://", line)
    return line if len(line) <= MESSAGE_CHARACTERS else line[: MESSAGE_CHARACTERS - 1] + "…"


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
            kind = AbsentError if isinstance(error, FileNotFoundError) else BadInputError
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
                    raise Unreadable("is no file")
                return file.read()
        except OSError as error:
            if not os.path.lexists(path):
                return None
            raise Unreadable(error.strerror or type(error).__name__) from error

    def read_all(self, names: Iterable[str]) -> Iterator[tuple[str, bytes | Unreadable | None]]:
        """Yield one file after the other."""
        for name in names:
            try:
                yield name, self.read(name)
            except Unreadable as error:
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
        with contextlib.suppress(AbsentError):
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
            target = next(p for p in _numbered(aside / name) if not os.path.lexists(p))
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


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    number = 2
    while True:
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1


class Bucket:
    """A folder of an object store, or of whatever else fsspec reaches by a URL."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self.where = self._url
        self.protocol = url.partition("://")[0].lower()

    @property
    def location(self) -> str:
        """The URL."""
        return self._url

    def identity(self) -> str:
        """Return the URL, and the server that the environment names for it."""
        return f"{self.where} {os.environ.get('AWS_ENDPOINT_URL', '')}"

    def where_of(self, name: str) -> str:
        """Return the object's URL."""
        return f"{self.where}/{name}"

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        import fsspec

        options: dict[str, Any] = {}
        if self.protocol in ("s3", "s3a"):
            connect_s, read_s = PATIENCE_S
            options["config_kwargs"] = {
                "connect_timeout": connect_s,
                "read_timeout": read_s,
                "retries": {"total_max_attempts": 1},
            }
        try:
            # An instance of its own: fsspec's shared ones outlive a change of the environment.
            files, path = fsspec.url_to_fs(self.location, skip_instance_cache=True, **options)
        except ImportError as error:
            raise BadInputError(
                f"{self.where}: {one_line(error)}: pip install 'greencv[distributed]', or the "
                "package that fsspec names for it"
            ) from error
        except Exception as error:
            raise BadInputError(f"{self.where}: no such place: {one_line(error)}") from error
        if hasattr(files, "retries"):
            files.retries = ATTEMPTS  # of s3fs's own, each of which is as patient
        return files, str(path).rstrip("/")

    @contextlib.contextmanager
    def _edge(
        self, what: str, kind: type[GreencvError] = GreencvError
    ) -> Iterator[tuple[Any, str]]:
        """Turn whatever a driver raises into one line; files that are absent pass."""
        opened = self._opened
        try:
            yield opened
        except (GreencvError, FileNotFoundError, FileExistsError, Unreadable):
            raise
        except Exception as error:  # botocore's, aiohttp's and each other driver's own
            if type(error).__name__ in _AWAY and kind is GreencvError:
                kind = UnavailableError
            raise kind(f"{self.where}: {what}: {_reason(error)}") from error

    def stamps(self) -> dict[str, Stamp]:
        """Return what lies there now, whatever fsspec remembers."""
        with self._edge("no store of runs can be read there", BadInputError) as (files, path):
            try:
                files.invalidate_cache()
                entries = files.ls(path, detail=True)
            except FileNotFoundError as error:
                bucket = path.partition("/")[0]
                if self.protocol in _BUCKETS and not files.exists(bucket):
                    raise BadInputError(
                        f"{self.where}: there is no bucket {bucket}, or it is not for you to see: "
                        "create it, or name another store"
                    ) from error
                raise AbsentError(f"{self.where}: no store of runs is there") from error
        found = {}
        for entry in entries:
            parent, _, name = str(entry["name"]).rpartition("/")
            visible = name.endswith(".json") and not name.startswith(".")
            if entry["type"] == "file" and visible and parent.strip("/") == path.strip("/"):
                found[name] = _object_stamp(entry)
        return found

    def read(self, name: str) -> bytes | None:
        """Return the object's bytes.

        Raises
        ------
        GreencvError
            The server does not answer.
        """
        with self._edge("cannot be read") as (files, path):
            try:
                return bytes(files.cat_file(f"{path}/{name}"))
            except FileNotFoundError:
                return None
            except PermissionError as error:
                raise Unreadable(_reason(error)) from error

    def read_all(self, names: Iterable[str]) -> Iterator[tuple[str, bytes | Unreadable | None]]:
        """Yield objects that are asked for side by side."""
        every = list(names)
        for start in range(0, len(every), BATCH):
            some = every[start : start + BATCH]
            with self._edge("cannot be read") as (files, path):
                paths = [f"{path}/{name}" for name in some]
                got = files.cat(paths, on_error="return")
            for name, whole in zip(some, paths, strict=True):
                content = got.get(whole, FileNotFoundError())
                if isinstance(content, FileNotFoundError):
                    yield name, None
                elif isinstance(content, PermissionError):
                    yield name, Unreadable(_reason(content))
                elif isinstance(content, Exception):
                    raise GreencvError(f"{self.where_of(name)}: cannot be read: {_reason(content)}")
                else:
                    yield name, bytes(content)

    def write(self, name: str, content: bytes, reserved: Reserved | None = None) -> None:
        """Put an object; where that is not atomic, put it beside its place and move it."""
        try:
            with self._edge(f"{name} cannot be written") as (files, path):
                target = f"{path}/{name}"
                if self.protocol in _OBJECT_STORES:
                    files.pipe_file(target, content)
                    return
                beside = f"{path}/{WRITING}{uuid.uuid4().hex}"
                files.makedirs(target.rpartition("/")[0], exist_ok=True)
                try:
                    files.pipe_file(beside, content)
                    files.mv(beside, target)
                except BaseException:
                    with contextlib.suppress(Exception):
                        files.rm_file(beside)
                    raise
        except OSError as error:
            raise GreencvError(
                f"{self.where}: {name} cannot be written: {_reason(error)}"
            ) from error

    def create(self, name: str, content: bytes, reserved: Reserved | None = None) -> bool:
        """Put an object that is not there yet, if the server can refuse to replace one."""
        if self.protocol in ("s3", "s3a"):
            try:
                with self._edge(f"{name} cannot be written") as (files, path):
                    files.pipe_file(f"{path}/{name}", content, mode="create")
                    return True
            except FileExistsError:
                return False
            except FileNotFoundError:
                pass  # the plain write tells what is missing
            except GreencvError as error:
                if "NotImplemented" not in str(error) and "not implemented" not in str(error):
                    raise
        elif self.read(name) is not None:
            return False
        self.write(name, content)
        return True

    def reserve(self) -> None:
        """Reserve nothing: a bucket has no end."""

    def prepare(self) -> None:
        """Prove that objects can be put there.

        Raises
        ------
        BadInputError
            They cannot.
        """
        with contextlib.suppress(AbsentError):
            self.stamps()  # tells better what is wrong with a bucket
        probe = f"{WRITING}{uuid.uuid4().hex}"
        try:
            self.write(probe, b"")
        except GreencvError as error:
            raise BadInputError(str(error).replace(f"{probe} cannot", "cannot", 1)) from error
        with contextlib.suppress(Exception):  # who may not remove may still write
            self._opened[0].rm_file(f"{self._opened[1]}/{probe}")

    def move(self, name: str, folder: str) -> str:
        """Copy an object to where none is, then remove it."""
        with self._edge(f"{name} cannot be moved") as (files, path):
            for target in _numbered(Path(name)):
                place = f"{folder}/{target.name}"
                if not files.exists(f"{path}/{place}"):
                    break
            if self.protocol not in _OBJECT_STORES:
                files.makedirs(f"{path}/{folder}", exist_ok=True)
            files.mv(f"{path}/{name}", f"{path}/{place}")
        return self.where_of(place)


def _object_stamp(entry: dict[str, Any]) -> Stamp:
    tags = [str(entry[k]) for k in ("ETag", "etag", "md5Hash", "content_md5") if entry.get(k)]
    times = [
        entry[k]
        for k in ("LastModified", "last_modified", "updated", "mtime", "created")
        if entry.get(k) is not None
    ]
    size = int(entry.get("size") or 0)
    # A tag is of the content; without one, the time decides, if there is any.
    settled = bool(tags) or (bool(times) and _age_s(times[0]) > SETTLED_AFTER_S)
    return Stamp("-".join([*tags, str(size), *map(str, times[:1])]), settled, size)


def _age_s(moment: Any) -> float:
    if isinstance(moment, datetime.datetime):
        moment = moment.timestamp()
    return time.time() - moment if isinstance(moment, int | float) else 0.0


def _reason(error: BaseException) -> str:
    """Return in one line what a driver's error means, and what to do where that is clear."""
    name = type(error).__name__
    if name in ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"):
        return "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
    if isinstance(error, PermissionError):
        return f"permission denied: {one_line(error)}"
    if name in _AWAY:
        return f"the server does not answer: {one_line(error)}"
    if isinstance(error, FileNotFoundError):
        return f"no such place: {one_line(error)}"
    return one_line(error) or name


def name_in(where: str) -> str:
    """Return the name of the file that a place in words ends in."""
    return PurePosixPath(where).name
