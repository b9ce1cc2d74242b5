"""Verified downloads: each file is fetched once, checked by its hash and kept in the user's cache.

A damaged or missing file is reported and left out. Finished files are kept, so that an interrupted
download resumes where it stopped.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from filelock import FileLock

from greencv_core.utils.errors import GreencvError, NotEnoughDataError
from greencv_core.utils.intact import IntactFiles
from greencv_core.utils.paths import user_cache
from greencv_core.utils.secrets import without_secrets

VARIABLE = "GREENCV_DATA"
CONNECTIONS = 8  # parallel downloads: most files are small, and most of the time is spent waiting
FIRST_RESPONSE_S = 10.0
"""Time for the first response, name lookup included; after it, the machine counts as offline."""
TIMEOUT_S = 5.0  # for a connection to one address, and between two pieces of a response
RETRY_WAITS_S = 1.0, 2.0, 0.0  # after each attempt at a file that a broken connection ended
INTERRUPTED_WITHIN_S = 0.5  # longest wait for a file until Ctrl-C is heard
SAMPLE = 3  # files that are looked up to find out how a mirror arranges them
MAX_LINES = 10  # more problems than this are summarised by folder

Layout = Callable[[str], str]
"""A file's path in the release to its path on a server or in a folder."""
Progress = Callable[[int, int], None]
"""Called with the number of finished files and their total."""


class DataUnavailableError(GreencvError, NotEnoughDataError):
    """Data that cannot be downloaded or read; the message says why and what to do."""

    reason = ""
    """Why they cannot be downloaded, in a few words; empty for another cause."""


@dataclass(frozen=True)
class Release:
    """One publication of data: its files and their hashes."""

    name: str
    """Also the name of its folder in the cache."""
    base_url: str
    """Address of the files, without a slash at the end."""
    hashes: Mapping[str, str | None]
    """Hash of each file by its path: a SHA-256, ``md5:...``, or None to accept any content."""
    url_path: Layout
    """Path of a file under :attr:`base_url`."""
    title: str = "the published data"
    """In error messages."""
    variable: str = VARIABLE
    """Environment variable that names a folder or a mirror with the files."""
    other_layouts: tuple[Layout, ...] = ()
    """Further arrangements of such a folder or mirror."""

    def select(self, wanted: Callable[[str], bool]) -> Release:
        """Return the part of the release whose paths are wanted."""
        hashes = {path: known for path, known in self.hashes.items() if wanted(path)}
        return replace(self, hashes=MappingProxyType(hashes))


@dataclass(frozen=True)
class Fetched:
    """Files of a release that are on this machine and match their hashes."""

    files: Mapping[str, Path]
    """Local path by path in the release."""
    problems: tuple[str, ...]
    """One line for each file that is missing."""


def read_manifest(text: str) -> dict[str, str]:
    """Return hash by path from the output of ``sha256sum``."""
    pairs = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    return {path.strip().removeprefix("*"): digest for digest, path in pairs}


def data_location(variable: str = VARIABLE) -> str:
    """Return the absolute folder or the URL in an environment variable, or an empty string."""
    location = os.environ.get(variable, "").strip()
    if not location or "://" in location:
        return location
    return os.path.abspath(os.path.expanduser(location))


def import_pooch() -> Any:
    """Import pooch without its warnings and messages, which go to standard error."""
    with warnings.catch_warnings():
        # tqdm, which is not used, warns where a notebook has no widgets.
        warnings.simplefilter("ignore")
        import pooch
    pooch.get_logger().setLevel(logging.CRITICAL)
    return pooch


def fetch(release: Release, progress: Progress | None = None) -> Fetched:
    """Return a release's files; download those that are not in the user's cache.

    The release's environment variable, ``$GREENCV_DATA``, may name a folder that already holds the
    files (never written to) or the URL of a mirror. There, the files may be arranged as in the
    manifest, in a folder of the release's name or not, or as their publisher arranged them.
    :class:`DataUnavailableError` is raised only if not one file is available.
    """
    location = data_location(release.variable)
    if not location:
        return _download(release, release.base_url, (release.url_path,), progress)
    if "://" not in location:
        return _read_folder(release, Path(location))
    if not re.match(r"https?://[^/]", location):
        raise DataUnavailableError(
            f"{release.variable} is {without_secrets(location)}, neither a folder nor the URL of a "
            f"site (http://, https://); unset it to download the files from {release.base_url}"
        )
    return _download(release, location.rstrip("/"), _layouts(release), progress)


def summarise_problems(problems: Iterable[str]) -> tuple[str, ...]:
    """Return a few problems as they are, many as one line for each folder and reason."""
    lines = tuple(problems)
    if len(lines) <= MAX_LINES:
        return lines
    counts: Counter[tuple[str, str]] = Counter()
    for line in lines:
        path, _, reason = line.partition(": ")
        counts[str(PurePosixPath(path).parent), reason] += 1
    return tuple(
        f"{folder}: {n} {'file' if n == 1 else 'files'}: {reason}"
        for (folder, reason), n in counts.items()
    )


def _layouts(release: Release) -> tuple[Layout, ...]:
    in_named_folder: Layout = lambda path: f"{release.name}/{path}"  # noqa: E731
    return in_named_folder, lambda path: path, *release.other_layouts, release.url_path


def _read_folder(release: Release, folder: Path) -> Fetched:
    for layout in _layouts(release):
        if any((folder / layout(path)).is_file() for path in release.hashes):
            break
    else:
        files = f"file of {release.name}" if len(release.hashes) > 1 else next(iter(release.hashes))
        raise DataUnavailableError(
            f"{release.variable} names {folder}, which has no {files}; unset it to download "
            f"{release.title} from {release.base_url}"
        )

    def reason(path: str, file: Path) -> str:
        if not file.is_file():
            return f"{path}: missing in the folder that {release.variable} names"
        return _wrong_hash(path, "this copy", release)

    return _fetched(release, _intact_files(release, lambda path: folder / layout(path), reason))


def _download(
    release: Release, base_url: str, layouts: Sequence[Layout], progress: Progress | None
) -> Fetched:
    folder = user_cache() / release.name

    results = _intact_files(release, lambda path: folder / path, lambda path, file: "")
    missing = [path for path, found in results.items() if not found]
    if not missing:
        return _fetched(release, results)

    def report(done: int) -> None:
        if progress is not None:
            progress(len(results) - len(missing) + done, len(results))

    report(0)
    server = _Server(release, base_url, folder)
    try:
        server.connect(missing, layouts)
        for parent in {(folder / path).parent for path in missing}:
            parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{release.name}.lock")):
            for unfinished in folder.rglob("tmp*"):
                unfinished.unlink()
            results |= _map(server.get, missing, report)
    except OSError as error:
        raise _unavailable(release, str(error)) from error
    finally:
        server.closed.set()
    fetched = _fetched(release, results)
    if not fetched.files:
        raise _unavailable(release, fetched.problems[0].partition(": ")[2])
    return fetched


class _Server:
    """A server with the files of a release; no file is requested once it stops responding."""

    def __init__(self, release: Release, base_url: str, folder: Path) -> None:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry

        self._release, self._base_url, self._folder = release, base_url, folder
        self._layout = release.url_path
        self.closed = threading.Event()
        self._last_response_s = 0.0
        self._session = requests.Session()
        # A busy server is asked again at once, then after 1, 2 and 4 s.
        retry = Retry(
            total=4, connect=0, read=0, backoff_factor=0.5, raise_on_status=False,
            status_forcelist=(429, 500, 502, 503, 504), respect_retry_after_header=False,
        )  # fmt: skip
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS, max_retries=retry))

    def connect(self, paths: Sequence[str], layouts: Sequence[Layout]) -> None:
        """Find out how the server arranges the files; close it if it does not respond."""
        import requests

        found: list[Layout] = []

        def run() -> None:
            with contextlib.suppress(requests.RequestException):
                found.append(self._find_layout(paths, layouts))

        # A thread, as no timeout of requests limits name lookup, or all addresses of a server.
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(FIRST_RESPONSE_S)
        if found:
            self._layout = found[0]
        else:
            self.closed.set()

    def _find_layout(self, paths: Sequence[str], layouts: Sequence[Layout]) -> Layout:
        for layout in layouts:
            for path in paths[:: max(1, len(paths) // SAMPLE)][:SAMPLE]:
                url = f"{self._base_url}/{layout(path)}"
                response = self._session.head(url, timeout=TIMEOUT_S, allow_redirects=True)
                if response.status_code not in (403, 404):
                    return layout
        return layouts[-1]

    def get(self, path: str) -> Path | str:
        """Return the local path of a file, or a line that says why it is not available."""
        import requests

        started_s, url = time.monotonic(), without_secrets(self._base_url)
        for wait_s in RETRY_WAITS_S:
            if self.closed.is_set():
                break
            try:
                result: Path | str = Path(
                    import_pooch().retrieve(
                        f"{self._base_url}/{self._layout(path)}", self._release.hashes[path],
                        fname=path, path=self._folder, downloader=self._write,
                    )
                )  # fmt: skip
            except requests.HTTPError as error:
                status = getattr(error.response, "status_code", None)
                result = f"{path}: {url} responds with {status}"
            except requests.RequestException:
                self.closed.wait(wait_s)
                continue
            except ValueError:
                result = _wrong_hash(path, f"the copy at {url}", self._release)
            except OSError as error:
                result = f"{path}: cannot be written to {self._folder} ({error.strerror})"
            self._last_response_s = time.monotonic()
            return result
        if self._last_response_s < started_s:
            self.closed.set()
        return f"{path}: no response from {url}"

    def _write(self, url: str, output_file: str, _: Any) -> None:
        """Download a URL to a file, as pooch requires of a downloader."""
        with self._session.get(url, timeout=TIMEOUT_S, stream=True) as response:
            response.raise_for_status()
            with Path(output_file).open("wb") as file:
                file.writelines(response.iter_content(1 << 16))


def _map(
    get: Callable[[str], Path | str],
    paths: Sequence[str],
    report: Callable[[int], None] = lambda done: None,
) -> dict[str, Path | str]:
    """Call a function for each path in parallel; an interruption does not wait for the calls."""
    results: dict[str, Path | str] = {}
    executor = ThreadPoolExecutor(CONNECTIONS)
    try:
        for path, future in [(path, executor.submit(get, path)) for path in paths]:
            # Ctrl-C does not end a wait that begins just as it arrives.
            while not wait([future], INTERRUPTED_WITHIN_S).done:
                pass
            results[path] = future.result()
            report(len(results))
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
    return results


def _fetched(release: Release, results: Mapping[str, Path | str]) -> Fetched:
    ordered = [(path, results[path]) for path in release.hashes]
    files = {path: found for path, found in ordered if isinstance(found, Path)}
    problems = tuple(line for _, line in ordered if isinstance(line, str))
    return Fetched(MappingProxyType(files), problems)


def _unavailable(release: Release, reason: str) -> DataUnavailableError:
    error = DataUnavailableError(
        f"{release.title} could not be downloaded ({reason}); run again when online (finished "
        f"downloads are kept), or set {release.variable} to a folder with the files"
    )
    error.reason = reason
    return error


def _wrong_hash(path: str, copy: str, release: Release) -> str:
    kind = "MD5" if str(release.hashes[path]).startswith("md5:") else "SHA-256"
    return f"{path}: {copy} is not the published file (its {kind} differs)"


def _intact_files(
    release: Release, place: Callable[[str], Path], otherwise: Callable[[str, Path], str]
) -> dict[str, Path | str]:
    """Return the local path of each file that can be read and has its hash, else a text."""
    known, files = IntactFiles(), {path: place(path) for path in release.hashes}

    def check(path: str) -> Path | str:
        intact = _is_intact(files[path], release.hashes[path], known)
        return files[path] if intact else otherwise(path, files[path])

    # Threads are for those that must be read.
    seen = {path for path, known_hash in release.hashes.items()
            if known_hash and known.is_known(files[path], known_hash)}  # fmt: skip
    checked = _map(check, [path for path in files if path not in seen])
    known.keep()
    return {path: checked.get(path, file) for path, file in files.items()}


def _is_intact(file: Path, known_hash: str | None, known: IntactFiles) -> bool:
    try:
        if known_hash is None:
            return file.is_file()
        return file.is_file() and known.check(file, known_hash, _has_hash)
    except OSError:
        return False


def _has_hash(file: Path, known_hash: str) -> bool:
    return bool(import_pooch().hashes.hash_matches(file, known_hash))
