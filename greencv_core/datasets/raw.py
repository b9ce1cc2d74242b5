"""All images and labels of a data set, before a study's split."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greencv_core.utils.errors import BadInputError

MAX_NAMES = 10
"""Classes in an error message; of further ones, it states the number."""


@dataclass(frozen=True)
class ArrayPool:
    """Images in memory."""

    images: NDArray[Any]
    """(n, channels, height, width), uint8, or float32 between 0 and 1; one channel if grey."""
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]

    def select(self, chosen: NDArray[np.intp]) -> ArrayPool:
        """Return the chosen images, in the given order."""
        return replace(self, images=self.images[chosen], labels=self.labels[chosen])


@dataclass(frozen=True)
class FilePool:
    """Images in files, in the order of their paths, which is the same on every machine."""

    root: Path
    paths: tuple[str, ...]
    """Relative to the root, with ``/``."""
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    note: str = ""
    """A line about the files that are not used; empty if there are none."""

    def files(self) -> list[Path]:
        """Return the path of every file."""
        return [self.root / path for path in self.paths]

    def select(self, chosen: NDArray[np.intp]) -> FilePool:
        """Return the chosen images, in the given order."""
        paths = tuple(self.paths[i] for i in chosen.tolist())
        return replace(self, paths=paths, labels=self.labels[chosen])


Pool = ArrayPool | FilePool


def make_file_pool(
    root: Path,
    samples: Sequence[tuple[str | Path, int]],
    class_names: Sequence[str],
    note: str = "",
) -> FilePool:
    """Return labelled files below a folder, sorted by path."""
    ordered = sorted(
        (Path(path).relative_to(root).as_posix(), int(label)) for path, label in samples
    )
    return FilePool(
        root,
        tuple(path for path, _ in ordered),
        np.array([label for _, label in ordered], dtype=np.int64),
        tuple(class_names),
        note,
    )


def regroup(pool: Pool, name: str, classes: Mapping[str, Sequence[str]]) -> Pool:
    """Return the images of a study's classes, each of which joins one or more of the data set's.

    If a class is unknown, the error message names the nearest known ones.
    """
    known = pool.class_names
    problems = [
        f"dataset.classes.{label}: {one}: no class of {name}; {_nearest(one, known)}"
        for label, names in classes.items()
        for one in names
        if one not in known
    ]
    if problems:
        more = [f"and {len(problems) - MAX_NAMES} more"] if len(problems) > MAX_NAMES else []
        raise BadInputError("; ".join([*problems[:MAX_NAMES], *more]))
    label_of = dict.fromkeys(range(len(pool.class_names)), -1)
    for label, names in enumerate(classes.values()):
        label_of.update((pool.class_names.index(one), label) for one in names)
    labels = np.array([label_of[label] for label in pool.labels.tolist()], dtype=np.int64)
    relabelled = replace(pool, labels=labels, class_names=tuple(classes))
    return relabelled.select(np.flatnonzero(labels >= 0))


def _nearest(name: str, known: Sequence[str]) -> str:
    by_casefold = {one.casefold(): one for one in known}
    nearest = difflib.get_close_matches(name.casefold(), by_casefold, n=3, cutoff=0.5)
    if nearest:
        return f"did you mean {', '.join(by_casefold[one] for one in nearest)}?"
    more = f" and {len(known) - MAX_NAMES} more" if len(known) > MAX_NAMES else ""
    return f"its classes: {', '.join(known[:MAX_NAMES])}{more}"
