"""Getting torchvision's data sets: from the folder of downloads, else from their sites, whole.

A set is downloaded and unpacked in a folder of its own that gets the set's name only when it is
complete, since torchvision takes many a set for whole as soon as its folder exists.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from http.client import HTTPException
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from filelock import FileLock

from greencv_core.utils.errors import BadInputError
from greencv_core.utils.secrets import without_secrets

VARIABLE = "GREENCV_DATASETS"
PATIENCE_S = 30.0
"""For each answer of a site; torchvision alone would wait for ever."""
ARCHIVES = (".zip", ".tgz", ".gz", ".tar", ".bz2", ".mat")
"""What is downloaded, rather than unpacked."""
_FAILED = (
    OSError, RuntimeError, ValueError, AssertionError, EOFError, HTTPException, tarfile.TarError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What torchvision raises where files are missing, damaged or not to be had."""

_SAFE_FILTER: Any = getattr(tarfile, "data_filter", None)
"""There is none before Python 3.11.4."""

Loaded = TypeVar("Loaded")
Load = Callable[[Path, bool], Loaded]
"""Reads a set in a folder; with True, after torchvision has downloaded what is missing there."""


def downloads_folder() -> Path:
    """Return the folder of downloads: ``$GREENCV_DATASETS``, else one in this user's cache."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    with warnings.catch_warnings():
        # Its progress bar, which is not used, warns where a notebook lacks widgets.
        warnings.simplefilter("ignore")
        import pooch
    return Path(pooch.os_cache("greencv")) / "datasets"


def open_or_download(
    name: str, load: Load[Loaded], *, by_hand: str, verified: bool, offered: bool, download: bool
) -> Loaded | None:
    """Return a set that is at hand, or is downloaded now; None if it is neither.

    Parameters
    ----------
    by_hand
        Where its files are to be put, relative to its own folder, by who cannot download them.
    verified
        Whether torchvision checks the archives that it downloads. Others are not kept after a
        download that failed.
    offered
        Whether there is a site to download it from.
    download
        Whether to download it.

    Raises
    ------
    BadInputError
        It is to be downloaded and cannot; one line.
    """
    home = downloads_folder() / name
    found = _at_hand(home, load)
    if found is not None or not download:
        return found
    where = (
        f"put {by_hand} in {home} by hand (another folder than {home.parent} can be named in "
        f"{VARIABLE})"
    )
    if not offered:
        raise BadInputError(
            f"dataset.name = {name}: its publisher no longer offers it for download; {where}"
        )
    if not verified and _SAFE_FILTER is None:
        raise BadInputError(
            f"dataset.name = {name}: nothing checks its archive, and this Python cannot unpack it "
            "safely; update to Python 3.11.4 or later"
        )
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(home.with_name(f"{name}.lock")):
            # Another process may have downloaded it meanwhile.
            found = _at_hand(home, load)
            return found if found is not None else _download(home, load, verified)
    except _FAILED as error:
        raise BadInputError(
            f"dataset.name = {name}: could not be downloaded ({without_secrets(_reason(error))}); "
            f"try again, or "
            f"{where}"
        ) from error


def _at_hand(home: Path, load: Load[Loaded]) -> Loaded | None:
    if not home.is_dir():
        return None
    try:
        return load(home, False)
    except _FAILED:
        return None


def _download(home: Path, load: Load[Loaded], verified: bool) -> Loaded:
    partial = home.with_name(f"{home.name}.partial")
    _clear(partial, keep_archives=verified)
    partial.mkdir(exist_ok=True)
    if home.is_dir():
        _adopt_archives(home, partial)
    with _quietly():
        load(partial, True)
    if home.is_dir():
        home.rename(_free_name(home))
    partial.rename(home)
    return load(home, False)


def _clear(partial: Path, *, keep_archives: bool) -> None:
    """Remove what an interrupted download left, all but archives that will be checked."""
    if not keep_archives:
        shutil.rmtree(partial, ignore_errors=True)
        return
    for folder, _, files in os.walk(partial, topdown=False):
        for file in map(Path(folder).joinpath, files):
            if file.suffix not in ARCHIVES:
                file.unlink()
        with contextlib.suppress(OSError):  # not empty
            Path(folder).rmdir()


def _adopt_archives(home: Path, partial: Path) -> None:
    """Take over archives that somebody put into a set's folder."""
    for file in home.rglob("*"):
        if file.is_file() and file.suffix in ARCHIVES:
            taken = partial / file.relative_to(home)
            taken.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, taken)


def _free_name(home: Path) -> Path:
    """Return a name for a folder that was no whole data set: nothing of the user's is deleted."""
    number = 1
    while (aside := home.with_name(f"{home.name}.incomplete-{number}")).exists():
        number += 1
    return aside


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Wait for no site for ever, and show torchvision's progress bars on a terminal alone."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE_S)
    filter_before = getattr(tarfile.TarFile, "extraction_filter", None)
    if _SAFE_FILTER is not None:
        # Members that would lie outside their folder are refused, whatever torchvision asks for.
        tarfile.TarFile.extraction_filter = staticmethod(_SAFE_FILTER)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(StringIO()))
            if not sys.stderr.isatty():
                stack.enter_context(contextlib.redirect_stderr(StringIO()))
            yield
    finally:
        socket.setdefaulttimeout(before)
        if _SAFE_FILTER is not None:
            tarfile.TarFile.extraction_filter = filter_before


def _reason(error: BaseException) -> str:
    if isinstance(error, HTTPError):
        return f"{urlsplit(error.url).hostname} answers {error.code}"
    if isinstance(error, URLError):
        reason = error.reason
        return f"no answer: {getattr(reason, 'strerror', None) or reason}"
    if isinstance(error, OSError):
        return str(error.strerror or error)
    if isinstance(error, getattr(tarfile, "FilterError", ())):
        return "what came would be unpacked outside its folder"
    if str(error) == "File not found or corrupted.":
        return "what came is not the published file: its checksum differs"
    if isinstance(error, RuntimeError):
        return " ".join(str(error).split())
    return f"what came is damaged: {' '.join(str(error).split())}"
