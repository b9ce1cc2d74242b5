"""torchvision's data sets: read from the folder of data sets, or downloaded from their publishers.

A set is downloaded and unpacked in a temporary folder, which gets the set's name when it is
complete: torchvision accepts many sets as complete as soon as their folder exists.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from http.client import HTTPException
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from filelock import FileLock

from greencv_core.datasets.raw import Pool
from greencv_core.datasets.torchvision_sets import TorchvisionSet
from greencv_core.utils.downloads import data_location
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.paths import user_cache
from greencv_core.utils.secrets import without_secrets
from greencv_core.utils.text import one_line

VARIABLE = "GREENCV_DATASETS"
TIMEOUT_S = 30.0
"""For each response of a server; torchvision itself sets no limit."""
ARCHIVES = (".zip", ".tgz", ".gz", ".tar", ".bz2", ".mat")
"""Suffixes of downloaded files; all others were unpacked."""
_FAILURES = (
    OSError, RuntimeError, ValueError, AssertionError, EOFError, HTTPException, tarfile.TarError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What torchvision raises where files are missing, damaged or not available."""

_SAFE_FILTER: Any = getattr(tarfile, "data_filter", None)
"""None before Python 3.11.4."""


def downloads_folder() -> Path:
    """Return the folder of data sets: ``$GREENCV_DATASETS``, else one in this user's cache."""
    named = data_location(VARIABLE)
    return Path(named) if named else user_cache() / "datasets"


def open_or_download(name: str, entry: TorchvisionSet, *, download: bool) -> Pool | None:
    """Return a data set from the folder of data sets, or download it first.

    Returns None if it is not in the folder and ``download`` is false, and raises
    :class:`BadInputError` if the download fails or is not possible.
    """
    home = downloads_folder() / name
    found = _read(home, entry)
    if found is not None or not download:
        return found
    by_hand = (
        f"put {entry.files} in {home} by hand (set {VARIABLE} to use another folder than "
        f"{home.parent})"
    )
    if not entry.offered:
        raise BadInputError(
            f"dataset.name = {name}: its publisher no longer offers it for download; {by_hand}"
        )
    if not entry.verified and _SAFE_FILTER is None:
        raise BadInputError(
            f"dataset.name = {name}: its archive has no checksum, and this Python cannot unpack it "
            "safely; update to Python 3.11.4 or later"
        )
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(home.with_name(f"{name}.lock")):
            # Another process may have downloaded it in the meantime.
            found = _read(home, entry)
            return found if found is not None else _download(home, entry)
    except _FAILURES as error:
        raise BadInputError(
            f"dataset.name = {name}: could not be downloaded ({without_secrets(_reason(error))}); "
            f"try again, or {by_hand}"
        ) from error


def _read(home: Path, entry: TorchvisionSet) -> Pool | None:
    if home.is_dir():
        with contextlib.suppress(*_FAILURES):
            return entry.read_folder(home)
    return None


def _download(home: Path, entry: TorchvisionSet) -> Pool:
    partial = home.with_name(f"{home.name}.partial")
    _clear(partial, keep_archives=entry.verified)
    partial.mkdir(exist_ok=True)
    for file in home.rglob("*"):
        # The user put it there.
        if file.is_file() and file.suffix in ARCHIVES:
            copy = partial / file.relative_to(home)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    with _torchvision_settings():
        entry.read_folder(partial, download=True)
    if home.is_dir():
        # No file of the user's is deleted.
        names = (f"{home.name}.incomplete-{number}" for number in itertools.count(1))
        home.rename(next(path for path in map(home.with_name, names) if not path.exists()))
    partial.rename(home)
    return entry.read_folder(home)


def _clear(partial: Path, *, keep_archives: bool) -> None:
    """Delete what an interrupted download left, except archives that will be verified."""
    if not keep_archives:
        shutil.rmtree(partial, ignore_errors=True)
        return
    for folder, _, files in os.walk(partial, topdown=False):
        for file in map(Path(folder).joinpath, files):
            if file.suffix not in ARCHIVES:
                file.unlink()
        with contextlib.suppress(OSError):  # not empty
            Path(folder).rmdir()


@contextlib.contextmanager
def _torchvision_settings() -> Iterator[None]:
    """Set a timeout and a safe tar filter; show torchvision's progress bars on a terminal only."""
    timeout_before = socket.getdefaulttimeout()
    filter_before = getattr(tarfile.TarFile, "extraction_filter", None)
    socket.setdefaulttimeout(TIMEOUT_S)
    if _SAFE_FILTER is not None:
        # Refuses members outside the archive's folder, whatever filter torchvision requests.
        tarfile.TarFile.extraction_filter = staticmethod(_SAFE_FILTER)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(StringIO()))
            if not sys.stderr.isatty():
                stack.enter_context(contextlib.redirect_stderr(StringIO()))
            yield
    finally:
        socket.setdefaulttimeout(timeout_before)
        if _SAFE_FILTER is not None:
            tarfile.TarFile.extraction_filter = filter_before


def _reason(error: BaseException) -> str:
    if isinstance(error, HTTPError):
        return f"{urlsplit(error.url).hostname} responds with {error.code}"
    if isinstance(error, URLError):
        return f"no response: {getattr(error.reason, 'strerror', None) or error.reason}"
    if isinstance(error, OSError):
        return str(error.strerror or error)
    if isinstance(error, getattr(tarfile, "FilterError", ())):
        return "the archive would be unpacked outside its folder"
    if str(error) == "File not found or corrupted.":
        return "the download is not the published file: its checksum differs"
    if isinstance(error, RuntimeError):
        return one_line(error)
    return f"the download is damaged: {one_line(error)}"
