"""Regression with a random intercept for each architecture."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLMResultsWrapper

from greencv_core.analysis.regression.data import (
    REPORTED,
    estimable_terms,
    formula_of,
    logarithms,
    readable_name,
)
from greencv_core.analysis.result import CONFIDENCE, NotEnoughDataError

FEWEST_FOR_MIXED = 5
"""Architectures needed to estimate their spread."""


@dataclass(frozen=True)
class MixedModel:
    """Log10 energy per image with a random intercept for each architecture, by REML."""

    coefficients: pd.DataFrame
    """term, estimate, ci_low, ci_high, p; the degrees of freedom of GFLOPs and parameters are
    those of the architectures."""
    architectures: int
    architecture_sd: float
    """Standard deviation of log10 energy per image between architectures of equal complexity."""
    residual_sd: float

    def sentence(self) -> str:
        """Describe the exponent, and the spread of architectures of equal complexity."""
        row = self.coefficients.set_index("term").loc["log10(GFLOPs)"]
        return (
            "With architectures as a sample of all there could be (a random intercept for each of "
            f"{self.architectures}), the exponent of GFLOPs is {row['estimate']:.2f} (95 % "
            f"interval {row['ci_low']:.2f} to {row['ci_high']:.2f}); at equal complexity, "
            f"architectures differ by a factor of {10**self.architecture_sd:.2f} (one standard "
            f"deviation), runs of one by {10**self.residual_sd:.2f}."
        )


def mixed_model(runs: pd.DataFrame) -> MixedModel:
    """Fit the regression with a random intercept for each architecture.

    Parameters enter with at least six architectures.
    """
    data = logarithms(runs)
    architectures = data["architecture"].nunique()
    if architectures < FEWEST_FOR_MIXED:
        raise NotEnoughDataError(
            f"a random effect needs at least {FEWEST_FOR_MIXED} architectures, and there are "
            f"{architectures}"
        )
    terms = estimable_terms(data, REPORTED)
    if architectures <= FEWEST_FOR_MIXED:
        terms = [term for term in terms if term != "log_parameters"]
    coefficients = smf.ols(formula_of(terms), data).exog.shape[1]
    if len(data) <= architectures + coefficients:
        raise NotEnoughDataError(
            f"a mixed model of {architectures} architectures and {coefficients} coefficients needs "
            f"more than {architectures + coefficients} runs, and there are {len(data)}"
        )
    with warnings.catch_warnings(action="ignore"):
        try:
            fit = smf.mixedlm(formula_of(terms), data, groups=data["architecture"]).fit(
                reml=True, method=["powell"]
            )
        except (np.linalg.LinAlgError, ValueError) as error:
            raise NotEnoughDataError("the mixed model cannot be fitted to these runs") from error
    if not fit.converged or not np.isfinite(fit.bse_fe).all():
        raise NotEnoughDataError("the mixed model does not converge on these runs")
    return MixedModel(
        coefficients=_mixed_coefficients(fit, architectures, len(data)),
        architectures=architectures,
        architecture_sd=float(np.sqrt(max(0.0, float(fit.cov_re.iloc[0, 0])))),
        residual_sd=float(np.sqrt(fit.scale)),
    )


def _mixed_coefficients(fit: MixedLMResultsWrapper, architectures: int, n: int) -> pd.DataFrame:
    names = list(fit.fe_params.index)
    of_architecture = {"Intercept", "log_gflops", "log_parameters"} & set(names)
    rows = []
    for name in names:
        between = name in of_architecture
        df = architectures - len(of_architecture) if between else n - architectures - len(names)
        estimate, error = float(fit.fe_params[name]), float(fit.bse_fe[name])
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, df)) * error
        rows.append(
            {
                "term": readable_name(name),
                "estimate": estimate,
                "ci_low": estimate - half,
                "ci_high": estimate + half,
                "p": 2 * float(stats.t.sf(abs(estimate / error), df)),
            }
        )
    return pd.DataFrame(rows)
