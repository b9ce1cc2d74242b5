"""The backend of a store: the protocol, and what their implementations share.

Every backend writes a file completely or not at all, and writers need no lock. Errors of a disk or
a server become a :class:`GreencvError` with a message of one line that names the location.
"""

from __future__ import annotations

import itertools
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

from greencv_core.utils.errors import BadInputError

WRITING = ".writing-"
"""Prefix of the name of a file that is not yet complete."""
SETTLED_AFTER_S = 2.0
"""Age from which a file's time is sure to differ after a change: the clocks of file systems are
coarse, and a second change within one tick would leave the time as it is."""

READ_BYTES = 1 << 16
"""Bytes of a file that are read at a time."""


class StoreNotFoundError(BadInputError):
    """The folder of the store does not exist (yet)."""


class UnreadableError(Exception):
    """A single file cannot be read, for a reason other than its content."""


Content: TypeAlias = "bytes | UnreadableError | None"
"""Content of a file: the bytes, why it cannot be read, or None if it does not exist."""


class Stamp(NamedTuple):
    """Version of a file's content; only equality has a meaning."""

    text: str
    settled: bool
    """Whether any later change is sure to change the stamp."""
    size: int
    """Size of the file in bytes."""


class Backend(Protocol):
    """Named files in one location.

    Those that can be written to also have ``write``, ``create``, ``move``, ``prepare`` and
    ``check_space``: see :class:`~greencv_core.records.backends.folder.Folder`.
    """

    where: str
    """Location to print, without credentials."""
    location: str | Path
    """Location to pass to :func:`~greencv_core.records.backends.open_backend`."""

    def identity(self) -> str:
        """Return a text that is the same for all names of this location: the path without links."""
        return os.path.realpath(self.where)

    def where_of(self, name: str) -> str:
        """Return the path or URL of a file, to print."""
        return f"{self.where}/{name}"

    def stamps(self) -> dict[str, Stamp]:
        """Return the current stamp of each visible file ``<name>.json``, by name.

        Without a store, raise :class:`StoreNotFoundError`.
        """

    def read(self, name: str) -> bytes | None:
        """Return a file's content, None if it does not exist; raise :class:`UnreadableError`."""

    def read_all(self, names: Iterable[str]) -> Iterator[tuple[str, Content]]:
        """Yield the name and content of many files."""
        for name in names:
            try:
                yield name, self.read(name)
            except UnreadableError as error:
                yield name, error


def numbered(path: Path) -> Iterator[Path]:
    """Yield ``a.json``, ``a-2.json``, ``a-3.json`` and so on."""
    yield path
    for number in itertools.count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def read_regular_file(path: str | Path, limit: int = sys.maxsize) -> bytes:
    """Return the content of a file, or its first bytes; other kinds raise `UnreadableError`."""
    # Otherwise, opening a pipe that nobody writes to would wait forever. Of many small files, a
    # file object of Python would take a third of the time.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # reading a folder raises OSError
            raise UnreadableError("not a regular file")
        parts, left = [], limit
        while part := os.read(descriptor, min(left, READ_BYTES)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)
