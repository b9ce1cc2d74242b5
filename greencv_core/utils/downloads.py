"""Others' data: downloaded once, file by file, and each file checked by its hash.

A file that is damaged or missing is named and left out; what came whole is kept, so that a download
that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from greencv_core.utils.errors import GreencvError, NotEnoughDataError
from greencv_core.utils.secrets import without_secrets

VARIABLE = "GREENCV_DATA"
CONNECTIONS = 8
"""Downloads side by side: most files are small, and each waits for its answer."""
PATIENCE_S = 5.0, 30.0
"""For a connection, and for each answer over it."""
TRIED = 3
"""Files that are asked for before a mirror is taken to be arranged otherwise."""
WAITS_S = (1.0, 2.0, 3.0)
"""Before a file is asked for again, where the connection failed."""
OVERLOAD_WAITS = 6
"""Times that a file is asked for again where the site has too much to do; ever later."""
BACKOFF_S = 0.5
OVERLOADED = (429, 500, 502, 503, 504)
GIVEN_UP_AFTER = CONNECTIONS
"""Files in a row without an answer, after which the others are not asked for."""
ABANDONED_AFTER_S = 120.0
"""Age of a half-written file that nobody is writing any more."""
CHUNK_BYTES = 1 << 16
MOST_LINES = 10
"""Problems that are told one by one; more are told by folder."""

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

    def select(self, wanted: Callable[[str], bool]) -> Release:
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


def data_location() -> str:
    """Return what ``$GREENCV_DATA`` names, a folder from the root on; nothing if it is not set."""
    named = os.environ.get(VARIABLE, "").strip()
    if not named or "://" in named:
        return named
    try:
        return str(Path(named).expanduser().resolve())
    except RuntimeError:  # the home of somebody whom this machine does not know
        return str(Path(named).absolute())


def fetch(release: Release, progress: Progress | None = None) -> Fetched:
    """Return the release's files, downloading those that this machine lacks.

    ``$GREENCV_DATA`` names a folder that holds the release already (read as it is, never written),
    or the URL of a mirror. Its files may lie as in our manifest, in a folder of the release's name
    or not, or as their publisher arranged them.

    Raises
    ------
    DataUnavailableError
        Not one file can be had: the folder is not there, or the site does not answer.
    """
    named = data_location()
    if not named:
        return _download(release, release.base_url, (release.url_path,), progress)
    if "://" not in named:
        return _in_folder(release, Path(named), progress)
    if not _is_url(named):
        raise DataUnavailableError(
            f"{VARIABLE} is {without_secrets(named)}, neither a folder nor the URL of a site "
            f"(http://, https://); unset it to download the data from {release.base_url}"
        )
    return _download(release, named.rstrip("/"), _layouts(release), progress)


def summarise_problems(problems: Iterable[str]) -> tuple[str, ...]:
    """Return problems as they are where they are few, else a line for each folder and reason."""
    lines = tuple(problems)
    if len(lines) <= MOST_LINES:
        return lines
    told: Counter[tuple[str, str]] = Counter()
    for line in lines:
        path, _, reason = line.partition(": ")
        told[str(PurePosixPath(path).parent), reason] += 1
    return tuple(
        f"{folder}: {n} {'file' if n == 1 else 'files'}: {reason}"
        for (folder, reason), n in told.items()
    )


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


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
        return _checked(file, release.hashes[path]) or _damaged(path, "this copy")

    return _gather(list(release.hashes), check, progress)


def _download(
    release: Release, base_url: str, layouts: tuple[Layout, ...], progress: Progress | None
) -> Fetched:
    store = _store(release)
    folder = Path(store.path)

    def kept(path: str) -> Path | str:
        return _checked(folder / path, release.hashes[path]) or path

    here = _gather(list(release.hashes), kept, None)
    lacking = [path for path in release.hashes if path not in here.files]
    if not lacking:
        return here
    try:
        _make_room(folder, lacking)
    except OSError as error:
        raise _unavailable(str(error)) from error

    def told(done: int, _: int) -> None:
        if progress is not None:
            progress(len(here.files) + done, len(release.hashes))

    told(0, 0)
    site = _Site(store, base_url)
    site.find_layout(lacking, layouts)
    came = _gather(lacking, site.get, told)
    files = {**here.files, **came.files}
    if not files:
        raise _unavailable(came.problems[0].partition(": ")[2])
    ordered = {path: files[path] for path in release.hashes if path in files}
    return Fetched(MappingProxyType(ordered), came.problems)


def _store(release: Release) -> Any:
    """Return pooch's store of a release in this user's cache."""
    with warnings.catch_warnings():
        # Its progress bar, which is not used, warns where a notebook lacks widgets.
        warnings.simplefilter("ignore")
        import pooch
    # Its own messages: a line a file, on standard error.
    pooch.get_logger().setLevel(logging.CRITICAL)
    return pooch.create(
        path=pooch.os_cache("greencv") / release.name,
        base_url="",
        registry={path: f"sha256:{digest}" for path, digest in release.hashes.items()},
    )


def _make_room(folder: Path, paths: Iterable[str]) -> None:
    """Make the folders of files to come, all before any comes, and clear what was abandoned."""
    for parent in {(folder / path).parent for path in paths}:
        parent.mkdir(parents=True, exist_ok=True)
        for file in parent.glob("tmp*"):
            if time.time() - file.stat().st_mtime > ABANDONED_AFTER_S:
                file.unlink(missing_ok=True)


class _RefusedError(LookupError):
    """The site answers, and not with the file; the message is the code."""


class _Site:
    """Where files are downloaded from; given up when it no longer answers."""

    def __init__(self, store: Any, base_url: str) -> None:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry

        self._store, self._base_url = store, base_url
        self._shown = without_secrets(base_url)
        self._silent = 0  # files in a row
        self._counting = threading.Lock()
        self._session = requests.Session()
        retry = Retry(
            total=OVERLOAD_WAITS, connect=0, read=0, backoff_factor=BACKOFF_S,
            status_forcelist=OVERLOADED, raise_on_status=False,
        )  # fmt: skip
        adapter = HTTPAdapter(pool_maxsize=CONNECTIONS, max_retries=retry)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, adapter)

    def find_layout(self, paths: list[str], layouts: tuple[Layout, ...]) -> None:
        """Ask for a few files, from all over the release, in each layout until one comes."""
        asked = paths[:: max(1, len(paths) // TRIED)][:TRIED]
        for layout in layouts:
            self._store.urls = {path: f"{self._base_url}/{layout(path)}" for path in paths}
            for path in asked:
                if isinstance(self.get(path), Path):
                    return
                if self._silent:
                    self._silent = GIVEN_UP_AFTER
                    return

    def get(self, path: str) -> Path | str:
        """Return where a file now is, or a line that says why it could not be had."""
        import requests

        for wait_s in (*WAITS_S, None):
            if self._silent >= GIVEN_UP_AFTER:
                break
            try:
                return self._settled(Path(self._store.fetch(path, downloader=self._download)))
            except requests.RequestException:
                if wait_s is not None:
                    time.sleep(wait_s)
            except _RefusedError as error:
                return self._settled(f"{path}: {self._shown} answers {error}")
            except ValueError:
                return self._settled(_damaged(path, f"what {self._shown} sent"))
            except OSError as error:
                return f"{path}: could not be written ({error.strerror})"
        else:
            with self._counting:
                self._silent += 1
        return f"{path}: no answer from {self._shown}"

    def _settled(self, got: Path | str) -> Path | str:
        """Note that the site has answered."""
        with self._counting:
            self._silent = 0
        return got

    def _download(self, url: str, output_file: str, _: Any) -> None:
        """Write what a URL answers to a file, as pooch asks its downloaders to."""
        with self._session.get(url, timeout=PATIENCE_S, stream=True) as response:
            if not response.ok:
                raise _RefusedError(response.status_code)
            with Path(output_file).open("wb") as file:
                file.writelines(response.iter_content(CHUNK_BYTES))


def _unavailable(reason: str) -> DataUnavailableError:
    return DataUnavailableError(
        f"the published data could not be downloaded ({reason}); try again with a network (what "
        f"came is kept), or name a folder that holds it in {VARIABLE}"
    )


def _gather(
    paths: list[str], get: Callable[[str], Path | str], progress: Progress | None
) -> Fetched:
    """Get each path, several side by side; an interruption waits for none of them."""
    todo: queue.SimpleQueue[str] = queue.SimpleQueue()
    got: queue.SimpleQueue[tuple[str, Path | str | BaseException]] = queue.SimpleQueue()
    stopped = threading.Event()

    def work() -> None:
        while not stopped.is_set():
            try:
                path = todo.get_nowait()
            except queue.Empty:
                return
            try:
                got.put((path, get(path)))
            except BaseException as error:
                got.put((path, error))

    for path in paths:
        todo.put(path)
    results: dict[str, Path | str] = {}
    try:
        for _ in range(min(CONNECTIONS, len(paths))):
            threading.Thread(target=work, daemon=True).start()
        for done in range(1, len(paths) + 1):
            path, result = got.get()
            if isinstance(result, BaseException):
                raise result
            results[path] = result
            if progress is not None:
                progress(done, len(paths))
    finally:
        stopped.set()
    files = {path: found for path in paths if isinstance(found := results[path], Path)}
    problems = tuple(line for path in paths if isinstance(line := results[path], str))
    return Fetched(MappingProxyType(files), problems)


def _damaged(path: str, found: str) -> str:
    return f"{path}: {found} is not the published file (its SHA-256 differs)"


def _checked(file: Path, digest: str) -> Path | None:
    """Return the file if it can be read and is what it should be."""
    try:
        with file.open("rb") as stream:
            return file if hashlib.file_digest(stream, "sha256").hexdigest() == digest else None
    except OSError:
        return None
