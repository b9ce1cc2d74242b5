"""Runs of a condition that drift, or fall into groups: sessions, times or values.

Every condition of five or more runs has up to four tests of the logarithms, in the order of the
runs' starts. The means of the plan's blocks, which show what all conditions share, have two. Each
of these two families has half of the 5% of false alarms, with Holm's correction: where nothing
drifts and no groups exist, at most 5% of studies name anything (``benchmarks/stability.py``).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import pandas as pd
from scipy import stats

from greencv_core.analysis.comparison.pairwise import holm
from greencv_core.analysis.result import ALPHA, NotEnoughDataError, Values
from greencv_core.analysis.selection import CONDITION, condition_name
from greencv_core.analysis.sessions import start_times
from greencv_core.analysis.units import BLOCK, SESSION, mark_units
from greencv_core.utils.text import as_opening, count, left_out_clause, p_value, percent, quantity

FEWEST_RUNS = 5
FEWEST_IN_GROUP = 2
SIMULATIONS = 20_000
SIMULATED_AT_ONCE = 2_000_000
SEED = 20_231
ROUNDING = 1e-9
"""Largest difference of logarithms of equal values."""
MOST_NAMED = 5
DRIFT, JUMP, SESSIONS, GROUPS = "drift", "jump", "sessions", "two groups"
ALL_CONDITIONS = "the mean of all conditions"
_SHAPES = {
    DRIFT: "{up} by {size} from the first to the last run",
    JUMP: "{up} by {size} after run {after} of {n}",
    SESSIONS: "differs by {size} between the lowest and the highest session",
    GROUPS: "falls into two groups {size} apart",
}


@dataclass(frozen=True)
class Stability:
    """Conditions whose runs drift or fall into groups."""

    value: str
    series: pd.DataFrame
    """architecture, environment, n, kind (of the smallest p), size (relative difference), after
    (runs before a jump, else 0), p and p_holm (over all tests of the study). Missing architecture
    and environment: means of the blocks over all conditions."""
    tests: int
    left_out: tuple[str, ...] = ()
    """Conditions of fewer than five runs."""

    @property
    def unstable(self) -> pd.DataFrame:
        """The series that are named, the smallest p first."""
        named = self.series[self.series["p_holm"] < ALPHA]
        return named.sort_values("p", kind="stable")

    def sentence(self) -> str:
        """Name the conditions whose runs drift or fall into groups, with the size of it."""
        conditions = count(int(self.series["architecture"].notna().sum()), "condition")
        clause = left_out_clause(self.left_out, f"fewer than {FEWEST_RUNS} runs")
        found = self.unstable
        if found.empty:
            return (
                f"The data show no drift and no groups among the runs of {conditions} "
                f"({count(self.tests, 'test')}, Holm-corrected){clause}."
            )
        parts = [self._describe(row) for row in found.head(MOST_NAMED).to_dict("records")]
        more = f"; and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        return f"{as_opening(quantity(self.value))}: {'; '.join(parts)}{more}{clause}."

    def summary(self) -> str:
        """Say in one sentence how many conditions drift or fall into groups."""
        found, named = self.unstable, quantity(self.value)
        single = found[found["architecture"].notna()]
        of = count(int(self.series["architecture"].notna().sum()), "condition")
        parts = [f"in {len(single)} of {of}, {named} drifts or falls into groups"]
        shared = found[found["architecture"].isna()].to_dict("records")
        parts += [self._describe(row) for row in shared]
        return f"{as_opening('; '.join(parts))}."

    def table(self) -> pd.DataFrame:
        """Return the series."""
        return self.series

    def _describe(self, row: Mapping[str, object]) -> str:
        size = float(str(row["size"]))
        name = ALL_CONDITIONS
        if isinstance(row["architecture"], str):
            name = condition_name([row[key] for key in CONDITION])
        up = "rises" if size > 0 else "falls"
        shape = _SHAPES[str(row["kind"])].format_map({**row, "up": up, "size": percent(abs(size))})
        return f"{name} {shape} ({p_value(float(str(row['p_holm'])))})"


def stability(runs: pd.DataFrame, value: str = "energy_j_per_image") -> Stability:
    """Test whether a value's logarithm drifts or has groups, in each condition and over all.

    - drift: slope over the order of the runs (t test);
    - jump: the largest share of the variance that a division in time explains, against normal
      values;
    - sessions: analysis of variance between sessions, with two sessions or more of known name;
    - two groups: the same share for a division by value, against uniform values, which have the
      largest share of all distributions without a dip that are usual.

    P values of the second and the fourth are those of 20,000 simulations, with a fixed seed.
    """
    known = mark_units(runs).dropna(subset=[value])
    if not (known[value] > 0).all():
        raise NotEnoughDataError(
            f"drift is tested by logarithms, and a {quantity(value)} is not above 0"
        )
    known = known.assign(log=np.log(known[value].astype(float)), place=_place(known))
    known = known.sort_values("place", kind="stable")
    conditions: _Series = {}
    left_out = []
    for key, part in known.groupby(list(CONDITION), sort=False, observed=True):
        if len(part) < FEWEST_RUNS:
            left_out.append(condition_name(key))
            continue
        logs = part["log"].to_numpy()
        found = [*_in_time(logs), _two_groups(logs), *_between_sessions(part)]
        conditions[tuple(key)] = len(part), found
    if not conditions:
        raise NotEnoughDataError(f"no condition has {FEWEST_RUNS} runs")
    blocks = _block_means(known)
    shared = list(_in_time(blocks)) if len(blocks) >= FEWEST_RUNS else []
    families: list[_Series] = [conditions]
    if shared:
        families.append({(None, None): (len(blocks), shared)})
    rows = [row for family in families for row in _family(family, len(families))]
    tests = sum(len(found) for family in families for _, found in family.values())
    return Stability(value, pd.DataFrame(rows), tests, tuple(left_out))


def _family(series: _Series, families: int) -> Iterator[dict[str, object]]:
    """Yield the test of the smallest p of each series, corrected for all tests of all families."""
    corrected = iter(holm([test.p for _, tests in series.values() for test in tests]))
    for key, (n, tests) in series.items():
        p, test = min(((next(corrected), test) for test in tests), key=lambda pair: pair[1].p)
        yield {
            **dict(zip(CONDITION, key, strict=True)), "n": n, "kind": test.kind,
            "size": test.size, "after": test.after, "p": test.p, "p_holm": min(1.0, families * p),
        }  # fmt: skip


@dataclass(frozen=True)
class _Test:
    kind: str
    size: float
    p: float
    after: int = 0


_Series: TypeAlias = dict[tuple[object, ...], tuple[int, list[_Test]]]
"""Number of runs and tests, by condition."""


def _in_time(logs: Values) -> Iterator[_Test]:
    """Return the tests of drift and of a jump, of logarithms in the order of time."""
    n = len(logs)
    if np.ptp(logs) < ROUNDING:
        return
    line = stats.linregress(np.arange(n), logs)
    p = float(line.pvalue) if math.isfinite(line.pvalue) else 0.0
    yield _Test(DRIFT, math.expm1(float(line.slope) * (n - 1)), p)
    after, share = _best_division(logs)
    size = math.expm1(float(logs[after:].mean() - logs[:after].mean()))
    yield _Test(JUMP, size, _simulated_p(share, _null(n, "normal")), after)


def _two_groups(logs: Values) -> _Test:
    values = np.sort(logs)
    if np.ptp(values) < ROUNDING:
        return _Test(GROUPS, 0.0, 1.0)
    after, share = _best_division(values)
    size = math.expm1(float(values[after:].mean() - values[:after].mean()))
    return _Test(GROUPS, size, _simulated_p(share, _null(len(values), "uniform")))


def _between_sessions(part: pd.DataFrame) -> Iterator[_Test]:
    known = part.dropna(subset=[SESSION])
    groups = [logs.to_numpy() for _, logs in known.groupby(SESSION)["log"]]
    if (
        len(groups) < 2
        or sum(map(len, groups)) - len(groups) < 2
        or np.ptp(known["log"]) < ROUNDING
    ):
        return
    p = float(stats.f_oneway(*groups).pvalue)
    means = [group.mean() for group in groups]
    yield _Test(SESSIONS, math.expm1(max(means) - min(means)), p if math.isfinite(p) else 0.0)


def _best_division(logs: Values) -> tuple[int, float]:
    """Return where a series divides best, and the share of the variance between its parts."""
    shares = _shares(logs[np.newaxis])[0]
    best = int(shares.argmax())
    return best + FEWEST_IN_GROUP, float(shares[best])


def _shares(samples: Values) -> Values:
    """Return the share of the variance between both parts, for each division of each row."""
    n = samples.shape[1]
    centred = samples - samples.mean(axis=1, keepdims=True)
    first = np.arange(FEWEST_IN_GROUP, n - FEWEST_IN_GROUP + 1)
    sums = np.cumsum(centred, axis=1)[:, first - 1]
    total = (centred**2).sum(axis=1, keepdims=True)
    shares: Values = sums**2 * n / (first * (n - first)) / total
    return shares


@lru_cache(maxsize=64)
def _null(n: int, shape: str) -> Values:
    """Return the sorted largest shares of simulated series of ``n`` values without groups."""
    rng = np.random.default_rng([SEED, n])
    rows = max(1, SIMULATED_AT_ONCE // n)
    found = []
    for start in range(0, SIMULATIONS, rows):
        size = min(rows, SIMULATIONS - start), n
        samples = rng.normal(size=size) if shape == "normal" else np.sort(rng.uniform(size=size))
        found.append(_shares(samples).max(axis=1))
    return np.sort(np.concatenate(found))


def _simulated_p(share: float, null: Values) -> float:
    above = len(null) - int(np.searchsorted(null, share * (1 - 1e-12)))
    return (above + 1) / (len(null) + 1)


def _place(runs: pd.DataFrame) -> pd.Series:
    """Return what orders the runs in time: their start, else their place in the plan."""
    started = start_times(runs)
    if len(runs) and started.notna().all():
        return started
    return runs["order"] if "order" in runs else runs["repetition"]


def _block_means(runs: pd.DataFrame) -> Values:
    """Return the mean of each block over the conditions that most often share the same blocks."""
    table = runs.pivot_table(
        "log", BLOCK, list(CONDITION), aggfunc="mean", sort=False, observed=True
    )
    blocks = [tuple(table[condition].notna()) for condition in table]
    usual, conditions = Counter(blocks).most_common(1)[0]
    if conditions < 2:
        return np.array([])
    shared = table.loc[list(usual), [found == usual for found in blocks]]
    means: Values = shared.mean(axis=1).to_numpy()
    return means
