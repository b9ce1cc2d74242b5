"""Regression of energy on complexity and environment, with diagnostics."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.diagnostic import het_breuschpagan
from statsmodels.stats.outliers_influence import variance_inflation_factor

from greencv_core.analysis.comparison.omnibus import shapiro_wilk
from greencv_core.analysis.regression.data import (
    REPORTED,
    TERMS,
    estimable_terms,
    formula_of,
    leave_one_out,
    logarithms,
    readable_name,
)
from greencv_core.analysis.result import ALPHA, NotEnoughDataError, Values
from greencv_core.utils.text import listed, number, p_value, percent

LARGE_VIF = 5.0


@dataclass(frozen=True)
class EnergyRegression:
    """Ordinary least squares of log10 energy per image, with HC3 standard errors.

    GFLOPs and parameters are centred at the mean of the architectures, where an environment's
    coefficient is its effect. All runs of an architecture share its GFLOPs and parameters, so the
    intervals are too narrow for a new architecture.
    """

    formula: str
    n: int
    architectures: int
    coefficients: pd.DataFrame
    """term, estimate, ci_low, ci_high, p; slopes are elasticities."""
    slopes: pd.DataFrame
    """environment, exponent of GFLOPs, ci_low, ci_high."""
    anova: pd.DataFrame
    """term, f, df1, df2, p: Type II, robust (HC3)."""
    r_squared: float
    fitted: Values
    residuals: Values
    leverage: Values
    vif: pd.DataFrame
    """term, vif."""
    breusch_pagan_p: float
    shapiro_p: float
    unseen_architecture_error: float | None
    """Median absolute relative error of each architecture predicted from the others."""
    unseen_environment_error: float | None
    """The same for each environment, by complexity alone."""

    def sentence(self) -> str:
        """Describe how energy grows with GFLOPs and how much the model explains."""
        parts = [
            f"{number(10**row.exponent)} times the energy per image"
            + (f" in {row.environment}" if len(self.slopes) > 1 else "")
            + f" (exponent {row.exponent:z.2f}, 95 % interval {row.ci_low:z.2f} "
            f"to {row.ci_high:z.2f})"
            for row in self.slopes.itertuples()
        ]
        text = f"Tenfold GFLOPs go with {listed(parts)}"
        if "log10(parameters)" in set(self.coefficients["term"]):
            text += ", at equal parameters"
        text += f"; the model explains {percent(self.r_squared, 0)} of the variance of log energy"
        if self.unseen_architecture_error is not None:
            text += (
                f", and misses an architecture that it has not seen by "
                f"{percent(self.unseen_architecture_error, 0)} (median)"
            )
        if self.unseen_environment_error is not None:
            text += (
                "; complexity alone misses an environment that it has not seen by "
                f"{percent(self.unseen_environment_error, 0)}"
            )
        return (
            f"{text}. This rests on {self.architectures} architectures: their {self.n} runs narrow "
            "the intervals, but say nothing of an architecture that is not among them."
        )

    def diagnosis(self) -> str:
        """Describe the diagnostics."""
        spread = (
            "The residuals' spread depends on the predictors"
            if self.breusch_pagan_p < ALPHA
            else "No dependence of the residuals' spread on the predictors was found"
        )
        shape = "are not normal" if self.shapiro_p < ALPHA else "are compatible with normal ones"
        vif = ""
        if len(self.vif) > 1:
            worst = self.vif.loc[self.vif["vif"].idxmax()]
            vif = (
                "; the predictors overlap strongly, so their separate slopes are uncertain"
                if worst["vif"] > LARGE_VIF
                else "; the predictors overlap little"
            )
            vif += f" (largest VIF {worst['vif']:.1f}, {worst['term']})"
        high = 2 * len(self.coefficients) / self.n
        far = int((self.leverage > high).sum())
        weight = "No run has" if not far else "1 run has" if far == 1 else f"{far} runs have"
        return (
            f"{spread} (Breusch-Pagan, {p_value(self.breusch_pagan_p)}); standard errors are HC3, "
            f"which allows for it. The residuals {shape} (Shapiro-Wilk, {p_value(self.shapiro_p)})"
            f"{vif}. {weight} more than twice the mean leverage."
        )


def energy_regression(runs: pd.DataFrame) -> EnergyRegression:
    """Regress log10 energy per image on log10 GFLOPs, log10 parameters and the environment.

    Parameters enter with at least four architectures, the environment and its interaction with
    GFLOPs with at least two environments.
    """
    data = logarithms(runs)
    formula = formula_of(estimable_terms(data, REPORTED))
    model = smf.ols(formula, data)
    wanted = np.linalg.matrix_rank(model.exog)
    if len(data) <= wanted:
        raise NotEnoughDataError(
            f"a regression with {wanted} coefficients needs more than {len(data)} runs"
        )
    ordinary = model.fit()
    leverage = np.asarray(ordinary.get_influence().hat_matrix_diag)
    if leverage.max() > 1 - 1e-9:
        raise NotEnoughDataError(
            "a single run alone tells an environment's coefficient, so that its uncertainty is not "
            "defined"
        )
    fit = model.fit(cov_type="HC3", use_t=True)
    interval = fit.conf_int()
    names = model.exog_names
    return EnergyRegression(
        formula=formula,
        n=int(fit.nobs),
        architectures=data["architecture"].nunique(),
        coefficients=pd.DataFrame(
            {
                "term": [readable_name(term) for term in names],
                "estimate": fit.params.to_numpy(),
                "ci_low": interval[0].to_numpy(),
                "ci_high": interval[1].to_numpy(),
                "p": fit.pvalues.to_numpy(),
            }
        ),
        slopes=_slopes(fit, names, data["environment"].unique()),
        anova=_type_ii(ordinary),
        r_squared=float(fit.rsquared),
        fitted=np.asarray(fit.fittedvalues),
        residuals=np.asarray(fit.resid),
        leverage=leverage,
        vif=_inflation(model),
        breusch_pagan_p=float(het_breuschpagan(fit.resid, model.exog)[1]),
        shapiro_p=shapiro_wilk(np.asarray(fit.resid))[1],
        unseen_architecture_error=leave_one_out(data, formula, "architecture"),
        unseen_environment_error=leave_one_out(
            data, formula_of(estimable_terms(data, ("log_gflops", "log_parameters"))), "environment"
        ),
    )


def _slopes(fit: Any, names: Sequence[str], environments: Sequence[str]) -> pd.DataFrame:
    if not any("C(environment)" in name for name in names):
        environments = environments[:1]
    rows = []
    for environment in environments:
        own = ("log_gflops", f"log_gflops:C(environment)[T.{environment}]")
        test = fit.t_test(np.array([float(name in own) for name in names]))
        rows.append((environment, test.effect.item(), *test.conf_int().ravel().tolist()))
    return pd.DataFrame(rows, columns=["environment", "exponent", "ci_low", "ci_high"])


def _type_ii(ordinary: Any) -> pd.DataFrame:
    with warnings.catch_warnings(action="ignore"):
        table = anova_lm(ordinary, typ=2, robust="hc3").reset_index(names="term")
    table = table[table["term"] != "Residual"]
    return pd.DataFrame(
        {
            "term": [TERMS[term] for term in table["term"]],
            "f": table["F"].to_numpy(),
            "df1": table["df"].to_numpy(),
            "df2": float(ordinary.df_resid),
            "p": table["PR(>F)"].to_numpy(),
        }
    )


def _inflation(model: Any) -> pd.DataFrame:
    vif = {
        readable_name(name): float(variance_inflation_factor(model.exog, i))
        for i, name in enumerate(model.exog_names)
        if name != "Intercept"
    }
    return pd.DataFrame(vif.items(), columns=["term", "vif"])
