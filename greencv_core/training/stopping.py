"""Rules that end a training before its last epoch."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from greencv_core.study.schema import EarlyStopping, Monitor, Protocol, Stage
from greencv_core.training.history import EndedBy, Epoch, Stop


class EarlyStopper:
    """Early stopping of a stage; keeps the best epoch's weights if the rule restores them."""

    def __init__(self, rule: EarlyStopping | None) -> None:
        self._rule = rule
        self._best = -math.inf
        self._since_best = 0
        self._best_epoch = 0
        self._weights: dict[str, torch.Tensor] = {}

    @property
    def stops(self) -> bool:
        """Whether the patience is exhausted."""
        return self._rule is not None and self._since_best >= self._rule.patience

    def update(self, epoch: Epoch, model: torch.nn.Module) -> None:
        """Take the latest epoch into account."""
        if self._rule is None:
            return
        value = monitored_value(epoch, self._rule.monitor)
        if value <= self._best + self._rule.min_delta:
            self._since_best += 1
            return
        self._best, self._since_best, self._best_epoch = value, 0, epoch.epoch
        if self._rule.restore_best:
            self._weights = {name: value.clone() for name, value in model.state_dict().items()}

    def restore(self, model: torch.nn.Module) -> int:
        """Restore the best epoch's weights and return its number; 0 if the rule does not."""
        if not self._weights:
            return 0
        model.load_state_dict(self._weights)
        return self._best_epoch


def find_end_reason(
    epoch: Epoch, protocol: Protocol, stop: Callable[[Epoch], Stop | None] | None
) -> EndedBy:
    """Return why a training ends after an epoch; ``"epochs"`` if there is no other reason.

    ``stop`` is not called after the last possible epoch.
    """
    target = protocol.target
    if target is not None and getattr(epoch.correctness, target.monitor) >= target.value:
        return "target"
    more = epoch.epoch < protocol.most_epochs
    return (stop(epoch) if more and stop is not None else None) or "epochs"


def check_divergence(phase: str, loss: float, epoch: int, stage: Stage) -> None:
    """Raise FloatingPointError if a loss is not finite."""
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the {phase} loss is {loss} in epoch {epoch}: "
            f"a lower protocol.learning_rate than {stage.learning_rate} may help"
        )


def monitored_value(epoch: Epoch, monitor: Monitor) -> float:
    """Return the monitored metric, negated if lower is better."""
    if monitor == "validation_loss":
        return -epoch.validation_loss
    return float(getattr(epoch.correctness, monitor))
