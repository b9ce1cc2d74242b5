"""Batch of the least energy to an accuracy, compared with that of the least energy per image."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from greencv_core.analysis.result import NotEnoughDataError
from greencv_core.published import zeus2023
from greencv_core.utils.downloads import DataUnavailableError, Progress, fetch

TARGET = 0.6
"""Accuracy that the published trainings of both architectures reach with almost every batch."""


@dataclass(frozen=True)
class BatchChoice:
    """The best batch of one architecture on one GPU, over all of its power limits."""

    dataset: str
    architecture: str
    hardware: str
    target: float
    """Accuracy to reach (0 to 1)."""
    batch_per_image: int
    """Batch of the least energy per image."""
    batch_to_target: int
    """Batch of the least energy until the target."""
    excess: float | None
    """Energy until the target with the batch of the least energy per image, over the least, less
    1; None if some trainings with it do not reach the target."""

    @property
    def differs(self) -> bool:
        """Whether the two batches differ."""
        return self.batch_per_image != self.batch_to_target


def batch_choices(reached: pd.DataFrame, target: float = TARGET) -> list[BatchChoice]:
    """Return the choice for each architecture and GPU.

    Parameters
    ----------
    reached
        As :func:`.zeus2023.energy_to_target` returns it: a row for each batch, power limit and
        target, with ``energy_j`` of an epoch and ``energy_j_to_target``.

    Raises
    ------
    NotEnoughDataError
        No training reaches the target.
    """
    chosen = reached[(reached["target"] - target).abs() < 1e-6]
    found = []
    for keys, part in chosen.groupby(["dataset", "architecture", "hardware"]):
        arrived = part.dropna(subset=["energy_j_to_target"])
        if arrived.empty:
            continue
        per_image = int(part.loc[part["energy_j"].idxmin(), "batch_size"])
        best = arrived.loc[arrived["energy_j_to_target"].idxmin()]
        same = arrived.loc[arrived["batch_size"] == per_image, "energy_j_to_target"]
        excess = float(same.min() / best["energy_j_to_target"] - 1) if len(same) else None
        dataset, architecture, hardware = map(str, keys)
        found.append(
            BatchChoice(
                dataset, architecture, hardware, target, per_image, int(best["batch_size"]), excess
            )
        )
    if not found:
        raise NotEnoughDataError(f"no training reaches an accuracy of {target:g}")
    return found


def load_batch_choices(
    target: float = TARGET, progress: Progress | None = None
) -> list[BatchChoice]:
    """Return the choices of Zeus' traces; downloads them if necessary.

    Raises
    ------
    DataUnavailableError
        The traces cannot be downloaded.
    NotEnoughDataError
        No training reaches the target.
    """
    fetched = fetch(zeus2023.RELEASE, progress)
    if not set(zeus2023.NEEDED) <= fetched.files.keys():
        raise DataUnavailableError("\n".join(fetched.problems))
    runs = zeus2023.published_runs(fetched.files)
    epochs = zeus2023.epochs_to_target(fetched.files)
    return batch_choices(zeus2023.energy_to_target(runs, epochs), target)
