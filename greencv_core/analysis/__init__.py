"""Runs table in, result objects out: no plotting, no training."""

from greencv_core.analysis.attempt import NotEnoughDataError, Unanswered, attempt
from greencv_core.analysis.comparison import Comparison, cliffs_delta, compare, compare_each
from greencv_core.analysis.interaction import Interaction, architecture_by_environment
from greencv_core.analysis.outliers import Outliers, outliers
from greencv_core.analysis.pairing import PairedComparison, paired_by_environment
from greencv_core.analysis.regression import EnergyRegression, energy_regression
from greencv_core.analysis.runs import (
    Selection,
    fastest_environment,
    only,
    summarise,
    usable,
    weakest_provenance,
)
from greencv_core.analysis.savings import Saving, best_against_worst, saving
from greencv_core.analysis.tradeoff import TradeOff, pareto_front

__all__ = [
    "Comparison",
    "EnergyRegression",
    "Interaction",
    "NotEnoughDataError",
    "Outliers",
    "PairedComparison",
    "Saving",
    "Selection",
    "TradeOff",
    "Unanswered",
    "architecture_by_environment",
    "attempt",
    "best_against_worst",
    "cliffs_delta",
    "compare",
    "compare_each",
    "energy_regression",
    "fastest_environment",
    "only",
    "outliers",
    "paired_by_environment",
    "pareto_front",
    "saving",
    "summarise",
    "usable",
    "weakest_provenance",
]
