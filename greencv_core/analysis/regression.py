"""Energy explained by complexity: a regression with its diagnostics."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.diagnostic import het_breuschpagan
from statsmodels.stats.outliers_influence import variance_inflation_factor

from greencv_core.analysis.attempt import NotEnoughDataError
from greencv_core.analysis.wording import number, p_value, percent

RESPONSE = "np.log10(energy_j_per_image)"
GFLOPS = "np.log10(gflops_per_image)"
PARAMETERS = "np.log10(parameters)"
ENVIRONMENT = "C(environment)"


@dataclass(frozen=True)
class EnergyRegression:
    """Ordinary least squares of log10 energy per image, with HC3 standard errors.

    Runs of one architecture share its GFLOPs and parameters, so that what tells the slopes is the
    number of architectures; the intervals follow the runs and are too narrow for a new one.
    """

    formula: str
    n: int
    architectures: int
    coefficients: pd.DataFrame
    """term, estimate, ci_low, ci_high, p; slopes are elasticities."""
    r_squared: float
    fitted: NDArray[np.float64]
    residuals: NDArray[np.float64]
    leverage: NDArray[np.float64]
    vif: pd.DataFrame
    """term, vif."""
    breusch_pagan_p: float
    shapiro_p: float
    unseen_architecture_error: float | None
    """Median absolute relative error when each architecture is predicted from the others."""

    def sentence(self) -> str:
        """Say how energy grows with GFLOPs and how much the model explains."""
        row = self.coefficients.set_index("term").loc["log10(GFLOPs)"]
        text = (
            f"Tenfold GFLOPs go with {number(10 ** row['estimate'])} times the energy per image "
            f"(exponent {row['estimate']:.2f}, 95 % interval {row['ci_low']:.2f} to "
            f"{row['ci_high']:.2f}"
        )
        if "log10(parameters)" in set(self.coefficients["term"]):
            text += ", at equal parameters"
        text += f"); the model explains {percent(self.r_squared, 0)} of the variance of log energy"
        if self.unseen_architecture_error is not None:
            text += (
                f", and misses an architecture that it has not seen by "
                f"{percent(self.unseen_architecture_error, 0)} (median)"
            )
        return (
            f"{text}. This rests on {self.architectures} architectures: their {self.n} runs narrow "
            "the interval, but say nothing of an architecture that is not among them."
        )

    def diagnosis(self) -> str:
        """Say what the diagnostics found."""
        spread = (
            "The residuals' spread depends on the predictors"
            if self.breusch_pagan_p < 0.05
            else "No dependence of the residuals' spread on the predictors was found"
        )
        shape = "are not normal" if self.shapiro_p < 0.05 else "are compatible with normal ones"
        vif = ""
        if len(self.vif) > 1:
            worst = float(self.vif["vif"].max())
            vif = (
                "; the predictors overlap strongly, so their separate slopes are uncertain"
                if worst > 5
                else "; the predictors overlap little"
            )
            vif += f" (largest VIF {worst:.1f})"
        return (
            f"{spread} (Breusch-Pagan, {p_value(self.breusch_pagan_p)}); standard errors are HC3, "
            f"which allows for it. The residuals {shape} (Shapiro-Wilk, {p_value(self.shapiro_p)})"
            f"{vif}."
        )

    def table(self) -> pd.DataFrame:
        """Return the coefficients."""
        return self.coefficients


def energy_regression(runs: pd.DataFrame) -> EnergyRegression:
    """Regress log10 energy per image on log10 GFLOPs, log10 parameters and the environment.

    Parameters enter from four architectures on (with fewer there is nothing left to tell the two
    slopes apart), the environment where there are at least two.

    Raises
    ------
    NotEnoughDataError
        There are fewer than three architectures, or no more runs than coefficients.
    """
    numbers = {"energy_j_per_image": float, "gflops_per_image": float, "parameters": float}
    runs = runs.astype(numbers)
    # Logarithms: a run without one of the three, or with none of it, cannot take part.
    runs = runs[(runs[list(numbers)] > 0).all(axis="columns")]
    architectures = runs["architecture"].nunique()
    if architectures < 3:
        raise NotEnoughDataError(
            f"a regression on complexity needs at least 3 architectures, and there "
            f"{'is' if architectures == 1 else 'are'} {architectures}"
        )
    others = [ENVIRONMENT] if runs["environment"].nunique() > 1 else []
    predictors = [GFLOPS, *([PARAMETERS] if architectures > 3 else []), *others]
    coefficients_wanted = len(predictors) - len(others) + runs["environment"].nunique()
    if len(runs) <= coefficients_wanted:
        raise NotEnoughDataError(
            f"a regression with {coefficients_wanted} coefficients needs more than {len(runs)} runs"
        )
    formula = f"{RESPONSE} ~ {' + '.join(predictors)}"
    fit = smf.ols(formula, runs).fit(cov_type="HC3", use_t=True)
    interval = fit.conf_int()
    coefficients = pd.DataFrame(
        {
            "term": [_plain(term) for term in fit.params.index],
            "estimate": fit.params.to_numpy(),
            "ci_low": interval[0].to_numpy(),
            "ci_high": interval[1].to_numpy(),
            "p": fit.pvalues.to_numpy(),
        }
    )
    design = fit.model.exog
    names = fit.model.exog_names
    vif = pd.DataFrame(
        [
            {"term": _plain(name), "vif": variance_inflation_factor(design, i)}
            for i, name in enumerate(names)
            if name != "Intercept"
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        influence = smf.ols(formula, runs).fit().get_influence()
    return EnergyRegression(
        formula=formula,
        n=int(fit.nobs),
        architectures=architectures,
        coefficients=coefficients,
        r_squared=float(fit.rsquared),
        fitted=np.asarray(fit.fittedvalues),
        residuals=np.asarray(fit.resid),
        leverage=np.asarray(influence.hat_matrix_diag),
        vif=vif,
        breusch_pagan_p=float(het_breuschpagan(fit.resid, design)[1]),
        shapiro_p=float(stats.shapiro(fit.resid).pvalue),
        unseen_architecture_error=_leave_one_out(runs, formula),
    )


def _leave_one_out(runs: pd.DataFrame, formula: str) -> float | None:
    if runs["architecture"].nunique() < 4:
        return None
    errors = []
    for architecture in runs["architecture"].unique():
        seen = runs[runs["architecture"] != architecture]
        unseen = runs[runs["architecture"] == architecture]
        # An environment that no other architecture was trained in has no coefficient.
        unseen = unseen[unseen["environment"].isin(seen["environment"])]
        if unseen.empty:
            continue
        predicted = 10 ** smf.ols(formula, seen).fit().predict(unseen)
        errors.append(np.abs(predicted / unseen["energy_j_per_image"] - 1))
    return float(np.median(np.concatenate(errors))) if errors else None


def _plain(term: str) -> str:
    names = {GFLOPS: "log10(GFLOPs)", PARAMETERS: "log10(parameters)", "Intercept": "intercept"}
    if term in names:
        return names[term]
    return term.replace("C(environment)[T.", "environment: ").rstrip("]")
