"""Options and printing that the commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from greencv_core.utils.errors import GreencvError

if TYPE_CHECKING:
    from greencv_core.records.store import Damaged, Store

NARROWEST = 60
"""Columns of a line, at least: a narrower table leaves out columns, a narrower terminal wraps."""

out = Console()
out = out if out.width >= NARROWEST else Console(width=NARROWEST)
err = Console(stderr=True)

StudyArgument = Annotated[
    str, typer.Argument(help="A study file, or the name of one in studies/.", metavar="STUDY")
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Folder of the run records, its URL (s3://bucket/prefix), or a bundle (read-only). "
        "Default: runs/, or $GREENCV_STORE.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def open_store(location: str | None) -> Store:
    """Open the store that ``--store`` names, or the default one."""
    from greencv_core.records.store import Store
    from greencv_core.utils.paths import default_store

    return Store(location or default_store())


def print_json(content: Any) -> None:
    """Print JSON to standard output."""
    sys.stdout.write(json.dumps(content, indent=2) + "\n")
    sys.stdout.flush()


def print_text(text: str) -> None:
    """Print text to standard output as it is: not wrapped, not highlighted."""
    out.print(escape(text), soft_wrap=True, highlight=False)


def print_note(text: str) -> None:
    """Print a line about the work in progress to standard error."""
    err.print(escape(text), soft_wrap=True)


def warn(label: str, text: str) -> None:
    """Print a warning to standard error: ``label: text``."""
    err.print(f"[yellow]{label}:[/] {escape(text)}", soft_wrap=True, highlight=False)


def warn_of_damage(damaged: Iterable[Damaged]) -> None:
    """Print a warning for each file that is not a valid record."""
    for file in damaged:
        warn("left out", f"{file.where}: {file.reason}")


def borderless_table(title: str) -> Table:
    """Return a table without lines, which 80 columns hold."""
    return Table(title=escape(title), title_justify="left", box=None, padding=(0, 2, 0, 0))


def write_file(path: Path, content: bytes) -> None:
    """Write a file that the user named."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise GreencvError(f"{path}: cannot be written: {error.strerror}") from error
