"""Effects of evidence tables that can be compared and pooled across data sets.

Each function takes one evidence table (:data:`.table_format.EVIDENCE_COLUMNS`). Rows that are left
out do not count. A condition enters by its median.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from greencv_core.analysis.choice.savings import saving
from greencv_core.analysis.comparison.noninferiority import DEFAULT_MARGIN
from greencv_core.analysis.result import Values
from greencv_core.published import DATA_SETS, load_adapter
from greencv_core.published.pooling import Effect
from greencv_core.published.tables import count_devices, counted_runs
from greencv_core.utils.text import number, percent

FEWEST_ARCHITECTURES = 4
"""Fewest points of a line: with three, its standard error has one degree of freedom."""
PAIR_RULE = (
    "Two pieces of hardware are compared if the same architectures were trained on the same data "
    "set, with the same framework and optimiser and the same batch on each device, each at its "
    "largest power limit. The larger one is the one that trains the most complex common "
    "architecture faster."
)
"""The rule for comparable pairs of hardware."""
_ENERGY, _GFLOPS = "energy_j_per_image", "gflops_per_image"
_SETTING = ["dataset", "framework", "batch", "optimizer"]
_SPEARMAN_SE = 1.06
"""Fieller and Pearson's (1961) factor of the standard error of Fisher's z of a rank correlation."""


def counted(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that count, with all columns that effects use.

    ``batch`` is the batch on each device: ``hardware`` begins with the number of devices where it
    is not one (``8x A100``). Where ``hardware`` is missing, the environment stands for it.
    """
    runs = counted_runs(table).copy()
    energy = runs["energy_j"].astype(float)
    images, duration_s = _numbers(runs, "images_processed"), _numbers(runs, "duration_s")
    runs[_ENERGY] = _numbers(runs, _ENERGY).fillna(energy / images)
    runs["duration_s_per_image"] = duration_s / images
    for name in (_GFLOPS, "correctness", "power_limit_w"):
        runs[name] = _numbers(runs, name)
    for name in ("dataset", "framework", "optimizer", "hardware"):
        runs[name] = _texts(runs, name)
    runs["hardware"] = runs["hardware"].where(runs["hardware"] != "", runs["environment"])
    runs["batch"] = (_numbers(runs, "batch_size") / count_devices(runs["hardware"])).fillna(0)
    runs.loc[_texts(runs, "correctness_left_out") != "", "correctness"] = math.nan
    return runs[runs[_ENERGY].notna()]


def hardware_scaling(table: pd.DataFrame) -> list[Effect]:
    """Return the exponent of GFLOPs in the energy on larger over smaller hardware.

    It is the slope of log10(energy per image on the larger / on the smaller) on log10(GFLOPs), by
    least squares over architectures, for each comparable pair (:data:`PAIR_RULE`) with at least
    four architectures. Below 0: the larger hardware takes relatively less, the more complex the
    architecture.
    """
    runs = _at_largest_limit(counted(table)).dropna(subset=[_GFLOPS])
    found = []
    for setting, part in runs.groupby(_SETTING, sort=False):
        for larger, smaller, both in _pairs(part, ["architecture"]):
            complexity = np.log10(both["complexity"].to_numpy())
            name = _pair_name(runs, larger, smaller, *setting[:3])
            found += _slope_effect(table, name, complexity, both, len(both))
    return found


def batch_scaling(table: pd.DataFrame) -> list[Effect]:
    """Return the exponent of GFLOPs x batch in the energy on larger over smaller hardware.

    As :func:`hardware_scaling`, with a point for each data set, architecture and batch, for data
    sets that vary the batch. ``df`` is the number of points less two.
    """
    runs = _at_largest_limit(counted(table)).dropna(subset=[_GFLOPS])
    runs = runs[runs["batch"] > 0]
    found = []
    for (framework, _), part in runs.groupby(["framework", "optimizer"], sort=False):
        if part.groupby(["hardware", "architecture"])["batch"].nunique().max() < 2:
            continue
        for larger, smaller, both in _pairs(part, ["dataset", "architecture", "batch"]):
            batches = both.index.get_level_values("batch").to_numpy(dtype=float)
            work = np.log10(both["complexity"].to_numpy() * batches)
            name = _pair_name(part, larger, smaller, "", framework, 0)
            architectures = both.index.get_level_values("architecture").nunique()
            found += _slope_effect(table, name, work, both, architectures)
    return found


def _at_largest_limit(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of each hardware at its largest power limit, and those without a limit."""
    largest = runs.groupby("hardware")["power_limit_w"].transform("max")
    return runs[runs["power_limit_w"].isna() | (runs["power_limit_w"] == largest)]


def _pairs(runs: pd.DataFrame, points: list[str]) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield larger and smaller hardware, and the medians of both at each common point.

    Columns: ``complexity`` (GFLOPs), ``ratio`` (energy per image on the larger / the smaller).
    """
    keys = [*points, "hardware"]
    medians = runs.groupby(keys)[[_ENERGY, "duration_s_per_image", _GFLOPS]].median()
    energy, time, gflops = (
        medians[name].unstack("hardware") for name in (_ENERGY, "duration_s_per_image", _GFLOPS)
    )
    for pair in itertools.combinations(map(str, energy.columns), 2):
        common = energy[list(pair)].dropna().index
        if len(common) < FEWEST_ARCHITECTURES:
            continue
        complexity = gflops.loc[common, list(pair)].median(axis=1)
        # The most complex architecture; of several batches of it, the largest.
        hardest = complexity.reset_index().iloc[:, -1].to_numpy()
        place = int(np.flatnonzero(hardest == hardest.max())[-1])
        fast = time.loc[common[place], list(pair)]
        if fast.isna().any():
            continue
        larger = str(fast.idxmin())
        smaller = pair[0] if larger == pair[1] else pair[1]
        ratio = energy.loc[common, larger] / energy.loc[common, smaller]
        yield larger, smaller, pd.DataFrame({"complexity": complexity, "ratio": ratio})


def _slope_effect(
    table: pd.DataFrame, pair: str, x: Values, both: pd.DataFrame, architectures: int
) -> list[Effect]:
    if np.ptp(x) == 0:
        return []
    line = stats.linregress(x, np.log10(both["ratio"].to_numpy()))
    source = source_of(table)
    return [
        Effect(source, laboratory_of(source), pair, architectures, float(line.slope),
               float(line.stderr), len(x) - 2)
    ]  # fmt: skip


def _pair_name(
    runs: pd.DataFrame, larger: str, smaller: str, dataset: str, framework: str, batch: float
) -> str:
    """Return ``larger/smaller``, with what else distinguishes pairs of this table."""
    levels = [(dataset, "dataset"), (framework, "framework"), (f"batch {batch:g}", "batch")]
    varying = [
        level for level, column in levels
        if level and not (column == "batch" and not batch) and runs[column].nunique() > 1
    ]  # fmt: skip
    return f"{larger}/{smaller}" + (f" ({', '.join(varying)})" if varying else "")


@dataclass(frozen=True)
class EnvironmentSaving:
    """Saving between two architectures of one data set and environment."""

    source: str
    laboratory: str
    dataset: str
    environment: str
    dear: str
    """Architecture to compare with."""
    cheap: str
    """Architecture that saves; the same as ``dear`` if no other one does."""
    architectures: int
    """Architectures that could have been chosen."""
    gflops_span: float
    """GFLOPs of the most complex of them over those of the simplest; NaN if unknown."""
    saving: float
    ci_low: float
    """NaN with one run of a condition."""
    ci_high: float
    n_dear: int
    n_cheap: int
    correctness_loss: float
    """Median correctness of ``dear`` less that of ``cheap``; NaN if unknown."""
    effect: Effect
    """log10 of the ratio of mean energies per image (geometric), cheap over dear."""

    def sentence(self) -> str:
        """Describe the saving and its interval."""
        where = f"{self.dataset}, {self.environment}" if self.dataset else self.environment
        if self.architectures == 1:
            return f"{where}: no other architecture qualifies than {self.dear}."
        if self.cheap == self.dear:
            return (
                f"{where}: none of {self.architectures} architectures saves energy against "
                f"{self.dear}."
            )
        interval = (
            "one run a condition, so no interval"
            if math.isnan(self.ci_low)
            else f"95% interval {percent(self.ci_low)} to {percent(self.ci_high)}"
        )
        span = "" if math.isnan(self.gflops_span) else f", GFLOPs 1 to {number(self.gflops_span)}"
        return (
            f"{where}: {self.cheap} uses {percent(self.saving)} less energy per image than "
            f"{self.dear} ({interval}; {self.architectures} architectures{span})."
        )


def savings_at_margin(
    table: pd.DataFrame, margin: float = DEFAULT_MARGIN
) -> list[EnvironmentSaving]:
    """Return what the cheapest architecture saves that is at most ``margin`` below the best.

    For each data set and environment: against the architecture of the highest median correctness,
    among those whose median is at most ``margin`` (0.02: two points) below it.
    """
    found = []
    for runs in _environments(counted(table).dropna(subset=["correctness"])):
        medians = runs.groupby("architecture", sort=False)[[_ENERGY, "correctness"]].median()
        best = medians["correctness"].max()
        # Decimals such as 0.75 - 0.73 are not exactly 0.02.
        near = medians[medians["correctness"] >= best - margin - 1e-9]
        top = near[near["correctness"] == best]
        found.append(_saving(table, runs, str(top[_ENERGY].idxmin()), str(near[_ENERGY].idxmin()),
                             len(near), len(near) - 1))  # fmt: skip
    return found


def largest_savings(table: pd.DataFrame) -> list[EnvironmentSaving]:
    """Return the largest saving between two architectures of each data set and environment."""
    found = []
    for runs in _environments(counted(table)):
        medians = runs.groupby("architecture", sort=False)[_ENERGY].median()
        names = str(medians.idxmax()), str(medians.idxmin())
        found.append(_saving(table, runs, *names, len(medians), math.comb(len(medians), 2)))
    return found


def _environments(runs: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the runs of each data set and environment with at least two architectures."""
    for _, part in runs.groupby(["dataset", "environment"], sort=False):
        if part["architecture"].nunique() > 1:
            yield part


def _saving(
    table: pd.DataFrame, runs: pd.DataFrame, dear: str, cheap: str, architectures: int, pairs: int
) -> EnvironmentSaving:
    """Return the saving that was picked from so many pairs."""
    source, first = source_of(table), runs.iloc[0]
    by_name = {name: part for name, part in runs.groupby("architecture", sort=False)}
    a, b = by_name[dear], by_name[cheap]
    estimate = 1 - float(b[_ENERGY].median() / a[_ENERGY].median())
    se, df, low, high = math.nan, math.inf, math.nan, math.nan
    if dear != cheap and min(len(a), len(b)) > 1:
        ends = {"architecture": dear}, {"architecture": cheap}
        found = saving(runs, *ends, correctness="correctness").picked(architectures, pairs)
        estimate, low, high = found.saving, found.ci_low, found.ci_high
        if found.contrast.se > 0:
            se, df = found.contrast.se / math.log(10), found.contrast.df
    where = f"{first['dataset']}, {first['environment']}".removeprefix(", ")
    lab = laboratory_of(source)
    return EnvironmentSaving(
        source=source, laboratory=lab,
        dataset=str(first["dataset"]), environment=str(first["environment"]),
        dear=dear, cheap=cheap, architectures=architectures,
        gflops_span=float(runs[_GFLOPS].max() / runs[_GFLOPS].min()),
        saving=estimate, ci_low=low, ci_high=high, n_dear=len(a), n_cheap=len(b),
        correctness_loss=float(a["correctness"].median() - b["correctness"].median()),
        effect=Effect(source, lab, f"{cheap}/{dear} ({where})", architectures,
                      math.log10(1 - estimate), se, df),
    )  # fmt: skip


def energy_gflops_correlations(table: pd.DataFrame) -> list[Effect]:
    """Return the rank correlation of energy per image and GFLOPs, as Fisher's z.

    For each data set and environment with at least four architectures, over their medians; the
    hyperbolic tangent of the estimate is Spearman's coefficient.
    """
    source = source_of(table)
    found = []
    for runs in _environments(counted(table).dropna(subset=[_GFLOPS])):
        medians = runs.groupby("architecture")[[_ENERGY, _GFLOPS]].median()
        n = len(medians)
        if n < FEWEST_ARCHITECTURES or medians[_GFLOPS].nunique() < 2:
            continue
        rho = float(stats.spearmanr(medians[_ENERGY], medians[_GFLOPS]).statistic)
        # A perfect correlation has no finite z; the largest imperfect one of n ranks does.
        bound = 1 - 6 / (n * (n**2 - 1))
        z = math.atanh(float(np.clip(rho, -bound, bound)))
        first = runs.iloc[0]
        where = f"{first['dataset']}, {first['environment']}".removeprefix(", ")
        found.append(
            Effect(source, laboratory_of(source), where, n, z, _SPEARMAN_SE / math.sqrt(n - 3))
        )
    return found


def source_of(table: pd.DataFrame) -> str:
    """Return the key of the table's source."""
    return str(table["source"].iloc[0]) if len(table) else ""


def laboratory_of(source: str) -> str:
    """Return who measured: the card's laboratory; of any other table, its source."""
    if source not in DATA_SETS:
        return source
    card = getattr(load_adapter(source), "CARD", None)
    return source if card is None else str(card.laboratory)


def _texts(table: pd.DataFrame, name: str) -> pd.Series:
    if name not in table:
        return pd.Series("", index=table.index)
    return table[name].astype(object).where(table[name].notna(), "").astype(str)


def _numbers(table: pd.DataFrame, name: str) -> pd.Series:
    if name not in table:
        return pd.Series(math.nan, index=table.index)
    numbers: pd.Series = pd.to_numeric(table[name], errors="coerce").astype(float)
    return numbers
