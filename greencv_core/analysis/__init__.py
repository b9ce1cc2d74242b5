"""Runs table in, result objects out: no plotting, no training."""

from greencv_core.analysis.attempt import NotEnoughDataError, Unanswered, attempt
from greencv_core.analysis.breakeven import BreakEven, break_even, break_evens
from greencv_core.analysis.comparison import Comparison, compare, compare_each
from greencv_core.analysis.correctness import (
    NonInferiority,
    SavingsWithoutLoss,
    non_inferiority,
    savings_without_loss,
)
from greencv_core.analysis.interaction import Interaction, architecture_by_environment
from greencv_core.analysis.mixed import MixedModel, mixed_model
from greencv_core.analysis.nested import NestedModels, nested_models
from greencv_core.analysis.outliers import Outliers, outliers
from greencv_core.analysis.pairing import PairedComparison, paired_by_environment
from greencv_core.analysis.pairs import cliffs_delta
from greencv_core.analysis.regression import EnergyRegression, energy_regression
from greencv_core.analysis.robustness import (
    LeaveOneOut,
    Power,
    SpecificationCurve,
    energies_of,
    leave_one_repetition_out,
    outliers_sentence,
    repetitions_needed,
    specification_curve,
)
from greencv_core.analysis.runs import (
    Selection,
    fastest_environment,
    only,
    summarise,
    usable,
    weakest_provenance,
)
from greencv_core.analysis.savings import Saving, best_against_worst, saving, savings_table
from greencv_core.analysis.tradeoff import EnergyToTarget, TradeOff, energy_to_target, pareto_front

__all__ = [
    "BreakEven",
    "Comparison",
    "EnergyRegression",
    "EnergyToTarget",
    "Interaction",
    "LeaveOneOut",
    "MixedModel",
    "NestedModels",
    "NonInferiority",
    "NotEnoughDataError",
    "Outliers",
    "PairedComparison",
    "Power",
    "Saving",
    "SavingsWithoutLoss",
    "Selection",
    "SpecificationCurve",
    "TradeOff",
    "Unanswered",
    "architecture_by_environment",
    "attempt",
    "best_against_worst",
    "break_even",
    "break_evens",
    "cliffs_delta",
    "compare",
    "compare_each",
    "energies_of",
    "energy_regression",
    "energy_to_target",
    "fastest_environment",
    "leave_one_repetition_out",
    "mixed_model",
    "nested_models",
    "non_inferiority",
    "only",
    "outliers",
    "outliers_sentence",
    "paired_by_environment",
    "pareto_front",
    "repetitions_needed",
    "saving",
    "savings_table",
    "savings_without_loss",
    "specification_curve",
    "summarise",
    "usable",
    "weakest_provenance",
]
