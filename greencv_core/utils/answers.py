"""Answers kept on disk, for pages that ask the same question and for the next time.

The key of an answer is the content of the arguments, the code of this package, and the versions
of the libraries that compute. A process whose code is changed while it runs may compute with the
old code, the new code or some of each. From then on it keeps nothing and finds nothing.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import pickle
import platform
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar, cast

import filelock

from greencv_core.utils.digest import code_parts, digest
from greencv_core.utils.files import write_atomically
from greencv_core.utils.paths import user_cache

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
PACKAGE = Path(__file__).parents[1]
PACKAGES = (
    "numpy", "scipy", "pandas", "scikit-learn", "statsmodels", "joblib", "matplotlib", "seaborn",
)  # fmt: skip
KEPT_DAYS = 30
"""How long an answer that nothing asks for is kept."""


class Hashed(Generic[T]):
    """An argument of several questions, whose content is hashed once.

    It must not be changed. Without a hash, no answer about it is kept.
    """

    def __init__(self, value: T) -> None:
        self.value = value
        self._hash = _hash(value)

    def __getstate__(self) -> str:
        if self._hash is None:
            raise pickle.PicklingError("its content has no hash")
        return self._hash


def _hash(value: object) -> str | None:
    """Return a hash of the content; None if it has none."""
    import joblib

    with contextlib.suppress(pickle.PicklingError, TypeError, AttributeError):
        return str(joblib.hash(value, hash_name="sha1"))
    return None


def remembered(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function keep its results in the user's cache folder.

    It must have no effects and depend on its arguments alone. Processes that ask at the same time
    wait for one of them. An error is not kept, and a damaged file is replaced.
    """

    @functools.wraps(function)
    def answer(*arguments: P.args, **options: P.kwargs) -> R:
        path = _path(function, arguments, options)
        if path is None:
            return function(*arguments, **options)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock: Any = _lock(path)
        except OSError:  # no folder, no answers kept
            lock = contextlib.nullcontext()
        with lock:
            with contextlib.suppress(Exception):  # any defect of a cache has the same remedy
                kept = cast("R", pickle.loads(path.read_bytes()))
                with contextlib.suppress(OSError):
                    path.touch()
                return kept
            result = function(*arguments, **options)
            with contextlib.suppress(OSError):  # it only takes longer next time
                write_atomically(path, lambda file: pickle.dump(result, file))
            return result

    return answer


def ask_each(function: Callable[..., R], questions: Sequence[tuple[Any, ...]]) -> list[R]:
    """Ask a function all of these arguments; return its results in their order.

    Questions that another process is answering come last: two processes share the work.
    """
    results: dict[int, R] = {}
    while waiting := [number for number in range(len(questions)) if number not in results]:
        free = (number for number in waiting if not _is_asked(function, questions[number]))
        number = next(free, waiting[0])
        results[number] = function(*questions[number])
    return [results[number] for number in range(len(questions))]


def _is_asked(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bool:
    """Return whether another process is answering this question of a remembered function."""
    path = _path(inspect.unwrap(function), arguments, {})
    if path is None or not path.with_suffix(".lock").is_file():
        return False
    try:
        with _lock(path).acquire(timeout=0):
            return False
    except filelock.Timeout:
        return True


def _lock(path: Path) -> filelock.BaseFileLock:
    return filelock.FileLock(path.with_suffix(".lock"))


def _path(function: Callable[..., Any], arguments: object, options: object) -> Path | None:
    """Return the file of an answer; None if there is no key to find it by."""
    asked = _hash([arguments, options]) if _file_states() == _loaded else None
    if asked is None:
        return None
    key = digest([f"{function.__module__}.{function.__qualname__}", asked])
    return _folder() / f"{key[:32]}.pickle"


def prepare() -> None:
    """Do now what the first question would, for all forks of this process."""
    with contextlib.suppress(OSError):
        _folder()


@functools.cache
def _folder() -> Path:
    """Return the folder with this code's answers; delete what nothing has asked for."""
    versions = [metadata.version(name) for name in PACKAGES]
    code = digest([sys.version, platform.platform(), *versions, *code_parts(PACKAGE)])
    folder = user_cache() / "answers" / code[:32]
    with contextlib.suppress(OSError):
        oldest_s = time.time() - KEPT_DAYS * 86400
        for other in folder.parent.iterdir():
            if other != folder and other.stat().st_mtime < oldest_s:
                shutil.rmtree(other, ignore_errors=True)
        for path in folder.glob("*.pickle"):
            if path.stat().st_mtime < oldest_s:
                path.unlink()
    return folder


def _file_states() -> list[tuple[str, int, int]]:
    """Return the path of each file of the package, the time of its last change, and its size."""
    states = []
    for folder, folders, files in os.walk(PACKAGE):
        folders[:] = sorted(set(folders) - {"__pycache__"})
        for name in sorted(files):
            path = f"{folder}/{name}"
            with contextlib.suppress(FileNotFoundError):  # an editor's, maybe
                about = os.stat(path)
                states.append((path, about.st_mtime_ns, about.st_size))
    return states


_loaded = _file_states()
