"""Paired comparison of environments over runs of the same architecture and seed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from greencv_core.analysis.result import ALPHA, NotEnoughDataError
from greencv_core.analysis.selection import CONDITION, condition_name, groups_but
from greencv_core.utils.text import (
    as_opening,
    count,
    decimals,
    left_out_clause,
    listed,
    p_value,
    quantity,
)

FEWEST = 6
"""Combinations; with five, the signed-rank test cannot reach 5%."""


@dataclass(frozen=True)
class PairedComparison:
    """A value compared between environments, paired by architecture and seed."""

    value: str
    combinations: int
    """Combinations of architecture and seed in every environment."""
    reference: str
    shifts: pd.DataFrame
    """environment, shift (median difference to the reference over the pairs)."""
    test: str
    statistic: float
    p: float
    """NaN if the value is the same in all environments for every combination."""
    left_out: tuple[str, ...] = ()
    """Conditions without a combination that every environment has."""

    def sentence(self) -> str:
        """Describe the test and the median differences."""
        why = f"no run with {quantity(self.value)} and a seed that all environments have"
        left_out = left_out_clause(self.left_out, why)
        if np.isnan(self.p):
            return (
                f"{as_opening(quantity(self.value))} is the same in all environments for each of "
                f"{self.combinations} combinations of architecture and seed: nothing "
                f"can be tested{left_out}."
            )
        name = quantity(self.value)
        verdict = (
            f"{as_opening(name)} differs"
            if self.p < ALPHA
            else f"The data show no difference in {name}"
        )
        parts = [
            f"{decimals(row.shift, 4, signed=True)} on {row.environment}"
            for row in self.shifts.itertuples()
        ]
        return (
            f"{verdict} between runs of the same architecture and seed in different environments "
            f"({self.test}, {p_value(self.p)}, n = {self.combinations} combinations){left_out}. "
            f"Median differences to {self.reference}: {listed(parts)}."
        )


def paired_by_environment(runs: pd.DataFrame, value: str) -> PairedComparison:
    """Compare a value between environments, paired by architecture and seed.

    The test is Wilcoxon's signed-rank test for two environments, Friedman's for more.
    """
    table = runs.pivot_table(
        index=["architecture", "seed"], columns="environment", values=value, sort=False
    )
    table = table[[name for name in runs["environment"].unique() if name in table]].dropna()
    environments = list(table.columns)
    if len(environments) < 2:
        every = list(map(str, runs["environment"].unique()))
        if len(every) > 1:
            raise NotEnoughDataError(
                f"no comparison of {quantity(value)}: only "
                f"{count(len(environments), 'environment')} of {len(every)} "
                f"{'has' if len(environments) == 1 else 'have'} runs with it"
            )
        raise NotEnoughDataError(
            "there is none to analyse"
            if runs.empty
            else "they come from one environment: there is nothing to compare"
        )
    if len(table) < FEWEST:
        raise NotEnoughDataError(
            f"a paired comparison needs at least {FEWEST} combinations of architecture and seed "
            f"that every environment has, and there are {len(table)}"
        )
    reference = environments[0]
    trained = itertools.product(table.index.unique("architecture"), environments)
    compared = {condition_name(levels) for levels in trained}
    differences = table[environments[1:]].sub(table[reference], axis=0)
    columns = [table[name].to_numpy(dtype=float) for name in environments]
    if np.ptp(table.to_numpy(dtype=float), axis=1).max() == 0:
        test, statistic, p = "no spread to test against", np.nan, np.nan
    elif len(environments) == 2:
        test = "Wilcoxon's signed-rank test"
        statistic, p = stats.wilcoxon(columns[0], columns[1])
    else:
        test = "Friedman's test"
        statistic, p = stats.friedmanchisquare(*columns)
    shifts = differences.median().rename("shift").rename_axis("environment").reset_index()
    return PairedComparison(
        value=value,
        combinations=len(table),
        reference=str(reference),
        shifts=shifts,
        test=test,
        statistic=float(statistic),
        p=float(p),
        left_out=groups_but(runs, CONDITION, compared),
    )
