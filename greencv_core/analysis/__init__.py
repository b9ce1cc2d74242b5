"""Runs table in, result objects out: no plotting, no training.

Most names are loaded when they are first used: statistics take seconds to load, and a training that
is forecast needs few of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# A module of the name of what it holds would stand in that one's place.
from greencv_core.analysis.attempt import NotEnoughDataError, Unanswered, attempt
from greencv_core.analysis.outliers import Outliers, outliers

if TYPE_CHECKING:
    from greencv_core.analysis.breakeven import BreakEven, break_even, break_evens
    from greencv_core.analysis.comparison import Comparison, compare, compare_each
    from greencv_core.analysis.correctness import (
        NonInferiority,
        SavingsWithoutLoss,
        non_inferiority,
        savings_without_loss,
    )
    from greencv_core.analysis.decision import Decision, decide
    from greencv_core.analysis.interaction import Interaction, architecture_by_environment
    from greencv_core.analysis.mixed import MixedModel, mixed_model
    from greencv_core.analysis.nested import NestedModels, nested_models
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
    from greencv_core.analysis.tradeoff import (
        EnergyToTarget,
        TradeOff,
        energy_to_target,
        pareto_front,
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
    "BreakEven": "breakeven",
    "break_even": "breakeven",
    "break_evens": "breakeven",
    "Comparison": "comparison",
    "compare": "comparison",
    "compare_each": "comparison",
    "NonInferiority": "correctness",
    "SavingsWithoutLoss": "correctness",
    "non_inferiority": "correctness",
    "savings_without_loss": "correctness",
    "Decision": "decision",
    "decide": "decision",
    "Interaction": "interaction",
    "architecture_by_environment": "interaction",
    "MixedModel": "mixed",
    "mixed_model": "mixed",
    "NestedModels": "nested",
    "nested_models": "nested",
    "PairedComparison": "pairing",
    "paired_by_environment": "pairing",
    "cliffs_delta": "pairs",
    "EnergyRegression": "regression",
    "energy_regression": "regression",
    "LeaveOneOut": "robustness",
    "Power": "robustness",
    "SpecificationCurve": "robustness",
    "energies_of": "robustness",
    "leave_one_repetition_out": "robustness",
    "outliers_sentence": "robustness",
    "repetitions_needed": "robustness",
    "specification_curve": "robustness",
    "Selection": "runs",
    "fastest_environment": "runs",
    "only": "runs",
    "summarise": "runs",
    "usable": "runs",
    "weakest_provenance": "runs",
    "Saving": "savings",
    "best_against_worst": "savings",
    "saving": "savings",
    "savings_table": "savings",
    "EnergyToTarget": "tradeoff",
    "TradeOff": "tradeoff",
    "energy_to_target": "tradeoff",
    "pareto_front": "tradeoff",
}
"""The module of each name that is loaded when it is used."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
