"""Whether the effect of the environment depends on the architecture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from statsmodels.stats.anova import anova_lm

from greencv_core.analysis.attempt import NotEnoughDataError
from greencv_core.analysis.wording import left_out_clause, listed, number, p_value


@dataclass(frozen=True)
class Interaction:
    """Two-way analysis of log10 energy per image: architecture x environment."""

    n: int
    anova: pd.DataFrame
    """term, sum_sq, df, f, p, partial_eta_squared (Type II)."""
    ratios: pd.DataFrame
    """architecture, environment, reference, ratio of medians to the reference environment."""
    left_out: tuple[str, ...] = ()
    """Architectures that were not trained in every environment."""

    @property
    def p(self) -> float:
        """The interaction's p value."""
        return float(self.anova.set_index("term").loc["architecture x environment", "p"])

    def environment_sentence(self) -> str:
        """Say whether the environments differ once the architecture is accounted for."""
        row = self.anova.set_index("term").loc["environment"]
        verdict = "differs" if row["p"] < 0.05 else "is not shown to differ"
        return (
            f"With the architecture accounted for, energy per image {verdict} between the training "
            f"environments (F = {number(row['f'])}, {p_value(row['p'])}, partial eta squared = "
            f"{row['partial_eta_squared']:.2f})."
        )

    def sentence(self) -> str:
        """Say whether the environments' ratio depends on the architecture, and its range."""
        row = self.anova.set_index("term").loc["architecture x environment"]
        depends = "depends" if row["p"] < 0.05 else "is not shown to depend"
        parts = []
        for environment, part in self.ratios.groupby("environment", sort=False):
            low, high = part.loc[part["ratio"].idxmin()], part.loc[part["ratio"].idxmax()]
            parts.append(
                f"{environment} takes {number(low['ratio'])} ({low['architecture']}) to "
                f"{number(high['ratio'])} ({high['architecture']}) times the energy of "
                f"{low['reference']}"
            )
        return (
            f"The effect of the environment on energy per image {depends} on the architecture "
            f"(F = {number(row['f'])}, {p_value(row['p'])}, partial eta squared = "
            f"{row['partial_eta_squared']:.2f}, n = {self.n}): {listed(parts)}"
            f"{left_out_clause(self.left_out, 'not trained in every environment')}."
        )

    def table(self) -> pd.DataFrame:
        """Return the analysis of variance."""
        return self.anova


def architecture_by_environment(runs: pd.DataFrame) -> Interaction:
    """Fit the two-way model to the architectures that were trained in every environment.

    The reference environment is the first in the table.

    Raises
    ------
    NotEnoughDataError
        There are fewer than two such architectures or two environments, or no repetition.
    """
    runs = runs[runs["energy_j_per_image"] > 0]  # logarithms
    environments = runs["environment"].nunique()
    if environments < 2:
        raise NotEnoughDataError("they come from one environment: there is nothing to compare")
    trained_in = runs.groupby("architecture", sort=False, observed=True)["environment"].nunique()
    complete = trained_in.index[trained_in == environments]
    if len(complete) < 2:
        raise NotEnoughDataError(
            "an interaction needs at least 2 architectures trained in every environment, and there "
            f"{'is' if len(complete) == 1 else 'are'} {len(complete)}"
        )
    left_out = tuple(str(name) for name in trained_in.index if name not in set(complete))
    runs = runs[runs["architecture"].isin(complete)]
    cells = runs.groupby(["architecture", "environment"], sort=False, observed=True)
    if len(runs) <= cells.ngroups:
        raise NotEnoughDataError("an interaction needs repetitions, and each condition has one run")
    data = runs.assign(log_energy=np.log10(runs["energy_j_per_image"]))
    fit = smf.ols("log_energy ~ C(architecture) * C(environment)", data).fit()
    anova = anova_lm(fit, typ=2).reset_index(names="term")
    residual = float(anova.loc[anova["term"] == "Residual", "sum_sq"].iloc[0])
    anova["partial_eta_squared"] = anova["sum_sq"] / (anova["sum_sq"] + residual)
    anova.loc[anova["term"] == "Residual", "partial_eta_squared"] = np.nan
    anova["term"] = anova["term"].replace(
        {
            "C(architecture)": "architecture",
            "C(environment)": "environment",
            "C(architecture):C(environment)": "architecture x environment",
            "Residual": "residual",
        }
    )
    anova = anova.rename(columns={"F": "f", "PR(>F)": "p"})
    medians = cells["energy_j_per_image"].median().unstack("environment")
    reference = str(runs["environment"].iloc[0])
    ratios = medians.div(medians[reference], axis=0).drop(columns=reference)
    tidy = ratios.stack().rename("ratio").reset_index()
    tidy.insert(2, "reference", reference)
    return Interaction(n=len(runs), anova=anova, ratios=tidy, left_out=left_out)
