"""How well methods of estimation did: by what was new to them, and how much they had seen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from greencv_core.analysis.result import CONFIDENCE
from greencv_core.estimation.bayesian.projection import Projection
from greencv_core.utils.text import listed, number, percent

OURS = Projection.name
EARLY = 0.1
"""The share of the time at which methods are compared in a sentence."""
SMALLEST_SHARE = 0.05
"""Before it nothing, or next to nothing, has been measured."""
NOMINAL = (0.5, 0.8, 0.9, 0.95, 0.99)
"""Coverages that intervals claim."""
GROUPS = ["held_out", "told", "share", "method"]
_ANSWERED_BY_MOST = 0.5
"""A method that leaves more than this share of the trainings without an answer has no score."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Every method's answers, and what they were worth."""

    answers: pd.DataFrame
    """held_out, told, share, method, run_id, architecture, environment, gflops_per_image,
    epochs_seen, energy_j, estimate_j, low_j, high_j, place (the probability given to less than
    energy_j), reason (why there is no answer)."""

    @cached_property
    def table(self) -> pd.DataFrame:
        """Return a row for each group of :data:`GROUPS`.

        n, unanswered, mape (mean absolute error, a share of the true energy), median_ape, rmse_j,
        coverage (share of the true energies inside the 95 % interval), width (median, a share of
        the true energy).
        """
        answers = self.answers
        error_j = answers["estimate_j"] - answers["energy_j"]
        inside = (answers["low_j"] <= answers["energy_j"]) & (
            answers["energy_j"] <= answers["high_j"]
        )
        answered = answers["estimate_j"].notna()
        told = answers.assign(
            answered=answered,
            ape=(error_j / answers["energy_j"]).abs(),
            squared_j2=error_j**2,
            inside=inside.where(answers["low_j"].notna()).astype(float),
            width=(answers["high_j"] - answers["low_j"]) / answers["energy_j"],
        )
        groups = told.groupby(GROUPS, sort=False)
        table = groups.agg(
            n=("answered", "sum"), unanswered=("answered", lambda some: int((~some).sum())),
            mape=("ape", "mean"), median_ape=("ape", "median"),
            rmse_j=("squared_j2", lambda some: float(np.sqrt(some.mean()))),
            coverage=("inside", "mean"), width=("width", "median"),
        ).reset_index()  # fmt: skip
        few = table["unanswered"] > _ANSWERED_BY_MOST * (table["n"] + table["unanswered"])
        figures = ["mape", "median_ape", "rmse_j", "coverage", "width"]
        table.loc[few, figures] = np.nan
        return table

    def by_share(self, held_out: str, told: str, figure: str = "mape") -> pd.DataFrame:
        """Return one figure: a row a method, a column for each share of the time."""
        some = self._of(held_out, told)
        wide = some.pivot(index="method", columns="share", values=figure)
        return wide.reindex(list(dict.fromkeys(some["method"])))

    def best_baseline(self, held_out: str, told: str, share: float) -> tuple[str, float] | None:
        """Return the method with the smallest mean error, but for ours; None if none answered."""
        some = self._of(held_out, told)
        others = some[(some["share"] == share) & (some["method"] != OURS)].dropna(subset="mape")
        if others.empty:
            return None
        best = others.loc[others["mape"].idxmin()]
        return str(best["method"]), float(best["mape"])

    def against(self, held_out: str, told: str) -> pd.DataFrame:
        """Return ours and the best other at each share: share, mape, best, best_mape, ratio."""
        rows = []
        own = self._of(held_out, told)
        for ours in own[own["method"] == OURS].itertuples():
            best = self.best_baseline(held_out, told, float(ours.share))
            name, error = best if best else ("", float("nan"))
            rows.append(
                {
                    "share": ours.share,
                    "mape": ours.mape,
                    "best": name,
                    "best_mape": error,
                    "ratio": ours.mape / error if error else np.inf,
                    "coverage": ours.coverage,
                }
            )
        columns = ["share", "mape", "best", "best_mape", "ratio", "coverage"]
        return pd.DataFrame(rows, columns=columns)

    def calibration(self, told: str, least_share: float = SMALLEST_SHARE) -> pd.DataFrame:
        """Return how often intervals held the truth: held_out, method, nominal, observed, n.

        Over all moments from ``least_share`` of the time on.
        """
        answers = self.answers.dropna(subset="place")
        some = answers[(answers["told"] == told) & (answers["share"] >= least_share)]
        rows = [
            {
                "held_out": held_out,
                "method": method,
                "nominal": nominal,
                "observed": float(((part["place"] - 0.5).abs() <= nominal / 2 + 1e-9).mean()),
                "n": len(part),
            }
            for (held_out, method), part in some.groupby(["held_out", "method"], sort=False)
            for nominal in NOMINAL
        ]
        return pd.DataFrame(rows, columns=["held_out", "method", "nominal", "observed", "n"])

    def sentence(self, held_out: str, told: str, new: str) -> str:
        """Say how ours did against the best of the others.

        Parameters
        ----------
        new
            What is new to the methods, in words: ``an architecture is new``.
        """
        rows = self.against(held_out, told)
        later = rows[rows["share"] >= SMALLEST_SHARE].dropna(subset=["mape", "best_mape"])
        if later.empty:
            return f"Where {new}, no method has an answer."
        lost = [percent(share, 0) for share in later.loc[later["ratio"] >= 1, "share"]]
        verdict = (
            f"the {OURS} does not err least at {listed(lost)} of the time"
            if lost
            else f"the {OURS} errs least from {percent(later['share'].min(), 0)} of the time on"
        )
        for row in later[later["share"] == EARLY].itertuples():
            verdict += (
                f"; at {percent(EARLY, 0)} it errs by {percent(row.mape, 1)}, the best other "
                f"({row.best}) by {percent(row.best_mape, 1)}, a ratio of {number(row.ratio)}"
            )
        low, high = later["coverage"].min(), later["coverage"].max()
        return (
            f"Where {new}, {verdict}. Its {percent(CONFIDENCE, 0)} intervals held the true energy "
            f"in {percent(later['coverage'].mean(), 1)} of the cases, at single moments in "
            f"{percent(low, 1)} to {percent(high, 1)}."
        )

    def coverage_sentence(self, told: str, in_words: str) -> str:
        """Say how often our 95 % intervals held the truth, over all that was held out.

        Over all moments from :data:`SMALLEST_SHARE` of the time on; and how many of those that
        missed it are of conditions of which, at that moment, most runs were missed.

        Parameters
        ----------
        in_words
            What is told: ``the end told``.
        """
        answers = self.answers.dropna(subset=["low_j", "high_j"])
        ours = answers[
            (answers["method"] == OURS)
            & (answers["told"] == told)
            & (answers["share"] >= SMALLEST_SHARE)
        ]
        if ours.empty:
            return f"With {in_words}, no answer of the {OURS} has an interval."
        missed = ~ours["energy_j"].between(ours["low_j"], ours["high_j"])
        said = (
            f"With {in_words}, over all that was held out and all moments from "
            f"{percent(SMALLEST_SHARE, 0)} of the time on, the {percent(CONFIDENCE, 0)} intervals "
            f"of the {OURS} held the true energy in {percent(1 - missed.mean(), 1)} of the cases."
        )
        together = missed.groupby(
            [ours[one] for one in ("held_out", "share", "architecture", "environment")]
        ).transform("mean")
        mostly = int((missed & (together > 0.5)).sum())
        if not mostly:
            return said
        return (
            f"{said} Runs of a condition err together: {mostly:,} of the {int(missed.sum()):,} "
            "misses are where most runs of a condition were missed."
        )

    def _of(self, held_out: str, told: str) -> pd.DataFrame:
        return self.table[(self.table["held_out"] == held_out) & (self.table["told"] == told)]
