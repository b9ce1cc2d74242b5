"""Nested regressions: are GFLOPs enough, and what is still unexplained."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import linalg

from greencv_core.analysis.regression.data import (
    FEWEST,
    FEWEST_FOR_PARAMETERS,
    PREDICTORS,
    Fit,
    design_of,
    leave_one_out,
    logarithms,
    means_of,
    shared_variance,
)
from greencv_core.analysis.regression.interaction import FEWEST_FOR_WELCH_JAMES, welch_james
from greencv_core.analysis.result import ALPHA
from greencv_core.utils.text import number, p_value, percent

STEPS = {
    "log10(GFLOPs)": ("log_gflops", False),
    "environment": ("intercept", True),
    "log10(GFLOPs) x environment": ("log_gflops", True),
    "log10(parameters)": ("log_parameters", False),
    "log10(parameters) x environment": ("log_parameters", True),
}
"""Terms in the order in which they enter: the coefficient, and if environments differ in it."""


@dataclass(frozen=True)
class NestedModels:
    """The regression built term by term, from the conditions' means."""

    models: pd.DataFrame
    """model, coefficients, adjusted_r_squared, added_p (of the term added, architectures as units;
    NaN if not tested), lack_of_fit_f and lack_of_fit_p (Welch-James, of all differences between
    conditions that the model leaves, runs as units; NaN if not tested), typical_misfit (median
    factor between a condition's geometric mean and the model, less 1),
    unseen_architecture_error."""
    environments: int

    def sentence(self) -> str:
        """Describe whether GFLOPs are enough, and whether the whole model is."""
        without_parameters = ~self.models["model"].str.contains("parameters")
        simple, last = self.models[without_parameters].iloc[-1], self.models.iloc[-1]
        where = "" if self.environments == 1 else "Within an environment, "
        if not np.isfinite(simple["lack_of_fit_p"]):
            verdict = (
                "Whether GFLOPs alone are enough was not tested: that takes "
                f"{FEWEST_FOR_WELCH_JAMES} runs of each condition that are not all alike"
            )
        elif simple["lack_of_fit_p"] < ALPHA:
            verdict = (
                f"{where}GFLOPs alone do not explain the energy: the typical misfit is "
                f"{percent(simple['typical_misfit'], 1)}, more than the spread of the runs "
                f"(Welch-James F = {number(simple['lack_of_fit_f'])}, "
                f"{p_value(simple['lack_of_fit_p'])})"
            )
        else:
            verdict = (
                f"{where}the data show no misfit of GFLOPs alone "
                f"(Welch-James, {p_value(simple['lack_of_fit_p'])})"
            )
        if without_parameters.all():
            return (
                f"{verdict}. Parameters were not tested: that takes {FEWEST_FOR_PARAMETERS} "
                "architectures in each environment."
            )
        if not np.isfinite(last["lack_of_fit_p"]):
            enough = "whether a misfit remains was not tested"
        elif last["lack_of_fit_p"] < ALPHA:
            enough = "a misfit remains that exceeds the spread of the runs"
        else:
            enough = "the data show no further misfit"
        return (
            f"{verdict}. With parameters as well, the typical misfit is "
            f"{percent(last['typical_misfit'], 1)}; {enough}."
        )


def nested_models(runs: pd.DataFrame) -> NestedModels:
    """Build the regression term by term, from GFLOPs alone."""
    data = logarithms(runs)
    means = means_of(data)
    y = means["log_energy"].to_numpy()
    environments = means["environment"].nunique()
    own = {"intercept": False}
    rows: list[dict[str, object]] = []
    for name, (coefficient, differs) in STEPS.items():
        if (differs and environments == 1) or not (coefficient in own or coefficient in means):
            continue
        own[coefficient] = differs
        design = design_of(means, own)
        residuals = y - design @ np.linalg.lstsq(design, y)[0]
        unexplained = float(residuals @ residuals) / max(1, len(y) - design.shape[1])
        lack_f, lack_p = _lack_of_fit(means, design)
        rows.append(
            {
                "model": ("+ " if rows else "") + name,
                "coefficients": design.shape[1],
                "adjusted_r_squared": 1 - unexplained / float(y.var(ddof=1)),
                "added_p": _added_p(data, means, coefficient, differs),
                "lack_of_fit_f": lack_f,
                "lack_of_fit_p": lack_p,
                "typical_misfit": 10 ** float(np.median(np.abs(residuals))) - 1,
                "unseen_architecture_error": leave_one_out(means, design, "architecture"),
            }
        )
    return NestedModels(pd.DataFrame(rows), environments)


def _added_p(data: pd.DataFrame, means: pd.DataFrame, coefficient: str, differs: bool) -> float:
    """Return the p value of a term, from the architectures that every environment has.

    A term that all environments share is that of their mean. One that differs between them is
    tested for each environment against the mean of all, with Bonferroni's correction.
    """
    table = means.pivot(index="architecture", columns="environment", values="log_energy").dropna()
    common = means.groupby("architecture").first().loc[table.index]
    predictors = PREDICTORS[: 2 if coefficient == "log_parameters" else 1]
    fewest = FEWEST_FOR_PARAMETERS if len(predictors) > 1 else FEWEST
    if min(len(table), common["log_gflops"].nunique()) < fewest:
        return math.nan
    names = ["intercept", *predictors]
    design = design_of(common, dict.fromkeys(names, False))
    place = names.index(coefficient)
    average = np.full(len(table.columns), 1 / len(table.columns))
    contrasts = np.eye(len(average)) - average if differs else average[None]
    if len(average) == 2:
        contrasts = contrasts[:1]  # the other is its negative
    found = []
    for contrast in contrasts:
        # Sessions shift an environment's level and leave its slope as it is.
        level = coefficient == "intercept"
        weights = dict(zip(table.columns, contrast, strict=True))
        fit = Fit(design, table.to_numpy() @ contrast)
        shared = shared_variance(data, weights, fit.df) if level else 0.0
        found.append(fit.estimate(place, shared).p)
    return min(1.0, len(found) * min(found))


def _lack_of_fit(means: pd.DataFrame, design: np.ndarray) -> tuple[float, float]:
    """Return F and p of the differences between conditions that a model leaves."""
    contrasts = linalg.null_space(design.T).T
    few = means["n"].min() < FEWEST_FOR_WELCH_JAMES
    if few or not len(contrasts) or not (means["variance"] > 0).all():
        return math.nan, math.nan
    y, variances, counts = means[["log_energy", "variance", "n"]].to_numpy(dtype=float).T
    test = welch_james(y, variances, counts, contrasts)
    return test.f, test.p
