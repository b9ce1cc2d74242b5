"""Runs table in, result objects out: no plotting, no training.

Names are loaded when they are first used: statistics take seconds to load, and a training that is
forecast needs few of them.
"""
# ruff: noqa: F403

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from greencv_core.analysis.choice.decision import *
    from greencv_core.analysis.choice.pareto import *
    from greencv_core.analysis.choice.robustness import *
    from greencv_core.analysis.choice.savings import *
    from greencv_core.analysis.comparison.noninferiority import *
    from greencv_core.analysis.comparison.omnibus import *
    from greencv_core.analysis.comparison.paired import *
    from greencv_core.analysis.comparison.pairwise import *
    from greencv_core.analysis.regression.breakeven import *
    from greencv_core.analysis.regression.interaction import *
    from greencv_core.analysis.regression.mixed import *
    from greencv_core.analysis.regression.nested import *
    from greencv_core.analysis.regression.ols import *
    from greencv_core.analysis.result import *
    from greencv_core.analysis.selection import *

_NAMES = {
    "result": "NotEnoughDataError Unavailable attempt",
    "selection": "Outliers Selection fastest_environment filter_by find_outliers select_runs "
    "summarise weakest_provenance",
    "comparison.omnibus": "Comparison compare compare_each",
    "comparison.pairwise": "cliffs_delta",
    "comparison.paired": "PairedComparison paired_by_environment",
    "comparison.noninferiority": "NonInferiority SavingsWithoutLoss non_inferiority "
    "savings_without_loss",
    "regression.ols": "EnergyRegression energy_regression",
    "regression.nested": "NestedModels nested_models",
    "regression.mixed": "MixedModel mixed_model",
    "regression.interaction": "Interaction architecture_by_environment",
    "regression.breakeven": "BreakEven break_even break_evens",
    "choice.savings": "Saving best_against_worst saving savings_table",
    "choice.pareto": "EnergyToTarget TradeOff energy_to_target pareto_front",
    "choice.robustness": "LeaveOneOut Power SpecificationCurve energy_definitions "
    "leave_one_repetition_out outliers_sentence repetitions_needed specification_curve",
    "choice.decision": "Decision decide",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
