"""Environment of the Python interpreters that greencv starts.

Python's ``-c`` and ``-m`` look for modules in the current folder first, so that a file
``random.py`` there would be executed instead of the standard library's:
https://docs.python.org/3/using/cmdline.html#envvar-PYTHONSAFEPATH. Other variables would change
what a page looks like or where a kernel comes from.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import threading
from collections.abc import Iterator, Mapping

_SETTINGS = re.compile(
    r"PYTHON(?!PATH$|HOME$|NOUSERSITE$|DONTWRITEBYTECODE$|PYCACHEPREFIX$|HASHSEED$).*"
    r"|(JUPYTER|IPYTHON|PAPERMILL).*|MPLBACKEND|MATPLOTLIBRC|SOURCE_DATE_EPOCH"
)
"""Variables of a user's own Python, Jupyter and matplotlib."""
_replacing = threading.RLock()


NO_NOTES = "GREENCV_NO_NOTES"
"""Environment variable that silences the notes of ``collect``, for the pages of the book."""


def child_environment(**variables: str) -> dict[str, str]:
    """Return the variables of this process for a child: without a user's settings of Python.

    The child looks for no modules in the current folder. ``variables`` are added.
    """
    kept = {name: text for name, text in os.environ.items() if not _SETTINGS.fullmatch(name)}
    return {**kept, "PYTHONSAFEPATH": "1", **variables}


@contextlib.contextmanager
def children_isolated() -> Iterator[None]:
    """Let processes that ``multiprocessing`` starts in this block have the child environment."""
    with _replacing:
        before = dict(os.environ)
        _replace_environment(child_environment())
        try:
            yield
        finally:
            _replace_environment(before)


def collect_garbage_rarely() -> None:
    """Let a process that ends soon, and its forks, look for garbage less often.

    With the objects of a page or of a book, a tenth of the time would go into it.
    """
    gc.set_threshold(200_000, 20, 100)


def _replace_environment(variables: Mapping[str, str]) -> None:
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)
