"""The backend of a store: the protocol, and what its implementations share.

Every backend writes a file completely or not at all, and writers need no lock. Errors of a disk or
a server become a :class:`GreencvError` with a message of one line that names the location.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from greencv_core.utils.errors import BadInputError

WRITING = ".writing-"
"""What the name of a file begins with that is not whole yet."""
SETTLED_AFTER_S = 2.0
"""Age of a file that, if it changes now, gets another time: the clocks of file systems are coarse,
and a second change in the same tick could not be told from the first."""


class StoreNotFoundError(BadInputError):
    """The folder is not there (yet)."""


class UnreadableError(Exception):
    """A single file cannot be read, for a reason that is no fault of its content."""


class Stamp(NamedTuple):
    """What tells one content of a file from another; compared for equality alone."""

    text: str
    settled: bool
    """Whether a change after the look at it is sure to change it."""
    size: int


class Backend(Protocol):
    """Where named files lie side by side."""

    where: str
    """For people."""

    @property
    def location(self) -> str | Path:
        """For another process: what :func:`open_backend` takes."""

    def identity(self) -> str:
        """Return what is the same for all names of this place."""

    def where_of(self, name: str) -> str:
        """Return where a file is, or would be, for people."""

    def stamps(self) -> dict[str, Stamp]:
        """Return the current stamp of each visible file; raise :class:`StoreNotFoundError`."""

    def read(self, name: str) -> bytes | None:
        """Return a file's content; None where there is none, else :class:`UnreadableError`."""

    def read_all(
        self, names: Iterable[str]
    ) -> Iterator[tuple[str, bytes | UnreadableError | None]]:
        """Yield the contents of many files."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""

    def create(self, name: str, content: bytes) -> bool:
        """Write a file that is not there yet; return whether it was not there."""

    def check_space(self) -> None:
        """Raise :class:`GreencvError` if there is no space for one more record."""

    def prepare(self) -> None:
        """Make the place, prove that it can be written to, and remove what others left there."""

    def move(self, name: str, folder: str) -> str:
        """Move a file into a folder of this place; return where it is then, for people."""


def numbered(path: Path) -> Iterator[Path]:
    """Yield ``a.json``, ``a-2.json``, ``a-3.json`` and so on."""
    yield path
    number = 2
    while True:
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1


def name_in(where: str) -> str:
    """Return the name of the file that a place in words ends in."""
    return PurePosixPath(where).name
