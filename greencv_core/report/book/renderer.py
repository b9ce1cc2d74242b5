"""A process that renders the book: it loads Jupyter Book, then waits for its arguments.

:mod:`greencv_core.report.book.render` starts it, with the project's folder, while notebooks are
executed, and sends it the arguments of Jupyter Book's command as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import yaml
from jupyter_book.cli.main import main as jupyter_book

from greencv_core.utils.interpreters import collect_garbage_rarely

_API = (
    "greencv_core.estimation.evaluate", "greencv_core.report.book.build",
    "greencv_core.report.pages.decision", "greencv_core.run.estimate",
)  # fmt: skip
"""Modules of the API reference that load the large libraries."""


def load_api() -> None:
    """Load what the API reference describes, before the process is forked."""
    for name in _API:
        importlib.import_module(name)


def main() -> None:
    """Load, wait for the arguments, and render."""
    collect_garbage_rarely()
    root = Path(sys.argv[1])
    settings = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["sphinx"]
    for name in settings["config"]["extensions"]:
        if name not in settings["local_extensions"]:
            importlib.import_module(name)
    if not (root / "_build" / ".doctrees").is_dir():  # every page will be read
        load_api()
    jupyter_book(json.load(sys.stdin))


if __name__ == "__main__":
    main()
