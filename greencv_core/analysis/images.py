"""The error of a correctness that comes from the finite number of validation images.

All runs of a condition are validated on the same images, so this error does not average out over
runs, and their spread does not show it. The spread between runs has only the part by which runs
differ on the same image.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from greencv_core.analysis.result import CONFIDENCE, Values
from greencv_core.utils.confusion import Classes, count_pairs, decode_classes
from greencv_core.utils.text import quantity

if TYPE_CHECKING:
    import pandas as pd

LABELS, PREDICTIONS, IMAGES = "validation_labels", "validation_predictions", "validation_images"


def influences(confusion: Classes, correctness: str) -> Values:
    """Return how much an image of each true and predicted class moves a run's correctness.

    The first-order influence (the infinitesimal jackknife, Efron 1982): its mean over the images is
    0, its variance over their number is what a bootstrap over images converges to. NaN for a
    correctness other than accuracy and macro F1.
    """
    hit = np.eye(len(confusion))
    images = confusion.sum()
    if correctness == "accuracy":
        accuracy = np.trace(confusion) / images
        return np.asarray(hit - accuracy)
    if correctness != "f1_macro":
        return np.full(confusion.shape, np.nan)
    seen = confusion.sum(axis=1) + confusion.sum(axis=0)
    present = int((seen > 0).sum())
    each = np.divide(images / present, seen, out=np.zeros(len(seen)), where=seen > 0)
    lost = each * 2 * np.diag(confusion) / np.maximum(seen, 1)
    return np.asarray(2 * hit * each - lost[:, None] - lost)


def image_error(confusion: Classes, correctness: str) -> float:
    """Return the standard error of one run's correctness from the number of its images."""
    images = confusion.sum()
    squares = float((confusion * influences(confusion, correctness) ** 2).sum())
    return float(np.sqrt(squares / (images * max(images - 1, 1))))


def image_variances(groups: Sequence[pd.DataFrame], correctness: str) -> Values:
    """Return the variance by images of the difference of each two groups' mean correctness.

    Shape (groups, groups). It adds to the variance between runs over their number. Where every run
    of both groups has its predictions for the same images, images are paired: the variance over
    images of the difference between the groups' mean influences, less what runs contribute to it.
    (The variance component of images, crossed with runs.) One more image on which the conditions
    differ counts as seen (Agresti and Min 2005): with few errors, the bound of a small loss would
    else be too low. Elsewhere the variances of both groups' runs add up, which is too much rather
    than too little for classifiers that fail on the same images. 0 where a group has neither, of
    which :func:`image_error_sentence` warns.
    """
    parts = [_shared(group, correctness) for group in groups]
    alone = np.array([_alone(group, correctness) for group in groups])
    variances = alone[:, None] + alone
    np.fill_diagonal(variances, 0.0)
    for i, (labels, one, noise) in enumerate(parts):
        for j, (other_labels, other, other_noise) in enumerate(parts[:i]):
            if labels and labels == other_labels:
                difference = (one - other).var(ddof=1) / len(one)
                component = max(0.0, difference - noise - other_noise) + len(one) ** -2
                variances[i, j] = variances[j, i] = component
    known: Values = np.nan_to_num(variances)
    return known


def image_error_sentence(runs: pd.DataFrame, correctness: str) -> str:
    """Say that the error from the images is not included, and about how large it is.

    Empty if :func:`image_variances` knows it for every run.
    """
    errors = _column(runs, f"{correctness}_image_error")
    if errors.notna().all():
        return ""
    images, scores = _column(runs, IMAGES), _column(runs, correctness)
    if images.isna().any() or not scores.between(0, 1).all():
        return "The error from the number of validation images is not included."
    fewest = int(images.min())
    share = float(scores.median())
    half = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * np.sqrt(share * (1 - share) / fewest)
    return (
        f"The error from {fewest:,} validation images (95%: about {100 * half:.1f} points "
        f"of {quantity(correctness)} to either side) is not included."
    )


def _shared(group: pd.DataFrame, correctness: str) -> tuple[str, Values, float]:
    """Return a group's labels, mean influence by image, and the variance of the mean by runs."""
    nothing = "", np.empty(0), np.nan
    texts = _column(group, LABELS)
    if len(group) < 2 or texts.isna().any() or texts.nunique() != 1:
        return nothing
    labels = decode_classes(texts.iloc[0])
    predicted = [decode_classes(text) for text in group[PREDICTIONS]]
    classes = int(max(labels.max(), *(some.max() for some in predicted))) + 1
    rows = np.array(
        [
            influences(count_pairs(labels, some, classes), correctness)[labels, some]
            for some in predicted
        ]
    )
    if not np.isfinite(rows).all():
        return nothing
    # Each row's mean is 0, so one degree of freedom less than images.
    within = rows.var(axis=0, ddof=1).sum() / (len(labels) - 1)
    return texts.iloc[0], rows.mean(axis=0), float(within / len(rows) / len(labels))


def _alone(group: pd.DataFrame, correctness: str) -> float:
    errors = _column(group, f"{correctness}_image_error").to_numpy(dtype=float)
    return float(np.mean(errors**2))


def _column(runs: pd.DataFrame, name: str) -> pd.Series:
    return runs[name] if name in runs else runs.reindex(columns=[name])[name]
