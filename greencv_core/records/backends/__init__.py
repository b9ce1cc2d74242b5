"""Open the backend that a store's location names: a folder, a bundle or an object store."""

from __future__ import annotations

import re
from pathlib import Path

from greencv_core.records.backends.bundle import BundleFile, is_bundle
from greencv_core.records.backends.folder import Folder
from greencv_core.records.backends.object_store import ObjectStore
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.secrets import safe_line


def open_backend(location: str | Path) -> Folder | ObjectStore | BundleFile:
    """Return the backend for the path of a folder or bundle, or for a URL without credentials."""
    text = str(location)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://[^/@]*@", text):
        raise BadInputError(
            f"{safe_line(text)}: the report prints the address of a store: move the credentials "
            "to environment variables or a profile"
        )
    if is_url(text):
        return ObjectStore(text)
    try:
        path = Path(text.removeprefix("file://")).expanduser()
    except RuntimeError as error:
        raise BadInputError(f"{text}: the user of this home folder does not exist") from error
    return BundleFile(path) if is_bundle(path) else Folder(path)


def is_url(location: str | Path) -> bool:
    """Return whether a location is a URL and not the path of a folder."""
    return bool(re.match(r"(?!file://)[A-Za-z][A-Za-z0-9+.-]+://", str(location)))
