"""Regression of energy on complexity in each environment, with diagnostics."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from greencv_core.analysis.regression.data import (
    FEWEST,
    PREDICTORS,
    Fit,
    design_of,
    leave_one_out,
    logarithms,
    means_of,
)
from greencv_core.analysis.selection import CONDITION, condition_name, groups_but
from greencv_core.utils.text import decimals, left_out_clause, listed, number, percent

LARGE_VIF = 5.0


@dataclass(frozen=True)
class EnergyRegression:
    """A line of log10 energy per image over log10 GFLOPs in each environment.

    The points of a line are the architectures' means, so that its interval holds for other
    architectures: more runs of the same ones do not narrow it. GFLOPs and parameters are centred at
    the geometric mean of the architectures.
    """

    lines: pd.DataFrame
    """environment, architectures, level_j (energy per image at the centre), exponent (of GFLOPs),
    ci_low, ci_high, df, p; parameters_exponent, parameters_low, parameters_high and parameters_p
    from six architectures on."""
    conditions: pd.DataFrame
    """architecture, environment, n, fitted, residual (of log10 energy per image) and leverage."""
    n: int
    architectures: int
    r_squared: float
    residual_sd: float
    """Standard deviation of architectures' log10 energy per image about the lines."""
    vif: float | None
    """Variance inflation of GFLOPs and parameters."""
    unseen_architecture_error: float | None
    """Median absolute relative error of each architecture predicted from the others."""
    unseen_environment_error: float | None
    """The same for each environment, by complexity alone."""
    left_out: tuple[str, ...] = ()
    """Environments with too few architectures for a line, and conditions of others without energy
    or GFLOPs."""

    def sentence(self) -> str:
        """Describe how energy grows with GFLOPs and how much the model explains."""
        parts = [
            f"{number(10**row.exponent)} times the energy per image"
            + (f" on {row.environment}" if len(self.lines) > 1 else "")
            + f" (exponent {decimals(row.exponent, 2)}, 95% interval {decimals(row.ci_low, 2)} "
            f"to {decimals(row.ci_high, 2)})"
            for row in self.lines.itertuples()
        ]
        text = f"Ten times the GFLOPs costs {listed(parts)}"
        if self.vif is not None:
            text += ", at equal parameters"
        why = f"fewer than {FEWEST} architectures, or energy or GFLOPs of zero or unknown"
        text += left_out_clause(self.left_out, why)
        text += (
            f". The intervals treat the {self.architectures} architectures as units, not their "
            f"{self.n} runs; architectures scatter about the line by a factor of "
            f"{10**self.residual_sd:.2f} (one standard deviation). The lines explain "
            f"{percent(self.r_squared, 0)} of the variance of log energy"
        )
        if self.unseen_architecture_error is not None:
            text += (
                ". The median prediction error for an unseen architecture is "
                f"{percent(self.unseen_architecture_error, 0)}"
            )
        if self.unseen_environment_error is not None:
            text += f"; for an unseen environment it is {percent(self.unseen_environment_error, 0)}"
        return f"{text}."

    def diagnosis(self) -> str:
        """Describe which condition strays most, and how far the predictors overlap."""
        worst = self.conditions.loc[self.conditions["residual"].abs().idxmax()]
        factor = 10 ** float(worst["residual"])
        more = "more" if factor > 1 else "less"
        text = (
            f"{condition_name(worst[['architecture', 'environment']])} lies furthest from its "
            "line: it uses "
            f"{percent(abs(factor - 1), 0)} {more} energy than predicted."
        )
        if self.vif is not None:
            overlap = (
                "are strongly correlated, so their exponents are uncertain"
                if self.vif > LARGE_VIF
                else "are hardly correlated"
            )
            text += f" GFLOPs and parameters {overlap} (variance inflation {self.vif:.1f})."
        return text


def energy_regression(runs: pd.DataFrame) -> EnergyRegression:
    """Regress log10 energy per image on log10 GFLOPs in each environment.

    Parameters enter where each environment has at least six architectures.
    """
    data = logarithms(runs)
    means = means_of(data)
    names = ["intercept", *(name for name in PREDICTORS if name in means)]
    one, each = dict.fromkeys(names, False), dict.fromkeys(names, True)
    rows, parts, squares, df = [], [], 0.0, 0
    for name, part in means.groupby("environment", sort=False):
        fit = Fit(design_of(part, one), part["log_energy"].to_numpy())
        rows.append(_line(str(name), fit))
        squares += float(fit.residuals @ fit.residuals)
        df += len(part) - len(names)
        parts.append(part.assign(residual=fit.residuals, leverage=fit.leverage))
    conditions = pd.concat(parts)
    around = means["log_energy"] - means["log_energy"].mean()
    return EnergyRegression(
        lines=pd.DataFrame(rows),
        conditions=conditions.assign(fitted=conditions["log_energy"] - conditions["residual"])[
            ["architecture", "environment", "n", "fitted", "residual", "leverage"]
        ].reset_index(drop=True),
        n=len(data),
        architectures=means["architecture"].nunique(),
        r_squared=1 - squares / float(around @ around),
        residual_sd=math.sqrt(squares / df),
        vif=_inflation(means) if len(names) == 3 else None,
        unseen_architecture_error=leave_one_out(means, design_of(means, each), "architecture"),
        unseen_environment_error=leave_one_out(means, design_of(means, one), "environment"),
        left_out=_left_out(runs, means),
    )


def _left_out(runs: pd.DataFrame, means: pd.DataFrame) -> tuple[str, ...]:
    lines = set(means["environment"])
    conditions = {condition_name(row) for row in means[list(CONDITION)].to_numpy()}
    fitted = runs[runs["environment"].isin(lines)]
    return (
        *groups_but(runs, "environment", lines),
        *groups_but(fitted, CONDITION, conditions),
    )


def _line(environment: str, fit: Fit) -> dict[str, object]:
    level, exponent, *others = map(fit.estimate, range(len(fit.estimates)))
    row: dict[str, object] = {
        "environment": environment,
        "architectures": len(fit.residuals),
        "level_j": 10**level.value,
        "exponent": exponent.value,
        "ci_low": exponent.low,
        "ci_high": exponent.high,
        "df": fit.df,
        "p": exponent.p,
    }
    for other in others:
        row |= {
            "parameters_exponent": other.value,
            "parameters_low": other.low,
            "parameters_high": other.high,
            "parameters_p": other.p,
        }
    return row


def _inflation(means: pd.DataFrame) -> float:
    of_architectures = means.groupby("architecture")[list(PREDICTORS)].mean()
    r = float(of_architectures.corr().iloc[0, 1])
    return 1 / (1 - r * r)
