"""Verdicts on every claim for several sources, and effects pooled over them, as one object."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from greencv_core.analysis import Unavailable, attempt
from greencv_core.analysis.comparison.noninferiority import DEFAULT_MARGIN
from greencv_core.published.claims import count_conditions, evaluate_evidence
from greencv_core.published.effects import (
    batch_scaling,
    energy_gflops_correlations,
    hardware_scaling,
    largest_savings,
    savings_at_margin,
)
from greencv_core.published.pooling import Effect, Pooled, pool
from greencv_core.published.tables import counted_runs

FEWEST_SOURCES = 3
"""Sources for a pooled figure of conditions: environments of one source share its trainings."""
FEWEST_SOURCES_OF_PAIRS = 2
"""Sources for a pooled figure of pairs of hardware, each of which is its own study."""
MOST_HARDWARE = 40
"""Kinds of hardware in a table that are compared pair by pair; of more, none are."""
_POOLED = (
    "mean", "ci_low", "ci_high", "prediction_low", "prediction_high", "q", "i_squared",
    "tau_squared",
)  # fmt: skip
_FIGURES = ("figure", "ci_low", "ci_high")
_OF_PAIRS = ("hardware_scaling", "batch_scaling")


def summarise(tables: Mapping[str, pd.DataFrame], margin: float = DEFAULT_MARGIN) -> dict[str, Any]:
    """Return verdicts and pooled effects, as values that JSON has; what is undefined is None.

    ``sources`` has, for each table: ``runs`` and ``conditions`` that count, ``left_out`` (runs by
    reason) and ``claims`` by id, each with ``claim``, ``verdict``, ``figure``, ``ci_low``,
    ``ci_high``, ``n``, ``estimates`` and ``explanation``. ``pooled`` has, for each quantity, its
    ``effects`` and, from three effects of :data:`FEWEST_SOURCES` on, the random-effects mean with
    its intervals; else ``reason`` says why there is none. A table with more than
    :data:`MOST_HARDWARE` kinds of hardware has no effects of pairs of hardware.

    Parameters
    ----------
    tables
        Evidence table of each source, by the name that the source goes by.
    margin
        Largest negligible loss of correctness, from 0 to 1.
    """
    return {
        "sources": summarise_sources(tables, margin),
        "pooled": {
            name: _pooled(effects, FEWEST_SOURCES_OF_PAIRS if name in _OF_PAIRS else FEWEST_SOURCES)
            for name, effects in _effects(tables, margin).items()
        },
    }


def summarise_sources(tables: Mapping[str, pd.DataFrame], margin: float) -> dict[str, Any]:
    """Return ``sources`` of :func:`summarise`: what is counted and each verdict, by table."""
    return {name: _source(table, margin) for name, table in tables.items()}


def _source(table: pd.DataFrame, margin: float) -> dict[str, Any]:
    runs = counted_runs(table)
    claims = evaluate_evidence(table, margin).claims
    reasons = table["left_out"].fillna("") if "left_out" in table else pd.Series(dtype=str)
    left_out = reasons[reasons != ""].value_counts()
    return {
        "runs": len(runs),
        "conditions": count_conditions(runs),
        "left_out": {str(reason): int(n) for reason, n in left_out.items()},
        "claims": {
            row["id"]: {
                "claim": row["claim"],
                "verdict": row["standing"],
                **{name: _finite(row[name]) for name in _FIGURES},
                "n": int(row["n"]),
                "estimates": row["here"],
                "explanation": row["verdict"],
            }
            for row in claims.to_dict("records")
        },
    }


def _effects(tables: Mapping[str, pd.DataFrame], margin: float) -> dict[str, list[Effect]]:
    """Return the effects of each quantity, over all tables, under the tables' names."""
    quantities: dict[str, Callable[[pd.DataFrame], Sequence[Effect]]] = {
        "hardware_scaling": partial(_of_few_kinds, hardware_scaling),
        "batch_scaling": partial(_of_few_kinds, batch_scaling),
        "saving_at_margin": lambda table: [s.effect for s in savings_at_margin(table, margin)],
        "largest_saving": lambda table: [s.effect for s in largest_savings(table)],
        "energy_gflops": energy_gflops_correlations,
    }
    return {
        quantity: [
            replace(effect, source=name) for name, table in tables.items() for effect in find(table)
        ]
        for quantity, find in quantities.items()
    }


def _of_few_kinds(
    find: Callable[[pd.DataFrame], Sequence[Effect]], table: pd.DataFrame
) -> Sequence[Effect]:
    """Return effects of pairs of hardware, unless there are too many pairs to compute."""
    kind = "hardware" if "hardware" in table and table["hardware"].notna().any() else "environment"
    return find(table) if table[kind].nunique() <= MOST_HARDWARE else []


def _pooled(effects: Sequence[Effect], fewest_sources: int) -> dict[str, Any]:
    listed = [
        {
            "source": effect.source,
            "laboratory": effect.laboratory,
            "pair": effect.pair,
            "architectures": effect.architectures,
            "estimate": _finite(effect.estimate),
            "se": _finite(effect.se),
        }
        for effect in effects
    ]
    pooled = _pool(effects, fewest_sources)
    if isinstance(pooled, Unavailable):
        return {"effects": listed, **dict.fromkeys(_POOLED), "reason": pooled.reason}
    without = pooled.leave_one_out.to_dict("records")
    return {
        "effects": listed,
        **{name: _finite(getattr(pooled, name)) for name in _POOLED},
        "leave_one_out": [
            {str(key): value if key == "left_out" else _finite(value) for key, value in row.items()}
            for row in without
        ],
    }


def _pool(effects: Sequence[Effect], fewest_sources: int) -> Pooled | Unavailable:
    sources = {effect.source for effect in effects if math.isfinite(effect.se)}
    if len(sources) < fewest_sources and len(effects):
        return Unavailable(f"a pooled figure needs effects of at least {fewest_sources} sources")
    return attempt(pool, effects)


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
