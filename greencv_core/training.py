"""The training loop: module, data and protocol in, epochs out. Knows nothing of meters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn.functional import cross_entropy
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_auroc,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from greencv_core.architectures.weights import classifier_layers
from greencv_core.datasets import ImageData
from greencv_core.study.schema import (
    EarlyStopping,
    EnvironmentSpec,
    Monitor,
    Plateau,
    Protocol,
    Stage,
)

EVALUATION_BATCH = 256

Stop = Literal["budget", "forecast"]
"""Why somebody may stop a training: its budget is spent, or will be."""
EndedBy = Literal["epochs", "early stopping", "target"] | Stop
"""Why a training came to its end."""


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
    """From 1, over all stages."""
    stage: str
    learning_rate: float
    """At the end of the training images."""
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
    ended_by: EndedBy
    final_epoch: int
    """Number of the epoch whose weights the model has in the end."""

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
    stop: Callable[[Epoch], Stop | None] | None = None,
) -> History:
    """Train a classifier by a protocol in an environment.

    Parameters
    ----------
    model
        Already on ``environment.device``.
    data
        On the same device.
    seed
        Of the order in which training images are drawn, and of their augmentation.
    hook
        Called with the phase and the epoch; the context it returns spans exactly that work.
    on_epoch
        Called after each epoch, outside the hook's contexts.
    stop
        Asked after each epoch but the last that there may be; a reason ends the training.

    Raises
    ------
    FloatingPointError
        The loss is no longer a finite number.
    """
    _set_batch_norm_momentum(model, protocol.batch_norm_momentum)
    generator = torch.Generator().manual_seed(seed)
    epochs: list[Epoch] = []
    ended_by: EndedBy = "epochs"
    final_epoch = 0
    for name, stage in protocol.stages:
        stopper = _Stopper(stage.early_stopping)
        with _stage_of(model, name, protocol) as set_to_training:
            course = _Course(model, stage, _steps(data, protocol))
            step = _step(model, course.optimizer, protocol, environment)
            for left in reversed(range(stage.epochs)):
                number = len(epochs) + 1
                with hook("training", number):
                    set_to_training()
                    train_loss = _one_pass(step, course, data, protocol, generator)
                _refuse_divergence("training", train_loss, number, stage)
                with hook("validation", number):
                    validation_loss, correctness = evaluate(model, data, environment)
                _refuse_divergence("validation", validation_loss, number, stage)
                epoch = Epoch(
                    epoch=number,
                    stage=name,
                    learning_rate=course.learning_rate,
                    train_loss=train_loss,
                    validation_loss=validation_loss,
                    train_images=_steps(data, protocol) * protocol.batch_size,
                    validation_images=data.validation_count,
                    correctness=correctness,
                )
                epochs.append(epoch)
                if on_epoch is not None:
                    on_epoch(epoch)
                course.after(epoch)
                stopper.look(epoch, model)
                reason = _reason_to_end(epoch, protocol, stop)
                if reason is None and stopper.stops and left:
                    reason = "early stopping"
                if reason is not None:
                    ended_by = reason
                    break
            else:
                ended_by = "epochs"
        final_epoch = len(epochs)
        if ended_by != "target":  # whose weights are the ones that reached it
            final_epoch = stopper.restore(model) or final_epoch
        if ended_by in ("target", "budget", "forecast"):
            break
    return History(tuple(epochs), ended_by, final_epoch)


def warm_up(
    model: torch.nn.Module, data: ImageData, protocol: Protocol, environment: EnvironmentSpec
) -> None:
    """Train and validate on one batch in each stage, and forget it.

    The first batch of a process also pays for what is set up once: libraries' handles, kernels
    chosen, compiled and loaded, memory taken from the system. The model's weights and all
    generators are as they were afterwards.
    """
    images, labels = data.sample(protocol.batch_size)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.random.fork_rng(devices=[images.device] if images.device.type == "cuda" else []):
        for name, _ in protocol.stages:
            with steps_of(name, model, protocol, environment) as step:
                step(images, labels)
        # The last of the validation batches has a size, and so kernels, of its own.
        sizes = {min(EVALUATION_BATCH, data.validation_count)}
        sizes.add(data.validation_count % EVALUATION_BATCH or EVALUATION_BATCH)
        for size in sizes:
            few = (
                images[:1]
                .expand(size, -1, -1, -1)
                .contiguous(memory_format=memory_format(environment))
            )
            predict(model, few, environment)
    model.load_state_dict(before)


@contextmanager
def steps_of(
    stage: str, model: torch.nn.Module, protocol: Protocol, environment: EnvironmentSpec
) -> Iterator[Step]:
    """Set a model to a stage's training and yield what trains it on one batch, for timing it."""
    settings = dict(protocol.stages)[stage]
    with _stage_of(model, stage, protocol) as set_to_training:
        set_to_training()
        yield _step(model, _optimizer(model, settings), protocol, environment)


def predict(
    model: torch.nn.Module, images: torch.Tensor, environment: EnvironmentSpec
) -> torch.Tensor:
    """Return the logits (n, classes) of images, computed as in validation."""
    autocast, _ = _mixed_precision(environment)
    model.eval()
    with torch.inference_mode(), autocast():
        logits: torch.Tensor = model(images)
    return logits


def evaluate(
    model: torch.nn.Module, data: ImageData, environment: EnvironmentSpec
) -> tuple[float, Correctness]:
    """Return the mean cross-entropy (nats) and the correctness on the validation images."""
    told, known = [], []
    for images, batch_labels in data.validation_batches(EVALUATION_BATCH):
        told.append(predict(model, images, environment))
        known.append(batch_labels)
    logits, labels = torch.cat(told).float(), torch.cat(known)
    loss = float(cross_entropy(logits, labels))
    probabilities, n = logits.softmax(dim=1), data.classes
    return loss, Correctness(
        accuracy=float(multiclass_accuracy(probabilities, labels, n, average="micro")),
        precision_macro=float(multiclass_precision(probabilities, labels, n)),
        recall_macro=float(multiclass_recall(probabilities, labels, n)),
        f1_macro=float(multiclass_f1_score(probabilities, labels, n)),
        auroc_macro=float(multiclass_auroc(probabilities, labels, n)),
    )


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


def _steps(data: ImageData, protocol: Protocol) -> int:
    return int(data.train_count // protocol.batch_size)


def _one_pass(
    step: Step, course: _Course, data: ImageData, protocol: Protocol, generator: torch.Generator
) -> float:
    """Train on all training images once; return the mean loss over the batches."""
    total: torch.Tensor | float = 0.0
    for images, labels in data.train_batches(protocol.batch_size, generator):
        total = total + step(images, labels)
        course.step()
    return float(total) / _steps(data, protocol)


@contextmanager
def _stage_of(
    model: torch.nn.Module, name: str, protocol: Protocol
) -> Iterator[Callable[[], None]]:
    """Freeze what a stage leaves as it is, and yield what sets the model to training.

    A frozen layer's running statistics stay, too, and it drops nothing out.
    """
    learning = classifier_layers(model) if name == "frozen" else model
    flags = {p: p.requires_grad for p in model.parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for parameter in learning.parameters():
        parameter.requires_grad_(True)

    def set_to_training() -> None:
        model.eval()
        learning.train()
        if protocol.batch_norm == "fixed":
            for module in _batch_norms(model):
                module.eval()

    try:
        yield set_to_training
    finally:
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)


def _reason_to_end(
    epoch: Epoch, protocol: Protocol, stop: Callable[[Epoch], Stop | None] | None
) -> EndedBy | None:
    target = protocol.target
    if target is not None and getattr(epoch.correctness, target.monitor) >= target.value:
        return "target"
    more = epoch.epoch < protocol.most_epochs
    return stop(epoch) if more and stop is not None else None


def _refuse_divergence(phase: str, loss: float, epoch: int, stage: Stage) -> None:
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the {phase} loss is {loss} in epoch {epoch}: "
            f"a lower protocol.learning_rate than {stage.learning_rate} may help"
        )


def _batch_norms(model: torch.nn.Module) -> Iterator[torch.nn.modules.batchnorm._BatchNorm]:
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            yield module


def _set_batch_norm_momentum(model: torch.nn.Module, momentum: float | None) -> None:
    if momentum is None:
        return
    for module in _batch_norms(model):
        module.momentum = momentum


class _Course:
    """A stage's optimiser and how its learning rate moves: by steps, or by epochs on a plateau."""

    def __init__(self, model: torch.nn.Module, stage: Stage, steps_per_epoch: int) -> None:
        self.optimizer = _optimizer(model, stage)
        self._by_steps = _schedule(self.optimizer, stage, steps_per_epoch * stage.epochs)
        self._plateau = stage.plateau
        self._on_plateau = (
            None if stage.plateau is None else _plateau(self.optimizer, stage.plateau)
        )

    @property
    def learning_rate(self) -> float:
        """The rate that the next batch would be trained with."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self) -> None:
        """Move on after a batch."""
        if self._by_steps is not None:
            self._by_steps.step()

    def after(self, epoch: Epoch) -> None:
        """Move on after an epoch."""
        if self._on_plateau is not None and self._plateau is not None:
            self._on_plateau.step(_monitored(epoch, self._plateau.monitor))


def _plateau(
    optimizer: torch.optim.Optimizer, rule: Plateau
) -> torch.optim.lr_scheduler.ReduceLROnPlateau:
    return torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode="max",
        factor=rule.factor,
        # PyTorch waits for one epoch more than its patience says, Keras does not.
        patience=rule.patience - 1,
        threshold=rule.min_delta,
        threshold_mode="abs",
    )


def _optimizer(model: torch.nn.Module, stage: Stage) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    lr, decay = stage.learning_rate, stage.weight_decay
    fused = parameters[0].device.type in ("cpu", "cuda")
    if stage.optimizer == "sgd":
        momentum = stage.momentum
        return torch.optim.SGD(
            parameters,
            lr=lr,
            momentum=momentum,
            nesterov=stage.nesterov and momentum > 0,
            weight_decay=decay,
            fused=fused,
        )
    if stage.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=lr, weight_decay=decay, fused=fused)
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=decay, fused=fused)


def _schedule(
    optimizer: torch.optim.Optimizer, stage: Stage, steps: int
) -> torch.optim.lr_scheduler.LRScheduler | None:
    if stage.schedule == "one_cycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=stage.learning_rate,
            total_steps=steps,
            # The schedule would else move the momentum from the one that the study states.
            cycle_momentum=False,
        )
    if stage.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    return None


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
    """Early stopping: watches the epochs, and keeps the best one's weights where asked to."""

    def __init__(self, rule: EarlyStopping | None) -> None:
        self._rule = rule
        self._best = -math.inf
        self._since_best = 0
        self._best_epoch = 0
        self._weights: dict[str, torch.Tensor] = {}

    @property
    def stops(self) -> bool:
        """Whether patience is at its end."""
        return self._rule is not None and self._since_best >= self._rule.patience

    def look(self, epoch: Epoch, model: torch.nn.Module) -> None:
        """Take an epoch into account."""
        if self._rule is None:
            return
        value = _monitored(epoch, self._rule.monitor)
        if value <= self._best + self._rule.min_delta:
            self._since_best += 1
            return
        self._best, self._since_best, self._best_epoch = value, 0, epoch.epoch
        if self._rule.restore_best:
            self._weights = {name: value.clone() for name, value in model.state_dict().items()}

    def restore(self, model: torch.nn.Module) -> int:
        """Give the model the best epoch's weights, and return its number; 0 where not asked to."""
        if not self._weights:
            return 0
        model.load_state_dict(self._weights)
        return self._best_epoch


def _monitored(epoch: Epoch, monitor: Monitor) -> float:
    """Return the figure, turned so that more is better."""
    if monitor == "validation_loss":
        return -epoch.validation_loss
    return float(getattr(epoch.correctness, monitor))
