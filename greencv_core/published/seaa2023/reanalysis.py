"""Our analysis of del Rey et al.'s measurements: as published, and corrected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import pandas as pd

from greencv_core.analysis import (
    Comparison,
    NotEnoughDataError,
    Outliers,
    Saving,
    Unavailable,
    attempt,
    best_against_worst,
    compare,
    filter_by,
    find_outliers,
    saving,
)
from greencv_core.analysis.sessions import find_sessions
from greencv_core.published import runs_from_files
from greencv_core.published.seaa2023.logs import RawRuns, epochs_from_logs, gpu_log, raw_runs
from greencv_core.published.seaa2023.runs import CONDITION, IMAGES_PER_EPOCH, KEY, NAME, RELEASE
from greencv_core.utils.answers import remembered
from greencv_core.utils.downloads import Progress, fetch

Removals = Literal["none", "by_hand", "rule"]

VARIANTS: Mapping[str, str] = MappingProxyType(
    {
        "first_formula": "First version's formula",
        "published": "As published",
        "epochs_corrected": "Epochs corrected",
        "full_correction": "Epochs and decimals",
        "ends_restored": "Epochs, decimals, lost ends",
        "net_of_low": "Net of the low-power state",
        "net_of_before": "Net of idle before work",
        "net_of_after": "Net of idle after work",
    }
)
"""Variants of the energy per image: the first in J s per image, all others in J."""
CORRECTED = "ends_restored"
"""The variant with every correction that leaves the energy gross."""
IDLE: Mapping[str, str] = MappingProxyType(
    {
        "net_of_low": "low_power_w",
        "net_of_before": "before_power_w",
        "net_of_after": "after_power_w",
    }
)
"""Net variants, and the idle power of an environment that each subtracts."""
NET_OF: Mapping[str, str] = MappingProxyType(
    {
        "net_of_low": "net of the low-power state",
        "net_of_before": "net of idle before work",
        "net_of_after": "net of idle after work",
    }
)
"""Net variants in words."""
EXPECTED_LOSS_W = 0.5
"""Mean power lost by cutting it to whole watts, if there is no raw log."""
RQ1_ENVIRONMENT, RQ2_ARCHITECTURE = "Cloud", "mobilenet_v2"
"""Levels that the original fixes in RQ1 and in RQ2."""
CORRECTNESS = "f1"
"""Column of the published F1: the harmonic mean of published precision and recall."""
SMALLER_GPU = "Local ML"
"""The other environment with logs; that of RQ1 has the larger GPU."""
QUESTIONS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "rq1_energy": ("architecture", "energy_j_per_image"),
        "rq1_gpu_utilization": ("architecture", "device_utilization_pct"),
        "rq1_f1": ("architecture", "f1"),
        "rq2_energy": ("environment", "energy_j_per_image"),
        "rq2_gpu_utilization": ("environment", "device_utilization_pct"),
    }
)
"""The original's tests: the factor and the compared quantity."""


def load_reanalysis(progress: Progress | None = None) -> Reanalysis:
    """Read the published data; download them if necessary.

    Raises
    ------
    DataUnavailableError
        They cannot be downloaded.
    """
    fetched = fetch(RELEASE, progress)
    table = runs_from_files(NAME, fetched)
    raw = raw_runs(fetched.files)
    return Reanalysis(table, raw, fetched.files, (*fetched.problems, *raw.problems))


@dataclass(frozen=True, eq=False)
class Reanalysis:
    """The published runs, with energies corrected step by step, and the results of each variant.

    Parameters
    ----------
    table
        As :func:`greencv_core.published.seaa2023.runs.published_runs` returns it.
    raw
        Results from the raw logs, of all runs or of some.
    files
        Available files, by their path in the release.
    problems
        A line per file that is missing, damaged or unreadable.
    """

    table: pd.DataFrame
    raw: RawRuns
    files: Mapping[str, Path]
    problems: tuple[str, ...]
    _compared: dict[tuple[str, str], Comparison] = field(
        default_factory=dict, init=False, repr=False
    )
    _headlines: dict[Removals, dict[str, Saving | Unavailable]] = field(
        default_factory=dict, init=False, repr=False
    )

    @cached_property
    def every_run(self) -> pd.DataFrame:
        """All runs, with a column of the energy per image for each variant.

        If a run has no raw log (``from_raw`` is false), the power lost by cutting it to whole watts
        is that of the others. If a log has lost an end of unknown length, the energy with this end
        is NaN. ``session`` and ``started_at`` are those of the logs; missing without one.
        """
        starts = self.raw.runs.set_index("run_id")["started_at"]
        runs = self.table.assign(started_at=self.table["run_id"].map(starts))
        runs["session"] = find_sessions(runs)
        columns = ["energy_j", "missing_s", "missing_energy_j"]
        raw = self.raw.runs.set_index("run_id").reindex(columns=columns)
        logged = raw.reindex(runs["run_id"]).astype(float)
        from_raw = logged["energy_j"].notna().to_numpy()
        exact_j = np.where(
            from_raw, logged["energy_j"], runs["energy_j"] + self.lost_w * runs["duration_s"]
        )
        # Without a log, no end is assumed to be missing.
        missing_s = np.where(from_raw, logged["missing_s"], 0.0)
        whole_j = exact_j + np.where(from_raw, logged["missing_energy_j"], 0.0)
        whole_s = runs["duration_s"] + missing_s
        true_images = IMAGES_PER_EPOCH * runs["epochs_true"]
        first_images = IMAGES_PER_EPOCH * runs["epochs_first_version"]
        idle = self.idle_power.reindex(runs["environment"]).set_index(runs.index)
        return runs.assign(
            from_raw=from_raw,
            exact_energy_j=exact_j,
            missing_s=missing_s,
            duration_ms_per_image=1e3 * runs["duration_s_per_image"],
            first_formula=runs["power_sum_w"] * runs["duration_s"] / first_images,
            published=runs["energy_j_per_image"],
            epochs_corrected=runs["energy_j"] / true_images,
            full_correction=exact_j / true_images,
            ends_restored=whole_j / true_images,
            **{
                variant: (whole_j - idle[power] * whole_s) / true_images
                for variant, power in IDLE.items()
            },
        )

    @property
    def lost_w(self) -> float:
        """Mean power lost by cutting it to whole watts, over the raw logs."""
        runs = self.raw.runs
        if runs.empty:
            return EXPECTED_LOSS_W
        lost_j = runs["energy_j"] - runs["energy_j_whole_watts"]
        return float((lost_j / runs["duration_s"]).mean())

    @cached_property
    def idle_power(self) -> pd.DataFrame:
        """Median idle power by environment: in the first line, before and after work.

        In all three the framework holds the GPU's memory; in the first, the GPU is in a low-power
        state. Environments without raw logs have none.
        """
        return self.raw.runs.groupby("environment")[list(IDLE.values())].median()

    def log_path(self, run_id: str) -> Path | None:
        """Return the path of a run's GPU log, if it is readable."""
        return gpu_log(self.files, run_id) if run_id in set(self.raw.runs["run_id"]) else None

    @cached_property
    def epochs_from_logs(self) -> pd.DataFrame:
        """Epochs counted from each log alone, beside both published counts of the run."""
        counted = epochs_from_logs(self.files, self.raw)
        counts = [*KEY, "run_id", "epochs", "epochs_true", "removed_by_hand"]
        counted = counted.merge(self.every_run[counts], on="run_id")
        shared_s = self.raw.runs.set_index("run_id")["shared_s"]
        return counted.assign(shared_s=counted["run_id"].map(shared_s))

    def runs(self, variant: str = "published", removals: Removals = "by_hand") -> pd.DataFrame:
        """Return the runs table with a variant's energy per image, without removed runs.

        ``by_hand`` removes the same runs as the original; ``rule`` those of :attr:`outliers`, which
        are found from the published energies.
        """
        runs = self.every_run.assign(energy_j_per_image=self.every_run[variant])
        if removals == "by_hand":
            runs = runs[~runs["removed_by_hand"]]
        elif removals == "rule":
            runs = runs[runs["run_id"].isin(self.outliers.kept["run_id"])]
        return runs.reset_index(drop=True)

    def corrected(self, *environments: str) -> pd.DataFrame:
        """Return the runs with fully corrected gross energies, of some environments or all.

        Raises
        ------
        NotEnoughDataError
            No run of an environment has this energy.
        """
        runs = self.runs(CORRECTED).dropna(subset=["energy_j_per_image"])
        for name in environments:
            if name not in set(runs["environment"]):
                raise NotEnoughDataError(f"no run of {name} has this energy")
        return runs[runs["environment"].isin(environments)] if environments else runs

    def by_every_energy(self) -> dict[str, pd.DataFrame]:
        """Return all runs with the energy of each variant in joules, by its name."""
        return {VARIANTS[name]: self.runs(name, "none") for name in list(VARIANTS)[1:]}

    @cached_property
    def outliers(self) -> Outliers:
        """Outliers by the declared rule."""
        return find_outliers(self.every_run)

    @cached_property
    def shared(self) -> pd.DataFrame:
        """The raw runs during which another program held memory of the GPU."""
        return self.raw.runs[self.raw.runs["shared_s"] > 0]

    def without_shared(self) -> Reanalysis:
        """Return the re-analysis without the runs that shared their GPU."""
        return replace(self, table=self.table[~self.table["run_id"].isin(self.shared["run_id"])])

    def headline(self, removals: Removals = "by_hand") -> dict[str, Saving | Unavailable]:
        """Return each variant's largest saving between two conditions."""
        if removals not in self._headlines:
            by_variant = {variant: self.runs(variant, removals) for variant in VARIANTS}
            self._headlines[removals] = _headline(by_variant)
        return self._headlines[removals]

    def tests(self, variant: str = "published") -> dict[str, Comparison]:
        """Return the comparisons of both research questions; errors as :meth:`test`."""
        return {name: self.test(name, variant) for name in QUESTIONS}

    def test(self, name: str, variant: str = "published") -> Comparison:
        """Return one of the comparisons.

        Raises
        ------
        NotEnoughDataError
            Fewer than two groups have this energy.
        """
        by, value = QUESTIONS[name]
        if value != "energy_j_per_image":
            variant = "published"  # the variants differ in energy alone
        if (name, variant) not in self._compared:
            fixed, level = "environment", RQ1_ENVIRONMENT
            if by == "environment":
                fixed, level = "architecture", RQ2_ARCHITECTURE
            runs = self.runs(variant).dropna(subset=[value])
            if level not in set(runs[fixed]):
                raise NotEnoughDataError(f"no run of {level} has this energy")
            self._compared[name, variant] = _compared(filter_by(runs, fixed, level), value, by)
        return self._compared[name, variant]

    def medians(self, removals: Removals = "by_hand") -> pd.DataFrame:
        """Return n and medians by environment and architecture, as published."""
        runs = self.runs(removals=removals)
        groups = runs.groupby(CONDITION, sort=False)
        columns = [
            "energy_j_per_image", "device_utilization_pct", "duration_ms_per_image", "f1",
            "temperature_c", "power_w", "epochs", "duration_s",
        ]  # fmt: skip
        table = groups[columns].median()
        table.insert(0, "n", groups.size())
        return table.reset_index()

    @cached_property
    def effects(self) -> pd.DataFrame:
        """Headline savings: a row per claim, a column per variant in joules."""
        return _effects({variant: self.runs(variant) for variant in list(VARIANTS)[1:]})


_compared = remembered(compare)


@remembered
def _headline(by_variant: Mapping[str, pd.DataFrame]) -> dict[str, Saving | Unavailable]:
    return {
        variant: attempt(best_against_worst, runs, correctness=CORRECTNESS)
        for variant, runs in by_variant.items()
    }


@remembered
def _effects(by_variant: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    environments = next(iter(by_variant.values()))["environment"].unique()
    questions: dict[str, Callable[[pd.DataFrame], Saving]] = {
        "largest saving of all": partial(best_against_worst, correctness=CORRECTNESS),
        **{
            f"largest saving in {name}": partial(_largest_in, environment=name)
            for name in environments
        },
        **{
            f"{RQ2_ARCHITECTURE}, {RQ1_ENVIRONMENT} to {name}": partial(_by_moving, to=name)
            for name in (SMALLER_GPU, "Local N")
        },
    }
    columns = {
        variant: [attempt(question, runs) for question in questions.values()]
        for variant, runs in by_variant.items()
    }
    return pd.DataFrame({"claim": list(questions), **columns})


def _largest_in(runs: pd.DataFrame, environment: str) -> Saving:
    return best_against_worst(runs[runs["environment"] == environment], correctness=CORRECTNESS)


def _by_moving(runs: pd.DataFrame, to: str) -> Saving:
    """Return the saving of RQ2's architecture in another environment than RQ1's."""
    fixed = {"architecture": RQ2_ARCHITECTURE}
    before, after = fixed | {"environment": RQ1_ENVIRONMENT}, fixed | {"environment": to}
    return saving(runs, before, after, correctness=CORRECTNESS)
