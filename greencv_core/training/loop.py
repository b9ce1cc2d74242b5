"""The training loop: module, data and protocol in, epochs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch

from greencv_core.datasets import ImageData
from greencv_core.study.schema import EnvironmentSpec, Protocol, Stage
from greencv_core.training import stage as stages
from greencv_core.training.history import EndedBy, Epoch, History, Stop
from greencv_core.training.metrics import EVALUATION_BATCH, evaluate, predict
from greencv_core.training.precision import memory_format
from greencv_core.training.stopping import EarlyStopper, check_divergence, find_end_reason

PhaseHook = Callable[[str, int], AbstractContextManager[object]]
"""Opens the ``"training"`` or ``"validation"`` phase of an epoch: where a meter attaches."""


def train(
    model: torch.nn.Module,
    data: ImageData,
    protocol: Protocol,
    environment: EnvironmentSpec,
    *,
    seed: int,
    hook: PhaseHook = lambda phase, epoch: nullcontext(),
    on_epoch: Callable[[Epoch], None] | None = None,
    stop: Callable[[Epoch], Stop | None] | None = None,
) -> History:
    """Train a classifier by a protocol in an environment.

    Parameters
    ----------
    model
        Model on ``environment.device``.
    data
        Images on the same device.
    seed
        Seed of the order and the augmentation of training images.
    hook
        Called with phase and epoch; the returned context spans exactly that work.
    on_epoch
        Called after each epoch, outside the hook's contexts.
    stop
        Called after each epoch except the last possible one; a returned reason ends the training.

    Raises FloatingPointError if a loss is not finite.
    """
    for module in stages.batch_norms(model):
        if protocol.batch_norm_momentum is not None:
            module.momentum = protocol.batch_norm_momentum
    generator = torch.Generator().manual_seed(seed)
    epochs: list[Epoch] = []
    ended_by: EndedBy = "epochs"
    final_epoch = 0
    for name, stage in protocol.stages:
        stopper = EarlyStopper(stage.early_stopping)
        with stages.freeze_for_stage(model, name, protocol) as set_to_training:
            run = _StageRun(model, data, protocol, environment, name, stage, set_to_training)
            for left in reversed(range(stage.epochs)):
                epoch = run.run_epoch(len(epochs) + 1, generator, hook)
                epochs.append(epoch)
                if on_epoch is not None:
                    on_epoch(epoch)
                run.optimizer.after_epoch(epoch)
                stopper.update(epoch, model)
                ended_by = find_end_reason(epoch, protocol, stop)
                if ended_by == "epochs" and stopper.stops and left:
                    ended_by = "early stopping"
                if ended_by != "epochs":
                    break
        final_epoch = len(epochs)
        if ended_by != "target":  # the last weights are the ones that reached the target
            final_epoch = stopper.restore(model) or final_epoch
        if ended_by in ("target", "budget", "forecast"):
            break
    return History(tuple(epochs), ended_by, final_epoch)


@dataclass
class _StageRun:
    """A stage of a training, its layers frozen already."""

    model: torch.nn.Module
    data: ImageData
    protocol: Protocol
    environment: EnvironmentSpec
    name: str
    stage: Stage
    set_to_training: Callable[[], None]

    def __post_init__(self) -> None:
        self.steps_per_epoch = int(self.data.train_count // self.protocol.batch_size)
        self.optimizer = stages.StageOptimizer(self.model, self.stage, self.steps_per_epoch)
        optimizer = self.optimizer.optimizer
        self.step = stages.make_step(self.model, optimizer, self.protocol, self.environment)

    def run_epoch(self, number: int, generator: torch.Generator, hook: PhaseHook) -> Epoch:
        with hook("training", number):
            self.set_to_training()
            train_loss = self._train(generator)
        check_divergence("training", train_loss, number, self.stage)
        with hook("validation", number):
            validation_loss, correctness, predictions = evaluate(
                self.model, self.data, self.environment
            )
        check_divergence("validation", validation_loss, number, self.stage)
        return Epoch(
            epoch=number,
            stage=self.name,
            learning_rate=self.optimizer.learning_rate,
            train_loss=train_loss,
            validation_loss=validation_loss,
            train_images=self.steps_per_epoch * self.protocol.batch_size,
            validation_images=self.data.validation_count,
            correctness=correctness,
            predictions=predictions,
        )

    def _train(self, generator: torch.Generator) -> float:
        total: torch.Tensor | float = 0.0
        for images, labels in self.data.train_batches(self.protocol.batch_size, generator):
            total = total + self.step(images, labels)
            self.optimizer.after_batch()
        return float(total) / self.steps_per_epoch


@contextmanager
def _restored_generators(device: torch.device) -> Iterator[None]:
    """Restore the random generators of the CPU and of a device."""
    # fork_rng() knows no Apple GPU.
    state = torch.mps.get_rng_state() if device.type == "mps" else None
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
    if state is not None:
        torch.mps.set_rng_state(state)


def warm_up(
    model: torch.nn.Module, data: ImageData, protocol: Protocol, environment: EnvironmentSpec
) -> None:
    """Train and validate on one batch in each stage, then restore the model.

    The first batch of a process also pays for one-off work: library handles, memory, and choosing,
    compiling and loading kernels. The weights and all random generators are restored.
    """
    images, labels = data.sample(protocol.batch_size)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with _restored_generators(images.device):
        for name, _ in protocol.stages:
            with stages.training_step(name, model, protocol, environment) as step:
                step(images, labels)
        # The last validation batch has its own size and therefore its own kernels.
        sizes = {min(EVALUATION_BATCH, data.validation_count)}
        sizes.add(data.validation_count % EVALUATION_BATCH or EVALUATION_BATCH)
        for size in sizes:
            batch = images[:1].expand(size, -1, -1, -1)
            layout = memory_format(environment)
            predict(model, batch.contiguous(memory_format=layout), environment)
    model.load_state_dict(before)
