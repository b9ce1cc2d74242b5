"""Content of results.json: a study's results with their units."""

from __future__ import annotations

from typing import Any

import pandas as pd

from greencv_core.analysis import SpecificationCurve, Unavailable, describe
from greencv_core.analysis.selection import CONDITION, summarise, weakest_provenance
from greencv_core.analysis.study_results import (
    ArchitectureResults,
    EnvironmentResults,
    Robustness,
    StudyResults,
)
from greencv_core.report.export.to_json import plain
from greencv_core.study.schema import Study
from greencv_core.utils.energy import COMPONENTS

SCHEMA_VERSION = 1
SUMMARISED = (
    "energy_j", "energy_j_per_image", "net_energy_j", "duration_s", "duration_s_per_image",
    "power_w", "device_utilization_pct", "emissions_gco2e", "accuracy", "f1_macro",
)  # fmt: skip
_OF_ARCHITECTURE = (
    "environment", "energy", "correctness", "regression", "nested_models", "pareto_front",
    "energy_to_target", "largest_saving", "sessions", "savings_without_loss",
)  # fmt: skip
_OF_ENVIRONMENT = (
    "energy_by_architecture", "interaction", "break_evens", "correctness", "pareto_front",
    "largest_saving", "largest_savings_by_architecture", "savings_without_loss",
)  # fmt: skip
_KEYS = {
    "saving": "share of the energy per image of the condition it is saved against: 0.2 is 20%",
    "ci_low, ci_high": "95% interval, in the unit of the value next to it",
    "median, q1, q3, mean, sd": "in the unit of the object's key or of its field 'value'",
    "hodges_lehmann_shift": "b less a, in the unit of the field 'value'",
    "gflops, low, high": "of a break-even or a crossing: GFLOPs per image",
    "exponent": "of GFLOPs: energy per image grows as GFLOPs to this power",
    "level_j": "energy per image (J) at the mean log of GFLOPs",
    "residual, residual_sd": "of log10 energy per image",
    "ratio": "energy per image in 'environment' over that in 'reference'",
    "correctness_loss, loss_high": "of macro F1 (0 to 1)",
    "correctness_per_kj": "macro F1 over the kilojoules of the whole training",
    "variation": "standard deviation of natural logarithms",
    "sd_between, sd_within": "between and within sessions, of natural logarithms",
    "size": "of a drift, jump or difference between groups, relative: 0.1 is 10 %",
    "icc": "share of the variance of logarithms between sessions (0 to 1)",
    "unanswered": "why these runs have no answer",
    "null": "a figure that the runs do not define",
    "digits": "figures have six significant digits, p values four; a p value below 5e-10 is 0",
}


def results_json(study: Study, results: StudyResults) -> dict[str, Any]:
    """Return the results of a study as JSON values.

    ``keys`` states the units of keys that do not name theirs.
    """
    runs = results.runs
    none = Unavailable("there is none to analyse")
    content = {
        "schema_version": SCHEMA_VERSION,
        "keys": _KEYS,
        "study": {
            "name": study.name,
            "description": study.description,
            "correctness_margin": results.margin,
        },
        "runs": _runs(results),
        "conditions": none if runs.empty else _conditions(runs),
        "stability": none if runs.empty else results.stability,
        "rq1_architecture": none if runs.empty else _architecture(results.rq1),
        "rq2_environment": none if runs.empty else _environment(results.rq2),
    }
    if results.with_disturbed is not None:
        savings = results.with_disturbed.headlines.to_dict("records")
        content["savings_with_disturbed_runs"] = savings
    return dict(plain(content))


def _runs(results: StudyResults) -> dict[str, Any]:
    runs, all_runs, selection = results.runs, results.all_runs, results.selection
    metered = all_runs[all_runs["energy_j"].notna()]
    sentences = [selection.sentence()]
    if not runs.empty:
        sentences.insert(0, describe.environments_sentence(runs))
        sentences.append(describe.study_cost_sentence(all_runs))
    return {
        "made": len(all_runs),
        "analysed": len(runs),
        "left_out": selection.excluded["reason"].value_counts().to_dict(),
        "disturbed": len(selection.disturbed),
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


def _architecture(rq1: ArchitectureResults) -> dict[str, Any]:
    return {
        **{name: getattr(rq1, name) for name in _OF_ARCHITECTURE},
        "energy_provenance": _provenance(rq1.within),
        "robustness": _robustness(rq1.robustness),
        "sentences": [describe.correctness_sentence(rq1.within)],
    }


def _environment(rq2: EnvironmentResults) -> dict[str, Any]:
    return {
        **{name: getattr(rq2, name) for name in _OF_ENVIRONMENT},
        "energy_provenance": _provenance(rq2.runs),
        "robustness": _robustness(rq2.robustness),
    }


def _robustness(robustness: Robustness) -> dict[str, Any]:
    return {
        "outliers": {
            "left_out": list(robustness.outliers.left_out["run_id"]),
            "sentences": [robustness.outliers_sentence],
        },
        "leave_one_repetition_out": robustness.leave_one_repetition_out,
        "specification_curve": _in_order(robustness.specification_curve),
        "repetitions_needed": robustness.repetitions_needed,
    }


def _in_order(curve: SpecificationCurve | Unavailable) -> Any:
    """Return the curve as JSON in the order of its choices: equal savings sort differently."""
    content = plain(curve)
    if isinstance(curve, SpecificationCurve):
        content["specifications"].sort(key=lambda row: [row[choice] for choice in curve.choices])
    return content
