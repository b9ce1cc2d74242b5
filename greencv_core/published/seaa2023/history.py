"""What each version of the original paper said of the largest saving, beside the public runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from greencv_core.analysis import (
    NonInferiority,
    Saving,
    Unavailable,
    architecture_by_environment,
    attempt,
    best_against_worst,
    non_inferiority,
)
from greencv_core.analysis.comparison.noninferiority import DEFAULT_MARGIN
from greencv_core.analysis.result import ALPHA, Values
from greencv_core.analysis.selection import runs_of
from greencv_core.analysis.units import mark_units, run_units
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
    """The largest corrected saving, and the F1 that it costs, by medians and by means."""

    largest: Saving
    median_cheap: float
    median_dear: float
    test: NonInferiority
    """Of the loss of means."""
    failed: Values
    """F1 of the cheap condition's trainings that failed, by Tukey's rule."""
    n_cheap: int
    loss_without_failed: float
    """Loss of means without the failed trainings."""

    def verdict(self) -> str:
        """Say whether the loss is shown to be negligible."""
        shown = "is negligible" if self.test.passes else "is not shown to be negligible"
        return (
            f"The loss of F1 {shown}: {_points(self.test.loss)} points on average, and up to "
            f"{_points(self.test.loss_high)} (95%)."
        )

    def sentence(self) -> str:
        """State both losses, and why they differ."""
        by_medians = self.median_dear - self.median_cheap
        agrees = "agrees" if 0 <= by_medians < LAST_LOSS else "does not agree"
        cheap, dear = self.largest.cheap, self.largest.dear
        text = (
            f"The largest saving of the public runs costs {_points(by_medians)} points of F1 by "
            f"medians ({self.median_dear:.3f} to {self.median_cheap:.3f}). This {agrees} with "
            f"the last abstract. By means it costs {_points(self.test.loss)} points "
            f"({cheap} against {dear})."
        )
        if not len(self.failed):
            return text
        return (
            f"{text} The two differ because {len(self.failed)} of {self.n_cheap} runs of "
            f"{cheap} failed: they ended at an F1 of {self.failed.min():.2f} to "
            f"{self.failed.max():.2f}. A median ignores them. Without them, the means differ by "
            f"{_points(self.loss_without_failed)} points."
        )


def headline_loss(every: pd.DataFrame) -> HeadlineLoss:
    """Return the largest corrected saving, and its loss of F1.

    Parameters
    ----------
    every
        All runs with corrected energies, and ``removed_by_hand``.

    Raises
    ------
    NotEnoughDataError
        There is no such saving.
    """
    runs = mark_units(every[~every["removed_by_hand"]])
    largest = best_against_worst(runs, correctness=CORRECTNESS)
    dear, cheap = (runs_of(runs, end) for end in (largest.from_condition, largest.to_condition))
    dear_f1, cheap_f1 = (part[CORRECTNESS].to_numpy(dtype=float) for part in (dear, cheap))
    q1, q3 = np.percentile(cheap_f1, [25, 75])
    fails = cheap_f1 < q1 - _WHISKERS * (q3 - q1)
    return HeadlineLoss(
        largest=largest,
        median_cheap=float(np.median(cheap_f1)),
        median_dear=float(np.median(dear_f1)),
        test=non_inferiority(
            run_units(dear, CORRECTNESS), run_units(cheap, CORRECTNESS), DEFAULT_MARGIN
        ),
        failed=cheap_f1[fails],
        n_cheap=len(cheap_f1),
        loss_without_failed=float(dear_f1.mean() - cheap_f1[~fails].mean()),
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
    found = "also show it" if crossed.p < ALPHA else "do not show it"
    return (
        f"{text} On the two GPUs that trained every architecture, the public runs {found} "
        f"({p_value(crossed.p)})."
    )


def _points(loss: float) -> str:
    return f"{100 * loss:.1f}"
