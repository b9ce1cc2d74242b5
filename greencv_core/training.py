"""The training loop: module, data and protocol in, epochs out. Knows nothing of meters."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch.nn.functional import cross_entropy
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_auroc,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from greencv_core.datasets import ImageData
from greencv_core.study import EarlyStopping, EnvironmentSpec, Protocol

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Correctness:
    """How right a model is on the validation images; every figure from 0 to 1."""

    accuracy: float
    precision_macro: float
    recall_macro: float
    f1_macro: float
    auroc_macro: float


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images and the validation that followed it."""

    epoch: int
    """From 1."""
    train_loss: float
    """Mean cross-entropy over the epoch's batches, in nats."""
    validation_loss: float
    train_images: int
    validation_images: int
    correctness: Correctness


@dataclass(frozen=True)
class History:
    """What a training produced."""

    epochs: tuple[Epoch, ...]
    stopped_early: bool

    @property
    def images_processed(self) -> int:
        """Training and validation images over all epochs."""
        return sum(e.train_images + e.validation_images for e in self.epochs)


PhaseHook = Callable[[str, int], AbstractContextManager[object]]
"""Opens the ``"training"`` or ``"validation"`` part of an epoch: where a meter attaches."""


Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Trains on one batch of images and labels; returns the loss, on the device."""


def _no_hook(phase: str, epoch: int) -> AbstractContextManager[object]:
    return nullcontext()


def train(
    model: torch.nn.Module,
    data: ImageData,
    protocol: Protocol,
    environment: EnvironmentSpec,
    *,
    seed: int,
    hook: PhaseHook = _no_hook,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> History:
    """Train a classifier by a protocol in an environment.

    Parameters
    ----------
    model
        Already on ``environment.device``.
    data
        On the same device; see :func:`to_device`.
    seed
        Of the order in which training images are drawn.
    hook
        Called with the phase and the epoch; the context it returns spans exactly that work.
    on_epoch
        Called after each epoch, outside the hook's contexts.

    Raises
    ------
    FloatingPointError
        The loss is no longer a finite number.
    """
    steps = len(data.train_labels) // protocol.batch_size
    optimizer = _optimizer(model, protocol)
    schedule = _schedule(optimizer, protocol, steps * protocol.epochs)
    step = _step(model, optimizer, protocol, environment)
    _set_batch_norm_momentum(model, protocol.batch_norm_momentum)
    generator = torch.Generator().manual_seed(seed)
    stopper = _Stopper(protocol.early_stopping)
    epochs: list[Epoch] = []

    for number in range(1, protocol.epochs + 1):
        with hook("training", number):
            model.train()
            total = torch.zeros((), device=data.train_labels.device)
            for images, labels in _batches(data, protocol.batch_size, steps, generator):
                total += step(images, labels)
                schedule.step()
            train_loss = float(total) / steps
        _refuse_divergence("training", train_loss, number, protocol)
        with hook("validation", number):
            validation_loss, correctness = evaluate(model, data, environment)
        _refuse_divergence("validation", validation_loss, number, protocol)
        epoch = Epoch(
            epoch=number,
            train_loss=train_loss,
            validation_loss=validation_loss,
            train_images=steps * protocol.batch_size,
            validation_images=len(data.validation_labels),
            correctness=correctness,
        )
        epochs.append(epoch)
        if on_epoch is not None:
            on_epoch(epoch)
        if stopper.should_stop(epoch):
            break
    return History(tuple(epochs), stopped_early=len(epochs) < protocol.epochs)


def warm_up(
    model: torch.nn.Module, data: ImageData, protocol: Protocol, environment: EnvironmentSpec
) -> None:
    """Train and validate on one batch of a copy, and forget it.

    The first batch of a process also pays for what is set up once: libraries' handles, kernels
    chosen and loaded, memory taken from the system. The model and all generators stay as they were.
    """
    device = data.train_labels.device
    trial = copy.deepcopy(model).train()
    few = replace(
        data,
        validation_images=data.validation_images[:EVALUATION_BATCH],
        validation_labels=data.validation_labels[:EVALUATION_BATCH],
    )
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        size = protocol.batch_size
        single_step(trial, protocol, environment)(
            data.train_images[:size], data.train_labels[:size]
        )
        evaluate(trial, few, environment)


def single_step(model: torch.nn.Module, protocol: Protocol, environment: EnvironmentSpec) -> Step:
    """Return a function that trains a model on one batch, for timing it."""
    return _step(model, _optimizer(model, protocol), protocol, environment)


def evaluate(
    model: torch.nn.Module, data: ImageData, environment: EnvironmentSpec
) -> tuple[float, Correctness]:
    """Return the mean cross-entropy (nats) and the correctness on the validation images."""
    autocast, _ = _mixed_precision(environment)
    model.eval()
    with torch.inference_mode(), autocast():
        logits = torch.cat([model(i) for i in data.validation_images.split(EVALUATION_BATCH)])
    logits, labels = logits.float(), data.validation_labels
    loss = float(cross_entropy(logits, labels))
    probabilities, n = logits.softmax(dim=1), data.classes
    return loss, Correctness(
        accuracy=float(multiclass_accuracy(probabilities, labels, n, average="micro")),
        precision_macro=float(multiclass_precision(probabilities, labels, n)),
        recall_macro=float(multiclass_recall(probabilities, labels, n)),
        f1_macro=float(multiclass_f1_score(probabilities, labels, n)),
        auroc_macro=float(multiclass_auroc(probabilities, labels, n)),
    )


def to_device(data: ImageData, environment: EnvironmentSpec) -> ImageData:
    """Return the data on the environment's device and in its memory format."""
    layout = memory_format(environment)
    device = torch.device(environment.device)
    moved = copy.copy(data)
    for name in ("train_images", "validation_images"):
        images = getattr(data, name).to(device).contiguous(memory_format=layout)
        object.__setattr__(moved, name, images)
    for name in ("train_labels", "validation_labels"):
        object.__setattr__(moved, name, getattr(data, name).to(device))
    return moved


def memory_format(environment: EnvironmentSpec) -> torch.memory_format:
    """Return torch's name of the environment's memory format."""
    if environment.memory_format == "channels_last":
        return torch.channels_last
    return torch.contiguous_format


def _step(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    protocol: Protocol,
    environment: EnvironmentSpec,
) -> Step:
    autocast, scaler = _mixed_precision(environment)

    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with autocast():
            loss = cross_entropy(model(images), labels, label_smoothing=protocol.label_smoothing)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def _batches(
    data: ImageData, size: int, steps: int, generator: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    # Drawn on the CPU, so that the order is the same on every device; what does not fill a last
    # batch is left out, since batch normalisation fails on a batch of one.
    order = torch.randperm(len(data.train_labels), generator=generator)
    order = order[: steps * size].to(data.train_labels.device)
    for chosen in order.split(size):
        yield data.train_images[chosen], data.train_labels[chosen]


def _refuse_divergence(phase: str, loss: float, epoch: int, protocol: Protocol) -> None:
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the {phase} loss is {loss} in epoch {epoch}: "
            f"a lower protocol.learning_rate than {protocol.learning_rate} may help"
        )


def _set_batch_norm_momentum(model: torch.nn.Module, momentum: float | None) -> None:
    if momentum is None:
        return
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = momentum


def _optimizer(model: torch.nn.Module, protocol: Protocol) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    lr, decay = protocol.learning_rate, protocol.weight_decay
    fused = parameters[0].device.type in ("cpu", "cuda")
    if protocol.optimizer == "sgd":
        momentum = protocol.momentum
        return torch.optim.SGD(
            parameters,
            lr=lr,
            momentum=momentum,
            nesterov=momentum > 0,
            weight_decay=decay,
            fused=fused,
        )
    if protocol.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=lr, weight_decay=decay, fused=fused)
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=decay, fused=fused)


def _schedule(
    optimizer: torch.optim.Optimizer, protocol: Protocol, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if protocol.schedule == "one_cycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=protocol.learning_rate,
            total_steps=steps,
            # The schedule would else move the momentum from the one that the study states.
            cycle_momentum=False,
        )
    if protocol.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def _mixed_precision(
    environment: EnvironmentSpec,
) -> tuple[Callable[[], AbstractContextManager[object]], torch.amp.GradScaler]:
    """Return the autocast context and a gradient scaler (which does nothing unless fp16)."""
    kind = torch.device(environment.device).type
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(environment.precision)
    scaler = torch.amp.GradScaler(kind, enabled=half is torch.float16)
    if half is None:
        return nullcontext, scaler
    return (lambda: torch.autocast(kind, dtype=half)), scaler


class _Stopper:
    def __init__(self, rule: EarlyStopping | None) -> None:
        self._rule = rule
        self._best = -math.inf
        self._since_best = 0

    def should_stop(self, epoch: Epoch) -> bool:
        if self._rule is None:
            return False
        if self._rule.monitor == "validation_loss":
            value = -epoch.validation_loss
        else:
            value = float(getattr(epoch.correctness, self._rule.monitor))
        if value > self._best + self._rule.min_delta:
            self._best, self._since_best = value, 0
        else:
            self._since_best += 1
        return self._since_best >= self._rule.patience
