"""A digest of several contents, to notice whether any of them changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path


def digest(parts: Iterable[str | bytes]) -> str:
    """Return the SHA-256 of contents in their order; it depends on where each begins."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.hexdigest()


def file_parts(paths: Iterable[Path]) -> Iterator[str | bytes]:
    """Yield the path and the content of each file, for a digest; others are left out."""
    for path in paths:
        if path.is_file():
            yield str(path)
            yield path.read_bytes()


def code_parts(package: Path) -> list[str | bytes]:
    """Return path and content of each file of a package, with its data, for a digest."""
    files = [path for path in package.rglob("*") if "__pycache__" not in path.parts]
    return [*file_parts(sorted(files))]
