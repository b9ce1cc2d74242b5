"""Correctness of a model on the validation images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy
from torchmetrics.functional import classification as metrics

from greencv_core.datasets import ImageData
from greencv_core.study.schema import EnvironmentSpec
from greencv_core.training.precision import mixed_precision

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Correctness:
    """Validation metrics, each from 0 to 1."""

    accuracy: float
    precision_macro: float
    recall_macro: float
    f1_macro: float
    auroc_macro: float


def predict(
    model: torch.nn.Module, images: torch.Tensor, environment: EnvironmentSpec
) -> torch.Tensor:
    """Return the logits (n, classes) of images, computed as in validation."""
    autocast, _ = mixed_precision(environment)
    model.eval()
    with torch.inference_mode(), autocast():
        logits: torch.Tensor = model(images)
    return logits


def evaluate(
    model: torch.nn.Module, data: ImageData, environment: EnvironmentSpec
) -> tuple[float, Correctness, torch.Tensor]:
    """Return mean cross-entropy (nats), correctness and predicted class of validation images.

    The predictions stay on the device, so that they cost no copy while energy is metered.
    """
    batch_logits, batch_labels = [], []
    for images, some_labels in data.validation_batches(EVALUATION_BATCH):
        batch_logits.append(predict(model, images, environment))
        batch_labels.append(some_labels)
    logits, labels = torch.cat(batch_logits).float(), torch.cat(batch_labels)
    loss = float(cross_entropy(logits, labels))
    probabilities, n = logits.softmax(dim=1), data.classes
    correctness = Correctness(
        accuracy=float(metrics.multiclass_accuracy(probabilities, labels, n, average="micro")),
        precision_macro=float(metrics.multiclass_precision(probabilities, labels, n)),
        recall_macro=float(metrics.multiclass_recall(probabilities, labels, n)),
        f1_macro=float(metrics.multiclass_f1_score(probabilities, labels, n)),
        auroc_macro=float(metrics.multiclass_auroc(probabilities, labels, n)),
    )
    return loss, correctness, logits.argmax(dim=1).int()
