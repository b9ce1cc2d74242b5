"""A store in an object store (``s3://`` and others), or any other URL that fsspec can open."""

from __future__ import annotations

import contextlib
import datetime
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from greencv_core.records.backends.base import (
    SETTLED_AFTER_S,
    WRITING,
    Backend,
    Content,
    Stamp,
    StoreNotFoundError,
    UnreadableError,
    numbered,
)
from greencv_core.utils.errors import BadInputError, GreencvError, UnavailableError
from greencv_core.utils.secrets import safe_line

BATCH = 256
"""Objects that are requested concurrently."""
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "oci", "memory"}
"""Protocols whose PUT is atomic."""
_BUCKETS = _OBJECT_STORES - {"memory"}
_NO_RESPONSE = {
    "ConnectionClosedError", "ConnectTimeoutError", "EndpointConnectionError", "ReadTimeoutError"
}  # fmt: skip
"""Names that drivers give the error of a server that does not respond."""


class ObjectStore(Backend):
    """A folder of an object store, or of any other file system that fsspec can open."""

    def __init__(self, url: str) -> None:
        self.location = self.where = url.rstrip("/")
        self.protocol = url.partition("://")[0].lower()

    def identity(self) -> str:
        """Return the URL and the server that the environment sets."""
        return f"{self.where} {os.environ.get('AWS_ENDPOINT_URL', '')}"

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        import fsspec

        options: dict[str, Any] = {}
        if self.protocol in ("s3", "s3a"):
            options["config_kwargs"] = {
                "connect_timeout": 5,  # s
                "read_timeout": 20,
                "retries": {"total_max_attempts": 1},
            }
        try:
            # The instances in fsspec's cache ignore changes of the environment.
            files, path = fsspec.url_to_fs(self.location, skip_instance_cache=True, **options)
        except ImportError as error:
            raise BadInputError(
                f"{self.where}: {safe_line(error)}: pip install 'greencv[distributed]', or the "
                "package that fsspec names for it"
            ) from error
        except Exception as error:
            raise BadInputError(f"{self.where}: cannot be opened: {safe_line(error)}") from error
        if hasattr(files, "retries"):
            files.retries = 2  # s3fs retries by itself, each time with the full timeout
        return files, str(path).rstrip("/")

    @contextlib.contextmanager
    def _driver(
        self, problem: str, kind: type[GreencvError] | None = None
    ) -> Iterator[tuple[Any, str]]:
        """Give access to the file system; replace its errors by one line, except missing files."""
        opened = self._opened
        try:
            yield opened
        except (GreencvError, FileNotFoundError, FileExistsError, UnreadableError):
            raise
        except Exception as error:  # every driver has its own error classes
            kind = kind or _kind(error)
            raise kind(f"{self.where}: {problem}: {_reason(error)}") from error

    def stamps(self) -> dict[str, Stamp]:
        """Return the stamps of the current objects, without fsspec's cache."""
        with self._driver("no store of runs can be read there", BadInputError) as (files, path):
            try:
                files.invalidate_cache()
                entries = files.ls(path, detail=True)
            except FileNotFoundError as error:
                bucket = path.partition("/")[0]
                if self.protocol in _BUCKETS and not files.exists(bucket):
                    raise BadInputError(
                        f"{self.where}: bucket {bucket} does not exist or access is denied: create "
                        "it, or name another store"
                    ) from error
                raise StoreNotFoundError(f"{self.where}: no store of runs is there") from error
        found = {}
        for entry in entries:
            parent, _, name = str(entry["name"]).rpartition("/")
            visible = name.endswith(".json") and not name.startswith(".")
            if entry["type"] == "file" and visible and parent.strip("/") == path.strip("/"):
                found[name.removesuffix(".json")] = _object_stamp(entry)
        return found

    def read(self, name: str) -> bytes | None:
        """Return the content of an object."""
        with self._driver("cannot be read") as (files, path):
            try:
                return bytes(files.cat_file(f"{path}/{name}"))
            except FileNotFoundError:
                return None
            except PermissionError as error:
                raise UnreadableError(_reason(error)) from error

    def read_all(self, names: Iterable[str]) -> Iterator[tuple[str, Content]]:
        """Yield the contents of objects, which are requested concurrently."""
        every = list(names)
        for start in range(0, len(every), BATCH):
            some = every[start : start + BATCH]
            with self._driver("cannot be read") as (files, path):
                paths = [f"{path}/{name}" for name in some]
                got = files.cat(paths, on_error="return")
            for name, whole in zip(some, paths, strict=True):
                content = got.get(whole, FileNotFoundError())
                if isinstance(content, FileNotFoundError):
                    yield name, None
                elif isinstance(content, PermissionError):
                    yield name, UnreadableError(_reason(content))
                elif isinstance(content, Exception):
                    where = self.where_of(name)
                    raise _kind(content)(f"{where}: cannot be read: {_reason(content)}")
                else:
                    yield name, bytes(content)

    def write(self, name: str, content: bytes) -> None:
        """Write an object; where that is not atomic, under a temporary name first."""
        try:
            with self._driver(f"{name} cannot be written") as (files, path):
                target = f"{path}/{name}"
                if self.protocol in _OBJECT_STORES:
                    files.pipe_file(target, content)
                    return
                temporary = f"{path}/{WRITING}{uuid.uuid4().hex}"
                files.makedirs(target.rpartition("/")[0], exist_ok=True)
                try:
                    files.pipe_file(temporary, content)
                    files.mv(temporary, target)
                except BaseException:
                    with contextlib.suppress(Exception):
                        files.rm_file(temporary)
                    raise
        except OSError as error:
            raise GreencvError(
                f"{self.where}: {name} cannot be written: {_reason(error)}"
            ) from error

    def create(self, name: str, content: bytes) -> bool:
        """Write an object unless it exists; on S3, the server makes sure of that."""
        if self.protocol in ("s3", "s3a"):
            try:
                with self._driver(f"{name} cannot be written") as (files, path):
                    files.pipe_file(f"{path}/{name}", content, mode="create")
                    return True
            except FileExistsError:
                return False
            except FileNotFoundError:
                pass  # write() has the better message
            except GreencvError as error:
                if "NotImplemented" not in str(error) and "not implemented" not in str(error):
                    raise
        elif self.read(name) is not None:
            return False
        self.write(name, content)
        return True

    def check_space(self) -> None:
        """Check nothing: a bucket has no size limit."""

    def prepare(self) -> None:
        """Test that objects can be written."""
        with contextlib.suppress(StoreNotFoundError):
            self.stamps()  # has the better message about a bucket
        probe = f"{WRITING}{uuid.uuid4().hex}"
        try:
            self.write(probe, b"")
        except GreencvError as error:
            raise BadInputError(str(error).replace(f"{probe} cannot", "cannot", 1)) from error
        with contextlib.suppress(Exception):  # writing may be allowed where removing is not
            self._opened[0].rm_file(f"{self._opened[1]}/{probe}")

    def move(self, name: str, folder: str) -> str:
        """Move an object into a subfolder, under a numbered name if its own is in use."""
        with self._driver(f"{name} cannot be moved") as (files, path):
            for target in numbered(Path(name)):
                moved = f"{folder}/{target.name}"
                if not files.exists(f"{path}/{moved}"):
                    break
            if self.protocol not in _OBJECT_STORES:
                files.makedirs(f"{path}/{folder}", exist_ok=True)
            files.mv(f"{path}/{name}", f"{path}/{moved}")
        return self.where_of(moved)


def _object_stamp(entry: dict[str, Any]) -> Stamp:
    tags = [str(entry[k]) for k in ("ETag", "etag", "md5Hash", "content_md5") if entry.get(k)]
    keys = ("LastModified", "last_modified", "updated", "mtime", "created")
    times = [entry[k] for k in keys if entry.get(k) is not None]
    size = int(entry.get("size") or 0)
    # A tag depends on the content; without one, the time decides, if there is one.
    changed = times[0] if times else None
    if isinstance(changed, datetime.datetime):
        changed = changed.timestamp()
    old = isinstance(changed, int | float) and time.time() - changed > SETTLED_AFTER_S
    settled = bool(tags) or old
    return Stamp("-".join([*tags, str(size), *map(str, times[:1])]), settled, size)


def _kind(error: Exception) -> type[GreencvError]:
    return UnavailableError if type(error).__name__ in _NO_RESPONSE else GreencvError


def _reason(error: BaseException) -> str:
    """Return one line about a driver's error, and what to do where that is clear."""
    name = type(error).__name__
    if name in ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"):
        return "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
    if isinstance(error, PermissionError):
        return f"permission denied: {safe_line(error)}"
    if name in _NO_RESPONSE:
        return f"the server does not respond: {safe_line(error)}"
    if isinstance(error, FileNotFoundError):
        return f"does not exist: {safe_line(error)}"
    return safe_line(error) or name
