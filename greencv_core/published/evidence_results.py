"""What several evidence tables show together; each result is computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from greencv_core.analysis import Unavailable, attempt
from greencv_core.analysis.comparison.noninferiority import DEFAULT_MARGIN
from greencv_core.analysis.sessions import SessionSpread, session_spread
from greencv_core.published.effects import (
    EnvironmentSaving,
    batch_scaling,
    energy_gflops_correlations,
    hardware_scaling,
    largest_savings,
    savings_at_margin,
)
from greencv_core.published.evidence_summary import summarise_sources
from greencv_core.published.pooling import Effect, Pooled, pool
from greencv_core.published.tables import counted_runs
from greencv_core.utils.answers import remembered
from greencv_core.utils.errors import check_type

NO_SAVING = 0.01
"""Savings below this count as none: the energy meters are less accurate."""


@dataclass(frozen=True)
class EvidenceResults:
    """Results over the evidence tables of several sources."""

    tables: Mapping[str, pd.DataFrame]
    """Evidence table of each source, by its name."""
    margin: float = DEFAULT_MARGIN
    """Largest negligible loss of correctness, from 0 to 1."""

    def __post_init__(self) -> None:
        check_type("margin", self.margin, (float, int), "a number from 0 to 1")

    @cached_property
    def counted(self) -> dict[str, pd.DataFrame]:
        """Runs of each source that count."""
        return {name: counted_runs(table) for name, table in self.tables.items()}

    @cached_property
    def scaling(self) -> list[Effect]:
        """Exponents of GFLOPs in the energy on larger over smaller hardware."""
        return [effect for source in self._effects for effect in source.scaling]

    @cached_property
    def pooled_scaling(self) -> Pooled | Unavailable:
        """Random-effects mean of these exponents."""
        return attempt(pool, self.scaling)

    @cached_property
    def batches(self) -> list[Effect]:
        """Exponents of GFLOPs x batch, for sources that vary the batch."""
        return [effect for source in self._effects for effect in source.batches]

    @cached_property
    def savings(self) -> list[EnvironmentSaving]:
        """Savings at a negligible loss of correctness, in each environment."""
        return [saving for source in self._effects for saving in source.savings]

    @cached_property
    def largest(self) -> list[EnvironmentSaving]:
        """Largest savings between architectures, in each environment."""
        return [saving for source in self._effects for saving in source.largest]

    @cached_property
    def correlations(self) -> list[tuple[Effect, float]]:
        """Rank correlations of energy and GFLOPs: the effect (Fisher's z) and the coefficient."""
        return [
            (effect, float(np.tanh(effect.estimate)))
            for source in self._effects
            for effect in source.correlations
        ]

    @cached_property
    def _effects(self) -> list[_SourceEffects]:
        return [_effects_of(table, self.margin) for table in self.tables.values()]

    @cached_property
    def sources(self) -> dict[str, Any]:
        """Verdicts on each claim for each source; see :func:`.evidence_summary.summarise`."""
        return summarise_sources(self.tables, self.margin)

    @cached_property
    def sessions(self) -> dict[str, SessionSpread | Unavailable]:
        """Spread between and within sessions, of all runs of the sources that repeat conditions."""
        found = {}
        for name, table in self.tables.items():
            if table.groupby(["dataset", "architecture", "environment"]).size().max() > 1:
                if "energy_j_per_image" not in table:
                    per_image_j = table["energy_j"] / table["images_processed"]
                    table = table.assign(energy_j_per_image=per_image_j)
                found[name] = attempt(session_spread, table)
        return found


@dataclass(frozen=True)
class _SourceEffects:
    scaling: list[Effect]
    batches: list[Effect]
    savings: list[EnvironmentSaving]
    largest: list[EnvironmentSaving]
    correlations: list[Effect]


@remembered
def _effects_of(table: pd.DataFrame, margin: float) -> _SourceEffects:
    return _SourceEffects(
        scaling=hardware_scaling(table),
        batches=batch_scaling(table),
        savings=savings_at_margin(table, margin),
        largest=largest_savings(table),
        correlations=energy_gflops_correlations(table),
    )


def saves(saving: EnvironmentSaving) -> bool:
    """Return whether there is a saving; one whose interval includes 0 does not count."""
    return saving.saving >= NO_SAVING and not saving.ci_low <= 0
