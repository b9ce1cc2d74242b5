"""Data, terms and prediction error that the regressions share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf

from greencv_core.analysis.result import NotEnoughDataError

FEWEST_FOR_PARAMETERS = 4
"""Architectures needed to estimate two slopes."""
TERMS = {
    "log_gflops": "log10(GFLOPs)",
    "log_parameters": "log10(parameters)",
    "C(environment)": "environment",
    "log_gflops:C(environment)": "log10(GFLOPs) x environment",
    "log_parameters:C(environment)": "log10(parameters) x environment",
    "Intercept": "intercept",
}
STEPS = ("log_gflops", "C(environment)", "log_gflops:C(environment)", "log_parameters",
          "log_parameters:C(environment)")  # fmt: skip
"""Terms in the order in which they enter."""
REPORTED = STEPS[:4]
"""Terms of the reported regression."""


def logarithms(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the base-10 logarithms of energy and complexity.

    Columns: architecture, environment, log_energy (J per image), log_gflops and, if known,
    log_parameters; the predictors are centred at the mean of the architectures.
    """
    columns = {"log_gflops": "gflops_per_image", "log_parameters": "parameters"}
    if not runs["parameters"].notna().any():
        del columns["log_parameters"]
    needed = ["energy_j_per_image", *columns.values()]
    runs = runs.astype(dict.fromkeys(needed, float))
    # Logarithms need positive values.
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
    if np.ptp(data["log_energy"]) == 0:
        raise NotEnoughDataError("all runs took the same energy: there is nothing to explain")
    return data


def estimable_terms(data: pd.DataFrame, terms: Sequence[str]) -> list[str]:
    """Return the terms that these runs can estimate."""
    one_environment = data["environment"].nunique() == 1
    few = data["architecture"].nunique() < FEWEST_FOR_PARAMETERS or "log_parameters" not in data
    kept: list[str] = []
    for term in terms:
        if (one_environment and "environment" in term) or (few and "parameters" in term):
            continue
        design = smf.ols(formula_of([*kept, term]), data).exog
        # An environment of too few architectures has no slope.
        if np.linalg.matrix_rank(design) == design.shape[1]:
            kept.append(term)
        elif term == "C(environment)":
            raise NotEnoughDataError(
                "each architecture was trained in an environment of its own, so that complexity "
                "and environment cannot be told apart"
            )
    return kept


def formula_of(terms: Sequence[str]) -> str:
    """Return the formula of the regression on these terms."""
    return f"log_energy ~ {' + '.join(terms)}"


def leave_one_out(data: pd.DataFrame, formula: str, column: str) -> float | None:
    """Return the prediction error for a level of a column that the model was fitted without.

    The median absolute relative error over all runs; None with fewer than four architectures or
    two environments.
    """
    levels = data[column].unique()
    if len(levels) < (4 if column == "architecture" else 2):
        return None
    errors = []
    for level in levels:
        seen, unseen = data[data[column] != level], data[data[column] == level]
        # An environment without other architectures has no coefficient.
        if "environment" in formula:
            unseen = unseen[unseen["environment"].isin(seen["environment"])]
        model = smf.ols(formula, seen)
        if unseen.empty or np.linalg.matrix_rank(model.exog) < model.exog.shape[1]:
            continue
        predicted = 10 ** model.fit().predict(unseen)
        errors.append(np.abs(predicted / 10 ** unseen["log_energy"] - 1))
    return float(np.median(np.concatenate(errors))) if errors else None


def readable_name(name: str) -> str:
    """Return a coefficient's readable name: ``environment: gpu``."""
    if name in TERMS:
        return TERMS[name]
    step, _, level = name.partition("[T.")
    return f"{TERMS[step]}: {level.rstrip(']')}"
