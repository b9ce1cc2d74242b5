"""Folders of a user's images: one folder for each class."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS

from greencv_core.datasets.raw import FilePool, make_file_pool
from greencv_core.study.schema import Dataset
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.text import count, printable

SYSTEM_FOLDERS = frozenset(
    {"@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "__macosx",
     "$recycle.bin", "system volume information", "lost+found"}
)  # fmt: skip
"""Folders that file servers and systems create, in lower case; some hold thumbnails or deleted
images."""
MOST_KINDS = 8
"""Kinds of files in the line about what was passed over."""
END_BYTES = 4096
_LINKS = "links to folders that are read already"


def open_folder(spec: Dataset) -> FilePool:
    """Return the images of ``imagefolder:PATH``; its note counts the files that are not used.

    A folder is read once, under whatever number of links, and of files with the same content only
    the first in the order of paths is used: no image can be in both parts of the split.
    """
    where = f"dataset.name = {spec.name}"
    root = Path()
    try:
        root = spec.folder.absolute()
        return _read(root, where)
    except OSError as error:
        raise BadInputError(
            f"{where}: {printable(error.filename or root)}: {error.strerror}; "
            "must be a folder that holds a folder of images for each class"
        ) from error
    except (RuntimeError, ValueError) as error:  # ~user without such a user, or NUL in a name
        raise BadInputError(f"{where}: no folder can have that name") from error


def _read(root: Path, where: str) -> FilePool:
    unused: Counter[str] = Counter()
    classes: list[Path] = []
    for entry in sorted(root.iterdir()):
        if entry.name.startswith("."):
            continue
        if not entry.is_dir():
            unused["in no class's folder"] += 1
        elif _is_of_system(entry):
            unused[entry.name] += 1
        else:
            classes.append(entry)
    if len(classes) < 2:
        raise BadInputError(
            f"{where}: {printable(root)} must hold at least two folders, one for each class; "
            f"it holds {len(classes)}"
        )
    # With all classes and the folders above: links to them bring no images.
    seen = {root.resolve(), *root.resolve().parents}
    labels = []
    for label, folder in enumerate(classes):
        if folder.resolve() in seen:
            unused[_LINKS] += 1
        else:
            seen.add(folder.resolve())
            labels.append(label)
    label_of = {
        file: label for label in labels for file in _find_images(classes[label], seen, unused)
    }
    copies = _find_copies(sorted(label_of))
    for copy, first in copies.items():
        alike = label_of[copy] == label_of[first]
        unused[f"copies of images of {'the same' if alike else 'another'} class"] += 1
    samples = [(file, label) for file, label in label_of.items() if file not in copies]
    names = [printable(folder.name) for folder in classes]
    return make_file_pool(root, samples, names, _describe(unused))


def _find_images(folder: Path, seen: set[Path], unused: Counter[str]) -> list[Path]:
    """Return the images of a class; ``seen`` are real paths of folders that were read or will be.

    Folders and files that are not used are counted by kind.
    """
    found, folders = [], [folder]
    while folders:
        for entry in sorted(folders.pop().iterdir()):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                real = entry.resolve()
                if _is_of_system(entry):
                    unused[entry.name] += 1
                elif real in seen:
                    unused[_LINKS] += 1
                else:
                    seen.add(real)
                    folders.append(entry)
            elif entry.suffix.lower() not in IMG_EXTENSIONS:
                unused[entry.suffix.lower() or "without a suffix"] += 1
            elif entry.is_file():
                found.append(entry)
            else:
                unused["broken links and devices"] += 1
    return found


def _is_of_system(folder: Path) -> bool:
    return folder.name.lower() in SYSTEM_FOLDERS


def _find_copies(files: Sequence[Path]) -> dict[Path, Path]:
    """Return the files whose content is that of an earlier one, and which one.

    Only files of the same size are read, and whole only those that begin and end alike.
    """
    keys: list[Callable[[Path], Hashable]] = [lambda file: file.stat().st_size, _ends, _digest]
    groups = [list(files)]
    for key in keys:
        groups = [alike for group in groups for alike in _group(group, key)]
    return {file: group[0] for group in groups for file in group[1:]}


def _group(files: Sequence[Path], key: Callable[[Path], Hashable]) -> list[list[Path]]:
    """Return the groups of at least two files with the same key."""
    groups: dict[Hashable, list[Path]] = defaultdict(list)
    for file in files:
        groups[key(file)].append(file)
    return [group for group in groups.values() if len(group) > 1]


def _ends(path: Path) -> bytes:
    with path.open("rb") as file:
        start = file.read(END_BYTES)
        file.seek(max(0, os.fstat(file.fileno()).st_size - END_BYTES))
        return hashlib.sha256(start + file.read(END_BYTES)).digest()


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _describe(unused: Counter[str]) -> str:
    """Return the line about files that are not used, or an empty text."""
    if not unused:
        return ""
    kinds = [
        f"{printable(kind)[:60]} ({number})" for kind, number in unused.most_common(MOST_KINDS)
    ]
    if len(unused) > MOST_KINDS:
        kinds.append(f"and {count(len(unused) - MOST_KINDS, 'more kind')}")
    entries = count(unused.total(), "file or folder", "files and folders")
    return f"{entries} not used: {', '.join(kinds)}"
