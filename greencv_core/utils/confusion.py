"""Counts of true and predicted classes, and class numbers as text."""

from __future__ import annotations

import base64
import binascii

import numpy as np
from numpy.typing import NDArray

MOST_CLASSES = 256
"""Number of classes that one byte can distinguish."""
Classes = NDArray[np.int64]


def encode_classes(numbers: Classes) -> str:
    """Return class numbers as text: one byte each, in base64."""
    return base64.b64encode(numbers.astype(np.uint8).tobytes()).decode()


def decode_classes(text: str) -> Classes:
    """Return the class numbers of a text; ValueError if it is not base64."""
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error
    return np.frombuffer(content, dtype=np.uint8).astype(np.int64)


def count_pairs(labels: Classes, predictions: Classes, classes: int) -> Classes:
    """Return the confusion matrix: images by true class (rows) and predicted class (columns)."""
    pairs = np.bincount(labels * classes + predictions, minlength=classes**2)
    return pairs.reshape(classes, classes).astype(np.int64)
