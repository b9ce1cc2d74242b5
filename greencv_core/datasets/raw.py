"""What a data set is before a study takes its images from it: all its images and their labels."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greencv_core.utils.errors import BadInputError

MOST_NAMED = 10
"""Classes that a message names; of more, it says how many there are."""


@dataclass(frozen=True)
class ArrayPool:
    """Images in memory."""

    images: NDArray[Any]
    """(n, channels, height, width), uint8, or float32 between 0 and 1; one channel if grey."""
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]

    def select(self, chosen: NDArray[np.intp]) -> ArrayPool:
        """Return some of the images, in the order given."""
        return replace(self, images=self.images[chosen], labels=self.labels[chosen])


@dataclass(frozen=True)
class FilePool:
    """Images in files, in the order of their paths, which is the same on every machine."""

    root: Path
    paths: tuple[str, ...]
    """Relative to the root, with ``/``."""
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]

    def select(self, chosen: NDArray[np.intp]) -> FilePool:
        """Return some of the images, in the order given."""
        paths = tuple(self.paths[i] for i in chosen.tolist())
        return replace(self, paths=paths, labels=self.labels[chosen])


Pool = ArrayPool | FilePool


def make_file_pool(
    root: Path, samples: Sequence[tuple[str | Path, int]], class_names: Sequence[str]
) -> FilePool:
    """Return files below a folder, with their labels, in the order of their paths."""
    ordered = sorted(
        (Path(path).relative_to(root).as_posix(), int(label)) for path, label in samples
    )
    return FilePool(
        root,
        tuple(path for path, _ in ordered),
        np.array([label for _, label in ordered], dtype=np.int64),
        tuple(class_names),
    )


def regroup(pool: Pool, name: str, classes: Mapping[str, Sequence[str]]) -> Pool:
    """Return the images of the classes that a study names, labelled by the study's classes.

    Raises
    ------
    BadInputError
        A class is not one of the data set's; the message names the nearest that are.
    """
    _check_class_names(name, pool.class_names, classes)
    label_of = dict.fromkeys(range(len(pool.class_names)), -1)
    for label, own in enumerate(classes.values()):
        label_of.update((pool.class_names.index(one), label) for one in own)
    labels = np.array([label_of[label] for label in pool.labels.tolist()], dtype=np.int64)
    kept = replace(pool, labels=labels, class_names=tuple(classes))
    return kept.select(np.flatnonzero(labels >= 0))


def _check_class_names(
    name: str, known: Sequence[str], classes: Mapping[str, Sequence[str]]
) -> None:
    """Raise :class:`BadInputError` if a study names classes that a data set does not have."""
    problems = [
        f"dataset.classes.{label}: {one}: no class of {name}; {_nearest(one, known)}"
        for label, own in classes.items()
        for one in own
        if one not in known
    ]
    if problems:
        told = problems[:MOST_NAMED]
        left = len(problems) - len(told)
        raise BadInputError("; ".join([*told, *([f"and {left} more"] if left else [])]))


def _nearest(given: str, known: Sequence[str]) -> str:
    plain = {one.casefold(): one for one in known}
    nearest = difflib.get_close_matches(given.casefold(), plain, n=3, cutoff=0.5)
    if nearest:
        return f"did you mean {', '.join(plain[one] for one in nearest)}?"
    more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    return f"its classes: {', '.join(known[:MOST_NAMED])}{more}"
