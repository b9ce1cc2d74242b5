"""What the regressions share: conditions' means, and least squares with architectures as units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from greencv_core.analysis.result import CONFIDENCE, NotEnoughDataError, Values
from greencv_core.analysis.sessions import find_sessions

FEWEST = 3
"""Architectures of different GFLOPs, as a line through fewer leaves nothing to judge it by."""
FEWEST_FOR_PARAMETERS = 6
"""Architectures for two exponents; with fewer, two degrees of freedom or less are left."""
PREDICTORS = ("log_gflops", "log_parameters")
_CONDITION = ["architecture", "environment"]


def logarithms(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the base-10 logarithms of energy and complexity, of environments that have a line.

    Columns: architecture, environment, session, log_energy (J per image), log_gflops and, if there
    are enough architectures, log_parameters; the predictors are centred at the mean of the
    architectures.
    """
    columns = {"log_energy": "energy_j_per_image", "log_gflops": "gflops_per_image"}
    runs = runs.astype(dict.fromkeys([*columns.values(), "parameters"], float))
    # Logarithms need positive values.
    runs = runs[(runs[list(columns.values())] > 0).all(axis="columns")]
    sizes = runs.groupby("environment", observed=True)["gflops_per_image"].nunique()
    most = int(sizes.max()) if len(sizes) else 0
    if most < FEWEST:
        raise NotEnoughDataError(
            f"a regression on complexity needs at least {FEWEST} architectures of different GFLOPs "
            f"in an environment, and there {'is' if most == 1 else 'are'} {most}"
        )
    runs = runs[runs["environment"].isin(sizes.index[sizes >= FEWEST])]
    trained = runs.groupby("environment", observed=True)["architecture"].nunique()
    if trained.min() >= FEWEST_FOR_PARAMETERS and (runs["parameters"] > 0).all():
        columns["log_parameters"] = "parameters"
    data = pd.DataFrame(
        {
            "architecture": runs["architecture"].astype(str).to_numpy(),
            "environment": runs["environment"].astype(str).to_numpy(),
            "session": find_sessions(runs).to_numpy(),
        }
    )
    for name, column in columns.items():
        data[name] = np.log10(runs[column].to_numpy())
        if name != "log_energy":
            data[name] -= data.groupby("architecture")[name].mean().mean()
    if np.ptp(data["log_energy"]) == 0:
        raise NotEnoughDataError("all runs took the same energy: there is nothing to explain")
    return data


def means_of(data: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each condition: n, the means, and the variance of log energy."""
    groups = data.drop(columns="session").groupby(_CONDITION, sort=False)
    means = groups.mean()
    return means.assign(variance=groups["log_energy"].var(), n=groups.size()).reset_index()


def shared_variance(data: pd.DataFrame, weights: Mapping[str, float], df: int) -> float:
    """Return what sessions add to the variance of a weighted sum of environments.

    That is the variance of the sum's mean over architectures, beyond what independent runs explain:
    the analysis of variance of architectures crossed with sessions. Environments with the same
    sessions are taken together. Of one session nothing is known.

    Parameters
    ----------
    data : pandas.DataFrame
        Columns architecture, environment, session and log_energy.
    weights : mapping
        Weight of each environment in the sum.
    df : int
        Degrees of freedom of the t quantile that it will be multiplied by. It is larger by how much
        the quantile of the sessions' own, fewer ones is: in simulations, this holds where
        Satterthwaite's degrees of freedom do not.
    """
    cells = data.groupby(["environment", "architecture", "session"])["log_energy"].mean()
    known = set(cells.index.get_level_values(0))
    tables = [w * cells.loc[name].unstack() for name, w in weights.items() if name in known]
    if len(tables) > 1 and all(set(t.columns) == set(tables[0].columns) for t in tables):
        tables = [sum(tables[1:], tables[0])]
    variance = spread = 0.0
    for table in tables:
        residuals = table.sub(table.mean(axis="columns"), axis="index").dropna(how="all")
        of_sessions = residuals.mean().dropna()
        cells_n, sessions = int(residuals.count().sum()), len(of_sessions)
        left = cells_n - len(residuals) - sessions + 1
        if sessions < 2 or left < 1:
            continue
        between = float(of_sessions @ of_sessions) / (sessions - 1) / sessions
        noise = float((residuals.sub(of_sessions) ** 2).sum().sum()) / left / cells_n
        added = max(0.0, between - noise)
        variance += added
        spread += added**2 / (sessions - 1)
    if not variance:
        return 0.0
    return variance * (quantile(variance**2 / spread) / quantile(df)) ** 2


def quantile(df: float) -> float:
    """Return Student's t that a 95% interval takes."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, df))


class Estimate(NamedTuple):
    """A figure with its 95% interval, and the p value of its being 0."""

    value: float
    low: float
    high: float
    p: float


class Fit:
    """Least squares over architectures, one point each.

    Intervals use Student's t with the degrees of freedom of the architectures, so that they hold
    for others of the kind.
    """

    def __init__(self, design: Values, y: Values) -> None:
        points, coefficients = design.shape
        if np.linalg.matrix_rank(design) < coefficients:
            raise NotEnoughDataError("GFLOPs and parameters of the architectures are proportional")
        inverse = np.linalg.inv(design.T @ design)
        self.df = points - coefficients
        self.estimates: Values = inverse @ design.T @ y
        self.residuals: Values = y - design @ self.estimates
        self.leverage: Values = np.einsum("ij,jk,ik->i", design, inverse, design)
        self.covariance: Values = inverse * float(self.residuals @ self.residuals) / self.df

    def estimate(self, place: int, shared: float = 0.0) -> Estimate:
        """Return a coefficient; ``shared`` adds to its variance."""
        value = float(self.estimates[place])
        error = math.sqrt(float(self.covariance[place, place]) + shared)
        half = quantile(self.df) * error
        p = 2 * float(stats.t.sf(abs(value) / error, self.df)) if error else float(value == 0)
        return Estimate(value, value - half, value + half, p)


def design_of(means: pd.DataFrame, own: Mapping[str, bool]) -> Values:
    """Return the design of a regression.

    ``own`` states for ``intercept`` and each predictor in it whether every environment has its own.
    """
    each = pd.get_dummies(means["environment"]).to_numpy(dtype=float)
    values = means.assign(intercept=1.0)
    return np.hstack(
        [
            values[[name]].to_numpy(dtype=float) * (each if separate else 1.0)
            for name, separate in own.items()
        ]
    )


def leave_one_out(means: pd.DataFrame, design: Values, column: str) -> float | None:
    """Return the prediction error for a level of a column that the model was fitted without.

    The median absolute relative error over all conditions; None with fewer than four architectures
    or two environments.
    """
    levels, y = means[column].unique(), means["log_energy"].to_numpy()
    if len(levels) < (4 if column == "architecture" else 2):
        return None
    errors = []
    for level in levels:
        out = (means[column] == level).to_numpy()
        # An environment without other architectures has no coefficient.
        determined = design[~out].any(axis=0)
        unseen = out & ~design[:, ~determined].any(axis=1)
        seen = design[~out][:, determined]
        if not unseen.any() or np.linalg.matrix_rank(seen) < seen.shape[1]:
            continue
        predicted = design[unseen][:, determined] @ np.linalg.lstsq(seen, y[~out])[0]
        errors.append(np.abs(10 ** (predicted - y[unseen]) - 1))
    return float(np.median(np.concatenate(errors))) if errors else None
