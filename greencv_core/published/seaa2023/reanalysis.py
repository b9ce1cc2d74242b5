"""Our analysis of del Rey et al.'s measurements: as they computed, and corrected."""

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
from greencv_core.published import runs_from_files
from greencv_core.published.seaa2023.logs import RawRuns, epochs_from_logs, gpu_log, raw_runs
from greencv_core.published.seaa2023.runs import IMAGES_PER_EPOCH, KEY, NAME, RELEASE
from greencv_core.utils.downloads import Progress, fetch

Removals = Literal["none", "by_hand", "rule"]

VARIANTS: Mapping[str, str] = MappingProxyType(
    {
        "first_formula": "First version's formula",
        "published": "As published",
        "epochs_corrected": "Epochs corrected",
        "full_correction": "Epochs and decimals",
        "ends_restored": "Epochs, decimals, lost ends",
        "net_of_low": "The same, net of the low-power state",
        "net_of_before": "The same, net of the power before work",
        "net_of_after": "The same, net of the power after work",
    }
)
"""Ways to an energy per image. The first gives J s per image, all others J."""
CORRECTED = "ends_restored"
"""The variant with every correction that leaves the energy gross."""
IDLE: Mapping[str, str] = MappingProxyType(
    {
        "net_of_low": "low_power_w",
        "net_of_before": "before_power_w",
        "net_of_after": "after_power_w",
    }
)
"""Net variants, and the idle power of an environment that each takes off."""
EXPECTED_LOSS_W = 0.5
"""Of power cut to whole watts, where no raw log tells."""
RQ1_ENVIRONMENT, RQ2_ARCHITECTURE = "Cloud", "mobilenet_v2"
"""What the original fixes while it varies the other."""
CORRECTNESS = "f1"
"""The column of the published F1: the harmonic mean of the published precision and recall."""
SMALLER_GPU = "Local ML"
"""The other environment that has logs; that of RQ1 has the larger GPU."""
QUESTIONS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "rq1_energy": ("architecture", "energy_j_per_image"),
        "rq1_gpu_utilization": ("architecture", "device_utilization_pct"),
        "rq1_f1": ("architecture", "f1"),
        "rq2_energy": ("environment", "energy_j_per_image"),
        "rq2_gpu_utilization": ("environment", "device_utilization_pct"),
    }
)
"""The original's tests: what is compared between what."""


def load_reanalysis(progress: Progress | None = None) -> Reanalysis:
    """Download the published data, where they are not at hand, and read them.

    Raises
    ------
    DataUnavailableError
        They cannot be had here.
    """
    fetched = fetch(RELEASE, progress)
    table = runs_from_files(NAME, fetched)
    raw = raw_runs(fetched.files)
    return Reanalysis(table, raw, fetched.files, (*fetched.problems, *raw.problems))


@dataclass(frozen=True, eq=False)
class Reanalysis:
    """The published runs, their energies corrected step by step, and what follows from each.

    Parameters
    ----------
    table
        As :func:`greencv_core.published.seaa2023.runs.published_runs` returns it.
    raw
        What the raw logs tell, of all runs or of some.
    files
        Those at hand, by their path in the release.
    problems
        A line for each file that is missing, damaged or could not be read.
    """

    table: pd.DataFrame
    raw: RawRuns
    files: Mapping[str, Path]
    problems: tuple[str, ...]
    _compared: dict[tuple[str, str], Comparison] = field(
        default_factory=dict, init=False, repr=False
    )

    @cached_property
    def every_run(self) -> pd.DataFrame:
        """All runs; the energy per image of each variant in a column of the variant's name.

        Where a run's raw log is not at hand (``from_raw`` is false), the power lost by cutting it
        to whole watts is taken to be that of the others. Where a log lacks its end and nothing
        tells how much, the energy with that end is not known.
        """
        runs = self.table.copy()
        told = self._told_by_logs
        from_raw = told["energy_j"].notna().to_numpy()
        exact_j = np.where(
            from_raw, told["energy_j"], runs["energy_j"] + self.lost_w * runs["duration_s"]
        )
        # Where there is no log, that it lacks its end is not known either, and not assumed.
        missing_s = np.where(from_raw, told["missing_s"], 0.0)
        whole_j = exact_j + np.where(from_raw, told["missing_energy_j"], 0.0)
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

    @cached_property
    def _told_by_logs(self) -> pd.DataFrame:
        columns = ["energy_j", "missing_s", "missing_energy_j"]
        return (
            self.raw.runs.set_index("run_id")
            .reindex(columns=columns)
            .reindex(self.table["run_id"])
            .astype(float)
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
        """Median power without work by environment: in the first line, before and after work.

        In all three the framework holds the GPU's memory; in the first, the GPU is in a state of
        low power. Where there is no raw log, they are not known.
        """
        return self.raw.runs.groupby("environment")[list(IDLE.values())].median()

    def log_path(self, run_id: str) -> Path | None:
        """Return where a run's GPU log is, if it could be read."""
        return gpu_log(self.files, run_id) if run_id in set(self.raw.runs["run_id"]) else None

    @cached_property
    def epochs_from_logs(self) -> pd.DataFrame:
        """Epochs counted from each log alone, beside both published counts of the same run."""
        counted = epochs_from_logs(self.files, self.raw)
        counts = [*KEY, "run_id", "epochs", "epochs_true", "removed_by_hand"]
        counted = counted.merge(self.every_run[counts], on="run_id")
        shared_s = self.raw.runs.set_index("run_id")["shared_s"]
        return counted.assign(shared_s=counted["run_id"].map(shared_s))

    def runs(self, variant: str = "published", removals: Removals = "by_hand") -> pd.DataFrame:
        """Return the runs table with a variant's energy per image, less what a rule removes.

        ``by_hand`` are the runs that the original removed; ``rule`` is :attr:`outliers`, which is
        asked of the published energies.
        """
        runs = self.every_run.assign(energy_j_per_image=self.every_run[variant])
        if removals == "by_hand":
            runs = runs[~runs["removed_by_hand"]]
        elif removals == "rule":
            runs = runs[runs["run_id"].isin(self.outliers.kept["run_id"])]
        return runs.reset_index(drop=True)

    def corrected(self, *environments: str) -> pd.DataFrame:
        """Return the runs with gross energies corrected in every way; of some environments or all.

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
        """Return all runs once for each variant of joules, under its name."""
        return {
            VARIANTS[name].replace("The same, net", "Net"): self.runs(name, "none")
            for name in list(VARIANTS)[1:]
        }

    @cached_property
    def outliers(self) -> Outliers:
        """What the declared rule leaves out."""
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
        return {
            variant: attempt(
                best_against_worst, self.runs(variant, removals), correctness=CORRECTNESS
            )
            for variant in VARIANTS
        }

    def tests(self, variant: str = "published") -> dict[str, Comparison]:
        """Return the comparisons of both research questions, energy by one of the variants.

        Raises
        ------
        NotEnoughDataError
            As :meth:`test`.
        """
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
            fixed, level = (
                ("environment", RQ1_ENVIRONMENT)
                if by == "architecture"
                else ("architecture", RQ2_ARCHITECTURE)
            )
            runs = self.runs(variant).dropna(subset=[value])
            if level not in set(runs[fixed]):
                raise NotEnoughDataError(f"no run of {level} has this energy")
            self._compared[name, variant] = compare(filter_by(runs, fixed, level), value, by)
        return self._compared[name, variant]

    def medians(self, removals: Removals = "by_hand") -> pd.DataFrame:
        """Return n and medians by environment and architecture, as published."""
        runs = self.runs(removals=removals)
        groups = runs.groupby(["environment", "architecture"], sort=False)
        columns = [
            "energy_j_per_image", "device_utilization_pct", "duration_ms_per_image", "f1",
            "temperature_c", "power_w", "epochs", "duration_s",
        ]  # fmt: skip
        table = groups[columns].median()
        table.insert(0, "n", groups.size())
        return table.reset_index()

    @cached_property
    def effects(self) -> pd.DataFrame:
        """The headlines, a row each, by each variant of joules, a column each.

        Savings with their 95 % interval; where a variant lacks a condition, there is none.
        """
        questions: dict[str, Callable[[pd.DataFrame], Saving]] = {
            "largest saving of all": partial(best_against_worst, correctness=CORRECTNESS),
            **{
                f"largest saving in {name}": partial(_largest_in, environment=name)
                for name in self.every_run["environment"].unique()
            },
            **{
                f"{RQ2_ARCHITECTURE}, {RQ1_ENVIRONMENT} to {name}": partial(_by_moving, to=name)
                for name in (SMALLER_GPU, "Local N")
            },
        }
        columns = {
            variant: [attempt(ask, self.runs(variant)) for ask in questions.values()]
            for variant in list(VARIANTS)[1:]
        }
        return pd.DataFrame({"claim": list(questions), **columns})


def _largest_in(runs: pd.DataFrame, environment: str) -> Saving:
    return best_against_worst(runs[runs["environment"] == environment], correctness=CORRECTNESS)


def _by_moving(runs: pd.DataFrame, to: str) -> Saving:
    """Return what the architecture of RQ2 saves in another environment than that of RQ1."""
    fixed = {"architecture": RQ2_ARCHITECTURE}
    return saving(
        runs,
        fixed | {"environment": RQ1_ENVIRONMENT},
        fixed | {"environment": to},
        correctness=CORRECTNESS,
    )
