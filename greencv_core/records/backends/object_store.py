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
    Stamp,
    StoreNotFoundError,
    UnreadableError,
    numbered,
)
from greencv_core.utils.errors import BadInputError, GreencvError, UnavailableError
from greencv_core.utils.secrets import safe_line

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


class ObjectStore:
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
                f"{self.where}: {safe_line(error)}: pip install 'greencv[distributed]', or the "
                "package that fsspec names for it"
            ) from error
        except Exception as error:
            raise BadInputError(f"{self.where}: no such place: {safe_line(error)}") from error
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
        except (GreencvError, FileNotFoundError, FileExistsError, UnreadableError):
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
                raise StoreNotFoundError(f"{self.where}: no store of runs is there") from error
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
                raise UnreadableError(_reason(error)) from error

    def read_all(
        self, names: Iterable[str]
    ) -> Iterator[tuple[str, bytes | UnreadableError | None]]:
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
                    yield name, UnreadableError(_reason(content))
                elif isinstance(content, Exception):
                    raise GreencvError(f"{self.where_of(name)}: cannot be read: {_reason(content)}")
                else:
                    yield name, bytes(content)

    def write(self, name: str, content: bytes) -> None:
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

    def create(self, name: str, content: bytes) -> bool:
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

    def check_space(self) -> None:
        """Check nothing: a bucket has no size limit."""

    def prepare(self) -> None:
        """Prove that objects can be put there.

        Raises
        ------
        BadInputError
            They cannot.
        """
        with contextlib.suppress(StoreNotFoundError):
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
            for target in numbered(Path(name)):
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
        return f"permission denied: {safe_line(error)}"
    if name in _AWAY:
        return f"the server does not answer: {safe_line(error)}"
    if isinstance(error, FileNotFoundError):
        return f"no such place: {safe_line(error)}"
    return safe_line(error) or name
