"""Write files whole or not at all, and read those that may be missing."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from greencv_core.utils.errors import BadInputError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a temporary file in the same folder and rename it; ``write`` fills it.

    A device or a pipe is written directly. :class:`OSError` is raised if that fails; a file of this
    name is unchanged then.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            write(file)
        return
    path = path.resolve()  # a link stays one
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
        os.chmod(name, mode_of_new_files())  # temporary files are private
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_stripped(path: Path) -> str:
    """Return the text of a file without white space around it; empty if it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def check_writable(path: Path) -> None:
    """Raise :class:`BadInputError` if a file cannot be written later; change nothing."""
    try:
        if path.is_dir() or (path.exists() and not os.access(path, os.W_OK)):
            number = errno.EISDIR if path.is_dir() else errno.EACCES
            raise OSError(number, os.strerror(number))
        if path.is_file() or not path.exists():
            with tempfile.TemporaryFile(dir=path.resolve().parent):
                pass
    except OSError as error:
        raise BadInputError(f"{path}: cannot be written: {error.strerror}") from error


def mode_of_new_files() -> int:
    """Return the permissions that this process gives to a new file: all that its umask allows."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
