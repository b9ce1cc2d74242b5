"""Energy explained by complexity and environment: regressions, compared and diagnosed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from numpy.typing import NDArray
from patsy import dmatrix
from scipy import linalg, stats
from statsmodels.regression.mixed_linear_model import MixedLMResultsWrapper
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.diagnostic import het_breuschpagan
from statsmodels.stats.outliers_influence import variance_inflation_factor

from greencv_core.analysis.attempt import NotEnoughDataError
from greencv_core.analysis.interaction import welch_james
from greencv_core.analysis.levels import ALPHA
from greencv_core.analysis.wording import listed, number, p_value, percent

FEWEST_FOR_PARAMETERS = 4
"""Architectures; with fewer nothing is left to tell two slopes apart."""
FEWEST_FOR_MIXED = 5
"""Architectures from which on their spread can be estimated at all."""
LARGE_VIF = 5.0
_TERMS: Mapping[str, str] = MappingProxyType(
    {
        "log_gflops": "log10(GFLOPs)",
        "log_parameters": "log10(parameters)",
        "C(environment)": "environment",
        "log_gflops:C(environment)": "log10(GFLOPs) x environment",
        "log_parameters:C(environment)": "log10(parameters) x environment",
        "Intercept": "intercept",
        "Residual": "residual",
    }
)
_STEPS = ("log_gflops", "C(environment)", "log_gflops:C(environment)", "log_parameters",
          "log_parameters:C(environment)")  # fmt: skip
_REPORTED = _STEPS[:4]


@dataclass(frozen=True)
class EnergyRegression:
    """Ordinary least squares of log10 energy per image, with HC3 standard errors.

    GFLOPs and parameters are centred at the architectures' mean, so that an environment's
    coefficient is its effect there. Runs of one architecture share its GFLOPs and parameters: what
    tells the slopes is the number of architectures; the intervals follow the runs and are too
    narrow for a new one.
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
    fitted: NDArray[np.float64]
    residuals: NDArray[np.float64]
    leverage: NDArray[np.float64]
    vif: pd.DataFrame
    """term, vif."""
    breusch_pagan_p: float
    shapiro_p: float
    unseen_architecture_error: float | None
    """Median absolute relative error when each architecture is predicted from the others."""
    unseen_environment_error: float | None
    """The same of each environment, by a model that knows complexity alone."""

    def sentence(self) -> str:
        """Say how energy grows with GFLOPs and how much the model explains."""
        parts = [
            f"{number(10**row.exponent)} times the energy per image"
            + (f" in {row.environment}" if len(self.slopes) > 1 else "")
            + f" (exponent {row.exponent:.2f}, 95 % interval {row.ci_low:.2f} to {row.ci_high:.2f})"
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
        """Say what the diagnostics found."""
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

    def table(self) -> pd.DataFrame:
        """Return the coefficients."""
        return self.coefficients


@dataclass(frozen=True)
class NestedModels:
    """The regression built term by term: what each adds, and what is still unexplained."""

    models: pd.DataFrame
    """model, coefficients, adjusted_r_squared, aic, added_f and added_p (Wald, HC3, of the terms
    added), lack_of_fit_f and lack_of_fit_p (Welch-James, of all differences between conditions
    that the model leaves), typical_misfit (median factor between a condition's geometric mean and
    the model, less 1), unseen_architecture_error."""
    environments: int

    def sentence(self) -> str:
        """Say whether GFLOPs are enough, and whether the whole model is."""
        simple, last = self._by_gflops, self.models.iloc[-1]
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
        if not any("parameters" in name for name in self.models["model"]):
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

    @property
    def _by_gflops(self) -> pd.Series:
        """The fullest model that knows no other complexity than GFLOPs."""
        simple = self.models[~self.models["model"].str.contains("parameters")]
        return simple.iloc[-1]


@dataclass(frozen=True)
class MixedModel:
    """Log10 energy per image with a random intercept for each architecture, by REML."""

    coefficients: pd.DataFrame
    """term, estimate, ci_low, ci_high, p; of GFLOPs and parameters by t with as many degrees of
    freedom as architectures less what is estimated of them."""
    architectures: int
    architecture_sd: float
    """Of log10 energy per image, at equal complexity."""
    residual_sd: float

    def sentence(self) -> str:
        """Say how far architectures of equal complexity lie apart."""
        row = self.coefficients.set_index("term").loc["log10(GFLOPs)"]
        return (
            "With architectures as a sample of all there could be (a random intercept for each of "
            f"{self.architectures}), the exponent of GFLOPs is {row['estimate']:.2f} (95 % "
            f"interval {row['ci_low']:.2f} to {row['ci_high']:.2f}); at equal complexity, "
            f"architectures differ by a factor of {10**self.architecture_sd:.2f} (one standard "
            f"deviation), runs of one by {10**self.residual_sd:.2f}."
        )


def energy_regression(runs: pd.DataFrame) -> EnergyRegression:
    """Regress log10 energy per image on log10 GFLOPs, log10 parameters and the environment.

    Parameters enter from four architectures on, where the runs tell them, the environment and its
    interaction with GFLOPs where there are at least two.

    Raises
    ------
    NotEnoughDataError
        There are fewer than three architectures, no more runs than coefficients, no spread, or a
        term that a single run tells.
    """
    data = _logarithms(runs)
    formula = _formula(_possible(data, _REPORTED))
    model = smf.ols(formula, data)
    wanted = np.linalg.matrix_rank(model.exog)
    if len(data) <= wanted:
        raise NotEnoughDataError(
            f"a regression with {wanted} coefficients needs more than {len(data)} runs"
        )
    if np.ptp(data["log_energy"]) == 0:
        raise NotEnoughDataError("all runs took the same energy: there is nothing to explain")
    plain = model.fit()
    leverage = np.asarray(plain.get_influence().hat_matrix_diag)
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
                "term": [_plain(term) for term in names],
                "estimate": fit.params.to_numpy(),
                "ci_low": interval[0].to_numpy(),
                "ci_high": interval[1].to_numpy(),
                "p": fit.pvalues.to_numpy(),
            }
        ),
        slopes=_slopes(fit, names, list(data["environment"].unique())),
        anova=_type_ii(plain),
        r_squared=float(fit.rsquared),
        fitted=np.asarray(fit.fittedvalues),
        residuals=np.asarray(fit.resid),
        leverage=leverage,
        vif=_inflation(model),
        breusch_pagan_p=float(het_breuschpagan(fit.resid, model.exog)[1]),
        shapiro_p=_shapiro_p(np.asarray(fit.resid)),
        unseen_architecture_error=_leave_one_out(data, formula, "architecture"),
        unseen_environment_error=_leave_one_out(
            data, _formula(_possible(data, ("log_gflops", "log_parameters"))), "environment"
        ),
    )


def nested_models(runs: pd.DataFrame) -> NestedModels:
    """Build the regression term by term, from GFLOPs alone.

    Raises
    ------
    NotEnoughDataError
        As :func:`energy_regression`.
    """
    data = _logarithms(runs)
    if np.ptp(data["log_energy"]) == 0:
        raise NotEnoughDataError("all runs took the same energy: there is nothing to explain")
    steps = _possible(data, _STEPS)
    rows = []
    for i, step in enumerate(steps):
        formula = _formula(steps[: i + 1])
        model = smf.ols(formula, data)
        if len(data) <= np.linalg.matrix_rank(model.exog):
            break
        fit = model.fit(cov_type="HC3", use_t=True)
        added = [n for n in model.exog_names if _plain_step(n) == step]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wald = fit.wald_test(
                np.eye(len(model.exog_names))[[model.exog_names.index(n) for n in added]],
                use_f=True, scalar=True,
            )  # fmt: skip
        lack, misfit = _lack_of_fit(data, fit)
        rows.append(
            {
                "model": ("+ " if i else "") + _TERMS[step],
                "coefficients": len(model.exog_names),
                "adjusted_r_squared": float(fit.rsquared_adj),
                "aic": float(fit.aic),
                "added_f": float(wald.statistic),
                "added_p": float(wald.pvalue),
                "lack_of_fit_f": lack[0],
                "lack_of_fit_p": lack[1],
                "typical_misfit": misfit,
                "unseen_architecture_error": _leave_one_out(data, formula, "architecture"),
            }
        )
    if not rows:
        raise NotEnoughDataError(f"a regression needs more than {len(data)} runs")
    return NestedModels(pd.DataFrame(rows), data["environment"].nunique())


def mixed_model(runs: pd.DataFrame) -> MixedModel:
    """Fit the regression with a random intercept for each architecture.

    Parameters of the architectures enter from six architectures on.

    Raises
    ------
    NotEnoughDataError
        There are fewer than five architectures, or the model does not converge on these runs.
    """
    data = _logarithms(runs)
    architectures = data["architecture"].nunique()
    if architectures < FEWEST_FOR_MIXED:
        raise NotEnoughDataError(
            f"a random effect needs at least {FEWEST_FOR_MIXED} architectures, and there are "
            f"{architectures}"
        )
    terms = _possible(data, _REPORTED)
    if architectures <= FEWEST_FOR_MIXED:
        terms = [term for term in terms if term != "log_parameters"]
    coefficients = dmatrix(" + ".join(terms), data).shape[1]
    if len(data) <= architectures + coefficients:
        raise NotEnoughDataError(
            f"a mixed model of {architectures} architectures and {coefficients} coefficients needs "
            f"more than {architectures + coefficients} runs, and there are {len(data)}"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fit = smf.mixedlm(_formula(terms), data, groups=data["architecture"]).fit(
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


def _logarithms(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the logarithms; predictors are centred at the mean of the architectures."""
    columns = {"log_gflops": "gflops_per_image", "log_parameters": "parameters"}
    if not runs["parameters"].notna().any():
        del columns["log_parameters"]  # others' data may not tell them
    needed = ["energy_j_per_image", *columns.values()]
    runs = runs.astype(dict.fromkeys(needed, float))
    # Logarithms: a run that lacks one of them, or has none of it, cannot take part.
    runs = runs[(runs[needed] > 0).all(axis="columns")]
    architectures = runs["architecture"].nunique()
    if architectures < 3:
        raise NotEnoughDataError(
            f"a regression on complexity needs at least 3 architectures, and there "
            f"{'is' if architectures == 1 else 'are'} {architectures}"
        )
    data = pd.DataFrame(
        {
            "architecture": runs["architecture"].astype(str).to_numpy(),
            "environment": runs["environment"].astype(str).to_numpy(),
            "log_energy": np.log10(runs["energy_j_per_image"].to_numpy()),
        }
    )
    for name, column in columns.items():
        data[name] = np.log10(runs[column].to_numpy())
        data[name] -= data.groupby("architecture")[name].mean().mean()
    if np.ptp(data["log_gflops"]) == 0:
        raise NotEnoughDataError("all architectures have the same GFLOPs")
    return data


def _possible(data: pd.DataFrame, terms: Sequence[str]) -> list[str]:
    """Return the terms that these runs can tell apart."""
    one_environment = data["environment"].nunique() == 1
    few = data["architecture"].nunique() < FEWEST_FOR_PARAMETERS or "log_parameters" not in data
    kept: list[str] = []
    for term in terms:
        if (one_environment and "environment" in term) or (few and "parameters" in term):
            continue
        design = dmatrix(" + ".join([*kept, term]), data)
        # An environment that too few architectures were trained in has no slope of its own.
        if np.linalg.matrix_rank(design) == design.shape[1]:
            kept.append(term)
        elif term == "C(environment)":
            raise NotEnoughDataError(
                "each architecture was trained in an environment of its own, so that complexity "
                "and environment cannot be told apart"
            )
    return kept


def _formula(terms: Sequence[str]) -> str:
    return f"log_energy ~ {' + '.join(terms)}"


def _slopes(fit: Any, names: Sequence[str], environments: Sequence[str]) -> pd.DataFrame:
    rows = []
    for environment in environments:
        contrast = np.zeros(len(names))
        contrast[list(names).index("log_gflops")] = 1
        own = f"log_gflops:C(environment)[T.{environment}]"
        if own in names:
            contrast[list(names).index(own)] = 1
        test = fit.t_test(contrast)
        low, high = np.ravel(test.conf_int())
        rows.append(
            {
                "environment": environment,
                "exponent": float(np.ravel(test.effect)[0]),
                "ci_low": float(low),
                "ci_high": float(high),
            }
        )
        if not any("C(environment)" in name for name in names):
            break
    return pd.DataFrame(rows)


def _type_ii(plain: Any) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = anova_lm(plain, typ=2, robust="hc3").reset_index(names="term")
    residual = float(table.loc[table["term"] == "Residual", "df"].iloc[0])
    table = table[table["term"] != "Residual"]
    return pd.DataFrame(
        {
            "term": [_TERMS[term] for term in table["term"]],
            "f": table["F"].to_numpy(),
            "df1": table["df"].to_numpy(),
            "df2": residual,
            "p": table["PR(>F)"].to_numpy(),
        }
    )


def _inflation(model: Any) -> pd.DataFrame:
    rows = [
        {"term": _plain(name), "vif": float(variance_inflation_factor(model.exog, i))}
        for i, name in enumerate(model.exog_names)
        if name != "Intercept"
    ]
    return pd.DataFrame(rows)


def _shapiro_p(residuals: NDArray[np.float64]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of many values it says that p is approximate
        return float(stats.shapiro(residuals).pvalue)


def _lack_of_fit(data: pd.DataFrame, fit: Any) -> tuple[tuple[float, float], float]:
    """Return the F and p of what a model leaves between conditions, and its typical size."""
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
        return (np.nan, np.nan), misfit
    test = welch_james(
        of_cell["mean"].to_numpy(),
        of_cell["variance"].to_numpy(),
        of_cell["n"].to_numpy(dtype=float),
        contrasts,
    )
    return (test.f, test.p), misfit


def _leave_one_out(data: pd.DataFrame, formula: str, column: str) -> float | None:
    levels = data[column].unique()
    if len(levels) < (4 if column == "architecture" else 2):
        return None
    errors = []
    for level in levels:
        seen, unseen = data[data[column] != level], data[data[column] == level]
        # An environment that no other architecture was trained in has no coefficient.
        if "environment" in formula:
            unseen = unseen[unseen["environment"].isin(seen["environment"])]
        model = smf.ols(formula, seen)
        if unseen.empty or np.linalg.matrix_rank(model.exog) < model.exog.shape[1]:
            continue
        predicted = 10 ** model.fit().predict(unseen)
        errors.append(np.abs(predicted / 10 ** unseen["log_energy"] - 1))
    return float(np.median(np.concatenate(errors))) if errors else None


def _mixed_coefficients(fit: MixedLMResultsWrapper, architectures: int, n: int) -> pd.DataFrame:
    names = list(fit.fe_params.index)
    of_architecture = [name for name in names if name in ("Intercept", "log_gflops",
                                                          "log_parameters")]  # fmt: skip
    rows = []
    for name in names:
        between = name in of_architecture
        df = architectures - len(of_architecture) if between else n - architectures - len(names)
        estimate, error = float(fit.fe_params[name]), float(fit.bse_fe[name])
        half = float(stats.t.ppf(0.975, df)) * error
        rows.append(
            {
                "term": _plain(name),
                "estimate": estimate,
                "ci_low": estimate - half,
                "ci_high": estimate + half,
                "p": 2 * float(stats.t.sf(abs(estimate / error), df)),
            }
        )
    return pd.DataFrame(rows)


def _plain_step(name: str) -> str:
    """Return the step that a column of the design belongs to."""
    return name.split("[")[0]


def _plain(name: str) -> str:
    if name in _TERMS:
        return _TERMS[name]
    step, _, level = name.partition("[T.")
    return f"{_TERMS[step]}: {level.rstrip(']')}"
