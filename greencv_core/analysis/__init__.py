"""Runs table in, result objects out: no plotting, no training.

Most names are loaded when they are first used: statistics take seconds to load, and a training that
is forecast needs few of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from greencv_core.analysis.outliers import Outliers, outliers

# A module of the name of what it holds would stand in that one's place.
from greencv_core.analysis.result import NotEnoughDataError, Unanswered, attempt

if TYPE_CHECKING:
    from greencv_core.analysis.choice.decision import Decision, decide
    from greencv_core.analysis.choice.pareto import (
        EnergyToTarget,
        TradeOff,
        energy_to_target,
        pareto_front,
    )
    from greencv_core.analysis.choice.robustness import (
        LeaveOneOut,
        Power,
        SpecificationCurve,
        energies_of,
        leave_one_repetition_out,
        outliers_sentence,
        repetitions_needed,
        specification_curve,
    )
    from greencv_core.analysis.choice.savings import (
        Saving,
        best_against_worst,
        saving,
        savings_table,
    )
    from greencv_core.analysis.comparison.noninferiority import (
        NonInferiority,
        SavingsWithoutLoss,
        non_inferiority,
        savings_without_loss,
    )
    from greencv_core.analysis.comparison.omnibus import Comparison, compare, compare_each
    from greencv_core.analysis.comparison.paired import PairedComparison, paired_by_environment
    from greencv_core.analysis.comparison.pairwise import cliffs_delta
    from greencv_core.analysis.regression.breakeven import BreakEven, break_even, break_evens
    from greencv_core.analysis.regression.interaction import (
        Interaction,
        architecture_by_environment,
    )
    from greencv_core.analysis.regression.mixed import MixedModel, mixed_model
    from greencv_core.analysis.regression.nested import NestedModels, nested_models
    from greencv_core.analysis.regression.ols import EnergyRegression, energy_regression
    from greencv_core.analysis.selection import (
        Selection,
        fastest_environment,
        only,
        summarise,
        usable,
        weakest_provenance,
    )

__all__ = [
    "BreakEven",
    "Comparison",
    "Decision",
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
    "decide",
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

_HOMES = {
    "BreakEven": "regression.breakeven",
    "break_even": "regression.breakeven",
    "break_evens": "regression.breakeven",
    "Comparison": "comparison.omnibus",
    "compare": "comparison.omnibus",
    "compare_each": "comparison.omnibus",
    "NonInferiority": "comparison.noninferiority",
    "SavingsWithoutLoss": "comparison.noninferiority",
    "non_inferiority": "comparison.noninferiority",
    "savings_without_loss": "comparison.noninferiority",
    "Decision": "choice.decision",
    "decide": "choice.decision",
    "Interaction": "regression.interaction",
    "architecture_by_environment": "regression.interaction",
    "MixedModel": "regression.mixed",
    "mixed_model": "regression.mixed",
    "NestedModels": "regression.nested",
    "nested_models": "regression.nested",
    "PairedComparison": "comparison.paired",
    "paired_by_environment": "comparison.paired",
    "cliffs_delta": "comparison.pairwise",
    "EnergyRegression": "regression.ols",
    "energy_regression": "regression.ols",
    "LeaveOneOut": "choice.robustness",
    "Power": "choice.robustness",
    "SpecificationCurve": "choice.robustness",
    "energies_of": "choice.robustness",
    "leave_one_repetition_out": "choice.robustness",
    "outliers_sentence": "choice.robustness",
    "repetitions_needed": "choice.robustness",
    "specification_curve": "choice.robustness",
    "Selection": "selection",
    "fastest_environment": "selection",
    "only": "selection",
    "summarise": "selection",
    "usable": "selection",
    "weakest_provenance": "selection",
    "Saving": "choice.savings",
    "best_against_worst": "choice.savings",
    "saving": "choice.savings",
    "savings_table": "choice.savings",
    "EnergyToTarget": "choice.pareto",
    "TradeOff": "choice.pareto",
    "energy_to_target": "choice.pareto",
    "pareto_front": "choice.pareto",
}
"""The module of each name that is loaded when it is used."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
