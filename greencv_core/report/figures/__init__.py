"""Figures of the report: a runs table or a result goes in, an exhibit comes out."""

from greencv_core.report.figures.choice import specification_curve, trade_off
from greencv_core.report.figures.regression import (
    break_even,
    energy_against_complexity,
    interaction,
    regression_diagnostics,
    simple_effects,
)
from greencv_core.report.figures.runs import (
    by_architecture,
    by_environment,
    group_quantiles,
    learning_curves,
    power_trace,
)

__all__ = [
    "break_even", "by_architecture", "by_environment", "energy_against_complexity",
    "group_quantiles", "interaction", "learning_curves", "power_trace", "regression_diagnostics",
    "simple_effects", "specification_curve", "trade_off",
]  # fmt: skip
