"""A training as estimation sees it: what is known before, what is measured on the way, the whole.

A trajectory is cut at any moment, so that a method can be asked what it would have said then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class StagePlan:
    """A stage of a training: how many epochs it may have, and what one of them computes."""

    name: str
    most_epochs: int
    fewest_epochs: int
    """Equal to ``most_epochs`` where nothing stops the stage early."""
    tflop_per_epoch: float
    """Operations of an epoch, training and validation, in units of 10**12; nominal, from the
    forward pass of an image: see :func:`tflop_per_epoch`."""


@dataclass(frozen=True)
class Epochs:
    """Measured epochs, in order: arrays of one length."""

    stage: Integers
    """Place of each one's stage in the task's stages."""
    duration_s: Floats
    energy_j: Floats

    def __len__(self) -> int:
        return len(self.stage)

    def first(self, n: int) -> Epochs:
        """Return the first ``n``."""
        return Epochs(self.stage[:n], self.duration_s[:n], self.energy_j[:n])

    def of_stage(self, stage: int) -> Epochs:
        """Return those of one stage."""
        chosen = self.stage == stage
        return Epochs(self.stage[chosen], self.duration_s[chosen], self.energy_j[chosen])


NO_EPOCHS = Epochs(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0))


@dataclass(frozen=True)
class TrainingTask:
    """What is known of a training before it begins."""

    architecture: str
    environment: str
    setting: str
    """Whatever else its cost may depend on: images, their size, the batch size."""
    gflops_per_image: float
    stages: tuple[StagePlan, ...]
    idle_power_w: float
    """Of what is metered, before any work; 0 where it is not known."""
    power_limit_w: float
    """The device's (often called its TDP); NaN where it is not known."""
    features: Mapping[str, float]
    """Numbers that tell of the model, the data and the hardware, for a regression."""
    probe_epochs: Epochs | None = None
    """What an epoch of each stage would take, from a few batches; None where none were tried."""

    @property
    def most_epochs(self) -> int:
        """Epochs, if nothing stops the training before."""
        return sum(stage.most_epochs for stage in self.stages)

    def tflop(self, epochs: float) -> float:
        """Return the operations of so many epochs, which fill the stages in their order."""
        total = 0.0
        for stage in self.stages:
            n = min(epochs, stage.most_epochs)
            total += n * stage.tflop_per_epoch
            epochs -= n
        return total


@dataclass(frozen=True)
class Observed:
    """What has been measured of a training until some moment."""

    duration_s: float
    energy_j: float
    epochs: Epochs
    """The complete ones; the rest of ``duration_s`` and ``energy_j`` is of ``before``, and of the
    epoch that goes on."""
    before_s: float = 0.0
    """Time from the begin of metering to that of the first epoch."""
    before_j: float = 0.0
    utilization_pct: float = float("nan")
    """Mean of the device's until now; NaN where it is not known."""


NOTHING_OBSERVED = Observed(0.0, 0.0, NO_EPOCHS)


@dataclass(frozen=True)
class Oracle:
    """What somebody knows of a training's end before it comes (an oracle); None is not known."""

    epochs: int | None = None
    duration_s: float | None = None


NO_ORACLE = Oracle()


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A whole training as it was measured.

    Parameters
    ----------
    epochs
        All of them; they follow each other without a gap, after ``before_s``.
    time_s, energy_so_far_j
        The energy meter's trace, summed up: energy since the begin of metering, at times since
        then, both from 0 to the whole.
    utilization_so_far_pct
        Mean utilization until each of these times; empty where it is not known.
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
        """The whole metered time."""
        return float(self.time_s[-1])

    @property
    def energy_j(self) -> float:
        """The whole metered energy."""
        return float(self.energy_so_far_j[-1])

    @property
    def oracle(self) -> Oracle:
        """What an oracle would tell of it."""
        return Oracle(len(self.epochs), self.duration_s)

    def observe(self, share: float) -> Observed:
        """Return what had been measured when a share (0 to 1) of the time had passed."""
        return self._observe_at(share * self.duration_s)

    def observe_epochs(self, epochs: int) -> Observed:
        """Return what had been measured when so many epochs were complete."""
        if epochs >= len(self.epochs):
            return self._observe_at(self.duration_s)
        return self._observe_at(self.before_s + float(self.epochs.duration_s[:epochs].sum()))

    def _observe_at(self, now_s: float) -> Observed:
        if now_s <= 0:
            return NOTHING_OBSERVED
        ends_s = self.before_s + np.cumsum(self.epochs.duration_s)
        # An end and a moment that are meant to be the same differ in their last digits.
        complete = int(np.searchsorted(ends_s, now_s * (1 + 1e-9), side="right"))
        used = self.utilization_so_far_pct
        begun = now_s >= self.before_s
        energy_j = float(np.interp(now_s, self.time_s, self.energy_so_far_j))
        return Observed(
            duration_s=now_s,
            energy_j=energy_j,
            epochs=self.epochs.first(complete),
            before_s=self.before_s if begun else now_s,
            before_j=self.before_j if begun else energy_j,
            utilization_pct=float(np.interp(now_s, self.time_s, used)) if len(used) else np.nan,
        )


def tflop_per_epoch(
    gflops_per_image: float, train_images: int, validation_images: int, *, frozen: bool
) -> float:
    """Return the nominal operations of an epoch, in units of 10**12.

    A step back through a layer costs twice the step forward (Hobbhahn and Sevilla, "What's the
    backward-forward FLOP ratio for neural networks?", Epoch AI 2021); where all but the last layers
    are frozen there is none worth counting.
    """
    passes = (1 if frozen else 3) * train_images + validation_images
    return gflops_per_image * passes / 1e3
