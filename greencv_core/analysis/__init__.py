"""Runs table in, result objects out: no plotting, no training.

An analysis that the runs do not allow raises :class:`NotEnoughDataError` with what they lack;
:func:`attempt` returns that as an :class:`Unavailable` result.

Names are loaded when they are first used: statistics take seconds to load, and a training that is
forecast needs few of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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
        energy_definitions,
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
    from greencv_core.analysis.regression.nested import NestedModels, nested_models
    from greencv_core.analysis.regression.ols import EnergyRegression, energy_regression
    from greencv_core.analysis.result import NotEnoughDataError, Unavailable, attempt
    from greencv_core.analysis.selection import (
        Outliers,
        Selection,
        fastest_environment,
        filter_by,
        find_outliers,
        select_runs,
        summarise,
        weakest_provenance,
    )
    from greencv_core.analysis.study_results import StudyResults, analyse

__all__ = [
    "BreakEven", "Comparison", "Decision", "EnergyRegression", "EnergyToTarget", "Interaction",
    "LeaveOneOut", "NestedModels", "NonInferiority", "NotEnoughDataError",
    "Outliers", "PairedComparison", "Power", "Saving", "SavingsWithoutLoss", "Selection",
    "SpecificationCurve", "StudyResults", "TradeOff", "Unavailable", "analyse",
    "architecture_by_environment", "attempt", "best_against_worst", "break_even",
    "break_evens", "cliffs_delta", "compare", "compare_each", "decide", "energy_definitions",
    "energy_regression", "energy_to_target", "fastest_environment", "filter_by",
    "find_outliers", "leave_one_repetition_out", "nested_models",
    "non_inferiority", "outliers_sentence", "paired_by_environment", "pareto_front",
    "repetitions_needed", "saving", "savings_table", "savings_without_loss", "select_runs",
    "specification_curve", "summarise", "weakest_provenance",
]  # fmt: skip

_MODULES = (
    "result", "selection", "choice.savings", "choice.pareto", "choice.decision",
    "comparison.pairwise", "comparison.paired", "regression.breakeven", "comparison.omnibus",
    "comparison.noninferiority", "choice.robustness", "regression.ols", "regression.nested",
    "regression.interaction", "study_results",
)  # fmt: skip
"""Where a name may be, from the module that loads fastest to the slowest."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        modules = (importlib.import_module(f"{__name__}.{module}") for module in _MODULES)
        return next(getattr(module, name) for module in modules if hasattr(module, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
