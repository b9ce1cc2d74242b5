"""Nested regressions: are GFLOPs enough, and what is still unexplained."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from scipy import linalg

from greencv_core.analysis.regression.data import (
    STEPS,
    TERMS,
    estimable_terms,
    formula_of,
    leave_one_out,
    logarithms,
)
from greencv_core.analysis.regression.interaction import welch_james
from greencv_core.analysis.result import ALPHA, NotEnoughDataError
from greencv_core.utils.text import number, p_value, percent


@dataclass(frozen=True)
class NestedModels:
    """The regression built term by term."""

    models: pd.DataFrame
    """model, coefficients, adjusted_r_squared, aic, added_f and added_p (Wald, HC3, of the terms
    added), lack_of_fit_f and lack_of_fit_p (Welch-James, of all differences between conditions
    that the model leaves), typical_misfit (median factor between a condition's geometric mean and
    the model, less 1), unseen_architecture_error."""
    environments: int

    def sentence(self) -> str:
        """Describe whether GFLOPs are enough, and whether the whole model is."""
        without_parameters = ~self.models["model"].str.contains("parameters")
        simple, last = self.models[without_parameters].iloc[-1], self.models.iloc[-1]
        where = "" if self.environments == 1 else "Within an environment, "
        if not np.isfinite(simple["lack_of_fit_p"]):
            verdict = "Whether GFLOPs are enough needs repetitions to tell"
        elif simple["lack_of_fit_p"] < ALPHA:
            verdict = (
                f"{where}GFLOPs alone are not enough: conditions differ by more than GFLOPs "
                f"explain (Welch-James F = {number(simple['lack_of_fit_f'])}, "
                f"{p_value(simple['lack_of_fit_p'])}), typically by "
                f"{percent(simple['typical_misfit'], 1)}"
            )
        else:
            verdict = (
                f"{where}GFLOPs alone are not shown to fall short "
                f"(Welch-James, {p_value(simple['lack_of_fit_p'])})"
            )
        if without_parameters.all():
            return f"{verdict}."
        enough = (
            "what is left is not shown to be more than noise"
            if not last["lack_of_fit_p"] < ALPHA
            else "more than noise is left: an architecture is more than its GFLOPs and parameters"
        )
        return (
            f"{verdict}. With parameters as well, each environment with its own slopes, the "
            f"typical misfit is {percent(last['typical_misfit'], 1)}; {enough}."
        )


def nested_models(runs: pd.DataFrame) -> NestedModels:
    """Build the regression term by term, from GFLOPs alone."""
    data = logarithms(runs)
    steps = estimable_terms(data, STEPS)
    rows = []
    for i, step in enumerate(steps):
        formula = formula_of(steps[: i + 1])
        model = smf.ols(formula, data)
        if len(data) <= np.linalg.matrix_rank(model.exog):
            break
        fit = model.fit(cov_type="HC3", use_t=True)
        with warnings.catch_warnings(action="ignore"):
            added = [name.split("[")[0] == step for name in model.exog_names]
            wald = fit.wald_test(np.eye(len(added))[added], use_f=True, scalar=True)
        lack_f, lack_p, misfit = _lack_of_fit(data, fit)
        rows.append(
            {
                "model": ("+ " if i else "") + TERMS[step],
                "coefficients": len(model.exog_names),
                "adjusted_r_squared": float(fit.rsquared_adj),
                "aic": float(fit.aic),
                "added_f": float(wald.statistic),
                "added_p": float(wald.pvalue),
                "lack_of_fit_f": lack_f,
                "lack_of_fit_p": lack_p,
                "typical_misfit": misfit,
                "unseen_architecture_error": leave_one_out(data, formula, "architecture"),
            }
        )
    if not rows:
        raise NotEnoughDataError(f"a regression needs more than {len(data)} runs")
    return NestedModels(pd.DataFrame(rows), data["environment"].nunique())


def _lack_of_fit(data: pd.DataFrame, fit: Any) -> tuple[float, float, float]:
    """Return F and p of the lack of fit between conditions, and its typical size."""
    cells = data.assign(fitted=np.asarray(fit.fittedvalues)).groupby(
        ["architecture", "environment"], sort=False
    )
    of_cell = cells.agg(
        mean=("log_energy", "mean"), variance=("log_energy", "var"), n=("log_energy", "size"),
        fitted=("fitted", "mean"),
    )  # fmt: skip
    misfit = 10 ** float((of_cell["mean"] - of_cell["fitted"]).abs().median()) - 1
    first = [positions[0] for positions in cells.indices.values()]
    order = [(data["architecture"].iloc[i], data["environment"].iloc[i]) for i in first]
    of_cell = of_cell.loc[order]
    design = fit.model.exog[first]
    contrasts = linalg.null_space(design.T).T
    if not len(contrasts) or not (of_cell["variance"] > 0).all():
        return np.nan, np.nan, misfit
    means, variances, counts = of_cell[["mean", "variance", "n"]].to_numpy(dtype=float).T
    test = welch_james(means, variances, counts, contrasts)
    return test.f, test.p, misfit
