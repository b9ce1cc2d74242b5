"""Every result of a study, computed once from its runs: for notebooks, report and results.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd
from pandas.api.types import is_numeric_dtype

from greencv_core.analysis.choice import pareto, robustness
from greencv_core.analysis.choice.decision import Decision, decide
from greencv_core.analysis.choice.savings import Saving, best_against_worst
from greencv_core.analysis.comparison import noninferiority
from greencv_core.analysis.comparison.correlation import RankCorrelation, rank_correlations
from greencv_core.analysis.comparison.omnibus import Comparison, compare, compare_each
from greencv_core.analysis.comparison.paired import PairedComparison, paired_by_environment
from greencv_core.analysis.headlines import headlines
from greencv_core.analysis.regression.breakeven import BreakEven, break_evens
from greencv_core.analysis.regression.interaction import Interaction, architecture_by_environment
from greencv_core.analysis.regression.nested import NestedModels, nested_models
from greencv_core.analysis.regression.ols import EnergyRegression, energy_regression
from greencv_core.analysis.result import Unavailable, attempt
from greencv_core.analysis.selection import (
    CONDITION,
    Outliers,
    Selection,
    fastest_environment,
    filter_by,
    find_outliers,
    select_runs,
    weakest_provenance,
)
from greencv_core.analysis.sessions import SessionSpread, session_spread
from greencv_core.analysis.stability import Stability, stability
from greencv_core.utils.errors import BadInputError, check_type

ENERGY, CORRECTNESS = "energy_j_per_image", "f1_macro"
UTILISATION = "device_utilization_pct"


@dataclass(frozen=True)
class Robustness:
    """Whether the largest saving depends on choices of the analysis or on single runs."""

    runs: pd.DataFrame
    value: str
    by: str | Sequence[str]
    every_run: pd.DataFrame
    """The same with the disturbed runs that are left out."""

    def _largest_saving(self, runs: pd.DataFrame) -> Saving:
        return best_against_worst(runs, self.by)

    @cached_property
    def outliers(self) -> Outliers:
        """Runs that the outlier rule excludes."""
        return find_outliers(self.runs)

    @cached_property
    def outliers_sentence(self) -> str:
        """The outlier rule, and the largest saving with and without it."""
        return robustness.outliers_sentence(self.runs, self._largest_saving)

    @cached_property
    def leave_one_repetition_out(self) -> robustness.LeaveOneOut | Unavailable:
        """The largest saving without each repetition."""
        return attempt(robustness.leave_one_repetition_out, self.runs, self._largest_saving)

    @cached_property
    def specification_curve(self) -> robustness.SpecificationCurve | Unavailable:
        """The largest saving under every combination of reasonable choices."""
        energies = robustness.energy_definitions(self.every_run)
        return attempt(robustness.specification_curve, energies, by=self.by)

    @cached_property
    def repetitions_needed(self) -> robustness.Power | Unavailable:
        """Power analysis of the chosen value."""
        return attempt(robustness.repetitions_needed, self.runs, self.value)


@dataclass(frozen=True)
class ArchitectureResults:
    """RQ1: how the architecture decides energy and correctness.

    Architectures are compared within one environment; regressions and correlations use all runs.
    """

    runs: pd.DataFrame
    """Usable runs of all environments."""
    within: pd.DataFrame
    """Usable runs of :attr:`environment`."""
    epochs: pd.DataFrame
    environment: str
    margin: float
    every_run: pd.DataFrame
    """Runs of all environments, with the disturbed ones that are left out."""
    value: str = ENERGY

    @cached_property
    def energy(self) -> Comparison | Unavailable:
        """The chosen value (energy per image by default) compared between architectures."""
        return attempt(compare, self.within, self.value, "architecture")

    @cached_property
    def correctness(self) -> Comparison | Unavailable:
        """Macro F1 compared between architectures."""
        return attempt(compare, self.within, CORRECTNESS, "architecture")

    @cached_property
    def utilisation(self) -> Comparison | Unavailable:
        """Device utilisation compared between architectures."""
        return attempt(compare, self.within, UTILISATION, "architecture")

    @cached_property
    def utilisation_by_gflops(self) -> Mapping[str, RankCorrelation | Unavailable]:
        """Rank correlation of utilisation with GFLOPs in each environment."""
        return rank_correlations(self.runs, "gflops_per_image", UTILISATION)

    @cached_property
    def energy_by_utilisation(self) -> Mapping[str, RankCorrelation | Unavailable]:
        """Rank correlation of energy per image with utilisation in each environment."""
        return rank_correlations(self.runs, UTILISATION, ENERGY)

    @cached_property
    def regression(self) -> EnergyRegression | Unavailable:
        """Energy per image explained by GFLOPs and parameters in each environment."""
        return attempt(energy_regression, self.runs)

    @cached_property
    def nested_models(self) -> NestedModels | Unavailable:
        """The regression built term by term."""
        return attempt(nested_models, self.runs)

    @cached_property
    def pareto_front(self) -> pareto.TradeOff:
        """Energy against macro F1."""
        return pareto.pareto_front(self.within)

    @cached_property
    def energy_to_target(self) -> pareto.EnergyToTarget | Unavailable:
        """Energy until a macro F1 that every architecture reaches."""
        epochs = self.epochs[self.epochs["run_id"].isin(self.within["run_id"])]
        return attempt(pareto.energy_to_target, epochs)

    @cached_property
    def largest_saving(self) -> Saving | Unavailable:
        """The architecture of the lowest geometric mean against that of the highest."""
        return attempt(best_against_worst, self.within, "architecture", self.value)

    @cached_property
    def sessions(self) -> SessionSpread | Unavailable:
        """Spread of the chosen value between and within sessions."""
        return attempt(session_spread, self.within, self.value)

    @cached_property
    def savings_without_loss(self) -> noninferiority.SavingsWithoutLoss | Unavailable:
        """The largest saving between architectures that lose less macro F1 than the margin."""
        return attempt(
            noninferiority.savings_without_loss,
            self.within, self.margin, "architecture", self.value,
        )  # fmt: skip

    @cached_property
    def robustness(self) -> Robustness:
        """Checks of the largest saving."""
        every_run = filter_by(self.every_run, "environment", self.environment)
        return Robustness(self.within, self.value, "architecture", every_run)


@dataclass(frozen=True)
class EnvironmentResults:
    """RQ2: how the training environment decides energy and correctness."""

    runs: pd.DataFrame
    margin: float
    every_run: pd.DataFrame
    """The same with the disturbed runs that are left out."""
    value: str = ENERGY

    @cached_property
    def energy_by_architecture(self) -> Mapping[str, Comparison | Unavailable]:
        """The chosen value compared between environments, for each architecture."""
        return compare_each(self.runs, self.value, "environment", "architecture")

    @cached_property
    def interaction(self) -> Interaction | Unavailable:
        """Two-way analysis of architecture and environment."""
        return attempt(architecture_by_environment, self.runs)

    @cached_property
    def break_evens(self) -> Mapping[str, BreakEven | Unavailable]:
        """GFLOPs at which two environments cost the same, for each pair of environments."""
        return break_evens(self.runs)

    @cached_property
    def correctness(self) -> PairedComparison | Unavailable:
        """Macro F1 compared between environments, paired by architecture and seed."""
        return attempt(paired_by_environment, self.runs, CORRECTNESS)

    @cached_property
    def pareto_front(self) -> pareto.TradeOff:
        """Energy against macro F1, over all conditions."""
        return pareto.pareto_front(self.runs)

    @cached_property
    def largest_saving(self) -> Saving | Unavailable:
        """The condition of the lowest mean energy per image against that of the highest."""
        return attempt(best_against_worst, self.runs)

    @cached_property
    def largest_savings_by_architecture(self) -> Mapping[str, Saving | Unavailable]:
        """The environment of the lowest mean against the highest, for each architecture."""
        return {
            str(name): attempt(best_against_worst, part, "environment", self.value)
            for name, part in self.runs.groupby("architecture", sort=False)
        }

    @cached_property
    def savings_without_loss(self) -> noninferiority.SavingsWithoutLoss | Unavailable:
        """The largest saving between conditions that lose less macro F1 than the margin."""
        return attempt(
            noninferiority.savings_without_loss, self.runs, self.margin, value=self.value
        )

    @cached_property
    def robustness(self) -> Robustness:
        """Checks of the largest saving."""
        return Robustness(self.runs, self.value, CONDITION, self.every_run)


@dataclass(frozen=True)
class StudyResults:
    """Results of a study; each is computed when it is first used, and once.

    A result that the runs do not allow is :class:`~greencv_core.analysis.Unavailable`.
    """

    all_runs: pd.DataFrame
    """Runs table, including runs that are not analysed."""
    epochs: pd.DataFrame
    margin: float
    """Loss of macro F1 that counts as negligible."""
    environment: str | None = None
    """Environment of RQ1; None is the fastest."""
    value: str = ENERGY
    """Column that is compared."""
    keep_disturbed: bool = False
    """Whether disturbed runs are analysed also where there are enough others."""

    @cached_property
    def selection(self) -> Selection:
        """Which runs are analysed, and why others are not."""
        return select_runs(self.all_runs, keep_disturbed=self.keep_disturbed)

    @cached_property
    def with_disturbed(self) -> StudyResults | None:
        """The results with the disturbed runs, too; None if none was left out."""
        if not self.selection.left_out_as_disturbed:
            return None
        environment = self.environment or fastest_environment(self.runs)
        return replace(self, keep_disturbed=True, environment=environment)

    @property
    def runs(self) -> pd.DataFrame:
        """The runs that are analysed."""
        return self.selection.runs

    @property
    def _every_run(self) -> pd.DataFrame:
        return self.runs if self.with_disturbed is None else self.with_disturbed.runs

    @cached_property
    def provenance(self) -> str:
        """Provenance of the energies: that of the weakest run."""
        return weakest_provenance(self.runs)

    @cached_property
    def rq1(self) -> ArchitectureResults:
        """Results on the architecture."""
        environment = self.environment or fastest_environment(self.runs)
        within = filter_by(self.runs, "environment", environment)
        return ArchitectureResults(
            self.runs, within, self.epochs, environment, self.margin, self._every_run, self.value
        )

    @cached_property
    def rq2(self) -> EnvironmentResults:
        """Results on the training environment."""
        return EnvironmentResults(self.runs, self.margin, self._every_run, self.value)

    @cached_property
    def stability(self) -> Stability | Unavailable:
        """Whether the chosen value drifts, or runs of a condition fall into groups."""
        return attempt(stability, self.runs, self.value)

    @cached_property
    def decision(self) -> Decision | Unavailable:
        """The condition of least energy for every accepted loss of macro F1."""
        return attempt(decide, self.runs)

    @cached_property
    def headlines(self) -> pd.DataFrame:
        """The savings that pages name, as :func:`greencv_core.analysis.headlines.headlines`."""
        return headlines(self)


def analyse(
    runs: pd.DataFrame,
    epochs: pd.DataFrame,
    *,
    margin: float = noninferiority.DEFAULT_MARGIN,
    environment: str | None = None,
    value: str = ENERGY,
) -> StudyResults:
    """Analyse the runs of a study; parameters as the attributes of :class:`StudyResults`.

    ``runs`` is the table of all runs that :func:`greencv_core.runs_table` returns, ``epochs`` that
    of :func:`greencv_core.epochs_table` of the same runs. :class:`BadInputError` is raised for a
    ``value`` that is no column of numbers.
    """
    check_type("margin", margin, (float, int), "a number from 0 to 1")
    check_type("value", value, (str,), "the name of a column of the runs table")
    if value not in runs or not (runs[value].isna().all() or is_numeric_dtype(runs[value])):
        numbers = ", ".join(runs.select_dtypes("number").columns)
        raise BadInputError(f"value: {value!r} is no column of numbers; these are: {numbers}")
    return StudyResults(runs, epochs, margin, environment, value)
