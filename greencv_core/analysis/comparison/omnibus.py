"""Whether groups differ: tests of all pairs, omnibus tests, effect sizes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.oneway import anova_oneway

from greencv_core.analysis.bootstrap import SEED
from greencv_core.analysis.comparison.pairwise import compared_pairs, holm, t_tests
from greencv_core.analysis.result import ALPHA, NotEnoughDataError, Unavailable, Values, attempt
from greencv_core.analysis.units import marked_columns, run_units, units
from greencv_core.utils.text import (
    as_opening,
    count,
    left_out_clause,
    listed,
    p_value,
    quantity,
)

FEWEST_RUNS = 3
"""Runs of a group that is tested; of two, a variance has one degree of freedom."""
_CORRECTNESS = ("accuracy", "f1_macro")
ARRANGEMENTS = 4_999
"""Random arrangements of a permutation test; it is exact if there are no more than these."""
FEWEST_ARRANGEMENTS, MOST_PERMUTED = 999, 50_000_000
"""Fewest random arrangements, and most values in all of them: more than 10,000 runs get fewer."""
VALUES_AT_ONCE = 1_000_000
"""Values of arrangements that are in memory at once; how many does not change the p value."""


@dataclass(frozen=True)
class Comparison:
    """A value compared between groups.

    One rule decides: groups differ if a t test tells a pair apart, after Holm's correction for all
    pairs. Units are sessions where a group has several, else runs, paired where groups share
    blocks (:mod:`greencv_core.analysis.units`). Welch's and Kruskal and Wallis' omnibus tests, and
    the tests of Games and Howell and of Dunn, are figures besides: with few runs, or with spreads
    that differ, they reject too often.
    """

    value: str
    by: str
    groups: pd.DataFrame
    """group, n, sessions, median, q1, q3, mean, sd, shapiro_w, shapiro_p."""
    levene_w: float
    levene_p: float
    """Brown-Forsythe: Levene's test about the medians."""
    welch_f: float
    welch_df1: float
    welch_df2: float
    welch_p: float
    kruskal_h: float
    kruskal_p: float
    eta_squared: float
    """Effect size of the ranks: (H - k + 1) / (n - k) (Tomczak and Tomczak 2014)."""
    epsilon_squared: float
    """Effect size of the ranks: H / (n - 1) (Tomczak and Tomczak 2014)."""
    omega_squared: float
    """Effect size of the means: df1 (F - 1) / (df1 (F - 1) + n), with Welch's F (Hays 1963)."""
    pairs: pd.DataFrame
    """As :func:`greencv_core.analysis.comparison.pairwise.t_tests` and, if asked for,
    :func:`~greencv_core.analysis.comparison.pairwise.compared_pairs` return them."""
    permutation_p: float
    """P value of a permutation test, which assumes groups of one shape and spread; NaN if not asked
    for. In a family, adjusted by Holm's method."""
    permutation_lowest: float
    """Lowest p value that this test can give, of a family multiplied by its size; above 5%, it can
    show nothing."""
    family: int
    """Number of pairs that are adjusted together; see :func:`compare_each`."""
    left_out: tuple[str, ...] = ()
    """Groups of too few runs."""

    @property
    def p(self) -> float:
        """Lowest p value of the pairs, adjusted."""
        return float(self.pairs["t_p_holm"].min())

    @property
    def significant(self) -> bool:
        """Whether a pair of groups is told apart at 5%."""
        return self.p < ALPHA

    @property
    def pairs_differing(self) -> int:
        """Number of pairs that are told apart at 5%."""
        return int((self.pairs["t_p_holm"] < ALPHA).sum())

    def statistics(self) -> str:
        """Return the test that decides, and its p value."""
        unit = "sessions" if self.groups["sessions"].max() > 1 else "blocks"
        paired = self.pairs["paired"]
        test = "Welch's t test"
        if paired.any():
            test = f"t test{'' if paired.all() else ', in part'} paired over {unit}"
        elif unit == "sessions":
            test = "Welch's t test of session means"
        if self.family == 1:
            return f"{test}, {p_value(self.p)}"
        lowest = "lowest " if len(self.pairs) > 1 else ""
        return f"{test}, {lowest}{p_value(self.p)} by Holm's method for {self.family} pairs"

    def sentence(self) -> str:
        """Describe the test, the effect size and the pairs; a negative effect size reads as 0."""
        k, n = len(self.groups), int(self.groups["n"].sum())
        value = quantity(self.value)
        verdict = (
            f"{as_opening(value)} differs between the {k} {self.by}s"
            if self.significant
            else f"The data show no difference in {value} between the {k} {self.by}s"
        )
        effect = f"omega squared = {max(0.0, self.omega_squared):.2f}, n = {n}"
        text = f"{verdict} ({self.statistics()}; {effect})"
        if k > 2:
            pairs = count(len(self.pairs), "pair")
            text += f"; {self.pairs_differing} of {pairs} differ significantly"
            if "cliffs_delta" in self.pairs:
                apart = int((self.pairs["cliffs_delta"].abs() == 1).sum())
                text += f", {apart} without overlap"
        untested = int(self.pairs["t_p"].isna().sum())
        if untested:
            text += f"; {count(untested, 'pair')} without any spread cannot be tested"
        if np.isfinite(self.permutation_p):
            text += f"; a permutation test, which assumes equal spreads, {self._permuted()}"
        return text + left_out_clause(self.left_out, f"fewer than {FEWEST_RUNS} runs") + "."

    def _permuted(self) -> str:
        if self.permutation_lowest >= ALPHA:
            lowest = p_value(self.permutation_lowest)
            return f"cannot be significant with so few units (at best, {lowest})"
        answer = "agrees" if (self.permutation_p < ALPHA) == self.significant else "disagrees"
        return f"{answer} ({p_value(self.permutation_p)})"

    def assumptions(self) -> str:
        """Describe the checks of normality and of equal variances."""
        checked = self.groups["shapiro_p"].notna()
        odd = [str(g) for g in self.groups.loc[self.groups["shapiro_p"] < ALPHA, "group"]]
        if not checked.any():
            normal = "No group has enough runs that differ for a check of normality"
        elif odd:
            normal = (
                f"Not normal by the Shapiro-Wilk test at 5%: {listed(odd)} "
                f"({len(odd)} of {count(int(checked.sum()), 'group')})"
            )
        else:
            normal = (
                "The data show no departure from normality (Shapiro-Wilk, lowest "
                f"{p_value(float(self.groups['shapiro_p'].min()))})"
            )
        if np.isnan(self.levene_p):
            return f"{normal}; variances cannot be compared."
        differ = "differ" if self.levene_p < ALPHA else "do not differ significantly"
        return f"{normal}; variances {differ} (Brown-Forsythe, {p_value(self.levene_p)})."

    def table(self) -> pd.DataFrame:
        """Return the test that decides and the omnibus tests, one row each."""
        k, n = len(self.groups), int(self.groups["n"].sum())
        welch_df = f"{self.welch_df1:.0f}; {self.welch_df2:.1f}"
        rows = [
            ("t tests of pairs, lowest p (Holm)", None, np.nan, None, self.p, None),
            ("Permutations of Welch's test", None, np.nan, None, self.permutation_p, None),
            ("Welch's ANOVA (means)", "F", self.welch_f, welch_df, self.welch_p,
             f"omega squared {self.omega_squared:.3f}"),
            ("Kruskal-Wallis (ranks)", "H", self.kruskal_h, f"{k - 1}", self.kruskal_p,
             f"eta squared {self.eta_squared:.3f}, epsilon squared {self.epsilon_squared:.3f}"),
            ("Brown-Forsythe (variances)", "W", self.levene_w, f"{k - 1}; {n - k}", self.levene_p,
             None),
        ]  # fmt: skip
        columns = ["test", "statistic", "value", "df", "p", "effect_size"]
        return pd.DataFrame(rows, columns=columns).assign(primary=[True] + [False] * 4)


def compare(runs: pd.DataFrame, value: str, by: str, *, pairs: bool = True) -> Comparison:
    """Compare ``value`` between the groups of column ``by`` that have three runs or more.

    Without ``pairs`` (which take long with many groups), pairs are tested and not described, and
    there is no permutation test.

    Raises
    ------
    NotEnoughDataError
        There are fewer than two such groups, or no pair has any spread to test against.
    """
    every = {
        str(name): part.dropna(subset=[value])
        for name, part in marked_columns(runs, [by, value]).groupby(by, sort=False, observed=True)
    }
    parts = {name: part for name, part in every.items() if len(part) >= FEWEST_RUNS}
    if len(parts) < 2:
        raise NotEnoughDataError(
            f"a comparison of {quantity(value)} needs at least 2 {by}s of at least {FEWEST_RUNS} "
            f"runs each, and there {'is' if len(parts) == 1 else 'are'} {len(parts)}"
        )
    unit_means = run_units if value in _CORRECTNESS else units
    of_units = {name: unit_means(part, value) for name, part in parts.items()}
    tests = t_tests(of_units)
    if tests["t_p"].isna().all():
        raise NotEnoughDataError(
            f"{quantity(value)} is the same in all runs of each {by}: there is no spread to test "
            "against"
        )
    groups = {name: part[value].to_numpy(dtype=float) for name, part in parts.items()}
    sessions = [len(u) if u.index.name == "session" else 1 for u in of_units.values()]
    permuted = permutation_p(of_units, tests["paired"].all()) if pairs else (np.nan, np.nan)
    return Comparison(
        value=value,
        by=by,
        pairs=tests.join(compared_pairs(groups)) if pairs else tests,
        permutation_p=permuted[0],
        permutation_lowest=permuted[1],
        family=int(tests["t_p"].notna().sum()),
        left_out=tuple(name for name in every if name not in groups),
        **_omnibus(groups, sessions),
    )


def _omnibus(groups: Mapping[str, Values], sessions: Sequence[int]) -> dict[str, Any]:
    """Return the groups and the omnibus tests; figures that are not defined are NaN."""
    values = list(groups.values())
    described = pd.DataFrame([_describe(name, v) for name, v in groups.items()])
    described.insert(2, "sessions", sessions)
    n, k = sum(map(len, values)), len(values)
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        # Groups without spread make these tests divide by zero; the result is NaN.
        levene = stats.levene(*values, center="median")
        welch = anova_oneway(values, use_var="unequal")
        h, p = stats.kruskal(*values)
    between = float(welch.df[0]) * (float(welch.statistic) - 1)
    return {
        "groups": described,
        "levene_w": float(levene.statistic),
        "levene_p": float(levene.pvalue),
        "welch_f": float(welch.statistic),
        "welch_df1": float(welch.df[0]),
        "welch_df2": float(welch.df[1]),
        "welch_p": float(welch.pvalue),
        "kruskal_h": float(h),
        "kruskal_p": float(p),
        "eta_squared": float((h - k + 1) / (n - k)),
        "epsilon_squared": float(h / (n - 1)),
        "omega_squared": between / (between + n) if np.isfinite(between) else np.nan,
    }


def compare_each(
    runs: pd.DataFrame, value: str, by: str, within: str, *, pairs: bool = True
) -> dict[str, Comparison | Unavailable]:
    """Compare groups within each level of another column, as one family.

    The tests of all pairs of all levels are adjusted together by Holm's method, Dunn's too, and so
    are the permutation tests.
    """
    every = {
        str(name): attempt(compare, part, value, by, pairs=pairs)
        for name, part in marked_columns(runs, [within, by, value]).groupby(
            within, sort=False, observed=True
        )
    }
    answered = {name: c for name, c in every.items() if isinstance(c, Comparison)}
    if len(answered) < 2:
        return every
    table = pd.concat([c.pairs for c in answered.values()], keys=answered)
    for column in {"t_p", "dunn_p"} & set(table):
        table[f"{column}_holm"] = holm(table[column])
    permuted = holm([c.permutation_p for c in answered.values()])
    for (name, comparison), p in zip(answered.items(), permuted, strict=True):
        every[name] = replace(
            comparison,
            family=int(table["t_p"].notna().sum()),
            permutation_p=p,
            permutation_lowest=min(1.0, comparison.permutation_lowest * len(answered)),
            pairs=table.loc[name],
        )
    return every


def permutation_p(of_units: Mapping[str, pd.Series], paired: bool) -> tuple[float, float]:
    """Return the p value of a permutation test of equal groups, and the lowest that it can give.

    Paired units change places within their block or session, and the statistic is the spread of
    the means; others change places between all groups, and it is the p value of Welch's analysis of
    variance, which keeps 5% with two groups of unequal size and spread better than its F.
    """
    series = list(of_units.values())
    shared = [name for name in series[0].index if all(name in other for other in series[1:])]
    blocked = paired and len(shared) > 1
    samples = [s.loc[shared].to_numpy() if blocked else s.to_numpy() for s in series]
    runs = sum(map(len, samples))
    result = stats.permutation_test(
        samples,
        _spread_of_means if blocked else _welch_evidence,
        permutation_type="samples" if blocked else "independent",
        vectorized=True,
        n_resamples=int(np.clip(MOST_PERMUTED // runs, FEWEST_ARRANGEMENTS, ARRANGEMENTS)),
        batch=max(1, VALUES_AT_ONCE // runs),
        alternative="greater",
        random_state=np.random.default_rng(SEED),
    )
    highest = result.null_distribution.max()
    reached = np.isclose(result.null_distribution, highest, rtol=1e-9)
    return float(result.pvalue), min(float(result.pvalue), float(reached.mean()))


def _spread_of_means(*samples: Values, axis: int) -> Values:
    spread: Values = np.var([sample.mean(axis=axis) for sample in samples], axis=0)
    return spread


def _welch_evidence(*samples: Values, axis: int) -> Values:
    """Return minus the logarithm of the p value of Welch's analysis of variance."""
    k, n = len(samples), np.array([sample.shape[axis] for sample in samples])
    means = np.stack([sample.mean(axis=axis) for sample in samples], axis=-1)
    # Tied values have no variance; a tiny one keeps the statistic defined.
    variances = np.stack([sample.var(axis=axis, ddof=1) for sample in samples], axis=-1)
    weights = n / np.maximum(variances, 1e-12 * means.var() + 1e-300)
    total = weights.sum(axis=-1, keepdims=True)
    middle = (weights * means).sum(axis=-1, keepdims=True) / total
    spread = ((1 - weights / total) ** 2 / (n - 1)).sum(axis=-1)
    f = (weights * (means - middle) ** 2).sum(axis=-1) / (k - 1)
    f /= 1 + 2 * (k - 2) / (k**2 - 1) * spread
    evidence: Values = -stats.f.logsf(f, k - 1, (k**2 - 1) / (3 * spread))
    return np.fmin(evidence, np.finfo(float).max / 2)  # infinities cannot be compared


def shapiro_wilk(values: Values) -> tuple[float, float]:
    """Return W and p of the test of normality; p is approximate above 5000 values."""
    with warnings.catch_warnings(action="ignore"):
        w, p = stats.shapiro(values)
    return float(w), float(p)


def _describe(name: str, values: Values) -> dict[str, object]:
    varied = np.ptp(values) > 0
    w, p = shapiro_wilk(values) if varied else (np.nan, np.nan)
    return {
        "group": name,
        "n": len(values),
        "median": np.median(values),
        "q1": np.quantile(values, 0.25),
        "q3": np.quantile(values, 0.75),
        "mean": values.mean(),
        "sd": values.std(ddof=1) if np.ptp(values) > 0 else 0.0,
        "shapiro_w": w,
        "shapiro_p": p,
    }
