"""One stage of a training: trainable layers, optimiser and learning-rate schedule."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import lr_scheduler

from greencv_core.architectures.weights import classifier_layers
from greencv_core.study.schema import EnvironmentSpec, Plateau, Protocol, Stage
from greencv_core.training.history import Epoch
from greencv_core.training.precision import mixed_precision
from greencv_core.training.stopping import monitored_value

Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Trains on one batch of images and labels; returns the loss, on the device."""


@contextmanager
def training_step(
    stage: str, model: torch.nn.Module, protocol: Protocol, environment: EnvironmentSpec
) -> Iterator[Step]:
    """Set a model to the training mode of a stage and yield its step, for timing."""
    settings = dict(protocol.stages)[stage]
    with freeze_for_stage(model, stage, protocol) as set_to_training:
        set_to_training()
        yield make_step(model, _make_optimizer(model, settings), protocol, environment)


@contextmanager
def freeze_for_stage(
    model: torch.nn.Module, name: str, protocol: Protocol
) -> Iterator[Callable[[], None]]:
    """Freeze the layers that a stage does not train; yield a function that sets training mode.

    Frozen layers keep their running statistics and apply no dropout.
    """
    trainable = classifier_layers(model) if name == "frozen" else [model]
    flags = {p: p.requires_grad for p in model.parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for part in trainable:
        part.requires_grad_(True)

    def set_to_training() -> None:
        model.eval()
        for part in trainable:
            part.train()
        if protocol.batch_norm == "fixed":
            for module in batch_norms(model):
                module.eval()

    try:
        yield set_to_training
    finally:
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)


def batch_norms(model: torch.nn.Module) -> Iterator[_BatchNorm]:
    """Iterate over the batch normalisation layers of a model."""
    return (module for module in model.modules() if isinstance(module, _BatchNorm))


def make_step(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    protocol: Protocol,
    environment: EnvironmentSpec,
) -> Step:
    """Return the step that trains a model on one batch."""
    autocast, scaler = mixed_precision(environment)

    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with autocast():
            loss = cross_entropy(model(images), labels, label_smoothing=protocol.label_smoothing)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step


class StageOptimizer:
    """Optimiser of a stage with its learning-rate schedule, by steps or on plateaus."""

    def __init__(self, model: torch.nn.Module, stage: Stage, steps_per_epoch: int) -> None:
        self.optimizer = _make_optimizer(model, stage)
        self._schedule = _make_schedule(self.optimizer, stage, steps_per_epoch * stage.epochs)
        self._rule = stage.plateau
        self._plateau = None if self._rule is None else _make_plateau(self.optimizer, self._rule)

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next batch."""
        return float(self.optimizer.param_groups[0]["lr"])

    def after_batch(self) -> None:
        """Advance the schedule after a batch, even one whose step mixed precision left out."""
        schedule = self._schedule
        if schedule is None:
            return
        if schedule.last_epoch:
            schedule.step()
            return
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            schedule.step()  # it warns if the first of all steps was left out

    def after_epoch(self, epoch: Epoch) -> None:
        """Reduce the learning rate after an epoch on a plateau."""
        if self._plateau is not None and self._rule is not None:
            self._plateau.step(monitored_value(epoch, self._rule.monitor))


def _make_optimizer(model: torch.nn.Module, stage: Stage) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    shared: dict[str, Any] = {
        "lr": stage.learning_rate,
        "weight_decay": stage.weight_decay,
        "fused": parameters[0].device.type in ("cpu", "cuda"),
    }
    if stage.optimizer == "sgd":
        nesterov = stage.nesterov and stage.momentum > 0
        return torch.optim.SGD(parameters, **shared, momentum=stage.momentum, nesterov=nesterov)
    adam = torch.optim.Adam if stage.optimizer == "adam" else torch.optim.AdamW
    return adam(parameters, **shared)


def _make_schedule(
    optimizer: torch.optim.Optimizer, stage: Stage, steps: int
) -> lr_scheduler.LRScheduler | None:
    if stage.schedule == "one_cycle":
        # By default the schedule would also change the study's momentum.
        return lr_scheduler.OneCycleLR(
            optimizer, max_lr=stage.learning_rate, total_steps=steps, cycle_momentum=False
        )
    if stage.schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    return None


def _make_plateau(
    optimizer: torch.optim.Optimizer, rule: Plateau
) -> lr_scheduler.ReduceLROnPlateau:
    return lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode="max",
        factor=rule.factor,
        # PyTorch waits one epoch longer than its patience, Keras does not.
        patience=rule.patience - 1,
        threshold=rule.min_delta,
        threshold_mode="abs",
    )
