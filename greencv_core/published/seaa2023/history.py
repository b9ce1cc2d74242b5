"""What each version of the original paper said of the largest saving, beside the public runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from greencv_core.analysis import (
    NotEnoughDataError,
    Saving,
    Unavailable,
    architecture_by_environment,
    attempt,
)
from greencv_core.analysis.result import ALPHA, Values
from greencv_core.published.seaa2023.reanalysis import (
    CORRECTED,
    CORRECTNESS,
    RQ1_ENVIRONMENT,
    SMALLER_GPU,
    Reanalysis,
)
from greencv_core.utils.text import p_value

LAST_LOSS = 0.02
"""Upper bound of the loss of F1 in the last version's abstract."""
_WHISKERS = 1.5
"""Tukey's rule: a training failed if it lies so many interquartile ranges below the quartile."""
_NO_PUBLIC_DATA = "Unpublished runs: other cleaning, energy of GPU and RAM"


@dataclass(frozen=True)
class Version:
    """One version of the paper."""

    date: str
    said: str
    """The largest saving in its abstract."""
    variant: str | None
    """The energy of the public runs that it rests on; None if its data are not public."""


VERSIONS = (
    Version("July 2023", "up to 98.83%", "first_formula"),
    Version("January 2024", "up to 81.38%", "published"),
    Version("November 2024", "up to 80.72%", None),
    Version("September 2025", "up to 80.68%, with less than 2% loss in F1", None),
)
"""Versions of arXiv 2307.05520; the last one is also Computer Standards & Interfaces 99, 104170."""


def history(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return date, abstract, data and what the public runs give, a row for each version."""
    savings = reanalysis.headline()
    rows = []
    for version in VERSIONS:
        variant = version.variant or CORRECTED
        rows.append(
            {
                "date": version.date,
                "abstract": version.said,
                "data": "Public runs" if version.variant else _NO_PUBLIC_DATA,
                "public_runs": _stated(savings[variant], version.variant is None),
            }
        )
    return pd.DataFrame(rows)


def _stated(result: Saving | Unavailable, corrected: bool) -> str:
    if isinstance(result, Unavailable):
        return "not known"
    if not corrected:
        return f"{100 * result.of_medians:.2f}%"
    interval = f"({100 * result.ci_low:.1f} to {100 * result.ci_high:.1f})"
    return f"corrected: {100 * result.saving:.2f}% {interval}"


@dataclass(frozen=True)
class HeadlineLoss:
    """F1 that the largest saving costs, by medians and by means."""

    cheap: str
    dear: str
    median_cheap: float
    median_dear: float
    loss_of_means: float
    failed: Values
    """F1 of the cheap condition's trainings that failed, by Tukey's rule."""
    n_cheap: int
    loss_without_failed: float
    """Loss of means without the failed trainings."""

    def sentence(self) -> str:
        """State both losses, and why they differ."""
        by_medians = self.median_dear - self.median_cheap
        agrees = "agrees" if 0 <= by_medians < LAST_LOSS else "does not agree"
        text = (
            f"The largest saving of the public runs costs {_points(by_medians)} points of F1 by "
            f"medians ({self.median_dear:.3f} to {self.median_cheap:.3f}), which {agrees} with "
            f"the last abstract. By means it costs {_points(self.loss_of_means)} points "
            f"({self.cheap} against {self.dear})."
        )
        if not len(self.failed):
            return text
        return (
            f"{text} The two differ because {len(self.failed)} of {self.n_cheap} trainings of "
            f"{self.cheap} fail: they end at an F1 of {self.failed.min():.2f} to "
            f"{self.failed.max():.2f}. A median ignores them. Without them, the means differ by "
            f"{_points(self.loss_without_failed)} points."
        )


def headline_loss(reanalysis: Reanalysis) -> HeadlineLoss:
    """Return the loss of F1 of the largest corrected saving.

    Raises
    ------
    NotEnoughDataError
        There is no such saving.
    """
    largest = reanalysis.headline()[CORRECTED]
    if isinstance(largest, Unavailable):
        raise NotEnoughDataError(largest.reason)
    runs = reanalysis.runs(CORRECTED)
    dear, cheap = (
        runs.loc[
            (runs["architecture"] == end["architecture"])
            & (runs["environment"] == end["environment"]),
            CORRECTNESS,
        ].to_numpy(dtype=float)
        for end in (largest.from_condition, largest.to_condition)
    )
    q1, q3 = np.percentile(cheap, [25, 75])
    fails = cheap < q1 - _WHISKERS * (q3 - q1)
    return HeadlineLoss(
        cheap=largest.cheap,
        dear=largest.dear,
        median_cheap=float(np.median(cheap)),
        median_dear=float(np.median(dear)),
        loss_of_means=float(dear.mean() - cheap.mean()),
        failed=cheap[fails],
        n_cheap=len(cheap),
        loss_without_failed=float(dear.mean() - cheap[~fails].mean()),
    )


def last_version_sentence(reanalysis: Reanalysis) -> str:
    """State the other claims of the last version, and which of them the public runs can check."""
    text = (
        "The last version also reports a significant interaction of architecture and environment, "
        "and that STEP and PRE lower the error (RMSE) of energy estimates by up to 97% and 84%."
    )
    runs = attempt(Reanalysis.corrected, reanalysis, SMALLER_GPU, RQ1_ENVIRONMENT)
    crossed = attempt(architecture_by_environment, runs)
    if isinstance(crossed, Unavailable):
        return text
    found = "show it, too" if crossed.p < ALPHA else "do not show it"
    return (
        f"{text} On the two GPUs that trained every architecture, the public runs {found} "
        f"({p_value(crossed.p)})."
    )


def _points(loss: float) -> str:
    return f"{100 * loss:.1f}"
