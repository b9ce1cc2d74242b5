"""Results of a training, epoch by epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch

from greencv_core.training.metrics import Correctness

Stop = Literal["budget", "forecast"]
"""Reason to stop a training from outside: its budget is spent, or will be."""
EndedBy = Literal["epochs", "early stopping", "target"] | Stop
"""Reason for the end of a training."""


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images and the validation after it."""

    epoch: int
    """Number from 1, over all stages."""
    stage: str
    learning_rate: float
    """Learning rate after the last batch."""
    train_loss: float
    """Mean cross-entropy over the epoch's batches, in nats."""
    validation_loss: float
    train_images: int
    validation_images: int
    correctness: Correctness
    predictions: torch.Tensor = field(repr=False, compare=False)
    """Predicted class of each validation image, (n,) int32, on the device."""


@dataclass(frozen=True)
class History:
    """Results of a training."""

    epochs: tuple[Epoch, ...]
    ended_by: EndedBy
    final_epoch: int
    """Number of the epoch whose weights the model has in the end."""

    @property
    def predictions(self) -> torch.Tensor:
        """Predicted class of each validation image by the trained model, on the device."""
        return self.epochs[self.final_epoch - 1].predictions

    @property
    def images_processed(self) -> int:
        """Number of training and validation images over all epochs."""
        return sum(e.train_images + e.validation_images for e in self.epochs)
