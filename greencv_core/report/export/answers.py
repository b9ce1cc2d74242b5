"""Every answer of the report that rests on a study's runs, each computed once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd

from greencv_core.analysis import (
    SpecificationCurve,
    Unavailable,
    architecture_by_environment,
    attempt,
    best_against_worst,
    break_evens,
    compare,
    compare_each,
    energy_definitions,
    energy_regression,
    energy_to_target,
    fastest_environment,
    filter_by,
    find_outliers,
    leave_one_repetition_out,
    mixed_model,
    nested_models,
    outliers_sentence,
    paired_by_environment,
    pareto_front,
    repetitions_needed,
    savings_without_loss,
    select_runs,
    specification_curve,
    summarise,
    weakest_provenance,
)
from greencv_core.analysis.choice.robustness import Headline
from greencv_core.analysis.describe import (
    correctness_sentence,
    environments_sentence,
    study_cost_sentence,
)
from greencv_core.analysis.selection import CONDITION, Selection
from greencv_core.records.record import RunRecord
from greencv_core.records.tables import epochs_table, runs_table
from greencv_core.report.export.to_json import plain
from greencv_core.study.schema import Study
from greencv_core.utils.energy import COMPONENTS

SCHEMA_VERSION = 1
VALUE, CORRECTNESS = "energy_j_per_image", "f1_macro"
SUMMARISED = (
    "energy_j", "energy_j_per_image", "net_energy_j", "duration_s", "duration_s_per_image",
    "power_w", "device_utilization_pct", "emissions_gco2e", "accuracy", "f1_macro",
)  # fmt: skip
_KEYS = {
    "saving": "share of the energy per image of the condition it is saved against: 0.2 is 20 %",
    "ci_low, ci_high": "95 % interval, in the unit of the figure beside it",
    "median, q1, q3, mean, sd": "in the unit of the object's key or of its field 'value'",
    "hodges_lehmann_shift": "b less a, in the unit of the field 'value'",
    "gflops, low, high": "of a break-even or a crossing: GFLOPs per image",
    "ratio": "energy per image in 'environment' over that in 'reference'",
    "correctness_loss, loss_high": "of macro F1 (0 to 1)",
    "correctness_per_kj": "macro F1 over the kilojoules of the whole training",
    "variation": "standard deviation of natural logarithms",
    "unanswered": "why these runs have no answer",
    "null": "a figure that the runs do not define",
    "digits": "figures have six significant digits, p values four; a p value below 5e-10 is 0",
}


def answers(study: Study, records: Sequence[RunRecord]) -> dict[str, Any]:
    """Return what the report answers from a study's runs, by research question.

    Parameters
    ----------
    study
        Its name, and the margin of correctness that it states.
    records
        The runs that the report is about, in the study's order.

    Returns
    -------
    dict
        schema_version, keys (the units of keys that do not name theirs), study, runs, conditions,
        rq1_architecture, rq2_environment; results as the analyses return them, or
        :class:`~greencv_core.analysis.Unavailable`.
    """
    everything = runs_table(records)
    selection = select_runs(everything)
    runs, margin = selection.runs, study.analysis.correctness_margin
    none = Unavailable("there is none to analyse")
    return {
        "schema_version": SCHEMA_VERSION,
        "keys": _KEYS,
        "study": {
            "name": study.name,
            "description": study.description,
            "correctness_margin": margin,
        },
        "runs": _account(everything, selection),
        "conditions": none if runs.empty else _conditions(runs),
        "rq1_architecture": none if runs.empty else _by_architecture(runs, records, margin),
        "rq2_environment": none if runs.empty else _by_environment(runs, margin),
    }


def _account(everything: pd.DataFrame, selection: Selection) -> dict[str, Any]:
    runs, metered = selection.runs, everything[everything["energy_j"].notna()]
    sentences = [selection.sentence()]
    if not runs.empty:
        sentences = [environments_sentence(runs), *sentences, study_cost_sentence(everything)]
    return {
        "made": len(everything),
        "analysed": len(runs),
        "left_out": selection.excluded["reason"].value_counts().to_dict(),
        "disturbed": selection.contended,
        "metered": len(metered),
        "energy_j": float(metered["energy_j"].sum()),
        "emissions_gco2e": float(metered["emissions_gco2e"].sum()),
        "duration_s": float(metered["duration_s"].sum()),
        "components": sorted(map(str, metered["components"].unique())),
        "energy_provenance": _provenance(metered),
        "sentences": sentences,
    }


def _provenance(runs: pd.DataFrame) -> dict[str, str]:
    parts = {str(c): weakest_provenance(runs, f"{c}_provenance") for c in COMPONENTS}
    return {"sum": weakest_provenance(runs), **parts}


def _conditions(runs: pd.DataFrame) -> list[dict[str, Any]]:
    table = summarise(runs, CONDITION, SUMMARISED)
    groups = runs.groupby(list(CONDITION), sort=False, observed=True)
    return [
        {
            **{column: row[column] for column in CONDITION},
            "n": row["n"],
            "gflops_per_image": part["gflops_per_image"].median(),
            "parameters": float(part["parameters"].astype(float).median()),
            "energy_provenance": _provenance(part),
            **{
                value: {"median": row[value], "q1": row[f"{value}_q1"], "q3": row[f"{value}_q3"]}
                for value in SUMMARISED
            },
        }
        for row, (_, part) in zip(table.to_dict("records"), groups, strict=True)
    ]


def _by_architecture(
    runs: pd.DataFrame, records: Sequence[RunRecord], margin: float
) -> dict[str, Any]:
    environment = fastest_environment(runs)
    within = filter_by(runs, "environment", environment)
    epochs = epochs_table(list(records))
    by_architecture = partial(best_against_worst, by="architecture")
    front = pareto_front(within)
    return {
        "environment": environment,
        "energy_provenance": _provenance(within),
        "energy": attempt(compare, within, VALUE, "architecture"),
        "correctness": attempt(compare, within, CORRECTNESS, "architecture"),
        "regression": attempt(energy_regression, runs),
        "nested_models": attempt(nested_models, runs),
        # Powell's search ends at a tolerance, and on another processor a little beside it.
        "mixed_model": plain(attempt(mixed_model, runs), digits=4),
        "pareto_front": front,
        "energy_to_target": attempt(
            energy_to_target, epochs[epochs["run_id"].isin(within["run_id"])]
        ),
        "largest_saving": attempt(by_architecture, within),
        "largest_saving_of_means": attempt(by_architecture, within, statistic="mean"),
        "savings_without_loss": attempt(savings_without_loss, within, margin, "architecture"),
        "robustness": _robustness(within, by_architecture, "architecture"),
        "sentences": [correctness_sentence(within)],
    }


def _by_environment(runs: pd.DataFrame, margin: float) -> dict[str, Any]:
    return {
        "energy_provenance": _provenance(runs),
        "energy_by_architecture": compare_each(runs, VALUE, "environment", "architecture"),
        "interaction": attempt(architecture_by_environment, runs),
        "break_evens": break_evens(runs),
        "correctness": attempt(paired_by_environment, runs, CORRECTNESS),
        "pareto_front": pareto_front(runs),
        "largest_saving": attempt(best_against_worst, runs),
        "largest_savings_by_architecture": {
            str(name): attempt(best_against_worst, part, "environment")
            for name, part in runs.groupby("architecture", sort=False)
        },
        "savings_without_loss": attempt(savings_without_loss, runs, margin),
        "robustness": _robustness(runs, best_against_worst, CONDITION),
    }


def _robustness(runs: pd.DataFrame, headline: Headline, by: str | Sequence[str]) -> dict[str, Any]:
    return {
        "outliers": {
            "left_out": list(find_outliers(runs).left_out["run_id"]),
            "sentences": [outliers_sentence(runs, headline)],
        },
        "leave_one_repetition_out": attempt(leave_one_repetition_out, runs, headline),
        "specification_curve": _in_order(
            attempt(specification_curve, energy_definitions(runs), by=by)
        ),
        "repetitions_needed": attempt(repetitions_needed, runs, VALUE),
    }


def _in_order(curve: SpecificationCurve | Unavailable) -> Any:
    """Return the curve as JSON, in the choices' order: processors sort equal savings variously."""
    told = plain(curve)
    if isinstance(curve, SpecificationCurve):
        told["specifications"].sort(key=lambda row: [row[choice] for choice in curve.choices])
    return told
