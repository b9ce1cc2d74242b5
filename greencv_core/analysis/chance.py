"""Chance: the correctness that a predictor reaches without looking at an image."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from greencv_core.analysis.result import CONFIDENCE, Values
from greencv_core.utils.text import F1_DECIMALS, quantity

CLASSES, IMAGES = "classes", "validation_images"
"""Columns with the number of classes and of validation images; both may be absent."""


def chance_level(correctness: str, classes: float) -> float:
    r"""Return the most that any predictor reaches that ignores the image, for balanced classes.

    Of :math:`k` classes: accuracy, macro F1, macro precision and macro recall :math:`1/k` (the
    macro values also if classes are not balanced), the F1 of the positive class
    :math:`2/(k + 1)`, the area under the curve 0.5. A predictor that always names the same class
    has less macro F1 than one that guesses: :math:`2/(k (k + 1))`.
    """
    name = correctness.casefold()
    if "auc" in name or "auroc" in name:
        return 0.5
    if name.startswith("f1") and "macro" not in name:
        return 2 / (classes + 1)
    return 1 / classes


def chance_bounds(runs: pd.DataFrame, correctness: str) -> Values:
    """Return for each run the highest correctness that chance explains, at 95%, one-sided.

    The allowance is that of a binomial distribution with the validation images. Where their number
    is unknown there is none; where the number of classes is unknown the bound is 0.
    """
    bounds = np.zeros(len(runs))
    if CLASSES not in runs or runs.empty:
        return bounds
    images = runs[IMAGES] if IMAGES in runs else pd.Series(np.nan, index=runs.index)
    name = pd.Series(correctness, index=runs.index)
    if "correctness_name" in runs and correctness == "correctness":
        name = runs["correctness_name"].fillna(correctness)
    settings = pd.DataFrame({"name": name, CLASSES: runs[CLASSES], IMAGES: images})
    for (kind, classes, number), places in settings.groupby(
        list(settings.columns), dropna=False
    ).indices.items():
        if pd.notna(classes):
            level = chance_level(str(kind), float(classes))
            n = 0 if pd.isna(number) else int(number)
            bounds[places] = stats.binom.ppf(CONFIDENCE, n, level) / n if n else level
    return bounds


def learned_nothing(runs: pd.DataFrame, correctness: str) -> bool:
    """Return whether half or more of a condition's runs have no correctness above chance."""
    known = runs[runs[correctness].notna()]
    above = known[correctness].to_numpy(dtype=float) > chance_bounds(known, correctness)
    return len(known) > 0 and 2 * int(above.sum()) <= len(known)


def chance_sentence(runs: pd.DataFrame, correctness: str) -> str:
    """Describe up to which correctness a training counts as having learned nothing."""
    name = quantity(correctness)
    known = runs[CLASSES].dropna() if CLASSES in runs else pd.Series(dtype=float)
    if known.empty:
        return (
            "The number of classes is unknown, so a training counts as having learned nothing only "
            f"if its {name} is 0."
        )
    bounds = np.unique(chance_bounds(runs[runs[CLASSES].notna()], correctness))
    range_ = " to ".join(f"{bound:.{F1_DECIMALS}f}" for bound in bounds[[0, -1][: len(bounds)]])
    return (
        f"A training counts as having learned nothing if its {name} is at most {range_}, which "
        "guessing reaches."
    )
