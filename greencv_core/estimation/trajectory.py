"""Training trajectories: what is known before a training, observed during it, and measured in all.

A trajectory can be cut at any moment, to ask what an estimator would have answered then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class StagePlan:
    """A stage of a training: its number of epochs, and the operations of one."""

    name: str
    most_epochs: int
    fewest_epochs: int
    """Equal to ``most_epochs`` if nothing can stop the stage early."""
    tflop_per_epoch: float
    """Nominal operations of an epoch, training and validation, in units of 10**12, from the
    forward pass of an image: see :func:`tflop_per_epoch`."""


@dataclass(frozen=True)
class Epochs:
    """Measured epochs, in order: arrays of one length."""

    stage: Integers
    """Index of each epoch's stage in the task's stages."""
    duration_s: Floats
    energy_j: Floats

    def __len__(self) -> int:
        return len(self.stage)

    def first(self, n: int) -> Epochs:
        """Return the first ``n`` epochs."""
        return Epochs(self.stage[:n], self.duration_s[:n], self.energy_j[:n])

    def of_stage(self, stage: int) -> Epochs:
        """Return the epochs of one stage."""
        chosen = self.stage == stage
        return Epochs(self.stage[chosen], self.duration_s[chosen], self.energy_j[chosen])


NO_EPOCHS = Epochs(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0))


@dataclass(frozen=True)
class TrainingTask:
    """What is known of a training before it begins."""

    architecture: str
    environment: str
    setting: str
    """Everything else that the cost may depend on: images, their size, the batch size."""
    gflops_per_image: float
    stages: tuple[StagePlan, ...]
    idle_power_w: float
    """Idle power of all metered components; 0 if unknown."""
    power_limit_w: float
    """Power limit of the device (often called its TDP); NaN if unknown."""
    features: Mapping[str, float]
    """Numbers that describe the model, the data and the hardware, for a regression."""
    probe_epochs: Epochs | None = None
    """An epoch of each stage, extrapolated from a few batches; None without a probe."""

    @property
    def most_epochs(self) -> int:
        """Number of epochs if nothing stops the training early."""
        return sum(stage.most_epochs for stage in self.stages)

    def tflop(self, epochs: float) -> float:
        """Return the operations (10**12) of ``epochs``, which fill the stages in order."""
        total = 0.0
        for stage in self.stages:
            n = min(epochs, stage.most_epochs)
            total += n * stage.tflop_per_epoch
            epochs -= n
        return total


@dataclass(frozen=True, eq=False)
class Observed:
    """Measurements of a training up to some moment."""

    duration_s: float
    energy_j: float
    epochs: Epochs
    """Complete epochs; the rest of ``duration_s`` and ``energy_j`` belongs to the time before the
    first epoch and to the epoch in progress."""
    before_s: float = 0.0
    """Time from the start of metering to the first epoch."""
    before_j: float = 0.0
    utilization_pct: float = float("nan")
    """Mean utilization of the device so far; NaN if unknown."""


NOTHING_OBSERVED = Observed(0.0, 0.0, NO_EPOCHS)


@dataclass(frozen=True)
class Oracle:
    """Advance knowledge of the final number of epochs and duration; None if unknown."""

    epochs: int | None = None
    duration_s: float | None = None


NO_ORACLE = Oracle()


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A whole measured training.

    Parameters
    ----------
    epochs
        All epochs; they follow each other without a gap, after ``before_s``.
    time_s, energy_so_far_j
        Cumulative energy since the start of metering, at times since then; both start at 0.
    utilization_so_far_pct
        Mean utilization up to each of these times; empty if unknown.
    """

    run_id: str
    task: TrainingTask
    epochs: Epochs
    before_s: float
    before_j: float
    time_s: Floats
    energy_so_far_j: Floats
    utilization_so_far_pct: Floats = field(default_factory=lambda: np.empty(0))

    @property
    def duration_s(self) -> float:
        """Total metered time."""
        return float(self.time_s[-1])

    @property
    def energy_j(self) -> float:
        """Total metered energy."""
        return float(self.energy_so_far_j[-1])

    @property
    def oracle(self) -> Oracle:
        """Full knowledge of the training's end."""
        return Oracle(len(self.epochs), self.duration_s)

    def observe(self, share: float) -> Observed:
        """Return the measurements up to a share (0 to 1) of the total time."""
        return self.observe_at(share * self.duration_s)

    def observe_epochs(self, epochs: int) -> Observed:
        """Return the measurements up to the end of an epoch, counted from 1."""
        return _observe_epochs(self, epochs)

    def observe_at(self, now_s: float) -> Observed:
        """Return the measurements up to a time (s)."""
        if now_s <= 0:
            return NOTHING_OBSERVED
        ends_s = self.before_s + np.cumsum(self.epochs.duration_s)
        # An end and a moment that are meant to be equal may differ in their last digits.
        complete = int(np.searchsorted(ends_s, now_s * (1 + 1e-9), side="right"))
        used_pct = self.utilization_so_far_pct
        started = now_s >= self.before_s
        energy_j = float(np.interp(now_s, self.time_s, self.energy_so_far_j))
        return Observed(
            duration_s=now_s,
            energy_j=energy_j,
            epochs=self.epochs.first(complete),
            before_s=self.before_s if started else now_s,
            before_j=self.before_j if started else energy_j,
            utilization_pct=(
                float(np.interp(now_s, self.time_s, used_pct)) if len(used_pct) else np.nan
            ),
        )


@lru_cache(maxsize=8192)  # methods ask for the same moments of the same trainings
def _observe_epochs(trajectory: Trajectory, epochs: int) -> Observed:
    if epochs >= len(trajectory.epochs):
        return trajectory.observe_at(trajectory.duration_s)
    until_s = trajectory.before_s + float(trajectory.epochs.duration_s[:epochs].sum())
    return trajectory.observe_at(until_s)


def tflop_per_epoch(
    gflops_per_image: float, train_images: int, validation_images: int, *, frozen: bool
) -> float:
    """Return the nominal operations of an epoch, in units of 10**12.

    A backward pass through a layer costs twice the forward pass (Hobbhahn and Sevilla, "What's the
    backward-forward FLOP ratio for neural networks?", Epoch AI 2021). With all but the last layers
    frozen, its cost is negligible.
    """
    passes = (1 if frozen else 3) * train_images + validation_images
    return gflops_per_image * passes / 1e3
