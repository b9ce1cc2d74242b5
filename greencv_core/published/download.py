"""Others' data: downloaded once, file by file, and each file checked by its hash.

A file that is damaged or missing is named and left out; what came whole is kept, so that a download
that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from greencv_core.analysis.attempt import NotEnoughDataError
from greencv_core.errors import GreencvError

VARIABLE = "GREENCV_DATA"
CONNECTIONS = 8
"""Downloads side by side: most files are small, and each waits for its answer."""
PATIENCE_S = 30.0
TRIED = 3
"""Files that are asked for before a mirror is taken to be arranged otherwise."""

Layout = Callable[[str], str]
Progress = Callable[[int, int], None]
"""Called with the files at hand and all that there are."""


class DataUnavailableError(GreencvError, NotEnoughDataError):
    """The data cannot be had here; the message says why, and how to get it."""


@dataclass(frozen=True)
class Release:
    """One publication of data: its files, and what each must hash to."""

    name: str
    """Also the name of its folder in the cache."""
    base_url: str
    """Where the files are, without a slash at the end."""
    hashes: Mapping[str, str]
    """A file's path here to its SHA-256."""
    url_path: Layout
    """A file's path here to its path under :attr:`base_url`."""

    def some(self, wanted: Callable[[str], bool]) -> Release:
        """Return the part of the release whose paths are wanted."""
        hashes = {path: digest for path, digest in self.hashes.items() if wanted(path)}
        return Release(self.name, self.base_url, MappingProxyType(hashes), self.url_path)


@dataclass(frozen=True)
class Fetched:
    """The files of a release that are at hand and whole."""

    files: Mapping[str, Path]
    """Path in the release to path on this machine."""
    problems: tuple[str, ...]
    """A line for each file that is not."""


def read_manifest(text: str) -> dict[str, str]:
    """Return path to hash, from the lines that ``sha256sum`` writes."""
    pairs = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    return {path.strip().removeprefix("*"): digest for digest, path in pairs}


def place() -> str:
    """Return what ``$GREENCV_DATA`` names, a folder from the root on; nothing if it is not set."""
    named = os.environ.get(VARIABLE, "").strip()
    return named if not named or "://" in named else str(Path(named).expanduser().resolve())


def fetch(release: Release, progress: Progress | None = None) -> Fetched:
    """Return the release's files, downloading those that this machine lacks.

    ``$GREENCV_DATA`` names a folder that holds the release already (read as it is, never written),
    or the URL of a mirror. Its files may lie as in our manifest, in a folder of the release's name
    or not, or as their publisher arranged them.

    Raises
    ------
    DataUnavailableError
        The folder is not there, or the site does not answer.
    """
    named = place()
    if named and "://" not in named:
        return _in_folder(release, Path(named), progress)
    if named:
        return _download(release, named.rstrip("/"), _layouts(release), progress)
    return _download(release, release.base_url, (release.url_path,), progress)


def _layouts(release: Release) -> tuple[Layout, ...]:
    return (lambda path: f"{release.name}/{path}"), (lambda path: path), release.url_path


def _in_folder(release: Release, folder: Path, progress: Progress | None) -> Fetched:
    for layout in _layouts(release):
        if any((folder / layout(path)).is_file() for path in release.hashes):
            break
    else:
        raise DataUnavailableError(
            f"{VARIABLE} names {folder}, where no file of {release.name} is; unset it to download "
            f"the data from {release.base_url}"
        )

    def check(path: str) -> Path | str:
        file = folder / layout(path)
        if not file.is_file():
            return f"{path}: missing in the folder that {VARIABLE} names"
        whole = _sha256(file) == release.hashes[path]
        return file if whole else _damaged(path, "this copy")

    return _gather(list(release.hashes), check, progress)


def _download(
    release: Release, base_url: str, layouts: tuple[Layout, ...], progress: Progress | None
) -> Fetched:
    import requests

    with warnings.catch_warnings():
        # Its progress bar, which is not used, warns where a notebook lacks widgets.
        warnings.simplefilter("ignore")
        import pooch
    # Its own messages: a line a file, on standard error.
    pooch.get_logger().setLevel(logging.CRITICAL)
    store = pooch.create(
        path=pooch.os_cache("greencv") / release.name,
        base_url="",
        registry={path: f"sha256:{digest}" for path, digest in release.hashes.items()},
    )
    downloader = pooch.HTTPDownloader(timeout=PATIENCE_S)
    paths = list(release.hashes)

    def get(path: str) -> Path | str:
        try:
            return Path(store.fetch(path, downloader=downloader))
        except requests.HTTPError as error:
            code = error.response.status_code if error.response is not None else "an error"
            return f"{path}: {store.urls[path]} answers {code}"
        except ValueError:
            return _damaged(path, f"what {store.urls[path]} sent")

    try:
        # One file alone first: a dead network is met once, and the layout found.
        for layout in layouts:
            store.urls = {path: f"{base_url}/{layout(path)}" for path in paths}
            if any(isinstance(get(path), Path) for path in paths[:TRIED]):
                break
        return _gather(paths, get, progress)
    except (requests.RequestException, OSError) as error:
        reason = "no answer" if isinstance(error, requests.RequestException) else str(error)
        raise DataUnavailableError(
            f"the published data could not be downloaded from {base_url} ({reason}); try again "
            f"with a network (what came is kept), or name a folder that holds it in {VARIABLE}"
        ) from error


def _gather(
    paths: list[str], get: Callable[[str], Path | str], progress: Progress | None
) -> Fetched:
    files: dict[str, Path] = {}
    problems = []
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        try:
            for done, (path, got) in enumerate(zip(paths, pool.map(get, paths), strict=True), 1):
                if isinstance(got, Path):
                    files[path] = got
                else:
                    problems.append(got)
                if progress is not None:
                    progress(done, len(paths))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return Fetched(MappingProxyType(files), tuple(problems))


def _damaged(path: str, found: str) -> str:
    return f"{path}: {found} is not the published file (its SHA-256 differs)"


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
